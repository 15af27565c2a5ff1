// Whether numbers are finite.
#pragma once

#include <cstddef>

namespace fastsoftmax {

// All are looked at: without a branch for each, compilers make vectors of it.
template <class T>
bool all_finite(const T* x, std::ptrdiff_t n) {
  int n_bad = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) n_bad += !(x[i] - x[i] == 0);
  return n_bad == 0;
}

}  // namespace fastsoftmax
