// A mini-batch step on bytes by products of integers, of which tiles make 32 times as many a cycle
// as vectors make of floats.
//
// A number is three digits of base 256, from -128 to 127: 24 bits, as the mantissa of a float has,
// of the largest number of its class. Digits times bytes are summed exactly, in 32 bits; only then
// do the three sums become a float. What is rounded is the number, by half a unit of the last
// digit, and the end result, but no sum on the way.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/later_lines-inl.h"
#include "kernels/weight_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

constexpr std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return (n + unit - 1) / unit * unit;
}

constexpr std::ptrdiff_t kDigits = 3;
// A little below (127 * 256 + 127) * 256 + 127, for what rounding adds.
constexpr float kLargestInteger = 8355700.0f;

// What numbers of this size at most are multiplied with to become integers. Numbers so small that
// it would not be finite are zeros; infinite ones become no integers, but NaN once they are joined
// again.
inline float integers_per_unit(float largest) {
  if (largest - largest != 0) return largest - largest;
  return largest > 1e-30f ? kLargestInteger / largest : 0.0f;
}
// The larger of both sizes, NaN if either is: as integers, the bits of floats without signs have
// the order of the floats, and NaN above all.
inline __m512 larger_size(__m512 size, __m512 x) {
  return _mm512_castsi512_ps(
      _mm512_max_epi32(_mm512_castps_si512(size), _mm512_castps_si512(_mm512_abs_ps(x))));
}
inline float inverse_or_zero(float x) { return x == 0 ? 0.0f : 1.0f / x; }

// Byte i of each number of 32 bits: digit i, the last one first.
inline __m512i digits_of(__m512 x, __m512 per_unit) {
  const __m512i bias = _mm512_set1_epi32(0x808080);
  const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(x, per_unit));
  return _mm512_xor_si512(_mm512_add_epi32(integers, bias), bias);
}
// In each quarter four numbers' first bytes, then the second ones, then the third.
inline __m512i group_digits(__m512i digits) {
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_shuffle_epi8(digits, _mm512_broadcast_i32x4(order));
}

// f(load): load(row) is 64 features of a row, beyond the last one zeros.
template <class F>
[[gnu::always_inline]] inline void for_each_line(const ByteSlice& a, std::ptrdiff_t block,
                                                 const F& f) {
  const std::ptrdiff_t at = block * kTileBytes, n = a.n_features - at;
  const std::ptrdiff_t first = a.first_feature + at;
  if (n >= kTileBytes) {
    f([first](const std::uint8_t* row) { return _mm512_loadu_si512(row + first); });
  } else {
    const __mmask64 mask = (1ull << n) - 1;
    f([first, mask](const std::uint8_t* row) {
      return _mm512_maskz_loadu_epi8(mask, row + first);
    });
  }
}

// Some rows' features of a block, side by side as they are.
inline void copy_block(const ByteSlice& a, std::ptrdiff_t block, std::ptrdiff_t begin,
                       std::ptrdiff_t end, std::uint8_t* to) {
  for_each_line(a, block, [&](const auto& load) {
    for (std::ptrdiff_t i = begin; i < end; ++i, to += a.row_bytes) {
      _mm512_store_si512(to, load(a.rows[i]));
    }
  });
}

