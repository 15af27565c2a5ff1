// Reading X, stored in any type that the Vec of every instruction set can load and widen.
#pragma once

#include "kernels/count-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class Acc, class In>
Vec<Acc> load(const In* p) {
  return Vec<Acc>::load(p);
}
template <class Acc, class In>
Vec<Acc> load_n(const In* p, std::ptrdiff_t n) {
  return Vec<Acc>::load_n(p, n);
}
template <class Acc, class In>
Vec<Acc> splat(const In* p) {
  return Vec<Acc>::splat(static_cast<Acc>(*p));
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
