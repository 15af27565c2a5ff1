// A B in packed tiles, with threads: cache blocks, packing, and what is done with each part of the
// result while it is in the cache. The tiles themselves are kernels (kernels/gemm-inl.h).
#pragma once

#include "aligned_buffer.h"
#include "fastsoftmax/matrix.h"
#include "storage.h"
#include "tasks.h"

namespace fastsoftmax {

// A block of B is packed by all threads, then met by all rows of A. An entry is the sum over slices
// of k, of 2 KB at most: a panel of A (24 KB with AVX-512) stays in the first-level cache. 1024^3
// and 4096x768x1000 in float32 on two threads of an AMD Zen 4: 207 and 204 GFLOP/s for 1 KB, 203
// and 206 for 1.5, 212 and 206 for 2.
template <class T>
Cuts depth_slices(std::ptrdiff_t k) {
  constexpr std::ptrdiff_t kSlice = 2048 / sizeof(T);
  return {k, ceil_div(k, kSlice)};
}

template <class In, class T>
class PackedProduct {
 public:
  // whole_depth: a part is complete after one task. Else a block of B with many rows is cut, so
  // that it can have more columns.
  PackedProduct(const KernelTable& table, const In* A, const StridedInputView& shape,
                const StridedView<const T>& B, int n_threads, bool whole_depth)
      : table_(table),
        A_(A),
        a_(shape),
        B_(B),
        slices_(depth_slices<T>(B.n_rows)),
        depth_(kernels_.gemm_depth(ceil_div(B.n_rows, slices_.n_parts))),
        block_slices_(whole_depth ? slices_.n_parts : std::min(slices_.n_parts, kBlockSlices)),
        width_(block_width()),
        // Wider rows that are to be whole come in blocks.
        has_few_rows_(shape.n_rows <= kFewRows && (!whole_depth || B.n_cols <= width_)),
        is_packed_(!has_few_rows_ || B.row_stride != 1 || shape.n_rows > kernels_.gemm_few_rows),
        height_(has_few_rows_ ? round_up(shape.n_rows, kernels_.gemm_rows)
                              : task_panels() * kernels_.gemm_rows),
        packed_B_(!is_packed_ ? 0
                              : depth_ * (has_few_rows_ ? few_columns() * n_threads
                                                        : width_ * block_slices_)),
        packed_A_(height_ * depth_ * n_threads) {}

  // The most rows of a part, and its most columns if rows are whole.
  std::ptrdiff_t height() const { return height_; }
  std::ptrdiff_t width() const { return std::min(width_, B_.n_cols); }

  // place(rows, columns, thread) says where a part of C is to be, its rows row_stride apart;
  // finish(part, rows, columns) is called when it is there. If rows are whole, so is a part with
  // width() columns; those of wider rows come in order.
  template <class Place, class Finish>
  void run(int n_threads, std::ptrdiff_t row_stride, bool whole_rows, const Place& place,
           const Finish& finish) {
    if (has_few_rows_) return run_few_rows(n_threads, row_stride, whole_rows, place, finish);
    Team team(n_threads);
    parallel_region(n_threads, [&](int thread, int n_running) {
      Team::Member member(team, thread, n_running);
      for (std::ptrdiff_t j = 0; j < B_.n_cols; j += width_) {
        for (std::ptrdiff_t s = 0; s < slices_.n_parts; s += block_slices_) {
          const Block block{j, std::min(width_, B_.n_cols - j), s,
                            std::min(s + block_slices_, slices_.n_parts)};
          // The tasks of one phase are set back in the other.
          member.run([&](int piece) {
            if (piece == 0) multiplying_.reset();
            pack(block);
          });
          member.run([&](int piece) {
            if (piece == 0) packing_.reset();
            multiply(block, piece, n_running, row_stride, whole_rows, place, finish);
          });
        }
      }
    });
  }

