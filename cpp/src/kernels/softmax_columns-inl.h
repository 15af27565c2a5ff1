// The same for rows of a few numbers, which fill no vector: as many rows as a vector has lanes are
// transposed, so that vectors run along the rows. A lane's numbers meet nobody else's, so a row's
// bits do not depend on its neighbours.
#pragma once

#include "kernels/softmax-inl.h"
#include "kernels/transpose-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Rows longer than this are worked on one by one.
constexpr std::ptrdiff_t kFewColumns = 32;

// Up to kLanes rows, one in each lane.
template <class T>
struct RowGroup {
  using V = Vec<T>;
  static constexpr std::ptrdiff_t kSquares = (kFewColumns + V::kLanes - 1) / V::kLanes;
  std::ptrdiff_t n_rows, n;
  V squares[kSquares][V::kLanes];

  RowGroup(const T* x, std::ptrdiff_t n_rows_left, std::ptrdiff_t n_columns)
      : n_rows(n_rows_left < V::kLanes ? n_rows_left : V::kLanes), n(n_columns) {
    for (std::ptrdiff_t j = 0; j < n; j += V::kLanes) {
      load_transposed<T>(x + j, n, n_rows, n - j, squares[j / V::kLanes]);
    }
  }
  V& column(std::ptrdiff_t j) { return squares[j / V::kLanes][j % V::kLanes]; }

  V maximum() {
    V m = V::splat(-kInfinity<T>);
    for (std::ptrdiff_t j = 0; j < n; ++j) m = max(column(j), m);
    return m;
  }
  // The sum of exp(x - shift), which take the place of x if they are kept.
  template <bool kKeep>
  V sum_exp(V shift) {
    V sum = V::zero();
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const V e = exp(column(j) - shift);
      if constexpr (kKeep) column(j) = e;
      sum = sum + e;
    }
    return sum;
  }
  template <class F>
  void transform(const F& f) {
    for (std::ptrdiff_t j = 0; j < n; ++j) column(j) = f(column(j));
  }
  // To contiguous rows, in order: what a vector stores beyond its row, the next ones overwrite.
  void store(T* out) {
    for (std::ptrdiff_t j = 0; j < n; j += V::kLanes) transpose(squares[j / V::kLanes]);
    for (std::ptrdiff_t i = 0; i < n_rows; ++i, out += n) {
      for (std::ptrdiff_t j = 0; j < n; j += V::kLanes) {
        const std::ptrdiff_t beyond = V::kLanes - (n - j);
        store_first(squares[j / V::kLanes][i], n - j, out + j, beyond <= (n_rows - 1 - i) * n);
      }
    }
  }
};

// Where the maximum is not finite: 0.
template <class T>
Vec<T> finite_or_zero(Vec<T> m) {
  const Vec<T> size = max(m, Vec<T>::zero() - m);
  return select_less(size, Vec<T>::splat(kInfinity<T>), m, Vec<T>::zero());
}

template <class T>
Vec<T> log_by_lane(Vec<T> x) {
  T lanes[Vec<T>::kLanes];
  x.store(lanes);
  for (T& lane : lanes) lane = log(lane);
  return Vec<T>::load(lanes);
}

// visit(group, first_row) for all rows.
template <class T, class F>
void for_row_groups(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, const F& visit) {
  for (std::ptrdiff_t i = 0; i < n_rows; i += Vec<T>::kLanes) {
    RowGroup<T> group(x + i * n, n_rows - i, n);
    visit(group, i);
  }
}

template <class To, class T>
void softmax_rows(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* scratch, T* out) {
  using V = Vec<T>;
  if (n <= kFewColumns) {
    for_row_groups(x, n_rows, n, [&](RowGroup<T>& group, std::ptrdiff_t i) {
      const V scale = V::splat(1) / group.template sum_exp<true>(group.maximum());
      group.transform([&](V e) { return e * scale; });
      group.store(out + i * n);
    });
  } else {
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
      softmax_row<To>(x + i * n, n, scratch ? scratch : out + i * n, out + i * n);
    }
  }
}

template <class To, class T>
void log_softmax_rows(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out) {
  using V = Vec<T>;
  if (n <= kFewColumns) {
    for_row_groups(x, n_rows, n, [&](RowGroup<T>& group, std::ptrdiff_t i) {
      const V shift = finite_or_zero(group.maximum());
      const V log_sum = log_by_lane(group.template sum_exp<false>(shift));
      group.transform([&](V v) { return (v - shift) - log_sum; });
      group.store(out + i * n);
    });
  } else {
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) log_softmax_row<To>(x + i * n, n, out + i * n);
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
  using V = Vec<T>;
  if (n <= kFewColumns) {
    for_row_groups(x, n_rows, n, [&](RowGroup<T>& group, std::ptrdiff_t i) {
      const V shift = finite_or_zero(group.maximum());
      const V sum = shift + log_by_lane(group.template sum_exp<false>(shift));
      store_first(sum, n_rows - i, out + i);
    });
  } else {
    for (std::ptrdiff_t i = 0; i < n_rows; ++i, x += n) {
      T m;
      const T log_sum = log(shifted_sum_exp(x, n, &m));
      out[i] = m + log_sum;
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