// Some rows' features of a block, four rows' bytes of a feature side by side: (ceil(rows / 4), 64,
// 4). Vector v, quarter q, number i is feature 16 q + 4 v + i, as bytes are interleaved within
// quarters; weights have the same order.
inline void interleave_block(const ByteSlice& a, std::ptrdiff_t block, std::ptrdiff_t begin,
                             std::ptrdiff_t end, std::uint8_t* to) {
  for_each_line(a, block, [&](const auto& load) {
    const auto interleave = [&](const std::uint8_t* const* rows, std::ptrdiff_t n) {
      __m512i x[4];
      for (std::ptrdiff_t r = 0; r < 4; ++r) x[r] = load(rows[r < n ? r : 0]);
      const __m512i low01 = _mm512_unpacklo_epi8(x[0], x[1]);
      const __m512i high01 = _mm512_unpackhi_epi8(x[0], x[1]);
      const __m512i low23 = _mm512_unpacklo_epi8(x[2], x[3]);
      const __m512i high23 = _mm512_unpackhi_epi8(x[2], x[3]);
      _mm512_store_si512(to, _mm512_unpacklo_epi16(low01, low23));
      _mm512_store_si512(to + 64, _mm512_unpackhi_epi16(low01, low23));
      _mm512_store_si512(to + 128, _mm512_unpacklo_epi16(high01, high23));
      _mm512_store_si512(to + 192, _mm512_unpackhi_epi16(high01, high23));
      to += 256;
    };
    std::ptrdiff_t i = begin;
    for (; i + 4 <= end; i += 4) interleave(a.rows + i, 4);
    if (i < end) interleave(a.rows + i, end - i);
  });
}

// Some rows that come later, brought into the second-level cache block by block.
class LaterBlocks {
 public:
  LaterBlocks(const ByteSlice& a, std::ptrdiff_t begin, std::ptrdiff_t end)
      : rows_(a.later.rows + begin), n_(end - begin), first_feature_(a.first_feature) {}
  void fetch(std::ptrdiff_t block) const {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      __builtin_prefetch(rows_[i] + first_feature_ + block * kTileBytes, 0, 2);
    }
  }

 private:
  const std::uint8_t* const* rows_;
  std::ptrdiff_t n_, first_feature_;
};

// A unit is as large as the largest weight of a class asks for, found first.
void split_weights(const SplitWeights& a) {
  const std::ptrdiff_t n_grains = round_up(a.n_features, 64) / kGrain,
                       stride = a.n_classes * kGrain;
  for (std::ptrdiff_t c = 0; c < a.n_classes; ++c) {
    const float* w = a.W + c * kGrain;
    __m512 largest[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
    for (std::ptrdiff_t g = 0; g < n_grains; g += 4) {
      for (int v = 0; v < 4; ++v, w += stride) {
        largest[v] = larger_size(largest[v], _mm512_loadu_ps(w));
      }
    }
    const __m512 of_lane =
        larger_size(larger_size(largest[0], largest[1]), larger_size(largest[2], largest[3]));
    const __m128i of_all = _mm_cvtsi32_si128(_mm512_reduce_max_epi32(_mm512_castps_si512(of_lane)));
    a.per_unit[c] = integers_per_unit(_mm_cvtss_f32(_mm_castsi128_ps(of_all)));
  }
  const float* w = a.W;
  for (std::ptrdiff_t g = 0; g < n_grains; ++g) {
    // Quarter q of grain v of a block: group 4 q + v. The fourth number that is stored is
    // overwritten by the next class, or lies behind the last.
    std::uint8_t* to = a.digits + (g / 4 * 16 + g % 4) * a.digit_stride;
    for (std::ptrdiff_t c = 0; c < a.n_classes; ++c, w += kGrain) {
      const __m512i digits =
          group_digits(digits_of(_mm512_loadu_ps(w), _mm512_set1_ps(a.per_unit[c])));
      const auto put = [&](std::ptrdiff_t q, __m128i quarter) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 4 * q * a.digit_stride + c * kDigits * 4),
                         quarter);
      };
      put(0, _mm512_castsi512_si128(digits));
      put(1, _mm512_extracti32x4_epi32(digits, 1));
      put(2, _mm512_extracti32x4_epi32(digits, 2));
      put(3, _mm512_extracti32x4_epi32(digits, 3));
    }
  }
}

// f(first of a pair of tiles, Count<1 or 2>) for n tiles.
template <class F>
void for_each_pair(std::ptrdiff_t n, const F& f) {
  std::ptrdiff_t i = 0;
  for (; i + 2 <= n; i += 2) f(i, Count<2>());
  if (i < n) f(i, Count<1>());
}

