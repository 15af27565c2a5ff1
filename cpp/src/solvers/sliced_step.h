// What the forms of a mini-batch step share whose weights lie in slices of features that threads
// own (panel_step.h, byte_step.h): who has which slices and rows, lists of rows, softmax, the
// intercepts.
//
// In a phase a thread takes the logits' parts, which all threads have left, to dlogits, for itself;
// moves its slices of W one step; and leaves its parts of the next batch's logits. Where there are
// more threads than slices, these are phases of their own, over pieces of slices and rows. No sum
// depends on who does what, so the bits do not either.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "slices.h"
#include "solvers/sgd_step.h"

namespace fastsoftmax {

// Chunks are given by their index in the epoch and by the step, which counts through all epochs.
// List is a RowList<In, T>, or more than that.
template <class In, class T, class List>
class SlicedStep {
 public:
  void store_intercepts(std::int64_t step) { intercepts_.store(step); }

 protected:
  // part_row_stride: of a row of the logits' parts, whole vectors of which are read.
  SlicedStep(const SgdProblem<In, T>& problem, const Batches& batches, const Slices<T>& slices,
             std::ptrdiff_t part_row_stride)
      : arithmetic_(arithmetic_kernels<T>(problem.kernels)),
        problem_(problem),
        batches_(batches),
        chunk_rows_(batches.chunk_rows()),
        n_classes_(problem.state.n_outputs),
        row_stride_(padded<T>(n_classes_)),
        slices_(slices),
        part_row_stride_(part_row_stride),
        part_stride_(padded<T>(chunk_rows_ * part_row_stride + row_stride_)),
        parts_(2 * slices.count() * part_stride_),
        intercepts_(problem, row_stride_) {
    for (int piece = 0; piece < problem.options.n_threads; ++piece) {
      workspaces_.push_back(
          std::make_unique<Workspace>(chunk_rows_, row_stride_, problem.sample_weight != nullptr));
    }
    std::fill_n(parts_.data(), parts_.size(), T(0));
  }

  bool is_fused(int n_pieces) const { return n_pieces <= slices_.count(); }
  Range slices_of(int piece, int n_pieces) const {
    return share(slices_.count(), 1, piece, n_pieces);
  }
  Range all_rows(std::ptrdiff_t index) const { return {0, batches_.rows_of_chunk(index)}; }

  List& list_of(int piece, std::int64_t step) {
    return workspace(piece).lists[static_cast<std::size_t>(step % 3)];
  }
  // Some rows of a chunk, to be fetched.
  LaterRows<In> later_rows(int piece, std::ptrdiff_t index, std::int64_t step, Range some) {
    const std::ptrdiff_t end = std::min(some.end, batches_.rows_of_chunk(index));
    return {list_of(piece, step).rows.data() + some.begin,
            std::max<std::ptrdiff_t>(0, end - some.begin)};
  }

  T* parts_of(std::int64_t step, std::ptrdiff_t slice) {
    return parts_.data() + (step % 2 * slices_.count() + slice) * part_stride_;
  }
  const T* dlogits_of(int piece) { return workspace(piece).dlogits.data(); }

  // Some rows of a chunk to their losses and dlogits, which go to the workspace of a piece.
  void residual(int piece, int owner, std::ptrdiff_t index, std::int64_t step, Range mine) {
    Workspace& to = workspace(owner);
    CrossEntropyArgs<T> a = cross_entropy_args(problem_, list_of(piece, step),
                                               batches_.chunk(index), mine, intercepts_.of(step));
    a.parts = parts_of(step, 0) + mine.begin * part_row_stride_;
    a.n_parts = slices_.count();
    a.part_stride = part_stride_;
    a.row_stride = part_row_stride_;
    a.dlogits_stride = row_stride_;
    a.dlogits = to.dlogits.data() + mine.begin * row_stride_;
    a.losses = to.losses.data() + mine.begin;
    n_classes_ > 1 ? arithmetic_.cross_entropy_of_parts(a) : arithmetic_.logistic_of_parts(a);
  }

  // Intercepts and losses, from the first workspace.
  template <class Finish>
  void end_step(std::ptrdiff_t index, std::int64_t step, const Finish& finish) {
    const Chunk chunk = batches_.chunk(index);
    const Workspace& from = workspace(0);
    intercepts_.update(chunk, step, from.dlogits.data());
    finish(from.losses.data(), chunk.n_rows);
  }

  const ArithmeticKernels<T>& arithmetic_;

  const SgdProblem<In, T> problem_;
  const Batches& batches_;
  const std::ptrdiff_t chunk_rows_, n_classes_;
  const std::ptrdiff_t row_stride_;  // of dlogits and b
  const Slices<T> slices_;
  const std::ptrdiff_t part_row_stride_;

 private:
  // What a thread's piece of the work needs for itself: lists of the rows of the chunk that is
  // worked on and of the two after it, and the results for its rows.
  struct Workspace {
    std::array<List, 3> lists;
    AlignedBuffer<T> dlogits, losses;

    Workspace(std::ptrdiff_t n_rows, std::ptrdiff_t row_stride, bool weighted)
        : lists{List(n_rows, weighted), List(n_rows, weighted), List(n_rows, weighted)},
          dlogits(n_rows * row_stride),
          losses(n_rows) {
      std::fill_n(dlogits.data(), dlogits.size(), 0);  // a single one of a row is written alone
    }
  };

  Workspace& workspace(int piece) { return *workspaces_[static_cast<std::size_t>(piece)]; }

  const std::ptrdiff_t part_stride_;
  AlignedBuffer<T> parts_;  // (2, slices, chunk_rows, part_row_stride), of two steps in turn

 protected:
  Intercepts<In, T> intercepts_;

 private:
  std::vector<std::unique_ptr<Workspace>> workspaces_;  // of each piece
};

}  // namespace fastsoftmax
