// How a fit of logistic regressions begins: in which arithmetic, and with a few iterations on
// samples of the rows.
#include <algorithm>
#include <cmath>
#include <vector>

#include "dispatch.h"
#include "logistic/common_part.h"
#include "solvers/logistic_fit.h"

namespace fastsoftmax {
namespace {

// Pairs of L-BFGS, one for so many entries of X in each feature: a pair costs what some rows do in
// a pass, and saves few passes beside the preconditioner. Seconds with 5, 10, 20, 50 (Zen 4): 1000
// x 20,000 sparse (2 entries a feature) 1.2, 2.1, 2.3, 4.6; 400 x 1024 of 50 classes 0.67, 0.73,
// 0.95, 3.1; 3,000 images of MNIST 0.15, 0.13, 0.16, 0.19; 60,000 at C = 100 7.4, 7.0, 6.4, 5.7.
constexpr double kEntriesOfPair = 100.0, kLeastMemory = 5.0, kManyPairs = 50.0;
// As many as fit into the cache cost nothing, and help where scales and weights are wide apart: of
// 2500 such fits of up to 800 x 30 rounding or max_iter ended 49, not 74. Without a penalty there
// is no end to some weights of 400 x 200 sparse rows: 30 pairs were not there after 1000
// iterations, 100 after 266. Fewer where those of all models would take more than 1 GB.
constexpr double kCachedBytes = 256 << 10, kMostMemory = 100.0, kHistoryBytes = 1 << 30;

// Points of a certificate, whose program grows with their square: with 100 an iteration of 200 x 50
// of three classes took 4 ms, with 10 0.06, and as many of them.
constexpr std::ptrdiff_t kMostPoints = 11;

// Iterations on one row of so many, before all rows. Samples of fewer rows are not worth it, nor
// those with fewer entries for each weight: 20,000 x 768 embeddings of 1000 classes are at a gap of
// 1e-4 after 6 passes without samples, after 18 with a quarter first. Iterations (16; 12; 25 and
// 20): MNIST at C = 1 took 151, 149, 174 passes, at C = 0.01 42, 45, 47, before those directions.
struct Stage {
  std::ptrdiff_t stride;
  int n_iter;
};
constexpr Stage kStages[] = {{16, 16}, {4, 16}};
constexpr std::ptrdiff_t kLeastSample = 1000;
constexpr double kLeastEntries = 16.0;

// Objectives in float32 were off by up to 5e-8 of themselves (70 classes, 9 features): a gap is
// claimed in it down to ten times that.
constexpr double kLeastFloat32Tol = 5e-7;
// With so few features float64 costs little, and means of 1e5 beside a spread of 1 nothing.
constexpr std::ptrdiff_t kFewFeatures = 16;
// With products of reduced precision they were off by up to 3.4e-6 (70 classes, 17 features).
constexpr double kLeastReducedTol = 5e-5;
// Means of features, in parts of their spread, up to which rounding is 1e-4 of that. Passes of
// 6,000 x 128 embeddings of 100 classes to 1e-4, of reduced precision, of float32 and of float64:
// where means are 10 times the spread 28, 28, 28; 100 times 435, 86, 35; 1e4 times -, 469, 35.
// Milliseconds of float32 and float64, means 30, 60, 100 and 300 times the spread (Zen 4): 2,000 x
// 20 of 80 classes 36 and 24, 46 and 28, 47 and 29, 54 and 29; 20,000 x 64 of 10 29 and 40, 26 and
// 36, 78 and 37, 83 and 39.
constexpr double kReducedShift = 8.0, kSingleShift = 64.0;

// Whether the squares of the inputs fit float32, by some rows.
template <class In>
bool fits_float32(const In* data, std::ptrdiff_t n, double scale) {
  double largest = 0.0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(data[i])) * scale);
  }
  return largest == 0.0 || (largest > 1e-10 && largest < 1e12);
}

