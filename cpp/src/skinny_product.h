// The products of a large matrix with one of few columns or rows, which in a packed panel would be
// mostly padding: as the gradient of training is made, one row of the large matrix after the other.
#pragma once

#include <algorithm>
#include <type_traits>

#include "aligned_buffer.h"
#include "packed_product.h"
#include "storage.h"
#include "tasks.h"

namespace fastsoftmax {

// The most columns of the other matrix: a group of classes.
constexpr std::ptrdiff_t kMaxSkinny = kGroupClasses;

// A matrix with contiguous rows.
template <class In>
struct RowsView {
  const In* data;
  std::ptrdiff_t n_rows, n_cols, row_stride;
};

// X' R, R (n_rows of X, few) with any strides, or its transpose. X is read once, and the rows that
// come next are fetched meanwhile. An entry is the same sum as in a packed product, in the same
// order: it has the same bits, for any number of threads and of features.
template <class In, class T, class Other>
class ColumnSums {
 public:
  ColumnSums(const KernelTable& table, const RowsView<In>& X, const StridedView<const Other>& R,
             int n_threads)
      : table_(table),
        X_(X),
        R_(R),
        n_threads_(n_threads),
        slices_(depth_slices<T>(X.n_rows)),
        parts_{X.n_cols, count_parts(X.n_cols, 512, 128, 2 * n_threads), kGrain},
        few_(n_threads * kChunkRows * R.n_cols) {}

  // out[f * row_stride + c * col_stride] = entry (f, c); one of the strides is 1.
  void run(T* out, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride) {
    if (X_.n_cols < kShortRow && slices_.n_parts > 1) {
      share_rows(out, row_stride, col_stride);
    } else {
      share_features(out, row_stride, col_stride);
    }
  }

 private:
  // So many rows and those after them stay in the second-level cache.
  static constexpr std::ptrdiff_t kChunkRows = 128;
  // Where rows are shorter, features are too few to be shared.
  static constexpr std::ptrdiff_t kShortRow = 256;

  // Of the panel of some features.
  std::ptrdiff_t panel_size(std::ptrdiff_t n_features) const {
    return round_up(n_features, kGrain) * R_.n_cols;
  }

  // Each thread sums all rows, slice by slice, for the rounding.
  void share_features(T* out, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride) {
    const std::ptrdiff_t n_grains = ceil_div(X_.n_cols, kGrain);
    const std::ptrdiff_t part_size = panel_size(ceil_div(n_grains, parts_.n_parts) * kGrain);
    AlignedBuffer<T> scratch(n_threads_ * 2 * part_size);
    Tasks tasks;
    parallel_region(n_threads_, [&](int thread, int) {
      T *total = scratch.data() + thread * 2 * part_size, *part = total + part_size;
      tasks.run(parts_.n_parts, [&](std::ptrdiff_t task) {
        const Range features = parts_[task];
        sum_slice(slices_[0], features, thread, total);
        for (std::ptrdiff_t slice = 1; slice < slices_.n_parts; ++slice) {
          sum_slice(slices_[slice], features, thread, part);
          add(part, total, panel_size(features.end - features.begin));
        }
        store(total, features, out, row_stride, col_stride);
      });
    });
  }

  // The sums over each slice of rows are kept: with 512 rows of float32 at most 3 % of X.
  void share_rows(T* out, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride) {
    const Range features{0, X_.n_cols};
    const std::ptrdiff_t size = panel_size(X_.n_cols);
    AlignedBuffer<T> sums(slices_.n_parts * size);
    Tasks tasks;
    parallel_region(n_threads_, [&](int thread, int) {
      tasks.run(slices_.n_parts, [&](std::ptrdiff_t slice) {
        sum_slice(slices_[slice], features, thread, &sums[slice * size]);
      });
    });
    for (std::ptrdiff_t slice = 1; slice < slices_.n_parts; ++slice) {
      add(&sums[slice * size], sums.data(), size);
    }
    store(sums.data(), features, out, row_stride, col_stride);
  }

  static void add(const T* from, T* to, std::ptrdiff_t n) {
    for (std::ptrdiff_t i = 0; i < n; ++i) to[i] += from[i];
  }

  // The rows begin .. end - 1 of R.
  const T* few(Range rows, T* copy) const {
    const std::ptrdiff_t n = rows.end - rows.begin;
    const Other* from = R_.data + rows.begin * R_.row_stride;
    if constexpr (std::is_same_v<Other, T>) {
      arithmetic_.transpose(from, R_.col_stride, R_.row_stride, R_.n_cols, n, copy, R_.n_cols);
    } else {
      for (std::ptrdiff_t c = 0; c < R_.n_cols; ++c) {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
          copy[i * R_.n_cols + c] = static_cast<T>(from[i * R_.row_stride + c * R_.col_stride]);
        }
      }
    }
    return copy;
  }

  // The sums over the rows of a slice for some features, a panel.
  void sum_slice(Range rows, Range features, int thread, T* panel) {
    const In* pointers[2][kChunkRows];
    PanelUpdate<In, T> a{};
    a.first_feature = features.begin;
    a.n_features = a.end = features.end - features.begin;
    a.n_classes = a.row_stride = R_.n_cols;
    a.panel_stride = round_up(a.n_features, kGrain);
    a.W = a.gradient = panel;
    a.first_chunk = true;
    for (std::ptrdiff_t i = rows.begin; i < rows.end; i += kChunkRows, a.first_chunk = false) {
      a.n_rows = std::min(kChunkRows, rows.end - i);
      const std::ptrdiff_t n_later = std::min(a.n_rows, X_.n_rows - i - a.n_rows);
      point_at_rows(X_.data, X_.row_stride, i, a.n_rows, pointers[0]);
      point_at_rows(X_.data, X_.row_stride, i + a.n_rows, n_later, pointers[1]);
      a.rows = pointers[0];
      a.later = {pointers[1], n_later};
      a.dlogits = few({i, i + a.n_rows}, &few_[thread * kChunkRows * R_.n_cols]);
      kernels_.panel_update(a);
    }
  }

  void store(const T* panel, Range features, T* out, std::ptrdiff_t row_stride,
             std::ptrdiff_t col_stride) const {
    for (std::ptrdiff_t f = features.begin; f < features.end; f += kGrain) {
      const std::ptrdiff_t n = std::min(kGrain, features.end - f), n_few = R_.n_cols;
      const T* grain = panel + (f - features.begin) * n_few;
      if (row_stride == 1) {
        for (std::ptrdiff_t c = 0; c < n_few; ++c) {
          std::copy_n(grain + c * kGrain, n, out + f + c * col_stride);
        }
      } else {
        arithmetic_.transpose(grain, kGrain, 1, n_few, n, out + f * row_stride, row_stride);
      }
    }
  }

  const KernelTable& table_;
  const ArithmeticKernels<T>& arithmetic_ = arithmetic_kernels<T>(table_);
  const StorageKernels<In, T>& kernels_ = storage_kernels<In, T>(table_);
  const RowsView<In> X_;
  const StridedView<const Other> R_;
  const int n_threads_;
  const Cuts slices_, parts_;  // of the rows and of the features
  AlignedBuffer<T> few_;
};

}  // namespace fastsoftmax
