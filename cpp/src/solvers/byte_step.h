// A mini-batch step on bytes, by products of integers (kernels/byte_step-inl.h): weights in slices
// (sliced_step.h), beside them the digits that they are split into once a step.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "ceil_div.h"
#include "solvers/sliced_step.h"

namespace fastsoftmax {

// Chunks are given by their index in the epoch and by the step, which counts through all epochs.
class ByteStep : public SlicedStep<std::uint8_t, float, RowList<std::uint8_t, float>> {
  using In = std::uint8_t;
  using T = float;

 public:
  // One output, of two classes, and two are left to panels.
  static bool fits(const SgdProblem<In, T>& problem) {
    return problem.kernels.bytes.update && problem.state.n_outputs > 2 &&
           problem.state.n_outputs <= kMaxByteClasses && problem.X.n_cols <= kMaxByteFeatures &&
           std::min<std::ptrdiff_t>(problem.options.batch_size, problem.X.n_rows) >= kMinBatch;
  }

  // The sums of the update take so many rows without an overflow.
  static ChunkLimits chunk_limits(const SgdProblem<In, T>&) {
    return {1, kMaxByteRows, kMaxByteRows, kMaxByteRows};
  }

  ByteStep(const SgdProblem<In, T>& problem, const Batches& batches)
      : SlicedStep(problem, batches,
                   Slices<T>(problem.state.n_outputs, problem.X.n_cols,
                             kSliceFeatures * std::min(problem.state.n_outputs, kGroupClasses) *
                                 static_cast<std::ptrdiff_t>(sizeof(T))),
                   problem.state.n_outputs),
        kernels_(problem.kernels.bytes),
        row_bytes_(round_up(slices_.stride(), 64)),
        // One number more: what is stored of a class's digits ends in one that means nothing.
        digit_stride_(ceil_div(3 * n_classes_ + 1, 16) * 64),
        digits_(slices_.count() * row_bytes_ / 4 * digit_stride_),
        per_unit_(slices_.count() * row_stride_),
        W_(size()),
        velocity_(problem.state.velocity_W ? size() : 0),
        gradient_(batches.has_several_chunks() ? size() : 0) {
    for (int piece = 0; piece < problem.options.n_threads; ++piece) {
      copies_.push_back(std::make_unique<Copies>(batches.chunk_rows(), row_bytes_));
    }
    std::fill_n(digits_.data(), digits_.size(), In(0));
    cut(problem.state.W, W_);
    if (problem.state.velocity_W) cut(problem.state.velocity_W, velocity_);
    for (std::ptrdiff_t s = 0; s < slices_.count(); ++s) split(s);
  }