// Of features that are not constant, by some rows.
double largest_mean_in_spreads(const float* data, std::ptrdiff_t n, std::ptrdiff_t d,
                               std::ptrdiff_t row_stride) {
  const std::ptrdiff_t n_rows = std::min(n, std::clamp<std::ptrdiff_t>(1000000 / d, 16, 256));
  std::vector<double> sum(static_cast<std::size_t>(d)), squares(sum);
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
    const float* row = data + i * n / n_rows * row_stride;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      const double from_first = static_cast<double>(row[f]) - static_cast<double>(data[f]);
      sum[static_cast<std::size_t>(f)] += from_first;
      squares[static_cast<std::size_t>(f)] += from_first * from_first;
    }
  }
  double largest = 0.0;
  for (std::ptrdiff_t f = 0; f < d; ++f) {
    const double mean = sum[static_cast<std::size_t>(f)] / static_cast<double>(n_rows);
    const double variance =
        squares[static_cast<std::size_t>(f)] / static_cast<double>(n_rows) - mean * mean;
    if (!(variance > 0.0)) continue;
    largest =
        std::max(largest, std::abs(static_cast<double>(data[f]) + mean) / std::sqrt(variance));
  }
  return largest;
}

}  // namespace

std::unique_ptr<LogisticLoss> LogisticFit::make(Arithmetic arithmetic) {
  const bool needs_hessian =
      uses_newton_ || std::any_of(out_.penalty, out_.penalty + out_.n_models,
                                  [](double penalty) { return !(penalty > 0.0); });
  return make_loss(problem_, arithmetic, out_.n_models, needs_hessian, options_.n_threads, stop_);
}

// From here on; the products there are may know better than was asked for.
void LogisticFit::calculate_in(Arithmetic arithmetic) {
  loss_.reset();
  loss_ = make(arithmetic);
  arithmetic_ = loss_->arithmetic();
  for (Model& model : models_) model.solver->set_noise(of_arithmetic(1e-6, 3e-8, 1e-13));
}

// The fastest that shows the gap that is asked for. What is not proven, or solved with products of
// Hessians, gets what float32 has.
Arithmetic LogisticFit::first_arithmetic() const {
  const bool is_rounded = problem_.dense && problem_.dense->storage == Storage::kFloat32;
  const double shift =
      is_rounded ? largest_mean_in_spreads(static_cast<const float*>(problem_.dense->data), n_, d_,
                                           problem_.dense->row_stride)
                 : 0.0;
  if (limits_.in_double || shift > kSingleShift || needs_double()) return Arithmetic::kDouble;
  const bool is_proven = std::all_of(out_.penalty, out_.penalty + out_.n_models,
                                     [](double penalty) { return penalty > 0.0; });
  return can_reduce_precision() && options_.tol >= kLeastReducedTol && shift <= kReducedShift &&
                 is_proven && !uses_newton_
             ? Arithmetic::kReduced
             : Arithmetic::kSingle;
}

// Gaps below what float32 can show, few features, or inputs that it cannot work with.
bool LogisticFit::needs_double() const {
  if (options_.tol < kLeastFloat32Tol || d_ <= kFewFeatures) return true;
  if (problem_.csr) {
    if (problem_.csr->storage != Storage::kFloat32) return false;
    const auto* data = static_cast<const float*>(problem_.csr->data);
    return !fits_float32(data + problem_.csr->begin_of_row(0), problem_.csr->n_entries(),
                         std::abs(problem_.input_scale));
  }
  if (problem_.dense->storage != Storage::kFloat32) return false;
  constexpr std::ptrdiff_t kRowsToTry = 256;
  const auto* data = static_cast<const float*>(problem_.dense->data);
  for (std::ptrdiff_t i = 0; i < std::min(n_, kRowsToTry); ++i) {
    const std::ptrdiff_t row = i * n_ / std::min(n_, kRowsToTry);
    if (!fits_float32(data + row * problem_.dense->row_stride, d_,
                      std::abs(problem_.input_scale))) {
      return true;
    }
  }
  return false;
}

