// The promise: the same bits for any number of threads, more than there are CPUs included, and for
// epochs trained in one call or in several.
#include "data.h"
#include "for_each_isa.h"
#include "sgd_problem.h"

namespace {

using test::SgdProblem;
using test::Trained;

template <class In, class T>
void check_threads(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t K, std::int64_t batch) {
  for (const int variant : {0, test::kVariants - 1}) {
    test::set_context(test::name_of(In()), test::name_of(T()), n, d, K, batch, variant);
    SgdProblem<In, T> p(n, d, K, batch);
    use_variant(p, variant);
    const Trained<T> serial = p.train_with(1);
    CHECK(!test::same_bits(serial.W, p.start.W));
    for (const int n_threads : {2, 3, 8}) CHECK(same_bits(p.train_with(n_threads), serial));
  }
}

template <class In, class T>
void test_threads() {
  check_threads<In, T>(100, 7, 3, 1);  // hardly anything to share
  check_threads<In, T>(100, 63, 1, 30);
  check_threads<In, T>(50, 20, 5, 16);  // rows in lanes, and too few for them in each piece
  check_threads<In, T>(120, 784, 10, 50);
  check_threads<In, T>(60, 130, 100, 40);
  check_threads<In, T>(30, 300, 26, 1000);  // one batch of all
  check_threads<In, T>(75, 17000, 2, 70);   // chunks, see sgd_test.cpp
  check_threads<In, T>(60, 20, 300, 40);    // panels of classes for each thread
  check_threads<In, T>(158, 1500, 40, 150);
  check_threads<In, T>(450, 800, 5, 300);  // chunks of bytes in tiles; two slices
}

// Two calls of one epoch are one call of two.
template <class In, class T>
void test_continuation(std::int64_t batch) {
  SgdProblem<In, T> p(100, 37, 5, batch);
  use_variant(p, test::kVariants - 1);
  p.options.n_epochs = 3;
  const Trained<T> at_once = p.train_with(2);
  Trained<T> at = p.start;
  std::vector<double> losses;
  p.options.n_epochs = 1;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    p.options.first_epoch = epoch;
    p.train(at);
    losses.push_back(at.loss_curve[0]);
  }
  CHECK(test::same_bits(losses, at_once.loss_curve));
  CHECK(test::same_bits(at.W, at_once.W) && test::same_bits(at.b, at_once.b));
  CHECK(test::same_bits(at.velocity_W, at_once.velocity_W));
  CHECK(test::same_bits(at.velocity_b, at_once.velocity_b));
}

// Another seed, or another epoch, visits the rows in another order.
void test_seed_matters() {
  SgdProblem<double, double> p(100, 5, 3, 10);
  const auto before = p.train_with(1);
  p.options.seed = 8;
  CHECK(!test::same_bits(p.train_with(1).W, before.W));
  p.options.seed = 7;
  p.options.first_epoch = 1;
  CHECK(!test::same_bits(p.train_with(1).W, before.W));
}

// Rows that lie apart, or backwards, train as those that do not.
void test_row_stride() {
  SgdProblem<float, float> p(60, 12, 4, 16);
  const auto expected = p.train_with(2);
  const auto n = static_cast<std::size_t>(p.n), d = static_cast<std::size_t>(p.d);
  std::vector<float> reversed(n * (d + 3), 1e30f);
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(p.X.begin() + static_cast<std::ptrdiff_t>(i * d), d,
                reversed.begin() + static_cast<std::ptrdiff_t>((n - 1 - i) * (d + 3)));
  }
  auto view = p.view();
  view.data = reversed.data() + (n - 1) * (d + 3);
  view.row_stride = -static_cast<std::ptrdiff_t>(d + 3);
  Trained<float> at = p.start;
  at.loss_curve.resize(2);
  const fastsoftmax::SgdState<float> state{p.K, at.W.data(), at.b.data(), nullptr, nullptr};
  at.result = fastsoftmax::fit_sgd<float>(view, p.labels.data(), nullptr, p.options, state,
                                          at.loss_curve.data(), nullptr);
  CHECK(same_bits(at, expected));
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      test_threads<decltype(in), decltype(acc)>();
      for (const int batch : {16, 40}) test_continuation<decltype(in), decltype(acc)>(batch);
    });
    test_seed_matters();
    test_row_stride();
  });
  return test::report();
}
