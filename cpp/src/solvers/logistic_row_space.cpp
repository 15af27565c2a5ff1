// Fits of few rows of many features. With a penalty weights lie in the span of the rows, so what
// there is to find has as many features as X has rows, and a matrix of them for its preconditioner.
// Found there, it is gone on from in all features: one pass proves it, as a rule.
#include <algorithm>
#include <vector>

#include "fastsoftmax/threads.h"
#include "solvers/logistic_fit.h"
#include "solvers/row_space.h"
#include "solvers/vectors.h"
#include "storage.h"

namespace fastsoftmax {
namespace {

// Some of the models, in so many features, with numbers of their own.
class Selection {
 public:
  Selection(const std::vector<std::ptrdiff_t>& which, const LogisticModels& from,
            std::ptrdiff_t n_outputs, std::ptrdiff_t n_features)
      : which_(which),
        n_outputs_(n_outputs),
        n_weights_(n_outputs * n_features),
        W_(size(n_weights_)),
        b_(size(n_outputs)),
        objective_(size(1)),
        gap_(size(1)),
        float32_cost_(size(1)),
        n_passes_(size(1)),
        n_iter_(size(1)),
        status_(size(1)) {
    for (const std::ptrdiff_t m : which) {
      penalty_.push_back(from.penalty[m]);
      held_out_.push_back(from.held_out ? from.held_out[m] : -1);
    }
    models_.n_models = static_cast<std::ptrdiff_t>(which.size());
    models_.penalty = penalty_.data();
    models_.held_out = held_out_.data();
    models_.W = W_.data();
    models_.b = b_.data();
    models_.objective = objective_.data();
    models_.gap = gap_.data();
    models_.float32_cost = float32_cost_.data();
    models_.n_iter = n_iter_.data();
    models_.n_passes = n_passes_.data();
    models_.status = status_.data();
  }

  LogisticModels& models() { return models_; }
  double* W(std::size_t i) { return W_.data() + static_cast<std::ptrdiff_t>(i) * n_weights_; }
  double* b(std::size_t i) { return b_.data() + static_cast<std::ptrdiff_t>(i) * n_outputs_; }

  // All but W, n_iter and n_passes.
  void give_back(std::size_t i, LogisticModels& all) {
    const std::ptrdiff_t m = which_[i];
    std::copy_n(b(i), n_outputs_, all.b + m * n_outputs_);
    all.objective[m] = objective_[i];
    all.gap[m] = gap_[i];
    all.float32_cost[m] = float32_cost_[i];
    all.status[m] = status_[i];
  }

 private:
  std::size_t size(std::ptrdiff_t of_model) const {
    return which_.size() * static_cast<std::size_t>(of_model);
  }

  const std::vector<std::ptrdiff_t> which_;
  const std::ptrdiff_t n_outputs_, n_weights_;
  std::vector<double> penalty_, W_, b_, objective_, gap_, float32_cost_, n_passes_;
  std::vector<std::int32_t> held_out_;
  std::vector<std::int64_t> n_iter_;
  std::vector<LogisticStatus> status_;
  LogisticModels models_;
};

// What a fit through the row space takes, in passes over X of all models: X X' and its factor, two
// matrices for each preconditioner, some iterations. Rows of few outputs wait for their numbers,
// not for products with them, and small X for what is beside passes.
double passes_of_row_space(const LogisticProblem& problem, std::ptrdiff_t n_models) {
  constexpr double kBytesPerNs = 10.0, kBesideNs = 2e4;
  constexpr double kLeast = 4.0;  // easy fits are done by then
  const auto n = static_cast<double>(problem.n_rows()), d = static_cast<double>(problem.n_cols());
  const auto m = static_cast<double>(n_models);
  const double size = with_storage<double>(
      *problem.dense, [](const auto* data) { return static_cast<double>(sizeof(*data)); });
  const double plain_pass_ns = pass_ns(problem, n_models);
  const auto in_features = [&](double features, double bytes) {
    return std::max(plain_pass_ns * features / d, n * features * bytes / kBytesPerNs) +
           m * kBesideNs;
  };
  // Of several models each waits for the slowest.
  const double n_iterations = n_models > 1 ? 120.0 : 30.0;
  const double products = n * n * (0.5 * d + 5.0 * n * m);
  const double fit_ns = products / kProductsPerNs + n_iterations * in_features(n, 8.0);
  return std::max(kLeast, fit_ns / in_features(d, size));
}

class RowSpaceFit {
 public:
  RowSpaceFit(const LogisticProblem& problem, const LogisticOptions& options,
              LogisticModels& models, const FitProgress& progress, const StopRequested& stop)
      : problem_(problem),
        options_(options),
        models_(models),
        progress_(progress),
        stop_(stop),
        n_outputs_(problem.n_outputs()),
        n_weights_(n_outputs_ * problem.n_cols()) {}

