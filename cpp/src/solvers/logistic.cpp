// Logistic regressions to their optima: L-BFGS on growing samples of the rows, then on all of them,
// preconditioned with the curvature met on the way, until the gap is proven. Every pass over X
// serves all models that still want one.
#include "fastsoftmax/logistic.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "fastsoftmax/objective.h"
#include "logistic/loss.h"
#include "logistic/weights.h"
#include "solvers/certificate.h"
#include "solvers/lbfgs.h"
#include "solvers/preconditioner.h"
#include "solvers/spd_inverse.h"
#include "solvers/vectors.h"
#include "tasks.h"

namespace fastsoftmax {
namespace {

// Pairs of L-BFGS: on MNIST at C = 1 a memory of 10 takes 136 passes to a gap of 1e-6, of 50 takes
// 123. Fewer where the pairs of all models would take more than 1 GB.
constexpr std::ptrdiff_t kMemory = 50, kLeastMemory = 10;
constexpr double kHistoryBytes = 1 << 30;

// Iterations on one row of so many, before all rows. Samples of fewer rows are not worth it, nor
// those with fewer entries for each weight: 20,000 x 768 embeddings of 1000 classes are at a gap of
// 1e-4 after 6 passes without samples, after 18 with a quarter first. Iterations (16; 12; 25 and
// 20): MNIST at C = 1 takes 151, 149, 174 passes, at C = 0.01 42, 45, 47.
struct Stage {
  std::ptrdiff_t stride;
  int n_iter;
};
constexpr Stage kStages[] = {{16, 16}, {4, 16}};
constexpr std::ptrdiff_t kLeastSample = 1000;
constexpr double kLeastEntries = 16.0;

// Without a penalty the minimum is taken for zero, and the classes for separable, below this part
// of the objective at zero. Iterations without any gain after which rounding is taken for the end.
constexpr double kSeparable = 1e-6;

// Objectives in float32 were off by up to 5e-8 of themselves (70 classes, 9 features): a gap is
// claimed in it down to ten times that.
constexpr double kLeastFloat32Tol = 5e-7;

constexpr int kPatience = 30;

// Whether the squares of the inputs fit float32, by some rows.
template <class In>
bool fits_float32(const In* data, std::ptrdiff_t n, double scale) {
  double largest = 0.0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(data[i])) * scale);
  }
  return largest == 0.0 || (largest > 1e-10 && largest < 1e12);
}

struct Model {
  std::unique_ptr<Lbfgs> solver;
  std::unique_ptr<Certificate> certificate;
  const Preconditioner* preconditioner = nullptr;
  double penalty = 0.0, objective = 0.0, gap = HUGE_VAL, n_passes = 0.0;
  double best_gap = HUGE_VAL, best_objective = HUGE_VAL;
  std::int32_t held_out = -1;
  std::int64_t n_iter = -1, stage_iter = 0, last_progress = 0, next_proof = 0;
  bool active = true, stuck = false;
  LogisticStatus status = LogisticStatus::kMaxIter;
};

class LogisticFit {
 public:
  LogisticFit(const LogisticProblem& problem, const LogisticOptions& options,
              LogisticModels& models, const FitProgress& progress, const StopRequested& stop)
      : problem_(problem),
        options_(options),
        out_(models),
        progress_(progress),
        stop_(stop),
        weights_(problem),
        n_(problem.n_rows()),
        d_(problem.n_cols()),
        n_outputs_(problem.n_outputs()),
        size_(n_outputs_ * (d_ + 1)),
        wide_(needs_wide()),
        points_(static_cast<std::size_t>(models.n_models)) {}

  bool run() {
    loss_ = make(wide_);
    make_models();
    if (!options_.warm) {
      for (const Stage& stage : kStages) {
        if (!is_worth_a_stage(n_ / stage.stride)) continue;
        run_stage(Rows{n_, stage.stride, options_.seed + static_cast<std::uint64_t>(stage.stride)},
                  stage.n_iter);
        if (stop_.stopped()) return false;
      }
    }
    const Rows all{n_, 1, 0};
    sum_classes();
    if (!stop_.stopped()) precondition();
    if (!stop_.stopped()) run_to_end(all);
    if (stop_.stopped()) return false;
    report();
    return true;
  }

 private:
  using Fold = std::int32_t;

  std::unique_ptr<LogisticLoss> make(bool wide) {
    return make_loss(problem_, wide, std::max<std::ptrdiff_t>(2, out_.n_models), options_.n_threads,
                     stop_);
  }

