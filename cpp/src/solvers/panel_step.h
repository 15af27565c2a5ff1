// A mini-batch step for few classes: weights in panels, cut into slices (sliced_step.h).
#pragma once

#include <algorithm>

#include "solvers/sliced_step.h"
#include "zero_blocks.h"

namespace fastsoftmax {

// Rows and where the masks of their blocks are.
template <class In, class T>
struct MaskedRowList : RowList<In, T> {
  AlignedBuffer<BlockMask> masks;

  MaskedRowList(std::ptrdiff_t n_rows, bool weighted)
      : RowList<In, T>(n_rows, weighted), masks(n_rows) {}
};

// Chunks are given by their index in the epoch and by the step, which counts through all epochs.
template <class In, class T>
class PanelStep : public SlicedStep<In, T, MaskedRowList<In, T>> {
  using Base = SlicedStep<In, T, MaskedRowList<In, T>>;
  using Base::all_rows, Base::batches_, Base::chunk_rows_, Base::dlogits_of, Base::end_step,
      Base::intercepts_, Base::is_fused, Base::later_rows, Base::list_of, Base::part_row_stride_,
      Base::parts_of, Base::problem_, Base::residual, Base::row_stride_, Base::slices_,
      Base::slices_of;

 public:
  // The rows of a chunk and their logits stay in a second-level cache of 1 MB between the two
  // passes: the tutorial's batch, 100 x (784 + 10) float32, is 318 KB and one chunk.
  static ChunkLimits chunk_limits(const SgdProblem<In, T>& problem) {
    return {problem.X.n_cols * static_cast<std::ptrdiff_t>(sizeof(In)) +
                problem.state.n_outputs * static_cast<std::ptrdiff_t>(sizeof(T)),
            384 << 10, 32};
  }

  PanelStep(const SgdProblem<In, T>& problem, const Batches& batches)
      : Base(problem, batches, Slices<T>(problem.state.n_outputs, problem.X.n_cols, kSliceBytes),
             padded<T>(problem.state.n_outputs)),
        kernels_(storage_kernels<In, T>(problem.kernels)),
        sparse_(has_zero_blocks(kernels_, problem.data, problem.X)),
        mask_words_(slices_.mask_words(kernels_.block_features)),
        keeps_masks_(sparse_ && problem.options.n_epochs > 1 &&
                     problem.X.n_rows * mask_words_ <= kMaxMaskWords),
        masks_(sparse_ ? (keeps_masks_ ? problem.X.n_rows : 2 * chunk_rows_) * mask_words_ : 0),
        W_(slices_.size()),
        velocity_(problem.state.velocity_W ? slices_.size() : 0),
        gradient_(batches.has_several_chunks() ? slices_.size() : 0) {
    slices_.cut(problem.state.W, W_);
    if (problem.state.velocity_W) slices_.cut(problem.state.velocity_W, velocity_);
  }

  void begin_epoch(Team::Member& member, std::int64_t step, int n_pieces) {
    member.run([&](int piece) {
      list_rows(piece, 0, step);
      list_rows(piece, 1, step + 1);
      if (!is_fused(n_pieces)) return;
      const Range mine = slices_of(piece, n_pieces);
      touch(piece, 1, step + 1, mine, all_rows(1));
      forward(piece, 0, step, mine, all_rows(0), fetched_by_forward(0));
    });
  }

  // finish(losses, n): once, by some thread.
  template <class Finish>
  void run(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
           const Finish& finish) {
    if (is_fused(n_pieces)) {
      run_fused(member, index, step, n_pieces, finish);
    } else {
      run_wide(member, index, step, n_pieces, finish);
    }
  }

  void store_weights() const {
    slices_.join(W_, problem_.state.W);
    if (problem_.state.velocity_W) slices_.join(velocity_, problem_.state.velocity_W);
  }
  bool is_finite() const { return all_finite(W_.data(), W_.size()) && intercepts_.are_finite(); }

 private:
  // Half of a first-level cache of 32 KB; other sizes were not measured.
  static constexpr std::ptrdiff_t kSliceBytes = 16 << 10;

  template <class Finish>
  void run_fused(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
                 const Finish& finish) {
    member.run([&](int piece) {
      const Range mine = slices_of(piece, n_pieces);
      list_rows(piece, index + 2, step + 2);
      touch(piece, index + 2, step + 2, mine, all_rows(index + 2));
      residual(piece, piece, index, step, all_rows(index));
      if (piece == 0) end_step(index, step, finish);
      for (std::ptrdiff_t s = mine.begin; s < mine.end; ++s) {
        const Range features = slices_.features(s);
        backward(piece, index, step, s, {0, features.end - features.begin},
                 fetched_by_backward(index));
      }
      forward(piece, index + 1, step + 1, mine, all_rows(index + 1), fetched_by_forward(index + 1));
    });
  }

  // More threads than slices: forward over slices and rows, softmax over rows, backward over
  // features. The results for the rows are in the first workspace.
  template <class Finish>
  void run_wide(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
                const Finish& finish) {
    const std::ptrdiff_t n_rows = all_rows(index).end;
    member.run([&](int piece) {
      list_rows(piece, index + 1, step + 1);
      const Part part = part_of(slices_.count(), piece, n_pieces);
      const Range rows = share(n_rows, 2, part.index, part.count);
      touch(piece, index + 1, step + 1, part.items, rows);
      forward(piece, index, step, part.items, rows, rows);
    });
    member.run(
        [&](int piece) { residual(piece, 0, index, step, share(n_rows, 2, piece, n_pieces)); });
    member.run([&](int piece) {
      if (piece == 0) end_step(index, step, finish);
      const Part part = part_of(slices_.count(), piece, n_pieces);
      const Range features = slices_.features(part.items.begin);
      backward(0, index, step, part.items.begin,
               share(features.end - features.begin, 16, part.index, part.count), {0, 0});
    });
  }

