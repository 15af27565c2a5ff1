// AVX-512 on machines without it: SIMDe (github.com/simd-everywhere/simde) under the names of
// Intel, and the intrinsics that its release 0.7.4 lacks or approximates, lane by lane. Included by
// simd/avx512.h in builds with FASTSOFTMAX_EMULATE_AVX512, which are for tests: right, but slow.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#include <cstddef>
#include <cstdint>

namespace {

// A register as an array.
template <class Register, class T>
struct Lanes {
  static constexpr int kCount = sizeof(Register) / sizeof(T);
  T at[kCount] = {};

  Lanes() = default;
  explicit Lanes(Register r) { __builtin_memcpy(at, &r, sizeof r); }
  Register pack() const {
    Register r;
    __builtin_memcpy(&r, at, sizeof r);
    return r;
  }
};
using F16 = Lanes<__m512, float>;
using D8 = Lanes<__m512d, double>;
using I16 = Lanes<__m512i, std::int32_t>;
using B16 = Lanes<__m128i, std::uint8_t>;
using F8 = Lanes<__m256, float>;
using I8 = Lanes<__m256i, std::int32_t>;
using L8 = Lanes<__m512i, std::int64_t>;

template <class To, class From>
To convert(const From& from) {
  To to;
  for (int i = 0; i < To::kCount; ++i) {
    to.at[i] = static_cast<decltype(to.at[0] + 0)>(from.at[i]);
  }
  return to;
}

// Only the bytes of lanes in the mask are touched.
template <class To>
To masked_load(unsigned mask, const void* p) {
  To to;
  for (int i = 0; i < To::kCount; ++i) {
    const auto* at = static_cast<const char*>(p) + i * static_cast<int>(sizeof to.at[0]);
    if (mask >> i & 1u) __builtin_memcpy(&to.at[i], at, sizeof to.at[0]);
  }
  return to;
}
template <class From>
void masked_store(void* p, unsigned mask, const From& from) {
  for (int i = 0; i < From::kCount; ++i) {
    auto* at = static_cast<char*>(p) + i * static_cast<int>(sizeof from.at[0]);
    if (mask >> i & 1u) __builtin_memcpy(at, &from.at[i], sizeof from.at[0]);
  }
}

// Halves onto halves, the order of GCC's and Clang's own sequences.
template <class From, class F>
auto reduce(From a, const F& f) {
  for (int half = From::kCount / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.at[i] = f(a.at[i], a.at[i + half]);
  }
  return a.at[0];
}

// x 2^n for the integral n that exp() hands over, or NaN; SIMDe's goes through exp2 and drops
// subnormals. x is near 1, so the first product is exact and the second rounds once.
template <class From>
From scale_by_power(From x, const From& n) {
  for (int i = 0; i < From::kCount; ++i) {
    const int whole = n.at[i] == n.at[i] ? static_cast<int>(n.at[i]) : 0, half = whole >> 1;
    using T = decltype(x.at[0] + 0);
    const auto power = [](int e) { return static_cast<T>(__builtin_ldexp(1.0, e)); };
    x.at[i] = x.at[i] * power(half) * power(whole - half);
  }
  return x;
}

// Eight of sixteen numbers, the odd ones in place of the even ones too, and integers shifted with
// their signs.
template <int kHalf>
F8 half(const F16& from) {
  F8 to;
  for (int i = 0; i < F8::kCount; ++i) to.at[i] = from.at[8 * kHalf + i];
  return to;
}
inline F16 odd_twice(F16 x) {
  for (int i = 0; i < F16::kCount; i += 2) x.at[i] = x.at[i + 1];
  return x;
}
// Quarters of registers: two of a, two of b.
template <class From>
From quarters(const From& a, const From& b, int which) {
  constexpr int kQuarter = From::kCount / 4;
  From to;
  for (int i = 0; i < From::kCount; ++i) {
    const int from = (which >> (2 * (i / kQuarter)) & 3) * kQuarter + i % kQuarter;
    to.at[i] = i < 2 * kQuarter ? a.at[from] : b.at[from];
  }
  return to;
}
template <class From>
From shift_right(From x, int n) {
  for (auto& each : x.at) each >>= n;
  return x;
}

const auto lane_add = [](auto a, auto b) { return a + b; };
const auto lane_max = [](auto a, auto b) { return a > b ? a : b; };

}  // namespace

#undef _mm512_scalef_ps
#undef _mm512_scalef_pd
#define _mm512_scalef_ps(x, n) scale_by_power(F16(x), F16(n)).pack()
#define _mm512_scalef_pd(x, n) scale_by_power(D8(x), D8(n)).pack()
#define _mm512_cvtepi32_ps(a) convert<F16>(I16(a)).pack()
#define _mm512_cvtepi32_pd(a) convert<D8>(I8(a)).pack()
#define _mm512_cvtepu8_epi32(a) convert<I16>(B16(a)).pack()
#define _mm512_cvtps_pd(a) convert<D8>(F8(a)).pack()
#define _mm512_cvtepi64_pd(a) convert<D8>(L8(a)).pack()
#define _mm512_extractf32x8_ps(a, i) half<i>(F16(a)).pack()
#define _mm512_movehdup_ps(a) odd_twice(F16(a)).pack()
#define _mm512_shuffle_f32x4(a, b, which) quarters(F16(a), F16(b), which).pack()
#define _mm512_shuffle_f64x2(a, b, which) quarters(D8(a), D8(b), which).pack()
#define _mm512_srai_epi32(a, n) shift_right(I16(a), n).pack()
#define _mm512_srai_epi64(a, n) shift_right(L8(a), n).pack()
#define _mm512_maskz_loadu_ps(mask, p) masked_load<F16>(mask, p).pack()
#define _mm512_maskz_loadu_pd(mask, p) masked_load<D8>(mask, p).pack()
#define _mm256_maskz_loadu_ps(mask, p) masked_load<F8>(mask, p).pack()
#define _mm_maskz_loadu_epi8(mask, p) masked_load<B16>(mask, p).pack()
#define _mm512_mask_storeu_ps(p, mask, a) masked_store(p, mask, F16(a))
#define _mm512_mask_storeu_pd(p, mask, a) masked_store(p, mask, D8(a))
#define _mm512_stream_ps(p, a) masked_store(p, 0xffff, F16(a))
#define _mm512_stream_pd(p, a) masked_store(p, 0xff, D8(a))
#define _mm512_reduce_add_ps(a) reduce(F16(a), lane_add)
#define _mm512_reduce_add_pd(a) reduce(D8(a), lane_add)
#define _mm512_reduce_max_ps(a) reduce(F16(a), lane_max)
#define _mm512_reduce_max_pd(a) reduce(D8(a), lane_max)
