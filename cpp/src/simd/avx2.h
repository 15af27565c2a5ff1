// The vector vocabulary in AVX2 and FMA3: 8 floats or 4 doubles. Meanings: scalar.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Read at 8 - n this gives n lanes of ones, then zeros.
alignas(64) constexpr std::int32_t kMaskWindow[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                      0,  0,  0,  0,  0,  0,  0,  0};
inline __m256i mask32(std::ptrdiff_t n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWindow + 8 - n));
}
inline __m256i mask64(std::ptrdiff_t n) {
  return _mm256_cvtepi32_epi64(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(kMaskWindow + 8 - n)));
}
// The first n < 8 bytes at p, then zeros. There is no masked byte load in AVX2.
inline __m128i bytes_n(const std::uint8_t* p, std::ptrdiff_t n) {
  std::uint64_t bytes = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) bytes |= std::uint64_t{p[i]} << (8 * i);
  return _mm_cvtsi64_si128(static_cast<long long>(bytes));
}

template <class T>
struct Vec;

template <>
struct Vec<float> {
  static constexpr std::ptrdiff_t kLanes = 8;
  __m256 v;

  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec splat(float x) { return {_mm256_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vec load_n(const float* p, std::ptrdiff_t n) { return {_mm256_maskload_ps(p, mask32(n))}; }
  static Vec widen(__m128i bytes) { return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))}; }
  static Vec load(const std::uint8_t* p) {
    return widen(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static Vec load_n(const std::uint8_t* p, std::ptrdiff_t n) { return widen(bytes_n(p, n)); }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  void store_n(float* p, std::ptrdiff_t n) const { _mm256_maskstore_ps(p, mask32(n), v); }
};

template <>
struct Vec<double> {
  static constexpr std::ptrdiff_t kLanes = 4;
  __m256d v;

  static Vec zero() { return {_mm256_setzero_pd()}; }
  static Vec splat(double x) { return {_mm256_set1_pd(x)}; }
  static Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Vec load_n(const double* p, std::ptrdiff_t n) {
    return {_mm256_maskload_pd(p, mask64(n))};
  }
  static Vec load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static Vec load_n(const float* p, std::ptrdiff_t n) {
    return {_mm256_cvtps_pd(_mm_maskload_ps(p, _mm256_castsi256_si128(mask32(n))))};
  }
  static Vec widen(__m128i bytes) { return {_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(bytes))}; }
  // (_mm_loadu_si32 of GCC before 11.3 puts the number into the last lane: GCC bug 99754.)
  static Vec load(const std::uint8_t* p) {
    int bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    return widen(_mm_cvtsi32_si128(bytes));
  }
  static Vec load_n(const std::uint8_t* p, std::ptrdiff_t n) { return widen(bytes_n(p, n)); }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void stream(double* p) const { _mm256_stream_pd(p, v); }
  void store_n(double* p, std::ptrdiff_t n) const { _mm256_maskstore_pd(p, mask64(n), v); }
};

inline void fence_streams() { _mm_sfence(); }
template <class T>
[[gnu::always_inline]] inline void keep_in_register(Vec<T>& x) {
  asm("" : "+v"(x.v));
}

inline Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm256_add_pd(a.v, b.v)}; }
inline Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm256_mul_pd(a.v, b.v)}; }
inline Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec<double> operator/(Vec<double> a, Vec<double> b) { return {_mm256_div_pd(a.v, b.v)}; }
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
inline Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm256_max_pd(a.v, b.v)}; }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm256_min_pd(a.v, b.v)}; }
inline Vec<float> first_n(std::ptrdiff_t n, Vec<float> a, Vec<float> b) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(mask32(n)))};
}
inline Vec<double> first_n(std::ptrdiff_t n, Vec<double> a, Vec<double> b) {
  return {_mm256_blendv_pd(b.v, a.v, _mm256_castsi256_pd(mask64(n)))};
}
inline Vec<float> select_less(Vec<float> a, Vec<float> b, Vec<float> x, Vec<float> y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
inline Vec<double> select_less(Vec<double> a, Vec<double> b, Vec<double> x, Vec<double> y) {
  return {_mm256_blendv_pd(y.v, x.v, _mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ))};
}

