// The forward pass over X: logits of some rows.
//
// A tile of accumulators stays in registers, with vectors along the features, so W is class-major.
// The bits of a logit depend on its row and class alone, never on the tile it falls into or on
// whether blocks of zeros are skipped: x + 0 * w is x. Threads may share the rows in any way.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// out[c] = reduce_add(sum[c]), several at a time.
template <int kClasses, class Acc>
void store_all_sums(const Vec<Acc> (&sum)[kClasses], Acc* out) {
  int c = 0;
  for (; c + kSumGroup<Acc> <= kClasses; c += kSumGroup<Acc>) store_sums(sum + c, out + c);
  for (; c < kClasses; ++c) out[c] = reduce_add(sum[c]);
}

template <int kRows, int kClasses, class In, class Acc>
void finish_logits(const LogitsArgs<In, Acc>& a, const Vec<Acc> (&sum)[kRows][kClasses],
                   std::ptrdiff_t row, std::ptrdiff_t c0) {
  for (int r = 0; r < kRows; ++r) {
    Acc sums[kClasses];
    store_all_sums(sum[r], sums);
    Acc* logits = a.logits + (row + r) * a.row_stride + c0 * a.class_stride;
    for (int c = 0; c < kClasses; ++c) {
      logits[c * a.class_stride] = a.scale * sums[c] + (a.b ? a.b[c0 + c] : Acc(0));
    }
  }
}

// The rows that come next are asked for one line at a time, spread over the work on these: at once
// they would fill the buffers for misses, and the work would wait for them. They go to the
// second-level cache, for W fills the first (784 x 10 float32 are 31 KB): 1.3x the speed of
// fetching into the first, for an epoch of MNIST in float32 with AVX2 on one thread, 1.15x with
// AVX-512. Bytes are few, and come into the first: 1.1x.
template <class In>
void prefetch(const In* p) {
  __builtin_prefetch(p, 0, sizeof(In) == 1 ? 3 : 2);
}

