// Predictions of the softmax model for whole matrices, and what they and checks.h make of inputs
// that are not finite.
//
// Tolerance of a logit: logits_test.cpp, (d + 3) kEps (scale sum |x w| + |b|) with entries below 1,
// so at most (d + 3) kEps (d + 1). Probabilities and their logs move by at most twice that and
// round on their own account by kEps (K + 5 + 5 spread), spread = the range of the logits, below 2
// (d + 1).
#include "fastsoftmax/objective.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "data.h"
#include "fastsoftmax/checks.h"
#include "for_each_isa.h"
#include "reference.h"
#include "views.h"

namespace {

using fastsoftmax::CsrView;
using fastsoftmax::InputView;
using fastsoftmax::Prediction;
using fastsoftmax::StridedInputView;

template <class In, class Acc>
struct Problem {
  using T = Acc;
  std::ptrdiff_t n, d, K;
  std::vector<In> X;
  std::vector<T> W, b;
  T scale;

  Problem(std::ptrdiff_t n_, std::ptrdiff_t d_, std::ptrdiff_t K_)
      : n(n_),
        d(d_),
        K(K_),
        X(test::uniform<In>(n * d, 1)),
        W(test::uniform<T>(K * d, 2)),
        b(test::uniform<T>(K, 3)),
        scale(static_cast<T>(sizeof(In) == 1 ? 1 / 255.0 : 1)) {}

  StridedInputView view() const { return {test::kStorage<In>, X.data(), n, d, d, 1}; }
  InputView rows() const { return {test::kStorage<In>, X.data(), n, d, d}; }
  StridedInputView row(std::ptrdiff_t i) const {
    return {test::kStorage<In>, X.data() + i * d, 1, d, d, 1};
  }
  fastsoftmax::Model<T> model() const { return {W.data(), n % 2 ? b.data() : nullptr, K, scale}; }
};

// The same, with a share of X that is not zero, in compressed rows.
template <class In, class T>
struct SparseProblem : Problem<In, T> {
  using Base = Problem<In, T>;
  using Base::X, Base::n, Base::d;
  test::Csr<In> csr;

  SparseProblem(std::ptrdiff_t n_, std::ptrdiff_t d_, std::ptrdiff_t K_, double share)
      : Base(n_, d_, K_), csr((thin(share), X), n, d) {}

  void thin(double share) {
    const auto kept = test::uniform<float>(n * d, 5, 0, 1);
    for (std::size_t i = 0; i < X.size(); ++i) {
      if (kept[i] >= share) X[i] = In(0);
    }
  }
  CsrView view() const { return csr.view(); }
  CsrView row(std::ptrdiff_t i) const {
    CsrView one = csr.view();
    one.indptr = csr.indptr.data() + i;
    one.n_rows = 1;
    return one;
  }
};

template <class P>
auto predictions(const P& p, Prediction what, int n_threads, bool finite = true) {
  std::vector<typename P::T> out(static_cast<std::size_t>(p.n * p.K));
  CHECK_EQ(fastsoftmax::predict(p.view(), p.model(), what, out.data(), n_threads), finite);
  return out;
}
template <class P>
auto predicted_classes(const P& p, int n_threads, bool finite = true) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(p.n));
  CHECK_EQ(fastsoftmax::predict_class(p.view(), p.model(), out.data(), n_threads), finite);
  return out;
}

