// The scalar kernels: the vocabulary of simd/scalar.h under the algorithms of kernels/. Compiled
// with the flags of its row in cmake/isa.cmake, so nothing but these headers may be included here.
#define FASTSOFTMAX_ISA_NAMESPACE isa_scalar
#include "simd/scalar.h"

#include "kernels/fill_kernels-inl.h"

namespace fastsoftmax {

void fill_scalar(KernelTable& table) { isa_scalar::fill_kernels(table); }

}  // namespace fastsoftmax
