// The fused backward-and-step kernel of every instruction set and column against the reference.
//
// Tolerance of a new weight, u = kEps / 2: the sum g of n products d x is off by n u sum |d x|
// (Higham, 3.1) and rounded into the chunk buffer, scaled, added to alpha w (3 roundings); the step
// then takes at most 4 roundings of momentum v, rate g and w. The same in double for the reference.
// So kEps times (1 + momentum) (rate ((n + 8) scale sum |d x| + 8 alpha |w|) + 4 momentum |v|) + 4
// |w| is enough.
#include <numeric>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "reference.h"

namespace {

using test::Guarded;
using test::kEps;
using test::Side;

struct Rule {
  double alpha, momentum;
  bool nesterov;
};
constexpr Rule kRules[] = {{0, 0, false}, {0.3, 0, false}, {0, 0.9, false}, {0.3, 0.9, true}};

template <class In, class Acc>
struct Case {
  std::ptrdiff_t n_rows, n_features, n_classes;
  Rule rule;
  std::vector<In> X;
  std::vector<Acc> dlogits, W, velocity;
  Acc rate, scale;
};

template <class In, class Acc>
Case<In, Acc> make_case(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
                        const Rule& rule) {
  const auto seed = static_cast<std::uint64_t>(n_rows * 10000 + n_features * 100 + n_classes);
  return {n_rows,
          n_features,
          n_classes,
          rule,
          test::uniform<In>(n_rows * n_features, seed),
          test::uniform<Acc>(n_rows * n_classes, seed + 1),
          test::uniform<Acc>(n_classes * n_features, seed + 2),
          test::uniform<Acc>(rule.momentum > 0 ? n_classes * n_features : 0, seed + 3),
          Acc(0.125),
          static_cast<Acc>(sizeof(In) == 1 ? 1 / 255.0 : 0.7)};
}

template <class Acc>
struct Result {
  std::vector<Acc> W, velocity;
};

// The step, the rows in chunks of chunk_rows, the features cut at each of cuts.
template <class In, class Acc>
Result<Acc> run(const Case<In, Acc>& c, std::ptrdiff_t chunk_rows,
                const std::vector<std::ptrdiff_t>& cuts, Side side) {
  Guarded<In> X(c.X, side);
  Guarded<Acc> dlogits(c.dlogits, side), W(c.W, side), velocity(c.velocity, side);
  Guarded<Acc> gradient(chunk_rows < c.n_rows ? c.n_classes * c.n_features : 0, side);
  std::vector<const In*> rows;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) rows.push_back(X.data() + i * c.n_features);
  std::ptrdiff_t begin = 0;
  do {
    fastsoftmax::SgdUpdate<In, Acc> u{};
    u.rows = rows.data() + begin;
    u.n_rows = std::min(chunk_rows, c.n_rows - begin);
    u.dlogits = dlogits.data() + begin * c.n_classes;
    u.row_stride = c.n_classes;
    u.class_stride = 1;
    u.n_classes = c.n_classes;
    u.n_features = c.n_features;
    u.W = W.data();
    u.velocity = c.velocity.empty() ? nullptr : velocity.data();
    u.gradient = chunk_rows < c.n_rows ? gradient.data() : nullptr;
    u.first_chunk = begin == 0;
    u.last_chunk = begin + u.n_rows == c.n_rows;
    u.learning_rate = c.rate;
    u.alpha = static_cast<Acc>(c.rule.alpha);
    u.momentum = static_cast<Acc>(c.rule.momentum);
    u.input_scale = c.scale;
    u.nesterov = c.rule.nesterov;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      u.feature_begin = cuts[i];
      u.feature_end = cuts[i + 1];
      fastsoftmax::storage_kernels(X.data(), Acc()).sgd_update(u);
    }
    begin += chunk_rows;
  } while (begin < c.n_rows);
  CHECK(test::same_bits(X.copy(), c.X));
  CHECK(test::same_bits(dlogits.copy(), c.dlogits));
  return {W.copy(), velocity.copy()};
}