  bool is_worth_a_stage(std::ptrdiff_t n_rows) const {
    return n_rows >= kLeastSample && static_cast<double>(n_rows) * loss_->entries_per_row() >=
                                         kLeastEntries * static_cast<double>(n_outputs_ * d_);
  }

  // Gaps below what float32 can show, or inputs that it cannot work with.
  bool needs_wide() const {
    if (options_.tol < kLeastFloat32Tol) return true;
    if (problem_.csr) {
      if (problem_.csr->storage != Storage::kFloat32) return false;
      const auto* indptr = problem_.csr->indptr;
      const std::ptrdiff_t n_entries =
          problem_.csr->wide_indptr
              ? static_cast<std::ptrdiff_t>(static_cast<const std::int64_t*>(indptr)[n_])
              : static_cast<std::ptrdiff_t>(static_cast<const std::int32_t*>(indptr)[n_]);
      return !fits_float32(static_cast<const float*>(problem_.csr->data), n_entries,
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

  void make_models() {
    const double bytes = 16.0 * static_cast<double>(size_) * static_cast<double>(out_.n_models);
    const auto memory = static_cast<std::ptrdiff_t>(
        std::clamp(kHistoryBytes / bytes, double{kLeastMemory}, double{kMemory}));
    AlignedBuffer<double> start(size_);
    for (std::ptrdiff_t m = 0; m < out_.n_models; ++m) {
      Model model;
      model.penalty = out_.penalty[m];
      model.held_out = out_.held_out ? out_.held_out[m] : -1;
      model.solver = std::make_unique<Lbfgs>(size_, memory, options_.n_threads);
      std::fill_n(start.data(), size_, 0.0);
      if (options_.warm) {
        std::copy_n(out_.W + m * n_outputs_ * d_, n_outputs_ * d_, start.data());
        if (problem_.fit_intercept) {
          std::copy_n(out_.b + m * n_outputs_, n_outputs_, start.data() + n_outputs_ * d_);
        }
      }
      model.solver->start(start.data());
      models_.push_back(std::move(model));
    }
    memory_ = memory;
    set_noise();
  }

  void set_noise() {
    const bool is_double = wide_ || (problem_.dense ? problem_.dense->storage
                                                    : problem_.csr->storage) == Storage::kFloat64;
    for (Model& model : models_) model.solver->set_noise(is_double ? 1e-13 : 3e-8);
    rounds_in_double_ = is_double;
  }

  double total_weight(const Rows& rows, Fold held_out) const {
    if (weights_.all_one()) return static_cast<double>(rows.size());
    double sum = 0.0;
    for (std::ptrdiff_t i = 0; i < rows.size(); ++i) sum += weights_(rows[i], held_out);
    return sum;
  }

  // Of a sample's loss, so that it stands for that of all rows.
  double sample_scale(const Rows& rows, Fold held_out) {
    if (rows.stride == 1) return 1.0;
    const auto key = std::make_pair(rows.stride, held_out);
    const auto found = scales_.find(key);
    if (found != scales_.end()) return found->second;
    const double part = total_weight(rows, held_out);
    const double scale = part > 0.0 ? total_weight(Rows{n_, 1, 0}, held_out) / part : 0.0;
    return scales_[key] = scale;
  }

  template <class F>
  void for_models(const F& body) {
    const auto n = static_cast<std::ptrdiff_t>(models_.size());
    if (n < 2) return body(models_[0], 0);
    Tasks tasks;
    parallel_region(options_.n_threads, [&](int, int) {
      tasks.run(n, [&](std::ptrdiff_t m) { body(models_[static_cast<std::size_t>(m)], m); });
    });
  }

  // The objectives and gradients of the active models, where their solvers want them.
  void evaluate(const Rows& rows) {
    std::ptrdiff_t n_active = 0;
    for (Model& model : models_) {
      if (!model.active) continue;
      points_[static_cast<std::size_t>(n_active++)] = {
          model.solver->trial(), model.solver->trial_gradient(), 0.0, model.held_out,
          sample_scale(rows, model.held_out)};
      model.n_passes += static_cast<double>(rows.size()) / static_cast<double>(n_);
    }
    loss_->evaluate(rows, points_.data(), n_active);
    n_active = 0;
    for (Model& model : models_) {
      if (model.active) model.objective = points_[static_cast<std::size_t>(n_active++)].loss;
    }
  }

  // One evaluation more of a model: true if an iteration has ended. model.objective is the loss.
  Lbfgs::Outcome tell(Model& model, double* loss) {
    const double* x = model.solver->trial();
    double* g = model.solver->trial_gradient();
    const std::ptrdiff_t n_weights = n_outputs_ * d_;
    *loss = model.objective;
    const int n_threads = options_.n_threads;
    model.objective += 0.5 * model.penalty * dot(x, x, n_weights, n_threads);
    add_scaled(model.penalty, x, g, n_weights, n_threads);
    if (!problem_.fit_intercept) std::fill_n(g + n_weights, n_outputs_, 0.0);
    return model.solver->tell(model.objective);
  }

  void advance(Model& model) {
    if (!model.preconditioner) return model.solver->advance(nullptr);
    model.solver->advance([&](const double* g, double* out) {
      model.preconditioner->apply(g, n_outputs_, out, options_.n_threads);
    });
  }

  // Some iterations on a sample.
  void run_stage(const Rows& rows, int n_iter) {
    for (Model& model : models_) {
      model.active = sample_scale(rows, model.held_out) > 0.0;
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
        advance(model);
        if (model.stage_iter > 3 && model.solver->decrement() < 1e-4 * model.objective) {
          model.active = false;
        }
      });
    }
    for (Model& model : models_) model.solver->restart();
  }

  bool any_active() const {
    return std::any_of(models_.begin(), models_.end(), [](const Model& m) { return m.active; });
  }

  // What the certificates must know of constant probabilities.
  void sum_classes() {
    if (problem_.fit_intercept) {
      for (const Model& model : models_) {
        if (model.penalty > 0.0 && !class_sums_.count(model.held_out)) {
          class_sums_[model.held_out] = sums_of(model.held_out);
        }
        if (stop_.stopped()) return;
      }
    }
    for (Model& model : models_) {
      if (!(model.penalty > 0.0)) continue;
      model.certificate = std::make_unique<Certificate>(
          n_outputs_, d_, model.penalty, memory_ + 1,
          problem_.fit_intercept ? &class_sums_.at(model.held_out) : nullptr, options_.n_threads);
    }
  }

  ClassSums sums_of(Fold held_out) {
    const auto k = static_cast<std::size_t>(n_outputs_), d = static_cast<std::size_t>(d_);
    ClassSums sums;
    sums.weight.assign(k, 0.0);
    for (std::ptrdiff_t i = 0; i < n_; ++i) {
      const double weight = weights_(i, held_out) * weights_.unit();
      sums.total_weight += weight;
      const std::int64_t y = problem_.labels[i] - (k == 1 ? 1 : 0);
      if (y >= 0) sums.weight[static_cast<std::size_t>(y)] += weight;
    }
    const auto n_classes = static_cast<std::size_t>(problem_.n_classes);
    std::vector<double> by_class(n_classes * d);
    loss_->class_sums(held_out, by_class.data());
    sums.sum.assign(d, 0.0);
    for (std::size_t i = 0; i < n_classes * d; ++i) sums.sum[i % d] += by_class[i];
    sums.class_sums.assign(by_class.end() - static_cast<std::ptrdiff_t>(k * d), by_class.end());
    for (std::size_t r = 0; r < k; ++r) {
      sums.products.push_back(dot(&sums.class_sums[r * d], sums.sum.data(), d_, 1));
    }
    sums.sum_squared = dot(sums.sum.data(), sums.sum.data(), d_, 1);
    sums.class_sums_squared =
        dot(sums.class_sums.data(), sums.class_sums.data(), n_outputs_ * d_, 1);
    return sums;
  }

  // Blocks of features that are dense in the preconditioner.
  std::ptrdiff_t block() const {
    if (problem_.csr) return d_ <= 1024 ? d_ : 1;
    return d_ <= 2048 ? d_ : 1024;
  }

  // Rows for the curvature: more than 24 for each feature change little.
  Rows curvature_rows() const {
    const std::ptrdiff_t least = 8192;
    const std::ptrdiff_t wanted = std::min(std::max(n_ / 4, least), std::max(24 * d_, least));
    return {n_, std::max<std::ptrdiff_t>(1, n_ / wanted), options_.seed + 1};
  }

  // A preconditioner for each penalty, or for neighbours among them if these are many.
  void precondition() {
    constexpr double kBytes = 64 << 20;
    std::vector<std::size_t> order;
    for (std::size_t m = 0; m < models_.size(); ++m) {
      if (models_[m].status == LogisticStatus::kMaxIter) order.push_back(m);  // not finished
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return models_[a].penalty < models_[b].penalty;
    });
    std::size_t n_penalties = 1;
    for (std::size_t i = 1; i < order.size(); ++i) {
      n_penalties += models_[order[i]].penalty > models_[order[i - 1]].penalty;
    }
    const double bytes = 8.0 * static_cast<double>(d_) * static_cast<double>(block());
    const auto most = static_cast<std::size_t>(std::max(1.0, kBytes / bytes));
    const std::size_t per_group = (n_penalties + most - 1) / most;
    const Rows rows = curvature_rows();
    AlignedBuffer<float> c(rows.size());
    std::size_t begin = 0;
    while (begin < order.size()) {
      std::size_t end = begin, distinct = 0;
      double last = -1.0;
      for (; end < order.size(); ++end) {
        const double penalty = models_[order[end]].penalty;
        if (penalty != last && ++distinct > per_group) break;
        last = penalty;
      }
      build(rows, c.data(), models_[order[begin + (end - begin) / 2]]);
      if (stop_.stopped()) return;
      for (std::size_t i = begin; i < end; ++i) {
        Model& model = models_[order[i]];
        model.preconditioner = preconditioners_.back().get();
        if (model.certificate) model.certificate->set_curvature(model.preconditioner->total());
      }
      begin = end;
    }
  }

