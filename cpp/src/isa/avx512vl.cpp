// AVX-512 for machines that carry out 512 bits in two halves (Zen 4): passes over X are in vectors
// of 256 bits, with the registers of AVX-512VL. Half as wide a block is zero more often (60 % of
// those of MNIST instead of 42 %): 1.35x the speed forward, 1.05x backward, and dense data lose
// nothing. All else is as in avx512.cpp.
#define FASTSOFTMAX_ISA_NAMESPACE isa_avx512vl
#include "simd/avx512vl.h"

#include "kernels/fill_kernels-inl.h"

namespace fastsoftmax {

void fill_avx512vl(KernelTable& table) { isa_avx512vl::fill_block_kernels(table); }

}  // namespace fastsoftmax