  bool run() {
    // As any fit, for as many passes as the row space would take: who is done by then needs none.
    constexpr double kWorthIterations = 20.0;
    const double passes = passes_of_row_space(problem_, models_.n_models);
    const bool has_time = static_cast<double>(options_.max_iter) > passes + kWorthIterations;
    const FitLimits limits{has_time ? passes : HUGE_VAL, false};
    if (!LogisticFit(problem_, options_, models_, watched([] {}, true), stop_, limits).run()) {
      return false;
    }
    find_unfinished();
    if (unfinished_.empty() || is_ended_) return true;
    Selection rest(unfinished_, models_, n_outputs_, problem_.n_cols());
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      std::copy_n(W_of(i), n_weights_, rest.W(i));
      std::copy_n(models_.b + unfinished_[i] * n_outputs_, n_outputs_, rest.b(i));
    }
    if (options_.max_iter - n_iter_ > 1) {
      StopPoll poll(stop_);
      const RowSpace space(*problem_.dense, options_.n_threads, poll);
      if (poll.stopped()) return false;
      if (space.is_known() && !find(space, rest)) return false;
      if (is_ended_) return true;
    }
    return finish(rest);
  }

 private:
  double* W_of(std::size_t i) const { return models_.W + unfinished_[i] * n_weights_; }

  void find_unfinished() {
    for (std::ptrdiff_t m = 0; m < models_.n_models; ++m) {
      if (models_.status[m] != LogisticStatus::kStopped) continue;
      unfinished_.push_back(m);
      objective_before_.push_back(models_.objective[m]);
    }
    iter_before_.resize(unfinished_.size());
    passes_before_.resize(unfinished_.size());
    remember_counts();
  }

  void remember_counts() {
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      iter_before_[i] = models_.n_iter[unfinished_[i]];
      passes_before_[i] = models_.n_passes[unfinished_[i]];
      n_iter_ = std::max(n_iter_, iter_before_[i]);
    }
  }

  // The optima in the row space, nearer than is asked for: they are the rest, where they are
  // better. From zero: from where the rest is 200 x 5000 of 5 classes took 225 iterations, not 25.
  bool find(const RowSpace& space, Selection& rest) {
    constexpr double kPart = 0.01, kLeastTol = 1e-15;
    const InputView rows = space.rows();
    const std::vector<std::int64_t> labels = in_order(space, problem_.labels);
    const std::vector<double> weights = in_order(space, problem_.sample_weight);
    const std::vector<std::int32_t> fold_of_row = in_order(space, problem_.fold_of_row);
    LogisticProblem problem = problem_;
    problem.dense = &rows;
    problem.labels = labels.data();
    problem.sample_weight = problem_.sample_weight ? weights.data() : nullptr;
    problem.fold_of_row = problem_.fold_of_row ? fold_of_row.data() : nullptr;
    LogisticOptions options = options_;
    options.warm = false;
    options.tol = std::max(kPart * options.tol, std::min(options.tol, kLeastTol));
    options.max_iter -= n_iter_ + 1;
    Selection found(unfinished_, models_, n_outputs_, rows.n_cols);
    const double part = static_cast<double>(rows.n_cols) / static_cast<double>(problem_.n_cols());
    const auto tell = [&] {
      for (std::size_t i = 0; i < unfinished_.size(); ++i) {
        if (!(found.models().objective[i] < objective_before_[i])) continue;
        space.weights_of(found.W(i), n_outputs_, W_of(i));
        found.give_back(i, models_);
      }
      count(found.models(), part);
    };
    if (!LogisticFit(problem, options, found.models(), watched(tell, false), stop_).run()) {
      return false;
    }
    tell();
    remember_counts();
    models_.n_curvature_rows += found.models().n_curvature_rows;
    return is_ended_ || keep_better(found, rest);
  }

  // What there is of each row, in the order of the row space; nothing, if there is nothing.
  template <class T>
  static std::vector<T> in_order(const RowSpace& space, const T* of_rows) {
    std::vector<T> sorted;
    if (!of_rows) return sorted;
    for (const std::ptrdiff_t i : space.order()) sorted.push_back(of_rows[i]);
    return sorted;
  }

