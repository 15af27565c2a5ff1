// Logistic regressions to their optima: L-BFGS on growing samples of the rows, then on all of them,
// preconditioned with the curvature met on the way, until the gap is proven. Every pass over X
// serves all models that still want one.
#include "fastsoftmax/logistic.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "fastsoftmax/checks.h"
#include "solvers/logistic_fit.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

// Without a penalty the minimum is taken for zero, and the classes for separable, below this part
// of the objective at zero. Iterations without any gain after which rounding is taken for the end.
constexpr double kSeparable = 1e-6;
constexpr int kPatience = 30;
// The same where the gap is proven, but for rounding, and weights alone are to get better: by what
// steps promise. 19 of 150 fits of 1000 x 10 went on for some 30 iterations (four times the time).
constexpr int kPolish = 4;
constexpr double kOfRounding = 1e-14;

void check(const LogisticProblem& problem, int n_threads) {
  if (problem.n_rows() < 1 || problem.n_cols() < 1 || problem.n_classes < 2 || n_threads < 1) {
    throw std::invalid_argument(
        "fit_logistic needs at least one row, one feature, two classes, one thread");
  }
  check_labels(problem.labels, problem.n_rows(), problem.n_classes);
}

}  // namespace

bool LogisticFit::run() {
  make_models();
  calculate_in(first_arithmetic());
  has_started_ = options_.warm;
  plan_waves();
  sum_classes();
  // Milliseconds on two threads of a Zen 3, always dense, from 20 passes on diagonal, from 5:
  // 100 x 2048 of 5 classes 390, 8, 8; 1,600 x 768 of 50 at C = 10 194, 142, 169, at C = 1000 1580,
  // 1360, 300; 3,000 images of MNIST at C = 10 1220, 390, 320, 6,000 at C = 0.1 173, 407, 267.
  constexpr double kCheap = 5.0;
  is_dense_ = passes_of_dense(sample_for_dense(0.0)) <= kCheap;
  const Rows all{n_, 1, 0};
  bool go_on = true;
  for (wave_ = 0; wave_ < n_waves_ && go_on && !stop_.stopped(); ++wave_) {
    if (wave_ > 0) start_from_neighbours();
    if (wave_ == 0 && !options_.warm) run_stages();
    for (Model& model : models_) model.active = model.wave == wave_;
    if (!stop_.stopped()) go_on = run_to_end(all);
  }
  if (stop_.stopped()) return false;
  if (!go_on) {
    for (Model& model : models_) {
      if (model.active || model.wave >= wave_) finish(model, LogisticStatus::kStopped);
    }
  }
  report();
  return true;
}

double LogisticFit::total_weight(const Rows& rows, Fold held_out) const {
  if (weights_.all_one()) return static_cast<double>(rows.size());
  double sum = 0.0;
  for (std::ptrdiff_t i = 0; i < rows.size(); ++i) sum += weights_(rows[i], held_out);
  return sum;
}

// Of a sample's loss, so that it stands for that of all rows.
double LogisticFit::sample_scale(const Rows& rows, Fold held_out) {
  if (rows.stride == 1) return 1.0;
  const auto key = std::make_pair(rows.stride, held_out);
  const auto found = scales_.find(key);
  if (found != scales_.end()) return found->second;
  const double part = total_weight(rows, held_out);
  const double scale = part > 0.0 ? total_weight(Rows{n_, 1, 0}, held_out) / part : 0.0;
  return scales_[key] = scale;
}

// The objectives and gradients of the active models, where their solvers want them; for_centres:
// and what their classes' centres need.
void LogisticFit::evaluate(const Rows& rows, bool for_centres) {
  std::vector<Model*> evaluated;
  std::vector<LossPoint> points;
  for (Model& model : models_) {
    if (!model.active || (rows.stride == 1 && evaluate_at_zero(model))) continue;
    evaluated.push_back(&model);
    points.push_back({model.solver->trial(), model.solver->trial_gradient(), 0.0, model.held_out,
                      sample_scale(rows, model.held_out)});
    model.n_passes += static_cast<double>(rows.size()) / static_cast<double>(n_);
    if (!for_centres) continue;
    model.row_losses.resize(static_cast<std::size_t>(n_));
    points.back().row_losses = model.row_losses.data();
  }
  if (points.empty()) return;
  loss_->evaluate(rows, points.data(), static_cast<std::ptrdiff_t>(points.size()));
  for (std::size_t i = 0; i < points.size(); ++i) {
    evaluated[i]->objective = points[i].loss;
    if (!for_centres) continue;
    const double* gradient = evaluated[i]->solver->trial_gradient() + n_outputs_ * d_;
    evaluated[i]->intercept_gradient.assign(gradient, gradient + n_outputs_);
  }
}

