// Long vectors of float64: sums over fixed blocks, added in their order, so that the bits do not
// depend on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "ceil_div.h"
#include "parallel.h"

namespace fastsoftmax {

constexpr std::ptrdiff_t kVectorBlock = 4096;

inline std::ptrdiff_t vector_blocks(std::ptrdiff_t n) { return ceil_div(n, kVectorBlock); }

// How many threads so many vectors of n numbers are worth.
inline int vector_threads(std::ptrdiff_t n, std::ptrdiff_t n_vectors, int n_threads) {
  return static_cast<int>(
      std::min<std::ptrdiff_t>(threads_worth(n * n_vectors, n_threads), vector_blocks(n)));
}

// f(i) for 0..n-1, shared among threads in runs.
template <class F>
void for_shared(std::ptrdiff_t n, int n_threads, const F& f) {
  const auto visit = [&](int thread, int n_running) {
    const Range mine = share(n, 1, thread, n_running);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) f(i);
  };
  if (n_threads < 2) return visit(0, 1);
  parallel_region(n_threads, visit);
}

// f(begin, end, block) for all blocks of 0..n-1, on threads if f does enough with so many vectors.
template <class F>
void for_vector_blocks(std::ptrdiff_t n, int n_threads, const F& f, std::ptrdiff_t n_vectors = 1) {
  for_shared(vector_blocks(n), vector_threads(n, n_vectors, n_threads), [&](std::ptrdiff_t i) {
    f(i * kVectorBlock, std::min(n, (i + 1) * kVectorBlock), i);
  });
}

// Sixteen sums, so that compilers may use vectors without changing the order.
inline double dot_block(const double* a, const double* b, std::ptrdiff_t n) {
  double sum[16] = {};
  std::ptrdiff_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) sum[j] += a[i + j] * b[i + j];
  }
  for (int j = 0; i < n; ++i, ++j) sum[j] += a[i] * b[i];
  for (int step = 8; step; step /= 2) {
    for (int j = 0; j < step; ++j) sum[j] += sum[j + step];
  }
  return sum[0];
}

inline double dot(const double* a, const double* b, std::ptrdiff_t n, int n_threads) {
  if (n <= kVectorBlock) return dot_block(a, b, n);
  std::vector<double> sums(static_cast<std::size_t>(vector_blocks(n)));
  for_vector_blocks(n, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t i) {
    sums[static_cast<std::size_t>(i)] = dot_block(a + begin, b + begin, end - begin);
  });
  double sum = 0.0;
  for (const double s : sums) sum += s;
  return sum;
}

// sums (n_vectors, n_rows): the products of each of a few vectors x with each row, row(i) being a
// pointer. All in one visit to the rows, and one meeting of the threads.
template <class Row>
void dots(const Row& row, std::ptrdiff_t n_rows, const double* const* x, std::ptrdiff_t n_vectors,
          std::ptrdiff_t n, int n_threads, double* sums) {
  const std::ptrdiff_t n_blocks = vector_blocks(n), size = n_vectors * n_rows;
  std::vector<double> parts(static_cast<std::size_t>(n_blocks * size));
  for_vector_blocks(
      n, n_threads,
      [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t i) {
        double* part = parts.data() + i * size;
        for (std::ptrdiff_t r = 0; r < n_rows; ++r) {
          for (std::ptrdiff_t v = 0; v < n_vectors; ++v) {
            part[v * n_rows + r] = dot_block(row(r) + begin, x[v] + begin, end - begin);
          }
        }
      },
      size);
  std::fill_n(sums, size, 0.0);
  for (std::ptrdiff_t i = 0; i < n_blocks; ++i) {
    for (std::ptrdiff_t j = 0; j < size; ++j)
      sums[j] += parts[static_cast<std::size_t>(i * size + j)];
  }
}

// y += a x
inline void add_scaled(double a, const double* x, double* y, std::ptrdiff_t n, int n_threads) {
  for_vector_blocks(n, n_threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
    for (std::ptrdiff_t i = begin; i < end; ++i) y[i] += a * x[i];
  });
}

}  // namespace fastsoftmax
