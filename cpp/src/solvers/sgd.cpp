// Mini-batch gradient descent: one threaded region for all epochs, two phases a step.
//
// A step is a forward pass, whose pieces take some rows of the batch to their dlogits, and a
// backward pass, whose pieces take some features of W one step on. No sum crosses pieces, so the
// bits do not depend on their number or on who does them. A batch that is larger than the cache
// comes in chunks of rows; only then is there a gradient buffer.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "aligned_buffer.h"
#include "fastsoftmax/objective.h"
#include "fastsoftmax/solvers.h"
#include "parallel.h"
#include "storage.h"
#include "zero_blocks.h"

namespace fastsoftmax {
namespace {

// The rows of a chunk and their logits stay in a second-level cache of 1 MB between the two passes:
// the tutorial's batch, 100 x (784 + 10) float32, is 318 KB and one chunk.
constexpr std::ptrdiff_t kChunkBytes = 512 << 10, kMinChunkRows = 32;

template <class In, class T>
std::ptrdiff_t chunk_rows(std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
                          std::ptrdiff_t batch_size) {
  const auto row_bytes = n_features * static_cast<std::ptrdiff_t>(sizeof(In)) +
                         n_classes * static_cast<std::ptrdiff_t>(sizeof(T));
  return std::min({batch_size, std::max(kMinChunkRows, kChunkBytes / row_bytes), kMaxMaskedRows});
}

// Up to so many classes, and if there are samples to fill a vector of AVX2, the logits of a chunk
// lie class-major, and softmax runs along the samples.
constexpr std::ptrdiff_t kClassMajorUpTo = 32, kClassMajorRows = 8;

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
        class_major_(state.n_classes <= kClassMajorUpTo && chunk_rows_ >= kClassMajorRows),
        row_stride_(class_major_ ? 1 : state.n_classes),
        class_stride_(class_major_ ? chunk_rows_ : 1),
        mask_words_((X.n_cols / kernels_.block_features + 63) / 64),
        sparse_(has_zero_blocks(kernels_, data, X, mask_words_)),
        order_(options.shuffle ? X.n_rows : 0),
        masks_(sparse_ ? X.n_rows * mask_words_ : 0),
        chunk_(chunk_rows_),
        next_(chunk_rows_),
        chunk_masks_(sparse_ ? chunk_rows_ : 0),
        next_masks_(sparse_ ? chunk_rows_ : 0),
        chunk_labels_(chunk_rows_),
        chunk_weights_(sample_weight ? chunk_rows_ : 0),
        losses_(chunk_rows_),
        dlogits_(chunk_rows_ * state.n_classes),
        db_(state.n_classes),
        gradient_(chunk_rows_ < batch_size_ ? state.n_classes * X.n_cols : 0),
        team_(options.n_threads),
        last_epoch_(options.n_epochs - 1) {
    // Until a row's mask is known, any block may hold something.
    std::fill_n(masks_.data(), masks_.size(), ~std::uint64_t{0});
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
        run_epoch(member, epoch, step, thread, n_threads);
        run_alone(member, [&] { end_epoch(epoch); });
      }
    });
    return result_;
  }

 private:
  struct Chunk {
    std::int64_t epoch;
    std::ptrdiff_t begin, n_rows;  // in the order of the epoch
    std::ptrdiff_t batch_rows;
    bool first, last;  // of its batch
  };

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

  void run_epoch(Team::Member& member, std::int64_t epoch, std::int64_t& step, int thread,
                 int n_pieces) {
    for (std::ptrdiff_t batch = 0; batch < X_.n_rows; batch += batch_size_) {
      const std::ptrdiff_t batch_rows = std::min(batch_size_, X_.n_rows - batch);
      for (std::ptrdiff_t at = 0; at < batch_rows; at += chunk_rows_) {
        const std::ptrdiff_t n_rows = std::min(chunk_rows_, batch_rows - at);
        const Chunk chunk{epoch,      batch + at, n_rows,
                          batch_rows, at == 0,    at + n_rows == batch_rows};
        member.run([&](int piece) { forward(chunk, share(n_rows, 2, piece, n_pieces)); });
        // The calling thread alone may run Python's signal handlers.
        if (thread == 0) poll(chunk);
        member.run([&](int piece) {
          backward(chunk, share(X_.n_cols, 64, piece, n_pieces));
          if (piece == 0) finish_step(chunk, step);
        });
        if (step++ >= last_step_) return;
      }
    }
  }

  std::ptrdiff_t row_at(std::ptrdiff_t position) const {
    return options_.shuffle ? order_[position] : position;
  }

  // Rows of the chunk to losses and dlogits.
  void forward(const Chunk& chunk, Range mine) {
    const std::ptrdiff_t n_rows = mine.end - mine.begin, first = mine.begin;
    if (n_rows == 0) return;
    for (std::ptrdiff_t i = first; i < mine.end; ++i) {
      const std::ptrdiff_t row = row_at(chunk.begin + i);
      chunk_[i] = data_ + row * X_.row_stride;
      chunk_labels_[i] = labels_[row];
      if (sample_weight_) chunk_weights_[i] = sample_weight_[row];
      if (sparse_) chunk_masks_[i] = masks_.data() + row * mask_words_;
    }
    if (sparse_ && chunk.epoch == 0) {
      kernels_.find_nonzero(chunk_.data() + first, n_rows, X_.n_cols, chunk_masks_.data() + first);
    }
    const std::ptrdiff_t next_begin = chunk.begin + chunk.n_rows + first;
    const std::ptrdiff_t n_next = std::clamp<std::ptrdiff_t>(X_.n_rows - next_begin, 0, n_rows);
    for (std::ptrdiff_t i = 0; i < n_next; ++i) {
      const std::ptrdiff_t row = row_at(next_begin + i);
      next_[first + i] = data_ + row * X_.row_stride;
      if (sparse_) next_masks_[first + i] = masks_.data() + row * mask_words_;
    }
    T* dlogits = dlogits_.data() + first * row_stride_;
    kernels_.logits({chunk_.data() + first, sparse_ ? chunk_masks_.data() + first : nullptr,
                     next_.data() + first, sparse_ ? next_masks_.data() + first : nullptr, n_rows,
                     n_next, X_.n_cols, state_.n_classes, state_.W, state_.b,
                     static_cast<T>(options_.input_scale), dlogits, row_stride_, class_stride_});
    const T* weights = sample_weight_ ? chunk_weights_.data() + first : nullptr;
    const T gradient_scale = T(1) / static_cast<T>(chunk.batch_rows);
    if (class_major_) {
      arithmetic_.cross_entropy_columns(dlogits, class_stride_, n_rows, state_.n_classes,
                                        chunk_labels_.data() + first, weights, gradient_scale,
                                        losses_.data() + first);
    } else {
      arithmetic_.cross_entropy(dlogits, n_rows, state_.n_classes, chunk_labels_.data() + first,
                                weights, gradient_scale, dlogits, losses_.data() + first);
    }
  }

  // Features of W one step on, or of the gradient one chunk on.
  void backward(const Chunk& chunk, Range mine) {
    SgdUpdate<In, T> update{};
    update.rows = chunk_.data();
    update.masks = sparse_ ? chunk_masks_.data() : nullptr;
    update.n_rows = chunk.n_rows;
    update.dlogits = dlogits_.data();
    update.row_stride = row_stride_;
    update.class_stride = class_stride_;
    update.n_classes = state_.n_classes;
    update.n_features = X_.n_cols;
    update.feature_begin = mine.begin;
    update.feature_end = mine.end;
    update.W = state_.W;
    update.velocity = state_.velocity_W;
    update.gradient = gradient_.data();
    update.first_chunk = chunk.first;
    update.last_chunk = chunk.last;
    update.learning_rate = static_cast<T>(options_.learning_rate);
    update.alpha = static_cast<T>(options_.alpha);
    update.momentum = static_cast<T>(options_.momentum);
    update.input_scale = static_cast<T>(options_.input_scale);
    update.nesterov = options_.nesterov;
    kernels_.sgd_update(update);
  }

  void finish_step(const Chunk& chunk, std::int64_t step) {
    if (stop_asked_) last_step_ = step;
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i)
      epoch_loss_ += static_cast<double>(losses_[i]);
    if (options_.fit_intercept) update_bias(chunk);
  }

  void update_bias(const Chunk& chunk) {
    if (chunk.first) std::fill_n(db_.data(), state_.n_classes, T(0));
    if (class_major_) {
      arithmetic_.add_column_sums(dlogits_.data(), class_stride_, chunk.n_rows, state_.n_classes,
                                  db_.data());
    } else {
      for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
        for (std::ptrdiff_t c = 0; c < state_.n_classes; ++c) {
          db_[c] += dlogits_[i * row_stride_ + c];
        }
      }
    }
    if (!chunk.last) return;
    const T rate = static_cast<T>(options_.learning_rate);
    const T momentum = static_cast<T>(options_.momentum);
    for (std::ptrdiff_t c = 0; c < state_.n_classes; ++c) {
      const T step = -rate * db_[c];
      if (!state_.velocity_b) {
        state_.b[c] += step;
        continue;
      }
      T& velocity = state_.velocity_b[c];
      velocity = momentum * velocity + step;
      state_.b[c] += options_.nesterov ? momentum * velocity + step : velocity;
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

  void end_epoch(std::int64_t epoch) {
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
                       !std::all_of(state_.W, state_.W + state_.n_classes * X_.n_cols, finite) ||
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
  const std::ptrdiff_t batch_size_, chunk_rows_;
  const bool class_major_;
  const std::ptrdiff_t row_stride_, class_stride_;  // of dlogits_
  const std::ptrdiff_t mask_words_;
  const bool sparse_;

  AlignedBuffer<std::int64_t> order_;
  AlignedBuffer<std::uint64_t> masks_;  // of each row of X, found in the first epoch
  AlignedBuffer<const In*> chunk_, next_;
  AlignedBuffer<std::uint64_t*> chunk_masks_, next_masks_;
  AlignedBuffer<std::int64_t> chunk_labels_;
  AlignedBuffer<T> chunk_weights_, losses_, dlogits_, db_, gradient_;

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