  void build(const Rows& rows, float* c, const Model& model) {
    const LossPoint point{model.solver->x(), nullptr, 0.0, model.held_out, 1.0};
    loss_->curvature(rows, point, c);
    if (stop_.stopped()) return;
    const double part = total_weight(rows, model.held_out);
    const double total = total_weight(Rows{n_, 1, 0}, model.held_out) * weights_.unit();
    preconditioners_.push_back(
        std::make_unique<Preconditioner>(d_, block(), problem_.fit_intercept, options_.n_threads));
    preconditioners_.back()->build(*loss_, rows, c, part > 0.0 ? total / part : 0.0, model.penalty);
    out_.n_curvature_rows += rows.size();
  }

  void run_to_end(const Rows& all) {
    for (Model& model : models_) model.active = true;
    std::vector<double> objectives(models_.size()), gaps(models_.size());
    // The curvature anew, now and then: on the digits it halves the passes and more, on MNIST it
    // changes nothing. A twentieth of the work at the most.
    const Rows sample = curvature_rows();
    const double cost = static_cast<double>(sample.size()) / static_cast<double>(n_) *
                        static_cast<double>(block()) / static_cast<double>(4 * n_outputs_);
    std::int64_t refresh = std::max<std::int64_t>(20, static_cast<std::int64_t>(20.0 * cost));
    for (std::int64_t pass = 0; any_active(); ++pass) {
      if (pass == refresh) {
        precondition();
        refresh *= 2;
      }
      evaluate(all);
      if (stop_.stopped()) return;
      for_models([&](Model& model, std::ptrdiff_t) {
        if (model.active) step(model);
      });
      prove(all);
      widen_if_stuck();
      if (!progress_) continue;
      std::int64_t iteration = 0;
      for (std::size_t m = 0; m < models_.size(); ++m) {
        objectives[m] = models_[m].solver->f();
        gaps[m] = models_[m].gap;
        iteration = std::max(iteration, models_[m].n_iter);
      }
      if (iteration == last_reported_) continue;
      last_reported_ = iteration;
      if (progress_(iteration, objectives.data(), gaps.data())) return;
    }
  }