inline __m128 add_halves(Vec<float> a) {
  return _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
}
inline __m128d add_halves(Vec<double> a) {
  return _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
}
inline float reduce_add(Vec<float> a) {
  __m128 s = add_halves(a);
  s = _mm_add_ps(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehl_ps(s, s)));
}
inline double reduce_add(Vec<double> a) {
  const __m128d s = add_halves(a);
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
inline unsigned zero_words(const unsigned char* p) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i is_zero = _mm256_cmpeq_epi64(words, _mm256_setzero_si256());
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(is_zero)));
}
inline std::uint64_t nonzero_words(const unsigned char* p) {
#if defined(__AVX512DQ__)
  const __m512i words = _mm512_loadu_si512(p);
  return _mm512_test_epi64_mask(words, words);
#else
  return (zero_words(p) | zero_words(p + 32) << 4) ^ 0xffu;
#endif
}
#if !defined(__AVX512DQ__)
// Where two vectors of 32-bit numbers at p are zero, lane by lane.
inline __m256i zero_numbers(const unsigned char* p) {
  const __m256i zero = _mm256_setzero_si256();
  const auto* vectors = reinterpret_cast<const __m256i*>(p);
  return _mm256_packs_epi32(_mm256_cmpeq_epi32(_mm256_loadu_si256(vectors), zero),
                            _mm256_cmpeq_epi32(_mm256_loadu_si256(vectors + 1), zero));
}
// nonzero_vectors (scalar.h), from 24 instructions for eight of them where their words take 41:
// masks of 784 float32 take 90 nanoseconds and not 140 on a Zen 3.
template <class T>
std::uint64_t nonzero_vectors(Vec<T>, const unsigned char* p) {
  const __m256i zero = _mm256_packs_epi16(zero_numbers(p), zero_numbers(p + 64));
  const __m128i halves =
      _mm_and_si128(_mm256_castsi256_si128(zero), _mm256_extracti128_si256(zero, 1));
  const __m128i is_zero = _mm_cmpeq_epi32(halves, _mm_set1_epi32(-1));
  return static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(is_zero))) ^ 0xfu;
}
#endif
inline std::uint64_t nonzero_lanes(Vec<float> a) {
  return static_cast<unsigned>(
      _mm256_movemask_ps(_mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_NEQ_UQ)));
}
inline std::uint64_t nonzero_lanes(Vec<double> a) {
  return static_cast<unsigned>(
      _mm256_movemask_pd(_mm256_cmp_pd(a.v, _mm256_setzero_pd(), _CMP_NEQ_UQ)));
}
template <class T>
constexpr int kSumGroup = 16 / sizeof(T);
inline void store_sums(const Vec<float>* v, float* p) {
  const __m128 low = _mm_hadd_ps(add_halves(v[0]), add_halves(v[1]));
  const __m128 high = _mm_hadd_ps(add_halves(v[2]), add_halves(v[3]));
  _mm_storeu_ps(p, _mm_hadd_ps(low, high));
}
inline void store_sums(const Vec<double>* v, double* p) {
  _mm_storeu_pd(p, _mm_hadd_pd(add_halves(v[0]), add_halves(v[1])));
}
inline float reduce_max(Vec<float> a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline double reduce_max(Vec<double> a) {
  const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}

// 2^n is built in the exponent field, in two halves so that each stays in range.
inline Vec<float> ldexp(Vec<float> x, Vec<float> n) {
  const __m256i whole = _mm256_cvtps_epi32(n.v), half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127), rest = _mm256_sub_epi32(whole, half);
  const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
  return {_mm256_mul_ps(_mm256_mul_ps(x.v, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b))};
}
inline Vec<double> ldexp(Vec<double> x, Vec<double> n) {
  const __m128i whole = _mm256_cvtpd_epi32(n.v), half = _mm_srai_epi32(whole, 1);
  const __m128i bias = _mm_set1_epi32(1023), rest = _mm_sub_epi32(whole, half);
  const __m256i a = _mm256_slli_epi64(_mm256_cvtepi32_epi64(_mm_add_epi32(half, bias)), 52);
  const __m256i b = _mm256_slli_epi64(_mm256_cvtepi32_epi64(_mm_add_epi32(rest, bias)), 52);
  return {_mm256_mul_pd(_mm256_mul_pd(x.v, _mm256_castsi256_pd(a)), _mm256_castsi256_pd(b))};
}

