// The parts of a mini-batch step, each of which some thread does for some slices or rows: from rows
// to logits, to dlogits, to new weights. What they leave for each other lies here.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "aligned_buffer.h"
#include "fastsoftmax/solvers.h"
#include "parallel.h"
#include "slices.h"
#include "solvers/sgd_batches.h"
#include "storage.h"
#include "zero_blocks.h"

namespace fastsoftmax {

// Where the rows of a chunk are in X, and what belongs to them.
template <class In, class T>
struct RowList {
  AlignedBuffer<const In*> rows;
  AlignedBuffer<std::int64_t> labels;
  AlignedBuffer<T> weights;

  RowList(std::ptrdiff_t n_rows, bool weighted)
      : rows(n_rows), labels(n_rows), weights(weighted ? n_rows : 0) {}
};

// Which blocks of a chunk's rows are not zero.
struct Masks {
  AlignedBuffer<std::uint64_t> words;
  AlignedBuffer<std::uint64_t*> of_row;

  Masks(std::ptrdiff_t n_rows, std::ptrdiff_t n_words) : words(n_rows * n_words), of_row(n_rows) {
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) of_row[i] = words.data() + i * n_words;
  }
};

// What a thread's piece of the work needs for itself: lists of the rows of the chunk that is worked
// on and of the two after it, and the results for its rows.
template <class In, class T>
struct Workspace {
  std::array<RowList<In, T>, 3> lists;
  AlignedBuffer<T> dlogits, losses;

  Workspace(std::ptrdiff_t n_rows, std::ptrdiff_t row_stride, bool weighted)
      : lists{RowList<In, T>(n_rows, weighted), RowList<In, T>(n_rows, weighted),
              RowList<In, T>(n_rows, weighted)},
        dlogits(n_rows * row_stride),
        losses(n_rows) {}
};

// Chunks are given by their index in the epoch and by the step, which counts through all epochs.
template <class In, class T>
class SgdStep {
 public:
  SgdStep(const In* data, const InputView& X, const std::int64_t* labels, const T* sample_weight,
          const SgdOptions& options, const SgdState<T>& state, const Batches& batches)
      : kernels_(storage_kernels(data, T())),
        arithmetic_(arithmetic_kernels<T>()),
        data_(data),
        X_(X),
        labels_(labels),
        sample_weight_(sample_weight),
        options_(options),
        state_(state),
        batches_(batches),
        chunk_rows_(batches.chunk_rows()),
        row_stride_(padded<T>(state.n_classes)),
        slices_(state.n_classes, X.n_cols, kSliceBytes),
        sparse_(has_zero_blocks(kernels_, data, X)),
        masks_{Masks(chunk_rows_, slices_.mask_words(kernels_.block_features)),
               Masks(chunk_rows_, slices_.mask_words(kernels_.block_features))},
        parts_(2 * slices_.count() * chunk_rows_ * row_stride_),
        b_(2 * row_stride_),
        db_(row_stride_),
        W_(slices_.size()),
        velocity_(state.velocity_W ? slices_.size() : 0),
        gradient_(batches.has_several_chunks() ? slices_.size() : 0) {
    for (int piece = 0; piece < options.n_threads; ++piece) {
      workspaces_.push_back(
          std::make_unique<Workspace<In, T>>(chunk_rows_, row_stride_, sample_weight != nullptr));
    }
    std::fill_n(parts_.data(), parts_.size(), T(0));
    std::fill_n(b_.data(), b_.size(), T(0));
    std::copy_n(state.b, state.n_classes, b_.data());
    std::copy_n(state.b, state.n_classes, b_.data() + row_stride_);
    slices_.cut(state.W, W_);
    if (state.velocity_W) slices_.cut(state.velocity_W, velocity_);
  }

  const Slices<T>& slices() const { return slices_; }

