// The avx512 kernels: the vocabulary of simd/avx512.h under the algorithms of kernels/. Compiled
// with the flags of its row in cmake/isa.cmake, so nothing but these headers may be included here.
#define FASTSOFTMAX_ISA_NAMESPACE isa_avx512
#include "simd/avx512.h"

#include "kernels/fill_kernels-inl.h"

namespace fastsoftmax {

void fill_avx512(KernelTable& table) { isa_avx512::fill_kernels(table); }

}  // namespace fastsoftmax