  void step(Model& model) {
    double loss;
    const Lbfgs::Outcome outcome = tell(model, &loss);
    if (outcome == Lbfgs::Outcome::kSearching) return;
    if (outcome == Lbfgs::Outcome::kRestarted) return advance(model);
    if (outcome == Lbfgs::Outcome::kStuck) {
      model.stuck = true;
      return;
    }
    const double f = model.solver->f();
    ++model.n_iter;
    if (model.certificate) {
      model.certificate->add(*model.solver, loss);
      if (update_gap(model, false)) return;
    }
    if (model.n_iter >= options_.max_iter) return finish(model, LogisticStatus::kMaxIter);
    advance(model);
    if (!model.certificate) {
      // Nothing is proven: what the step promises, with a margin.
      if (f <= kSeparable * zero_objective(model)) return finish(model, LogisticStatus::kSeparable);
      model.gap = std::abs(model.solver->decrement()) / std::max(f, 1e-300);
      if (model.gap <= 0.1 * options_.tol) return finish(model, LogisticStatus::kCertified);
    }
    if (f < model.best_objective - 1e-15 * std::abs(f) || model.gap < 0.99 * model.best_gap) {
      model.last_progress = model.n_iter;
    }
    model.best_objective = std::min(f, model.best_objective);
    model.best_gap = std::min(model.gap, model.best_gap);
    model.stuck = model.n_iter - model.last_progress > kPatience;
  }

