// A mini-batch step for many classes: weights packed for the tiles of gemm, and kept so.
//
// Three phases: a chunk's rows to logits, threads sharing panels of classes (or rows, where panels
// are few); logits to dlogits, threads sharing rows, while the rows of the next chunk are brought
// into the cache; the same panels one step on (or all of them for some features). No sum depends on
// who does what, so the bits do not either.
#pragma once

#include <algorithm>
#include <array>

#include "ceil_div.h"
#include "range.h"
#include "solvers/sgd_step.h"
#include "zero_blocks.h"

namespace fastsoftmax {

// Chunks are given by their index in the epoch and by the step, which counts through all epochs.
template <class In, class T>
class PackedStep {
 public:
  // As many rows as serve the tiles well, be they in the second-level cache or not.
  static ChunkLimits chunk_limits(const SgdProblem<In, T>& problem) {
    return {(problem.X.n_cols + problem.state.n_outputs) * static_cast<std::ptrdiff_t>(sizeof(T)),
            512 << 10, 96};
  }

  PackedStep(const SgdProblem<In, T>& problem, const Batches& batches)
      : kernels_(storage_kernels<In, T>(problem.kernels)),
        own_kernels_(storage_kernels<T, T>(problem.kernels)),
        arithmetic_(arithmetic_kernels<T>(problem.kernels)),
        problem_(problem),
        batches_(batches),
        d_(problem.X.n_cols),
        n_classes_(problem.state.n_outputs),
        n_panels_(ceil_div(n_classes_, arithmetic_.step_columns)),
        x_stride_(odd_lines(d_)),
        row_stride_(odd_lines(n_panels_ * arithmetic_.step_columns)),
        few_nonzero_(has_few_nonzero(problem.data, problem.X)),
        lists_{RowList<In, T>(batches.chunk_rows(), problem.sample_weight != nullptr),
               RowList<In, T>(batches.chunk_rows(), problem.sample_weight != nullptr)},
        X_(2 * batches.chunk_rows() * x_stride_),
        dlogits_(batches.chunk_rows() * row_stride_),
        losses_(batches.chunk_rows()),
        intercepts_(problem, row_stride_),
        W_(size()),
        velocity_(problem.state.velocity_W ? size() : 0),
        gradient_(batches.has_several_chunks() ? size() : 0),
        masks_(few_nonzero_ ? 2 * batches.chunk_rows() * ceil_div(d_, 64) : 0) {
    pack(problem.state.W, W_);
    if (problem.state.velocity_W) pack(problem.state.velocity_W, velocity_);
  }

  void begin_epoch(Team::Member& member, std::int64_t step, int n_pieces) {
    member.run([&](int piece) { gather(0, step, piece, n_pieces); });
  }

  // finish(losses, n): once, by some thread.
  template <class Finish>
  void run(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
           const Finish& finish) {
    const Chunk chunk = batches_.chunk(index);
    member.run([&](int piece) { forward(chunk, step, part_of(piece, n_pieces)); });
    member.run([&](int piece) {
      residual(chunk, step, share(chunk.n_rows, 1, piece, n_pieces));
      gather(index + 1, step + 1, piece, n_pieces);
    });
    member.run([&](int piece) {
      if (piece == 0) {
        intercepts_.update(chunk, step, dlogits_.data());
        finish(losses_.data(), chunk.n_rows);
      }
      backward(chunk, step, part_of(piece, n_pieces));
    });
  }

  void store_intercepts(std::int64_t step) { intercepts_.store(step); }
  void store_weights() const {
    unpack(W_, problem_.state.W);
    if (problem_.state.velocity_W) unpack(velocity_, problem_.state.velocity_W);
  }
  bool is_finite() const { return all_finite(W_.data(), W_.size()) && intercepts_.are_finite(); }

 private:
  // Numbers of a row, rounded up to an odd number of cache lines: the numbers that a tile reads of
  // different rows are then never all in one set of a cache.
  static std::ptrdiff_t odd_lines(std::ptrdiff_t n) {
    constexpr std::ptrdiff_t kPerLine = 64 / sizeof(T);
    return (ceil_div(n, kPerLine) | 1) * kPerLine;
  }
  std::ptrdiff_t size() const { return n_panels_ * arithmetic_.step_columns * d_; }
  T* x_of(std::int64_t step) { return X_.data() + step % 2 * batches_.chunk_rows() * x_stride_; }
  std::uint64_t* masks_of(std::int64_t step, std::ptrdiff_t row) {
    if (masks_.size() == 0) return nullptr;
    return masks_.data() + (step % 2 * batches_.chunk_rows() + row) * ceil_div(d_, 64);
  }
  RowList<In, T>& list_of(std::int64_t step) { return lists_[static_cast<std::size_t>(step % 2)]; }

