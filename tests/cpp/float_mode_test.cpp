// Results do not depend on the mode in which the caller, or who has made the threads, rounds and
// flushes; and the caller has its mode back. OpenMP's threads may be somebody else's.
#include "float_mode.h"

#include <cfenv>
#include <cstdlib>
#include <vector>

#include "check.h"
#include "data.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "logistic_problem.h"
#include "sgd_problem.h"

namespace {

// Rounds down, and takes tiny numbers for zero where the processor can.
void set_odd_mode() {
  std::fesetround(FE_DOWNWARD);
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
}

bool has_odd_mode() {
#if defined(__x86_64__)
  if ((_mm_getcsr() & 0x8040) != 0x8040) return false;
#endif
  return std::fegetround() == FE_DOWNWARD;
}

void set_plain_mode() {
  std::fesetround(FE_TONEAREST);
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() & ~0x8040u);
#endif
}

// Logits whose softmax is tiny for most classes: numbers that a mode would make zeros of.
// run(call), and call(n_threads).
template <class Run>
std::vector<float> softmax_by(const Run& run) {
  constexpr std::ptrdiff_t kRows = 20000, kClasses = 50;
  std::vector<float> x(kRows * kClasses, -95.0f), out(x.size());
  for (std::size_t i = 0; i < x.size(); i += kClasses) x[i] = 0.0f;
  run([&](int n_threads) {
    fastsoftmax::softmax(x.data(), kRows, kClasses, out.data(), n_threads);
  });
  return out;
}

std::vector<float> softmax_of(int n_threads) {
  return softmax_by([&](const auto& call) { fastsoftmax::call_on_threads(n_threads, 1e9, call); });
}

// By a region of OpenMP's threads.
std::vector<float> softmax_in_region(int n_threads) {
  return softmax_by([&](const auto& call) { call(n_threads); });
}

std::vector<double> logistic_of(int n_threads) {
  const test::LogisticCase<double> c(9000, 5, 3);
  const auto view = c.view();
  fastsoftmax::LogisticOptions options;
  options.n_threads = n_threads;
  test::Fitted fitted = test::fit(c.problem(view), options, {1.0});
  fitted.W.push_back(fitted.objective[0]);
  return fitted.W;
}

std::vector<float> sgd_of(int n_threads) {
  test::SgdProblem<float, float> p(120, 784, 10, 50);
  return p.train_with(n_threads).W;
}

template <class F>
void check(const char* what, const F& compute) {
  test::context = what;
  set_odd_mode();
  const auto with_new_threads = compute(2);  // made in this mode
  CHECK(has_odd_mode());
  const auto alone = compute(1), with_threads = compute(2);
  CHECK(has_odd_mode());
  set_plain_mode();
  const auto plain = compute(1), plain_with_threads = compute(2);
  CHECK(!has_odd_mode());
  CHECK(test::same_bits(alone, with_new_threads) && test::same_bits(alone, with_threads));
  CHECK(test::same_bits(plain, plain_with_threads));
}

}  // namespace

int main() {
  setenv("FASTSOFTMAX_CPUS", "2", 1);
#if FASTSOFTMAX_OPENMP
  set_odd_mode();
  int n_threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : n_threads)
  ++n_threads;
  CHECK_EQ(n_threads, 2);
  check("threads of others", softmax_in_region);
#endif
  check("softmax", softmax_of);
  check("logistic", logistic_of);
  check("sgd", sgd_of);
  set_odd_mode();
  const float tiny = softmax_of(1)[1];
  set_plain_mode();
  CHECK(tiny > 0.0f);
  return test::report();
}