// To a gradient at v, or a product of the Hessian with v, of the loss: those of the objective.
void LogisticFit::add_penalty(const Model& model, const double* v, double* product) const {
  const std::ptrdiff_t n_weights = n_outputs_ * d_;
  add_scaled(model.penalty, v, product, n_weights, options_.n_threads);
  if (!problem_.fit_intercept) std::fill_n(product + n_weights, n_outputs_, 0.0);
}

// One evaluation more of a model, to its solver. model.objective, the loss until now, becomes what
// its name says.
Lbfgs::Outcome LogisticFit::tell(Model& model, double* loss) {
  const double* x = model.solver->trial();
  *loss = model.objective;
  model.objective += 0.5 * model.penalty * dot(x, x, n_outputs_ * d_, options_.n_threads);
  add_penalty(model, x, model.solver->trial_gradient());
  return model.solver->tell(model.objective);
}

Lbfgs::Precondition LogisticFit::preconditioner_of(const Model& model) const {
  if (!model.preconditioner) return nullptr;
  return [&](const double* g, double* out) { model.preconditioner->apply(g, n_outputs_, out); };
}

// The models of a wave; false if the progress is to end here.
bool LogisticFit::run_to_end(const Rows& all) {
  // After samples it waits for the centres that the first pass will tell.
  next_curvature_ = 0.0;
  if (!has_started_ || options_.warm || wave_ > 0 || !knows_centres()) take_curvature(0.0);
  if (stop_.stopped()) return false;
  for (double passes = 0.0; any_active(); passes += 1.0) {
    if (has_no_passes_left(passes)) return false;
    const bool is_due = passes >= next_curvature_;
    evaluate(all, is_due && knows_centres());
    if (stop_.stopped()) return false;
    for_models([&](Model& model, std::ptrdiff_t) {
      if (model.active) step(model);
    });
    if (is_due && any_active() && is_time_for_curvature(passes)) {
      take_curvature(passes);
      if (stop_.stopped()) return false;
    }
    passes += 1.5 * take_directions(all);
    if (stop_.stopped()) return false;
    passes += 1.5 * check_ends(all);
    if (stop_.stopped()) return false;
    prove(all);
    if (stop_.stopped()) return false;
    widen_if_stuck(all);
    if (stop_.stopped()) return false;
    if (!any_active()) reopen();
    if (stop_.stopped()) return false;
    if (!progress_) continue;
    std::int64_t iteration = last_of_waves_;
    for (const Model& model : models_) {
      if (model.wave == wave_) iteration = std::max(iteration, last_of_waves_ + model.n_iter);
    }
    if (iteration <= last_reported_) continue;  // a step that is still searching, or widening
    last_reported_ = iteration;
    report();
    if (progress_(iteration, any_active() || wave_ + 1 < n_waves_)) return false;
  }
  last_of_waves_ = last_reported_;
  return true;
}

bool LogisticFit::has_no_passes_left(double passes) const {
  constexpr double kNear = 10.0;
  if (passes < limits_.max_passes) return false;
  return passes >= 2.0 * limits_.max_passes ||
         std::any_of(models_.begin(), models_.end(), [&](const Model& model) {
           return model.active && !(model.gap <= kNear * options_.tol);
         });
}

