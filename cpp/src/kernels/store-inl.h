// Writing the first numbers of a vector.
#pragma once

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// The first n numbers of v, all if there are so many; or all of them where the others will be
// overwritten, for stores with a mask are slow with AVX2 on AMD processors.
template <class Acc>
void store_first(Vec<Acc> v, std::ptrdiff_t n, Acc* p, bool may_spill = false) {
  if (n >= Vec<Acc>::kLanes || may_spill) {
    v.store(p);
  } else {
    v.store_n(p, n);
  }
}

// The first n numbers of a sum, all if there are so many, if any.
template <class Acc>
[[gnu::always_inline]] inline void add_or_store(Vec<Acc> sum, std::ptrdiff_t n, Acc* out,
                                                bool accumulate) {
  using V = Vec<Acc>;
  if (n >= V::kLanes) {
    (accumulate ? V::load(out) + sum : sum).store(out);
  } else if (n > 0) {
    (accumulate ? V::load_n(out, n) + sum : sum).store_n(out, n);
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
