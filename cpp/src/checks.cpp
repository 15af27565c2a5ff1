// What is wrong with data, and where.
#include "fastsoftmax/checks.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "finite.h"
#include "storage.h"

namespace fastsoftmax {

bool find_nonfinite(const InputView& X, std::ptrdiff_t* row, std::ptrdiff_t* col) {
  return with_storage<double>(X, [&](const auto* data) {
    for (std::ptrdiff_t i = 0; i < X.n_rows; ++i) {
      const auto* x = data + i * X.row_stride;
      if (all_finite(x, X.n_cols)) continue;
      *row = i;
      *col = std::find_if(x, x + X.n_cols, [](auto v) { return !(v - v == 0); }) - x;
      return true;
    }
    return false;
  });
}

float largest_size(const float* X, std::ptrdiff_t n_rows, std::ptrdiff_t n_cols,
                   std::ptrdiff_t row_stride) {
  if (row_stride == n_cols) return largest_size(X, n_rows * n_cols);
  float largest = 0.0f;
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
    const float here = largest_size(X + i * row_stride, n_cols);
    if (!(here <= largest)) largest = here;
    if (!std::isfinite(here)) break;
  }
  return largest;
}

void check_labels(const std::int64_t* labels, std::ptrdiff_t n, std::ptrdiff_t n_classes) {
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (labels[i] < 0 || labels[i] >= n_classes) {
      throw std::invalid_argument("labels[" + std::to_string(i) + "] is " +
                                  std::to_string(labels[i]) + ", not in 0.." +
                                  std::to_string(n_classes - 1));
    }
  }
}

}  // namespace fastsoftmax