  // As far as all features tell: of means of 1e8 beside small spreads rounding leaves little.
  bool keep_better(Selection& found, Selection& rest) {
    StopPoll poll(stop_);
    const auto loss = make_loss(problem_, Arithmetic::kDouble, 1, false, options_.n_threads, poll);
    AlignedBuffer<double> at(n_weights_ + n_outputs_), gradient(at.size());
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      if (!(found.models().objective[i] < objective_before_[i])) continue;
      std::copy_n(W_of(i), n_weights_, at.data());
      std::copy_n(found.b(i), n_outputs_, at.data() + n_weights_);
      LossPoint point{at.data(), gradient.data(), 0.0, rest.models().held_out[i], 1.0};
      loss->evaluate(Rows{problem_.n_rows(), 1, 0}, &point, 1);
      if (poll.stopped()) return false;
      passes_before_[i] += 1.0;
      const double squared = dot(at.data(), at.data(), n_weights_, options_.n_threads);
      if (!(point.loss + 0.5 * rest.models().penalty[i] * squared < objective_before_[i])) continue;
      is_near_ = true;
      std::copy_n(at.data(), n_weights_, rest.W(i));
      std::copy_n(found.b(i), n_outputs_, rest.b(i));
    }
    return true;
  }

  // In all features, from where the rest is.
  bool finish(Selection& rest) {
    LogisticOptions options = options_;
    options.warm = true;
    options.max_iter = std::max<std::int64_t>(1, options.max_iter - n_iter_);
    const auto tell = [&] {
      for (std::size_t i = 0; i < unfinished_.size(); ++i) {
        std::copy_n(rest.W(i), n_weights_, W_of(i));
        rest.give_back(i, models_);
      }
      count(rest.models(), 1.0);
    };
    // Of float32 rounding is more than what there is left to find.
    const FitLimits limits{HUGE_VAL, is_near_};
    if (!LogisticFit(problem_, options, rest.models(), watched(tell, true), stop_, limits).run()) {
      return false;
    }
    tell();
    models_.n_curvature_rows += rest.models().n_curvature_rows;
    remember_counts();
    // Who is told of iterations alone has not heard of a proof that took none.
    if (progress_ && goes_on_ && !is_ended_ && n_iter_ > last_told_) progress_(n_iter_, false);
    return true;
  }

  // The iterations and passes of a fit to those before it; its passes are over that part of X.
  void count(const LogisticModels& found, double part) {
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      models_.n_iter[unfinished_[i]] = iter_before_[i] + found.n_iter[i];
      models_.n_passes[unfinished_[i]] = passes_before_[i] + part * found.n_passes[i];
    }
  }

  // The caller's progress, told by a fit that writes the models by tell() and, unless it is the
  // last, is gone on from.
  template <class F>
  FitProgress watched(const F& tell, bool is_last) {
    if (!progress_) return nullptr;
    return [this, tell, is_last, before = last_told_](std::int64_t iteration, bool goes_on) {
      tell();
      goes_on_ = goes_on || !is_last;
      last_told_ = before + iteration;
      is_ended_ = progress_(last_told_, goes_on_);
      return is_ended_;
    };
  }

  const LogisticProblem problem_;
  const LogisticOptions options_;
  LogisticModels& models_;
  const FitProgress& progress_;
  const StopRequested& stop_;
  const std::ptrdiff_t n_outputs_, n_weights_;
  std::vector<std::ptrdiff_t> unfinished_;
  std::vector<std::int64_t> iter_before_;  // of these
  std::vector<double> objective_before_, passes_before_;
  std::int64_t n_iter_ = 0;     // the most that a model has had
  std::int64_t last_told_ = 0;  // iteration, to progress
  bool is_near_ = false;        // something that was found in the row space is kept
  bool is_ended_ = false;       // by progress
  bool goes_on_ = false;        // as progress was told last
};

}  // namespace

bool has_row_space(const LogisticProblem& problem, const LogisticModels& models) {
  constexpr std::ptrdiff_t kMostRows = 11585;  // whose products are 1 GB
  return problem.dense && problem.n_rows() <= std::min(kMostRows, problem.n_cols() / 2) &&
         std::all_of(models.penalty, models.penalty + models.n_models,
                     [](double penalty) { return penalty > 0.0; });
}

bool fit_in_row_space(const LogisticProblem& problem, const LogisticOptions& options,
                      LogisticModels& models, const FitProgress& progress,
                      const StopRequested& stop) {
  return RowSpaceFit(problem, options, models, progress, stop).run();
}

}  // namespace fastsoftmax
