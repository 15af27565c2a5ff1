// softmax, log_softmax and logsumexp of contiguous rows, one row at a time, vectors along the row.
//
//   m = max x, or 0 where that is not finite;  s = sum exp(x - m)
//   softmax = exp(x - m) / s,  log_softmax = x - m - log s,  logsumexp = m + log s
//
// Infinities and NaN come out as in scipy.special: softmax takes the maximum as it is, so a row
// whose maximum is infinite has no softmax (NaN); the other two put 0 in its place.
#pragma once

#include "kernels/exp-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T>
constexpr T kInfinity = static_cast<T>(__builtin_inf());

template <class T>
bool is_finite(T x) {
  return x - x == 0;
}

template <class T>
T row_max(const T* x, std::ptrdiff_t n) {
  using V = Vec<T>;
  V m = V::splat(-kInfinity<T>);
  std::ptrdiff_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) m = max(V::load(x + j), m);
  if (j < n) m = max(first_n(n - j, V::load_n(x + j, n - j), m), m);
  return reduce_max(m);
}

// The sum of exp(x - m); each exponential goes to out, if there is one.
template <bool kStore, class T>
T row_sum_exp(const T* x, std::ptrdiff_t n, T m, T* out) {
  using V = Vec<T>;
  const V shift = V::splat(m);
  V sum = V::zero();
  std::ptrdiff_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) {
    const V e = exp(V::load(x + j) - shift);
    if constexpr (kStore) e.store(out + j);
    sum = sum + e;
  }
  if (j < n) {
    const V e = exp(V::load_n(x + j, n - j) - shift);
    if constexpr (kStore) e.store_n(out + j, n - j);
    sum = sum + first_n(n - j, e, V::zero());
  }
  return reduce_add(sum);
}

// out = f(x) over a row.
template <class T, class F>
void transform(const T* x, std::ptrdiff_t n, T* out, const F& f) {
  using V = Vec<T>;
  std::ptrdiff_t j = 0;
  for (; j + V::kLanes <= n; j += V::kLanes) f(V::load(x + j)).store(out + j);
  if (j < n) f(V::load_n(x + j, n - j)).store_n(out + j, n - j);
}

template <class T>
void softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, x += n, out += n) {
    const T sum = row_sum_exp<true>(x, n, row_max(x, n), out);
    const Vec<T> scale = Vec<T>::splat(1 / sum);
    transform(out, n, out, [&](Vec<T> e) { return e * scale; });
  }
}

// The maximum that log_softmax, logsumexp and the cross-entropy shift by.
template <class T>
T finite_max(const T* x, std::ptrdiff_t n) {
  const T m = row_max(x, n);
  return is_finite(m) ? m : T(0);
}

template <class T>
void log_softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, x += n, out += n) {
    const T m = finite_max(x, n);
    const Vec<T> shift = Vec<T>::splat(m);
    const Vec<T> log_sum = Vec<T>::splat(log(row_sum_exp<false>(x, n, m, out)));
    transform(x, n, out, [&](Vec<T> v) { return (v - shift) - log_sum; });
  }
}

template <class T>
void logsumexp(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, x += n) {
    const T m = finite_max(x, n);
    out[i] = m + log(row_sum_exp<false>(x, n, m, static_cast<T*>(nullptr)));
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
