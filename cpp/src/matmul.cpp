// Matrix products: cache blocks, packing of B and rows over threads; the tiles are kernels.
#include <algorithm>

#include "aligned_buffer.h"
#include "fastsoftmax/functions.h"
#include "parallel.h"
#include "storage.h"

namespace fastsoftmax {
namespace {

// Products with few columns run as logits do, with vectors along k: a panel would be mostly
// padding.
constexpr std::ptrdiff_t kSkinny = 16;

template <class In, class T>
void multiply_skinny(const In* A, const StridedInputView& shape, const StridedView<const T>& B,
                     T* C, int n_threads) {
  const std::ptrdiff_t m = shape.n_rows, k = B.n_rows, n = B.n_cols;
  AlignedBuffer<T> columns(n * k);  // B', class-major as W is
  for (std::ptrdiff_t j = 0; j < n; ++j) {
    for (std::ptrdiff_t p = 0; p < k; ++p) {
      columns[j * k + p] = B.data[p * B.row_stride + j * B.col_stride];
    }
  }
  const auto& kernels = storage_kernels(A, T());
  parallel_region(n_threads, [&](int thread, int n_running) {
    constexpr std::ptrdiff_t kBlock = 64;
    const In* rows[kBlock];
    const Range mine = share(m, 16, thread, n_running);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; i += kBlock) {
      const std::ptrdiff_t n_rows = std::min(kBlock, mine.end - i);
      point_at_rows(A, shape.row_stride, i, n_rows, rows);
      kernels.logits({rows, nullptr, nullptr, nullptr, n_rows, 0, k, n, columns.data(), nullptr,
                      T(1), C + i * n, n, 1});
    }
  });
}

// A block of B, kDepth x kWidth elements, is packed by all threads, then met by all rows of A: 1 MB
// in float32, half of a second-level cache of 2 MB; a panel of it (16 KB with AVX2) stays in the
// first.
constexpr std::ptrdiff_t kDepth = 256, kWidth = 1024;

template <class In, class T>
void multiply_blocked(const In* A, const StridedInputView& shape, const StridedView<const T>& B,
                      T* C, int n_threads) {
  const std::ptrdiff_t m = shape.n_rows, k = B.n_rows, n = B.n_cols;
  const auto& kernels = storage_kernels(A, T());
  const auto& pack = arithmetic_kernels<T>();
  const std::ptrdiff_t panel = pack.gemm_panel;
  const std::ptrdiff_t widest = (std::min(n, kWidth) + panel - 1) / panel * panel;
  AlignedBuffer<T> packed(std::min(k, kDepth) * widest);
  Barrier barrier;
  parallel_region(n_threads, [&](int thread, int n_running) {
    const Range mine = share(m, 24, thread, n_running);  // whole tiles of 12, 8, 6 or 4 rows
    for (std::ptrdiff_t j = 0; j < n; j += kWidth) {
      const std::ptrdiff_t width = std::min(kWidth, n - j);
      const Range columns = share(width, panel, thread, n_running);
      for (std::ptrdiff_t p = 0; p < k; p += kDepth) {
        const std::ptrdiff_t depth = std::min(kDepth, k - p);
        pack.gemm_pack(B.data + p * B.row_stride + (j + columns.begin) * B.col_stride, B.row_stride,
                       B.col_stride, depth, columns.end - columns.begin,
                       packed.data() + columns.begin * depth);
        barrier.wait(n_running);
        kernels.gemm(A + mine.begin * shape.row_stride + p * shape.col_stride, shape.row_stride,
                     shape.col_stride, packed.data(), mine.end - mine.begin, depth, width,
                     C + mine.begin * n + j, n, p > 0);
        barrier.wait(n_running);
      }
    }
  });
}

}  // namespace

template <class T>
void matmul(const StridedInputView& A, const StridedView<const T>& B, T* C, int n_threads) {
  if (B.n_rows == 0) {
    std::fill_n(C, A.n_rows * B.n_cols, T(0));
    return;
  }
  with_storage<T>(A, [&](const auto* data) {
    if (B.n_cols <= kSkinny && A.col_stride == 1) {
      multiply_skinny(data, A, B, C, n_threads);
    } else {
      multiply_blocked(data, A, B, C, n_threads);
    }
  });
}

template void matmul<float>(const StridedInputView&, const StridedView<const float>&, float*, int);
template void matmul<double>(const StridedInputView&, const StridedView<const double>&, double*,
                             int);

}  // namespace fastsoftmax
