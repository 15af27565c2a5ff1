// A square of numbers, as many rows as a vector has lanes: read by rows, handed on by columns.
#pragma once

#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// v[j] = the numbers j of the rows p, p + stride, ..; rows beyond n_rows and numbers beyond n_cols
// are zeros and not read.
template <class Acc, class In>
void load_transposed(const In* p, std::ptrdiff_t stride, std::ptrdiff_t n_rows,
                     std::ptrdiff_t n_cols, Vec<Acc> (&v)[Vec<Acc>::kLanes]) {
  using V = Vec<Acc>;
  for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) {
    v[i] = i >= n_rows          ? V::zero()
           : n_cols < V::kLanes ? load_n<Acc>(p + i * stride, n_cols)
                                : load<Acc>(p + i * stride);
  }
  transpose(v);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
