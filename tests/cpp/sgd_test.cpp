// fit_sgd against epochs of the reference, in which the same rows come in the same order.
//
// Tolerance in float64: 1e-10 of the largest weight, where the bound of float32 gives about 1e-12.
// In float32: a step with gradient norm G moves a weight by rate G, off by kEps times what its sums
// carry; sums of n terms are off by about sqrt(n) roundings (Higham & Mary, SIAM J. Sci. Comput.
// 41, 2019): the logits' sqrt(d), the classes' K, the batch's sqrt(B). Logits of size z move
// dlogits by kEps sqrt(d) z at most, those and X (below 1, weights below 2) the gradient likewise.
// Steps with a stable rate do not amplify earlier errors (gradient descent on a convex loss is
// non-expansive), so they add up; momentum 0.5 doubles them. rate = 2 / (d + 1), |W| <= 1 or so and
// |z| <= 4 here.
#include "data.h"
#include "for_each_isa.h"
#include "reference.h"
#include "sgd_problem.h"

namespace {

using test::SgdProblem;
using test::Trained;

template <class T>
double largest(const std::vector<T>& values) {
  double m = 0;
  for (const T v : values) m = std::max(m, std::abs(static_cast<double>(v)));
  return m;
}

template <class In, class T>
double tolerance(const SgdProblem<In, T>& p, const Trained<T>& actual) {
  const double size = std::max(largest(actual.W), largest(actual.b));
  if (sizeof(T) == 8) return 1e-10 * size;
  const double d = static_cast<double>(p.d), K = static_cast<double>(p.K);
  const auto batch =
      std::min<double>(static_cast<double>(p.options.batch_size), static_cast<double>(p.n));
  const double n_steps =
      static_cast<double>(p.options.n_epochs) * std::ceil(static_cast<double>(p.n) / batch);
  const double of_gradient = 2 * (4 * std::sqrt(d) + K + std::sqrt(batch) + 10);
  return test::kEps<T> * n_steps * 2 * (2 * size + p.options.learning_rate * of_gradient);
}

// One output as two rows, each other's negatives.
template <class T>
std::vector<double> both(const std::vector<T>& difference) {
  std::vector<double> rows;
  for (const double sign : {-0.5, 0.5}) {
    for (const T v : difference) rows.push_back(sign * static_cast<double>(v));
  }
  return rows;
}
std::vector<double> difference_of(const std::vector<double>& rows) {
  const std::size_t half = rows.size() / 2;
  std::vector<double> difference;
  for (std::size_t i = 0; i < half; ++i) difference.push_back(rows[half + i] - rows[i]);
  return difference;
}

template <class In, class T>
reference::Sgd train_reference(const SgdProblem<In, T>& p, std::vector<double>& loss_curve) {
  const auto& o = p.options;
  const auto rows = [&](const std::vector<T>& v) { return p.K == 1 ? both(v) : test::widen(v); };
  reference::Sgd sgd{p.d,
                     std::max<std::ptrdiff_t>(2, p.K),
                     o.learning_rate,
                     o.alpha,
                     o.momentum,
                     o.input_scale,
                     o.nesterov,
                     o.fit_intercept,
                     rows(p.start.W),
                     rows(p.start.b),
                     rows(p.start.velocity_W),
                     rows(p.start.velocity_b)};
  sgd.velocity_W.resize(sgd.W.size());
  sgd.velocity_b.resize(sgd.b.size());
  const auto X = test::widen(p.X), weights = test::widen(p.weights);
  std::vector<std::int64_t> order(static_cast<std::size_t>(p.n));
  for (std::int64_t epoch = 0; epoch < o.n_epochs; ++epoch) {
    for (std::int64_t i = 0; i < p.n; ++i) order[static_cast<std::size_t>(i)] = i;
    if (o.shuffle) fastsoftmax::epoch_permutation(o.seed, epoch, p.n, order.data());
    loss_curve.push_back(sgd.epoch(X, p.labels, weights, order, o.batch_size));
  }
  if (p.K == 1) {
    for (auto* v : {&sgd.W, &sgd.b, &sgd.velocity_W, &sgd.velocity_b}) *v = difference_of(*v);
  }
  return sgd;
}

template <class T>
void check_array(const std::vector<T>& actual, const std::vector<double>& expected, double bound) {
  for (std::size_t i = 0; i < actual.size(); ++i) CHECK_NEAR(actual[i], expected[i], bound);
}

template <class In, class T>
void check(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t K, std::int64_t batch, int variant) {
  SgdProblem<In, T> p(n, d, K, batch);
  use_variant(p, variant);
  std::vector<double> losses;
  const auto expected = train_reference(p, losses);
  test::for_each_isa([&] {
    test::set_context(test::name_of(In()), test::name_of(T()), n, d, K, batch, variant);
    const Trained<T> actual = p.train_with(2);
    const double bound = tolerance(p, actual);
    check_array(actual.W, expected.W, bound);
    check_array(actual.b, expected.b, bound);
    check_array(actual.velocity_W, expected.velocity_W, bound);
    check_array(actual.velocity_b, expected.velocity_b, bound);
    // The loss moves by at most 2 sum |x| + 2 times as much as the weights, rounds like a logit.
    const double steep = 2 * static_cast<double>(p.d + 1);
    const double of_loss = steep * bound + 10 * test::kEps<T> * std::sqrt(steep);
    check_array(actual.loss_curve, losses, of_loss);
    CHECK_EQ(actual.result.n_epochs, 2);
    CHECK(!actual.result.diverged && !actual.result.stopped);
    if (!p.options.fit_intercept) CHECK(test::same_bits(actual.b, p.start.b));
  });
}

template <class In, class T>
void test_shapes() {
  int turn = 0;  // goes round the variants, so that each meets each size
  for (const std::ptrdiff_t K : {1, 2, 3, 10, 26, 100}) {
    for (const std::ptrdiff_t d : {1, 7, 63, 784}) {
      for (const std::int64_t batch : {1, 7, 40, 1000}) {  // 40 rows: one by one, with rest, full
        if (K * d > 20000 && batch == 1) continue;
        check<In, T>(40, d, K, batch, turn++ % test::kVariants);
      }
      ++turn;
    }
  }
  for (int variant = 0; variant < test::kVariants; ++variant) check<In, T>(50, 20, 5, 16, variant);
}

// So many features that 384 KiB hold less than 33 rows: batches of 70 are chunks of 40 and 30, the
// last batch of 5 rows is one.
template <class In, class T>
void test_chunks() {
  for (const int variant : {0, 1, 3, test::kVariants - 1}) check<In, T>(75, 17000, 2, 70, variant);
  // With many classes chunks have 80 and 70 rows, and 8.
  for (const int variant : {1, 3, 4}) check<In, T>(158, 1500, 40, 150, variant);
  // Bytes in tiles: 200 and 200, the same again and the last 60.
  for (const int variant : {0, 1, 3}) check<In, T>(860, 90, 5, 400, variant);
}

}  // namespace

int main() {
  test::for_each_column([](auto in, auto acc) {
    test_shapes<decltype(in), decltype(acc)>();
    test_chunks<decltype(in), decltype(acc)>();
  });
  return test::report();
}