// ldexp where x and the result are normal: n, the lowest bits of sum, is added to the exponent.
inline Vec<float> ldexp_normal(Vec<float> x, Vec<float> sum) {
  const __m256i e = _mm256_slli_epi32(_mm256_castps_si256(sum.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.v), e))};
}
inline Vec<double> ldexp_normal(Vec<double> x, Vec<double> sum) {
  const __m256i e = _mm256_slli_epi64(_mm256_castpd_si256(sum.v), 52);
  return {_mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(x.v), e))};
}
// Whether no number is larger than the limit in size, nor NaN; of doubles the upper half decides,
// so the limit's lower half is to be zero.
inline __m256i size_bits(Vec<float> x) {
  return _mm256_and_si256(_mm256_castps_si256(x.v), _mm256_set1_epi32(0x7fffffff));
}
inline __m256i size_bits(Vec<double> x) {
  return _mm256_and_si256(_mm256_castpd_si256(x.v), _mm256_set1_epi64x(0x7fffffff00000000));
}
template <int kN, class T>
bool all_within(const Vec<T> (&x)[kN], T limit) {
  __m256i largest = size_bits(x[0]);
  for (int i = 1; i < kN; ++i) largest = _mm256_max_epu32(largest, size_bits(x[i]));
  const __m256i is_larger = _mm256_cmpgt_epi32(largest, size_bits(Vec<T>::splat(limit)));
  return _mm256_testz_si256(is_larger, is_larger);
}

