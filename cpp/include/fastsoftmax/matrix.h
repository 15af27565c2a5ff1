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

// X (n_rows, n_cols) in compressed rows: the entries of row i are data[indptr[i] .. indptr[i + 1]),
// in the columns indices[..]. indptr ascends, from wherever, and columns are in 0..n_cols-1: nobody
// looks. An entry that is given twice counts twice.
struct CsrView {
  Storage storage;
  const void* data;
  const void* indices;
  const void* indptr;
  bool wide_indices, wide_indptr;  // int64, not int32
  std::ptrdiff_t n_rows, n_cols;

  // Where the entries of a row begin.
  std::ptrdiff_t begin_of_row(std::ptrdiff_t row) const {
    if (wide_indptr) {
      return static_cast<std::ptrdiff_t>(static_cast<const std::int64_t*>(indptr)[row]);
    }
    return static_cast<std::ptrdiff_t>(static_cast<const std::int32_t*>(indptr)[row]);
  }
  std::ptrdiff_t n_entries() const { return begin_of_row(n_rows) - begin_of_row(0); }
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
