// softmax, log_softmax and logsumexp of long columns side by side, vectors across them. A strip of
// some cache lines goes to scratch on the first read, for rows far apart do not stay in the cache.
// A column has the bits of a row (softmax-inl.h): the sum that a row has in each lane is here a
// vector, with as many columns.
#pragma once

#include "kernels/softmax_lanes-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T, int kVecs>
class Strip {
 public:
  using V = Vec<T>;

  explicit Strip(const ColumnArgs<T>& args) : a_(args) {}

  // To scratch; m are the maxima.
  void copy(V (&m)[kVecs]) const {
    for (V& each : m) each = V::splat(-kInfinity<T>);
    for_rows(a_.x, [&](const T* x, T* kept, const auto& count) {
      for (int v = 0; v < kVecs; ++v) {
        const V here = load_first(x + v * V::kLanes, count(v));
        here.store(kept + v * V::kLanes);
        m[v] = max(here, m[v]);
      }
    });
  }

  // The sums of exp(x - shift), which take the place of x in scratch if they are kept.
  template <bool kKeep>
  void sum_exp(const V (&shift)[kVecs], V (&sums)[kVecs]) const {
    constexpr int kGroup = kVecs < 4 ? kVecs : 4;
    V total[V::kLanes][kVecs], part[V::kLanes][kVecs];
    T* kept = a_.scratch;
    const auto clear = [](V(&lanes)[V::kLanes][kVecs]) {
      for (auto& row : lanes) {
        for (V& each : row) each = V::zero();
      }
    };
    const auto add = [&](V(&to)[kVecs]) {
      for (int v = 0; v < kVecs; v += kGroup) {
        V e[kGroup];
        for (int i = 0; i < kGroup; ++i) e[i] = V::load(kept + i * V::kLanes) - shift[v + i];
        exp_all(e);
        for (int i = 0; i < kGroup; ++i, kept += V::kLanes) {
          if constexpr (kKeep) e[i].store(kept);
          to[v + i] = to[v + i] + e[i];
        }
      }
    };
    clear(total);
    const std::ptrdiff_t n_full = a_.n - a_.n % V::kLanes;
    for (std::ptrdiff_t j = 0; j < n_full;) {
      const std::ptrdiff_t end = n_full - j < kSumPart<T> ? n_full : j + kSumPart<T>;
      clear(part);
      for (; j < end; j += V::kLanes) {
        for (auto& lane : part) add(lane);
      }
      for (std::ptrdiff_t l = 0; l < V::kLanes; ++l) {
        for (int v = 0; v < kVecs; ++v) total[l][v] = total[l][v] + part[l][v];
      }
    }
    for (std::ptrdiff_t l = 0; l < a_.n - n_full; ++l) add(total[l]);
    for (int v = 0; v < kVecs; ++v) {
      V square[V::kLanes];
      T of_columns[V::kLanes];
      for (std::ptrdiff_t l = 0; l < V::kLanes; ++l) square[l] = total[l][v];
      transpose(square);
      for (std::ptrdiff_t c = 0; c < V::kLanes; ++c) of_columns[c] = reduce_add(square[c]);
      sums[v] = V::load(of_columns);
    }
  }

  // Copies; the maxima, or 0 where they are not finite, and the log of the sum of exp(x - shift).
  void log_sum_exp(V (&shift)[kVecs], V (&log_sum)[kVecs]) const {
    copy(shift);
    for (V& each : shift) each = finite_or_zero(each);
    sum_exp<false>(shift, log_sum);
    for (V& each : log_sum) each = log_of_sums(each);
  }

  // out = f(what scratch has, v), v the number of the vector in a row.
  template <class F>
  void store(const F& f) const {
    for_rows(a_.out, [&](T* out, const T* kept, const auto& count) {
      for (int v = 0; v < kVecs; ++v) {
        const std::ptrdiff_t n = count(v);
        if (n > 0) {
          store_first(f(V::load(kept + v * V::kLanes), v), n, out + v * V::kLanes);
        }
      }
    });
  }
  // One for each column.
  void store_sums(const V (&sums)[kVecs]) const {
    for (int v = 0; v < kVecs; ++v) {
      if (n_of(v) > 0) store_first(sums[v], n_of(v), a_.out + v * V::kLanes);
    }
  }

