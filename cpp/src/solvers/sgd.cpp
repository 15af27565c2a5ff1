// Mini-batch gradient descent: one threaded region for all epochs, one meeting of the threads a
// step.
//
// A thread owns slices of the features (slices.h). In a phase it takes the logits' parts, which all
// threads have left, to dlogits, for itself; moves its slices of W one step; and leaves its parts
// of the next batch's logits. Where there are more threads than slices, the three are phases of
// their own, over pieces of slices and rows. No sum depends on who does what, so the bits do not
// either. A batch that is larger than the cache comes in chunks of rows; only then is there a
// gradient buffer.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <vector>

#include "aligned_buffer.h"
#include "fastsoftmax/objective.h"
#include "fastsoftmax/solvers.h"
#include "parallel.h"
#include "slices.h"
#include "storage.h"
#include "zero_blocks.h"

namespace fastsoftmax {
namespace {

// The rows of a chunk and their logits stay in a second-level cache of 1 MB between the two passes:
// the tutorial's batch, 100 x (784 + 10) float32, is 318 KB and one chunk.
constexpr std::ptrdiff_t kChunkBytes = 384 << 10, kMinChunkRows = 32;

template <class In, class T>
std::ptrdiff_t chunk_rows(std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
                          std::ptrdiff_t batch_size) {
  const auto row_bytes = n_features * static_cast<std::ptrdiff_t>(sizeof(In)) +
                         n_classes * static_cast<std::ptrdiff_t>(sizeof(T));
  return std::min({batch_size, std::max(kMinChunkRows, kChunkBytes / row_bytes), kMaxMaskedRows});
}

// Rows of logits and of b take whole vectors of the widest instruction set.
template <class T>
std::ptrdiff_t padded(std::ptrdiff_t n_classes) {
  constexpr std::ptrdiff_t kLanes = 64 / sizeof(T);
  return (n_classes + kLanes - 1) / kLanes * kLanes;
}

// A chunk of an epoch's rows.
struct Chunk {
  std::ptrdiff_t begin, n_rows;  // in the order of the epoch
  std::ptrdiff_t batch_rows;
  bool first, last;  // of its batch
};

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

template <class In, class T>
class SgdRun {
 public:
  SgdRun(const In* data, const InputView& X, const std::int64_t* labels, const T* sample_weight,
         const SgdOptions& options, const SgdState<T>& state, double* loss_curve,
         const StopRequested& stop_requested)
      : kernels_(storage_kernels(data, T())),
        arithmetic_(arithmetic_kernels<T>()),
        data_(data),
        X_(X),
        labels_(labels),
        sample_weight_(sample_weight),
        options_(options),
        state_(state),
        loss_curve_(loss_curve),
        stop_requested_(stop_requested),
        batch_size_(std::min<std::ptrdiff_t>(options.batch_size, X.n_rows)),
        chunk_rows_(chunk_rows<In, T>(X.n_cols, state.n_classes, batch_size_)),
        chunks_per_batch_((batch_size_ + chunk_rows_ - 1) / chunk_rows_),
        n_chunks_(X.n_rows / batch_size_ * chunks_per_batch_ +
                  (X.n_rows % batch_size_ + chunk_rows_ - 1) / chunk_rows_),
        row_stride_(padded<T>(state.n_classes)),
        slices_(state.n_classes, X.n_cols),
        words_per_slice_((slices_.panel_stride() / kernels_.block_features + 63) / 64),
        sparse_(has_zero_blocks(kernels_, data, X)),
        order_(options.shuffle ? X.n_rows : 0),
        masks_{Masks(chunk_rows_, slices_.count() * words_per_slice_),
               Masks(chunk_rows_, slices_.count() * words_per_slice_)},
        parts_(2 * slices_.count() * chunk_rows_ * row_stride_),
        b_(2 * row_stride_),
        db_(row_stride_),
        W_(slices_.size()),
        velocity_(state.velocity_W ? slices_.size() : 0),
        gradient_(chunk_rows_ < batch_size_ ? slices_.size() : 0),
        team_(options.n_threads),
        last_epoch_(options.n_epochs - 1) {
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
    total_weight_ = sample_weight ? 0.0 : static_cast<double>(X.n_rows);
    for (std::ptrdiff_t i = 0; sample_weight && i < X.n_rows; ++i)
      total_weight_ += sample_weight[i];
  }

