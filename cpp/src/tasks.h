// Work cut into tasks that threads take as they come: a thread may lose its CPU, and then the
// others do more. What a task is may change no bits.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "ceil_div.h"
#include "parallel.h"

namespace fastsoftmax {

// Parts of n, at most largest each, and as many as wanted, while they are no smaller than smallest.
inline std::ptrdiff_t count_parts(std::ptrdiff_t n, std::ptrdiff_t largest, std::ptrdiff_t smallest,
                                  std::ptrdiff_t wanted) {
  return std::max(ceil_div(n, largest), std::min(wanted, ceil_div(n, smallest)));
}

// Tasks 0..n-1, each to the thread that asks first.
class Tasks {
 public:
  std::ptrdiff_t take() { return next_.fetch_add(1, std::memory_order_relaxed); }
  template <class F>
  void run(std::ptrdiff_t n, const F& task) {
    for (std::ptrdiff_t i = take(); i < n; i = take()) task(i);
  }
  void reset() { next_.store(0, std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::ptrdiff_t> next_{0};
};

// Tasks of rows in whole grains, with at most so many rows, and several for each thread.
inline Cuts row_tasks(std::ptrdiff_t n_rows, std::ptrdiff_t largest, std::ptrdiff_t grain,
                      int n_threads) {
  constexpr std::ptrdiff_t kSmallest = 16;
  const std::ptrdiff_t wanted = n_threads > 1 ? 4 * n_threads : 1;
  return {n_rows, std::max<std::ptrdiff_t>(1, count_parts(n_rows, largest, kSmallest, wanted)),
          grain};
}

}  // namespace fastsoftmax