template <class P>
void check_values(const P& p) {
  using T = typename P::T;
  const auto logits = predictions(p, Prediction::kLogits, 1),
             probs = predictions(p, Prediction::kProbs, 1);
  const auto log_probs = predictions(p, Prediction::kLogProbs, 1);
  const auto classes = predicted_classes(p, 1);
  const auto W = test::widen(p.W), b = p.n % 2 ? test::widen(p.b) : reference::Vector();
  const double d = static_cast<double>(p.d), K = static_cast<double>(p.K);
  const double of_logits = test::kEps<T> * (d + 3) * (d + 1);
  const double tolerance = 2 * of_logits + test::kEps<T> * (K + 15 * (d + 1));
  for (std::ptrdiff_t i = 0; i < p.n; ++i) {
    const reference::Vector x(p.X.begin() + i * p.d, p.X.begin() + (i + 1) * p.d);
    const auto z = reference::logits(x, W, b, p.K, static_cast<double>(p.scale));
    const auto softmax = reference::softmax(z), log_softmax = reference::log_softmax(z);
    for (std::size_t k = 0; k < z.size(); ++k) {
      const auto at = static_cast<std::size_t>(i) * z.size() + k;
      CHECK_NEAR(logits[at], z[k], of_logits);
      CHECK_NEAR(probs[at], softmax[k], tolerance);
      CHECK_NEAR(log_probs[at], log_softmax[k], tolerance);
    }
    // The first largest of the computed logits.
    const auto row = logits.begin() + i * p.K;
    CHECK_EQ(classes[static_cast<std::size_t>(i)], std::max_element(row, row + p.K) - row);
  }
}

template <class P>
void check_threads(const P& p) {
  for (const Prediction what : {Prediction::kLogits, Prediction::kProbs, Prediction::kLogProbs}) {
    const auto serial = predictions(p, what, 1);
    for (const int n : {2, 3, 8}) CHECK(test::same_bits(predictions(p, what, n), serial));
  }
  for (const int n : {2, 3, 8})
    CHECK(test::same_bits(predicted_classes(p, n), predicted_classes(p, 1)));
}

// A row has the same bits alone as among others.
template <class P>
void check_rows_alone(const P& p) {
  const auto logits = predictions(p, Prediction::kLogits, 1);
  const auto classes = predicted_classes(p, 1);
  for (const std::ptrdiff_t i : {std::ptrdiff_t{0}, p.n / 2, p.n - 1}) {
    std::vector<typename P::T> out(static_cast<std::size_t>(p.K));
    std::int64_t alone = -1;
    CHECK(fastsoftmax::predict(p.row(i), p.model(), Prediction::kLogits, out.data(), 1));
    CHECK(fastsoftmax::predict_class(p.row(i), p.model(), &alone, 1));
    CHECK(std::equal(out.begin(), out.end(), logits.begin() + i * p.K));
    CHECK_EQ(alone, classes[static_cast<std::size_t>(i)]);
  }
}

template <class In, class T>
void test_shapes() {
  for (const std::ptrdiff_t n : {0, 1, 16, 17, 63, 64, 65, 130, 300}) {
    for (const std::ptrdiff_t K : {1, 10, 26}) {
      test::set_context(test::name_of(In()), test::name_of(T()), n, K);
      const Problem<In, T> p(n, 7 + n % 5, K);
      check_values(p);
      if (n == 65 || n == 300) check_threads(p);
    }
  }
  check_values(Problem<In, T>(20, 784, 10));
  // More than 32 classes are a product in packed tiles; the last has more than a block of W holds.
  for (const std::ptrdiff_t K : {32, 33, 47, 130}) {
    const Problem<In, T> p(151, 41, K);
    test::set_context(test::name_of(In()), test::name_of(T()), 151, K);
    check_values(p);
    check_threads(p);
    check_rows_alone(p);
  }
  const Problem<In, T> large(5, 2100, 1030);
  check_values(large);
  check_threads(large);
  check_values(Problem<In, T>(3, 0, 40));
}

template <class In, class T>
void check_other_indices(const SparseProblem<In, T>& p) {
  const auto logits = predictions(p, Prediction::kLogits, 2);
  const std::vector<std::int64_t> indices(p.csr.indices.begin(), p.csr.indices.end());
  const std::vector<std::int32_t> indptr(p.csr.indptr.begin(), p.csr.indptr.end());
  CsrView view = p.view();
  view.indices = indices.data();
  view.indptr = indptr.data();
  view.wide_indices = true;
  view.wide_indptr = false;
  std::vector<T> out(logits.size());
  CHECK(fastsoftmax::predict(view, p.model(), Prediction::kLogits, out.data(), 2));
  CHECK(test::same_bits(out, logits));
}

