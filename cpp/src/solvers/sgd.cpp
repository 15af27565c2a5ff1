// Mini-batch gradient descent: one threaded region for all epochs, one meeting of the threads a
// step.
//
// A thread owns slices of the features (slices.h). In a phase it takes the logits' parts, which all
// threads have left, to dlogits, for itself; moves its slices of W one step; and leaves its parts
// of the next batch's logits. Where there are more threads than slices, the three are phases of
// their own, over pieces of slices and rows. No sum depends on who does what, so the bits do not
// either. A batch that is larger than the cache comes in chunks of rows; only then is there a
// gradient buffer.
#include <atomic>
#include <chrono>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "fastsoftmax/objective.h"
#include "fastsoftmax/solvers.h"
#include "parallel.h"
#include "solvers/sgd_step.h"
#include "storage.h"

namespace fastsoftmax {
namespace {

template <class In, class T>
class SgdRun {
 public:
  SgdRun(const In* data, const InputView& X, const std::int64_t* labels, const T* sample_weight,
         const SgdOptions& options, const SgdState<T>& state, double* loss_curve,
         const StopRequested& stop_requested)
      : options_(options),
        loss_curve_(loss_curve),
        stop_requested_(stop_requested),
        total_weight_(sample_weight ? std::accumulate(sample_weight, sample_weight + X.n_rows, 0.0)
                                    : static_cast<double>(X.n_rows)),
        products_per_row_(static_cast<double>(X.n_cols) * static_cast<double>(state.n_classes)),
        batches_(X.n_rows,
                 X.n_cols * static_cast<std::ptrdiff_t>(sizeof(In)) +
                     state.n_classes * static_cast<std::ptrdiff_t>(sizeof(T)),
                 options),
        step_(data, X, labels, sample_weight, options, state, batches_),
        team_(options.n_threads),
        last_epoch_(options.n_epochs - 1) {}

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
    step_.store_weights();
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
    batches_.shuffle(options_.seed, options_.first_epoch + epoch);
  }

  // A step is a chunk; steps count through all epochs.
  void run_epoch(Team::Member& member, std::int64_t& step, int thread, int n_pieces) {
    const bool fused = n_pieces <= step_.slices().count();
    member.run([&](int piece) {
      step_.list_rows(piece, 0, step);
      step_.list_rows(piece, 1, step + 1);
      if (fused) step_.forward(piece, 0, step, slices_of(piece, n_pieces), all_rows(0));
    });
    for (std::ptrdiff_t index = 0; index < batches_.count(); ++index) {
      // The calling thread alone may run Python's signal handlers.
      if (thread == 0) poll(batches_.chunk(index).n_rows);
      const Range rows = all_rows(index);
      if (fused) {
        member.run([&](int piece) {
          const Range mine = slices_of(piece, n_pieces);
          step_.list_rows(piece, index + 2, step + 2);
          step_.residual(piece, piece, index, step, rows);
          if (piece == 0) finish(index, step);
          for (std::ptrdiff_t s = mine.begin; s < mine.end; ++s) {
            const Range features = step_.slices().features(s);
            step_.backward(piece, index, step, s, {0, features.end - features.begin});
          }
          step_.forward(piece, index + 1, step + 1, mine, all_rows(index + 1));
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
    const std::ptrdiff_t n_slices = step_.slices().count();
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
      step_.list_rows(piece, index + 1, step + 1);
      for_slice(piece, [&](std::ptrdiff_t s, int part, int n_parts) {
        step_.forward(piece, index, step, {s, s + 1}, share(n_rows, 2, part, n_parts));
      });
    });
    member.run([&](int piece) {
      step_.residual(piece, 0, index, step, share(n_rows, 2, piece, n_pieces));
    });
    member.run([&](int piece) {
      if (piece == 0) finish(index, step);
      for_slice(piece, [&](std::ptrdiff_t s, int part, int n_parts) {
        const Range features = step_.slices().features(s);
        const Range mine = share(features.end - features.begin, 16, part, n_parts);
        step_.backward(0, index, step, s, mine);
      });
    });
  }

  Range slices_of(int piece, int n_pieces) const {
    return share(step_.slices().count(), 1, piece, n_pieces);
  }
  Range all_rows(std::ptrdiff_t index) const { return {0, batches_.rows_of_chunk(index)}; }

  void finish(std::ptrdiff_t index, std::int64_t step) {
    if (stop_asked_) last_step_ = step;
    epoch_loss_ += step_.finish(index, step);
  }

  // Asks whether to stop, now and then: the clock costs as much as a step of a single small row.
  void poll(std::ptrdiff_t n_rows) {
    constexpr double kProductsBetweenLooks = 1e6;
    constexpr auto kBetweenPolls = std::chrono::milliseconds(30);
    products_since_look_ += static_cast<double>(n_rows) * products_per_row_;
    if (!stop_requested_ || products_since_look_ < kProductsBetweenLooks) return;
    products_since_look_ = 0.0;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_poll_ < kBetweenPolls) return;
    last_poll_ = now;
    if (stop_requested_()) stop_asked_ = true;
  }

  // step is the number of the next step.
  void end_epoch(std::int64_t epoch, std::int64_t step) {
    step_.store_intercepts(step);
    if (stop_asked_) {
      result_.stopped = true;
      last_epoch_ = epoch;
      return;
    }
    const double loss = epoch_loss_ / total_weight_;
    loss_curve_[epoch] = loss;
    result_.n_epochs = epoch + 1;
    result_.diverged = !std::isfinite(loss) || !step_.is_finite();
    if (result_.diverged) last_epoch_ = epoch;
  }

  const SgdOptions options_;
  double* const loss_curve_;
  const StopRequested& stop_requested_;
  const double total_weight_, products_per_row_;

  Batches batches_;
  SgdStep<In, T> step_;
  Team team_;
  SgdResult result_;
  // All threads must go through the same phases, those too that come to them late. So the end is
  // given as the number of the last step and of the last epoch, and not as a flag, which a late
  // thread would heed too early.
  std::atomic<bool> stop_asked_{false};
  std::atomic<std::int64_t> last_step_{INT64_MAX}, last_epoch_;
  double epoch_loss_ = 0.0, products_since_look_ = 0.0;
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