// The sums of digits of some rows, (n_rows, n_columns), to logits.
inline void join_digits(const ByteLogits& a, const std::int32_t* sums, std::ptrdiff_t n_columns,
                        const float* unit, std::ptrdiff_t begin, std::ptrdiff_t end) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i number[kDigits];  // of the column that a class's digit is in
  for (int d = 0; d < kDigits; ++d) {
    number[d] = _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(kDigits)),
                                 _mm512_set1_epi32(d));
  }
  const __m512 base = _mm512_set1_ps(256.0f);
  for (std::ptrdiff_t c = 0; c < a.n_classes; c += 16) {
    const std::ptrdiff_t n_classes = a.n_classes - c < 16 ? a.n_classes - c : 16;
    const bool has_third = kDigits * n_classes > 2 * 16;
    const __m512 scale = _mm512_loadu_ps(unit + c);
    for (std::ptrdiff_t i = begin; i < end; ++i) {
      const std::int32_t* row = sums + (i - begin) * n_columns + kDigits * c;
      const __m512i x0 = _mm512_loadu_si512(row), x1 = _mm512_loadu_si512(row + 16);
      __m512 digit[kDigits];
      for (int d = 0; d < kDigits; ++d) {
        __m512i y = _mm512_permutex2var_epi32(x0, number[d], x1);
        if (has_third) {
          const __mmask16 beyond = _mm512_cmpge_epi32_mask(number[d], _mm512_set1_epi32(2 * 16));
          y = _mm512_mask_permutexvar_epi32(y, beyond, number[d], _mm512_loadu_si512(row + 32));
        }
        digit[d] = _mm512_cvtepi32_ps(y);
      }
      const __m512 sum = _mm512_fmadd_ps(_mm512_fmadd_ps(digit[2], base, digit[1]), base, digit[0]);
      _mm512_mask_storeu_ps(a.sums + i * a.row_stride + c, mask16(n_classes),
                            _mm512_mul_ps(sum, scale));
    }
  }
}

// The other thread has read these lines two steps ago, so each store would wait for its leave:
// asked for all at once, 1.1x the speed of a step on two threads of an Emerald Rapids.
inline void fetch_to_write(const float* numbers, std::ptrdiff_t n) {
  const auto* end = reinterpret_cast<const char*>(numbers + n);
  for (const char* p = line_of(numbers); p < end; p += kLineBytes) __builtin_prefetch(p, 1, 3);
}

void byte_logits(const ByteLogits& a) {
  take_tiles();
  constexpr std::ptrdiff_t kRows = 2 * kTileRows;
  const std::ptrdiff_t n_columns = round_up(kDigits * a.n_classes, kTileRows);
  const std::ptrdiff_t n_blocks = (a.n_features + kTileBytes - 1) / kTileBytes;
  alignas(64)
      std::int32_t sums[kRows * round_up(kDigits * kMaxByteClasses, kTileRows) + 2 * kTileRows];
  float unit[round_up(kMaxByteClasses, 16)] = {};
  for (std::ptrdiff_t c = 0; c < a.n_classes; ++c) unit[c] = inverse_or_zero(a.per_unit[c]);
  fetch_to_write(a.sums, a.n_rows * a.row_stride);
  const auto rows_from = [&](std::ptrdiff_t begin) {
    return begin + kRows < a.n_rows ? begin + kRows : a.n_rows;
  };
  for (std::ptrdiff_t block = 0; block < n_blocks; ++block) {
    copy_block(a, block, 0, rows_from(0), a.by_row + block * kTileBytes);
  }
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += kRows) {
    const std::ptrdiff_t end = rows_from(begin);
    const LaterBlocks later(a, a.later.n * begin / a.n_rows, a.later.n * end / a.n_rows);
    const auto multiply = [&](auto n_row_tiles) {
      for_each_pair(n_columns / kTileRows, [&](std::ptrdiff_t n, auto n_column_tiles) {
        using Sums = TileSums<Factors::kUnsignedSigned, decltype(n_row_tiles)::value,
                              decltype(n_column_tiles)::value>;
        Sums::zero();
        TilePair x{a.by_row, kTileRows * a.row_bytes, a.row_bytes};
        TilePair w{a.digits + n * kTileBytes, kTileBytes, a.digit_stride};
        const bool is_last = n + 2 >= n_columns / kTileRows;
        for (std::ptrdiff_t block = 0; block < n_blocks; ++block) {
          Sums::load_a(x);
          Sums::load_b(w);
          Sums::multiply();
          // What has been multiplied makes room for what comes next.
          if (is_last) {
            copy_block(a, block, end, rows_from(end), a.by_row + block * kTileBytes);
            later.fetch(block);
          }
          x.first = static_cast<const char*>(x.first) + kTileBytes;
          w.first = static_cast<const char*>(w.first) + kTileRows * a.digit_stride;
        }
        Sums::store(sums + n * kTileRows, n_columns * 4);
      });
    };
    end - begin > kTileRows ? multiply(Count<2>()) : multiply(Count<1>());
    join_digits(a, sums, n_columns, unit, begin, end);
  }
  give_tiles_back();
}