template <int kRows, int kClasses, bool kPrefetch, class In, class Acc>
void logits_tile(const LogitsArgs<In, Acc>& a, std::ptrdiff_t row, std::ptrdiff_t c0) {
  using V = Vec<Acc>;
  V sum[kRows][kClasses];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  const In* const* rows = a.rows + row;
  const Acc* W = a.W + c0 * a.n_features;
  std::ptrdiff_t f = 0;
  const auto accumulate = [&](const auto& load_x, const auto& load_w) {
    V x[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = load_x(rows[r] + f);
    for (int c = 0; c < kClasses; ++c) {
      const V w = load_w(W + c * a.n_features + f);
      for (int r = 0; r < kRows; ++r) sum[r][c] = fma(x[r], w, sum[r][c]);
    }
  };
  for (; f + V::kLanes <= a.n_features; f += V::kLanes) {
    if constexpr (kPrefetch) {
      for (int r = 0; r < kRows; ++r) prefetch(a.next[row + r] + f);
    }
    accumulate([](const In* p) { return load<Acc>(p); }, [](const Acc* p) { return V::load(p); });
  }
  if (const std::ptrdiff_t n = a.n_features - f; n > 0) {
    accumulate([n](const In* p) { return load_n<Acc>(p, n); },
               [n](const Acc* p) { return V::load_n(p, n); });
  }
  finish_logits(a, sum, row, c0);
}

template <class In, class Acc>
constexpr std::ptrdiff_t kBlockBytes = Vec<Acc>::kLanes * static_cast<std::ptrdiff_t>(sizeof(In));

// Of the blocks in a mask, those of kBytes bytes, the first of each cache line.
template <std::ptrdiff_t kBytes>
std::uint64_t first_in_line(std::uint64_t bits) {
  constexpr std::uint64_t kEvery[] = {~std::uint64_t{0}, 0x5555555555555555, 0x1111111111111111,
                                      0x0101010101010101, 0x0001000100010001};
  int fold = 0;
  for (std::ptrdiff_t width = 1; width * kBytes < 64 && fold < 4; width *= 2, ++fold) {
    bits |= bits >> width;
  }
  return bits & kEvery[fold];
}

// One row, only the blocks that its mask names.
template <int kClasses, class In, class Acc>
void sparse_logits_tile(const LogitsArgs<In, Acc>& a, std::ptrdiff_t row, std::ptrdiff_t c0) {
  using V = Vec<Acc>;
  V sum[1][kClasses];
  for (V& s : sum[0]) s = V::zero();
  const In* x = a.rows[row];
  const Acc* W = a.W + c0 * a.n_features;
  const std::ptrdiff_t n_full = a.n_features / V::kLanes;
  const bool has_next = c0 == 0 && row < a.n_next;
  for (std::ptrdiff_t word = 0; word * 64 < n_full; ++word) {
    const std::ptrdiff_t first = word * 64 * V::kLanes;
    std::uint64_t lines =
        has_next ? first_in_line<kBlockBytes<In, Acc>>(a.next_masks[row][word]) : 0;
    const In* next = has_next ? a.next[row] + first : nullptr;
    for (std::uint64_t bits = a.masks[row][word]; bits; bits &= bits - 1) {
      const std::ptrdiff_t f = first + __builtin_ctzll(bits) * V::kLanes;
      if (lines) {
        prefetch(next + __builtin_ctzll(lines) * V::kLanes);
        lines &= lines - 1;
      }
      const V v = load<Acc>(x + f);
      for (int c = 0; c < kClasses; ++c) {
        sum[0][c] = fma(v, V::load(W + c * a.n_features + f), sum[0][c]);
      }
    }
    for (; lines; lines &= lines - 1) prefetch(next + __builtin_ctzll(lines) * V::kLanes);
  }
  if (const std::ptrdiff_t f = n_full * V::kLanes, n = a.n_features - f; n > 0) {
    const V v = load_n<Acc>(x + f, n);
    for (int c = 0; c < kClasses; ++c) {
      sum[0][c] = fma(v, V::load_n(W + c * a.n_features + f, n), sum[0][c]);
    }
  }
  finish_logits(a, sum, row, c0);
}

// Many classes: a block of W stays in the first-level cache while all rows pass. Few: W does as a
// whole, and each row is read once (for 784 x 10 float32 the second order reads X twice).
constexpr std::ptrdiff_t kFewClasses = 16;

template <class In, class Acc>
void dense_logits(const LogitsArgs<In, Acc>& a) {
  const std::ptrdiff_t group = a.n_classes > kFewClasses ? a.n_rows : kLogitsRows;
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += group) {
    const std::ptrdiff_t end = begin + group < a.n_rows ? begin + group : a.n_rows;
    for_each_block<kLogitsClasses>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      constexpr int kClasses = decltype(n_tile_classes)::value;
      std::ptrdiff_t row = begin;
      for (; row + kLogitsRows <= end; row += kLogitsRows) {
        if (c0 == 0 && row + kLogitsRows <= a.n_next) {
          logits_tile<kLogitsRows, kClasses, true>(a, row, c0);
        } else {
          logits_tile<kLogitsRows, kClasses, false>(a, row, c0);
        }
      }
      for (; row < end; ++row) logits_tile<1, kClasses, false>(a, row, c0);
    });
  }
}

template <class In, class Acc>
void sparse_logits(const LogitsArgs<In, Acc>& a) {
  const std::ptrdiff_t group = a.n_classes > kFewClasses ? a.n_rows : 1;
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += group) {
    for_each_block<kSparseClasses>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      for (std::ptrdiff_t row = begin; row < begin + group; ++row) {
        sparse_logits_tile<decltype(n_tile_classes)::value>(a, row, c0);
      }
    });
  }
}

template <class In, class Acc>
void logits(const LogitsArgs<In, Acc>& a) {
  if (a.masks) {
    sparse_logits(a);
  } else {
    dense_logits(a);
  }
}

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
        std::uint64_t words = 0;
        for (int line = 0; line < 8; ++line) {
          words |= nonzero_words(bytes + block * kBytes + 64 * line) << (8 * line);
        }
        add(nonzero_blocks_of<kWords>(words), 64 / kWords);
      }
      while (block + 8 / kWords <= n_full) {
        add(nonzero_blocks_of<kWords>(nonzero_words(bytes + block * kBytes)), 8 / kWords);
      }
    }
    while (block < n_full) add(any_bit<kBytes>(bytes + block * kBytes), 1);
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
