// The vector vocabulary in AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles. Meanings: scalar.h.
#pragma once

#if defined(FASTSOFTMAX_EMULATE_AVX512)
#include "simde_gaps.h"
#else
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

inline __mmask16 mask16(std::ptrdiff_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline __mmask8 mask8(std::ptrdiff_t n) { return static_cast<__mmask8>((1u << n) - 1u); }

template <class T>
struct Vec;

template <>
struct Vec<float> {
  static constexpr std::ptrdiff_t kLanes = 16;
  __m512 v;

  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec splat(float x) { return {_mm512_set1_ps(x)}; }
  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec load_n(const float* p, std::ptrdiff_t n) {
    return {_mm512_maskz_loadu_ps(mask16(n), p)};
  }
  static Vec widen(__m128i bytes) { return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))}; }
  static Vec load(const std::uint8_t* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Vec load_n(const std::uint8_t* p, std::ptrdiff_t n) {
    return widen(_mm_maskz_loadu_epi8(mask16(n), p));
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  void store_n(float* p, std::ptrdiff_t n) const { _mm512_mask_storeu_ps(p, mask16(n), v); }
};

template <>
struct Vec<double> {
  static constexpr std::ptrdiff_t kLanes = 8;
  __m512d v;

  static Vec zero() { return {_mm512_setzero_pd()}; }
  static Vec splat(double x) { return {_mm512_set1_pd(x)}; }
  static Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static Vec load_n(const double* p, std::ptrdiff_t n) {
    return {_mm512_maskz_loadu_pd(mask8(n), p)};
  }
  static Vec load(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
  static Vec load_n(const float* p, std::ptrdiff_t n) {
    return {_mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask8(n), p))};
  }
  static Vec widen(__m128i bytes) { return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(bytes))}; }
  static Vec load(const std::uint8_t* p) {
    return widen(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static Vec load_n(const std::uint8_t* p, std::ptrdiff_t n) {
    return widen(_mm_maskz_loadu_epi8(mask16(n), p));
  }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void stream(double* p) const { _mm512_stream_pd(p, v); }
  void store_n(double* p, std::ptrdiff_t n) const { _mm512_mask_storeu_pd(p, mask8(n), v); }
};

inline void fence_streams() { _mm_sfence(); }
template <class T>
inline void keep_in_register(Vec<T>&) {}

inline Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm512_add_pd(a.v, b.v)}; }
inline Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec<double> operator/(Vec<double> a, Vec<double> b) { return {_mm512_div_pd(a.v, b.v)}; }
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
inline Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm512_max_pd(a.v, b.v)}; }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm512_min_pd(a.v, b.v)}; }
inline Vec<float> first_n(std::ptrdiff_t n, Vec<float> a, Vec<float> b) {
  return {_mm512_mask_blend_ps(mask16(n), b.v, a.v)};
}
inline Vec<double> first_n(std::ptrdiff_t n, Vec<double> a, Vec<double> b) {
  return {_mm512_mask_blend_pd(mask8(n), b.v, a.v)};
}
inline Vec<float> select_less(Vec<float> a, Vec<float> b, Vec<float> x, Vec<float> y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline Vec<double> select_less(Vec<double> a, Vec<double> b, Vec<double> x, Vec<double> y) {
  return {_mm512_mask_blend_pd(_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline Vec<float> round(Vec<float> x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec<double> round(Vec<double> x) {
  return {_mm512_roundscale_pd(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// Sums of lanes are made quarter by quarter, (0 + 2) + (1 + 3) in each (halves for double), and the
// quarters in the same way: one vector's alone, or those of several side by side.
inline __m128 add_quarters(__m512 a) {
  const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
inline __m128d add_quarters(__m512d a) {
  const __m256d s = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
  return _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
}
inline float reduce_add(Vec<float> a) {
  const __m512 s = _mm512_add_ps(a.v, _mm512_shuffle_ps(a.v, a.v, 0xee));
  return _mm_cvtss_f32(add_quarters(_mm512_add_ps(s, _mm512_movehdup_ps(s))));
}
inline double reduce_add(Vec<double> a) {
  return _mm_cvtsd_f64(add_quarters(_mm512_add_pd(a.v, _mm512_unpackhi_pd(a.v, a.v))));
}
inline std::uint64_t nonzero_words(const unsigned char* p) {
  const __m512i words = _mm512_loadu_si512(p);
  return _mm512_test_epi64_mask(words, words);
}
inline std::uint64_t nonzero_lanes(Vec<float> a) {
  return _mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}
inline std::uint64_t nonzero_lanes(Vec<double> a) {
  return _mm512_cmp_pd_mask(a.v, _mm512_setzero_pd(), _CMP_NEQ_UQ);
}
template <class T>
constexpr int kSumGroup = 16 / sizeof(T);
// Quarter q of the result: the sums of the quarters q.
[[gnu::always_inline]] inline __m512 add_in_quarters(const Vec<float>* v) {
  const auto pair = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  };
  const __m512d low = _mm512_castps_pd(pair(v[0].v, v[1].v));
  const __m512d high = _mm512_castps_pd(pair(v[2].v, v[3].v));
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
}
[[gnu::always_inline]] inline void store_sums(const Vec<float>* v, float* p) {
  _mm_storeu_ps(p, add_quarters(add_in_quarters(v)));
}
[[gnu::always_inline]] inline void store_sums(const Vec<double>* v, double* p) {
  _mm_storeu_pd(p, add_quarters(_mm512_add_pd(_mm512_unpacklo_pd(v[0].v, v[1].v),
                                              _mm512_unpackhi_pd(v[0].v, v[1].v))));
}
inline float reduce_max(Vec<float> a) { return _mm512_reduce_max_ps(a.v); }
inline double reduce_max(Vec<double> a) { return _mm512_reduce_max_pd(a.v); }
inline Vec<float> ldexp(Vec<float> x, Vec<float> n) { return {_mm512_scalef_ps(x.v, n.v)}; }
inline Vec<double> ldexp(Vec<double> x, Vec<double> n) { return {_mm512_scalef_pd(x.v, n.v)}; }

inline Vec<float> split_exponent(Vec<float> x, std::int32_t low, Vec<float>& exponent) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i e = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(low)), 23);
  exponent = {_mm512_cvtepi32_ps(e)};
  return {_mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(e, 23)))};
}
inline Vec<double> split_exponent(Vec<double> x, std::int64_t low, Vec<double>& exponent) {
  const __m512i bits = _mm512_castpd_si512(x.v);
  const __m512i e = _mm512_srai_epi64(_mm512_sub_epi64(bits, _mm512_set1_epi64(low)), 52);
  exponent = {_mm512_cvtepi64_pd(e)};
  return {_mm512_castsi512_pd(_mm512_sub_epi64(bits, _mm512_slli_epi64(e, 52)))};
}
// Rows to columns: pairs of rows are interleaved by ones, then by twos, then quarters change
// places.
inline void transpose(Vec<float> (&v)[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i].v, v[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  const auto low = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  const auto high = [](__m512 a, __m512 b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  };
  __m512 u[16];  // u[4 i + j]: quarter q has the numbers 4 q + j of the rows 4 i .. 4 i + 3
  for (int i = 0; i < 16; i += 4) {
    u[i] = low(t[i], t[i + 2]), u[i + 1] = high(t[i], t[i + 2]);
    u[i + 2] = low(t[i + 1], t[i + 3]), u[i + 3] = high(t[i + 1], t[i + 3]);
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd);
    v[j].v = _mm512_shuffle_f32x4(a, c, 0x88), v[8 + j].v = _mm512_shuffle_f32x4(a, c, 0xdd);
    v[4 + j].v = _mm512_shuffle_f32x4(b, d, 0x88), v[12 + j].v = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}
inline void transpose(Vec<double> (&v)[8]) {
  __m512d t[8];  // t[2 i + j]: quarter q has the numbers 2 q + j of the rows 2 i, 2 i + 1
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_pd(v[i].v, v[i + 1].v);
    t[i + 1] = _mm512_unpackhi_pd(v[i].v, v[i + 1].v);
  }
  for (int j = 0; j < 2; ++j) {
    const __m512d a = _mm512_shuffle_f64x2(t[j], t[2 + j], 0x88);
    const __m512d b = _mm512_shuffle_f64x2(t[j], t[2 + j], 0xdd);
    const __m512d c = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0x88);
    const __m512d d = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0xdd);
    v[j].v = _mm512_shuffle_f64x2(a, c, 0x88), v[4 + j].v = _mm512_shuffle_f64x2(a, c, 0xdd);
    v[2 + j].v = _mm512_shuffle_f64x2(b, d, 0x88), v[6 + j].v = _mm512_shuffle_f64x2(b, d, 0xdd);
  }
}

// Thirty-two registers: 20 accumulators leave room for x and W; 12 x 2 + 2 + 1 for gemm.
constexpr int kLogitsRows = 2, kLogitsClasses = 10;
constexpr int kUpdateVecs = 2, kUpdateClasses = 10;
constexpr int kSparseClasses = 16;
constexpr int kGemmRows = 12, kGemmVecs = 2;
// No fetches: 3 % slower 8 steps ahead, on a Zen 4.
constexpr int kGemmSteps = 1, kGemmAhead = 0;
constexpr int kExpGroup = 1;
// Whether a cross-entropy of up to a vector of classes has its rows in lanes. Nanoseconds for a row
// of 2, 3, 10 and 16 classes, float32, on a Zen 4: 8, 9, 11 and 12, one by one 16; of 2 in float64
// 13 and 18. With AVX2 12, 13, 15 and 15, one by one 11, 11, 15 and 15, and 25 and 14.
constexpr bool kHasRowsInLanes = true;
// No columns of half a vector (avx2.h).
template <class T>
constexpr int kHalfColumns = 0;

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
