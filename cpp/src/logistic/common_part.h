// What the rows of several classes have in common. Probabilities that sum to one do not change with
// it, and gradients of their losses, whose rows sum to zero, have none; but rounding brings it in.
#pragma once

#include <algorithm>

#include "parallel.h"

namespace fastsoftmax {

// Takes the mean of rows (n_rows, width) from each of them.
inline void take_mean_off(double* rows, std::ptrdiff_t n_rows, std::ptrdiff_t width,
                          int n_threads) {
  constexpr std::ptrdiff_t kBlock = 64;
  parallel_region(threads_worth(n_rows * width, n_threads), [&](int thread, int n_running) {
    const Range mine = share(width, kBlock, thread, n_running);
    for (std::ptrdiff_t begin = mine.begin; begin < mine.end; begin += kBlock) {
      const std::ptrdiff_t n = std::min(kBlock, mine.end - begin);
      double mean[kBlock] = {};
      for (std::ptrdiff_t r = 0; r < n_rows; ++r) {
        for (std::ptrdiff_t i = 0; i < n; ++i) mean[i] += rows[r * width + begin + i];
      }
      for (double& each : mean) each /= static_cast<double>(n_rows);
      for (std::ptrdiff_t r = 0; r < n_rows; ++r) {
        for (std::ptrdiff_t i = 0; i < n; ++i) rows[r * width + begin + i] -= mean[i];
      }
    }
  });
}

// Of parameters, W (n_outputs, d) and then b (n_outputs), or of what lies as they do. One output
// has nothing in common: it is that of two classes, less the other.
inline void remove_common_part(double* parameters, std::ptrdiff_t n_outputs, std::ptrdiff_t d,
                               int n_threads) {
  if (n_outputs == 1) return;
  take_mean_off(parameters, n_outputs, d, n_threads);
  take_mean_off(parameters + n_outputs * d, n_outputs, 1, 1);
}

}  // namespace fastsoftmax