  // Where the rows of a chunk are, for a piece of the work: two chunks ahead of forward.
  void list_rows(int piece, std::ptrdiff_t index, std::int64_t step) {
    if (index >= batches_.count()) return;
    const Chunk chunk = batches_.chunk(index);
    RowList<In, T>& list = list_of(piece, step);
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
      const std::ptrdiff_t row = batches_.row(chunk.begin + i);
      list.rows[i] = data_ + row * X_.row_stride;
      list.labels[i] = labels_[row];
      if (sample_weight_) list.weights[i] = sample_weight_[row];
    }
  }

  // Some rows of a chunk to their parts of the logits; the same ones of the next chunk are fetched.
  void forward(int piece, std::ptrdiff_t index, std::int64_t step, Range slices, Range mine) {
    const std::ptrdiff_t n_rows = mine.end - mine.begin;
    const std::ptrdiff_t n_later = batches_.rows_of_chunk(index + 1) - mine.begin;
    for (std::ptrdiff_t s = slices.begin; s < slices.end; ++s) {
      PanelLogits<In, T> a{};
      static_cast<SliceOfRows<In, T>&>(a) = slice_of_rows(piece, step, mine, s);
      a.later = list_of(piece, step + 1).rows.data() + mine.begin;
      a.n_later = std::clamp<std::ptrdiff_t>(n_later, 0, n_rows);
      a.W = slices_.at(W_, s);
      a.sums = parts_of(step, s) + mine.begin * row_stride_;
      a.row_stride = row_stride_;
      sparse_ ? kernels_.panel_logits_blocks(a) : kernels_.panel_logits(a);
    }
  }

  // Some rows of a chunk to their losses and dlogits, which go to the workspace of a piece.
  void residual(int piece, int owner, std::ptrdiff_t index, std::int64_t step, Range mine) {
    RowList<In, T>& list = list_of(piece, step);
    Workspace<In, T>& to = *workspaces_[static_cast<std::size_t>(owner)];
    CrossEntropyArgs<T> a{};
    a.parts = parts_of(step, 0) + mine.begin * row_stride_;
    a.n_parts = slices_.count();
    a.part_stride = chunk_rows_ * row_stride_;
    a.row_stride = row_stride_;
    a.n_rows = mine.end - mine.begin;
    a.n_classes = state_.n_classes;
    a.scale = static_cast<T>(options_.input_scale);
    a.b = b_of(step);
    a.labels = list.labels.data() + mine.begin;
    a.weights = sample_weight_ ? list.weights.data() + mine.begin : nullptr;
    a.gradient_scale = T(1) / static_cast<T>(batches_.chunk(index).batch_rows);
    a.dlogits = to.dlogits.data() + mine.begin * row_stride_;
    a.losses = to.losses.data() + mine.begin;
    arithmetic_.cross_entropy_of_parts(a);
  }

  // Some features of a slice one step on, or of the gradient one chunk on.
  void backward(int owner, std::ptrdiff_t index, std::int64_t step, std::ptrdiff_t slice,
                Range mine) {
    const Chunk chunk = batches_.chunk(index);
    PanelUpdate<In, T> update{};
    static_cast<SliceOfRows<In, T>&>(update) = slice_of_rows(owner, step, {0, chunk.n_rows}, slice);
    update.dlogits = workspaces_[static_cast<std::size_t>(owner)]->dlogits.data();
    update.row_stride = row_stride_;
    update.begin = mine.begin;
    update.end = mine.end;
    update.W = slices_.at(W_, slice);
    update.velocity = state_.velocity_W ? slices_.at(velocity_, slice) : nullptr;
    update.gradient = gradient_.size() ? slices_.at(gradient_, slice) : nullptr;
    update.first_chunk = chunk.first;
    update.last_chunk = chunk.last;
    update.learning_rate = static_cast<T>(options_.learning_rate);
    update.alpha = static_cast<T>(options_.alpha);
    update.momentum = static_cast<T>(options_.momentum);
    update.input_scale = static_cast<T>(options_.input_scale);
    update.nesterov = options_.nesterov;
    sparse_ ? kernels_.panel_update_blocks(update) : kernels_.panel_update(update);
  }

  // Losses and intercepts, from the first workspace; the sum of the losses. The intercepts of the
  // next step go to the other half of their buffer: other threads may not have read these yet.
  double finish(std::ptrdiff_t index, std::int64_t step) {
    const Chunk chunk = batches_.chunk(index);
    const Workspace<In, T>& from = *workspaces_[0];
    double loss = 0.0;
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) loss += static_cast<double>(from.losses[i]);
    std::copy_n(b_of(step), state_.n_classes, b_of(step + 1));
    if (options_.fit_intercept) update_intercepts(chunk, from.dlogits.data(), b_of(step + 1));
    return loss;
  }

  // The intercepts before a step, to the state.
  void store_intercepts(std::int64_t step) { std::copy_n(b_of(step), state_.n_classes, state_.b); }
  // The weights, to the state.
  void store_weights() const {
    slices_.join(W_, state_.W);
    if (state_.velocity_W) slices_.join(velocity_, state_.velocity_W);
  }
  bool is_finite() const {
    const auto finite = [](T x) { return std::isfinite(x); };
    return std::all_of(W_.data(), W_.data() + W_.size(), finite) &&
           std::all_of(state_.b, state_.b + state_.n_classes, finite);
  }

 private:
  // Half of a first-level cache of 32 KB; other sizes were not measured.
  static constexpr std::ptrdiff_t kSliceBytes = 16 << 10;

  RowList<In, T>& list_of(int piece, std::int64_t step) {
    return workspaces_[static_cast<std::size_t>(piece)]->lists[static_cast<std::size_t>(step % 3)];
  }
  T* parts_of(std::int64_t step, std::ptrdiff_t slice) {
    return parts_.data() + (step % 2 * slices_.count() + slice) * chunk_rows_ * row_stride_;
  }
  T* b_of(std::int64_t step) { return b_.data() + step % 2 * row_stride_; }

  SliceOfRows<In, T> slice_of_rows(int piece, std::int64_t step, Range mine, std::ptrdiff_t slice) {
    return slices_.of_rows(slice, kernels_.block_features,
                           list_of(piece, step).rows.data() + mine.begin,
                           masks_[static_cast<std::size_t>(step % 2)].of_row.data() + mine.begin,
                           mine.end - mine.begin);
  }

  void update_intercepts(const Chunk& chunk, const T* dlogits, T* b) {
    if (chunk.first) std::fill_n(db_.data(), db_.size(), T(0));
    arithmetic_.add_rows(dlogits, row_stride_, chunk.n_rows, state_.n_classes, db_.data());
    if (!chunk.last) return;
    const T rate = static_cast<T>(options_.learning_rate);
    const T momentum = static_cast<T>(options_.momentum);
    for (std::ptrdiff_t c = 0; c < state_.n_classes; ++c) {
      const T step = -rate * db_[c];
      if (!state_.velocity_b) {
        b[c] += step;
        continue;
      }
      T& velocity = state_.velocity_b[c];
      velocity = momentum * velocity + step;
      b[c] += options_.nesterov ? momentum * velocity + step : velocity;
    }
  }

  // Of one instruction set throughout: another thread may choose another one meanwhile.
  const StorageKernels<In, T> kernels_;
  const ArithmeticKernels<T> arithmetic_;

  const In* const data_;
  const InputView X_;
  const std::int64_t* const labels_;
  const T* const sample_weight_;
  const SgdOptions options_;
  const SgdState<T> state_;
  const Batches& batches_;
  const std::ptrdiff_t chunk_rows_;
  const std::ptrdiff_t row_stride_;  // of parts_, dlogits and b_
  const Slices<T> slices_;
  const bool sparse_;

  std::array<Masks, 2> masks_;  // of two steps in turn
  AlignedBuffer<T> parts_;      // (2, slices, chunk_rows, row_stride), of two steps in turn
  AlignedBuffer<T> b_, db_;     // (2, row_stride), likewise; (row_stride)
  AlignedBuffer<T> W_, velocity_, gradient_;
  std::vector<std::unique_ptr<Workspace<In, T>>> workspaces_;  // of each piece
};

}  // namespace fastsoftmax
