// Memory that is refused anywhere in a fit, on any thread: std::bad_alloc for the caller, and all
// threads are there for the next fit.
#include <atomic>
#include <cstdlib>
#include <new>

#include "check.h"
#include "logistic_problem.h"

namespace {

// The allocation that is refused, counting down; none while negative. Of all threads, or of those
// alone that are not the caller's.
std::atomic<std::int64_t> until_refused{-1};
std::atomic<std::int64_t> n_allocations{0};
std::atomic<bool> of_workers{false};
thread_local bool is_caller = false;

void* allocate(std::size_t size, std::size_t alignment) {
  const bool counts = !of_workers || !is_caller;
  n_allocations.fetch_add(counts);
  if (counts && until_refused.load() >= 0 && until_refused.fetch_sub(1) == 0)
    throw std::bad_alloc();
  const std::size_t whole = (size + alignment) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, whole)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
// Who asks so can do without it: nothing is refused.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

// workers: what they ask for is refused alone; how much that is depends on who comes first.
void test_fit(std::ptrdiff_t n_models, int n_threads, bool workers) {
  of_workers = workers;
  test::context = std::to_string(n_models) + " models, " + std::to_string(n_threads) + " threads";
  const test::LogisticCase<float> c(120, 2000, 4);
  std::vector<double> penalties;
  for (std::ptrdiff_t m = 0; m < n_models; ++m) {
    penalties.push_back(0.1 * static_cast<double>(m + 1));
  }
  fastsoftmax::LogisticOptions options;
  options.tol = 1e-4;
  options.max_iter = 6;
  options.n_threads = n_threads;
  const auto view = c.view();
  const auto problem = c.problem(view);
  const auto run = [&] { return test::fit(problem, options, penalties); };
  const std::int64_t before = n_allocations;
  const auto expected = run();
  const std::int64_t n = n_allocations - before;
  int n_refused = 0;
  for (std::int64_t i = 0; i < n; i += 1 + n / 100) {
    until_refused = i;
    try {
      const auto fitted = run();
      until_refused = -1;
      CHECK(test::same_bits(fitted.W, expected.W));
    } catch (const std::bad_alloc&) {
      until_refused = -1;
      ++n_refused;
    }
  }
  CHECK(n_refused > 0 || workers);
  CHECK(test::same_bits(run().W, expected.W));
}

}  // namespace

int main() {
  is_caller = true;
  for (const int n_threads : {1, 2}) {
    for (const std::ptrdiff_t n_models : {1, 8}) {
      test_fit(n_models, n_threads, false);
      test_fit(n_models, n_threads, true);
    }
  }
  return test::report();
}
