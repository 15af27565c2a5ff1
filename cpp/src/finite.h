// Whether numbers are finite, and how large.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace fastsoftmax {

// All are looked at: without a branch for each, compilers make vectors of it.
template <class T>
bool all_finite(const T* x, std::ptrdiff_t n) {
  int n_bad = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) n_bad += !(x[i] - x[i] == 0);
  return n_bad == 0;
}

// The size of the largest; NaN or infinity if not all are finite.
template <class T>
T largest_size(const T* x, std::ptrdiff_t n) {
  constexpr std::ptrdiff_t kLanes = 16;
  T largest[kLanes] = {}, nothing[kLanes] = {};  // x - x: zero, or NaN
  const auto add = [&](T number, std::ptrdiff_t lane) {
    const T size = std::abs(number);
    largest[lane] = largest[lane] < size ? size : largest[lane];
    nothing[lane] += number - number;
  };
  std::ptrdiff_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) add(x[i + lane], lane);
  }
  for (; i < n; ++i) add(x[i], 0);
  for (std::ptrdiff_t lane = 1; lane < kLanes; ++lane) {
    largest[0] = std::max(largest[0], largest[lane]);
    nothing[0] += nothing[lane];
  }
  return largest[0] + nothing[0];
}

}  // namespace fastsoftmax
