// The vector vocabulary in NEON (AArch64): 4 floats or 2 doubles. Meanings: scalar.h.
// max and min give NaN where either is NaN, which is all that the callers rely on.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// There are no masked loads: the n <= kLanes values of a tail go through a zeroed array.
template <class T, int kLanes>
struct Tail {
  T values[kLanes] = {};
  Tail() = default;
  template <class Stored>
  Tail(const Stored* p, std::ptrdiff_t n) {
    for (std::ptrdiff_t i = 0; i < kLanes; ++i) {
      if (i < n) values[i] = static_cast<T>(p[i]);
    }
  }
};

template <class T>
struct Vec;

template <>
struct Vec<float> {
  static constexpr std::ptrdiff_t kLanes = 4;
  float32x4_t v;

  static Vec zero() { return {vdupq_n_f32(0)}; }
  static Vec splat(float x) { return {vdupq_n_f32(x)}; }
  static Vec load(const float* p) { return {vld1q_f32(p)}; }
  static Vec load(const std::uint8_t* p) {
    std::uint32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    const uint16x8_t halves = vmovl_u8(vcreate_u8(bytes));
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(halves)))};
  }
  template <class Stored>
  static Vec load_n(const Stored* p, std::ptrdiff_t n) {
    return load(Tail<float, kLanes>(p, n).values);
  }
  void store(float* p) const { vst1q_f32(p, v); }
  void stream(float* p) const { store(p); }
  void store_n(float* p, std::ptrdiff_t n) const {
    float lanes[kLanes];
    store(lanes);
    for (std::ptrdiff_t i = 0; i < kLanes; ++i) {
      if (i < n) p[i] = lanes[i];
    }
  }
};

template <>
struct Vec<double> {
  static constexpr std::ptrdiff_t kLanes = 2;
  float64x2_t v;

  static Vec zero() { return {vdupq_n_f64(0)}; }
  static Vec splat(double x) { return {vdupq_n_f64(x)}; }
  static Vec load(const double* p) { return {vld1q_f64(p)}; }
  static Vec load(const float* p) { return {vcvt_f64_f32(vld1_f32(p))}; }
  static Vec load(const std::uint8_t* p) {
    return {vcombine_f64(vdup_n_f64(p[0]), vdup_n_f64(p[1]))};
  }
  template <class Stored>
  static Vec load_n(const Stored* p, std::ptrdiff_t n) {
    return load(Tail<double, kLanes>(p, n).values);
  }
  void store(double* p) const { vst1q_f64(p, v); }
  void stream(double* p) const { store(p); }
  void store_n(double* p, std::ptrdiff_t n) const {
    if (n > 0) vst1q_lane_f64(p, v, 0);
    if (n > 1) vst1q_lane_f64(p + 1, v, 1);
  }
};

inline void fence_streams() {}
template <class T>
inline void keep_in_register(Vec<T>&) {}

inline Vec<float> operator+(Vec<float> a, Vec<float> b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec<double> operator+(Vec<double> a, Vec<double> b) { return {vaddq_f64(a.v, b.v)}; }
inline Vec<float> operator-(Vec<float> a, Vec<float> b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec<double> operator-(Vec<double> a, Vec<double> b) { return {vsubq_f64(a.v, b.v)}; }
inline Vec<float> operator*(Vec<float> a, Vec<float> b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec<double> operator*(Vec<double> a, Vec<double> b) { return {vmulq_f64(a.v, b.v)}; }
inline Vec<float> operator/(Vec<float> a, Vec<float> b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec<double> operator/(Vec<double> a, Vec<double> b) { return {vdivq_f64(a.v, b.v)}; }
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {vfmaq_f64(c.v, a.v, b.v)};
}
inline Vec<float> max(Vec<float> a, Vec<float> b) { return {vmaxq_f32(a.v, b.v)}; }
inline Vec<double> max(Vec<double> a, Vec<double> b) { return {vmaxq_f64(a.v, b.v)}; }
inline Vec<float> min(Vec<float> a, Vec<float> b) { return {vminq_f32(a.v, b.v)}; }
inline Vec<double> min(Vec<double> a, Vec<double> b) { return {vminq_f64(a.v, b.v)}; }
inline Vec<float> first_n(std::ptrdiff_t n, Vec<float> a, Vec<float> b) {
  const std::uint32_t lane[4] = {0, 1, 2, 3};
  const uint32x4_t chosen = vcltq_u32(vld1q_u32(lane), vdupq_n_u32(static_cast<std::uint32_t>(n)));
  return {vbslq_f32(chosen, a.v, b.v)};
}
inline Vec<double> first_n(std::ptrdiff_t n, Vec<double> a, Vec<double> b) {
  const std::uint64_t lane[2] = {0, 1};
  const uint64x2_t chosen = vcltq_u64(vld1q_u64(lane), vdupq_n_u64(static_cast<std::uint64_t>(n)));
  return {vbslq_f64(chosen, a.v, b.v)};
}
inline Vec<float> select_less(Vec<float> a, Vec<float> b, Vec<float> x, Vec<float> y) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)};
}
inline Vec<double> select_less(Vec<double> a, Vec<double> b, Vec<double> x, Vec<double> y) {
  return {vbslq_f64(vcltq_f64(a.v, b.v), x.v, y.v)};
}
inline Vec<float> round(Vec<float> x) { return {vrndnq_f32(x.v)}; }
inline Vec<double> round(Vec<double> x) { return {vrndnq_f64(x.v)}; }
inline float reduce_add(Vec<float> a) { return vaddvq_f32(a.v); }
inline double reduce_add(Vec<double> a) { return vaddvq_f64(a.v); }
inline std::uint64_t nonzero_words(const unsigned char* p) {
  std::uint64_t words[8], bits = 0;
  __builtin_memcpy(words, p, sizeof words);
  for (int i = 0; i < 8; ++i) bits |= std::uint64_t{words[i] != 0} << i;
  return bits;
}
template <class T>
std::uint64_t nonzero_lanes(Vec<T> a) {
  T lanes[Vec<T>::kLanes];
  a.store(lanes);
  std::uint64_t bits = 0;
  for (std::ptrdiff_t i = 0; i < Vec<T>::kLanes; ++i) bits |= std::uint64_t{lanes[i] != T(0)} << i;
  return bits;
}
template <class T>
constexpr int kSumGroup = 16 / sizeof(T);
inline void store_sums(const Vec<float>* v, float* p) {
  vst1q_f32(p, vpaddq_f32(vpaddq_f32(v[0].v, v[1].v), vpaddq_f32(v[2].v, v[3].v)));
}
inline void store_sums(const Vec<double>* v, double* p) {
  vst1q_f64(p, vpaddq_f64(v[0].v, v[1].v));
}
inline float reduce_max(Vec<float> a) { return vmaxvq_f32(a.v); }
inline double reduce_max(Vec<double> a) { return vmaxvq_f64(a.v); }