inline Vec<float> split_exponent(Vec<float> x, std::int32_t low, Vec<float>& exponent) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i e = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(low)), 23);
  exponent = {_mm256_cvtepi32_ps(e)};
  return {_mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(e, 23)))};
}
// There is no arithmetic shift of 64 bits, nor a conversion: the exponent is shifted with 2048
// added to it, and converted as the lowest bits of 2^52.
inline Vec<double> split_exponent(Vec<double> x, std::int64_t low, Vec<double>& exponent) {
  const __m256i bits = _mm256_castpd_si256(x.v);
  const __m256i raised =
      _mm256_sub_epi64(bits, _mm256_set1_epi64x(low - (std::int64_t{1024} << 52)));
  const __m256i e = _mm256_srli_epi64(raised, 52);
  const __m256d two52 = _mm256_set1_pd(0x1p52);
  exponent = {
      _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(e), two52), _mm256_set1_pd(0x1p52 + 1024))};
  const __m256i shift = _mm256_slli_epi64(_mm256_sub_epi64(e, _mm256_set1_epi64x(1024)), 52);
  return {_mm256_castsi256_pd(_mm256_sub_epi64(bits, shift))};
}
// Rows to columns: within halves first, then the halves change places.
inline void transpose_halves(Vec<float>* v) {
  const __m256 a = _mm256_unpacklo_ps(v[0].v, v[1].v), b = _mm256_unpackhi_ps(v[0].v, v[1].v);
  const __m256 c = _mm256_unpacklo_ps(v[2].v, v[3].v), d = _mm256_unpackhi_ps(v[2].v, v[3].v);
  v[0].v = _mm256_shuffle_ps(a, c, 0x44), v[1].v = _mm256_shuffle_ps(a, c, 0xee);
  v[2].v = _mm256_shuffle_ps(b, d, 0x44), v[3].v = _mm256_shuffle_ps(b, d, 0xee);
}
inline void transpose_halves(Vec<double>* v) {
  const __m256d a = _mm256_unpacklo_pd(v[0].v, v[1].v), b = _mm256_unpackhi_pd(v[0].v, v[1].v);
  v[0].v = a, v[1].v = b;
}
inline void transpose(Vec<float> (&v)[8]) {
  transpose_halves(v), transpose_halves(v + 4);
  for (int j = 0; j < 4; ++j) {
    const __m256 a = v[j].v, b = v[4 + j].v;
    v[j].v = _mm256_permute2f128_ps(a, b, 0x20), v[4 + j].v = _mm256_permute2f128_ps(a, b, 0x31);
  }
}
inline void transpose(Vec<double> (&v)[4]) {
  transpose_halves(v), transpose_halves(v + 2);
  for (int j = 0; j < 2; ++j) {
    const __m256d a = v[j].v, b = v[2 + j].v;
    v[j].v = _mm256_permute2f128_pd(a, b, 0x20), v[2 + j].v = _mm256_permute2f128_pd(a, b, 0x31);
  }
}
// As many columns as half a vector has lanes, of as many rows as a whole one has: a row meets the
// one that is half a square further on where they are read or written, and no number crosses the
// middle of a vector, for which a Zen 1 takes eight operations and Intel's have one port.
template <class T>
constexpr int kHalfColumns = 16 / sizeof(T);
inline void load_half_columns(const float* p, std::ptrdiff_t stride, Vec<float>* v) {
  for (int i = 0; i < 4; ++i, p += stride) {
    const __m256 row = _mm256_castps128_ps256(_mm_loadu_ps(p));
    v[i].v = _mm256_insertf128_ps(row, _mm_loadu_ps(p + 4 * stride), 1);
  }
  transpose_halves(v);
}
inline void load_half_columns(const double* p, std::ptrdiff_t stride, Vec<double>* v) {
  for (int i = 0; i < 2; ++i, p += stride) {
    const __m256d row = _mm256_castpd128_pd256(_mm_loadu_pd(p));
    v[i].v = _mm256_insertf128_pd(row, _mm_loadu_pd(p + 2 * stride), 1);
  }
  transpose_halves(v);
}
inline void store_half_columns(Vec<float>* v, float* p, std::ptrdiff_t stride) {
  transpose_halves(v);
  for (int i = 0; i < 4; ++i, p += stride) {
    _mm_storeu_ps(p, _mm256_castps256_ps128(v[i].v));
    _mm_storeu_ps(p + 4 * stride, _mm256_extractf128_ps(v[i].v, 1));
  }
}
inline void store_half_columns(Vec<double>* v, double* p, std::ptrdiff_t stride) {
  transpose_halves(v);
  for (int i = 0; i < 2; ++i, p += stride) {
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v[i].v));
    _mm_storeu_pd(p + 2 * stride, _mm256_extractf128_pd(v[i].v, 1));
  }
}

#if defined(__AVX512VL__)
// Thirty-two registers: 20 accumulators, 2 of x and one broadcast or W. Two threads of a Zen 4,
// with the tiles for sixteen registers and with these: 60000x784x10 in float32 7.2 ms, 5.5; an
// epoch of 60,000 dense rows of 784 features, batches of 100, 10 classes 17.1 ms, 16.0 (one
// thread 29.8, 26.4), 16 classes 26.0, 23.8 (48.5, 41.5). Forward by 4 x 5 the same, but for the
// product: 6.5.
constexpr int kLogitsRows = 2, kLogitsClasses = 10;
constexpr int kUpdateVecs = 2, kUpdateClasses = 10;
constexpr int kSparseClasses = 16;
#else
// Sixteen registers: 10 accumulators, 2 of x and one broadcast or W.
constexpr int kLogitsRows = 2, kLogitsClasses = 5;
constexpr int kUpdateVecs = 2, kUpdateClasses = 5;
constexpr int kSparseClasses = 12;
#endif
// 6 x 2 + 2 + 1 registers.
constexpr int kGemmRows = 6, kGemmVecs = 2;
// Steps of k of which a loop is made, and how far ahead B is fetched into the first level: 1.17x
// the speed of one step and no fetches for 1024^3 in float32 on one thread of a Zen 3, fetches
// alone 1.13x; four steps 0.89x, for GCC spills sums.
constexpr int kGemmSteps = 2, kGemmAhead = 64;
// Vectors whose exponentials are made together.
constexpr int kExpGroup = 4;
constexpr bool kHasRowsInLanes = false;

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
