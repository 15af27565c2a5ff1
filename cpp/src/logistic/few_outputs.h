// The products of a pass over a dense X for few outputs: the kernels of the mini-batch step, with
// weights in panels; they skip blocks of zeros.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "logistic/dense_products.h"
#include "slices.h"
#include "storage.h"
#include "tasks.h"
#include "zero_blocks.h"

namespace fastsoftmax {

// Chunks as in the mini-batch step: 512 KB of rows and logits stay in the second-level cache. Rows
// of few features come in several blocks, so that threads meet after tens of microseconds.
template <class In, class T>
std::ptrdiff_t few_outputs_chunk(std::ptrdiff_t n_rows, std::ptrdiff_t d, std::ptrdiff_t outputs) {
  constexpr std::ptrdiff_t kChunkBytes = 512 << 10, kMinRows = 32, kMaxBlocks = 16;
  constexpr auto kIn = static_cast<std::ptrdiff_t>(sizeof(In)),
                 kOut = static_cast<std::ptrdiff_t>(sizeof(T));
  const std::ptrdiff_t fitting = kChunkBytes / (d * kIn + outputs * kOut) / 16 * 16;
  // With logits and dlogits as they lie.
  const std::ptrdiff_t lying = outputs == 1 ? 1 : padded<T>(outputs);
  const std::ptrdiff_t n_blocks = std::clamp<std::ptrdiff_t>(
      kChunkBytes / (d * kIn + 2 * lying * kOut) / kMaxUpdateRows, 1, kMaxBlocks);
  return std::max<std::ptrdiff_t>(
      1, std::min({n_rows, std::max(kMinRows, fitting), n_blocks * kMaxUpdateRows}));
}

template <class In, class T>
class FewOutputs final : public DenseProducts<In, T> {
  using Base = DenseProducts<In, T>;
  using Base::chunk_rows_, Base::data_, Base::row, Base::X_;

 public:
  // sparse: blocks of zeros are worth being skipped.
  FewOutputs(const In* data, const InputView& X, bool sparse, std::ptrdiff_t max_outputs,
             int n_threads, std::ptrdiff_t max_mask_words = kMaxMaskWords)
      : Base(data, X, few_outputs_chunk<In, T>(X.n_rows, X.n_cols, max_outputs)),
        kernels_(storage_kernels(data, T())),
        n_threads_(n_threads),
        flush_chunks_(std::max<std::ptrdiff_t>(1, kFlushRows / chunk_rows_)),
        slices_(max_outputs, X.n_cols, kSliceBytes),
        gradient_slices_(slices_),
        mask_words_(slices_.mask_words(kernels_.block_features)),
        sparse_(sparse),
        keeps_masks_(sparse && X.n_rows * mask_words_ <= max_mask_words),
        masks_(sparse_ ? (keeps_masks_ ? X.n_rows : chunk_rows_) * mask_words_ : 0),
        W_(slices_.size()),
        gradients_(ceil_div(chunk_rows_, kMaxUpdateRows) * slices_.size()),
        rows_(chunk_rows_),
        later_(chunk_rows_),
        row_masks_(sparse_ ? chunk_rows_ : 0) {
    if (keeps_masks_) find_masks();
  }

  std::ptrdiff_t n_parts() const override { return slices_.count(); }
  std::ptrdiff_t block_rows() const override { return std::min(chunk_rows_, kMaxUpdateRows); }

