// sum_i w_i (diag(p_i) - p_i p_i') (x) u_i u_i' over chunks of rows: the curvature of their losses
// in all classes at once, along a few directions of the features.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "ceil_div.h"
#include "dispatch.h"
#include "range.h"

namespace fastsoftmax {

template <class T>
class ClassHessian {
 public:
  // The last of u is 1. n_pieces: the most that add is called with.
  ClassHessian(std::ptrdiff_t n_outputs, std::ptrdiff_t n_directions, std::ptrdiff_t chunk_rows,
               Precision precision, int n_pieces)
      : table_(fastsoftmax::kernels(precision)),
        n_u_(n_directions + 1),
        n_(n_outputs * n_u_),
        block_(block(n_pieces)),
        left_(n_ + n_u_),
        stride_(padded<T>(left_)),
        weights_(chunk_rows),
        rows_(chunk_rows * stride_),
        packed_left_(round_up(left_, arithmetic_.gemm_rows) * arithmetic_.gemm_depth(chunk_rows)),
        right_size_(padded_block_ * arithmetic_.gemm_depth(chunk_rows) + 2 * block_ * block_ +
                    block_ * chunk_rows),
        right_(n_pieces * right_size_),
        sum_(left_ * n_) {
    std::fill_n(sum_.data(), left_ * n_, 0.0);
  }

  // Rows of the chunk: p(i, output) and u(i, direction) are their numbers.
  template <class P, class U>
  void set(Range rows, const P& p, const U& u) {
    for (std::ptrdiff_t i = rows.begin; i < rows.end; ++i) {
      T* to = rows_.data() + i * stride_;
      T* of_u = to + n_;
      for (std::ptrdiff_t a = 0; a + 1 < n_u_; ++a) of_u[a] = u(i, a);
      of_u[n_u_ - 1] = T(1);
      if (n_u_ == 1) {
        for (std::ptrdiff_t r = 0; r < n_; ++r) to[r] = p(i, r);
      } else {
        for (std::ptrdiff_t r = 0; r * n_u_ < n_; ++r, to += n_u_) {
          const T of_p = p(i, r);
          for (std::ptrdiff_t a = 0; a < n_u_; ++a) to[a] = of_p * of_u[a];
        }
      }
    }
  }
  void set_weight(std::ptrdiff_t i, double weight) { weights_[i] = static_cast<T>(weight); }

  // A piece of what the rows that were set are packed to.
  void pack(std::ptrdiff_t n_rows, int piece, int n_pieces) {
    const Range mine = share(left_, arithmetic_.gemm_rows, piece, n_pieces);
    if (mine.begin == mine.end) return;
    kernels_.gemm_pack_a(rows_.data() + mine.begin, 1, stride_, mine.end - mine.begin, n_rows,
                         packed_left_.data() + mine.begin * arithmetic_.gemm_depth(n_rows));
  }

  // A piece of the sum over the rows that were packed. It is symmetric: blocks below the diagonal.
  void add(std::ptrdiff_t n_rows, int piece, int n_pieces) {
    const std::ptrdiff_t depth = arithmetic_.gemm_depth(n_rows), height_most = 2 * block_;
    T* right = right_.data() + piece * right_size_;
    T* product = right + padded_block_ * depth;
    T* weighted = product + height_most * block_;
    for (std::ptrdiff_t turn = 0; turn * n_pieces * block_ < n_; ++turn) {
      // There and back again: blocks further on have fewer rows.
      const std::ptrdiff_t place = turn % 2 ? n_pieces - 1 - piece : piece;
      const std::ptrdiff_t first = (turn * n_pieces + place) * block_;
      if (first >= n_) continue;
      const std::ptrdiff_t width = std::min(block_, n_ - first);
      weigh(first, n_rows, width, weighted);
      kernels_.gemm_pack_b(weighted, width, 1, n_rows, width, right);
      for (std::ptrdiff_t r = first; r < left_; r += height_most) {
        const std::ptrdiff_t height = std::min(height_most, left_ - r);
        arithmetic_.gemm(packed_left_.data() + r * depth, right, height, n_rows, width, product,
                         block_, false);
        for (std::ptrdiff_t i = 0; i < height; ++i) {
          double* sum = sum_.data() + (r + i) * n_ + first;
          for (std::ptrdiff_t j = 0; j < width; ++j) {
            sum[j] += static_cast<double>(product[i * block_ + j]);
          }
        }
      }
    }
  }

  // (n_outputs, n_directions + 1) squared.
  void finish(double* hessian) const {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      for (std::ptrdiff_t j = 0; j < n_; ++j) {
        const bool same_class = i / n_u_ == j / n_u_;
        hessian[i * n_ + j] = (same_class ? sum_[(n_ + i % n_u_) * n_ + j] : 0.0) -
                              sum_[std::max(i, j) * n_ + std::min(i, j)];
      }
    }
  }

 private:
  // Whole tiles, in blocks of several panels, which stay in the second-level cache while all rows
  // on the left come by, from the third; several blocks for each thread.
  std::ptrdiff_t block(std::ptrdiff_t n_pieces) const {
    const std::ptrdiff_t wanted = std::min(4 * arithmetic_.gemm_columns, n_ / (4 * n_pieces));
    return round_up(std::max<std::ptrdiff_t>(1, wanted), arithmetic_.gemm_rows);
  }
  // Of the columns from first on, times the weights.
  void weigh(std::ptrdiff_t first, std::ptrdiff_t n_rows, std::ptrdiff_t width, T* to) const {
    const T* from = rows_.data() + first;
    for (std::ptrdiff_t i = 0; i < n_rows; ++i, from += stride_, to += width) {
      for (std::ptrdiff_t j = 0; j < width; ++j) to[j] = weights_[i] * from[j];
    }
  }

  const KernelTable& table_;
  const ArithmeticKernels<T>& arithmetic_ = arithmetic_kernels<T>(table_);
  const StorageKernels<T, T>& kernels_ = storage_kernels<T, T>(table_);
  const std::ptrdiff_t n_u_, n_, block_;
  const std::ptrdiff_t padded_block_ = round_up(block_, arithmetic_.gemm_columns);
  const std::ptrdiff_t left_, stride_;  // numbers of a row: p (x) u, and then u
  AlignedBuffer<T> weights_, rows_, packed_left_;
  const std::ptrdiff_t right_size_;  // of a piece: columns, packed, their product, and with weights
  AlignedBuffer<T> right_;
  AlignedBuffer<double> sum_;
};

}  // namespace fastsoftmax
