// softmax, log_softmax and logsumexp of a row, vectors along it.
//
//   m = max x, or 0 where that is not finite;  s = sum exp(x - m)
//   softmax = exp(x - m) / s,  log_softmax = x - m - log s,  logsumexp = m + log s
//
// Infinities and NaN come out as in scipy.special: softmax takes the maximum as it is, so a row
// whose maximum is infinite has no softmax (NaN); the other two put 0 in its place.
//
// A row that fits into the second-level cache is read from memory once; its exponentials wait in
// the cache until their sum is known. A longer one is read twice, its exponentials are made twice.
// Rows of a few numbers: softmax_lanes-inl.h. Which of them only the length of a row decides, not
// where it goes, so the bits are the same for all ways to store.
#pragma once

#include "kernels/exp-inl.h"
#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T>
constexpr T kInfinity = static_cast<T>(__builtin_inf());

template <class T>
bool is_finite(T x) {
  return x - x == 0;
}

template <class T>
T exp_of(T x) {
  T lanes[Vec<T>::kLanes];
  exp(Vec<T>::splat(x)).store(lanes);
  return lanes[0];
}

template <class T>
T row_max(const T* x, std::ptrdiff_t n) {
  using V = Vec<T>;
  V m[4];
  for (V& part : m) part = V::splat(-kInfinity<T>);
  std::ptrdiff_t j = 0;
  for (; j + 4 * V::kLanes <= n; j += 4 * V::kLanes) {
    for (int i = 0; i < 4; ++i) m[i] = max(V::load(x + j + i * V::kLanes), m[i]);
  }
  for (; j + V::kLanes <= n; j += V::kLanes) m[0] = max(V::load(x + j), m[0]);
  if (j < n) m[0] = max(first_n(n - j, V::load_n(x + j, n - j), m[0]), m[0]);
  return reduce_max(max(max(m[0], m[1]), max(m[2], m[3])));
}

// Numbers whose exponentials are added one after the other, in 128 vectors: one sum of 65536
// float32 in one lane is off by 3e-4.
template <class T>
constexpr std::ptrdiff_t kSumPart = 128 * Vec<T>::kLanes;

// visit(row i, the row after it, i). Nothing may be fetched from beyond the last row, which is said
// to follow itself: a page that is not there is looked for anew for each line, 64 ns on a Zen 1.
template <class T, class F>
void for_rows(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, const F& visit) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, x += n) visit(x, i + 1 < n_rows ? x + n : x, i);
}

// The sum of exp(x - m); each exponential goes to out, if there is one. As many numbers from next
// on are fetched into the second-level cache meanwhile: nothing else reads memory now.
template <bool kStore, class T>
T row_sum_exp(const T* x, const T* next, std::ptrdiff_t n, T m, T* out) {
  using V = Vec<T>;
  const V shift = V::splat(m);
  V sum = V::zero();
  const std::ptrdiff_t n_full = n - n % V::kLanes;
  std::ptrdiff_t j = 0;
  while (j < n_full) {
    const std::ptrdiff_t end = n_full - j < kSumPart<T> ? n_full : j + kSumPart<T>;
    V part = V::zero();
    const auto add = [&](auto size) {
      V e[decltype(size)::value];
      for (V& each : e) {
        const std::ptrdiff_t at = j + (&each - e) * V::kLanes;
        __builtin_prefetch(next + at, 0, 2);
        each = V::load(x + at) - shift;
      }
      exp_all(e);
      for (const V& each : e) {
        if constexpr (kStore) each.store(out + j);
        part = part + each;
        j += V::kLanes;
      }
    };
    while (j + kExpGroup * V::kLanes <= end) add(Count<kExpGroup>());
    while (j < end) add(Count<1>());
    sum = sum + part;
  }
  if (j < n) {
    const V e = exp(V::load_n(x + j, n - j) - shift);
    if constexpr (kStore) e.store_n(out + j, n - j);
    sum = sum + first_n(n - j, e, V::zero());
  }
  return reduce_add(sum);
}

