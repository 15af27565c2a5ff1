// Softmax and its relatives over the rows of whole arrays, shared among threads.
#include "fastsoftmax/functions.h"

#include <algorithm>

#include "aligned_buffer.h"
#include "cache_size.h"
#include "dispatch.h"
#include "fastsoftmax/checks.h"
#include "tasks.h"

namespace fastsoftmax {
namespace {

// f(begin, n, thread) on tasks of some of n_rows rows of row_bytes each. Whole cache lines of
// one-number results per task.
template <class F>
void for_rows(std::ptrdiff_t n_rows, std::ptrdiff_t row_bytes, int n_threads, const F& f) {
  constexpr std::ptrdiff_t kGrain = 16, kTaskBytes = 256 << 10;
  const std::ptrdiff_t largest = round_up(kTaskBytes / (row_bytes + 1), kGrain) + kGrain;
  const Cuts rows = row_tasks(n_rows, largest, kGrain, n_threads);
  Tasks tasks;
  parallel_region(n_threads, [&](int thread, int) {
    tasks.run(rows.n_parts, [&](std::ptrdiff_t task) {
      const Range range = rows[task];
      if (range.begin < range.end) f(range.begin, range.end - range.begin, thread);
    });
  });
}

template <class T>
std::ptrdiff_t bytes_of(std::ptrdiff_t n) {
  return n * static_cast<std::ptrdiff_t>(sizeof(T));
}

// What a cache cannot hold goes past it: a line that is written need not be read first.
template <class T>
bool streams(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, const T* out) {
  return out != x && 2 * bytes_of<T>(n_rows * n) > last_level_cache_bytes();
}

}  // namespace

template <class T>
void softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  const bool is_streamed = streams(x, n_rows, n, out);
  const std::ptrdiff_t scratch_size =
      round_up(std::min(bytes_of<T>(n), kLongRowBytes), 64) / bytes_of<T>(1);
  AlignedBuffer<T> scratch(is_streamed ? scratch_size * n_threads : 0);
  for_rows(n_rows, bytes_of<T>(n), n_threads,
           [&](std::ptrdiff_t begin, std::ptrdiff_t count, int thread) {
             if (is_streamed) {
               kernels.softmax_streamed(x + begin * n, count, n,
                                        scratch.data() + thread * scratch_size, out + begin * n);
             } else {
               kernels.softmax(x + begin * n, count, n, out + begin * n);
             }
           });
}

template <class T>
void log_softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  const auto kernel =
      streams(x, n_rows, n, out) ? kernels.log_softmax_streamed : kernels.log_softmax;
  for_rows(n_rows, bytes_of<T>(n), n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count, int) {
    kernel(x + begin * n, count, n, out + begin * n);
  });
}

template <class T>
void logsumexp(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, bytes_of<T>(n), n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count, int) {
    kernels.logsumexp(x + begin * n, count, n, out + begin);
  });
}

template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n_classes,
                   const std::int64_t* labels, const T* weights, T* losses, T* dlogits,
                   int n_threads) {
  check_labels(labels, n_rows, n_classes);
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, bytes_of<T>(n_classes), n_threads,
           [&](std::ptrdiff_t begin, std::ptrdiff_t count, int) {
             kernels.cross_entropy(logits + begin * n_classes, count, n_classes, labels + begin,
                                   weights ? weights + begin : nullptr, T(1),
                                   dlogits ? dlogits + begin * n_classes : nullptr, losses + begin);
           });
}

#define INSTANTIATE(T)                                                                          \
  template void softmax<T>(const T*, std::ptrdiff_t, std::ptrdiff_t, T*, int);                  \
  template void log_softmax<T>(const T*, std::ptrdiff_t, std::ptrdiff_t, T*, int);              \
  template void logsumexp<T>(const T*, std::ptrdiff_t, std::ptrdiff_t, T*, int);                \
  template void cross_entropy<T>(const T*, std::ptrdiff_t, std::ptrdiff_t, const std::int64_t*, \
                                 const T*, T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fastsoftmax
