// sum_i w_i (diag(p_i) - p_i p_i') (x) u_i u_i' over chunks of rows: the curvature of their losses
// in all classes at once, along a few directions of the features. Probabilities and u lie by
// column.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "dispatch.h"
#include "tasks.h"

namespace fastsoftmax {

template <class T>
class ClassHessian {
 public:
  // The last of u is 1. n_pieces: the most that add is called with.
  ClassHessian(std::ptrdiff_t n_outputs, std::ptrdiff_t n_directions, std::ptrdiff_t chunk_rows,
               int n_pieces)
      : n_u_(n_directions + 1),
        n_(n_outputs * n_u_),
        chunk_rows_(chunk_rows),
        left_(n_ + n_u_),
        weights_(chunk_rows),
        columns_(left_ * chunk_rows),
        packed_(n_pieces * packed_size()),
        sum_(left_ * n_) {
    std::fill_n(sum_.data(), left_ * n_, 0.0);
  }

  // Rows of the chunk: p(i, output) and u(i, direction) are their numbers.
  template <class P, class U>
  void set(Range rows, const P& p, const U& u) {
    for (std::ptrdiff_t a = 0; a < n_u_; ++a) {
      T* to = columns_.data() + (n_ + a) * chunk_rows_;
      for (std::ptrdiff_t i = rows.begin; i < rows.end; ++i) to[i] = a + 1 < n_u_ ? u(i, a) : T(1);
    }
    for (std::ptrdiff_t j = 0; j < n_; ++j) {
      const T* by = columns_.data() + (n_ + j % n_u_) * chunk_rows_;
      T* to = columns_.data() + j * chunk_rows_;
      for (std::ptrdiff_t i = rows.begin; i < rows.end; ++i) to[i] = p(i, j / n_u_) * by[i];
    }
  }
  void set_weight(std::ptrdiff_t i, double weight) { weights_[i] = static_cast<T>(weight); }

  // A piece of the sum over the rows that were set. It is symmetric: blocks below the diagonal.
  void add(std::ptrdiff_t n_rows, int piece, int n_pieces) {
    const std::ptrdiff_t height_most = 2 * block_;
    T* left = packed_.data() + piece * packed_size();
    T* right = left + height_most * depth_;
    T* product = right + padded_block_ * depth_;
    T* weighted = product + height_most * block_;
    for (std::ptrdiff_t first = piece * block_; first < n_; first += n_pieces * block_) {
      const std::ptrdiff_t width = std::min(block_, n_ - first);
      weigh(columns_.data() + first * chunk_rows_, n_rows, width, weighted);
      kernels_.gemm_pack_b(weighted, 1, chunk_rows_, n_rows, width, right);
      for (std::ptrdiff_t r = first; r < left_; r += height_most) {
        const std::ptrdiff_t height = std::min(height_most, left_ - r);
        kernels_.gemm_pack_a(columns_.data() + r * chunk_rows_, chunk_rows_, 1, height, n_rows,
                             left);
        arithmetic_.gemm(left, right, height, n_rows, width, product, block_, false);
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
  // Of a piece: rows on the left, columns on the right, their product; the columns with weights.
  std::ptrdiff_t packed_size() const {
    return (2 * block_ + padded_block_) * depth_ + 2 * block_ * block_ + block_ * chunk_rows_;
  }
  void weigh(const T* from, std::ptrdiff_t n_rows, std::ptrdiff_t width, T* to) const {
    for (std::ptrdiff_t j = 0; j < width; ++j, from += chunk_rows_, to += chunk_rows_) {
      for (std::ptrdiff_t i = 0; i < n_rows; ++i) to[i] = weights_[i] * from[i];
    }
  }

  const ArithmeticKernels<T> arithmetic_ = arithmetic_kernels<T>();
  const StorageKernels<T, T> kernels_ = storage_kernels(static_cast<const T*>(nullptr), T());
  const std::ptrdiff_t n_u_, n_, chunk_rows_;
  const std::ptrdiff_t left_;  // columns p (x) u, and then u
  // Whole tiles, some 48 columns, so that there are several blocks for each thread.
  const std::ptrdiff_t block_ = round_up(48, arithmetic_.gemm_rows);
  const std::ptrdiff_t padded_block_ = round_up(block_, arithmetic_.gemm_columns);
  const std::ptrdiff_t depth_ = arithmetic_.gemm_depth(chunk_rows_);
  AlignedBuffer<T> weights_, columns_, packed_;
  AlignedBuffer<double> sum_;
};

}  // namespace fastsoftmax
