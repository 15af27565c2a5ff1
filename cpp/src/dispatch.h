// The kernels of the instruction set in use.
#pragma once

#include <cstdint>

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

template <class Acc>
const ArithmeticKernels<Acc>& arithmetic_kernels(Precision precision = Precision::kFull) {
  if constexpr (sizeof(Acc) == sizeof(float)) {
    return kernels(precision).f32;
  } else {
    return kernels(precision).f64;
  }
}

inline const StorageKernels<float, float>& storage_kernels(const float*, float,
                                                           Precision precision = Precision::kFull) {
  return kernels(precision).f32_f32;
}
inline const StorageKernels<std::uint8_t, float>& storage_kernels(
    const std::uint8_t*, float, Precision precision = Precision::kFull) {
  return kernels(precision).u8_f32;
}
inline const StorageKernels<double, double>& storage_kernels(
    const double*, double, Precision precision = Precision::kFull) {
  return kernels(precision).f64_f64;
}
inline const StorageKernels<float, double>& storage_kernels(
    const float*, double, Precision precision = Precision::kFull) {
  return kernels(precision).f32_f64;
}
inline const StorageKernels<std::uint8_t, double>& storage_kernels(
    const std::uint8_t*, double, Precision precision = Precision::kFull) {
  return kernels(precision).u8_f64;
}

#if defined(__x86_64__) || defined(_M_X64)
// What the processor says and what the operating system saves, apart from asking, so that a test
// can make them up.
struct CpuRegisters {
  std::uint32_t leaf0_ebx, leaf1_eax, leaf1_ecx, leaf7_ebx, leaf7_edx;
  std::uint64_t xcr0;
};
bool has_avx2(const CpuRegisters& cpu);
bool has_avx512(const CpuRegisters& cpu);
// AMX with products of bytes, beside AVX-512; Linux still has to be asked for it.
bool has_amx(const CpuRegisters& cpu);
// Whether operations on 512 bits are carried out in two halves: AMD's family 19h (Zen 4).
bool halves_512_bits(const CpuRegisters& cpu);
#endif

}  // namespace fastsoftmax
