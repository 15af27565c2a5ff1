// The tiles of AMX in plain loops. Included by simd/amx.h in builds with
// FASTSOFTMAX_EMULATE_TILES, which are for tests on machines that have AVX-512 but no tiles: right,
// but slow.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// A row is 64 bytes: in this order of its bytes, whatever they stand for.
struct EmulatedTile {
  alignas(64) std::uint8_t rows[kTileRows][kTileBytes];
};
struct EmulatedTiles {
  EmulatedTile at[8];
  bool taken;
};
// As the processor's: of each thread, and without contents until they are taken.
thread_local EmulatedTiles emulated_tiles;

inline void take_tiles() {
  emulated_tiles = {};
  emulated_tiles.taken = true;
}
inline void give_tiles_back() { emulated_tiles.taken = false; }

template <int kTile>
EmulatedTile& emulated_tile() {
  if (!emulated_tiles.taken) __builtin_trap();  // where a processor has no configuration
  return emulated_tiles.at[kTile];
}

template <int kTile>
void tile_zero() {
  emulated_tile<kTile>() = {};
}
template <int kTile>
void tile_load(const void* p, std::ptrdiff_t stride) {
  for (std::ptrdiff_t r = 0; r < kTileRows; ++r) {
    __builtin_memcpy(emulated_tile<kTile>().rows[r], static_cast<const char*>(p) + r * stride,
                     kTileBytes);
  }
}
template <int kTile>
void tile_store(void* p, std::ptrdiff_t stride) {
  for (std::ptrdiff_t r = 0; r < kTileRows; ++r) {
    __builtin_memcpy(static_cast<char*>(p) + r * stride, emulated_tile<kTile>().rows[r],
                     kTileBytes);
  }
}

template <class T>
void read_row(const std::uint8_t* row, T (&to)[kTileBytes / sizeof(T)]) {
  __builtin_memcpy(to, row, kTileBytes);
}

// Four products of bytes are added to each sum, exactly.
template <class TA, class TB>
void multiply_bytes(EmulatedTile& sum, const EmulatedTile& a, const EmulatedTile& b) {
  for (std::ptrdiff_t r = 0; r < kTileRows; ++r) {
    TA of_a[64];
    std::int32_t sums[16];
    read_row(a.rows[r], of_a);
    read_row(sum.rows[r], sums);
    for (std::ptrdiff_t k = 0; k < 16; ++k) {
      TB of_b[64];
      read_row(b.rows[k], of_b);
      for (std::ptrdiff_t c = 0; c < 16; ++c) {
        for (std::ptrdiff_t i = 0; i < 4; ++i) sums[c] += of_a[4 * k + i] * of_b[4 * c + i];
      }
    }
    __builtin_memcpy(sum.rows[r], sums, kTileBytes);
  }
}

inline float to_float(std::uint16_t bfloat16) {
  const std::uint32_t bits = std::uint32_t{bfloat16} << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// The first of each pair and the second are summed apart, then both added to the sum. (Intel's
// manual, TDPBF16PS; that it takes denormal numbers for zeros is left out.)
inline void multiply_bfloat16(EmulatedTile& sum, const EmulatedTile& a, const EmulatedTile& b) {
  for (std::ptrdiff_t r = 0; r < kTileRows; ++r) {
    std::uint16_t of_a[32];
    float sums[16], halves[2][16] = {};
    read_row(a.rows[r], of_a);
    read_row(sum.rows[r], sums);
    for (std::ptrdiff_t k = 0; k < 16; ++k) {
      std::uint16_t of_b[32];
      read_row(b.rows[k], of_b);
      for (std::ptrdiff_t i = 0; i < 2; ++i) {
        const float x = to_float(of_a[2 * k + i]);
        for (std::ptrdiff_t c = 0; c < 16; ++c) {
          halves[i][c] = __builtin_fmaf(x, to_float(of_b[2 * c + i]), halves[i][c]);
        }
      }
    }
    for (std::ptrdiff_t c = 0; c < 16; ++c) sums[c] += halves[0][c] + halves[1][c];
    __builtin_memcpy(sum.rows[r], sums, kTileBytes);
  }
}

template <Factors kFactors, int kSum, int kA, int kB>
void tile_multiply() {
  EmulatedTile& sum = emulated_tile<kSum>();
  const EmulatedTile &a = emulated_tile<kA>(), &b = emulated_tile<kB>();
  if constexpr (kFactors == Factors::kUnsignedSigned) {
    multiply_bytes<std::uint8_t, std::int8_t>(sum, a, b);
  } else if constexpr (kFactors == Factors::kSignedUnsigned) {
    multiply_bytes<std::int8_t, std::uint8_t>(sum, a, b);
  } else {
    multiply_bfloat16(sum, a, b);
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