void LogisticFit::step(Model& model) {
  double loss;
  const double before = model.has_stepped ? model.solver->f() : HUGE_VAL;
  const Lbfgs::Outcome outcome = tell(model, &loss);
  ++model.n_trials;
  if (outcome == Lbfgs::Outcome::kSearching) return;
  if (outcome == Lbfgs::Outcome::kRestarted) {
    return model.solver->advance(preconditioner_of(model));
  }
  if (outcome == Lbfgs::Outcome::kStuck) {
    model.stuck = true;
    return;
  }
  ++model.n_iter;
  model.has_stepped = true;
  model.last_gain = before / model.solver->f() - 1.0;
  if (model.certificate) {
    model.certificate->add(*model.solver, loss);
    if (update_gap(model, false)) return;
  }
  if (model.n_iter < options_.max_iter) {
    model.awaits_direction = true;
  } else if (model.certificate) {
    finish(model, LogisticStatus::kMaxIter);
  } else {
    model.awaits_check = true;
  }
}

// The directions of the models that wait for one; how many products with Hessians that took.
int LogisticFit::take_directions(const Rows& all) {
  const int n_products = take_newton_directions(all);
  if (stop_.stopped()) return n_products;
  for_models([&](Model& model, std::ptrdiff_t) {
    if (model.awaits_direction && !model.by_newton) {
      model.solver->advance(preconditioner_of(model));
    }
  });
  for (Model& model : models_) {
    if (!model.awaits_direction) continue;
    model.awaits_direction = false;
    look_ahead(model);
  }
  return n_products;
}

// Where nothing can be proven: what the step promises, to be taken with a margin.
double LogisticFit::promised_gap(const Model& model) const {
  return std::abs(model.solver->decrement()) / std::max(model.solver->f(), 1e-300);
}

// What the direction says of the end, without a proof, and whether there is still progress.
void LogisticFit::look_ahead(Model& model) {
  const double f = model.solver->f();
  if (!model.certificate) {
    if (f <= kSeparable * zero_objective(model)) return finish(model, LogisticStatus::kSeparable);
    // Of separable classes a step promises too little, by a curvature that is no more; what the
    // last one has brought does not.
    const double gained = std::isfinite(model.best_objective) ? model.best_objective - f : 0.0;
    model.gap = std::max(promised_gap(model), gained / std::max(f, 1e-300));
    model.awaits_check = model.gap <= kMargin * options_.tol;
  }
  const double visible = of_arithmetic(1e-6, 1e-8, 1e-15);
  if (f < model.best_objective - visible * std::abs(f) || model.gap < 0.99 * model.best_gap) {
    model.last_progress = model.n_iter;
  }
  model.best_objective = std::min(f, model.best_objective);
  model.best_gap = std::min(model.gap, model.best_gap);
  const double promised = std::abs(model.solver->decrement());
  if (promised < 0.5 * model.least_promised) {
    model.least_promised = promised;
    model.last_polish = model.n_iter;
  }
  const bool has_all_digits = model.certificate &&
                              model.best_gap <= std::max(options_.tol, kOfRounding) &&
                              model.n_iter - model.last_polish > kPolish;
  // Newton's directions need more than two digits.
  model.stuck = has_all_digits || model.n_iter - model.last_progress > kPatience ||
                (arithmetic_ == Arithmetic::kReduced && is_slow(model)) || is_misled(model);
}

// The objective at zero.
double LogisticFit::zero_objective(const Model& model) {
  return total_weight(Rows{n_, 1, 0}, model.held_out) * weights_.unit() *
         std::log(static_cast<double>(problem_.n_classes));
}

// Where the solver is; models of later waves are still at zero.
double LogisticFit::objective(const Model& model) {
  return model.has_stepped ? model.solver->f() : zero_objective(model);
}

// A penalty that is lost in the rounding of every feature's curvature, as with inputs of 1e30,
// proves nothing: the bound divides by it the square of what rounding leaves of the gradient. It
// might as well be none, unless the classes are separable: then it alone makes the optimum. The
// objective is above its minimum by what the loss is above its own, and the penalty at the most;
// twice that, for what is promised is an estimate. (Of 14,000 fits of 10 to 30 rows of numbers up
// to 1e12 99 were farther off than was said, by up to 1e-8; with twice that 12, by up to 6e-11.)
void LogisticFit::end_by_rounding(Model& model) {
  constexpr double kLost = 1e-16, kRounded = 1e-13;  // small fits are asked for 1e-15
  const bool is_lost = model.certificate && model.preconditioner &&
                       model.penalty <= kLost * model.preconditioner->least_curvature() &&
                       model.solver->f() > kSeparable * zero_objective(model);
  const double promised = promised_gap(model);
  if (is_lost && model.gap > options_.tol &&
      promised <= std::max(kMargin * options_.tol, kRounded)) {
    const double* x = model.solver->x();
    const double of_penalty = 0.5 * model.penalty * dot(x, x, n_outputs_ * d_, options_.n_threads);
    model.gap = std::min(model.gap, 2.0 * (promised + of_penalty / model.solver->f()));
  }
  const bool is_near = model.certificate && model.gap <= options_.tol;
  finish(model, is_near ? LogisticStatus::kCertified : LogisticStatus::kRounding);
}