// 2^n is built in the exponent field, in two halves so that each stays in range.
inline Vec<float> ldexp(Vec<float> x, Vec<float> n) {
  const int32x4_t whole = vcvtq_s32_f32(n.v), half = vshrq_n_s32(whole, 1);
  const int32x4_t bias = vdupq_n_s32(127), rest = vsubq_s32(whole, half);
  const int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
  const int32x4_t b = vshlq_n_s32(vaddq_s32(rest, bias), 23);
  return {vmulq_f32(vmulq_f32(x.v, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b))};
}
inline Vec<double> ldexp(Vec<double> x, Vec<double> n) {
  const int64x2_t whole = vcvtq_s64_f64(n.v), half = vshrq_n_s64(whole, 1);
  const int64x2_t bias = vdupq_n_s64(1023), rest = vsubq_s64(whole, half);
  const int64x2_t a = vshlq_n_s64(vaddq_s64(half, bias), 52);
  const int64x2_t b = vshlq_n_s64(vaddq_s64(rest, bias), 52);
  return {vmulq_f64(vmulq_f64(x.v, vreinterpretq_f64_s64(a)), vreinterpretq_f64_s64(b))};
}

inline Vec<float> split_exponent(Vec<float> x, std::int32_t low, Vec<float>& exponent) {
  const int32x4_t bits = vreinterpretq_s32_f32(x.v);
  const int32x4_t e = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(low)), 23);
  exponent = {vcvtq_f32_s32(e)};
  return {vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(e, 23)))};
}
inline Vec<double> split_exponent(Vec<double> x, std::int64_t low, Vec<double>& exponent) {
  const int64x2_t bits = vreinterpretq_s64_f64(x.v);
  const int64x2_t e = vshrq_n_s64(vsubq_s64(bits, vdupq_n_s64(low)), 52);
  exponent = {vcvtq_f64_s64(e)};
  return {vreinterpretq_f64_s64(vsubq_s64(bits, vshlq_n_s64(e, 52)))};
}
inline void transpose(Vec<float> (&v)[4]) {
  const float32x4x2_t a = vzipq_f32(v[0].v, v[2].v), b = vzipq_f32(v[1].v, v[3].v);
  const float32x4x2_t low = vzipq_f32(a.val[0], b.val[0]), high = vzipq_f32(a.val[1], b.val[1]);
  v[0].v = low.val[0], v[1].v = low.val[1], v[2].v = high.val[0], v[3].v = high.val[1];
}
inline void transpose(Vec<double> (&v)[2]) {
  const float64x2_t first = vzip1q_f64(v[0].v, v[1].v);
  v[1].v = vzip2q_f64(v[0].v, v[1].v), v[0].v = first;
}

// Thirty-two registers: 20 accumulators leave room for x and W; 8 x 2 + 2 + 1 for gemm.
constexpr int kLogitsRows = 2, kLogitsClasses = 10;
constexpr int kUpdateVecs = 2, kUpdateClasses = 10;
constexpr int kSparseClasses = 16;
constexpr int kGemmRows = 8, kGemmVecs = 2;
constexpr int kGemmSteps = 1, kGemmAhead = 0;
constexpr int kExpGroup = 1;
constexpr bool kHasRowsInLanes = false;
// No columns of half a vector (avx2.h).
template <class T>
constexpr int kHalfColumns = 0;

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
