// What is wrong with data, and where.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

// Throws std::invalid_argument, with position and value, for a label that is not in 0..n_classes-1.
void check_labels(const std::int64_t* labels, std::ptrdiff_t n, std::ptrdiff_t n_classes);

// The first entry of X that is NaN or infinite, by rows; false if there is none.
bool find_nonfinite(const InputView& X, std::ptrdiff_t* row, std::ptrdiff_t* col);

// The size of the largest entry, NaN or infinity if not all are finite.
float largest_size(const float* X, std::ptrdiff_t n_rows, std::ptrdiff_t n_cols,
                   std::ptrdiff_t row_stride);

}  // namespace fastsoftmax