// dlogits to digits, (three of each class, kMaxByteRows), and their units. Beyond the last row
// there are zeros until the next tile begins.
inline void split_dlogits(const ByteUpdate& a, std::uint8_t* digits, float* unit) {
  for (std::ptrdiff_t c = 0; c < a.n_classes; c += 16) {
    __m512 largest = _mm512_setzero_ps();
    for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
      largest = larger_size(largest, _mm512_loadu_ps(a.dlogits + i * a.row_stride + c));
    }
    alignas(64) float per_unit[16];
    _mm512_store_ps(per_unit, largest);
    for (int j = 0; j < 16; ++j) {
      per_unit[j] = integers_per_unit(per_unit[j]);
      unit[c + j] = inverse_or_zero(per_unit[j]);
    }
    const __m512 scale = _mm512_load_ps(per_unit);
    const std::ptrdiff_t n_classes = a.n_classes - c < 16 ? a.n_classes - c : 16;
    for (std::ptrdiff_t begin = 0; begin < round_up(a.n_rows, kTileBytes); begin += 16) {
      Vec<float> v[16];
      for (std::ptrdiff_t r = 0; r < 16; ++r) {
        const std::ptrdiff_t i = begin + r;
        v[r].v = i < a.n_rows ? _mm512_castsi512_ps(digits_of(
                                    _mm512_loadu_ps(a.dlogits + i * a.row_stride + c), scale))
                              : _mm512_setzero_ps();
      }
      transpose(v);
      const __m512i by_digit =
          _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
      for (std::ptrdiff_t k = 0; k < n_classes; ++k) {
        const __m512i d =
            _mm512_permutexvar_epi32(by_digit, group_digits(_mm512_castps_si512(v[k].v)));
        std::uint8_t* to = digits + (c + k) * kDigits * kMaxByteRows + begin;
        _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(d));
        _mm_store_si128(reinterpret_cast<__m128i*>(to + kMaxByteRows),
                        _mm512_extracti32x4_epi32(d, 1));
        _mm_store_si128(reinterpret_cast<__m128i*>(to + 2 * kMaxByteRows),
                        _mm512_extracti32x4_epi32(d, 2));
      }
    }
  }
}

