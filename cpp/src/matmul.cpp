// Matrix products: cache blocks, packing of B and rows over threads; the tiles are kernels.
#include <algorithm>
#include <atomic>
#include <type_traits>

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

// Packed tiles. A block of B is packed by all threads, then met by all rows of A. Both go by tasks
// that the threads take as they come, for a thread may lose its CPU; no bits depend on what a task
// is. An entry is the sum over slices of k, of 2 KB at most: a panel of A (24 KB with AVX-512)
// stays in the first-level cache. 1024^3 and 4096x768x1000 in float32 on two threads of an AMD Zen
// 4: 207 and 204 GFLOP/s for 1 KB, 203 and 206 for 1.5, 212 and 206 for 2.
template <class T>
constexpr std::ptrdiff_t kSlice = 2048 / sizeof(T);
// The bounds of a block of B; of the panels and columns of a task, whose packed part of A (288 KB)
// stays in the second-level cache.
constexpr std::ptrdiff_t kBlockSlices = 16, kBlockBytes = 8 << 20;
constexpr std::ptrdiff_t kTaskPanels = 12, kTaskColumns = 1024;
// Small products: rows first, for each task packs its part of A.
constexpr std::ptrdiff_t kGrainPanels = 4, kTasksPerThread = 4;

std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return (n + unit - 1) / unit * unit;
}
std::ptrdiff_t ceil_div(std::ptrdiff_t n, std::ptrdiff_t unit) { return (n + unit - 1) / unit; }

// Cuts of n into n_parts that differ by one unit at the most.
struct Cuts {
  std::ptrdiff_t n, n_parts, unit = 1;
  Range operator[](std::ptrdiff_t part) const {
    const std::ptrdiff_t n_units = ceil_div(n, unit);
    const auto cut = [&](std::ptrdiff_t i) { return std::min(n, i * n_units / n_parts * unit); };
    return {cut(part), cut(part + 1)};
  }
};

// Parts of n, at most largest each, and as many as wanted, while they are no smaller than smallest.
std::ptrdiff_t n_parts(std::ptrdiff_t n, std::ptrdiff_t largest, std::ptrdiff_t smallest,
                       std::ptrdiff_t wanted) {
  return std::max(ceil_div(n, largest), std::min(wanted, ceil_div(n, smallest)));
}