// Sums of single numbers and of vectors, of weights that are brought together for each row and that
// are laid for all.
template <class In, class T>
void test_sparse() {
  for (const std::ptrdiff_t K : {1, 2, 3, 4, 5, 10, 26, 47, 130}) {
    for (const std::ptrdiff_t d : {1, 40, 1500}) {
      for (const std::ptrdiff_t n : {2, 65}) {
        if (n * d * K > 300000) continue;
        test::set_context(test::name_of(In()), test::name_of(T()), n, d, K);
        const SparseProblem<In, T> p(n, d, K, d > 1000 ? 0.006 : 0.3);
        check_values(p);
        check_rows_alone(p);
        if (n > 64 && d == 40) check_threads(p);
      }
    }
  }
  check_values(SparseProblem<In, T>(0, 5, 3, 0.5));
  check_values(SparseProblem<In, T>(4, 0, 3, 0.5));
  check_values(SparseProblem<In, T>(20, 12, 3, 0.0));
  check_threads(SparseProblem<In, T>(12, 9, 20000, 0.3));  // a block is a row

  const SparseProblem<In, T> for_all(70, 30, 7, 0.3), by_row(130, 4000, 5, 0.0015);
  for (const auto* p : {&for_all, &by_row}) {
    check_threads(*p);
    check_other_indices(*p);
  }
  if constexpr (sizeof(In) > 1) {
    SparseProblem<In, T> bad = for_all;
    bad.csr.data[17] = std::numeric_limits<In>::infinity();
    predictions(bad, Prediction::kProbs, 2, false);
    predicted_classes(bad, 2, false);
  }
}

// A view of every second row, backwards: the rows' own results, in that order.
template <class In, class T>
void test_row_strides() {
  const Problem<In, T> p(40, 9, 4);
  const auto all = predictions(p, Prediction::kProbs, 1);
  StridedInputView view = p.view();
  view.data = p.X.data() + 39 * p.d;
  view.row_stride = -2 * p.d;
  view.n_rows = 20;
  std::vector<T> out(20 * 4);
  CHECK(fastsoftmax::predict(view, p.model(), Prediction::kProbs, out.data(), 2));
  for (std::size_t i = 0; i < 20; ++i) {
    const auto row = all.begin() + static_cast<std::ptrdiff_t>(39 - 2 * i) * 4;
    CHECK(std::equal(row, row + 4, out.begin() + static_cast<std::ptrdiff_t>(i) * 4));
  }
}

// Columns that lie together, forwards and every second one backwards, are the same rows: their
// bits.
template <class In, class T>
void test_columns() {
  for (const std::ptrdiff_t n : {1, 2, 17, 64, 65, 300}) {
    for (const std::ptrdiff_t K : {1, 3, 32, 33}) {
      const Problem<In, T> p(n, 21, K);
      for (const std::ptrdiff_t stride : {n + 3, -2 * n}) {
        const std::ptrdiff_t first = stride < 0 ? -stride * (p.d - 1) : 0;
        std::vector<In> columns(static_cast<std::size_t>(std::abs(stride) * p.d + n));
        for (std::ptrdiff_t i = 0; i < n; ++i) {
          for (std::ptrdiff_t f = 0; f < p.d; ++f) {
            columns[static_cast<std::size_t>(first + f * stride + i)] =
                p.X[static_cast<std::size_t>(i * p.d + f)];
          }
        }
        const StridedInputView view{test::kStorage<In>, columns.data() + first, n, p.d, 1, stride};
        for (const int n_threads : {1, 3}) {
          std::vector<T> out(static_cast<std::size_t>(n * K));
          CHECK(fastsoftmax::predict(view, p.model(), Prediction::kProbs, out.data(), n_threads));
          CHECK(test::same_bits(out, predictions(p, Prediction::kProbs, 1)));
          std::vector<std::int64_t> classes(static_cast<std::size_t>(n));
          CHECK(fastsoftmax::predict_class(view, p.model(), classes.data(), n_threads));
          CHECK(classes == predicted_classes(p, 1));
        }
      }
    }
  }
}

