// Random numbers by SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): a counter, and what mixes its
// bits. In unsigned integers alone, so that every platform gets the same ones.
#pragma once

#include <cstdint>

namespace fastsoftmax::splitmix64 {

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;  // between two counts

constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace fastsoftmax::splitmix64
