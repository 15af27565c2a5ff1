// The vector vocabulary with one lane, in plain C++: the reference that every machine can run.
// Congruent with avx2.h, avx512.h and neon.h; what the operations mean is said once, here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Vec<T> is a register of kLanes numbers of type T (float or double).
//
//   load(p), load_n(p, n)      read kLanes, or the first n <= kLanes and zeros, from T or from a
//                              narrower storage type; no byte outside them is touched
//   store(p), store_n(p, n)    the reverse
//   stream(p)                  store past the cache, if the hardware can; p is aligned to the size
//                              of a Vec; fence_streams() ends a series of these
//   keep_in_register(x)        where registers are scarce and GCC would rather read x from memory
//                              at each use. Logits with AVX2 on a Zen 3: 1.06x the speed for 10
//                              classes, 1.13x for 16
//   first_n(n, a, b)           lanes 0..n-1 of a, the others of b
//   select_less(a, b, x, y)    x where a < b, else y, also where either is NaN
//   fma(a, b, c)               a * b + c, rounded once where the hardware can
//   max(a, b), min(a, b)       b where either is NaN
//   round(x)                   to the nearest integer, ties to even; |x| < 2^22; not where
//                              exponentials go in groups (kExpGroup)
//   ldexp(x, n)                x * 2^n for integral n with |n| < 1100, right into the subnormals
//   reduce_add(x), reduce_max(x)
//   store_sums(v, p)           p[i] = reduce_add(v[i]), with the same bits, for kSumGroup vectors
//   nonzero_words(p)           bit i: the i-th of eight 64-bit words at p is not zero
//   nonzero_vectors(V(), p)    bit i: the i-th of four vectors at p is not zero; only where that
//                              is faster
//   nonzero_lanes(x)           bit i: lane i is not zero
//   split_exponent(x, low, e)  m with x = m * 2^e for normal x > 0, m in [c, 2 c), c given by its
//                              bits, low
//   transpose(v)               of a square of kLanes vectors: lane i of v[j] becomes lane j of v[i]
template <class T>
struct Vec {
  static constexpr std::ptrdiff_t kLanes = 1;
  T v;

  static Vec zero() { return {T(0)}; }
  static Vec splat(T x) { return {x}; }
  template <class Stored>
  static Vec load(const Stored* p) {
    return {static_cast<T>(*p)};
  }
  template <class Stored>
  static Vec load_n(const Stored* p, std::ptrdiff_t n) {
    return n > 0 ? load(p) : zero();
  }
  void store(T* p) const { *p = v; }
  void stream(T* p) const { store(p); }
  void store_n(T* p, std::ptrdiff_t n) const {
    if (n > 0) *p = v;
  }
};

inline void fence_streams() {}
template <class T>
inline void keep_in_register(Vec<T>&) {}

template <class T>
Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return {a.v + b.v};
}
template <class T>
Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return {a.v - b.v};
}
template <class T>
Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return {a.v * b.v};
}
template <class T>
Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return {a.v / b.v};
}
template <class T>
Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return {a.v * b.v + c.v};
}
template <class T>
Vec<T> max(Vec<T> a, Vec<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
Vec<T> min(Vec<T> a, Vec<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
Vec<T> first_n(std::ptrdiff_t n, Vec<T> a, Vec<T> b) {
  return n > 0 ? a : b;
}
template <class T>
Vec<T> select_less(Vec<T> a, Vec<T> b, Vec<T> x, Vec<T> y) {
  return a.v < b.v ? x : y;
}
template <class T>
T reduce_add(Vec<T> a) {
  return a.v;
}
template <class T>
T reduce_max(Vec<T> a) {
  return a.v;
}
inline std::uint64_t nonzero_words(const unsigned char* p) {
  std::uint64_t words[8], bits = 0;
  __builtin_memcpy(words, p, sizeof words);
  for (int i = 0; i < 8; ++i) bits |= std::uint64_t{words[i] != 0} << i;
  return bits;
}
template <class T>
std::uint64_t nonzero_lanes(Vec<T> a) {
  return a.v != T(0);
}
template <class T>
constexpr int kSumGroup = 1;
template <class T>
void store_sums(const Vec<T>* v, T* p) {
  *p = v->v;
}
inline Vec<float> split_exponent(Vec<float> x, std::int32_t low, Vec<float>& exponent) {
  std::int32_t bits;
  __builtin_memcpy(&bits, &x, sizeof x);
  const std::int32_t e = (bits - low) >> 23;
  bits -= e * (1 << 23);
  __builtin_memcpy(&x, &bits, sizeof x);
  exponent = {static_cast<float>(e)};
  return x;
}
inline Vec<double> split_exponent(Vec<double> x, std::int64_t low, Vec<double>& exponent) {
  std::int64_t bits;
  __builtin_memcpy(&bits, &x, sizeof x);
  const std::int64_t e = (bits - low) >> 52;
  bits -= e * (std::int64_t{1} << 52);
  __builtin_memcpy(&x, &bits, sizeof x);
  exponent = {static_cast<double>(e)};
  return x;
}
template <class T>
void transpose(Vec<T> (&)[1]) {}

// Adding 1.5 * 2^(mantissa bits) leaves no fraction bits: the hardware's own rounding does the
// work.
inline Vec<float> round(Vec<float> x) { return {(x.v + 0x1.8p23f) - 0x1.8p23f}; }
inline Vec<double> round(Vec<double> x) { return {(x.v + 0x1.8p52) - 0x1.8p52}; }

// 2^n for an exponent that is in range; ldexp halves n so that 2^1023 * 2^1 and 2^-538 * 2^-538
// need no special cases. A NaN in n comes with a NaN in x, so any finite power will do.
inline float power_of_two(float, std::int32_t n) {
  const std::int32_t bits = (n + 127) << 23;
  float power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return power;
}
inline double power_of_two(double, std::int32_t n) {
  const std::int64_t bits = (std::int64_t{n} + 1023) << 52;
  double power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return power;
}
template <class T>
Vec<T> ldexp(Vec<T> x, Vec<T> n) {
  const std::int32_t whole = n.v == n.v ? static_cast<std::int32_t>(n.v) : 0;
  const std::int32_t half = whole >> 1;
  return {x.v * power_of_two(T(0), half) * power_of_two(T(0), whole - half)};
}

// Register tiles, in rows x classes, feature vectors x classes and rows x column vectors: small
// enough for the sixteen registers of the x86-64 baseline.
constexpr int kLogitsRows = 2, kLogitsClasses = 4;
constexpr int kUpdateVecs = 2, kUpdateClasses = 4;
constexpr int kSparseClasses = 8;
constexpr int kGemmRows = 4, kGemmVecs = 2;
constexpr int kGemmSteps = 1, kGemmAhead = 0;
constexpr int kExpGroup = 1;
constexpr bool kHasRowsInLanes = false;
// No columns of half a vector (avx2.h).
template <class T>
constexpr int kHalfColumns = 0;

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
