// Matrix products: those with few rows or columns without panels, the others in packed tiles.
#include <algorithm>

#include "aligned_buffer.h"
#include "fastsoftmax/functions.h"
#include "packed_product.h"
#include "row_blocks.h"
#include "skinny_product.h"

namespace fastsoftmax {
namespace {

// Products with few columns run as logits do, with vectors along k: a panel would be mostly
// padding. Up to 24 columns that is the faster way (float32 1.25 to 1.8 times on a Zen 4), but
// solvers multiply too, and with AVX2 and features 300 times off their spread one took 160 passes
// for 107, by rounding alone.
template <class In, class T>
void multiply_rows(const KernelTable& table, const In* A, const StridedInputView& shape,
                   const StridedView<const T>& B, T* C, int n_threads) {
  const std::ptrdiff_t k = B.n_rows, n = B.n_cols;
  // B', class-major as W is; it may be so already.
  const bool is_class_major = B.row_stride == 1 && (B.col_stride == k || n == 1);
  const auto transpose = [&](T* to) {
    arithmetic_kernels<T>(table).transpose(B.data, B.row_stride, B.col_stride, k, n, to, k);
  };
  ThreadWeights columns(is_class_major && is_well_placed(B.data, shape.n_rows) ? B.data : nullptr,
                        n * k, n_threads, transpose);
  const auto& kernels = storage_kernels<In, T>(table);
  for_row_blocks(A, shape.row_stride, shape.n_rows, n_threads, [&](const auto& block, int thread) {
    kernels.logits({block.rows, block.next, block.n_rows, block.n_next, k, n, columns.of(thread),
                    C + block.first * n});
  });
}

// Whether A B has few columns or few rows, and is made so. The number of rows may not choose
// between sums in different orders, for a row has the same bits alone: with A' in memory few
// columns are summed as in panels, and so are few rows, but where panels are met in tiles these
// round otherwise.
template <class In, class T>
bool multiply_skinny(const KernelTable& table, const In* A, const StridedInputView& a,
                     const StridedView<const T>& B, T* C, int n_threads) {
  const std::ptrdiff_t m = a.n_rows, k = B.n_rows, n = B.n_cols;
  if (n <= kMaxSkinny && a.col_stride == 1) {
    multiply_rows(table, A, a, B, C, n_threads);
    return true;
  }
  const bool in_tiles = arithmetic_kernels<T>(table).gemm_depth(1) > 1;
  if (in_tiles) return false;
  if (n <= kMaxSkinny && a.row_stride == 1) {
    ColumnSums<In, T, T>(table, {A, k, m, a.col_stride}, B, n_threads).run(C, n, 1);
    return true;
  }
  if (n > kMaxSkinny && m <= kMaxSkinny && B.col_stride == 1) {  // C' = B' A'
    ColumnSums<T, T, In>(table, {B.data, k, n, B.row_stride}, {A, k, m, a.col_stride, a.row_stride},
                         n_threads)
        .run(C, 1, n);
    return true;
  }
  return false;
}

template <class In, class T>
void multiply_packed(const KernelTable& table, const In* A, const StridedInputView& shape,
                     const StridedView<const T>& B, T* C, int n_threads) {
  const std::ptrdiff_t n = B.n_cols;
  PackedProduct<In, T>(table, A, shape, B, n_threads, false)
      .run(
          n_threads, n, false,
          [&](Range rows, Range columns, int) { return C + rows.begin * n + columns.begin; },
          [](T*, Range, Range) {});
}

}  // namespace

template <class T>
void matmul(const StridedInputView& A, const StridedView<const T>& B, T* C, int n_threads) {
  if (B.n_rows == 0) {
    std::fill_n(C, A.n_rows * B.n_cols, T(0));
    return;
  }
  if (A.n_rows == 0 || B.n_cols == 0) return;
  const KernelTable& table = kernels();
  with_storage<T>(A, [&](const auto* data) {
    if (multiply_skinny(table, data, A, B, C, n_threads)) return;
    multiply_packed(table, data, A, B, C, n_threads);
  });
}

template void matmul<float>(const StridedInputView&, const StridedView<const float>&, float*, int);
template void matmul<double>(const StridedInputView&, const StridedView<const double>&, double*,
                             int);

}  // namespace fastsoftmax
