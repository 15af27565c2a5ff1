// The products of a pass over a dense X for few outputs: the kernels of the mini-batch step, which
// skip blocks of zeros.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "logistic/gram.h"
#include "logistic/products.h"
#include "storage.h"
#include "tasks.h"

namespace fastsoftmax {

// What all products with a dense X share.
template <class In, class T>
class DenseProducts : public Products<T> {
 public:
  DenseProducts(const In* data, const InputView& X, T input_scale, std::ptrdiff_t chunk_rows)
      : Products<T>(X.n_cols, chunk_rows, input_scale), data_(data), X_(X) {}

  void add_by_class(const std::int64_t* labels, const RowWeight& weight, double* sums,
                    int n_threads) override {
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range mine = share(X_.n_cols, 64, thread, n_running);
      for (std::ptrdiff_t i = 0; i < X_.n_rows; ++i) {
        const In* x = data_ + i * X_.row_stride;
        double* sum = sums + labels[i] * X_.n_cols;
        const double w = weight(i);
        for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
          sum[f] += w * static_cast<double>(x[f]);
        }
      }
    });
  }

  void gram(const Rows& rows, const float* c, Range features, bool diagonal_only, double* out,
            double* sums, int n_threads, StopPoll& stop) override {
    Gram<In, T> gram(data_, X_, rows, c, features, n_threads, stop);
    if (diagonal_only) {
      gram.diagonal(out, sums);
    } else {
      gram.full(out, sums);
    }
  }

 protected:
  const In* row(const Rows& rows, std::ptrdiff_t j) const {
    return data_ + rows[j] * X_.row_stride;
  }

  const In* const data_;
  const InputView X_;
};

// Chunks as in the mini-batch step: 512 KB of rows and logits stay in the second-level cache.
template <class In, class T>
std::ptrdiff_t few_outputs_chunk(std::ptrdiff_t n_rows, std::ptrdiff_t d, std::ptrdiff_t outputs) {
  constexpr std::ptrdiff_t kChunkBytes = 512 << 10, kMinRows = 32;
  const auto bytes = d * static_cast<std::ptrdiff_t>(sizeof(In)) +
                     outputs * static_cast<std::ptrdiff_t>(sizeof(T));
  const std::ptrdiff_t fitting = kChunkBytes / bytes / 16 * 16;
  return std::max<std::ptrdiff_t>(1,
                                  std::min({n_rows, std::max(kMinRows, fitting), kMaxMaskedRows}));
}

template <class In, class T>
class FewOutputs final : public DenseProducts<In, T> {
  using Base = DenseProducts<In, T>;
  using Base::b_, Base::chunk_rows_, Base::data_, Base::n_outputs_, Base::row, Base::scale_,
      Base::W_, Base::X_;

 public:
  // sparse: blocks of zeros are worth being skipped.
  FewOutputs(const In* data, const InputView& X, T input_scale, bool sparse,
             std::ptrdiff_t max_outputs, int n_threads)
      : Base(data, X, input_scale, few_outputs_chunk<In, T>(X.n_rows, X.n_cols, max_outputs)),
        kernels_(storage_kernels(data, T())),
        flush_chunks_(std::max<std::ptrdiff_t>(1, kFlushRows / chunk_rows_)),
        mask_words_((X.n_cols / kernels_.block_features + 63) / 64),
        sparse_(sparse && X.n_rows * mask_words_ <= kMaxMaskWords),
        masks_(sparse_ ? X.n_rows * mask_words_ : 0),
        chunk_(chunk_rows_),
        next_(chunk_rows_),
        chunk_masks_(sparse_ ? chunk_rows_ : 0),
        next_masks_(sparse_ ? chunk_rows_ : 0),
        gradient_(max_outputs * X.n_cols) {
    if (sparse_) find_masks(n_threads);
  }

  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int,
               const ChunkLogits<T>& out) override {
    const std::ptrdiff_t first = mine.begin, n_rows = mine.end - mine.begin;
    point(rows, chunk.begin + first, n_rows, chunk_, chunk_masks_, first);
    const std::ptrdiff_t next = chunk.begin + chunk.n_rows + first;
    const std::ptrdiff_t n_next = std::clamp<std::ptrdiff_t>(rows.size() - next, 0, n_rows);
    point(rows, next, n_next, next_, next_masks_, first);
    kernels_.logits({chunk_.data() + first, sparse_ ? chunk_masks_.data() + first : nullptr,
                     next_.data() + first, sparse_ ? next_masks_.data() + first : nullptr, n_rows,
                     n_next, X_.n_cols, n_outputs_, W_, b_, scale_, out.logits + first, 1,
                     out.output_stride});
  }

  void backward(const Rows&, const RowChunk& chunk, const ChunkLogits<T>& dlogits, int piece,
                int n_pieces, double* const* gradient) override {
    const Range mine = share(X_.n_cols, 64, piece, n_pieces);
    const std::ptrdiff_t turn = chunk.begin / chunk_rows_ % flush_chunks_;
    SgdUpdate<In, T> update{};
    update.rows = chunk_.data();
    update.masks = sparse_ ? chunk_masks_.data() : nullptr;
    update.n_rows = chunk.n_rows;
    update.dlogits = dlogits.logits;
    update.row_stride = 1;
    update.class_stride = dlogits.output_stride;
    update.n_classes = n_outputs_;
    update.n_features = X_.n_cols;
    update.feature_begin = mine.begin;
    update.feature_end = mine.end;
    update.gradient = gradient_.data();
    update.first_chunk = turn == 0;
    kernels_.sgd_update(update);
    if (!chunk.last && turn + 1 < flush_chunks_) return;
    for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
      add_to(gradient_.data() + r * X_.n_cols + mine.begin, mine.end - mine.begin,
             gradient[r] + mine.begin);
    }
  }

 private:
  // So many rows are summed in T before they are added in float64.
  static constexpr std::ptrdiff_t kFlushRows = 512;
  // 32 MB of masks.
  static constexpr std::ptrdiff_t kMaxMaskWords = 4 << 20;

  void find_masks(int n_threads) {
    Tasks tasks;
    const Cuts blocks = row_tasks(X_.n_rows, 512, 1, n_threads);
    parallel_region(n_threads, [&](int, int) {
      const In* rows[512];
      std::uint64_t* masks[512];
      tasks.run(blocks.n_parts, [&](std::ptrdiff_t block) {
        const Range mine = blocks[block];
        const std::ptrdiff_t n = mine.end - mine.begin;
        point_at_rows(data_, X_.row_stride, mine.begin, n, rows);
        for (std::ptrdiff_t i = 0; i < n; ++i) {
          masks[i] = masks_.data() + (mine.begin + i) * mask_words_;
        }
        kernels_.find_nonzero(rows, n, X_.n_cols, masks);
      });
    });
  }

  void point(const Rows& rows, std::ptrdiff_t begin, std::ptrdiff_t n, AlignedBuffer<const In*>& to,
             AlignedBuffer<std::uint64_t*>& masks, std::ptrdiff_t first) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      to[first + i] = row(rows, begin + i);
      if (sparse_) masks[first + i] = masks_.data() + rows[begin + i] * mask_words_;
    }
  }

  const StorageKernels<In, T> kernels_;
  const std::ptrdiff_t flush_chunks_, mask_words_;
  const bool sparse_;
  AlignedBuffer<std::uint64_t> masks_;
  AlignedBuffer<const In*> chunk_, next_;
  AlignedBuffer<std::uint64_t*> chunk_masks_, next_masks_;
  AlignedBuffer<T> gradient_;
};

}  // namespace fastsoftmax