 private:
  // The bounds of a block of B; of small products in tasks: rows first, for each task packs its
  // part of A.
  static constexpr std::ptrdiff_t kBlockSlices = 16, kBlockBytes = 8 << 20;
  static constexpr std::ptrdiff_t kTaskColumns = 1024;
  static constexpr std::ptrdiff_t kGrainPanels = 4, kTasksPerThread = 4, kFewRows = 32;

  // Panels of A in a task, which stay in the second-level cache (with AVX-512 192 KB). Each task
  // reads all of B, from the third level where it is wide: 4096x768x1000 in tiles of bfloat16 on
  // two threads of a Xeon 545 GFLOP/s with 4, 572 with 8, 548 with 12. Where B has few columns A is
  // packed for little: 60000x784x20 110, 88 and 92.
  std::ptrdiff_t task_panels() const { return B_.n_cols < kTaskColumns / 2 ? 4 : 8; }

  struct Block {
    std::ptrdiff_t column, n_columns, first_slice, last_slice;
  };

  std::ptrdiff_t block_width() const {
    const std::ptrdiff_t panel = kernels_.gemm_columns;
    const std::ptrdiff_t fitting =
        kBlockBytes / static_cast<std::ptrdiff_t>(sizeof(T)) / (depth_ * block_slices_);
    return std::min(round_up(B_.n_cols, panel), std::max(panel, fitting / panel * panel));
  }

  std::ptrdiff_t few_columns() const { return kGrainPanels * kernels_.gemm_columns; }

  // All rows meet some columns of B as soon as these are packed, and all of it is never there: 10
  // rows, 784x1000, on two threads of a Xeon 0.10 ms, not 0.26. Or they are not packed.
  template <class Place, class Finish>
  void run_few_rows(int n_threads, std::ptrdiff_t row_stride, bool whole_rows, const Place& place,
                    const Finish& finish) {
    const Range i{0, a_.n_rows}, all{0, B_.n_cols};
    const Cuts columns{B_.n_cols, ceil_div(B_.n_cols, few_columns()), kernels_.gemm_columns};
    T* const rows = whole_rows ? place(i, all, 0) : nullptr;
    multiplying_.reset();
    parallel_region(n_threads, [&](int thread, int) {
      multiplying_.run(columns.n_parts, [&](std::ptrdiff_t task) {
        const Range j = columns[task];
        T* part = whole_rows ? rows + j.begin : place(i, j, thread);
        for (std::ptrdiff_t slice = 0; slice < slices_.n_parts; ++slice) {
          if (is_packed_) {
            T* packed_B = packed_B_.data() + thread * few_columns() * depth_;
            pack(slice, j, packed_B);
            multiply_slice(slice, i, j.end - j.begin, packed_B, thread, part, row_stride);
          } else {
            multiply_unpacked(slice, i, j, thread, part, row_stride);
          }
        }
        if (!whole_rows) finish(part, i, j);
      });
    });
    if (whole_rows) finish(rows, i, all);
  }

  // The slice of k of some columns of B.
  void pack(std::ptrdiff_t slice, Range j, T* packed) const {
    const Range k = slices_[slice];
    kernels_of_B_.gemm_pack_b(B_.data + k.begin * B_.row_stride + j.begin * B_.col_stride,
                              B_.row_stride, B_.col_stride, k.end - k.begin, j.end - j.begin,
                              packed);
  }

  T* packed_columns(const Block& block, std::ptrdiff_t slice, std::ptrdiff_t first) {
    const Range k = slices_[slice];
    return packed_B_.data() + (slice - block.first_slice) * width_ * depth_ +
           first * kernels_.gemm_depth(k.end - k.begin);
  }

  void pack(const Block& block) {
    const std::ptrdiff_t panel = kernels_.gemm_columns;
    const Cuts parts{block.n_columns, ceil_div(block.n_columns, kGrainPanels * panel), panel};
    const std::ptrdiff_t n_slices = block.last_slice - block.first_slice;
    packing_.run(parts.n_parts * n_slices, [&](std::ptrdiff_t task) {
      const std::ptrdiff_t slice = block.first_slice + task / parts.n_parts;
      const Range j = parts[task % parts.n_parts];
      pack(slice, {block.column + j.begin, block.column + j.end},
           packed_columns(block, slice, j.begin));
    });
  }

