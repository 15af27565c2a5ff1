// The avx2 kernels: the vocabulary of simd/avx2.h under the algorithms of kernels/. Compiled with
// the flags of its row in cmake/isa.cmake, so nothing but these headers may be included here.
#define FASTSOFTMAX_ISA_NAMESPACE isa_avx2
#include "simd/avx2.h"

#include "kernels/fill_kernels-inl.h"

namespace fastsoftmax {

void fill_avx2(KernelTable& table) { isa_avx2::fill_kernels(table); }

}  // namespace fastsoftmax
