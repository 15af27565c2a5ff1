// Weights cut into slices of features, each in panels (kernel_table.h) in memory of its own, so
// that a thread can have slices that fit into its cache and are shared with no other thread.
#pragma once

#include <algorithm>
#include <cstddef>

#include "aligned_buffer.h"
#include "ceil_div.h"
#include "kernels/kernel_table.h"
#include "parallel.h"

namespace fastsoftmax {

// The cut depends on the shape of W alone, and so does the order in which a logit's parts are
// added up: never on the number of threads.
template <class T>
class Slices {
 public:
  // Slices of some bytes, counting as many classes as pass through the cache together.
  Slices(std::ptrdiff_t n_classes, std::ptrdiff_t n_features, std::ptrdiff_t slice_bytes)
      : n_classes_(n_classes), n_features_(n_features) {
    constexpr std::ptrdiff_t kClassesTogether = 16, kMaxSlices = 32;
    const std::ptrdiff_t bytes =
        n_features * std::min(n_classes, kClassesTogether) * static_cast<std::ptrdiff_t>(sizeof(T));
    n_slices_ = (bytes + slice_bytes / 2) / slice_bytes;
    // Equal shares for two threads and for four: MNIST with 16 to 100 classes had three slices, and
    // takes 0.75 of the time on two threads with four.
    if (n_slices_ > 2) n_slices_ = round_up(n_slices_, 4);
    n_slices_ = std::clamp<std::ptrdiff_t>(n_slices_, 1,
                                           std::min(kMaxSlices, ceil_div(n_features, kGrain)));
    for (std::ptrdiff_t s = 0; s < n_slices_; ++s) {
      const Range slice = features(s);
      stride_ = std::max(stride_, round_up(slice.end - slice.begin, kGrain));
    }
  }

  // The same cut for other classes, which may be no more.
  Slices of_classes(std::ptrdiff_t n_classes) const {
    Slices fewer = *this;
    fewer.n_classes_ = n_classes;
    return fewer;
  }

  std::ptrdiff_t count() const { return n_slices_; }
  // Features of the longest slice, rounded up to whole grains.
  std::ptrdiff_t stride() const { return stride_; }
  std::ptrdiff_t size() const { return n_slices_ * slice_size(); }
  Range features(std::ptrdiff_t slice) const {
    return share(n_features_, kGrain, slice, n_slices_);
  }
  T* at(AlignedBuffer<T>& buffer, std::ptrdiff_t slice) const {
    return buffer.data() + slice * slice_size();
  }

  // Words of the masks of a row, each slice's on their own; blocks of so many features.
  std::ptrdiff_t mask_words(std::ptrdiff_t block_features) const {
    return first_word(n_slices_, block_features);
  }
  std::ptrdiff_t first_word(std::ptrdiff_t slice, std::ptrdiff_t block_features) const {
    return slice * ceil_div(stride_ / block_features, 64);
  }
  // What a kernel is told of a slice of some rows.
  template <class In>
  SliceOfRows<In, T> of_rows(std::ptrdiff_t slice, std::ptrdiff_t block_features,
                             const In* const* rows, const BlockMask* masks,
                             std::ptrdiff_t n_rows) const {
    const Range mine = features(slice);
    return {rows,
            masks,
            n_rows,
            mine.begin,
            first_word(slice, block_features),
            mine.end - mine.begin,
            n_classes_,
            stride_};
  }

  // f(place in a buffer of size(), class, first feature, number of them) for all grains of some
  // features, which begin and end where grains do.
  template <class F>
  void for_each_grain(Range some, const F& f) const {
    const std::ptrdiff_t n_groups = ceil_div(n_classes_, kGroupClasses);
    for (std::ptrdiff_t s = 0; s < n_slices_; ++s) {
      const Range slice = features(s);
      const Range mine{std::max(slice.begin, some.begin), std::min(slice.end, some.end)};
      for (std::ptrdiff_t group = 0, c = 0; group < n_groups; ++group) {
        const std::ptrdiff_t first = c, end = (group + 1) * n_classes_ / n_groups;
        for (; c < end; ++c) {
          for (std::ptrdiff_t i = mine.begin; i < mine.end; i += kGrain) {
            const std::ptrdiff_t grain = (i - slice.begin) * (end - first) + (c - first) * kGrain;
            f(s * slice_size() + first * stride_ + grain, c, i, std::min(kGrain, mine.end - i));
          }
        }
      }
    }
  }

  // Between W (n_classes, n_features) and a buffer of size(). What belongs to no grain is left.
  void cut(const T* W, Range some, AlignedBuffer<T>& buffer) const {
    for_each_grain(some,
                   [&](std::ptrdiff_t at, std::ptrdiff_t c, std::ptrdiff_t f, std::ptrdiff_t n) {
                     std::copy_n(W + c * n_features_ + f, n, buffer.data() + at);
                     std::fill_n(buffer.data() + at + n, kGrain - n, T(0));
                   });
  }
  void join(const AlignedBuffer<T>& buffer, T* W) const {
    for_each_grain({0, n_features_},
                   [&](std::ptrdiff_t at, std::ptrdiff_t c, std::ptrdiff_t f, std::ptrdiff_t n) {
                     std::copy_n(&buffer[at], n, W + c * n_features_ + f);
                   });
  }
  // With zeros where nothing belongs.
  void cut(const T* W, AlignedBuffer<T>& buffer) const {
    std::fill_n(buffer.data(), buffer.size(), T(0));
    cut(W, {0, n_features_}, buffer);
  }

 private:
  std::ptrdiff_t slice_size() const { return n_classes_ * stride_; }

  std::ptrdiff_t n_classes_, n_features_, n_slices_ = 1, stride_ = 0;
};

}  // namespace fastsoftmax