  // Where the rows of a chunk are, for a piece of the work: one chunk ahead of the forward pass.
  void list_rows(int piece, std::ptrdiff_t index, std::int64_t step) {
    if (index >= batches_.count()) return;
    const Chunk chunk = batches_.chunk(index);
    MaskedRowList<In, T>& list = list_of(piece, step);
    list.fill(problem_, batches_, chunk, all_rows(index));
    if (!sparse_) return;
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
      const std::ptrdiff_t at =
          keeps_masks_ ? batches_.row(chunk.begin + i) : step % 2 * chunk_rows_ + i;
      list.masks[i] = masks_.data() + at * mask_words_;
      if (keeps_masks_) __builtin_prefetch(list.masks[i]);
    }
  }

  // Asks for the first and the last line of some rows' slices, on whose pages are the others that
  // the passes will fetch. A fetch from a page that is not known waits for its address, and all
  // work waits with it; asked for together, addresses are found at the same time. Epochs of MNIST
  // in float32 on a Zen 3, on one thread and two: 1.08x and 1.07x the speed; bytes 1.01x.
  void touch(int piece, std::ptrdiff_t index, std::int64_t step, Range slices, Range some) {
    const LaterRows<In> later = later_rows(piece, index, step, some);
    const std::ptrdiff_t first = slices_.features(slices.begin).begin;
    const std::ptrdiff_t last = slices_.features(slices.end - 1).end - 1;
    for (std::ptrdiff_t i = 0; i < later.n; ++i) {
      __builtin_prefetch(later.rows[i] + first, 0, 2);
      __builtin_prefetch(later.rows[i] + last, 0, 2);
    }
  }

  // Whether the masks of a step's rows are known: since the first epoch.
  bool knows_masks(std::int64_t step) const { return keeps_masks_ && step >= batches_.count(); }

  // Of the next chunk's rows, what each pass of a fused phase fetches, half of them if zeros are
  // skipped: 1.12x the speed of an epoch of MNIST in float32 on one thread of a Zen 5, 1.08x on
  // two. (Half of the rows two chunks ahead: no gain. Half of the lines of each row: 0.88x.)
  Range fetched_by_forward(std::ptrdiff_t index) const {
    return sparse_ ? Range{0, (batches_.rows_of_chunk(index + 1) + 1) / 2} : all_rows(index);
  }
  Range fetched_by_backward(std::ptrdiff_t index) const {
    return {fetched_by_forward(index).end, batches_.rows_of_chunk(index + 1)};
  }

  // Some rows of a chunk to their parts of the logits; some of the next one are fetched.
  void forward(int piece, std::ptrdiff_t index, std::int64_t step, Range slices, Range mine,
               Range fetched) {
    for (std::ptrdiff_t s = slices.begin; s < slices.end; ++s) {
      PanelLogits<In, T> a{};
      static_cast<SliceOfRows<In, T>&>(a) = slice_of_rows(piece, step, mine, s);
      a.masks_known = knows_masks(step);
      a.later = later_rows(piece, index + 1, step + 1, fetched);
      a.W = slices_.at(W_, s);
      a.sums = parts_of(step, s) + mine.begin * part_row_stride_;
      a.row_stride = part_row_stride_;
      sparse_ ? kernels_.panel_logits_blocks(a) : kernels_.panel_logits(a);
    }
  }

  // Some features of a slice one step on, or of the gradient one chunk on.
  void backward(int owner, std::ptrdiff_t index, std::int64_t step, std::ptrdiff_t slice,
                Range mine, Range fetched) {
    const Chunk chunk = batches_.chunk(index);
    PanelUpdate<In, T> update{};
    static_cast<SliceOfRows<In, T>&>(update) = slice_of_rows(owner, step, {0, chunk.n_rows}, slice);
    set_rule<T>(problem_.options, chunk, update);
    update.dlogits = dlogits_of(owner);
    update.row_stride = row_stride_;
    update.begin = mine.begin;
    update.end = mine.end;
    // Dense rows have all been fetched by the forward pass.
    if (sparse_) update.later = later_rows(owner, index + 1, step + 1, fetched);
    update.W = slices_.at(W_, slice);
    update.velocity = velocity_.size() ? slices_.at(velocity_, slice) : nullptr;
    update.gradient = gradient_.size() ? slices_.at(gradient_, slice) : nullptr;
    sparse_ ? kernels_.panel_update_blocks(update) : kernels_.panel_update(update);
  }

  SliceOfRows<In, T> slice_of_rows(int piece, std::int64_t step, Range mine, std::ptrdiff_t slice) {
    const MaskedRowList<In, T>& list = list_of(piece, step);
    return slices_.of_rows(slice, kernels_.block_features, list.rows.data() + mine.begin,
                           list.masks.data() + mine.begin, mine.end - mine.begin);
  }

  const StorageKernels<In, T>& kernels_;

  const bool sparse_;
  const std::ptrdiff_t mask_words_;
  const bool keeps_masks_;

  AlignedBuffer<std::uint64_t> masks_;  // of all rows, or of those of two steps in turn
  AlignedBuffer<T> W_, velocity_, gradient_;
};

}  // namespace fastsoftmax
