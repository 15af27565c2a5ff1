// The same for rows of a few numbers, which fill no vector: as many rows as a vector has lanes are
// transposed, so that vectors run along the rows. A lane's numbers meet nobody else's, so a row's
// bits do not depend on its neighbours. Columns of a few numbers lie as vectors want them, and have
// the bits of rows.
#pragma once

#include "kernels/softmax-inl.h"
#include "kernels/transpose-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Up to kLanes of them, one in each lane.
template <class T>
struct LaneGroup {
  using V = Vec<T>;
  static constexpr std::ptrdiff_t kSquares = (kShortLength + V::kLanes - 1) / V::kLanes;
  std::ptrdiff_t n_lanes, n;
  V columns[kSquares * V::kLanes];

  LaneGroup(std::ptrdiff_t n_left, std::ptrdiff_t length)
      : n_lanes(n_left < V::kLanes ? n_left : V::kLanes), n(length) {}

  V maximum() const {
    V m = V::splat(-kInfinity<T>);
    for (std::ptrdiff_t j = 0; j < n; ++j) m = max(columns[j], m);
    return m;
  }
  // The sum of exp(x - shift), which take the place of x if they are kept.
  template <bool kKeep>
  V sum_exp(V shift) {
    V sum = V::zero();
    for (std::ptrdiff_t j = 0; j < n; j += kExpGroup) {
      with_count<kExpGroup>(n - j < kExpGroup ? n - j : kExpGroup, [&](auto size) {
        V e[decltype(size)::value];
        for (V& each : e) each = columns[j + (&each - e)] - shift;
        exp_all(e);
        for (const V& each : e) {
          if constexpr (kKeep) columns[j + (&each - e)] = each;
          sum = sum + each;
        }
      });
    }
    return sum;
  }
};

// Contiguous rows.
template <class T>
struct RowGroup : LaneGroup<T> {
  using typename LaneGroup<T>::V;
  using LaneGroup<T>::columns, LaneGroup<T>::n_lanes, LaneGroup<T>::n;

  RowGroup(const T* x, std::ptrdiff_t n_left, std::ptrdiff_t length)
      : LaneGroup<T>(n_left, length) {
    if constexpr (kHalfColumns<T> > 0) {
      if (takes_half_columns()) {
        for_half_columns<T>(n, [&](std::ptrdiff_t j) { load_half_columns(x + j, n, columns + j); });
        return;
      }
      if (n_lanes == V::kLanes) {
        load_few(x);
        return;
      }
    }
    for (std::ptrdiff_t j = 0; j < n; j += V::kLanes) {
      V square[V::kLanes];
      load_transposed<T>(x + j, n, n_lanes, n - j, square);
      for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) columns[j + i] = square[i];
    }
  }
  // f of all numbers, the last columns first: what a vector of them stores beyond its row, the
  // first columns of the next row overwrite.
  template <class F>
  void store(T* out, const F& f) const {
    if constexpr (kHalfColumns<T> > 0) {
      if (takes_half_columns()) {
        return for_half_columns<T>(n, [&](std::ptrdiff_t j) {
          V half[kHalfColumns<T>];
          for (int i = 0; i < kHalfColumns<T>; ++i) half[i] = f(columns[j + i]);
          store_half_columns(half, out + j, n);
        });
      }
      if (n_lanes == V::kLanes) return store_few(out, f);
    }
    for (std::ptrdiff_t j = (n - 1) / V::kLanes * V::kLanes; j >= 0; j -= V::kLanes) {
      V square[V::kLanes];
      for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) square[i] = f(columns[j + i]);
      transpose(square);
      const std::ptrdiff_t beyond = V::kLanes - (n - j);
      if (n_lanes == V::kLanes && beyond <= 0) {
        for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) square[i].store(out + i * n + j);
        continue;
      }
      for (std::ptrdiff_t i = 0; i < n_lanes; ++i) {
        store_first(square[i], n - j, out + i * n + j, beyond <= (n_lanes - 1 - i) * n);
      }
    }
  }

 private:
  bool takes_half_columns() const { return n_lanes == V::kLanes && n >= kHalfColumns<T>; }
  // Fewer columns than half a square has, number by number: rows of 1, 2 and 3 float32
  // take 3.8, 3.2 and 2.6 ns a number on a Zen 1; in squares of mostly nothing 18, 8 and 5.6.
  void load_few(const T* x) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      T lanes[V::kLanes];
      for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) lanes[i] = x[i * n + j];
      columns[j] = V::load(lanes);
    }
  }
  template <class F>
  void store_few(T* out, const F& f) const {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      T lanes[V::kLanes];
      f(columns[j]).store(lanes);
      for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) out[i * n + j] = lanes[i];
    }
  }
};

// Columns side by side, their numbers a stride apart.
template <class T>
struct ColumnGroup : LaneGroup<T> {
  using typename LaneGroup<T>::V;
  using LaneGroup<T>::columns, LaneGroup<T>::n_lanes, LaneGroup<T>::n;
  std::ptrdiff_t stride;