// Tasks 0..n-1, each to the thread that asks first.
class Tasks {
 public:
  template <class F>
  void run(std::ptrdiff_t n, const F& task) {
    for (;;) {
      const std::ptrdiff_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= n) return;
      task(i);
    }
  }
  void reset() { next_.store(0, std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::ptrdiff_t> next_{0};
};

template <class In, class T>
class BlockedProduct {
 public:
  BlockedProduct(const In* A, const StridedInputView& shape, const StridedView<const T>& B, T* C,
                 int n_threads)
      : A_(A),
        B_(B),
        C_(C),
        m_(shape.n_rows),
        k_(B.n_rows),
        n_(B.n_cols),
        a_row_stride_(shape.row_stride),
        a_col_stride_(shape.col_stride),
        storage_(storage_kernels(A, T())),
        arithmetic_(arithmetic_kernels<T>()),
        b_storage_(storage_kernels(B.data, T())),
        slices_{k_, ceil_div(k_, kSlice<T>)},
        depth_(ceil_div(k_, slices_.n_parts)),
        width_(std::min(round_up(n_, arithmetic_.gemm_columns),
                        std::max(arithmetic_.gemm_columns,
                                 kBlockBytes / static_cast<std::ptrdiff_t>(sizeof(T)) /
                                     (depth_ * std::min(slices_.n_parts, kBlockSlices)) /
                                     arithmetic_.gemm_columns * arithmetic_.gemm_columns))),
        height_(kTaskPanels * arithmetic_.gemm_rows),
        packed_B_(width_ * depth_ * std::min(slices_.n_parts, kBlockSlices)),
        packed_A_(height_ * depth_ * n_threads) {}

  void run(int n_threads) {
    parallel_region(n_threads, [&](int thread, int n_running) {
      for (std::ptrdiff_t j = 0; j < n_; j += width_) {
        for (std::ptrdiff_t s = 0; s < slices_.n_parts; s += kBlockSlices) {
          const Block block{j, std::min(width_, n_ - j), s,
                            std::min(s + kBlockSlices, slices_.n_parts)};
          pack(block, n_running);
          multiply(block, thread, n_running);
        }
      }
    });
  }

 private:
  struct Block {
    std::ptrdiff_t column, n_columns, first_slice, last_slice;
  };

  T* packed_slice(const Block& block, std::ptrdiff_t slice) {
    return packed_B_.data() + (slice - block.first_slice) * width_ * depth_;
  }

  void pack(const Block& block, int n_running) {
    const Cuts parts{block.n_columns,
                     ceil_div(block.n_columns, kGrainPanels * arithmetic_.gemm_columns),
                     arithmetic_.gemm_columns};
    const std::ptrdiff_t n_slices = block.last_slice - block.first_slice;
    packing_.run(parts.n_parts * n_slices, [&](std::ptrdiff_t task) {
      const std::ptrdiff_t slice = block.first_slice + task / parts.n_parts;
      const Range k = slices_[slice], j = parts[task % parts.n_parts];
      b_storage_.gemm_pack_b(
          B_.data + k.begin * B_.row_stride + (block.column + j.begin) * B_.col_stride,
          B_.row_stride, B_.col_stride, k.end - k.begin, j.end - j.begin,
          packed_slice(block, slice) + j.begin * (k.end - k.begin));
    });
    barrier_.wait(n_running);
    multiplying_.reset();
    barrier_.wait(n_running);
  }

  void multiply(const Block& block, int thread, int n_running) {
    const std::ptrdiff_t row_grain = kGrainPanels * arithmetic_.gemm_rows;
    const std::ptrdiff_t column_grain = kGrainPanels * arithmetic_.gemm_columns;
    const std::ptrdiff_t n_tasks = kTasksPerThread * n_running;
    const Cuts rows{m_, n_parts(m_, height_, row_grain, n_tasks), arithmetic_.gemm_rows};
    const Cuts columns{
        block.n_columns,
        n_parts(block.n_columns, kTaskColumns, column_grain, ceil_div(n_tasks, rows.n_parts)),
        arithmetic_.gemm_columns};
    T* panel = packed_A_.data() + thread * height_ * depth_;
    multiplying_.run(rows.n_parts * columns.n_parts, [&](std::ptrdiff_t task) {
      const Range i = rows[task / columns.n_parts], j = columns[task % columns.n_parts];
      for (std::ptrdiff_t slice = block.first_slice; slice < block.last_slice; ++slice) {
        const Range k = slices_[slice];
        const std::ptrdiff_t depth = k.end - k.begin;
        storage_.gemm_pack_a(A_ + i.begin * a_row_stride_ + k.begin * a_col_stride_, a_row_stride_,
                             a_col_stride_, i.end - i.begin, depth, panel);
        arithmetic_.gemm(panel, packed_slice(block, slice) + j.begin * depth, i.end - i.begin,
                         depth, j.end - j.begin, C_ + i.begin * n_ + block.column + j.begin, n_,
                         slice > 0);
      }
    });
    barrier_.wait(n_running);
    packing_.reset();
    barrier_.wait(n_running);
  }

  const In* A_;
  const StridedView<const T> B_;
  T* C_;
  const std::ptrdiff_t m_, k_, n_, a_row_stride_, a_col_stride_;
  const StorageKernels<In, T>& storage_;
  const ArithmeticKernels<T>& arithmetic_;
  const StorageKernels<T, T>& b_storage_;
  const Cuts slices_;
  const std::ptrdiff_t depth_, width_, height_;
  AlignedBuffer<T> packed_B_, packed_A_;
  Tasks packing_, multiplying_;
  Barrier barrier_;
};

}  // namespace

template <class T>
void matmul(const StridedInputView& A, const StridedView<const T>& B, T* C, int n_threads) {
  if (B.n_rows == 0) {
    std::fill_n(C, A.n_rows * B.n_cols, T(0));
    return;
  }
  if (A.n_rows == 0 || B.n_cols == 0) return;
  with_storage<T>(A, [&](const auto* data) {
    if (B.n_cols <= kSkinny && A.col_stride == 1) {
      multiply_skinny(data, A, B, C, n_threads);
    } else {
      using In = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
      BlockedProduct<In, T>(data, A, B, C, n_threads).run(n_threads);
    }
  });
}

template void matmul<float>(const StridedInputView&, const StridedView<const float>&, float*, int);
template void matmul<double>(const StridedInputView&, const StridedView<const double>&, double*,
                             int);

}  // namespace fastsoftmax
