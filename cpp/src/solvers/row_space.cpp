#include "solvers/row_space.h"

#include <algorithm>
#include <cmath>

#include "fastsoftmax/functions.h"
#include "solvers/cholesky.h"
#include "solvers/lower_triangle.h"

namespace fastsoftmax {

RowSpace::RowSpace(const InputView& X, int n_threads, StopPoll& stop)
    : X_(X), n_threads_(n_threads), L_(X.n_rows * X.n_rows) {
  AlignedBuffer<double> products(L_.size());
  with_storage<double>(X, [&](const auto* data) { add_products(data, products.data(), stop); });
  is_known_ = !stop.stopped() && sort_rows(products.data()) &&
              factor_semidefinite(L_.data(), X.n_rows, n_threads, stop);
}

// The lower triangle of L is that of the products of rows in order; false if lengths are not
// finite.
bool RowSpace::sort_rows(const double* products) {
  const std::ptrdiff_t n = X_.n_rows;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (!std::isfinite(products[i * (n + 1)])) return false;
    order_.push_back(i);
  }
  std::stable_sort(order_.begin(), order_.end(), [&](std::ptrdiff_t i, std::ptrdiff_t j) {
    return products[i * (n + 1)] > products[j * (n + 1)];
  });
  double* to = L_.data();
  for (const std::ptrdiff_t i : order_) {
    for (const std::ptrdiff_t j : order_) *to++ = products[std::max(i, j) * n + std::min(i, j)];
  }
  return true;
}

// X X', its lower triangle: tile by tile, which packs its rows for itself.
template <class In>
void RowSpace::add_products(const In* data, double* products, StopPoll& stop) const {
  constexpr std::ptrdiff_t kDepth = 256;  // 2 KB of a row, as in packed_product.h
  const KernelTable& table = kernels();
  const auto& arithmetic = arithmetic_kernels<double>(table);
  const auto& kernels = storage_kernels<In, double>(table);
  const std::ptrdiff_t n = X_.n_rows, size = kTriangleTile + 64;  // and the rest of a panel
  AlignedBuffer<double> packed(n_threads_ * 2 * size * kDepth);
  for_lower_tiles(n, triangle_tile(n, n_threads_), n_threads_, [&](Range i, Range j, int thread) {
    double *left = packed.data() + thread * 2 * size * kDepth, *right = left + size * kDepth;
    const std::ptrdiff_t height = i.end - i.begin, width = j.end - j.begin;
    for (std::ptrdiff_t f = 0; f < X_.n_cols && !stop.stopped(); f += kDepth) {
      const std::ptrdiff_t depth = std::min(kDepth, X_.n_cols - f);
      kernels.gemm_pack_a(data + i.begin * X_.row_stride + f, X_.row_stride, 1, height, depth,
                          left);
      kernels.gemm_pack_b(data + j.begin * X_.row_stride + f, 1, X_.row_stride, depth, width,
                          right);
      arithmetic.gemm(left, right, height, depth, width, products + i.begin * n + j.begin, n,
                      f > 0);
      if (thread == 0) stop.poll();
    }
  });
}

InputView RowSpace::rows() const {
  return {Storage::kFloat64, L_.data(), X_.n_rows, X_.n_rows, X_.n_rows};
}

// Q = L^-1 X, so W = (coordinates L^-1) X; its transpose is a product that reads X as it lies.
void RowSpace::weights_of(const double* coordinates, std::ptrdiff_t n_outputs, double* W) const {
  const std::ptrdiff_t n = X_.n_rows, d = X_.n_cols;
  AlignedBuffer<double> sorted(n_outputs * n), of_rows(n_outputs * n), transposed(d * n_outputs);
  std::copy_n(coordinates, n_outputs * n, sorted.data());
  solve_from_right(L_.data(), n, n_outputs, sorted.data(), n_threads_);
  for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      of_rows[r * n + order_[static_cast<std::size_t>(i)]] = sorted[r * n + i];
    }
  }
  matmul<double>({X_.storage, X_.data, d, n, 1, X_.row_stride},
                 {of_rows.data(), n, n_outputs, 1, n}, transposed.data(), n_threads_);
  transpose<double>({transposed.data(), d, n_outputs, n_outputs, 1}, W, n_threads_);
}

}  // namespace fastsoftmax
