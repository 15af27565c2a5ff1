// Right-looking, a block of columns at a time: all but the blocks themselves are products in packed
// tiles. Without pivots: who needs the rows' order has it.
#include "solvers/cholesky.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "aligned_buffer.h"
#include "solvers/lower_triangle.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

constexpr std::ptrdiff_t kBlock = 64;

// What rounding may leave of a row that others make up, in parts of its square.
double dependent_part(std::ptrdiff_t n) {
  return 4.0 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
}

// Some columns of a row below the rows of these numbers, which are factored.
void reduce_row(const double* A, std::ptrdiff_t n, Range columns, double* row) {
  const std::ptrdiff_t begin = columns.begin;
  for (std::ptrdiff_t k = begin; k < columns.end; ++k) {
    const double* other = A + k * n;
    const double sum = dot_block(row + begin, other + begin, k - begin);
    row[k] = other[k] > 0.0 ? (row[k] - sum) / other[k] : 0.0;
  }
}

// The rows and columns of a block, its diagonal being that of A before.
void factor_block(double* A, std::ptrdiff_t n, Range block, const double* diagonal) {
  const std::ptrdiff_t begin = block.begin;
  for (std::ptrdiff_t j = begin; j < block.end; ++j) {
    double* row = A + j * n;
    reduce_row(A, n, {begin, j}, row);
    const double pivot = row[j] - dot_block(row + begin, row + begin, j - begin);
    row[j] = pivot > dependent_part(n) * diagonal[j] ? std::sqrt(pivot) : 0.0;
  }
}

// What is right of the columns of a block and below: less the products of their rows.
class Rest {
 public:
  Rest(std::ptrdiff_t n, int n_threads)
      : n_threads_(n_threads),
        negative_(n * kBlock),
        left_(round_up(n, arithmetic_.gemm_rows) * kBlock),
        right_(round_up(n, arithmetic_.gemm_columns) * kBlock) {}

  void reduce(double* A, std::ptrdiff_t n, Range block) {
    const std::ptrdiff_t width = block.end - block.begin, n_rest = n - block.end;
    double *rows = A + block.end * n + block.begin, *rest = A + block.end * (n + 1);
    for (std::ptrdiff_t i = 0; i < n_rest; ++i) {
      for (std::ptrdiff_t k = 0; k < width; ++k) negative_[i * width + k] = -rows[i * n + k];
    }
    // Panels of doubles are as deep as the product (gemm_depth).
    kernels_.gemm_pack_a(negative_.data(), width, 1, n_rest, width, left_.data());
    kernels_.gemm_pack_b(rows, 1, n, width, n_rest, right_.data());
    for_lower_tiles(n_rest, triangle_tile(n_rest, n_threads_), n_threads_,
                    [&](Range i, Range j, int) {
                      arithmetic_.gemm(left_.data() + i.begin * width,
                                       right_.data() + j.begin * width, i.end - i.begin, width,
                                       j.end - j.begin, rest + i.begin * n + j.begin, n, true);
                    });
  }

 private:
  const KernelTable& table_ = kernels();
  const ArithmeticKernels<double>& arithmetic_ = arithmetic_kernels<double>(table_);
  const StorageKernels<double, double>& kernels_ = storage_kernels<double, double>(table_);
  const int n_threads_;
  AlignedBuffer<double> negative_, left_, right_;
};

}  // namespace

bool factor_semidefinite(double* A, std::ptrdiff_t n, int n_threads, StopPoll& stop) {
  std::vector<double> diagonal;
  for (std::ptrdiff_t i = 0; i < n; ++i) diagonal.push_back(A[i * (n + 1)]);
  if (!std::all_of(diagonal.begin(), diagonal.end(), [](double x) { return std::isfinite(x); })) {
    return false;
  }
  Rest rest(n, n_threads);
  for (std::ptrdiff_t begin = 0; begin < n; begin += kBlock) {
    const Range block{begin, std::min(n, begin + kBlock)};
    factor_block(A, n, block, diagonal.data());
    const std::ptrdiff_t n_rest = n - block.end;
    for_shared(n_rest, threads_worth(n_rest * kBlock * kBlock / 2, n_threads),
               [&](std::ptrdiff_t i) { reduce_row(A, n, block, A + (block.end + i) * n); });
    rest.reduce(A, n, block);
    stop.poll();
    if (stop.stopped()) return false;
  }
  for (std::ptrdiff_t i = 0; i < n; ++i) std::fill(A + i * n + i + 1, A + (i + 1) * n, 0.0);
  return true;
}

void solve_from_right(const double* L, std::ptrdiff_t n, std::ptrdiff_t n_rows, double* X,
                      int n_threads) {
  const int threads = n_rows > 1 ? threads_worth(n * n / 2 * n_rows, n_threads) : 1;
  parallel_region(threads, [&](int thread, int n_running) {
    const Range mine = share(n_rows, 1, thread, n_running);
    for (std::ptrdiff_t j = n - 1; j >= 0; --j) {
      const double* row = L + j * n;
      for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
        double* x = X + i * n;
        x[j] = row[j] > 0.0 ? x[j] / row[j] : 0.0;
        for (std::ptrdiff_t k = 0; k < j; ++k) x[k] -= x[j] * row[k];
      }
    }
  });
}

}  // namespace fastsoftmax
