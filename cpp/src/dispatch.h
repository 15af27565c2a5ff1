// The kernels of the instruction set in use.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/kernel_table.h"

namespace fastsoftmax {

// Of the products in packed tiles, in float32: what float32 rounds to, or up to 2^-15 of each
// product, where that is faster.
enum class Precision { kFull, kReduced };

const KernelTable& kernels(Precision precision = Precision::kFull);

// Whether the instruction set in use knows more than one.
inline bool can_reduce_precision() {
  return kernels(Precision::kReduced).f32.gemm != kernels().f32.gemm;
}

// The columns of a table. Who needs several, or one more than once, asks for the table once:
// another thread may choose another instruction set meanwhile, with panels of another size.
template <class Acc>
const ArithmeticKernels<Acc>& arithmetic_kernels(const KernelTable& table) {
  if constexpr (std::is_same_v<Acc, float>) {
    return table.f32;
  } else {
    return table.f64;
  }
}
template <class In, class Acc>
const StorageKernels<In, Acc>& storage_kernels(const KernelTable& table) {
  if constexpr (std::is_same_v<Acc, float>) {
    if constexpr (std::is_same_v<In, float>) {
      return table.f32_f32;
    } else {
      return table.u8_f32;
    }
  } else if constexpr (std::is_same_v<In, double>) {
    return table.f64_f64;
  } else if constexpr (std::is_same_v<In, float>) {
    return table.f32_f64;
  } else {
    return table.u8_f64;
  }
}

template <class Acc>
const ArithmeticKernels<Acc>& arithmetic_kernels(Precision precision = Precision::kFull) {
  return arithmetic_kernels<Acc>(kernels(precision));
}
template <class In, class Acc>
const StorageKernels<In, Acc>& storage_kernels(const In*, Acc,
                                               Precision precision = Precision::kFull) {
  return storage_kernels<In, Acc>(kernels(precision));
}

#if defined(__x86_64__)
// What the processor says and what the operating system saves, apart from asking, so that a test
// can make them up.
struct CpuRegisters {
  std::uint32_t leaf0_ebx, leaf1_eax, leaf1_ecx, leaf7_ebx, leaf7_edx;
  std::uint64_t xcr0;
};
// With FMA and the operations on bits that all processors with AVX2 have (BMI).
bool has_avx2(const CpuRegisters& cpu);
bool has_avx512(const CpuRegisters& cpu);
// AMX with products of bytes, beside AVX-512; Linux still has to be asked for it.
bool has_amx(const CpuRegisters& cpu);
// Whether operations on 512 bits are carried out in two halves: AMD's family 19h (Zen 4).
bool halves_512_bits(const CpuRegisters& cpu);
#endif

}  // namespace fastsoftmax
