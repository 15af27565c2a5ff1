// Whether numbers are finite, and how large.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace fastsoftmax {

// All are looked at: without a branch for each, compilers make vectors of it.
template <class T>
bool all_finite(const T* x, std::ptrdiff_t n) {
  int n_bad = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) n_bad += !(x[i] - x[i] == 0);
  return n_bad == 0;
}

// The size of the largest; NaN or infinity if not all are finite. Without their signs numbers are
// in the order of their bits, NaN being the last.
inline float largest_size(const float* x, std::ptrdiff_t n) {
  std::int32_t largest = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const std::int32_t size = std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff;
    largest = largest < size ? size : largest;
  }
  return std::bit_cast<float>(largest);
}

}  // namespace fastsoftmax
