// What can end fit_sgd early: requests to stop, divergence, arguments that make no sense.
#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>

#include "data.h"
#include "for_each_isa.h"
#include "sgd_problem.h"

namespace {

using test::SgdProblem;
using test::Trained;
using Clock = std::chrono::steady_clock;

// About 10^5 epochs of 2 * 10^6 products: hours, unless stopped.
SgdProblem<float, float> long_problem(int n_threads) {
  SgdProblem<float, float> p(256, 784, 10, 32);
  p.options.n_epochs = 10000000;
  p.options.n_threads = n_threads;
  return p;
}

// Asked about every 30 ms, always by the calling thread; true ends it within a step or two. The
// limits leave room for a machine that is busy with something else.
void test_stop(int n_threads) {
  const auto p = long_problem(n_threads);
  Trained<float> at = p.start;
  const auto caller = std::this_thread::get_id();
  int n_polls = 0, n_elsewhere = 0;
  auto last = Clock::now();
  Clock::duration longest{};
  p.train(at, [&] {
    const auto now = Clock::now();
    longest = std::max(longest, now - last);
    last = now;
    n_elsewhere += std::this_thread::get_id() != caller;
    return ++n_polls == 5;
  });
  CHECK_EQ(n_polls, 5);
  CHECK_EQ(n_elsewhere, 0);
  CHECK(longest < std::chrono::seconds(2));
  CHECK(Clock::now() - last < std::chrono::seconds(2));
  CHECK(at.result.stopped);
  CHECK(at.result.n_epochs < p.options.n_epochs);
  CHECK(!test::same_bits(at.W, p.start.W));
}

// In the middle of an epoch too, here one of seconds: all its rows are the same one.
void test_stop_within_an_epoch(int n_threads) {
  SgdProblem<float, float> p(1, 784, 10, 32);
  constexpr std::ptrdiff_t kRows = 2000000;
  auto view = p.view();
  view.n_rows = kRows;
  view.row_stride = 0;
  p.options.shuffle = false;
  p.options.n_threads = n_threads;
  const std::vector<std::int64_t> labels(kRows, 3);
  const fastsoftmax::SgdState<float> state{p.K, p.start.W.data(), p.start.b.data(), nullptr,
                                           nullptr};
  double losses[2] = {};
  int n_polls = 0;
  const auto result =
      fastsoftmax::fit_sgd<float>(view, labels.data(), nullptr, p.options, state, losses, [&] {
        ++n_polls;
        return true;
      });
  CHECK(result.stopped && !result.diverged);
  CHECK_EQ(result.n_epochs, 0);
  CHECK_EQ(n_polls, 1);  // after a yes nobody asks again
}

// A callback that always says no changes nothing.
void test_no_stop() {
  SgdProblem<float, float> p(5000, 100, 10, 32);
  p.options.n_epochs = 30;
  Trained<float> at = p.start, polled = p.start;
  p.train(at);
  p.train(polled, [] { return false; });
  CHECK(same_bits(at, polled));
  CHECK(!polled.result.stopped);
  CHECK_EQ(polled.result.n_epochs, 30);
}

// A learning rate without measure: the epoch in which it happens is the last, and is counted.
template <class T>
void test_diverged(int n_threads) {
  SgdProblem<T, T> p(64, 5, 3, 16);
  p.options.learning_rate = static_cast<double>(std::numeric_limits<T>::max());
  p.options.n_epochs = 10;
  const auto at = p.train_with(n_threads);
  CHECK(at.result.diverged && !at.result.stopped);
  CHECK(at.result.n_epochs >= 1 && at.result.n_epochs < 10);
  CHECK_EQ(at.loss_curve.back(), 0.0);  // never reached
}

// One weight that is not finite is enough, be it W or b, while the loss still is.
void test_diverged_by_a_weight() {
  const float infinity = std::numeric_limits<float>::infinity();
  SgdProblem<float, float> p(8, 4, 3, 8);
  p.options.n_epochs = 1;
  p.use_momentum(false);
  p.start.velocity_W[11] = infinity;
  CHECK(p.train_with(2).result.diverged);
  p.start.velocity_W[11] = 0;
  CHECK(!p.train_with(2).result.diverged);
  p.start.velocity_b[2] = infinity;
  CHECK(p.train_with(2).result.diverged);
}

template <class Change>
void check_refused(const std::string& words, const Change& change) {
  SgdProblem<float, float> p(20, 4, 3, 8);
  change(p);
  Trained<float> at = p.start;
  CHECK_THROWS(std::invalid_argument, words, p.train(at));
  CHECK(test::same_bits(at.W, p.start.W) && test::same_bits(at.b, p.start.b));
  CHECK(at.loss_curve == std::vector<double>(at.loss_curve.size(), 0.0));
}

void test_bad_arguments() {
  using P = SgdProblem<float, float>;
  check_refused("labels[19] is 3, not in 0..2", [](P& p) { p.labels[19] = 3; });
  check_refused("labels[0] is -1, not in 0..2", [](P& p) { p.labels[0] = -1; });
  check_refused("at least one", [](P& p) { p.n = 0; });
  check_refused("at least one", [](P& p) { p.d = 0; });
  check_refused("at least one", [](P& p) { p.K = 0; });
  check_refused("at least one", [](P& p) { p.options.batch_size = 0; });
  check_refused("at least one", [](P& p) { p.options.n_threads = 0; });
  check_refused("labels[7] is 2, not in 0..1", [](P& p) {
    p = P(20, 4, 1, 8);  // one output: of two classes
    p.labels[7] = 2;
  });
}

void test_no_epochs() {
  SgdProblem<float, float> p(20, 4, 3, 8);
  p.options.n_epochs = 0;
  const auto at = p.train_with(2);
  CHECK_EQ(at.result.n_epochs, 0);
  CHECK(test::same_bits(at.W, p.start.W) && !at.result.diverged);
}

void test_float64_needs_float64() {
  const SgdProblem<double, double> p(20, 4, 3, 8);
  SgdProblem<float, float> small(20, 4, 3, 8);
  const fastsoftmax::SgdState<float> state{3, small.start.W.data(), small.start.b.data(), nullptr,
                                           nullptr};
  double losses[2];
  CHECK_THROWS(std::invalid_argument, "float64",
               fastsoftmax::fit_sgd<float>(p.view(), p.labels.data(), nullptr, p.options, state,
                                           losses, nullptr));
}

}  // namespace

int main() {
  for (const int n_threads : {1, 3}) {
    test_stop(n_threads);
    test_stop_within_an_epoch(n_threads);
    test_diverged<float>(n_threads);
    test_diverged<double>(n_threads);
  }
  test_no_stop();
  test_diverged_by_a_weight();
  test_bad_arguments();
  test_no_epochs();
  test_float64_needs_float64();
  return test::report();
}
