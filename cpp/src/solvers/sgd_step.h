// What every form of a mini-batch step shares: where the rows of a chunk are, the intercepts, and
// the order of their updates.
#pragma once

#include <algorithm>

#include "aligned_buffer.h"
#include "fastsoftmax/sgd.h"
#include "finite.h"
#include "parallel.h"
#include "solvers/sgd_batches.h"
#include "storage.h"

namespace fastsoftmax {

// What a step is made of, checked by the caller.
template <class In, class T>
struct SgdProblem {
  const KernelTable& kernels;  // of one instruction set, whatever another thread chooses meanwhile
  const In* data;
  InputView X;
  const std::int64_t* labels;
  const T* sample_weight;  // or null
  SgdOptions options;
  SgdState<T> state;
};

// Where the rows of a chunk are in X, and what belongs to them.
template <class In, class T>
struct RowList {
  AlignedBuffer<const In*> rows;
  AlignedBuffer<std::int64_t> labels;
  AlignedBuffer<T> weights;

  RowList(std::ptrdiff_t n_rows, bool weighted)
      : rows(n_rows), labels(n_rows), weights(weighted ? n_rows : 0) {}

  // Some rows of a chunk. The labels of the same rows of the next one are asked for: to wait for
  // labels was half of this, and this a tenth of an epoch of bytes on two threads of a Zen 3.
  void fill(const SgdProblem<In, T>& problem, const Batches& batches, const Chunk& chunk,
            Range mine) {
    const std::ptrdiff_t next = chunk.begin + chunk.n_rows;
    const std::ptrdiff_t end = std::min(next + mine.end, problem.X.n_rows);
    for (std::ptrdiff_t at = next + mine.begin; at < end; ++at) {
      __builtin_prefetch(problem.labels + batches.row(at));
    }
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      const std::ptrdiff_t row = batches.row(chunk.begin + i);
      rows[i] = problem.data + row * problem.X.row_stride;
      labels[i] = problem.labels[row];
      if (problem.sample_weight) weights[i] = problem.sample_weight[row];
    }
  }
};

// The intercepts, b of two steps in turn: while one thread makes those of the next step, others may
// still read these.
template <class In, class T>
class Intercepts {
 public:
  // stride: classes of b and of rows of dlogits, padded to what the kernels want.
  Intercepts(const SgdProblem<In, T>& problem, std::ptrdiff_t stride)
      : arithmetic_(arithmetic_kernels<T>(problem.kernels)),
        options_(problem.options),
        state_(problem.state),
        stride_(stride),
        b_(2 * stride),
        db_(stride) {
    std::fill_n(b_.data(), b_.size(), T(0));
    std::copy_n(state_.b, state_.n_outputs, b_.data());
    std::copy_n(state_.b, state_.n_outputs, b_.data() + stride_);
  }

  T* of(std::int64_t step) { return b_.data() + step % 2 * stride_; }

  // Those of the next step, from the dlogits of a chunk.
  void update(const Chunk& chunk, std::int64_t step, const T* dlogits) {
    T* b = of(step + 1);
    std::copy_n(of(step), state_.n_outputs, b);
    if (!options_.fit_intercept) return;
    if (chunk.first) std::fill_n(db_.data(), db_.size(), T(0));
    arithmetic_.add_rows(dlogits, stride_, chunk.n_rows, state_.n_outputs, db_.data());
    if (!chunk.last) return;
    const T rate = static_cast<T>(options_.learning_rate);
    const T momentum = static_cast<T>(options_.momentum);
    for (std::ptrdiff_t c = 0; c < state_.n_outputs; ++c) {
      const T change = -rate * db_[c];
      if (!state_.velocity_b) {
        b[c] += change;
        continue;
      }
      T& velocity = state_.velocity_b[c];
      velocity = momentum * velocity + change;
      b[c] += options_.nesterov ? momentum * velocity + change : velocity;
    }
  }

  // Those before a step, to the state.
  void store(std::int64_t step) { std::copy_n(of(step), state_.n_outputs, state_.b); }
  // As stored last.
  bool are_finite() const { return all_finite(state_.b, state_.n_outputs); }

 private:
  const ArithmeticKernels<T>& arithmetic_;
  const SgdOptions options_;
  const SgdState<T> state_;
  const std::ptrdiff_t stride_;
  AlignedBuffer<T> b_, db_;  // (2, stride); (stride)
};

// Some items, or one of `count` parts of them.
struct Part {
  Range items;
  int index, count;
};

// A piece's part of fewer items than pieces.
inline Part part_of(std::ptrdiff_t n_items, int piece, int n_pieces) {
  const auto first_piece = [&](std::ptrdiff_t i) {
    return static_cast<int>((i * n_pieces + n_items - 1) / n_items);
  };
  const std::ptrdiff_t item = piece * n_items / n_pieces;
  return {{item, item + 1}, piece - first_piece(item), first_piece(item + 1) - first_piece(item)};
}

// The part of an update's arguments that all forms share.
template <class T>
void set_rule(const SgdOptions& options, const Chunk& chunk, WeightStep<T>& step) {
  step.first_chunk = chunk.first;
  step.last_chunk = chunk.last;
  step.learning_rate = static_cast<T>(options.learning_rate);
  step.alpha = static_cast<T>(options.alpha);
  step.momentum = static_cast<T>(options.momentum);
  step.input_scale = static_cast<T>(options.input_scale);
  step.nesterov = options.nesterov;
}

// The part of a cross-entropy's arguments that all forms share, for some rows of a chunk.
template <class In, class T>
CrossEntropyArgs<T> cross_entropy_args(const SgdProblem<In, T>& problem, RowList<In, T>& list,
                                       const Chunk& chunk, Range mine, const T* b) {
  CrossEntropyArgs<T> a{};
  a.n_rows = mine.end - mine.begin;
  const bool is_difference = problem.state.n_outputs == 1;  // that of two steps, twice as long
  a.n_classes = problem.state.n_outputs;
  a.scale = static_cast<T>(problem.options.input_scale);
  a.b = b;
  a.labels = list.labels.data() + mine.begin;
  a.weights = problem.sample_weight ? list.weights.data() + mine.begin : nullptr;
  a.gradient_scale = T(is_difference ? 2 : 1) / static_cast<T>(chunk.batch_rows);
  a.few_rows = chunk.n_rows < kLaneRows;
  return a;
}

}  // namespace fastsoftmax
