// C = A B in float32 by tiles of bfloat16, which multiply 16 times as many numbers a cycle as
// vectors of float do.
//
// A float is the sum of three bfloat16, its digits: 24 bits in three times 8, and none is lost. Of
// the nine products of two floats' digits the six largest are made, as numbers of float, and summed
// like them; what is left out is below 2^-23 of the product, mostly below 2^-25. (The idea is that
// of Henry, Tang and Heinecke, Leveraging the bfloat16 Artificial Intelligence Datatype For
// Higher-Precision Computations, 2019.) Tiles take numbers below 2^-126 for zeros: a float below
// 2^-103 loses its last digits.
//
// With two digits a float is rounded by up to 2^-17 of itself, and of the four products the three
// largest are made: half the work, and what is lost is up to 2^-15 of the product.
//
// Floats that no digit can stand for, beyond the largest bfloat16, infinite or NaN, make their rows
// and columns of C NaN; what is not finite in C is then made anew by vectors.
#pragma once

#include "kernels/transpose-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// A panel has the rows of A, or the columns of B, of two tiles. It is a run of blocks of so many
// numbers of each; a block has two tiles of each digit. In word j of a tile's row are the numbers j
// and kSplitHalf + j of a row of A, in row j of a tile those of columns of B: a word of either is
// made without a shuffle, and any order will do that both have.
constexpr std::ptrdiff_t kSplitPanel = 2 * kTileRows;
constexpr std::ptrdiff_t kSplitHalf = kTileBytes / 4, kSplitDepth = 2 * kSplitHalf;
constexpr std::ptrdiff_t kTileWords = kTileRows * kTileBytes / 4;
template <int kDigits>
constexpr std::ptrdiff_t kSplitBlock = kDigits * 2 * kTileWords;  // in words
// Panels of B that are met at once, as in gemm-inl.h.
constexpr std::ptrdiff_t kSplitChunk = 8 * kSplitPanel;

template <int kDigits>
std::ptrdiff_t split_depth(std::ptrdiff_t k) {
  return (k + kSplitDepth - 1) / kSplitDepth * (kSplitBlock<kDigits> / kSplitPanel);
}

inline __m512i high_halves(__m512i words) {
  return _mm512_and_si512(words, _mm512_set1_epi32(-0x10000));
}

// The digits of 16 floats, in the high halves of words: the nearest bfloat16, that of what is left,
// and the rest, which is one. Of a float that is none: NaN and its own halves, or the first of
// them.
template <int kDigits>
[[gnu::always_inline]] inline void split_floats(__m512 x, __m512i (&digits)[kDigits]) {
  const __m512i bits = _mm512_castps_si512(x), half = _mm512_set1_epi32(0x8000);
  const auto nearest = [half](__m512 y) {
    return high_halves(_mm512_add_epi32(_mm512_castps_si512(y), half));
  };
  digits[0] = nearest(x);
  const __m512 rest = _mm512_sub_ps(x, _mm512_castsi512_ps(digits[0]));
  digits[1] = nearest(rest);
  if constexpr (kDigits > 2) {
    // Below 2^-126 it has more bits, which must not reach the number that shares its word.
    digits[2] =
        high_halves(_mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(digits[1]))));
  }
  const __mmask16 is_none = _mm512_cmpge_epi32_mask(
      _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)), _mm512_set1_epi32(0x7f7f8000));
  if (__builtin_expect(is_none != 0, 0)) {
    digits[0] = _mm512_mask_mov_epi32(digits[0], is_none, _mm512_set1_epi32(0x7fc00000));
    digits[1] = _mm512_mask_mov_epi32(digits[1], is_none, high_halves(bits));
    if constexpr (kDigits > 2) {
      digits[2] = _mm512_mask_slli_epi32(digits[2], is_none, bits, 16);
    } else {
      const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);  // not only by the last bits
      digits[1] = _mm512_mask_mov_epi32(digits[1], is_nan, digits[0]);
    }
  }
}
// The inverse: sums of digits, smallest first, are exact.
template <int kDigits>
__m512 join_digits(const __m512i (&digits)[kDigits]) {
  const __m512 first = _mm512_castsi512_ps(digits[0]);
  __m512 rest = _mm512_castsi512_ps(digits[1]);
  __m512i halves = digits[1];
  if constexpr (kDigits > 2) {
    rest = _mm512_add_ps(rest, _mm512_castsi512_ps(digits[2]));
    halves = _mm512_or_si512(halves, _mm512_srli_epi32(digits[2], 16));
  }
  const __mmask16 is_none = _mm512_cmp_ps_mask(first, first, _CMP_UNORD_Q);
  return _mm512_mask_mov_ps(_mm512_add_ps(first, rest), is_none, _mm512_castsi512_ps(halves));
}

