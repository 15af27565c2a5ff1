// sum_i w_i (diag(p_i) - p_i p_i') over chunks of rows of probabilities.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "dispatch.h"
#include "tasks.h"

namespace fastsoftmax {

template <class T>
class LogitsHessian {
 public:
  LogitsHessian(std::ptrdiff_t n_outputs, std::ptrdiff_t chunk_rows, std::ptrdiff_t stride)
      : n_(n_outputs),
        chunk_rows_(chunk_rows),
        stride_(stride),
        weights_(chunk_rows),
        right_(round_up(n_, arithmetic_.gemm_columns) * chunk_rows),
        product_(n_ * n_),
        diagonal_(n_),
        sum_(n_ * n_) {
    std::fill_n(diagonal_.data(), n_, 0.0);
    std::fill_n(sum_.data(), n_ * n_, 0.0);
  }

  void set_weight(std::ptrdiff_t i, double weight) { weights_[i] = static_cast<T>(weight); }

  // Its columns of this chunk; the probabilities of row i from probs + i * stride on.
  void add(const T* probs, std::ptrdiff_t n_rows, int piece, int n_pieces) {
    const std::ptrdiff_t panel = arithmetic_.gemm_columns;
    const Range mine = share(n_, panel, piece, n_pieces);
    const std::ptrdiff_t width = mine.end - mine.begin;
    if (width <= 0) return;
    T* right = right_.data() + mine.begin * chunk_rows_;
    kernels_.gemm_pack_b(probs + mine.begin, stride_, 1, n_rows, width, right);
    T* packed = right;
    for (std::ptrdiff_t j = 0; j < width; j += panel) {
      for (std::ptrdiff_t i = 0; i < n_rows; ++i, packed += panel) {
        for (std::ptrdiff_t c = 0; c < panel; ++c) packed[c] *= weights_[i];
        for (std::ptrdiff_t c = 0; c < std::min(panel, width - j); ++c) {
          diagonal_[mine.begin + j + c] += static_cast<double>(packed[c]);
        }
      }
    }
    constexpr std::ptrdiff_t kRows = 96;
    const std::ptrdiff_t step =
        std::max<std::ptrdiff_t>(1, kRows / arithmetic_.gemm_rows) * arithmetic_.gemm_rows;
    AlignedBuffer<T> left(step * chunk_rows_);
    for (std::ptrdiff_t r = 0; r < n_; r += step) {
      const std::ptrdiff_t height = std::min(step, n_ - r);
      kernels_.gemm_pack_a(probs + r, 1, stride_, height, n_rows, left.data());
      arithmetic_.gemm(left.data(), right, height, n_rows, width,
                       product_.data() + r * n_ + mine.begin, n_, false);
      for (std::ptrdiff_t i = r; i < r + height; ++i) {
        for (std::ptrdiff_t j = mine.begin; j < mine.end; ++j) {
          sum_[i * n_ + j] += static_cast<double>(product_[i * n_ + j]);
        }
      }
    }
  }

  void finish(double scale, double* hessian) const {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      for (std::ptrdiff_t j = 0; j < n_; ++j) {
        hessian[i * n_ + j] = scale * ((i == j ? diagonal_[i] : 0.0) - sum_[i * n_ + j]);
      }
    }
  }

 private:
  const ArithmeticKernels<T> arithmetic_ = arithmetic_kernels<T>();
  const StorageKernels<T, T> kernels_ = storage_kernels(static_cast<const T*>(nullptr), T());
  const std::ptrdiff_t n_, chunk_rows_, stride_;
  AlignedBuffer<T> weights_, right_, product_;
  AlignedBuffer<double> diagonal_, sum_;
};

}  // namespace fastsoftmax