  // The objective at zero.
  double zero_objective(const Model& model) {
    return total_weight(Rows{n_, 1, 0}, model.held_out) * weights_.unit() *
           std::log(static_cast<double>(problem_.n_classes));
  }

  // Models that rounding keeps from going on do so in float64; those that were there are finished.
  void widen_if_stuck() {
    bool widen = false;
    for (Model& model : models_) {
      if (!model.active || !model.stuck) continue;
      model.stuck = false;
      model.last_progress = model.n_iter;
      if (rounds_in_double_) {
        finish(model, LogisticStatus::kRounding);
      } else {
        widen = true;
      }
    }
    if (!widen) return;
    wide_ = true;
    loss_.reset();
    loss_ = make(true);
    set_noise();
    for (Model& model : models_) {
      if (!model.active) continue;
      model.solver->restart();
      --model.n_iter;  // the same point comes again
    }
  }

  // True if the model is finished.
  bool update_gap(Model& model, bool thorough) {
    const double f = model.solver->f(), gap = model.certificate->gap(*model.solver, thorough);
    model.gap = gap <= 0.0 ? 0.0 : gap / std::max(f - gap, 1e-300);
    if (model.gap <= options_.tol) finish(model, LogisticStatus::kCertified);
    return !model.active;
  }

  // Passes for the sake of a bound, once the solver is near enough: at the point in the span of the
  // last ones where the gradient seems to be smallest; then, where the residual in the intercepts
  // alone keeps the bound from being good enough, with Newton's step in the intercepts to the
  // residual that cancels the mixture's in a quarter of it.
  void prove(const Rows& all) {
    constexpr int kRounds = 3;
    constexpr double kCost = 0.04, kEnough = 0.5, kPlenty = 0.2;
    for (Model& model : models_) {
      if (!model.active || !model.certificate || model.n_iter < model.next_proof) continue;
      const double f = model.solver->f();
      AlignedBuffer<double> at(size_), gradient(size_);
      std::copy_n(model.solver->x(), size_, at.data());
      std::copy_n(model.solver->gradient(), size_, gradient.data());
      LossPoint point{at.data(), gradient.data(), 0.0, model.held_out, 1.0};
      const auto left = [&] {
        return model.certificate->gap_without_residual() / (options_.tol * f);
      };
      if (!(problem_.fit_intercept && left() <= kPlenty)) {
        if (!(model.solver->decrement() <= 0.3 * options_.tol * f)) continue;
        model.next_proof = model.n_iter + 2;
        const double promised = model.certificate->smooth(*model.solver, at.data());
        if (promised > kEnough * options_.tol * f) continue;
        evaluate_extra(model, all, point);
      }
      model.next_proof = model.n_iter + 3;
      const auto enough = [&] { return model.active && !stop_.stopped() && left() <= 0.95; };
      if (!problem_.fit_intercept || !enough()) continue;
      const std::vector<double> inverse = inverse_intercept_hessian(all, point);
      const auto k = static_cast<std::size_t>(n_outputs_);
      double* b = at.data() + n_outputs_ * d_;
      for (int round = 0; round < kRounds && enough(); ++round) {
        const std::vector<double>& residual = model.certificate->residual();
        std::vector<double> step(k), back(k);
        double cost = 0.0;
        for (std::size_t i = 0; i < k; ++i) {
          for (std::size_t j = 0; j < k; ++j) {
            step[i] += inverse[i * k + j] * residual[j];
            back[i] +=
                inverse[i * k + j] * gradient[n_outputs_ * d_ + static_cast<std::ptrdiff_t>(j)];
          }
          cost += residual[i] * step[i];
        }
        const double overshoot = std::clamp(kCost * options_.tol * f / cost, 3.0, 1e4);
        for (std::size_t i = 0; i < k; ++i) b[i] -= back[i] + overshoot * step[i];
        evaluate_extra(model, all, point);
      }
    }
  }

