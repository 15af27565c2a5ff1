// Run-time numbers as constants, for the sizes of tiles.
#pragma once

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Calls f(Count<n>) for the run-time n in kMin..kMax, so that a tile's size is a constant inside.
template <int kValue>
struct Count {
  static constexpr int value = kValue;
};
template <int kMax, int kMin = 1, class F>
void with_count(std::ptrdiff_t n, const F& f) {
  if (n == kMax) {
    f(Count<kMax>());
  } else if constexpr (kMax > kMin) {
    with_count<kMax - 1, kMin>(n, f);
  }
}

// Calls f(begin, Count<size>) over 0..n-1 in ceil(n / kMax) blocks whose sizes differ by one at the
// most: 26 classes in tiles of 10 at the most are 9 + 9 + 8, not 10 + 10 + 6. So where n is kMin or
// more, and hence a block that or half of kMax, there need be no code for smaller ones.
template <int kMax, int kMin = 1, class F>
void for_each_block(std::ptrdiff_t n, const F& f) {
  constexpr int kHalf = (kMax + 1) / 2, kLeast = kMin < kHalf ? kMin : kHalf;
  const std::ptrdiff_t n_blocks = (n + kMax - 1) / kMax;
  for (std::ptrdiff_t block = 0, begin = 0; block < n_blocks; ++block) {
    const std::ptrdiff_t end = (block + 1) * n / n_blocks;
    with_count<kMax, kLeast>(end - begin, [&](auto size) { f(begin, size); });
    begin = end;
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
