// The only door to threads: regions on OpenMP, or on std::thread in a build without it, and the
// barrier inside them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace fastsoftmax {

// Runs body(thread, n_threads) on at most n_threads threads at once, the calling one being thread 0,
// and returns when all are done. The body gets the true number, which may be smaller: 1 in a forked
// child (libgomp hangs there once the parent has run a region), inside another region, or where the
// system gives no more threads. The body must not throw.
void parallel_region(int n_threads, const std::function<void(int, int)>& body);

// The thread's share of n items, in whole grains, so that no two threads write to one cache line.
struct Range {
  std::ptrdiff_t begin, end;
};
Range share(std::ptrdiff_t n, std::ptrdiff_t grain, int thread, int n_threads);

// A barrier for steps of a few microseconds: OpenMP's own sleeps or spins by settings that belong to
// the whole process. Spins for a bounded time, then sleeps until the last of n_threads comes.
class Barrier {
 public:
  void wait(int n_threads);

 private:
  alignas(64) std::atomic<int> n_arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
};

}  // namespace fastsoftmax