  // A piece owns panels where there are enough for equal shares; else it has some of one's rows and
  // features.
  Part part_of(int piece, int n_pieces) const {
    constexpr std::ptrdiff_t kPanelsPerPiece = 8;
    if (n_panels_ >= kPanelsPerPiece * n_pieces) {
      return {share(n_panels_, 1, piece, n_pieces), 0, 1};
    }
    return {{0, n_panels_}, piece, n_pieces};
  }

  void gather(std::ptrdiff_t index, std::int64_t step, int piece, int n_pieces) {
    if (index >= batches_.count()) return;
    const Chunk chunk = batches_.chunk(index);
    const Range mine = share(chunk.n_rows, 1, piece, n_pieces);
    list_of(step).fill(problem_, batches_, chunk, mine);
    kernels_.widen_rows(list_of(step).rows.data() + mine.begin, mine.end - mine.begin, d_,
                        x_stride_, x_of(step) + mine.begin * x_stride_, masks_of(step, mine.begin));
  }

  PackedRows<T> packed_rows(std::int64_t step, Range rows, Range panels) {
    return {x_of(step) + rows.begin * x_stride_,
            x_stride_,
            rows.end - rows.begin,
            d_,
            n_classes_,
            panels.begin,
            panels.end,
            masks_of(step, rows.begin)};
  }

  void forward(const Chunk& chunk, std::int64_t step, const Part& part) {
    const Range mine = share(chunk.n_rows, arithmetic_.step_rows, part.index, part.count);
    if (mine.begin == mine.end) return;
    PackedLogits<T> a{};
    static_cast<PackedRows<T>&>(a) = packed_rows(step, mine, part.items);
    a.W = W_.data();
    a.logits = dlogits_.data() + mine.begin * row_stride_;
    a.row_stride = row_stride_;
    few_nonzero_ ? arithmetic_.packed_logits_nonzero(a) : arithmetic_.packed_logits(a);
  }

  // In place: logits to dlogits, with zeros behind the last class, so that none get into W.
  void residual(const Chunk& chunk, std::int64_t step, Range mine) {
    CrossEntropyArgs<T> a =
        cross_entropy_args(problem_, list_of(step), chunk, mine, intercepts_.of(step));
    a.parts = dlogits_.data() + mine.begin * row_stride_;
    a.n_parts = 1;
    a.row_stride = row_stride_;
    a.dlogits_stride = row_stride_;
    a.dlogits = dlogits_.data() + mine.begin * row_stride_;
    a.losses = losses_.data() + mine.begin;
    arithmetic_.cross_entropy_of_parts(a);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      T* row = dlogits_.data() + i * row_stride_;
      std::fill(row + n_classes_, row + n_panels_ * arithmetic_.step_columns, T(0));
    }
  }

  void backward(const Chunk& chunk, std::int64_t step, const Part& part) {
    const Range mine = share(d_, arithmetic_.step_rows, part.index, part.count);
    PackedUpdate<T> a{};
    static_cast<PackedRows<T>&>(a) = packed_rows(step, {0, chunk.n_rows}, part.items);
    set_rule<T>(problem_.options, chunk, a);
    a.W = W_.data();
    a.velocity = velocity_.size() ? velocity_.data() : nullptr;
    a.gradient = gradient_.size() ? gradient_.data() : nullptr;
    a.dlogits = dlogits_.data();
    a.row_stride = row_stride_;
    a.begin = mine.begin;
    a.end = mine.end;
    few_nonzero_ ? arithmetic_.packed_update_nonzero(a) : arithmetic_.packed_update(a);
  }

  // Between W (n_classes, n_features) and the panels.
  void pack(const T* W, AlignedBuffer<T>& to) const {
    own_kernels_.pack_weights(W, 1, d_, d_, n_classes_, to.data());
  }
  void unpack(const AlignedBuffer<T>& from, T* W) const {
    const std::ptrdiff_t columns = arithmetic_.step_columns;
    for (std::ptrdiff_t c = 0; c < n_classes_; ++c) {
      const T* of_class = from.data() + c / columns * columns * d_ + c % columns;
      for (std::ptrdiff_t f = 0; f < d_; ++f) W[c * d_ + f] = of_class[f * columns];
    }
  }

  const StorageKernels<In, T>& kernels_;
  const StorageKernels<T, T>& own_kernels_;
  const ArithmeticKernels<T>& arithmetic_;

  const SgdProblem<In, T> problem_;
  const Batches& batches_;
  const std::ptrdiff_t d_, n_classes_, n_panels_;
  const std::ptrdiff_t x_stride_, row_stride_;
  const bool few_nonzero_;

  std::array<RowList<In, T>, 2> lists_;  // of two steps in turn
  AlignedBuffer<T> X_;                   // (2, chunk_rows, x_stride), likewise
  AlignedBuffer<T> dlogits_;             // (chunk_rows, row_stride), the logits first
  AlignedBuffer<T> losses_;
  Intercepts<In, T> intercepts_;
  AlignedBuffer<T> W_, velocity_, gradient_;
  AlignedBuffer<std::uint64_t> masks_;  // (2, chunk_rows, words), like X_: what is not zero in it
};

}  // namespace fastsoftmax
