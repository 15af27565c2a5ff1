// Softmax and its relatives over the rows of whole arrays, shared among threads.
#include "fastsoftmax/functions.h"

#include "dispatch.h"
#include "fastsoftmax/objective.h"
#include "parallel.h"

namespace fastsoftmax {
namespace {

// f(begin, n) on the shares of n_rows rows. Whole cache lines of one-number results per share.
template <class F>
void for_rows(std::ptrdiff_t n_rows, int n_threads, const F& f) {
  constexpr std::ptrdiff_t kGrain = 16;
  parallel_region(n_threads, [&](int thread, int n) {
    const Range rows = share(n_rows, kGrain, thread, n);
    if (rows.begin < rows.end) f(rows.begin, rows.end - rows.begin);
  });
}

}  // namespace

template <class T>
void softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    kernels.softmax(x + begin * n, count, n, out + begin * n);
  });
}

template <class T>
void log_softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    kernels.log_softmax(x + begin * n, count, n, out + begin * n);
  });
}

template <class T>
void logsumexp(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads) {
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
    kernels.logsumexp(x + begin * n, count, n, out + begin);
  });
}

template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n_classes,
                   const std::int64_t* labels, const T* weights, T* losses, T* dlogits,
                   int n_threads) {
  check_labels(labels, n_rows, n_classes);
  const auto& kernels = arithmetic_kernels<T>();
  for_rows(n_rows, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t count) {
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