  ColumnGroup(const T* x, std::ptrdiff_t n_left, std::ptrdiff_t length, std::ptrdiff_t x_stride)
      : LaneGroup<T>(n_left, length), stride(x_stride) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      columns[j] =
          n_lanes < V::kLanes ? V::load_n(x + j * stride, n_lanes) : V::load(x + j * stride);
    }
  }
  template <class F>
  void store(T* out, const F& f) const {
    for (std::ptrdiff_t j = 0; j < n; ++j) store_first(f(columns[j]), n_lanes, out + j * stride);
  }
};

// Where the maximum is not finite: 0.
template <class T>
Vec<T> finite_or_zero(Vec<T> m) {
  const Vec<T> size = max(m, Vec<T>::zero() - m);
  return select_less(size, Vec<T>::splat(kInfinity<T>), m, Vec<T>::zero());
}

// As log of one number.
template <class T>
Vec<T> log_of_sums(Vec<T> x) {
  using V = Vec<T>;
  const V infinity = V::splat(kInfinity<T>), zero = V::zero();
  return select_less(x, infinity, select_less(zero, x, log(x), zero - infinity), x);
}

// visit(group, first) for all rows, or columns.
template <class T, class F>
void for_row_groups(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, const F& visit) {
  for (std::ptrdiff_t i = 0; i < n_rows; i += Vec<T>::kLanes) {
    RowGroup<T> group(x + i * n, n_rows - i, n);
    visit(group, i);
  }
}
template <class T, class F>
void for_column_groups(const ColumnArgs<T>& a, const F& visit) {
  for (std::ptrdiff_t i = 0; i < a.n_columns; i += Vec<T>::kLanes) {
    ColumnGroup<T> group(a.x + i, a.n_columns - i, a.n, a.stride);
    visit(group, i);
  }
}

template <class T, class Group>
void softmax_group(Group& group, T* out) {
  using V = Vec<T>;
  const V scale = V::splat(1) / group.template sum_exp<true>(group.maximum());
  group.store(out, [&](V e) { return e * scale; });
}
template <class T, class Group>
void log_softmax_group(Group& group, T* out) {
  using V = Vec<T>;
  const V shift = finite_or_zero(group.maximum());
  const V log_sum = log_of_sums(group.template sum_exp<false>(shift));
  group.store(out, [&](V v) { return (v - shift) - log_sum; });
}
template <class T, class Group>
void logsumexp_group(Group& group, T* out) {
  const Vec<T> shift = finite_or_zero(group.maximum());
  const Vec<T> sum = shift + log_of_sums(group.template sum_exp<false>(shift));
  store_first(sum, group.n_lanes, out);
}

template <class To, class T>
void softmax_rows(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* scratch, T* out) {
  if (n <= kShortLength) {
    for_row_groups(x, n_rows, n,
                   [&](auto& group, std::ptrdiff_t i) { softmax_group(group, out + i * n); });
  } else {
    for_rows(x, n_rows, n, [&](const T* row, const T* next, std::ptrdiff_t i) {
      softmax_row<To>(row, next, n, scratch ? scratch : out + i * n, out + i * n);
    });
  }
}

template <class To, class T>
void log_softmax_rows(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  if (n <= kShortLength) {
    for_row_groups(x, n_rows, n,
                   [&](auto& group, std::ptrdiff_t i) { log_softmax_group(group, out + i * n); });
  } else {
    for_rows(x, n_rows, n, [&](const T* row, const T* next, std::ptrdiff_t i) {
      log_softmax_row<To>(row, next, n, out + i * n);
    });
  }
}

template <class T>
void softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  softmax_rows<Store>(x, n_rows, n, static_cast<T*>(nullptr), out);
}
template <class T>
void softmax_streamed(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* scratch, T* out) {
  softmax_rows<Stream>(x, n_rows, n, scratch, out);
  fence_streams();
}
template <class T>
void log_softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  log_softmax_rows<Store>(x, n_rows, n, out);
}
template <class T>
void log_softmax_streamed(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  log_softmax_rows<Stream>(x, n_rows, n, out);
  fence_streams();
}

template <class T>
void logsumexp(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  if (n <= kShortLength) {
    for_row_groups(x, n_rows, n,
                   [&](auto& group, std::ptrdiff_t i) { logsumexp_group(group, out + i); });
  } else {
    for_rows(x, n_rows, n, [&](const T* row, const T* next, std::ptrdiff_t i) {
      T m;
      const T log_sum = log(shifted_sum_exp(row, next, n, &m));
      out[i] = m + log_sum;
    });
  }
}

template <class T>
void softmax_few(const ColumnArgs<T>& a) {
  for_column_groups(a, [&](auto& group, std::ptrdiff_t i) { softmax_group(group, a.out + i); });
}
template <class T>
void log_softmax_few(const ColumnArgs<T>& a) {
  for_column_groups(a, [&](auto& group, std::ptrdiff_t i) { log_softmax_group(group, a.out + i); });
}
template <class T>
void logsumexp_few(const ColumnArgs<T>& a) {
  for_column_groups(a, [&](auto& group, std::ptrdiff_t i) { logsumexp_group(group, a.out + i); });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