  template <class Place, class Finish>
  void multiply(const Block& block, int thread, int n_running, std::ptrdiff_t row_stride,
                bool whole_rows, const Place& place, const Finish& finish) {
    const std::ptrdiff_t n_tasks = kTasksPerThread * n_running;
    const std::ptrdiff_t few_rows = kGrainPanels * kernels_.gemm_rows;
    // As many for each thread: 29 tasks on two threads take as long as 30.
    const std::ptrdiff_t n_row_parts =
        std::min(round_up(count_parts(a_.n_rows, height_, few_rows, n_tasks), n_running),
                 ceil_div(a_.n_rows, kernels_.gemm_rows));
    const Cuts rows{a_.n_rows, n_row_parts, kernels_.gemm_rows};
    const std::ptrdiff_t n_column_parts =
        whole_rows ? 1
                   : count_parts(block.n_columns, kTaskColumns, few_columns(),
                                 ceil_div(n_tasks, rows.n_parts));
    const Cuts columns{block.n_columns, n_column_parts, kernels_.gemm_columns};
    multiplying_.run(rows.n_parts * columns.n_parts, [&](std::ptrdiff_t task) {
      const Range i = rows[task / columns.n_parts], j = columns[task % columns.n_parts];
      const Range at{block.column + j.begin, block.column + j.end};
      T* part = place(i, at, thread);
      for (std::ptrdiff_t slice = block.first_slice; slice < block.last_slice; ++slice) {
        multiply_slice(slice, i, j.end - j.begin, packed_columns(block, slice, j.begin), thread,
                       part, row_stride);
      }
      if (block.last_slice == slices_.n_parts) finish(part, i, at);
    });
  }

  // Adds the slice of k of some rows and n_columns packed columns to their part of C.
  void multiply_slice(std::ptrdiff_t slice, Range i, std::ptrdiff_t n_columns, const T* packed_B,
                      int thread, T* part, std::ptrdiff_t row_stride) {
    const Range k = slices_[slice];
    kernels_.gemm(packed_rows(k, i, thread), packed_B, i.end - i.begin, k.end - k.begin, n_columns,
                  part, row_stride, slice > 0);
  }
  void multiply_unpacked(std::ptrdiff_t slice, Range i, Range j, int thread, T* part,
                         std::ptrdiff_t row_stride) {
    const Range k = slices_[slice];
    kernels_.gemm_unpacked(packed_rows(k, i, thread), B_.data + k.begin + j.begin * B_.col_stride,
                           B_.col_stride, i.end - i.begin, k.end - k.begin, j.end - j.begin, part,
                           row_stride, slice > 0);
  }

  const T* packed_rows(Range k, Range i, int thread) {
    T* packed = packed_A_.data() + thread * height_ * depth_;
    kernels_of_A_.gemm_pack_a(A_ + i.begin * a_.row_stride + k.begin * a_.col_stride, a_.row_stride,
                              a_.col_stride, i.end - i.begin, k.end - k.begin, packed);
    return packed;
  }

  const KernelTable& table_;
  const ArithmeticKernels<T>& kernels_ = arithmetic_kernels<T>(table_);
  const StorageKernels<In, T>& kernels_of_A_ = storage_kernels<In, T>(table_);
  const StorageKernels<T, T>& kernels_of_B_ = storage_kernels<T, T>(table_);
  const In* A_;
  const StridedInputView a_;
  const StridedView<const T> B_;
  const Cuts slices_;
  const std::ptrdiff_t depth_;  // the most that a slice takes of a panel
  const std::ptrdiff_t block_slices_, width_;
  const bool has_few_rows_, is_packed_;
  const std::ptrdiff_t height_;
  AlignedBuffer<T> packed_B_, packed_A_;
  Tasks packing_, multiplying_;
};

}  // namespace fastsoftmax
