// X' diag(c) X of some rows and features of a dense X: chunks of rows in packed tiles, each added
// in float64.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "ceil_div.h"
#include "logistic/loss.h"
#include "storage.h"

namespace fastsoftmax {

template <class In, class T>
class Gram {
 public:
  Gram(const In* data, const InputView& X, const Rows& rows, const float* c, Range features,
       int n_threads, StopPoll& stop)
      : data_(data),
        X_(X),
        rows_(rows),
        c_(c),
        first_(features.begin),
        n_(features.end - features.begin),
        n_threads_(n_threads),
        stop_(stop) {}

  // The lower triangle of out (n, n), its upper one left alone, and sums (n) = c' X.
  void full(double* out, double* sums) {
    clear(out, sums, n_);
    const std::ptrdiff_t n_tiles = ceil_div(n_, kTile);
    const std::ptrdiff_t most = arithmetic_.gemm_depth(kChunk);
    AlignedBuffer<T> left(round_up(n_, arithmetic_.gemm_rows) * most),
        right(round_up(n_, arithmetic_.gemm_columns) * most), tiles(kTile * kTile * n_threads_);
    AlignedBuffer<In> chunk(kChunk * n_);
    AlignedBuffer<T> weighted(kChunk * n_);
    run([&](Team::Member& member, int n_pieces, std::ptrdiff_t begin, std::ptrdiff_t n_rows) {
      member.run(
          [&](int piece) { gather(begin, share(n_rows, 1, piece, n_pieces), chunk.data()); });
      member.run([&](int piece) {
        const std::ptrdiff_t depth = arithmetic_.gemm_depth(n_rows);
        const Range i = share(n_, arithmetic_.gemm_rows, piece, n_pieces);
        if (i.begin < i.end) {
          kernels_.gemm_pack_a(chunk.data() + i.begin, 1, n_, i.end - i.begin, n_rows,
                               left.data() + i.begin * depth);
        }
        const Range j = share(n_, arithmetic_.gemm_columns, piece, n_pieces);
        if (j.begin < j.end) {
          weigh(chunk.data(), begin, n_rows, j, weighted.data(), sums);
          own_kernels_.gemm_pack_b(weighted.data() + j.begin, n_, 1, n_rows, j.end - j.begin,
                                   right.data() + j.begin * depth);
        }
      });
      member.run([&](int piece) {
        for (std::ptrdiff_t tile = piece; tile < n_tiles * n_tiles; tile += n_pieces) {
          const std::ptrdiff_t i = tile / n_tiles * kTile, j = tile % n_tiles * kTile;
          if (j > i) continue;
          add_tile(left.data(), right.data(), n_rows, i, j, tiles.data() + piece * kTile * kTile,
                   out);
        }
      });
    });
  }

  // out (n), the diagonal alone.
  void diagonal(double* out, double* sums) {
    clear(out, sums, 1);
    run([&](Team::Member& member, int n_pieces, std::ptrdiff_t begin, std::ptrdiff_t n_rows) {
      member.run([&](int piece) {
        const Range mine = share(n_, 64, piece, n_pieces);
        for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
          const In* x = data_ + rows_[begin + i] * X_.row_stride + first_;
          const double c = static_cast<double>(c_[begin + i]);
          for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
            const double v = static_cast<double>(x[f]);
            sums[f] += c * v;
            out[f] += c * v * v;
          }
        }
      });
    });
  }

 private:
  // Square tiles, whole panels of every instruction set: one and its packed rows are 190 + 2 x 384
  // KB in float32. So many rows are summed in T.
  static constexpr std::ptrdiff_t kTile = 192, kChunk = 512;

  void clear(double* out, double* sums, std::ptrdiff_t row) {
    std::fill_n(out, n_ * row, 0.0);
    std::fill_n(sums, n_, 0.0);
  }

  template <class F>
  void run(const F& body) {
    Team team(n_threads_);
    parallel_region(n_threads_, [&](int thread, int n_pieces) {
      Team::Member member(team, thread, n_pieces);
      for (std::ptrdiff_t i = 0; i < rows_.size(); i += kChunk) {
        body(member, n_pieces, i, stop_.stopped() ? 0 : std::min(kChunk, rows_.size() - i));
        if (thread == 0) stop_.poll();
      }
    });
  }

  void gather(std::ptrdiff_t begin, Range mine, In* chunk) {
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      std::copy_n(data_ + rows_[begin + i] * X_.row_stride + first_, n_, chunk + i * n_);
    }
  }

  // Columns of diag(c) X, and their sums.
  void weigh(const In* chunk, std::ptrdiff_t begin, std::ptrdiff_t n_rows, Range mine, T* weighted,
             double* sums) {
    for (std::ptrdiff_t i = 0; i < n_rows; ++i, chunk += n_, weighted += n_) {
      const T c = static_cast<T>(c_[begin + i]);
      for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
        weighted[f] = c * static_cast<T>(chunk[f]);
        sums[f] += static_cast<double>(weighted[f]);
      }
    }
  }

  void add_tile(const T* left, const T* right, std::ptrdiff_t n_rows, std::ptrdiff_t i,
                std::ptrdiff_t j, T* tile, double* out) {
    const std::ptrdiff_t height = std::min(kTile, n_ - i), width = std::min(kTile, n_ - j);
    const std::ptrdiff_t depth = arithmetic_.gemm_depth(n_rows);
    arithmetic_.gemm(left + i * depth, right + j * depth, height, n_rows, width, tile, kTile,
                     false);
    for (std::ptrdiff_t r = 0; r < height; ++r) {
      const std::ptrdiff_t n = std::min(width, i + r + 1 - j);
      double* to = out + (i + r) * n_ + j;
      for (std::ptrdiff_t k = 0; k < n; ++k) to[k] += static_cast<double>(tile[r * kTile + k]);
    }
  }

  const KernelTable& table_ = fastsoftmax::kernels();
  const StorageKernels<In, T>& kernels_ = storage_kernels<In, T>(table_);
  const StorageKernels<T, T>& own_kernels_ = storage_kernels<T, T>(table_);
  const ArithmeticKernels<T>& arithmetic_ = arithmetic_kernels<T>(table_);
  const In* const data_;
  const InputView X_;
  const Rows rows_;
  const float* const c_;
  const std::ptrdiff_t first_, n_;
  const int n_threads_;
  StopPoll& stop_;
};

}  // namespace fastsoftmax