// One NaN or infinity anywhere is noticed, by whichever thread has it; nothing else changes.
template <class In, class T>
void test_nonfinite() {
  if constexpr (sizeof(In) > 1) {
    const In special[] = {std::numeric_limits<In>::quiet_NaN(), std::numeric_limits<In>::infinity(),
                          -std::numeric_limits<In>::infinity()};
    for (const In value : special) {
      for (const std::size_t row : {0u, 63u, 64u, 99u, 40u}) {
        const std::size_t n_classes = row == 40 ? 35 : 3;
        Problem<In, T> p(100, 5, static_cast<std::ptrdiff_t>(n_classes));
        const auto before = predictions(p, Prediction::kLogits, 1);
        p.X[row * 5 + 2] = value;
        std::ptrdiff_t i = -1, j = -1;
        CHECK(fastsoftmax::find_nonfinite(p.rows(), &i, &j));
        CHECK_EQ(static_cast<std::size_t>(i), row);
        CHECK_EQ(j, 2);
        for (const int n_threads : {1, 3}) {
          auto after = predictions(p, Prediction::kLogits, n_threads, false);
          predicted_classes(p, n_threads, false);
          for (std::size_t k = row * n_classes; k < (row + 1) * n_classes; ++k)
            after[k] = before[k];
          CHECK(test::same_bits(after, before));
        }
      }
    }
  }
  std::ptrdiff_t i = -1, j = -1;
  CHECK(!fastsoftmax::find_nonfinite(Problem<In, T>(100, 5, 3).rows(), &i, &j));
  CHECK(i == -1 && j == -1);
}

// Finite inputs whose logits overflow are reported too.
void test_overflow() {
  Problem<float, float> p(10, 4, 2);
  p.X.assign(p.X.size(), 1e30f);
  p.W.assign(p.W.size(), 1e30f);
  predictions(p, Prediction::kLogits, 1, false);
  predictions(p, Prediction::kProbs, 2, false);
}

void test_first_of_equal_logits_wins() {
  Problem<float, float> p(33, 4, 20);
  p.W.assign(p.W.size(), 0.0f);
  p.b.assign(p.b.size(), 1.0f);
  p.b[0] = 0.5f;
  CHECK(predicted_classes(p, 2) == std::vector<std::int64_t>(33, 1));
  Problem<float, float> large(5, 2100, 1030);  // in two blocks
  large.W.assign(large.W.size(), 0.0f);
  for (std::size_t best : {0u, 3u, 500u, 1029u}) {
    large.b.assign(large.b.size(), 1.0f);
    for (std::size_t c = 0; c < best; ++c) large.b[c] = -1.0f;
    CHECK(predicted_classes(large, 2) ==
          std::vector<std::int64_t>(5, static_cast<std::int64_t>(best)));
  }
}

void test_float64_needs_float64() {
  const Problem<double, double> p(2, 3, 2);
  const Problem<float, float> small(2, 3, 2);
  float out[4];
  CHECK_THROWS(std::invalid_argument, "float64",
               fastsoftmax::predict(p.view(), small.model(), Prediction::kLogits, out, 1));
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      test_shapes<decltype(in), decltype(acc)>();
      test_sparse<decltype(in), decltype(acc)>();
      test_row_strides<decltype(in), decltype(acc)>();
      test_columns<decltype(in), decltype(acc)>();
      test_nonfinite<decltype(in), decltype(acc)>();
    });
    test_overflow();
    test_first_of_equal_logits_wins();
  });
  test_float64_needs_float64();
  return test::report();
}