void LogisticFit::make_models() {
  const double pair_bytes = 16.0 * static_cast<double>(size_);
  const double of_feature = static_cast<double>(problem_.n_entries()) / static_cast<double>(d_);
  const double worth =
      std::max(std::min(of_feature / kEntriesOfPair, kManyPairs), kCachedBytes / pair_bytes);
  const auto memory = [&](double pairs) {
    const double most =
        std::min(kMostMemory, kHistoryBytes / (pair_bytes * static_cast<double>(out_.n_models)));
    return static_cast<std::ptrdiff_t>(std::max(kLeastMemory, std::min(pairs, most)));
  };
  max_points_ = std::min(memory(worth) + 1, kMostPoints);
  AlignedBuffer<double> start(size_);
  for (std::ptrdiff_t m = 0; m < out_.n_models; ++m) {
    Model model;
    model.penalty = out_.penalty[m];
    model.held_out = out_.held_out ? out_.held_out[m] : -1;
    model.solver = std::make_unique<Lbfgs>(size_, memory(model.penalty > 0.0 ? worth : kMostMemory),
                                           options_.n_threads);
    std::fill_n(start.data(), size_, 0.0);
    if (options_.warm) {
      std::copy_n(out_.W + m * n_outputs_ * d_, n_outputs_ * d_, start.data());
      if (problem_.fit_intercept) {
        std::copy_n(out_.b + m * n_outputs_, n_outputs_, start.data() + n_outputs_ * d_);
      }
      remove_common_part(start.data(), n_outputs_, d_, options_.n_threads);  // no step does that
    }
    model.solver->start(start.data());
    model.by_newton = options_.solver == LogisticSolver::kNewtonCg;
    models_.push_back(std::move(model));
  }
}

bool LogisticFit::is_worth_a_stage(std::ptrdiff_t n_rows) const {
  return n_rows >= kLeastSample && static_cast<double>(n_rows) * loss_->entries_per_row() >=
                                       kLeastEntries * static_cast<double>(n_outputs_ * d_);
}

// Whether the first pass is one over all rows, at constant probabilities: sums over X tell all of
// it.
bool LogisticFit::starts_on_all_rows() const {
  return !options_.warm &&
         std::none_of(std::begin(kStages), std::end(kStages),
                      [&](const Stage& s) { return is_worth_a_stage(n_ / s.stride); });
}

// The loss and its gradient where all parameters are zero, if the sums over X are known.
bool LogisticFit::evaluate_at_zero(Model& model) {
  const auto found = class_sums_.find(model.held_out);
  if (!is_at_zero(model) || found == class_sums_.end()) return false;
  const ClassSums& sums = found->second;
  const double p = 1.0 / static_cast<double>(problem_.n_classes);
  double* gradient = model.solver->trial_gradient();
  for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
    const double* of_class = sums.class_sums.data() + r * d_;
    for (std::ptrdiff_t f = 0; f < d_; ++f) {
      gradient[r * d_ + f] = p * sums.sum[static_cast<std::size_t>(f)] - of_class[f];
    }
    gradient[n_outputs_ * d_ + r] =
        p * sums.total_weight - sums.weight[static_cast<std::size_t>(r)];
  }
  model.objective = zero_objective(model);
  return true;
}

void LogisticFit::run_stages() {
  for (const Stage& stage : kStages) {
    if (!is_worth_a_stage(n_ / stage.stride)) continue;
    run_stage(Rows{n_, stage.stride, options_.seed + static_cast<std::uint64_t>(stage.stride)},
              stage.n_iter);
    if (stop_.stopped()) return;
  }
}

// Some iterations on a sample.
void LogisticFit::run_stage(const Rows& rows, int n_iter) {
  has_started_ = true;
  for (Model& model : models_) {
    model.active = model.wave == 0 && sample_scale(rows, model.held_out) > 0.0;
    model.stage_iter = 0;
  }
  while (any_active()) {
    evaluate(rows);
    if (stop_.stopped()) return;
    for_models([&](Model& model, std::ptrdiff_t) {
      if (!model.active) return;
      double loss;
      const Lbfgs::Outcome outcome = tell(model, &loss);
      if (outcome == Lbfgs::Outcome::kSearching) return;
      // The sample's optimum is not that of all rows: no need to come nearer.
      if (outcome == Lbfgs::Outcome::kStuck || model.stage_iter++ >= n_iter) {
        model.active = false;
        return;
      }
      model.solver->advance(preconditioner_of(model));
      if (model.stage_iter > 3 && model.solver->decrement() < 1e-4 * model.objective) {
        model.active = false;
      }
    });
  }
  for (Model& model : models_) {
    if (model.wave == 0) model.solver->restart();
  }
}

}  // namespace fastsoftmax
