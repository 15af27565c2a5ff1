// From a view with its storage type at run time to code with that type at compile time.
#pragma once

#include <stdexcept>

#include "dispatch.h"
#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

// Calls f(const In*) with the data in their storage type, which arithmetic in Acc must be able to
// read without loss.
template <class Acc, class View, class F>
auto with_storage(const View& X, const F& f) {
  if constexpr (sizeof(Acc) == sizeof(double)) {
    if (X.storage == Storage::kFloat64) return f(static_cast<const double*>(X.data));
  } else if (X.storage == Storage::kFloat64) {
    throw std::invalid_argument("float64 input needs float64 arithmetic");
  }
  if (X.storage == Storage::kUInt8) return f(static_cast<const std::uint8_t*>(X.data));
  return f(static_cast<const float*>(X.data));
}

// The addresses of rows begin, begin + 1, .. of X.
template <class In>
void point_at_rows(const In* data, std::ptrdiff_t row_stride, std::ptrdiff_t begin,
                   std::ptrdiff_t n_rows, const In** rows) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) rows[i] = data + (begin + i) * row_stride;
}

}  // namespace fastsoftmax