  SgdResult run() {
    parallel_region(options_.n_threads, [this](int thread, int n_threads) {
      Team::Member member(team_, thread, n_threads);
      std::int64_t step = 0;
      for (std::int64_t epoch = 0; epoch <= last_epoch_; ++epoch) {
        run_alone(member, [&] { begin_epoch(epoch); });
        run_epoch(member, step, thread, n_threads);
        run_alone(member, [&] { end_epoch(epoch, step); });
      }
    });
    slices_.join(W_, state_.W);
    if (state_.velocity_W) slices_.join(velocity_, state_.velocity_W);
    return result_;
  }

 private:
  template <class F>
  static void run_alone(Team::Member& member, const F& body) {
    member.run([&](int piece) {
      if (piece == 0) body();
    });
  }

  void begin_epoch(std::int64_t epoch) {
    epoch_loss_ = 0.0;
    if (options_.shuffle) {
      epoch_permutation(options_.seed, options_.first_epoch + epoch, X_.n_rows, order_.data());
    }
  }

  Chunk chunk_at(std::ptrdiff_t index) const {
    const std::ptrdiff_t batch = index / chunks_per_batch_ * batch_size_;
    const std::ptrdiff_t batch_rows = std::min(batch_size_, X_.n_rows - batch);
    const std::ptrdiff_t at = index % chunks_per_batch_ * chunk_rows_;
    const std::ptrdiff_t n_rows = std::min(chunk_rows_, batch_rows - at);
    return {batch + at, n_rows, batch_rows, at == 0, at + n_rows == batch_rows};
  }

  // A step is a chunk; steps count through all epochs.
  void run_epoch(Team::Member& member, std::int64_t& step, int thread, int n_pieces) {
    const bool fused = n_pieces <= slices_.count();
    member.run([&](int piece) {
      list_rows(piece, 0, step);
      list_rows(piece, 1, step + 1);
      if (fused) forward(piece, 0, step, slices_of(piece, n_pieces), all_rows(0));
    });
    for (std::ptrdiff_t index = 0; index < n_chunks_; ++index) {
      // The calling thread alone may run Python's signal handlers.
      if (thread == 0) poll(chunk_at(index));
      const Range rows = all_rows(index);
      if (fused) {
        member.run([&](int piece) {
          const Range mine = slices_of(piece, n_pieces);
          list_rows(piece, index + 2, step + 2);
          residual(piece, piece, index, step, rows);
          if (piece == 0) finish_step(index, step);
          for (std::ptrdiff_t s = mine.begin; s < mine.end; ++s) {
            const Range features = slices_.features(s);
            backward(piece, index, step, s, {0, features.end - features.begin});
          }
          forward(piece, index + 1, step + 1, mine, all_rows(index + 1));
        });
      } else {
        run_wide_step(member, index, step, n_pieces);
      }
      if (step++ >= last_step_) return;
    }
  }

  // More threads than slices: forward over slices and rows, softmax over rows, backward over
  // features. The results for the rows are in the first workspace.
  void run_wide_step(Team::Member& member, std::ptrdiff_t index, std::int64_t step, int n_pieces) {
    const std::ptrdiff_t n_slices = slices_.count();
    const std::ptrdiff_t n_rows = all_rows(index).end;
    // Pieces of one slice, some of its rows or features each.
    const auto for_slice = [&](int piece, const auto& f) {
      const auto per_slice = [&](std::ptrdiff_t s) {
        return (s * n_pieces + n_slices - 1) / n_slices;
      };
      const std::ptrdiff_t s = piece * n_slices / n_pieces;
      f(s, static_cast<int>(piece - per_slice(s)),
        static_cast<int>(per_slice(s + 1) - per_slice(s)));
    };
    member.run([&](int piece) {
      list_rows(piece, index + 1, step + 1);
      for_slice(piece, [&](std::ptrdiff_t s, int part, int n_parts) {
        forward(piece, index, step, {s, s + 1}, share(n_rows, 2, part, n_parts));
      });
    });
    member.run(
        [&](int piece) { residual(piece, 0, index, step, share(n_rows, 2, piece, n_pieces)); });
    member.run([&](int piece) {
      if (piece == 0) finish_step(index, step);
      for_slice(piece, [&](std::ptrdiff_t s, int part, int n_parts) {
        const Range features = slices_.features(s);
        const Range mine = share(features.end - features.begin, 16, part, n_parts);
        backward(0, index, step, s, mine);
      });
    });
  }