  void evaluate_extra(Model& model, const Rows& all, LossPoint& point) {
    loss_->evaluate(all, &point, 1);
    if (stop_.stopped()) return;
    model.n_passes += 1.0;
    model.certificate->add_extra(*model.solver, point.parameters, point.loss, point.gradient);
    update_gap(model, true);
  }

  // On the subspace that intercepts live in: a number added to all changes nothing.
  std::vector<double> inverse_intercept_hessian(const Rows& all, const LossPoint& point) {
    const auto n = static_cast<std::size_t>(problem_.n_classes);
    std::vector<double> H(n * n);
    loss_->intercept_hessian(all, point, H.data());
    if (n == 2) return {1.0 / std::max(H[3], 1e-300)};
    double trace = 0.0;
    for (std::size_t i = 0; i < n; ++i) trace += H[i * n + i];
    const double unit = trace / static_cast<double>(n);
    for (double ridge = 0.0;; ridge = std::max(1e-12, 10.0 * ridge)) {
      std::vector<double> inverse = H;
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) inverse[i * n + j] += unit / static_cast<double>(n);
        inverse[i * n + i] += ridge * unit;
      }
      if (ridge > 1.0 ||
          invert_spd(inverse.data(), static_cast<std::ptrdiff_t>(n), 0.0, options_.n_threads)) {
        return inverse;
      }
    }
  }

  void finish(Model& model, LogisticStatus status) {
    model.active = false;
    model.status = status;
  }

  void report() {
    for (std::size_t i = 0; i < models_.size(); ++i) {
      const Model& model = models_[i];
      const auto m = static_cast<std::ptrdiff_t>(i);
      const double* x = model.solver->x();
      std::copy_n(x, n_outputs_ * d_, out_.W + m * n_outputs_ * d_);
      if (problem_.fit_intercept) {
        std::copy_n(x + n_outputs_ * d_, n_outputs_, out_.b + m * n_outputs_);
      }
      out_.objective[m] = model.solver->f();
      out_.gap[m] = model.gap;
      out_.n_iter[m] = std::max<std::int64_t>(1, model.n_iter);
      out_.n_passes[m] = model.n_passes;
      out_.status[m] = model.status;
    }
  }

  const LogisticProblem problem_;
  const LogisticOptions options_;
  LogisticModels& out_;
  const FitProgress& progress_;
  StopPoll stop_;
  const RowWeights weights_;
  const std::ptrdiff_t n_, d_, n_outputs_, size_;
  bool wide_, rounds_in_double_ = false;
  std::ptrdiff_t memory_ = kMemory;
  std::int64_t last_reported_ = 0;

  std::unique_ptr<LogisticLoss> loss_;
  std::vector<Model> models_;
  std::vector<LossPoint> points_;
  std::vector<std::unique_ptr<Preconditioner>> preconditioners_;
  std::map<Fold, ClassSums> class_sums_;
  std::map<std::pair<std::ptrdiff_t, Fold>, double> scales_;
};

void check(const LogisticProblem& problem) {
  if (problem.n_rows() < 1 || problem.n_cols() < 1 || problem.n_classes < 2) {
    throw std::invalid_argument("fit_logistic needs at least one row, one feature, two classes");
  }
  check_labels(problem.labels, problem.n_rows(), problem.n_classes);
}

}  // namespace

bool fit_logistic(const LogisticProblem& problem, const LogisticOptions& options,
                  LogisticModels& models, const FitProgress& progress,
                  const StopRequested& stop_requested) {
  check(problem);
  return LogisticFit(problem, options, models, progress, stop_requested).run();
}

double logistic_loss(const LogisticProblem& problem, const double* W, const double* b, bool wide,
                     double* W_gradient, double* b_gradient, int n_threads) {
  check(problem);
  const StopRequested never;
  StopPoll stop(never);
  const std::ptrdiff_t n_weights = problem.n_outputs() * problem.n_cols(), k = problem.n_outputs();
  AlignedBuffer<double> at(n_weights + k), gradient(n_weights + k);
  std::copy_n(W, n_weights, at.data());
  std::copy_n(b, k, at.data() + n_weights);
  LossPoint point{at.data(), gradient.data(), 0.0, -1, 1.0};
  make_loss(problem, wide, 1, n_threads, stop)->evaluate(Rows{problem.n_rows(), 1, 0}, &point, 1);
  std::copy_n(gradient.data(), n_weights, W_gradient);
  std::copy_n(gradient.data() + n_weights, k, b_gradient);
  return point.loss;
}

}  // namespace fastsoftmax
