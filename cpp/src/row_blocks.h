// The rows of a matrix for the logits kernels: blocks that threads take as they come, each with the
// block that its thread will have next, so that the kernel can fetch it into the cache meanwhile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "aligned_buffer.h"
#include "storage.h"
#include "tasks.h"

namespace fastsoftmax {

// With the next block fetched, 60000x784 float32 take 7.9 ms for blocks of 64, 8 or 16 rows and 9.6
// for 2, on two threads of an AMD Zen 4; without it 14.5.
constexpr std::ptrdiff_t kBlockRows = 64;

template <class In>
struct RowBlock {
  std::ptrdiff_t first, n_rows, n_next;
  const In* const* rows;  // (n_rows)
  const In* const* next;  // (n_next)
};

// visit(block, thread) for all rows; the threads share them.
template <class In, class F>
void for_row_blocks(const In* data, std::ptrdiff_t row_stride, std::ptrdiff_t n_rows, int n_threads,
                    const F& visit) {
  Tasks tasks;
  const Cuts blocks = row_tasks(n_rows, kBlockRows, 2, n_threads);
  parallel_region(n_threads, [&](int thread, int) {
    const In *pointers[2][kBlockRows + 1], **rows = pointers[0], **next = pointers[1];
    const auto point_at = [&](std::ptrdiff_t block, const In** at) {
      const Range range = block < blocks.n_parts ? blocks[block] : Range{n_rows, n_rows};
      point_at_rows(data, row_stride, range.begin, range.end - range.begin, at);
      return range;
    };
    std::ptrdiff_t block = tasks.take();
    Range now = point_at(block, rows);
    while (block < blocks.n_parts) {
      block = tasks.take();
      const Range then = point_at(block, next);
      visit(RowBlock<In>{now.begin, now.end - now.begin,
                         std::min(now.end - now.begin, then.end - then.begin), rows, next},
            thread);
      std::swap(rows, next);
      now = then;
    }
  });
}

// The rows of blocks where those of X do not lie together: copies in the second-level cache. Of two
// classes, columns together, on one thread and two of a Zen 4, and with NumPy's copies of 4 MB
// instead, milliseconds: 60000x784 float32 22, 14 and 53; 20000x100 float64 1.1, 0.85 and 2.5.
template <class In>
class RowCopies {
 public:
  RowCopies(const KernelTable& table, const StridedInputView& X, int n_threads)
      : table_(table),
        X_(X),
        size_(X.col_stride == 1 ? 0 : padded<In>(kBlockRows * X.n_cols)),
        copies_(size_ * n_threads),
        rows_(X.col_stride == 1 ? 0 : kBlockRows * n_threads) {}

  RowBlock<In> with_rows(const RowBlock<In>& block, int thread) {
    if (X_.col_stride == 1) return block;
    In* copy = copies_.data() + thread * size_;
    const In** rows = rows_.data() + thread * kBlockRows;
    copy_rows(block.rows[0], block.n_rows, copy);
    point_at_rows(copy, X_.n_cols, 0, block.n_rows, rows);
    return {block.first, block.n_rows, 0, rows, rows};
  }

 private:
  void copy_rows(const In* from, std::ptrdiff_t n_rows, In* copy) const {
    if constexpr (sizeof(In) > 1) {
      arithmetic_kernels<In>(table_).transpose(from, X_.col_stride, X_.row_stride, X_.n_cols,
                                               n_rows, copy, X_.n_cols);
    } else {
      for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
        for (std::ptrdiff_t f = 0; f < X_.n_cols; ++f) {
          copy[i * X_.n_cols + f] = from[i * X_.row_stride + f * X_.col_stride];
        }
      }
    }
  }

  const KernelTable& table_;
  const StridedInputView X_;
  const std::ptrdiff_t size_;
  AlignedBuffer<In> copies_;
  AlignedBuffer<const In*> rows_;
};

// Weights (n_classes, n_features) for the kernels: those given, or copies that begin where a cache
// line does. Each thread makes its own at first, if it is small: lines that another core has just
// written come late (100x784x10 float32 on two threads of a Zen 4: 19.7 microseconds, then 16.7).
template <class T, class Copy>
class ThreadWeights {
 public:
  // W is null if it will not do as it is; copy(to) writes all size numbers.
  ThreadWeights(const T* W, std::ptrdiff_t size, int n_threads, const Copy& copy)
      : W_(W),
        size_(padded<T>(size)),
        n_copies_(W ? 0 : copies_of(size, n_threads)),
        copy_(copy),
        copies_(size_ * n_copies_),
        is_made_(n_copies_ * kFlagStride) {
    std::fill_n(is_made_.data(), is_made_.size(), char(0));
    if (n_copies_ == 1) of(0);
  }

  const T* of(int thread) {
    if (n_copies_ == 0) return W_;
    const std::ptrdiff_t i = n_copies_ > 1 ? thread : 0;
    T* own = copies_.data() + i * size_;
    if (char& is_made = is_made_[i * kFlagStride]; !is_made) {
      copy_(own);
      is_made = 1;
    }
    return own;
  }

 private:
  static constexpr std::ptrdiff_t kOwn = 65536 / sizeof(T), kFlagStride = 64;

  static std::ptrdiff_t copies_of(std::ptrdiff_t size, int n_threads) {
    return size <= kOwn ? n_threads : 1;
  }

  const T* const W_;
  const std::ptrdiff_t size_, n_copies_;
  const Copy copy_;
  AlignedBuffer<T> copies_;
  AlignedBuffer<char> is_made_;
};

// Whether W will do for so many rows. Vectors that straddle lines cost a fifth (100x784x10 float32:
// 30 and 24 microseconds), a copy as much as some 30 rows.
inline bool is_well_placed(const void* W, std::ptrdiff_t n_rows) {
  constexpr std::ptrdiff_t kManyRows = 32;
  return n_rows < kManyRows || reinterpret_cast<std::uintptr_t>(W) % 64 == 0;
}

}  // namespace fastsoftmax