  void begin_epoch(Team::Member& member, std::int64_t step, int n_pieces) {
    member.run([&](int piece) {
      list_rows(piece, 0, step);
      list_rows(piece, 1, step + 1);
      if (!is_fused(n_pieces)) return;
      forward(piece, 0, step, slices_of(piece, n_pieces), all_rows(0), fetched_by_forward(0));
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
    join(W_, problem_.state.W);
    if (problem_.state.velocity_W) join(velocity_, problem_.state.velocity_W);
  }
  bool is_finite() const { return all_finite(W_.data(), W_.size()) && intercepts_.are_finite(); }

 private:
  // A thread's copies of rows: of two tiles' rows all features, of all rows two blocks of features.
  struct Copies {
    AlignedBuffer<In> by_row, by_feature;

    Copies(std::ptrdiff_t n_rows, std::ptrdiff_t row_bytes)
        : by_row(32 * row_bytes), by_feature(2 * round_up(n_rows, 64) * 64) {
      std::fill_n(by_feature.data(), by_feature.size(), In(0));
    }
  };

  // W is moved and split once a step, however few the rows. MNIST on an Emerald Rapids, two
  // threads, to panels: batches of 16 0.86x the speed, of 32 1.06x, of 100 1.1x to 1.5x, of
  // 1024 1.7x.
  static constexpr std::ptrdiff_t kMinBatch = 32;
  // Of a slice: half of MNIST's. More slices are more parts that threads give each other.
  static constexpr std::ptrdiff_t kSliceFeatures = 392;

  template <class Finish>
  void run_fused(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
                 const Finish& finish) {
    member.run([&](int piece) {
      const Range mine = slices_of(piece, n_pieces);
      list_rows(piece, index + 2, step + 2);
      residual(piece, piece, index, step, all_rows(index));
      if (piece == 0) end_step(index, step, finish);
      for (std::ptrdiff_t s = mine.begin; s < mine.end; ++s) {
        backward(piece, piece, index, step, s, {0, row_bytes_}, fetched_by_backward(index));
        if (batches_.chunk(index).last) split(s);
      }
      forward(piece, index + 1, step + 1, mine, all_rows(index + 1), fetched_by_forward(index + 1));
    });
  }

  // More threads than slices. The results for the rows are in the first workspace.
  template <class Finish>
  void run_wide(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces,
                const Finish& finish) {
    const std::ptrdiff_t n_rows = all_rows(index).end;
    member.run([&](int piece) {
      list_rows(piece, index + 1, step + 1);
      const Part part = part_of(slices_.count(), piece, n_pieces);
      const Range rows = share(n_rows, 32, part.index, part.count);
      forward(piece, index, step, part.items, rows, rows);
    });
    member.run(
        [&](int piece) { residual(piece, 0, index, step, share(n_rows, 2, piece, n_pieces)); });
    member.run([&](int piece) {
      if (piece == 0) end_step(index, step, finish);
      const Part part = part_of(slices_.count(), piece, n_pieces);
      backward(piece, 0, index, step, part.items.begin,
               share(row_bytes_, 64, part.index, part.count), {0, 0});
    });
    if (!batches_.chunk(index).last) return;
    member.run([&](int piece) {
      const Range mine = slices_of(piece, n_pieces);
      for (std::ptrdiff_t s = mine.begin; s < mine.end; ++s) split(s);
    });
  }

  // Where the rows of a chunk are, for a piece of the work: one chunk ahead of the forward pass.
  void list_rows(int piece, std::ptrdiff_t index, std::int64_t step) {
    if (index >= batches_.count()) return;
    list_of(piece, step).fill(problem_, batches_, batches_.chunk(index), all_rows(index));
  }

  ByteSlice slice(int piece, std::int64_t step, std::ptrdiff_t s, Range rows,
                  const LaterRows<In>& later) {
    const Range features = slices_.features(s);
    return {list_of(piece, step).rows.data() + rows.begin,
            rows.end - rows.begin,
            features.begin,
            features.end - features.begin,
            n_classes_,
            row_bytes_,
            later};
  }

  // Of the next chunk's rows, what each pass of a fused phase fetches: half of them.
  Range fetched_by_forward(std::ptrdiff_t index) const {
    return {0, batches_.rows_of_chunk(index + 1) / 2};
  }
  Range fetched_by_backward(std::ptrdiff_t index) const {
    return {fetched_by_forward(index).end, batches_.rows_of_chunk(index + 1)};
  }

  // Some rows of a chunk to their parts of the logits; some of the next one are fetched.
  void forward(int piece, std::ptrdiff_t index, std::int64_t step, Range slices, Range mine,
               Range fetched) {
    if (mine.begin == mine.end) return;
    for (std::ptrdiff_t s = slices.begin; s < slices.end; ++s) {
      ByteLogits a{};
      static_cast<ByteSlice&>(a) =
          slice(piece, step, s, mine, later_rows(piece, index + 1, step + 1, fetched));
      a.by_row = copies_[static_cast<std::size_t>(piece)]->by_row.data();
      a.digits = digits_of(s);
      a.digit_stride = digit_stride_;
      a.per_unit = per_unit_.data() + s * row_stride_;
      a.sums = parts_of(step, s) + mine.begin * part_row_stride_;
      a.row_stride = part_row_stride_;
      kernels_.logits(a);
    }
  }

  // Some features of a slice one step on, or of the gradient one chunk on.
  void backward(int piece, int owner, std::ptrdiff_t index, std::int64_t step, std::ptrdiff_t s,
                Range mine, Range fetched) {
    const Chunk chunk = batches_.chunk(index);
    ByteUpdate a{};
    static_cast<ByteSlice&>(a) =
        slice(owner, step, s, {0, chunk.n_rows}, later_rows(owner, index + 1, step + 1, fetched));
    set_rule<T>(problem_.options, chunk, a);
    a.by_feature = copies_[static_cast<std::size_t>(piece)]->by_feature.data();
    a.dlogits = dlogits_of(owner);
    a.row_stride = row_stride_;
    a.begin = mine.begin;
    a.end = mine.end;
    a.W = at(W_, s);
    a.velocity = velocity_.size() ? at(velocity_, s) : nullptr;
    a.gradient = gradient_.size() ? at(gradient_, s) : nullptr;
    kernels_.update(a);
  }

  void split(std::ptrdiff_t s) {
    const Range features = slices_.features(s);
    kernels_.split_weights({at(W_, s), features.end - features.begin, n_classes_, digit_stride_,
                            digits_of(s), per_unit_.data() + s * row_stride_});
  }

  std::uint8_t* digits_of(std::ptrdiff_t s) {
    return digits_.data() + s * row_bytes_ / 4 * digit_stride_;
  }

  std::ptrdiff_t size() const { return slices_.count() * row_bytes_ * n_classes_; }
  T* at(AlignedBuffer<T>& buffer, std::ptrdiff_t s) {
    return buffer.data() + s * row_bytes_ * n_classes_;
  }
  // Where the weight of a slice's feature and a class lies in a buffer of size(). In a block of 64
  // features, vector v has the features 16 q + 4 v + i.
  std::ptrdiff_t place(std::ptrdiff_t s, std::ptrdiff_t f, std::ptrdiff_t c) const {
    const std::ptrdiff_t vector = f / 64 * 4 + f / 4 % 4, lane = f % 64 / 16 * 4 + f % 4;
    return s * row_bytes_ * n_classes_ + (vector * n_classes_ + c) * 16 + lane;
  }
  template <class F>
  void for_each_weight(const F& f) const {
    for (std::ptrdiff_t s = 0; s < slices_.count(); ++s) {
      const Range features = slices_.features(s);
      for (std::ptrdiff_t c = 0; c < n_classes_; ++c) {
        for (std::ptrdiff_t i = features.begin; i < features.end; ++i) {
          f(place(s, i - features.begin, c), c * problem_.X.n_cols + i);
        }
      }
    }
  }
  void cut(const T* W, AlignedBuffer<T>& to) const {
    std::fill_n(to.data(), to.size(), T(0));
    for_each_weight([&](std::ptrdiff_t here, std::ptrdiff_t there) { to[here] = W[there]; });
  }
  void join(const AlignedBuffer<T>& from, T* W) const {
    for_each_weight([&](std::ptrdiff_t here, std::ptrdiff_t there) { W[there] = from[here]; });
  }

  const ByteKernels& kernels_;

  const std::ptrdiff_t row_bytes_, digit_stride_;

  AlignedBuffer<std::uint8_t> digits_;
  AlignedBuffer<T> per_unit_;
  AlignedBuffer<T> W_, velocity_, gradient_;
  std::vector<std::unique_ptr<Copies>> copies_;  // of each piece
};

}  // namespace fastsoftmax