// Sixteen rows of a tile, or columns, of each digit.
template <int kDigits>
using SplitWords = Vec<float>[kDigits][kTileRows];

template <int kDigits>
[[gnu::always_inline]] inline void set_words(Vec<float> (&words)[kDigits][kTileRows],
                                             std::ptrdiff_t i, Vec<float> low, Vec<float> high) {
  __m512i of_low[kDigits], of_high[kDigits];
  split_floats(low.v, of_low);
  split_floats(high.v, of_high);
  for (int d = 0; d < kDigits; ++d) {
    words[d][i].v =
        _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(of_low[d], 16), of_high[d]));
  }
}

// Number i of place p is at source[i * across + p * along]; those beyond n and beyond depth are
// zeros. True if vectors run along the places, else they do along the numbers.
template <int kDigits, class In>
bool split_block(const In* source, std::ptrdiff_t across, std::ptrdiff_t along, std::ptrdiff_t n,
                 std::ptrdiff_t depth, Vec<float> (&words)[kDigits][kTileRows]) {
  using V = Vec<float>;
  const auto first = [](const In* p, std::ptrdiff_t count) {
    return count >= V::kLanes ? load<float>(p) : count > 0 ? load_n<float>(p, count) : V::zero();
  };
  if (across == 1) {
    const auto place = [&](std::ptrdiff_t p) {
      if (p + kSplitDepth < depth) __builtin_prefetch(source + (p + kSplitDepth) * along);
      return p < depth ? first(source + p * along, n) : V::zero();
    };
    for (std::ptrdiff_t j = 0; j < kSplitHalf; ++j) {
      set_words(words, j, place(j), place(kSplitHalf + j));
    }
    return false;
  }
  for (std::ptrdiff_t i = 0; i < kTileRows; ++i) {
    if (i >= n) {
      for (auto& of_digit : words) of_digit[i] = V::zero();
    } else if (along == 1) {
      const In* p = source + i * across;
      set_words(words, i, first(p, depth), first(p + kSplitHalf, depth - kSplitHalf));
    } else {
      In numbers[kSplitDepth] = {};
      for (std::ptrdiff_t p = 0; p < depth && p < kSplitDepth; ++p) {
        numbers[p] = source[i * across + p * along];
      }
      set_words(words, i, load<float>(numbers), load<float>(numbers + kSplitHalf));
    }
  }
  return true;
}

template <int kDigits, bool kRowsAreNumbers, class In>
void split_panels(const In* source, std::ptrdiff_t across, std::ptrdiff_t along, std::ptrdiff_t n,
                  std::ptrdiff_t depth, float* packed) {
  for (std::ptrdiff_t panel = 0; panel < n; panel += kSplitPanel) {
    for (std::ptrdiff_t p = 0; p < depth; p += kSplitDepth, packed += kSplitBlock<kDigits>) {
      for (std::ptrdiff_t tile = 0; tile < 2; ++tile) {
        const std::ptrdiff_t i = panel + tile * kTileRows;
        if (i >= n) break;  // never read
        SplitWords<kDigits> words;
        const bool along_places =
            split_block(source + i * across + p * along, across, along, n - i, depth - p, words);
        for (std::ptrdiff_t d = 0; d < kDigits; ++d) {
          if (along_places != kRowsAreNumbers) transpose(words[d]);
          float* to = packed + (2 * d + tile) * kTileWords;
          for (std::ptrdiff_t r = 0; r < kTileRows; ++r) words[d][r].store(to + r * kSplitHalf);
        }
      }
    }
  }
}

