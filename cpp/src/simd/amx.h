// The tiles of AMX beside the vectors of AVX-512: 16 rows of 64 bytes, multiplied byte by byte into
// 32-bit sums, or bfloat16 by bfloat16 (floats without their last 16 bits) into sums of float.
//
// In assembler: GCC's intrinsics for loads do not say that they read memory (12.2), so stores to
// what they read may come too late.
#pragma once

#include "simd/avx512.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

constexpr std::ptrdiff_t kTileRows = 16, kTileBytes = 64;

enum class Factors { kUnsignedSigned, kSignedUnsigned, kBfloat16 };  // A's and B's

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE

#if defined(FASTSOFTMAX_EMULATE_TILES)
#include "emulated_tiles.h"
#else
namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// All tiles whole, until they are given back: then the system need not save them. (No constructor
// and destructor: those bring the symbols of exceptions.)
inline void take_tiles() {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {kTileBytes, kTileBytes, kTileBytes, kTileBytes,
                               kTileBytes, kTileBytes, kTileBytes, kTileBytes};
    std::uint8_t rows[16] = {kTileRows, kTileRows, kTileRows, kTileRows,
                             kTileRows, kTileRows, kTileRows, kTileRows};
  } config;
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}
inline void give_tiles_back() { __asm__ volatile("tilerelease"); }

template <int kTile>
void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <int kTile>
void tile_load(const void* p, std::ptrdiff_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
void tile_store(void* p, std::ptrdiff_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
}

// sums[i][j] += A_i B_j: row r, column c += the sum over k of A[r][k] * B[k / n][c][k % n], n being
// 4 bytes or 2 bfloat16.
template <Factors kFactors, int kSum, int kA, int kB>
void tile_multiply() {
  if constexpr (kFactors == Factors::kUnsignedSigned) {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  } else if constexpr (kFactors == Factors::kSignedUnsigned) {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  } else {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
#endif

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// The tiles of one operand: the second lies `second` bytes after the first.
struct TilePair {
  const void* first;
  std::ptrdiff_t second, stride;

  const void* at_second() const { return static_cast<const char*>(first) + second; }
};

// 2 x 2 tiles of sums, or fewer: what the rest of the tiles can be loaded for at the speed of the
// multiplication, two of A and two of B for four products.
template <Factors kFactors, int kRows, int kColumns>
struct TileSums {
  static void zero() {
    tile_zero<0>();
    if constexpr (kColumns > 1) tile_zero<1>();
    if constexpr (kRows > 1) tile_zero<2>();
    if constexpr (kRows > 1 && kColumns > 1) tile_zero<3>();
  }
  static void load_a(const TilePair& a) {
    tile_load<4>(a.first, a.stride);
    if constexpr (kRows > 1) tile_load<5>(a.at_second(), a.stride);
  }
  static void load_b(const TilePair& b) {
    tile_load<6>(b.first, b.stride);
    if constexpr (kColumns > 1) tile_load<7>(b.at_second(), b.stride);
  }
  static void multiply() {
    tile_multiply<kFactors, 0, 4, 6>();
    if constexpr (kColumns > 1) tile_multiply<kFactors, 1, 4, 7>();
    if constexpr (kRows > 1) tile_multiply<kFactors, 2, 5, 6>();
    if constexpr (kRows > 1 && kColumns > 1) tile_multiply<kFactors, 3, 5, 7>();
  }
  // To rows `stride` bytes apart.
  static void store(void* to, std::ptrdiff_t stride) {
    char* first = static_cast<char*>(to);
    char* below = first + kTileRows * stride;
    tile_store<0>(first, stride);
    if constexpr (kColumns > 1) tile_store<1>(first + kTileBytes, stride);
    if constexpr (kRows > 1) tile_store<2>(below, stride);
    if constexpr (kRows > 1 && kColumns > 1) tile_store<3>(below + kTileBytes, stride);
  }
};

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
