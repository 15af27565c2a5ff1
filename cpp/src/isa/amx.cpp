// AVX-512 with the tiles of AMX for training on bytes. All else is as in avx512.cpp.
#define FASTSOFTMAX_ISA_NAMESPACE isa_amx
#include "simd/amx.h"

#include "kernels/byte_step-inl.h"

namespace fastsoftmax {

void fill_amx(KernelTable& table) {
  table.bytes = {isa_amx::split_weights, isa_amx::byte_logits, isa_amx::byte_update};
}

}  // namespace fastsoftmax