template <int kDigits, class In>
void split_pack_a(const In* A, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                  std::ptrdiff_t m, std::ptrdiff_t k, float* packed) {
  split_panels<kDigits, true>(A, row_stride, col_stride, m, k, packed);
}
template <int kDigits, class In>
void split_pack_b(const In* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                  std::ptrdiff_t k, std::ptrdiff_t n, float* packed) {
  split_panels<kDigits, false>(B, col_stride, row_stride, n, k, packed);
}

// The first or the second number of each word, as digits lie in split_floats.
inline __m512i digit_in(__m512i words, int second) {
  return second ? high_halves(words) : _mm512_slli_epi32(words, 16);
}

// Row r of a tile of A times the columns of a tile of B, in floats, from their digits.
template <int kDigits>
__m512 row_by_vectors(const float* A, std::ptrdiff_t r, std::ptrdiff_t row_tile, const float* B,
                      std::ptrdiff_t column_tile, std::ptrdiff_t n_blocks) {
  constexpr std::ptrdiff_t kBlock = kSplitBlock<kDigits>;
  __m512 sum = _mm512_setzero_ps();
  for (std::ptrdiff_t block = 0; block < n_blocks; ++block, A += kBlock, B += kBlock) {
    for (std::ptrdiff_t j = 0; j < kSplitHalf; ++j) {
      __m512i a[kDigits], b[kDigits], of_a[kDigits], of_b[kDigits];
      for (std::ptrdiff_t d = 0; d < kDigits; ++d) {
        a[d] = _mm512_castps_si512(
            _mm512_set1_ps(A[(2 * d + row_tile) * kTileWords + r * kSplitHalf + j]));
        b[d] = _mm512_loadu_si512(B + (2 * d + column_tile) * kTileWords + j * kSplitHalf);
      }
      for (int second = 0; second < 2; ++second) {
        for (int d = 0; d < kDigits; ++d) {
          of_a[d] = digit_in(a[d], second);
          of_b[d] = digit_in(b[d], second);
        }
        sum = _mm512_fmadd_ps(join_digits(of_a), join_digits(of_b), sum);
      }
    }
  }
  return sum;
}

// Sums that tiles have stored, of two panels, before they are added to C.
struct StoredSums {
  const float *sums, *A, *B;
  std::ptrdiff_t n_blocks, height, width;
  float* C;
  std::ptrdiff_t c_row_stride;
  bool accumulate;
};

// Some rows of them, where none is beyond the last.
template <int kDigits>
void add_stored(const StoredSums& s, std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<float>;
  for (std::ptrdiff_t r = begin; r < (end < s.height ? end : s.height); ++r) {
    for (std::ptrdiff_t v = 0; v * V::kLanes < s.width; ++v) {
      V sum = V::load(s.sums + r * kSplitPanel + v * V::kLanes);
      const __mmask16 is_none = _mm512_fpclass_ps_mask(sum.v, 0x99);  // NaN and infinities
      if (__builtin_expect(is_none != 0, 0)) {
        sum.v = _mm512_mask_mov_ps(
            sum.v, is_none,
            row_by_vectors<kDigits>(s.A, r % kTileRows, r / kTileRows, s.B, v, s.n_blocks));
      }
      float* out = s.C + r * s.c_row_stride + v * V::kLanes;
      add_or_store(sum, s.width - v * V::kLanes, out, s.accumulate);
    }
  }
}

