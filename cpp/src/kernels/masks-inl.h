// Masks of what is not zero in a row, its blocks (kernel_table.h) or its features: found, and
// turned from the columns of each row to the rows of each column.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class In, class Acc>
constexpr std::ptrdiff_t kBlockBytes = Vec<Acc>::kLanes * static_cast<std::ptrdiff_t>(sizeof(In));

// Whether any of n bytes is not zero. (A float of -0 counts as something: it is rare and does no
// harm.)
template <std::ptrdiff_t kBytes>
bool any_bit(const void* p) {
  if constexpr (kBytes % 8 == 0) {
    std::uint64_t words[kBytes / 8], any = 0;
    __builtin_memcpy(words, p, kBytes);
    for (std::uint64_t word : words) any |= word;
    return any != 0;
  } else {
    const auto* bytes = static_cast<const unsigned char*>(p);
    unsigned any = 0;
    for (std::ptrdiff_t i = 0; i < kBytes; ++i) any |= bytes[i];
    return any != 0;
  }
}

// The lowest n bits of every `period`.
constexpr std::uint64_t low_bits(int n, int period) {
  std::uint64_t bits = ~std::uint64_t{0} >> (64 - n);
  for (; period < 64; period *= 2) bits |= bits << period;
  return bits;
}

// From which of the 64 words of 512 bytes are not zero to which of their blocks of kWords words:
// every block's bits are joined in its first, and these moved side by side, kGroup and kGroup.
template <int kWords, int kGroup = 1>
std::uint64_t nonzero_blocks_of(std::uint64_t words) {
  if constexpr (kWords > 1 && kGroup == 1) {
    if constexpr (kWords > 4) words |= words >> 4;
    if constexpr (kWords > 2) words |= words >> 2;
    words |= words >> 1;
  }
  if constexpr (kWords == 1 || kGroup * kWords >= 64) {
    return words & (~std::uint64_t{0} >> (64 - 64 / kWords));
  } else {
    constexpr std::uint64_t kKept = low_bits(kGroup, kGroup * kWords);
    words &= kKept;
    return nonzero_blocks_of<kWords, 2 * kGroup>(words | words >> (kGroup * (kWords - 1)));
  }
}

// Which blocks of kWords words, of the 512 bytes at p, are not zero.
template <int kWords, class V>
std::uint64_t nonzero_blocks(const unsigned char* p) {
  std::uint64_t bits = 0;
  if constexpr (8 * kWords == sizeof(V) && requires { nonzero_vectors(V(), p); }) {
    for (int four = 0; four < 16 / kWords; ++four) {
      bits |= nonzero_vectors(V(), p + 32 * kWords * four) << (4 * four);
    }
    return bits;
  } else {
    for (int line = 0; line < 8; ++line) bits |= nonzero_words(p + 64 * line) << (8 * line);
    return nonzero_blocks_of<kWords>(bits);
  }
}

template <class In, class Acc>
void find_nonzero(const In* const* rows, std::ptrdiff_t n_rows, std::ptrdiff_t n_features,
                  std::uint64_t* const* masks) {
  constexpr std::ptrdiff_t kBytes = kBlockBytes<In, Acc>;
  const std::ptrdiff_t n_full = n_features / Vec<Acc>::kLanes;
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(rows[i]);
    std::ptrdiff_t block = 0;
    std::uint64_t bits = 0;
    const auto add = [&](std::uint64_t more, std::ptrdiff_t n_blocks) {
      bits |= more << block % 64;
      block += n_blocks;
      if (block % 64 == 0 || block == n_full) {
        masks[i][(block - 1) / 64] = bits;
        bits = 0;
      }
    };
    if constexpr (kBytes >= 8 && kBytes <= 64) {
      constexpr int kWords = kBytes / 8;
      while (block + 64 / kWords <= n_full) {
        add(nonzero_blocks<kWords, Vec<Acc>>(bytes + block * kBytes), 64 / kWords);
      }
      while (block + 8 / kWords <= n_full) {
        add(nonzero_blocks_of<kWords>(nonzero_words(bytes + block * kBytes)), 8 / kWords);
      }
    }
    while (block < n_full) add(any_bit<kBytes>(bytes + block * kBytes), 1);
  }
}

// a[i] bit j <-> a[j] bit i: halves of the square change places, then quarters, .. (Warren,
// Hacker's Delight, 2nd ed., section 7-3). With constant widths 74 ns, 127 in a loop over them.
template <int kWidth>
[[gnu::always_inline]] inline void exchange_bits(std::uint64_t (&a)[64]) {
  constexpr std::uint64_t kLow = low_bits(kWidth, 2 * kWidth);
  for (int pair = 0; pair < 64; pair += 2 * kWidth) {
    for (int i = pair; i < pair + kWidth; ++i) {
      const std::uint64_t change = ((a[i] >> kWidth) ^ a[i + kWidth]) & kLow;
      a[i] ^= change << kWidth;
      a[i + kWidth] ^= change;
    }
  }
  if constexpr (kWidth > 1) exchange_bits<kWidth / 2>(a);
}
// A function of its own: 4 KB of code, and 2 seconds of compiling, for each that calls it.
[[gnu::noinline]] void transpose_bits(std::uint64_t (&a)[64]) { exchange_bits<32>(a); }

// 64 columns of the masks of at most kMaxUpdateRows rows.
class MaskColumns {
 public:
  // word_of(row): the row's bits of these columns.
  template <class F>
  void load(std::ptrdiff_t n_rows, const F& word_of) {
    n_groups_ = (n_rows + 63) / 64;
    occupied_ = 0;
    constexpr std::ptrdiff_t kFewRows = 4;  // faster bit by bit
    if (n_rows <= kFewRows) {
      for (std::uint64_t& rows : rows_[0]) rows = 0;
      for (std::ptrdiff_t row = 0; row < n_rows; ++row) {
        occupied_ |= word_of(row);
        for (std::uint64_t bits = word_of(row); bits; bits &= bits - 1) {
          rows_[0][__builtin_ctzll(bits)] |= std::uint64_t{1} << row;
        }
      }
      return;
    }
    for (std::ptrdiff_t group = 0; group < n_groups_; ++group) {
      for (std::ptrdiff_t i = 0, row = 64 * group; i < 64; ++i, ++row) {
        rows_[group][i] = row < n_rows ? word_of(row) : 0;
        occupied_ |= rows_[group][i];
      }
      transpose_bits(rows_[group]);
    }
  }

  // The columns in which there is a row.
  std::uint64_t occupied() const { return occupied_; }
  bool is_empty(std::ptrdiff_t column) const { return (occupied_ >> column & 1) == 0; }
  // f(row) for the rows of a column, 0..63, in ascending order.
  template <class F>
  [[gnu::always_inline]] void for_rows(std::ptrdiff_t column, const F& f) const {
    for (std::ptrdiff_t group = 0; group < n_groups_; ++group) {
      for (std::uint64_t bits = rows_[group][column]; bits; bits &= bits - 1) {
        f(64 * group + __builtin_ctzll(bits));
      }
    }
  }

 private:
  std::uint64_t rows_[kMaxUpdateRows / 64][64], occupied_ = 0;
  std::ptrdiff_t n_groups_ = 0;
};

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