  void set_weights(const T* W, std::ptrdiff_t n_outputs, std::ptrdiff_t n_gradients) override {
    slices_ = slices_.of_classes(n_outputs);
    gradient_slices_ = slices_.of_classes(n_gradients);
    parallel_region(threads_worth(X_.n_cols * n_outputs, n_threads_), [&](int thread, int n) {
      slices_.cut(W, share(X_.n_cols, kGrain, thread, n), W_);
    });
  }

  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int,
               const ChunkProducts<T>& out) override {
    const std::ptrdiff_t n_rows = mine.end - mine.begin;
    const std::ptrdiff_t later = chunk.begin + chunk.n_rows + mine.begin;
    const std::ptrdiff_t n_later = std::clamp<std::ptrdiff_t>(rows.size() - later, 0, n_rows);
    for (std::ptrdiff_t i = 0; i < n_later; ++i) later_[mine.begin + i] = row(rows, later + i);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      rows_[i] = row(rows, chunk.begin + i);
      if (sparse_) row_masks_[i] = mask(keeps_masks_ ? rows[chunk.begin + i] : i);
    }
    for (std::ptrdiff_t s = 0; s < slices_.count(); ++s) {
      PanelLogits<In, T> a{};
      static_cast<SliceOfRows<In, T>&>(a) = slice_of_rows(slices_, s, mine);
      a.masks_known = keeps_masks_;
      a.later = {later_.data() + mine.begin, n_later};
      a.W = slices_.at(W_, s);
      a.sums = out.data + s * out.part_stride + mine.begin * out.row_stride;
      a.row_stride = out.row_stride;
      sparse_ ? kernels_.panel_logits_blocks(a) : kernels_.panel_logits(a);
    }
  }

  // Several blocks are shared among threads, and each has a gradient of its own.
  bool needs_preparation() const override { return chunk_rows_ > kMaxUpdateRows; }
  void prepare(const Rows&, const RowChunk& chunk, const ChunkProducts<T>& dlogits, int piece,
               int n_pieces) override {
    const Range mine = share(n_blocks(chunk), 1, piece, n_pieces);
    for (std::ptrdiff_t block = mine.begin; block < mine.end; ++block) {
      sum_block(chunk, block, dlogits, {0, X_.n_cols}, true);
    }
  }

  void backward(const Rows&, const RowChunk& chunk, const ChunkProducts<T>& dlogits, int piece,
                int n_pieces, double* const* gradient) override {
    const Range mine = share(X_.n_cols, kGrain, piece, n_pieces);
    if (!needs_preparation()) {
      const std::ptrdiff_t turn = chunk.begin / chunk_rows_ % flush_chunks_;
      sum_block(chunk, 0, dlogits, mine, turn == 0);
      if (!chunk.last && turn + 1 < flush_chunks_) return;
    }
    for (std::ptrdiff_t block = 0; block < n_blocks(chunk); ++block) {
      gradient_slices_.for_each_grain(
          mine, [&](std::ptrdiff_t at, std::ptrdiff_t r, std::ptrdiff_t f, std::ptrdiff_t n) {
            const T* sums = gradient_of(block) + at;
            // Said twice, so that the compiler knows the number: most are whole.
            n == kGrain ? add_to(sums, kGrain, gradient[r] + f) : add_to(sums, n, gradient[r] + f);
          });
    }
  }

 private:
  // Threads share rows, not slices, and the ends of rows cost more than a first-level cache that is
  // too small: bytes of MNIST take 0.83 of the time that they take with 16 KB (AMD Zen 3), float32
  // of 20 classes 0.85.
  static constexpr std::ptrdiff_t kSliceBytes = 64 << 10;
  // So many rows are summed in T before they are added in float64.
  static constexpr std::ptrdiff_t kFlushRows = kMaxUpdateRows;

  static std::ptrdiff_t n_blocks(const RowChunk& chunk) {
    return ceil_div(chunk.n_rows, kMaxUpdateRows);
  }
  T* gradient_of(std::ptrdiff_t block) { return gradients_.data() + block * slices_.size(); }

  // Some features of the gradient of a block of the chunk's rows; adds to it unless it is new.
  void sum_block(const RowChunk& chunk, std::ptrdiff_t block, const ChunkProducts<T>& dlogits,
                 Range mine, bool is_new) {
    const std::ptrdiff_t first = block * kMaxUpdateRows;
    const Range rows{first, std::min(first + kMaxUpdateRows, chunk.n_rows)};
    for (std::ptrdiff_t s = 0; s < gradient_slices_.count(); ++s) {
      const Range slice = gradient_slices_.features(s);
      PanelUpdate<In, T> a{};
      static_cast<SliceOfRows<In, T>&>(a) = slice_of_rows(gradient_slices_, s, rows);
      a.dlogits = dlogits.data + first * dlogits.row_stride;
      a.row_stride = dlogits.row_stride;
      a.begin = std::max(slice.begin, mine.begin) - slice.begin;
      a.end = std::min(slice.end, mine.end) - slice.begin;
      if (a.begin >= a.end) continue;
      a.W = gradient_slices_.at(W_, s);
      a.gradient = gradient_slices_.at(gradients_, s) + block * slices_.size();
      a.first_chunk = is_new;
      a.last_chunk = false;  // the gradient is what is wanted, not a step
      sparse_ ? kernels_.panel_update_blocks(a) : kernels_.panel_update(a);
    }
  }

  std::uint64_t* mask(std::ptrdiff_t i) { return masks_.data() + i * mask_words_; }

  void find_masks() {
    Tasks tasks;
    const Cuts blocks = row_tasks(X_.n_rows, 512, 1, n_threads_);
    parallel_region(n_threads_, [&](int, int) {
      tasks.run(blocks.n_parts, [&](std::ptrdiff_t block) {
        for (std::ptrdiff_t i = blocks[block].begin; i < blocks[block].end; ++i) {
          for (std::ptrdiff_t s = 0; s < slices_.count(); ++s) {
            const Range f = slices_.features(s);
            const In* x = data_ + i * X_.row_stride + f.begin;
            std::uint64_t* words = mask(i) + slices_.first_word(s, kernels_.block_features);
            kernels_.find_nonzero(&x, 1, f.end - f.begin, &words);
          }
        }
      });
    });
  }

  SliceOfRows<In, T> slice_of_rows(const Slices<T>& slices, std::ptrdiff_t slice,
                                   Range mine) const {
    return slices.of_rows(slice, kernels_.block_features, rows_.data() + mine.begin,
                          row_masks_.data() + mine.begin, mine.end - mine.begin);
  }

  const StorageKernels<In, T>& kernels_;
  const int n_threads_;
  const std::ptrdiff_t flush_chunks_;
  Slices<T> slices_, gradient_slices_;  // the same features
  const std::ptrdiff_t mask_words_;
  const bool sparse_, keeps_masks_;
  AlignedBuffer<std::uint64_t> masks_;  // of all rows, or of the chunk
  AlignedBuffer<T> W_, gradients_;      // gradients of the chunk's blocks
  // Of the chunk, and the rows of the one after it.
  AlignedBuffer<const In*> rows_, later_;
  AlignedBuffer<BlockMask> row_masks_;
};

}  // namespace fastsoftmax