// The sums over a block of the products of digits. Between two products one factor stays, and of
// three digits the largest comes last, so that of few numbers one sum is rounded and not two.
template <class Sums, int kDigits>
void multiply_block(const float* A, const float* B) {
  const auto digit_of = [](const float* of_block, std::ptrdiff_t d) {
    return TilePair{of_block + 2 * d * kTileWords, kTileWords * 4, kTileBytes};
  };
  if constexpr (kDigits == 2) {  // 10, 00, 01
    Sums::load_a(digit_of(A, 1));
    Sums::load_b(digit_of(B, 0));
    Sums::multiply();
    Sums::load_a(digit_of(A, 0));
    Sums::multiply();
    Sums::load_b(digit_of(B, 1));
    Sums::multiply();
  } else {  // 20, 10, 11, 01, 02, 00
    Sums::load_a(digit_of(A, 2));
    Sums::load_b(digit_of(B, 0));
    Sums::multiply();
    Sums::load_a(digit_of(A, 1));
    Sums::multiply();
    Sums::load_b(digit_of(B, 1));
    Sums::multiply();
    Sums::load_a(digit_of(A, 0));
    Sums::multiply();
    Sums::load_b(digit_of(B, 2));
    Sums::multiply();
    Sums::load_b(digit_of(B, 0));
    Sums::multiply();
  }
}

// The sums of two panels, and between the blocks the rows of the last ones, in the shadow of the
// products: tiles multiply without a pause. On one core of a Granite Rapids, of 12 blocks of three
// digits, that takes 1.86 us, and 2.16 one after the other; without any rows 1.61, the speed of the
// multiplier.
template <int kDigits, int kRows, int kColumns>
void split_tile(const float* A, const float* B, std::ptrdiff_t n_blocks, float* sums,
                const StoredSums& last) {
  using Sums = TileSums<Factors::kBfloat16, kRows, kColumns>;
  Sums::zero();
  const std::ptrdiff_t n_rows = n_blocks > 0 ? (last.height + n_blocks - 1) / n_blocks : 0;
  std::ptrdiff_t row = 0;
  for (std::ptrdiff_t i = 0; i < n_blocks; ++i, row += n_rows) {
    multiply_block<Sums, kDigits>(A + i * kSplitBlock<kDigits>, B + i * kSplitBlock<kDigits>);
    add_stored<kDigits>(last, row, row + n_rows);
  }
  add_stored<kDigits>(last, row, last.height);
  Sums::store(sums, kSplitPanel * 4);
}

template <int kDigits>
void split_gemm(const float* A, const float* B, std::ptrdiff_t m, std::ptrdiff_t k,
                std::ptrdiff_t n, float* C, std::ptrdiff_t c_row_stride, bool accumulate) {
  const std::ptrdiff_t depth = split_depth<kDigits>(k);
  const std::ptrdiff_t n_blocks = depth * kSplitPanel / kSplitBlock<kDigits>;
  alignas(64) float sums[2][kSplitPanel * kSplitPanel];
  StoredSums last{};
  int turn = 0;
  take_tiles();
  for (std::ptrdiff_t begin = 0; begin < n; begin += kSplitChunk) {
    const std::ptrdiff_t end = n - begin < kSplitChunk ? n : begin + kSplitChunk;
    for (std::ptrdiff_t i = 0; i < m; i += kSplitPanel) {
      const std::ptrdiff_t height = m - i < kSplitPanel ? m - i : kSplitPanel;
      with_count<2>((height + kTileRows - 1) / kTileRows, [&](auto rows) {
        for (std::ptrdiff_t j = begin; j < end; j += kSplitPanel, turn = 1 - turn) {
          const std::ptrdiff_t width = end - j < kSplitPanel ? end - j : kSplitPanel;
          const StoredSums now{sums[turn],
                               A + i * depth,
                               B + j * depth,
                               n_blocks,
                               height,
                               width,
                               C + i * c_row_stride + j,
                               c_row_stride,
                               accumulate};
          with_count<2>((width + 15) / 16, [&](auto columns) {
            split_tile<kDigits, decltype(rows)::value, decltype(columns)::value>(
                now.A, now.B, n_blocks, sums[turn], last);
          });
          last = now;
        }
      });
    }
  }
  add_stored<kDigits>(last, 0, last.height);
  give_tiles_back();
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