// Models that rounding keeps from going on, or will, do so in the next better arithmetic; those
// that were in float64 are finished, but for what rounding does not explain: a step that promised
// more than was asked for. It may be the curvature that is wrong there, so it is taken anew, once.
void LogisticFit::widen_if_stuck(const Rows& all) {
  constexpr double kHopeless = 1e-2;
  bool is_rounding = false, needs_double = false;
  for (Model& model : models_) {
    if (!model.active) continue;
    needs_double |= arithmetic_ != Arithmetic::kDouble && is_nearly_separated(model);
    if (!model.stuck) continue;
    model.stuck = false;
    if (arithmetic_ != Arithmetic::kDouble) {
      is_rounding = true;
    } else if (!model.began_anew && promised_gap(model) > options_.tol && !is_misled(model)) {
      model.began_anew = true;
      begin_anew(model, true);
    } else if (may_take_diagonal(model, kHopeless)) {
      model.by_diagonal = true;
      begin_anew(model, true);
      precondition_by_diagonal(model);
    } else {
      if (model.certificate && model.gap > options_.tol) prove_at_last(model, all);
      if (model.active) end_by_rounding(model);
    }
  }
  if (is_rounding || needs_double) widen(needs_double);
}

// Features in units far apart, and more of them than rows or nearly dependent ones, leave a matrix
// whose inverse is rounding where the penalty alone should count: 20 rows of 40 features of scales
// 1 to 1e5 at C = 1e4 were at an objective of 1.06 after 1000 iterations. Its diagonal has nothing
// to round, and is at the minimum, 1e-8, after 330. Whether there is such a matrix to give up, and
// no smaller gap has ever been proven by it.
bool LogisticFit::may_take_diagonal(const Model& model, double gap) const {
  return model.certificate && !is_diagonal(model) && !(std::min(model.gap, model.gap_before) < gap);
}

// Whether steps are far too long again and again, and nothing is proven: directions that rounding
// has made. A fit that goes well takes 1.0 to 1.4 trials an iteration.
bool LogisticFit::is_misled(const Model& model) const {
  constexpr std::int64_t kMany = 20;
  constexpr double kTrials = 4.0;
  const std::int64_t n_iter = model.n_iter - model.first_of_trials;
  return may_take_diagonal(model, HUGE_VAL) && n_iter >= kMany &&
         static_cast<double>(model.n_trials) > kTrials * static_cast<double>(n_iter);
}

// Then the penalty's curvature, next to nothing, is most of what there is in many directions, and
// neither pairs nor curvatures in float32 show it.
bool LogisticFit::is_nearly_separated(const Model& model) {
  constexpr std::int64_t kMany = 100;
  constexpr double kNearly = 1e-4;
  return model.n_iter >= kMany && model.solver->f() < kNearly * zero_objective(model);
}

// From here on in the next better arithmetic, or in float64, from where the models are. What was
// seen and proven is forgotten: of inputs of two digits a bound may lie above the minimum.
void LogisticFit::widen(bool to_double) {
  calculate_in(arithmetic_ == Arithmetic::kReduced && !to_double ? Arithmetic::kSingle
                                                                 : Arithmetic::kDouble);
  for (Model& model : models_) {
    if (model.active) begin_anew(model, false);
  }
}

