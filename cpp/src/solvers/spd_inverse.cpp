// Sweeps (Goodnight, A Tutorial on the SWEEP Operator, 1979), a block of columns at a time: all but
// the inverse of the block itself is a product in packed tiles. d^3 / 2 products in all.
#include "solvers/spd_inverse.h"

#include <algorithm>

#include "aligned_buffer.h"
#include "dispatch.h"
#include "solvers/lower_triangle.h"

namespace fastsoftmax {
namespace {

constexpr std::ptrdiff_t kBlock = 64, kTile = kTriangleTile;

// D (n, n) with stride kBlock becomes -D^-1, column by column.
bool sweep_block(double* D, std::ptrdiff_t n, double smallest_pivot) {
  for (std::ptrdiff_t p = 0; p < n; ++p) {
    const double pivot = D[p * kBlock + p];
    if (!(pivot > smallest_pivot)) return false;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double factor = D[i * kBlock + p] / pivot;
      for (std::ptrdiff_t j = 0; j < n; ++j) {
        if (j != p) D[i * kBlock + j] -= factor * D[p * kBlock + j];
      }
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      if (i == p) continue;
      D[i * kBlock + p] /= pivot;
      D[p * kBlock + i] /= pivot;
    }
    D[p * kBlock + p] = -1.0 / pivot;
  }
  return true;
}

// Panels of doubles are as deep as the product (gemm_depth).
class Sweep {
 public:
  Sweep(double* A, std::ptrdiff_t n, int n_threads)
      : A_(A),
        n_(n),
        n_threads_(n_threads),
        padded_(round_up(n, arithmetic_.gemm_rows) + round_up(n, arithmetic_.gemm_columns)),
        D_(kBlock * kBlock),
        U_(n * kBlock),
        V_(n * kBlock),
        left_(padded_ * kBlock),
        right_(padded_ * kBlock),
        tiles_(kTile * kTile * n_threads) {}

  // The columns begin..begin+width-1.
  bool block(std::ptrdiff_t begin, std::ptrdiff_t width, double smallest_pivot) {
    for (std::ptrdiff_t i = 0; i < width; ++i) {
      for (std::ptrdiff_t j = 0; j < width; ++j) {
        D_[i * kBlock + j] = A_[(begin + std::max(i, j)) * n_ + begin + std::min(i, j)];
      }
    }
    if (!sweep_block(D_.data(), width, smallest_pivot)) return false;
    read_columns(begin, width);
    // V = U D^-1, and -V to the left of the product: D_ is -D^-1.
    kernels_.gemm_pack_a(U_.data(), kBlock, 1, n_, width, left_.data());
    kernels_.gemm_pack_b(D_.data(), kBlock, 1, width, width, right_.data());
    arithmetic_.gemm(left_.data(), right_.data(), n_, width, width, V_.data(), kBlock, false);
    kernels_.gemm_pack_a(V_.data(), kBlock, 1, n_, width, left_.data());
    kernels_.gemm_pack_b(U_.data(), 1, kBlock, width, n_, right_.data());
    update(width);
    write_columns(begin, width);
    return true;
  }

  void finish() {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      for (std::ptrdiff_t j = 0; j <= i; ++j) A_[j * n_ + i] = A_[i * n_ + j] = -A_[i * n_ + j];
    }
  }

 private:
  // U: the columns outside the block, zero inside.
  void read_columns(std::ptrdiff_t begin, std::ptrdiff_t width) {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      for (std::ptrdiff_t j = 0; j < width; ++j) {
        double& u = U_[i * kBlock + j];
        if (i < begin) {
          u = A_[(begin + j) * n_ + i];
        } else {
          u = i < begin + width ? 0.0 : A_[i * n_ + begin + j];
        }
      }
    }
  }

  // A -= V U', the lower triangle.
  void update(std::ptrdiff_t width) {
    for_lower_tiles(n_, kTile, n_threads_, [&](Range rows, Range columns, int thread) {
      double* tile = tiles_.data() + thread * kTile * kTile;
      arithmetic_.gemm(left_.data() + rows.begin * width, right_.data() + columns.begin * width,
                       rows.end - rows.begin, width, columns.end - columns.begin, tile, kTile,
                       false);
      for (std::ptrdiff_t i = rows.begin; i < rows.end; ++i, tile += kTile) {
        const std::ptrdiff_t end = std::min(columns.end, i + 1);
        for (std::ptrdiff_t j = columns.begin; j < end; ++j) {
          A_[i * n_ + j] += tile[j - columns.begin];
        }
      }
    });
  }

  void write_columns(std::ptrdiff_t begin, std::ptrdiff_t width) {
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      for (std::ptrdiff_t j = 0; j < width; ++j) {
        if (i < begin) {
          A_[(begin + j) * n_ + i] = -V_[i * kBlock + j];
        } else if (i >= begin + width) {
          A_[i * n_ + begin + j] = -V_[i * kBlock + j];
        } else if (begin + j <= i) {
          A_[i * n_ + begin + j] = D_[(i - begin) * kBlock + j];
        }
      }
    }
  }

  const KernelTable& table_ = fastsoftmax::kernels();
  const ArithmeticKernels<double>& arithmetic_ = arithmetic_kernels<double>(table_);
  const StorageKernels<double, double>& kernels_ = storage_kernels<double, double>(table_);
  double* const A_;
  const std::ptrdiff_t n_;
  const int n_threads_;
  const std::ptrdiff_t padded_;
  AlignedBuffer<double> D_, U_, V_, left_, right_, tiles_;
};

}  // namespace

bool invert_spd(double* A, std::ptrdiff_t n, double smallest_pivot, int n_threads) {
  Sweep sweep(A, n, n_threads);
  for (std::ptrdiff_t begin = 0; begin < n; begin += kBlock) {
    if (!sweep.block(begin, std::min(kBlock, n - begin), smallest_pivot)) return false;
  }
  sweep.finish();
  return true;
}

}  // namespace fastsoftmax
