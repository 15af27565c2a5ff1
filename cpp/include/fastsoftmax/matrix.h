// Non-owning views of the matrices that callers hand in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax {

// The type in which X may be stored. Kernels widen it as they read.
enum class Storage { kFloat32, kFloat64, kUInt8 };

// X: (n_rows, n_cols), columns contiguous, rows row_stride elements apart (any sign).
struct InputView {
  Storage storage;
  const void* data;
  std::ptrdiff_t n_rows, n_cols, row_stride;
};

// The left matrix of a product: as InputView, with any column stride.
struct StridedInputView {
  Storage storage;
  const void* data;
  std::ptrdiff_t n_rows, n_cols, row_stride, col_stride;
};

// A matrix of numbers of type T, any strides (in elements).
template <class T>
struct StridedView {
  T* data;
  std::ptrdiff_t n_rows, n_cols, row_stride, col_stride;
};

}  // namespace fastsoftmax