void byte_update(const ByteUpdate& a) {
  take_tiles();
  using V = Vec<float>;
  constexpr std::ptrdiff_t kRowsOfDigits = round_up(kDigits * kMaxByteClasses, kTileRows);
  constexpr std::ptrdiff_t kFeatures = 2 * kGrain;  // at a time
  alignas(64) std::uint8_t digits[kRowsOfDigits * kMaxByteRows];
  alignas(64) std::int32_t sums[2][kRowsOfDigits * kFeatures];
  float unit[round_up(kMaxByteClasses, 16)];
  split_dlogits(a, digits, unit);
  const UpdateRule<float> rule(a);
  const std::ptrdiff_t n_row_blocks = (a.n_rows + kTileBytes - 1) / kTileBytes;
  const std::ptrdiff_t n_digit_tiles = (kDigits * a.n_classes + kTileRows - 1) / kTileRows;
  const auto block_at = [&](std::ptrdiff_t block) {
    return a.by_feature + block % 2 * n_row_blocks * kTileBytes * kTileBytes;
  };
  const auto multiply = [&](std::ptrdiff_t f, std::ptrdiff_t m, auto n_tiles) {
    using Sums = TileSums<Factors::kSignedUnsigned, decltype(n_tiles)::value, 2>;
    Sums::zero();
    TilePair d{digits + m * kTileRows * kMaxByteRows, kTileRows * kMaxByteRows, kMaxByteRows};
    TilePair x{block_at(f / kTileBytes) + f % kTileBytes * 4, kTileBytes, 256};
    for (std::ptrdiff_t block = 0; block < n_row_blocks; ++block) {
      Sums::load_a(d);
      Sums::load_b(x);
      Sums::multiply();
      d.first = static_cast<const char*>(d.first) + kTileBytes;
      x.first = static_cast<const char*>(x.first) + kTileRows * 256;
    }
  };
  const auto store = [&](std::ptrdiff_t m, std::int32_t* to, auto n_tiles) {
    using Sums = TileSums<Factors::kSignedUnsigned, decltype(n_tiles)::value, 2>;
    Sums::store(to + m * kTileRows * kFeatures, kFeatures * 4);
  };
  const auto move = [&](std::ptrdiff_t f, const std::int32_t* from) {
    const auto begin_of = [&](int k) { return (f / kGrain + k) * a.n_classes * kGrain; };
    const auto sum_of = [&](int k, std::ptrdiff_t c) __attribute__((always_inline)) {
      const std::int32_t* of_class = from + k * kGrain + c * kDigits * kFeatures;
      const __m512i low =
          _mm512_add_epi32(_mm512_load_si512(of_class),
                           _mm512_slli_epi32(_mm512_load_si512(of_class + kFeatures), 8));
      const __m512 high = _mm512_cvtepi32_ps(_mm512_load_si512(of_class + 2 * kFeatures));
      const V sum{_mm512_fmadd_ps(high, _mm512_set1_ps(65536.0f), _mm512_cvtepi32_ps(low))};
      V before[1][1];
      begin_sums(a, [&](int) { return begin_of(k) + c * kGrain; }, kGrain, before);
      return fma(sum, V::splat(unit[c]), before[0][0]);
    };
    take_step<2, kMaxByteClasses>(a, rule, begin_of, a.n_classes, kGrain, sum_of);
  };
  const std::ptrdiff_t end =
      a.end < round_up(a.n_features, 64) ? a.end : round_up(a.n_features, 64);
  const std::ptrdiff_t n_pairs = (n_digit_tiles - 1) / 2;  // before the last one
  // The tiles are one turn ahead of the vectors, which work while the last products are under way.
  int turn = 0;
  const auto both = [&](auto n_last) {
    interleave_block(a, a.begin / kTileBytes, 0, a.n_rows, block_at(a.begin / kTileBytes));
    for (std::ptrdiff_t f = a.begin; f < end + kFeatures; f += kFeatures, turn ^= 1) {
      if (f < end) {
        for (std::ptrdiff_t m = 0; m < n_pairs; ++m) {
          multiply(f, 2 * m, Count<2>());
          store(2 * m, sums[turn], Count<2>());
        }
        multiply(f, 2 * n_pairs, n_last);
        const std::ptrdiff_t half = f / kFeatures % 2, middle = a.n_rows / 8 * 4;
        if (f / kTileBytes * kTileBytes + kTileBytes < end) {
          const std::ptrdiff_t block = f / kTileBytes + 1, from = half ? middle : 0;
          interleave_block(a, block, from, half ? a.n_rows : middle, block_at(block) + from * 64);
        }
        LaterBlocks(a, a.later.n * half / 2, a.later.n * (half + 1) / 2).fetch(f / kTileBytes);
      }
      if (f > a.begin) move(f - kFeatures, sums[turn ^ 1]);
      if (f < end) store(2 * n_pairs, sums[turn], n_last);
    }
  };
  n_digit_tiles % 2 ? both(Count<1>()) : both(Count<2>());
  give_tiles_back();
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
