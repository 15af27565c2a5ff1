// Weights cut into slices of features, each in panels (kernel_table.h) in memory of its own: what a
// thread works on in a step fits into its first-level cache and is shared with no other thread.
#pragma once

#include <algorithm>
#include <cstddef>

#include "aligned_buffer.h"
#include "kernels/kernel_table.h"
#include "parallel.h"

namespace fastsoftmax {

// The cut depends on the shape of W alone, and so does the order in which a logit's parts are
// added up: never on the number of threads.
template <class T>
class Slices {
 public:
  Slices(std::ptrdiff_t n_classes, std::ptrdiff_t n_features)
      : n_classes_(n_classes), n_features_(n_features) {
    // Half of a first-level cache of 32 KB, of as many classes as pass through it together; other
    // sizes were not measured.
    constexpr std::ptrdiff_t kSliceBytes = 16 << 10, kClassesTogether = 16, kMaxSlices = 32;
    const std::ptrdiff_t bytes =
        n_features * std::min(n_classes, kClassesTogether) * static_cast<std::ptrdiff_t>(sizeof(T));
    n_slices_ = (bytes + kSliceBytes / 2) / kSliceBytes;
    // Equal shares for two threads and for four: MNIST with 16 to 100 classes had three slices, and
    // takes 0.75 of the time on two threads with four.
    if (n_slices_ > 2) n_slices_ = (n_slices_ + 3) / 4 * 4;
    n_slices_ = std::clamp<std::ptrdiff_t>(
        n_slices_, 1, std::min(kMaxSlices, (n_features + kGrain - 1) / kGrain));
    for (std::ptrdiff_t s = 0; s < n_slices_; ++s) {
      const Range slice = features(s);
      stride_ = std::max(stride_, (slice.end - slice.begin + kGrain - 1) / kGrain * kGrain);
    }
  }

  std::ptrdiff_t count() const { return n_slices_; }
  std::ptrdiff_t panel_stride() const { return stride_; }  // features of the widest slice
  std::ptrdiff_t size() const { return n_slices_ * slice_size(); }
  Range features(std::ptrdiff_t slice) const {
    return share(n_features_, kGrain, static_cast<int>(slice), static_cast<int>(n_slices_));
  }
  T* at(AlignedBuffer<T>& buffer, std::ptrdiff_t slice) const {
    return buffer.data() + slice * slice_size();
  }

  // Between W (n_classes, n_features) and a buffer of size(), whose padding is set to zero.
  void cut(const T* W, AlignedBuffer<T>& buffer) const {
    std::fill_n(buffer.data(), buffer.size(), T(0));
    for_each_grain([&](std::ptrdiff_t at, std::ptrdiff_t from, std::ptrdiff_t n) {
      std::copy_n(W + from, n, buffer.data() + at);
    });
  }
  void join(const AlignedBuffer<T>& buffer, T* W) const {
    for_each_grain([&](std::ptrdiff_t at, std::ptrdiff_t to, std::ptrdiff_t n) {
      std::copy_n(&buffer[at], n, W + to);
    });
  }

 private:
  std::ptrdiff_t slice_size() const { return n_classes_ * stride_; }

  // f(place in a buffer, place in W, features) for the grains of each class.
  template <class F>
  void for_each_grain(const F& f) const {
    const std::ptrdiff_t n_groups = (n_classes_ + kGroupClasses - 1) / kGroupClasses;
    for (std::ptrdiff_t s = 0; s < n_slices_; ++s) {
      const Range slice = features(s);
      for (std::ptrdiff_t c = 0, group = -1, first = 0, size = 0; c < n_classes_; ++c) {
        if (c == first + size) {
          first = ++group * n_classes_ / n_groups;
          size = (group + 1) * n_classes_ / n_groups - first;
        }
        std::ptrdiff_t at = s * slice_size() + first * stride_ + (c - first) * kGrain;
        for (std::ptrdiff_t i = slice.begin; i < slice.end; i += kGrain, at += size * kGrain) {
          f(at, c * n_features_ + i, std::min(kGrain, slice.end - i));
        }
      }
    }
  }

  std::ptrdiff_t n_classes_, n_features_, n_slices_ = 1, stride_ = 0;
};

}  // namespace fastsoftmax
