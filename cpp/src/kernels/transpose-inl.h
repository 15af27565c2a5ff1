// A square of numbers, as many rows as a vector has lanes: read by rows, handed on by columns.
#pragma once

#include "kernels/load-inl.h"
#include "kernels/store-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// v[j] = the numbers j of the rows p, p + stride, ..: of a whole square.
template <class Acc, class In>
[[gnu::always_inline]] inline void load_square(const In* p, std::ptrdiff_t stride,
                                               Vec<Acc> (&v)[Vec<Acc>::kLanes]) {
  constexpr int kLanes = Vec<Acc>::kLanes;
  if constexpr (kHalfColumns<Acc> > 0 && sizeof(In) == sizeof(Acc)) {
    for (int j = 0; j < kLanes; j += kHalfColumns<Acc>) load_half_columns(p + j, stride, v + j);
  } else {
    for (int i = 0; i < kLanes; ++i) v[i] = load<Acc>(p + i * stride);
    transpose(v);
  }
}

// The same; rows beyond n_rows and numbers beyond n_cols are zeros and not read.
template <class Acc, class In>
[[gnu::noinline]] void load_part_of_square(const In* p, std::ptrdiff_t stride,
                                           std::ptrdiff_t n_rows, std::ptrdiff_t n_cols,
                                           Vec<Acc> (&v)[Vec<Acc>::kLanes]) {
  using V = Vec<Acc>;
  for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) {
    v[i] = i >= n_rows          ? V::zero()
           : n_cols < V::kLanes ? load_n<Acc>(p + i * stride, n_cols)
                                : load<Acc>(p + i * stride);
  }
  transpose(v);
}

// Whole squares are inlined, for else v lies in memory: a panel of 16 columns of B' is packed in
// 0.27 ns a float32, not 0.42, on a Zen 1.
template <class Acc, class In>
[[gnu::always_inline]] inline void load_transposed(const In* p, std::ptrdiff_t stride,
                                                   std::ptrdiff_t n_rows, std::ptrdiff_t n_cols,
                                                   Vec<Acc> (&v)[Vec<Acc>::kLanes]) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  if (n_rows >= kLanes && n_cols >= kLanes) {
    load_square<Acc>(p, stride, v);
  } else {
    load_part_of_square<Acc>(p, stride, n_rows, n_cols, v);
  }
}

// f(j, the numbers j of the rows) for the columns that such a square has.
template <class Acc, class In, class F>
[[gnu::always_inline]] inline void for_each_column(const In* p, std::ptrdiff_t stride,
                                                   std::ptrdiff_t n_rows, std::ptrdiff_t n_cols,
                                                   const F& f) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  Vec<Acc> v[kLanes];
  load_transposed<Acc>(p, stride, n_rows, n_cols, v);
  if (n_cols >= kLanes) {
    for (std::ptrdiff_t j = 0; j < kLanes; ++j) f(j, v[j]);
  } else {
    for (std::ptrdiff_t j = 0; j < n_cols; ++j) f(j, v[j]);
  }
}

// visit(first column) over n columns, kHalfColumns at a time, of which there are as many at least;
// the last ones overlap those before them.
template <class T, class F>
void for_half_columns(std::ptrdiff_t n, const F& visit) {
  for (std::ptrdiff_t left = n; left > 0; left -= kHalfColumns<T>) {
    visit(left < kHalfColumns<T> ? n - kHalfColumns<T> : n - left);
  }
}

// Columns of as many rows as a vector has lanes, to rows. The next rows' lines are asked for
// meanwhile: 60000x784 float32 that is predicted from columns takes 22 ms and not 39 on one thread
// of a Zen 4. Of up to three columns, or a single row, squares would hold next to nothing: number
// by number a column of 5000 takes 3 ns a number on a Zen 1, not 10.
template <class Acc>
void transpose_matrix(const Acc* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                      std::ptrdiff_t k, std::ptrdiff_t n, Acc* out, std::ptrdiff_t out_stride) {
  using V = Vec<Acc>;
  if (col_stride != 1 || n < 4 || k == 1) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const Acc* column = B + j * col_stride;
      for (std::ptrdiff_t p = 0; p < k; ++p) out[j * out_stride + p] = column[p * row_stride];
    }
    return;
  }
  for (std::ptrdiff_t p = 0; p < k; p += V::kLanes) {
    const auto fetch_next = [&](std::ptrdiff_t j) {
      if (p + 2 * V::kLanes > k) return;
      for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) {
        __builtin_prefetch(B + (p + V::kLanes + i) * row_stride + j, 0, 3);
      }
    };
    if constexpr (kHalfColumns<Acc> > 0) {
      if (n >= kHalfColumns<Acc> && p + V::kLanes <= k) {
        for_half_columns<Acc>(n, [&](std::ptrdiff_t j) {
          if (j % V::kLanes == 0) fetch_next(j);
          V v[kHalfColumns<Acc>];
          load_half_columns(B + p * row_stride + j, row_stride, v);
          for (int c = 0; c < kHalfColumns<Acc>; ++c) v[c].store(out + (j + c) * out_stride + p);
        });
        continue;
      }
    }
    for (std::ptrdiff_t j = 0; j < n; j += V::kLanes) {
      fetch_next(j);
      const auto store = [&](std::ptrdiff_t c, V column) __attribute__((always_inline)) {
        store_first(column, k - p, out + (j + c) * out_stride + p);
      };
      for_each_column<Acc>(B + p * row_stride + j, row_stride, k - p, n - j, store);
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