template <class In, class Acc>
void check_entry(const Case<In, Acc>& c, const Result<Acc>& actual, std::ptrdiff_t k,
                 std::ptrdiff_t f) {
  const auto at = static_cast<std::size_t>(k * c.n_features + f);
  double g = 0, size = 0;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    const double d = static_cast<double>(c.dlogits[static_cast<std::size_t>(i * c.n_classes + k)]);
    const double x = static_cast<double>(c.X[static_cast<std::size_t>(i * c.n_features + f)]);
    g += d * x;
    size += std::abs(d * x);
  }
  const double scale = static_cast<double>(c.scale), rate = static_cast<double>(c.rate);
  const double alpha = static_cast<double>(static_cast<Acc>(c.rule.alpha));
  const double momentum = static_cast<double>(static_cast<Acc>(c.rule.momentum));
  const double old_w = static_cast<double>(c.W[at]);
  const double old_v = c.velocity.empty() ? 0.0 : static_cast<double>(c.velocity[at]);
  double w = old_w, v = old_v;
  reference::sgd_step(scale * g + alpha * w, rate, momentum, c.rule.nesterov, w, v);
  const double n = static_cast<double>(c.n_rows);
  const double step = rate * ((n + 8) * scale * size + 8 * alpha * std::abs(old_w));
  const double moved = (1 + momentum) * (step + 4 * momentum * std::abs(old_v));
  CHECK_NEAR(actual.W[at], w, kEps<Acc> * (moved + 4 * std::abs(old_w)));
  if (!c.velocity.empty()) CHECK_NEAR(actual.velocity[at], v, kEps<Acc> * moved);
}

template <class In, class Acc>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
           const Rule& rule) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), n_rows, n_features, n_classes);
  const auto c = make_case<In, Acc>(n_rows, n_features, n_classes, rule);
  const auto whole = run(c, std::max<std::ptrdiff_t>(n_rows, 1), {0, n_features}, Side::kEnd);
  for (std::ptrdiff_t k = 0; k < n_classes; ++k) {
    for (std::ptrdiff_t f = 0; f < n_features; ++f) check_entry(c, whole, k, f);
  }
  // The same bits from chunks of rows (each sum goes on where it stopped) and from feature slices
  // of any size. A slice leaves its neighbours' weights alone, or they would be stepped twice.
  const auto third = n_features / 3, half = n_features / 2;
  const auto parts = run(c, n_rows / 3 + 1, {0, third, half, n_features}, Side::kBegin);
  CHECK(test::same_bits(parts.W, whole.W));
  CHECK(test::same_bits(parts.velocity, whole.velocity));
}

template <class In, class Acc>
void test_ragged_sizes() {
  std::size_t turn = 0;
  const auto next_rule = [&]() -> const Rule& { return kRules[turn++ % std::size(kRules)]; };
  for (std::ptrdiff_t n_features = 1; n_features <= 70; ++n_features) {
    for (const std::ptrdiff_t n_classes : {1, 2, 3, 5, 10, 11, 17}) {
      for (const std::ptrdiff_t n_rows : {1, 3}) {
        check<In, Acc>(n_rows, n_features, n_classes, next_rule());
      }
    }
  }
  turn = 0;
  for (std::ptrdiff_t n_classes = 1; n_classes <= 35; ++n_classes) {
    for (std::ptrdiff_t n_rows = 0; n_rows <= 9; ++n_rows) {
      check<In, Acc>(n_rows, 19, n_classes, next_rule());
    }
  }
  for (const Rule& rule : kRules) {
    check<In, Acc>(33, 784, 10, rule);
    check<In, Acc>(33, 150, 100, rule);
    check<In, Acc>(33, 40, 257, rule);
  }
}

// No gradient and no penalty: without momentum the weights stay, with it they coast.
template <class In, class Acc>
void test_zero_gradient() {
  auto c = make_case<In, Acc>(4, 21, 3, kRules[0]);
  c.dlogits.assign(c.dlogits.size(), Acc(0));
  CHECK(test::same_bits(run(c, 4, {0, 21}, Side::kEnd).W, c.W));
  c.rule = kRules[2];
  c.velocity.assign(c.W.size(), Acc(0));
  CHECK(test::same_bits(run(c, 4, {0, 21}, Side::kEnd).W, c.W));
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      test_ragged_sizes<decltype(in), decltype(acc)>();
      test_zero_gradient<decltype(in), decltype(acc)>();
    });
  });
  return test::report();
}
