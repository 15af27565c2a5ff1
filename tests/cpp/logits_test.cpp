// The logits kernel of every instruction set and column against the reference.
//
// Tolerance: a sum of d products, in any order, is off by at most d u sum |x w| (Higham, Accuracy
// and Stability of Numerical Algorithms, 3.1), u = kEps / 2; the reference, in double, is off
// likewise. So kEps d sum |x w| is enough.
#include <limits>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "reference.h"

namespace {

using test::Guarded;
using test::kEps;
using test::Side;

template <class In, class Acc>
struct Case {
  std::ptrdiff_t n_rows, n_features, n_classes;
  std::vector<In> X;
  std::vector<Acc> W;
};

template <class In, class Acc>
Case<In, Acc> make_case(std::ptrdiff_t n_rows, std::ptrdiff_t n_features,
                        std::ptrdiff_t n_classes) {
  const auto seed = static_cast<std::uint64_t>(n_rows * 10000 + n_features * 100 + n_classes);
  return {n_rows, n_features, n_classes, test::uniform<In>(n_rows * n_features, seed),
          test::uniform<Acc>(n_classes * n_features, seed + 1)};
}

template <class In>
std::vector<const In*> rows_of(const In* X, std::ptrdiff_t n_rows, std::ptrdiff_t n_features) {
  std::vector<const In*> rows;
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) rows.push_back(X + i * n_features);
  return rows;
}

// With n_next rows fetched meanwhile.
template <class In, class Acc>
std::vector<Acc> run(const Case<In, Acc>& c, Side side, std::ptrdiff_t n_next = 0) {
  Guarded<In> X(c.X, side);
  Guarded<Acc> W(c.W, side), out(c.n_rows * c.n_classes, side);
  Guarded<const In*> rows(rows_of<In>(X.data(), c.n_rows, c.n_features), side);
  fastsoftmax::storage_kernels(X.data(), Acc())
      .logits({rows.data(), rows.data(), c.n_rows, n_next, c.n_features, c.n_classes, W.data(),
               out.data()});
  return out.copy();
}

template <class In, class Acc>
void check_values(const Case<In, Acc>& c, const std::vector<Acc>& actual) {
  const auto W = test::widen(c.W);
  const auto absolute = [](std::vector<double> v) {
    for (double& x : v) x = std::abs(x);
    return v;
  };
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    const std::vector<double> x(c.X.begin() + i * c.n_features,
                                c.X.begin() + (i + 1) * c.n_features);
    const auto expected = reference::logits(x, W, {}, c.n_classes, 1);
    const auto size = reference::logits(absolute(x), absolute(W), {}, c.n_classes, 1);
    for (std::size_t k = 0; k < expected.size(); ++k) {
      const auto at = static_cast<std::size_t>(i) * expected.size() + k;
      const double n = static_cast<double>(c.n_features);
      CHECK_NEAR(actual[at], expected[k], kEps<Acc> * n * size[k]);
    }
  }
}

// A logit has the same bits alone as among any others: threads and callers may split as they like.
template <class In, class Acc>
void check_independence(const Case<In, Acc>& c, const std::vector<Acc>& all) {
  const auto rows = rows_of(c.X.data(), c.n_rows, c.n_features);
  const auto kernel = fastsoftmax::storage_kernels(c.X.data(), Acc()).logits;
  std::vector<Acc> alone(all.size());
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t k = 0; k < c.n_classes; ++k) {
      kernel({&rows[static_cast<std::size_t>(i)], nullptr, 1, 0, c.n_features, 1,
              c.W.data() + k * c.n_features, alone.data() + i * c.n_classes + k});
    }
  }
  CHECK(test::same_bits(alone, all));
}

template <class In, class Acc>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), n_rows, n_features, n_classes);
  const auto c = make_case<In, Acc>(n_rows, n_features, n_classes);
  const auto actual = run(c, Side::kEnd);
  check_values(c, actual);
  if (n_rows > 1) check_independence(c, actual);
  CHECK(test::same_bits(run(c, Side::kBegin), actual));
  CHECK(test::same_bits(run(c, Side::kEnd, n_rows - n_rows / 2), actual));
}

template <class In, class Acc>
void test_ragged_sizes() {
  for (std::ptrdiff_t n_features = 0; n_features <= 70; ++n_features) {
    for (const std::ptrdiff_t n_classes : {1, 2, 3, 5, 10, 11, 17}) {
      for (const std::ptrdiff_t n_rows : {1, 3, 9}) check<In, Acc>(n_rows, n_features, n_classes);
    }
  }
  for (std::ptrdiff_t n_classes = 1; n_classes <= 35; ++n_classes) {
    for (std::ptrdiff_t n_rows = 0; n_rows <= 9; ++n_rows) {
      for (const std::ptrdiff_t d : {3, 17}) check<In, Acc>(n_rows, d, n_classes);
    }
  }
  for (const std::ptrdiff_t n_classes : {10, 16, 17, 100, 257}) {
    for (const std::ptrdiff_t d : {100, 784}) check<In, Acc>(33, d, n_classes);
  }
}

// IEEE arithmetic decides: infinities and NaN in X or W go where the reference has them, and
// nowhere else. 0 x inf must not come from lanes beyond the end.
template <class In, class Acc>
void test_special_values() {
  constexpr Acc infinity = std::numeric_limits<Acc>::infinity();
  for (std::ptrdiff_t d = 1; d <= 35; ++d) {
    auto c = make_case<In, Acc>(3, d, 4);
    test::set_context(test::name_of(In()), test::name_of(Acc()), d);
    c.W.back() = infinity;
    c.W[0] = -infinity;
    c.W[static_cast<std::size_t>(d)] = std::numeric_limits<Acc>::quiet_NaN();
    if constexpr (sizeof(In) > 1) {
      c.X[0] = std::numeric_limits<In>::infinity();
      c.X.back() = 0;
    }
    for (const Side side : {Side::kEnd, Side::kBegin}) check_values(c, run(c, side));
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      test_ragged_sizes<decltype(in), decltype(acc)>();
      test_special_values<decltype(in), decltype(acc)>();
    });
  });
  return test::report();
}
