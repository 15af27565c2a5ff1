// AVX-512 with the tiles of AMX for training on bytes and for products in float32. All else is as
// in avx512.cpp.
#define FASTSOFTMAX_ISA_NAMESPACE isa_amx
#include "simd/amx.h"

#include "kernels/byte_step-inl.h"
#include "kernels/split_gemm-inl.h"

namespace fastsoftmax {
namespace {

template <int kDigits, class In>
void fill_packing(StorageKernels<In, float>& table) {
  table.gemm_pack_a = isa_amx::split_pack_a<kDigits, In>;
  table.gemm_pack_b = isa_amx::split_pack_b<kDigits, In>;
}

template <int kDigits>
void fill_products(KernelTable& table) {
  table.f32.gemm = isa_amx::split_gemm<kDigits>;
  table.f32.gemm_rows = table.f32.gemm_columns = isa_amx::kSplitPanel;
  table.f32.gemm_unpacked = nullptr;
  table.f32.gemm_few_rows = 0;
  table.f32.gemm_depth = isa_amx::split_depth<kDigits>;
  fill_packing<kDigits>(table.f32_f32);
  fill_packing<kDigits>(table.u8_f32);
}

}  // namespace

void fill_amx(KernelTable& table) {
  table.bytes = {isa_amx::split_weights, isa_amx::byte_logits, isa_amx::byte_update};
  fill_products<3>(table);
}

void fill_amx_reduced(KernelTable& table) { fill_products<2>(table); }

}  // namespace fastsoftmax