 private:
  // Columns in vector v of a row.
  std::ptrdiff_t n_of(int v) const {
    const std::ptrdiff_t left = a_.n_columns - v * V::kLanes;
    return left < V::kLanes ? left : V::kLanes;
  }
  static V load_first(const T* p, std::ptrdiff_t n) {
    return n == V::kLanes ? V::load(p) : n > 0 ? V::load_n(p, n) : V::zero();
  }
  // visit(row of the matrix, row of scratch, count), count(v) the columns in vector v. Rows are on
  // pages of their own, which the processor does not foresee: their lines are asked for.
  template <class P, class F>
  void for_rows(P* row, const F& visit) const {
    constexpr std::ptrdiff_t kRowsAhead = 6, kPerLine = 64 / sizeof(T);
    T* kept = a_.scratch;
    const auto all = [&](const auto& count) {
      for (std::ptrdiff_t j = 0; j < a_.n; ++j, row += a_.stride, kept += kVecs * V::kLanes) {
        if (j + kRowsAhead < a_.n) {
          for (std::ptrdiff_t c = 0; c < kVecs * V::kLanes; c += kPerLine) {
            __builtin_prefetch(row + kRowsAhead * a_.stride + c, 0, 3);
          }
        }
        visit(row, kept, count);
      }
    };
    if (a_.n_columns == kVecs * V::kLanes) {
      all([](int) { return V::kLanes; });
    } else {
      all([&](int v) { return n_of(v); });
    }
  }

  const ColumnArgs<T> a_;
};

// visit(strip) with vectors for one cache line, two or four, as many as the columns need.
template <class T, class F>
void in_strip(const ColumnArgs<T>& a, const F& visit) {
  constexpr int kLine = kStripBytes / 4 / static_cast<int>(sizeof(Vec<T>));
  if (a.n_columns <= kLine * Vec<T>::kLanes) {
    visit(Strip<T, kLine>(a), Count<kLine>());
  } else if (a.n_columns <= 2 * kLine * Vec<T>::kLanes) {
    visit(Strip<T, 2 * kLine>(a), Count<2 * kLine>());
  } else {
    visit(Strip<T, 4 * kLine>(a), Count<4 * kLine>());
  }
}

template <class T>
void softmax_columns(const ColumnArgs<T>& a) {
  if (a.n <= kShortLength) return softmax_few(a);
  in_strip(a, [](const auto& strip, auto size) {
    Vec<T> m[decltype(size)::value], scale[decltype(size)::value];
    strip.copy(m);
    strip.template sum_exp<true>(m, scale);
    for (Vec<T>& each : scale) each = Vec<T>::splat(1) / each;
    strip.store([&](Vec<T> e, int v) { return e * scale[v]; });
  });
}
template <class T>
void log_softmax_columns(const ColumnArgs<T>& a) {
  if (a.n <= kShortLength) return log_softmax_few(a);
  in_strip(a, [](const auto& strip, auto size) {
    Vec<T> shift[decltype(size)::value], log_sum[decltype(size)::value];
    strip.log_sum_exp(shift, log_sum);
    strip.store([&](Vec<T> x, int v) { return (x - shift[v]) - log_sum[v]; });
  });
}
template <class T>
void logsumexp_columns(const ColumnArgs<T>& a) {
  if (a.n <= kShortLength) return logsumexp_few(a);
  in_strip(a, [](const auto& strip, auto size) {
    constexpr int kVecs = decltype(size)::value;
    Vec<T> shift[kVecs], log_sum[kVecs];
    strip.log_sum_exp(shift, log_sum);
    for (int v = 0; v < kVecs; ++v) log_sum[v] = shift[v] + log_sum[v];
    strip.store_sums(log_sum);
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
