// exp and log, over vectors and of one number, in polynomials that are the same for every
// instruction set.
#pragma once

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, with ln 2 in two parts (Cody & Waite,
// Software Manual for the Elementary Functions, 1980): n * kLn2Hi is exact without an FMA too.
// exp(r) by polynomials of least relative error, found with the Remez exchange algorithm; kC are
// their coefficients, the highest first. Below kMin the result rounds to 0, above kMax to infinity;
// up to kNormal in size of x it is normal. NaN stays NaN. A sum with kWhole has no bits for
// fractions, and n in its lowest ones.
template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float kLog2E = 0x1.715476p+0f, kLn2Hi = 0x1.628p-1f, kLn2Lo = 0x1.90bfbep-11f;
  static constexpr float kMin = -104.0f, kMax = 89.0f, kNormal = 87.0f;
  static constexpr float kWhole = 0x1.8p23f;
  // exp(r): 0.8 ULP before rounding; at most 2 after it, without an FMA 2.3 (measured).
  static constexpr float kC[] = {0x1.0fa80cp-7f, 0x1.573a9ep-5f, 0x1.555a6cp-3f,
                                 0x1.fffdc4p-2f, 0x1.fffff6p-1f, 1.0f};
};
template <>
struct ExpConstants<double> {
  static constexpr double kLog2E = 0x1.71547652b82fep+0;
  static constexpr double kLn2Hi = 0x1.62e42feep-1, kLn2Lo = 0x1.a39ef35793c76p-33;
  static constexpr double kMin = -746.0, kMax = 710.0, kNormal = 708.0;
  static constexpr double kWhole = 0x1.8p52;
  // (exp(r) - 1 - r) / r^2: 0.02 ULP before rounding.
  static constexpr double kC[] = {
      0x1.ad7f33cc003a1p-26, 0x1.28ad98df89047p-22, 0x1.71df25b6f93aep-19, 0x1.a01999e5a51c8p-16,
      0x1.a01a012a0f4e0p-13, 0x1.6c16c1843748ep-10, 0x1.1111111127d07p-7,  0x1.5555555550846p-5,
      0x1.55555555554f9p-3,  0x1.000000000000ap-1};
};
inline Vec<float> exp_of_reduced(Vec<float>, Vec<float> polynomial) { return polynomial; }
inline Vec<double> exp_of_reduced(Vec<double> r, Vec<double> polynomial) {
  return fma(r * r, polynomial, r) + Vec<double>::splat(1.0);
}

// exp of each of several vectors, step by step: a processor that looks ahead 64 instructions would
// see three of them one after the other, while each waits for its own last step.
template <int kN, class T>
[[gnu::always_inline]] inline void exp_all(Vec<T> (&x)[kN]) {
  using C = ExpConstants<T>;
  using V = Vec<T>;
  V n[kN], p[kN];
  bool is_normal = false;
  if constexpr (kExpGroup > 1) is_normal = all_within(x, C::kNormal);
  if (!is_normal) {
    for (V& each : x) each = min(V::splat(C::kMax), max(V::splat(C::kMin), each));
  }
  V sum[kN];
  for (int i = 0; i < kN; ++i) {
    n[i] = x[i] * V::splat(C::kLog2E);
    if constexpr (kExpGroup > 1) {
      sum[i] = n[i] + V::splat(C::kWhole);
      n[i] = sum[i] - V::splat(C::kWhole);
    } else {
      n[i] = round(n[i]);
    }
  }
  for (int i = 0; i < kN; ++i) x[i] = fma(n[i], V::splat(-C::kLn2Hi), x[i]);
  for (int i = 0; i < kN; ++i) x[i] = fma(n[i], V::splat(-C::kLn2Lo), x[i]);
  for (V& each : p) each = V::splat(C::kC[0]);
  for (std::size_t c = 1; c < sizeof C::kC / sizeof(T); ++c) {
    for (int i = 0; i < kN; ++i) p[i] = fma(p[i], x[i], V::splat(C::kC[c]));
  }
  for (int i = 0; i < kN; ++i) p[i] = exp_of_reduced(x[i], p[i]);
  if constexpr (kExpGroup > 1) {
    if (is_normal) {
      for (int i = 0; i < kN; ++i) x[i] = ldexp_normal(p[i], sum[i]);
      return;
    }
  }
  for (int i = 0; i < kN; ++i) x[i] = ldexp(p[i], n[i]);
}

template <class T>
Vec<T> exp(Vec<T> x) {
  Vec<T> one[] = {x};
  exp_all(one);
  return one[0];
}

// log(x) for normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1),
// log m = 2 atanh(s) = 2 s + s z R(z), z = s^2. kSqrtHalf are the bits of sqrt(1/2).
template <class T>
struct LogConstants;
template <>
struct LogConstants<float> {
  static constexpr std::int32_t kSqrtHalf = 0x3f3504f3;
  static constexpr float kR[] = {0x1.31e9dep-2f, 0x1.995e7ep-2f, 0x1.55557ap-1f};
};
template <>
struct LogConstants<double> {
  static constexpr std::int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kR[] = {0x1.2f154ef4c3b31p-3, 0x1.39a03a90a90bap-3, 0x1.74664cf7ac2d9p-3,
                                  0x1.c71c51c91f4cfp-3, 0x1.249249423a857p-2, 0x1.999999997f8f9p-2,
                                  0x1.5555555555593p-1};
};

template <class T>
Vec<T> log(Vec<T> x) {
  using C = LogConstants<T>;
  using Ln2 = ExpConstants<T>;
  using V = Vec<T>;
  V n;
  const V m = split_exponent(x, C::kSqrtHalf, n), one = V::splat(1);
  const V s = (m - one) / (m + one), z = s * s;
  V R = V::zero();
  for (const T c : C::kR) R = V::splat(c) + z * R;
  return n * V::splat(Ln2::kLn2Hi) + ((s + s) + (s * z * R + n * V::splat(Ln2::kLn2Lo)));
}

// log(x) of one number that is a sum of exponentials: 0, [2^-100, inf] or NaN.
template <class T>
T log(T x) {
  constexpr T kInfinity = static_cast<T>(__builtin_inf());
  if (x == 0) return -kInfinity;
  if (!(x < kInfinity)) return x;  // infinity and NaN
  T lanes[Vec<T>::kLanes];
  log(Vec<T>::splat(x)).store(lanes);
  return lanes[0];
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
