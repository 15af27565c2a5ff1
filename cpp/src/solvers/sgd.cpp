// Mini-batch gradient descent: one threaded region for all epochs. What a step does, and how
// threads share it, is the step's (panel_step.h, packed_step.h, byte_step.h). A batch that is
// larger than the cache comes in chunks of rows; only then is there a gradient buffer.
#include "fastsoftmax/sgd.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <type_traits>

#include "fastsoftmax/checks.h"
#include "parallel.h"
#include "solvers/byte_step.h"
#include "solvers/packed_step.h"
#include "solvers/panel_step.h"
#include "stop_poll.h"
#include "zero_blocks.h"

namespace fastsoftmax {
namespace {

// From so many classes on packed weights are faster. 784 features, batches of 100, two threads of a
// Zen 3, GFLOP/s in panels and packed: dense 61 and 75 for 32 classes, 54 and 105 for 316; images,
// as if dense, 63 and 41 for 26 classes, 65 and 80 for 32, 76 and 107 for 47, 69 and 150 for 316.
// Where single numbers of X are skipped, from fewer: 784 to 4096 features, batches of 100, one
// thread and two of a Zen 4, panels' time over packed weights': 12, 16, 20, 24, 28 and 31 classes
// 0.6, 0.9, 0.9, 1.1, 1.15 and 1.3 with vectors of AVX-512, 0.7, 0.9, 0.8, 1.05, 1.15 and 1.3 with
// those of AVX2, bytes 0.7, 0.8, 1.0, 1.2, 1.4 and 1.6; dense 0.8, 1.1, 0.75, 1.0, 1.0 and 1.15,
// and 0.6, 0.85, 0.7, 0.8, 0.75 and 0.9.
constexpr std::ptrdiff_t kManyClasses = 32, kManyWithZeros = 24;

template <class Step, class In, class T>
class SgdRun {
 public:
  SgdRun(const SgdProblem<In, T>& problem, double* loss_curve, const StopRequested& stop_requested)
      : options_(problem.options),
        loss_curve_(loss_curve),
        stop_(stop_requested),
        total_weight_(problem.sample_weight
                          ? std::accumulate(problem.sample_weight,
                                            problem.sample_weight + problem.X.n_rows, 0.0)
                          : static_cast<double>(problem.X.n_rows)),
        products_per_row_(static_cast<double>(problem.X.n_cols) *
                          static_cast<double>(problem.state.n_outputs)),
        batches_(problem.X.n_rows, Step::chunk_limits(problem), options_),
        step_(problem, batches_),
        team_(options_.n_threads),
        last_epoch_(options_.n_epochs - 1) {}

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
    step_.begin_epoch(member, step, n_pieces);
    for (std::ptrdiff_t index = 0; index < batches_.count(); ++index) {
      // The calling thread alone may run Python's signal handlers.
      if (thread == 0) poll(batches_.chunk(index).n_rows);
      step_.run(member, index, step, n_pieces, [&](const T* losses, std::ptrdiff_t n) {
        if (stop_.stopped()) last_step_ = step;
        double sum = 0.0;
        for (std::ptrdiff_t i = 0; i < n; ++i) sum += static_cast<double>(losses[i]);
        epoch_loss_ += sum;
      });
      if (step++ >= last_step_) return;
    }
  }

  // Asks whether to stop, now and then: the clock costs as much as a step of a single small row.
  void poll(std::ptrdiff_t n_rows) {
    constexpr double kProductsBetweenPolls = 1e6;
    products_since_poll_ += static_cast<double>(n_rows) * products_per_row_;
    if (products_since_poll_ < kProductsBetweenPolls) return;
    products_since_poll_ = 0.0;
    stop_.poll();
  }

  // step is the number of the next step.
  void end_epoch(std::int64_t epoch, std::int64_t step) {
    step_.store_intercepts(step);
    if (stop_.stopped()) {
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
  StopPoll stop_;
  const double total_weight_, products_per_row_;

  Batches batches_;
  Step step_;
  Team team_;
  SgdResult result_;
  // All threads must go through the same phases, those too that come to them late. So the end is
  // given as the number of the last step and of the last epoch, and not as a flag, which a late
  // thread would heed too early.
  std::atomic<std::int64_t> last_step_{INT64_MAX}, last_epoch_;
  double epoch_loss_ = 0.0, products_since_poll_ = 0.0;
};

}  // namespace

template <class T>
SgdResult fit_sgd(const InputView& X, const std::int64_t* labels, const T* sample_weight,
                  const SgdOptions& options, const SgdState<T>& state, double* loss_curve,
                  const StopRequested& stop_requested) {
  if (X.n_rows < 1 || X.n_cols < 1 || state.n_outputs < 1 || options.batch_size < 1 ||
      options.n_threads < 1) {
    throw std::invalid_argument(
        "fit_sgd needs at least one row, feature, output, row a batch and thread");
  }
  check_labels(labels, X.n_rows, std::max<std::ptrdiff_t>(2, state.n_outputs));
  return with_storage<T>(X, [&](const auto* data) {
    using In = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    const SgdProblem<In, T> problem{kernels(), data, X, labels, sample_weight, options, state};
    if constexpr (std::is_same_v<In, std::uint8_t> && std::is_same_v<T, float>) {
      if (ByteStep::fits(problem)) {
        return SgdRun<ByteStep, In, T>(problem, loss_curve, stop_requested).run();
      }
    }
    if (state.n_outputs >= kManyClasses ||
        (state.n_outputs >= kManyWithZeros && has_few_nonzero(data, X))) {
      return SgdRun<PackedStep<In, T>, In, T>(problem, loss_curve, stop_requested).run();
    }
    return SgdRun<PanelStep<In, T>, In, T>(problem, loss_curve, stop_requested).run();
  });
}

template SgdResult fit_sgd<float>(const InputView&, const std::int64_t*, const float*,
                                  const SgdOptions&, const SgdState<float>&, double*,
                                  const StopRequested&);
template SgdResult fit_sgd<double>(const InputView&, const std::int64_t*, const double*,
                                   const SgdOptions&, const SgdState<double>&, double*,
                                   const StopRequested&);

}  // namespace fastsoftmax