  Range slices_of(int piece, int n_pieces) const {
    return share(slices_.count(), 1, piece, n_pieces);
  }
  Range all_rows(std::ptrdiff_t index) const {
    return {0, index < n_chunks_ ? chunk_at(index).n_rows : 0};
  }
  RowList<In, T>& list_of(int piece, std::int64_t step) {
    return workspaces_[static_cast<std::size_t>(piece)]->lists[static_cast<std::size_t>(step % 3)];
  }
  T* parts_of(std::int64_t step, std::ptrdiff_t slice) {
    return parts_.data() + (step % 2 * slices_.count() + slice) * chunk_rows_ * row_stride_;
  }
  T* b_of(std::int64_t step) { return b_.data() + step % 2 * row_stride_; }

  void list_rows(int piece, std::ptrdiff_t index, std::int64_t step) {
    if (index >= n_chunks_) return;
    const Chunk chunk = chunk_at(index);
    RowList<In, T>& list = list_of(piece, step);
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
      const std::ptrdiff_t at = chunk.begin + i, row = options_.shuffle ? order_[at] : at;
      list.rows[i] = data_ + row * X_.row_stride;
      list.labels[i] = labels_[row];
      if (sample_weight_) list.weights[i] = sample_weight_[row];
    }
  }

  SliceOfRows<In, T> slice_of_rows(int piece, std::int64_t step, Range mine, std::ptrdiff_t slice) {
    const Range features = slices_.features(slice);
    return {list_of(piece, step).rows.data() + mine.begin,
            masks_[static_cast<std::size_t>(step % 2)].of_row.data() + mine.begin,
            mine.end - mine.begin,
            features.begin,
            slice * words_per_slice_,
            features.end - features.begin,
            state_.n_classes,
            slices_.panel_stride()};
  }

  // Some rows of a chunk to their parts of the logits; the same ones of the next chunk are fetched.
  void forward(int piece, std::ptrdiff_t index, std::int64_t step, Range slices, Range mine) {
    const std::ptrdiff_t n_rows = mine.end - mine.begin;
    const std::ptrdiff_t n_later = all_rows(index + 1).end - mine.begin;
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
    a.gradient_scale = T(1) / static_cast<T>(chunk_at(index).batch_rows);
    a.dlogits = to.dlogits.data() + mine.begin * row_stride_;
    a.losses = to.losses.data() + mine.begin;
    arithmetic_.cross_entropy_of_parts(a);
  }

  // Some features of a slice one step on, or of the gradient one chunk on.
  void backward(int owner, std::ptrdiff_t index, std::int64_t step, std::ptrdiff_t slice,
                Range mine) {
    const Chunk chunk = chunk_at(index);
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

  // Losses and intercepts, from the first workspace. The intercepts of the next step go to the
  // other half of their buffer: other threads may not have read these yet.
  void finish_step(std::ptrdiff_t index, std::int64_t step) {
    if (stop_asked_) last_step_ = step;
    const Chunk chunk = chunk_at(index);
    Workspace<In, T>& from = *workspaces_[0];
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i)
      epoch_loss_ += static_cast<double>(from.losses[i]);
    std::copy_n(b_of(step), state_.n_classes, b_of(step + 1));
    if (options_.fit_intercept) update_bias(chunk, from.dlogits.data(), b_of(step + 1));
  }