void LogisticFit::begin_anew(Model& model, bool with_bound) {
  next_curvature_ = 0.0;
  model.solver->restart();
  if (model.has_stepped) --model.n_iter;  // the same point comes again
  model.n_trials = 0;
  model.first_of_trials = model.n_iter;
  model.gap_before = std::min(model.gap_before, model.gap);
  model.gap = model.best_gap = model.best_objective = HUGE_VAL;
  model.last_progress = model.last_polish = model.n_iter;
  model.least_promised = HUGE_VAL;
  const double bound = with_bound && model.certificate ? model.certificate->bound() : -HUGE_VAL;
  begin_proof(model);
  // What is not below f is rounding: kept, it has certified fits that were 4e-6 above the minimum.
  if (model.certificate && bound < model.solver->f()) model.certificate->know(bound);
}

// Two digits do not show losses that are small differences of large products, nor a proof from them
// the gap. Models of the wave whose loss on some rows three digits find to be another, by a part of
// what was asked for, go on in these.
void LogisticFit::reopen() {
  constexpr std::ptrdiff_t kRows = 1000;
  constexpr double kPart = 0.1;
  if (arithmetic_ != Arithmetic::kReduced) return;
  const Rows rows{n_, std::max<std::ptrdiff_t>(1, n_ / kRows), options_.seed};
  const std::unique_ptr<LogisticLoss> better = make(Arithmetic::kSingle);
  std::vector<double> gradient(static_cast<std::size_t>(size_));
  for (Model& model : models_) {
    if (model.wave != wave_ || model.status != LogisticStatus::kCertified) continue;
    LossPoint point{model.solver->x(), gradient.data(), 0.0, model.held_out, 1.0};
    loss_->evaluate(rows, &point, 1);
    const double loss = point.loss;
    better->evaluate(rows, &point, 1);
    if (stop_.stopped()) return;
    model.active = !(std::abs(loss - point.loss) <= kPart * options_.tol * point.loss);
  }
  if (any_active()) widen(false);
}

void LogisticFit::report() {
  for (std::size_t i = 0; i < models_.size(); ++i) {
    const Model& model = models_[i];
    const auto m = static_cast<std::ptrdiff_t>(i);
    const double* x = model.solver->x();
    std::copy_n(x, n_outputs_ * d_, out_.W + m * n_outputs_ * d_);
    if (problem_.fit_intercept) {
      std::copy_n(x + n_outputs_ * d_, n_outputs_, out_.b + m * n_outputs_);
    }
    out_.objective[m] = objective(model);
    out_.gap[m] = model.gap;
    out_.float32_cost[m] =
        model.preconditioner ? model.preconditioner->cost_of_float32(x, n_outputs_) : 0.0;
    out_.n_iter[m] = std::max<std::int64_t>(1, model.n_iter);
    out_.n_passes[m] = model.n_passes;
    out_.status[m] = model.status;
  }
}

bool fit_logistic(const LogisticProblem& problem, const LogisticOptions& options,
                  LogisticModels& models, const FitProgress& progress,
                  const StopRequested& stop_requested) {
  check(problem, options.n_threads);
  bool is_complete = false;
  with_crew(options.n_threads, [&] {
    is_complete = has_row_space(problem, models)
                      ? fit_in_row_space(problem, options, models, progress, stop_requested)
                      : LogisticFit(problem, options, models, progress, stop_requested).run();
  });
  return is_complete;
}

double logistic_loss(const LogisticProblem& problem, const double* W, const double* b, bool wide,
                     double* W_gradient, double* b_gradient, int n_threads) {
  check(problem, n_threads);
  const StopRequested never;
  StopPoll stop(never);
  const std::ptrdiff_t n_weights = problem.n_outputs() * problem.n_cols(), k = problem.n_outputs();
  AlignedBuffer<double> at(n_weights + k), gradient(n_weights + k);
  std::copy_n(W, n_weights, at.data());
  std::copy_n(b, k, at.data() + n_weights);
  LossPoint point{at.data(), gradient.data(), 0.0, -1, 1.0};
  make_loss(problem, wide ? Arithmetic::kDouble : Arithmetic::kSingle, 1, false, n_threads, stop)
      ->evaluate(Rows{problem.n_rows(), 1, 0}, &point, 1);
  std::copy_n(gradient.data(), n_weights, W_gradient);
  std::copy_n(gradient.data() + n_weights, k, b_gradient);
  return point.loss;
}

}  // namespace fastsoftmax
