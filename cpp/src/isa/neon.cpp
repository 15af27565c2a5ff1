// The neon kernels: the vocabulary of simd/neon.h under the algorithms of kernels/. Compiled with
// the flags of its row in cmake/isa.cmake, so nothing but these headers may be included here.
#define FASTSOFTMAX_ISA_NAMESPACE isa_neon
#include "simd/neon.h"

#include "kernels/fill_kernels-inl.h"

namespace fastsoftmax {

void fill_neon(KernelTable& table) { isa_neon::fill_kernels(table); }

}  // namespace fastsoftmax