  void update_bias(const Chunk& chunk, const T* dlogits, T* b) {
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

  // Asks whether to stop, now and then: the clock costs as much as a step of a single small row.
  void poll(const Chunk& chunk) {
    constexpr double kProductsBetweenLooks = 1e6;
    constexpr auto kBetweenPolls = std::chrono::milliseconds(30);
    products_since_look_ +=
        static_cast<double>(chunk.n_rows * X_.n_cols) * static_cast<double>(state_.n_classes);
    if (!stop_requested_ || products_since_look_ < kProductsBetweenLooks) return;
    products_since_look_ = 0.0;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_poll_ < kBetweenPolls) return;
    last_poll_ = now;
    if (stop_requested_()) stop_asked_ = true;
  }

  // step is the number of the next step.
  void end_epoch(std::int64_t epoch, std::int64_t step) {
    std::copy_n(b_of(step), state_.n_classes, state_.b);
    if (stop_asked_) {
      result_.stopped = true;
      last_epoch_ = epoch;
      return;
    }
    const double loss = epoch_loss_ / total_weight_;
    loss_curve_[epoch] = loss;
    result_.n_epochs = epoch + 1;
    const auto finite = [](T x) { return std::isfinite(x); };
    result_.diverged = !std::isfinite(loss) ||
                       !std::all_of(W_.data(), W_.data() + W_.size(), finite) ||
                       !std::all_of(state_.b, state_.b + state_.n_classes, finite);
    if (result_.diverged) last_epoch_ = epoch;
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
  double* const loss_curve_;
  const StopRequested& stop_requested_;
  const std::ptrdiff_t batch_size_, chunk_rows_, chunks_per_batch_, n_chunks_;
  const std::ptrdiff_t row_stride_;  // of parts_, dlogits and b_
  const Slices<T> slices_;
  const std::ptrdiff_t words_per_slice_;
  const bool sparse_;

  AlignedBuffer<std::int64_t> order_;
  std::array<Masks, 2> masks_;  // of two steps in turn
  AlignedBuffer<T> parts_;   // (2, slices, chunk_rows, row_stride), of two steps in turn
  AlignedBuffer<T> b_, db_;  // (2, row_stride), likewise; (row_stride)
  AlignedBuffer<T> W_, velocity_, gradient_;
  std::vector<std::unique_ptr<Workspace<In, T>>> workspaces_;  // of each piece

  Team team_;
  SgdResult result_;
  // All threads must go through the same phases, those too that come to them late. So the end is
  // given as the number of the last step and of the last epoch, and not as a flag, which a late
  // thread would heed too early.
  std::atomic<bool> stop_asked_{false};
  std::atomic<std::int64_t> last_step_{INT64_MAX}, last_epoch_;
  double epoch_loss_ = 0.0, total_weight_ = 0.0, products_since_look_ = 0.0;
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
};

}  // namespace

template <class T>
SgdResult fit_sgd(const InputView& X, const std::int64_t* labels, const T* sample_weight,
                  const SgdOptions& options, const SgdState<T>& state, double* loss_curve,
                  const StopRequested& stop_requested) {
  if (X.n_rows < 1 || X.n_cols < 1 || state.n_classes < 1 || options.batch_size < 1) {
    throw std::invalid_argument("fit_sgd needs at least one row, feature, class and row a batch");
  }
  check_labels(labels, X.n_rows, state.n_classes);
  return with_storage<T>(X, [&](const auto* data) {
    return SgdRun(data, X, labels, sample_weight, options, state, loss_curve, stop_requested).run();
  });
}

template SgdResult fit_sgd<float>(const InputView&, const std::int64_t*, const float*,
                                  const SgdOptions&, const SgdState<float>&, double*,
                                  const StopRequested&);
template SgdResult fit_sgd<double>(const InputView&, const std::int64_t*, const double*,
                                   const SgdOptions&, const SgdState<double>&, double*,
                                   const StopRequested&);

}  // namespace fastsoftmax