// The maximum and the sum of exp(x - maximum) of a long row, in one read of it: a block at a time,
// which stays in the first-level cache.
template <class T>
T long_row_sum_exp(const T* x, std::ptrdiff_t n, T* maximum) {
  constexpr std::ptrdiff_t kBlock = 2048;
  T m = -kInfinity<T>, sum = 0;
  for (std::ptrdiff_t j = 0; j < n; j += kBlock) {
    const std::ptrdiff_t size = n - j < kBlock ? n - j : kBlock;
    const T here = row_max(x + j, size);
    if (here > m) {
      sum *= exp_of(m - here);
      m = here;
    }
    const T* next = n - j < 2 * kBlock ? x + j : x + j + kBlock;
    // Of entries that are all -inf the sum is 0, of NaN it is NaN.
    sum += row_sum_exp<false>(x + j, next, size, m == -kInfinity<T> ? T(0) : m,
                              static_cast<T*>(nullptr));
  }
  *maximum = m;
  return sum;
}

template <class T>
constexpr std::ptrdiff_t kLongRow = kLongRowBytes / static_cast<std::ptrdiff_t>(sizeof(T));

// The sum of exp(x - m), m the shift of a row: its maximum, or 0 where that is not finite.
template <class T>
T shifted_sum_exp(const T* x, const T* next, std::ptrdiff_t n, T* shift) {
  if (n > kLongRow<T>) {
    const T sum = long_row_sum_exp(x, n, shift);
    if (is_finite(*shift)) return sum;
  } else {
    *shift = row_max(x, n);
  }
  if (!is_finite(*shift)) *shift = 0;
  return row_sum_exp<false>(x, next, n, *shift, static_cast<T*>(nullptr));
}

// The maximum that log_softmax, logsumexp and the cross-entropy shift by.
template <class T>
T finite_max(const T* x, std::ptrdiff_t n) {
  const T m = row_max(x, n);
  return is_finite(m) ? m : T(0);
}

// Where results go: into the cache, or past it.
struct Store {
  static constexpr bool kStreams = false;
};
struct Stream {
  static constexpr bool kStreams = true;
};

// out = f(x) over a row; f changes vectors, one or several, where they are.
template <class To = Store, class T, class F>
void transform(const T* x, std::ptrdiff_t n, T* out, const F& f) {
  using V = Vec<T>;
  std::ptrdiff_t j = 0;
  const auto some = [&](std::ptrdiff_t size) {
    V v[] = {V::load_n(x + j, size)};
    f(v);
    v[0].store_n(out + j, size);
    j += size;
  };
  const auto full = [&](auto size) {
    V v[decltype(size)::value];
    for (V& each : v) each = V::load(x + j + (&each - v) * V::kLanes);
    f(v);
    for (const V& each : v) {
      To::kStreams ? each.stream(out + j) : each.store(out + j);
      j += V::kLanes;
    }
  };
  if constexpr (To::kStreams) {
    // Whole cache lines go past the cache; the row begins and ends anywhere.
    constexpr std::uintptr_t kBytes = sizeof(V);
    const auto beyond = reinterpret_cast<std::uintptr_t>(out) % kBytes;
    const auto head = static_cast<std::ptrdiff_t>((kBytes - beyond) % kBytes / sizeof(T));
    if (head > 0) some(head < n ? head : n);
  }
  while (j + kExpGroup * V::kLanes <= n) full(Count<kExpGroup>());
  while (j + V::kLanes <= n) full(Count<1>());
  if (j < n) some(n - j);
}

// Exponentials wait in scratch, which may be out.
template <class To, class T>
void softmax_row(const T* x, const T* next, std::ptrdiff_t n, T* scratch, T* out) {
  using V = Vec<T>;
  if (n > kLongRow<T>) {
    T m;
    const V scale = V::splat(1 / long_row_sum_exp(x, n, &m)), shift = V::splat(m);
    transform<To>(x, n, out, [&](auto& v) {
      for (V& each : v) each = each - shift;
      exp_all(v);
      for (V& each : v) each = each * scale;
    });
  } else {
    const V scale = V::splat(1 / row_sum_exp<true>(x, next, n, row_max(x, n), scratch));
    transform<To>(scratch, n, out, [&](auto& e) {
      for (V& each : e) each = each * scale;
    });
  }
}

template <class To, class T>
void log_softmax_row(const T* x, const T* next, std::ptrdiff_t n, T* out) {
  using V = Vec<T>;
  T m;
  const V log_sum = V::splat(log(shifted_sum_exp(x, next, n, &m))), shift = V::splat(m);
  transform<To>(x, n, out, [&](auto& v) {
    for (V& each : v) each = (each - shift) - log_sum;
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
