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
  ColumnSums(const RowsView<In>& X, const StridedView<const Other>& R, int n_threads)
      : X_(X),
        R_(R),
        n_threads_(n_threads),
        slices_(depth_slices<T>(X.n_rows)),
        n_pieces_(X.n_cols < kShortRow ? slices_.n_parts : 1),
        parts_{X.n_cols, count_feature_parts(), kGrain},
        width_(round_up(ceil_div(X.n_cols, parts_.n_parts), kGrain) + kGrain),
        scratch_(n_threads * 2 * part_size()),
        few_(n_threads * kChunkRows * R.n_cols),
        sums_(n_pieces_ > 1 ? n_pieces_ * padded_cols() * R.n_cols : 0) {}

  // out[f * row_stride + c * col_stride] = entry (f, c); one of the strides is 1.
  void run(T* out, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride) {
    Tasks tasks;
    parallel_region(n_threads_, [&](int thread, int) {
      tasks.run(n_pieces_ * parts_.n_parts, [&](std::ptrdiff_t task) {
        const Range features = parts_[task % parts_.n_parts];
        if (n_pieces_ == 1) {
          const T* sums = sum_slices(features, thread);
          return store(sums, features, out, row_stride, col_stride);
        }
        const std::ptrdiff_t slice = task / parts_.n_parts;
        const T* sums = sum_slice(slices_[slice], features, thread);
        std::copy_n(sums, round_up(features.end - features.begin, kGrain) * R_.n_cols,
                    &sums_[(slice * padded_cols() + features.begin) * R_.n_cols]);
      });
    });
    if (n_pieces_ == 1) return;
    const std::ptrdiff_t size = padded_cols() * R_.n_cols;
    for (std::ptrdiff_t slice = 1; slice < n_pieces_; ++slice) {
      add(&sums_[slice * size], sums_.data(), size);
    }
    store(sums_.data(), {0, X_.n_cols}, out, row_stride, col_stride);
  }

 private:
  // So many rows and those after them stay in the second-level cache.
  static constexpr std::ptrdiff_t kChunkRows = 128;
  // Where rows are shorter, features are too few to be shared: threads share the rows, and the sums
  // over each slice of them are kept; with 512 rows of float32 a slice at most 3 % of X.
  static constexpr std::ptrdiff_t kShortRow = 256;

  std::ptrdiff_t count_feature_parts() const {
    return count_parts(X_.n_cols, 512, 128, n_pieces_ > 1 ? 1 : 2 * n_threads_);
  }

  std::ptrdiff_t padded_cols() const { return round_up(X_.n_cols, kGrain); }
  std::ptrdiff_t part_size() const { return width_ * R_.n_cols; }

  static void add(const T* from, T* to, std::ptrdiff_t n) {
    for (std::ptrdiff_t i = 0; i < n; ++i) to[i] += from[i];
  }

  // The rows begin .. end - 1 of R.
  const T* few(Range rows, T* copy) const {
    const std::ptrdiff_t n = rows.end - rows.begin;
    const Other* from = R_.data + rows.begin * R_.row_stride;
    if constexpr (std::is_same_v<Other, T>) {
      arithmetic_kernels<T>().transpose(from, R_.col_stride, R_.row_stride, R_.n_cols, n, copy,
                                        R_.n_cols);
    } else {
      for (std::ptrdiff_t c = 0; c < R_.n_cols; ++c) {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
          copy[i * R_.n_cols + c] = static_cast<T>(from[i * R_.row_stride + c * R_.col_stride]);
        }
      }
    }
    return copy;
  }

  // The sums over all rows for some features, a panel: slice by slice, for the rounding.
  const T* sum_slices(Range features, int thread) {
    T* total = &scratch_[(thread * 2 + 1) * part_size()];
    const std::ptrdiff_t size = round_up(features.end - features.begin, kGrain) * R_.n_cols;
    for (std::ptrdiff_t slice = 0; slice < slices_.n_parts; ++slice) {
      const T* sums = sum_slice(slices_[slice], features, thread);
      if (slices_.n_parts == 1) return sums;
      slice == 0 ? void(std::copy_n(sums, size, total)) : add(sums, total, size);
    }
    return total;
  }

  // The sums over the rows of a slice.
  const T* sum_slice(Range rows, Range features, int thread) {
    const In* pointers[2][kChunkRows];
    const auto& kernels = storage_kernels(X_.data, T());
    PanelUpdate<In, T> a{};
    a.first_feature = features.begin;
    a.n_features = a.end = features.end - features.begin;
    a.n_classes = a.row_stride = R_.n_cols;
    a.panel_stride = round_up(a.n_features, kGrain);
    a.W = a.gradient = &scratch_[thread * 2 * part_size()];
    a.first_chunk = true;
    for (std::ptrdiff_t i = rows.begin; i < rows.end; i += kChunkRows, a.first_chunk = false) {
      a.n_rows = std::min(kChunkRows, rows.end - i);
      const std::ptrdiff_t n_later = std::min(a.n_rows, X_.n_rows - i - a.n_rows);
      point_at_rows(X_.data, X_.row_stride, i, a.n_rows, pointers[0]);
      point_at_rows(X_.data, X_.row_stride, i + a.n_rows, n_later, pointers[1]);
      a.rows = pointers[0];
      a.later = {pointers[1], n_later};
      a.dlogits = few({i, i + a.n_rows}, &few_[thread * kChunkRows * R_.n_cols]);
      kernels.panel_update(a);
    }
    return a.gradient;
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
        arithmetic_kernels<T>().transpose(grain, kGrain, 1, n_few, n, out + f * row_stride,
                                          row_stride);
      }
    }
  }

  const RowsView<In> X_;
  const StridedView<const Other> R_;
  const int n_threads_;
  const Cuts slices_;
  const std::ptrdiff_t n_pieces_;  // the slices that are summed apart
  const Cuts parts_;
  const std::ptrdiff_t width_;
  AlignedBuffer<T> scratch_, few_, sums_;
};

}  // namespace fastsoftmax
