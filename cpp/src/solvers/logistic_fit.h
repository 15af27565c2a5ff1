// The fit of logistic regressions as a whole: what its parts share. logistic.cpp drives.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "fastsoftmax/logistic.h"
#include "logistic/loss.h"
#include "logistic/weights.h"
#include "solvers/certificate.h"
#include "solvers/conjugate_gradients.h"
#include "solvers/lbfgs.h"
#include "solvers/preconditioner.h"
#include "tasks.h"

namespace fastsoftmax {

// Of a fit that is a part of another (logistic_row_space.cpp): how many passes over X a wave of
// models may make, twice as many where all are near their end, and whether float64 is the
// arithmetic from the beginning.
struct FitLimits {
  double max_passes = HUGE_VAL;
  bool in_double = false;
};

class LogisticFit {
 public:
  LogisticFit(const LogisticProblem& problem, const LogisticOptions& options,
              LogisticModels& models, const FitProgress& progress, const StopRequested& stop,
              const FitLimits& limits = {})
      : limits_(limits),
        problem_(problem),
        options_(options),
        out_(models),
        progress_(progress),
        stop_(stop),
        weights_(problem),
        n_(problem.n_rows()),
        d_(problem.n_cols()),
        n_outputs_(problem.n_outputs()),
        size_(n_outputs_ * (d_ + 1)),
        uses_newton_(options.solver == LogisticSolver::kNewtonCg) {}

  // False if stop_requested stopped it. Models that limits ended are kStopped.
  bool run();

 private:
  using Fold = std::int32_t;

  // Of tol, what a gap that is not proven may be.
  static constexpr double kMargin = 0.1;

  struct Model {
    std::unique_ptr<Lbfgs> solver;
    std::unique_ptr<ConjugateGradients> newton;  // once it is a Newton method
    std::unique_ptr<Certificate> certificate;
    std::shared_ptr<const Preconditioner> preconditioner;  // neighbours may share one
    double penalty = 0.0, objective = 0.0, gap = HUGE_VAL, n_passes = 0.0;
    double best_gap = HUGE_VAL, best_objective = HUGE_VAL;
    double last_gain = HUGE_VAL;       // of an iteration, in parts of the objective
    double least_promised = HUGE_VAL;  // of steps' decrements
    std::int32_t held_out = -1;
    int wave = 0;
    std::int64_t n_iter = -1, stage_iter = 0, last_progress = 0, last_polish = 0, next_proof = 0,
                 next_smooth = 0;
    bool active = true, stuck = false, has_stepped = false, awaits_direction = false;
    bool began_anew = false, by_newton = false;
    bool by_diagonal = false;          // its preconditioner is one, whatever the others' are
    std::int64_t n_trials = 0;         // of searches, since it began, or began anew
    std::int64_t first_of_trials = 0;  // the iteration that it had by then
    double gap_before = HUGE_VAL;      // when it began anew
    double goal = 0.0;                 // of the gap, where tol is out of reach
    bool awaits_check = false;         // of what is left, which seems to be nothing
    LogisticStatus status = LogisticStatus::kMaxIter;
    // Where the solver is, if its classes' centres are wanted: of each row, and in the intercepts.
    std::vector<float> row_losses;
    std::vector<double> intercept_gradient;
  };

  // The start: logistic_start.cpp.
  std::unique_ptr<LogisticLoss> make(Arithmetic arithmetic);
  void calculate_in(Arithmetic arithmetic);
  double of_arithmetic(double reduced, double single, double in_double) const {
    return arithmetic_ == Arithmetic::kReduced  ? reduced
           : arithmetic_ == Arithmetic::kSingle ? single
                                                : in_double;
  }
  Arithmetic first_arithmetic() const;
  bool needs_double() const;
  void make_models();
  bool is_worth_a_stage(std::ptrdiff_t n_rows) const;
  bool starts_on_all_rows() const;
  bool is_at_zero(const Model& model) const {
    return !has_started_ && model.wave == 0 && !model.has_stepped;
  }
  bool evaluate_at_zero(Model& model);
  void run_stages();
  void run_stage(const Rows& rows, int n_iter);

  // Which go first, and where the others begin: logistic_waves.cpp.
  std::map<Fold, std::vector<std::size_t>> curves() const;
  void plan_waves();
  void start_from_neighbours();

  // Passes over X for all active models.
  double total_weight(const Rows& rows, Fold held_out) const;
  double sample_scale(const Rows& rows, Fold held_out);
  void evaluate(const Rows& rows, bool for_centres = false);
  void add_penalty(const Model& model, const double* v, double* product) const;
  Lbfgs::Outcome tell(Model& model, double* loss);
  Lbfgs::Precondition preconditioner_of(const Model& model) const;
  template <class F>
  void for_models(const F& body) {
    const auto n = static_cast<std::ptrdiff_t>(models_.size());
    if (n < 2) return body(models_[0], 0);
    Tasks tasks;
    std::exception_ptr error;  // the first one: a region's body may not throw
    std::atomic_flag has_error = ATOMIC_FLAG_INIT;
    parallel_region(options_.n_threads, [&](int, int) {
      tasks.run(n, [&](std::ptrdiff_t m) {
        try {
          body(models_[static_cast<std::size_t>(m)], m);
        } catch (...) {
          if (!has_error.test_and_set()) error = std::current_exception();
        }
      });
    });
    if (error) std::rethrow_exception(error);
  }
  bool any_active() const {
    return std::any_of(models_.begin(), models_.end(), [](const Model& m) { return m.active; });
  }

  // The curvature: logistic_curvature.cpp.
  std::ptrdiff_t largest_block() const;
  std::ptrdiff_t block() const;
  bool is_diagonal(const Model& model) const { return model.by_diagonal || block() == 1; }
  Rows curvature_rows(double passes) const;
  Rows all_for_diagonal() const { return {n_, 1, options_.seed + 1}; }
  Rows sample_for_dense(double passes) const;
  double in_passes(double products) const;
  double passes_of_dense(const Rows& rows) const;
  double passes_of_curvature(const Rows& rows) const;
  bool knows_centres() const;
  double passes_of_directions(const Rows& rows, std::ptrdiff_t n_directions) const;
  std::ptrdiff_t n_directions(const Rows& rows, std::ptrdiff_t n_sharing, double passes) const;
  std::shared_ptr<const Preconditioner> preconditioner_near(double penalty) const;
  void set_preconditioner(Model& model, std::shared_ptr<const Preconditioner> found);
  void precondition_by_diagonal(Model& model);
  void precondition(bool anew, double passes);
  bool is_time_for_curvature(double passes) const;
  bool has_settled(const Model& model) const;
  void take_curvature(double passes);
  ClassCentres centres_of(Model& model);
  double mean_square(const Model& model, std::ptrdiff_t feature);
  std::shared_ptr<const Preconditioner> build(const Rows& rows, float* c, Model& model,
                                              std::ptrdiff_t n_directions);

  // The iterations: logistic.cpp.
  bool run_to_end(const Rows& all);
  void step(Model& model);
  int take_directions(const Rows& all);
  void look_ahead(Model& model);
  double zero_objective(const Model& model);
  double objective(const Model& model);
  double promised_gap(const Model& model) const;
  void end_by_rounding(Model& model);
  void widen_if_stuck(const Rows& all);
  bool is_nearly_separated(const Model& model);
  void widen(bool to_double);
  bool may_take_diagonal(const Model& model, double gap) const;
  bool is_misled(const Model& model) const;
  void begin_anew(Model& model, bool with_bound);
  void reopen();
  bool has_no_passes_left(double passes) const;
  void finish(Model& model, LogisticStatus status) {
    model.active = false;
    model.status = status;
  }
  void report();

  // Newton's directions: logistic_newton.cpp.
  int solve_newton(std::vector<Model*> open, bool with_pairs, double tolerance, const Rows& all);
  bool is_slow(const Model& model) const;
  int take_newton_directions(const Rows& all);
  int check_ends(const Rows& all);

  // The proof: logistic_proof.cpp.
  void sum_classes();
  void begin_proof(Model& model);
  ClassSums sums_of(Fold held_out);
  bool is_polished(const Model& model) const;
  bool update_gap(Model& model, bool thorough);
  double goal_of(const Model& model) const {
    return std::max(options_.tol, model.goal) * model.solver->f();
  }
  void prove(const Rows& all);
  void prove(const std::vector<Model*>& models, const Rows& all);
  void prove_at_last(Model& model, const Rows& all);
  struct Proof;
  double part_left(const Model& model) const;
  bool find_smooth(Proof& proof);
  void move_intercepts(Proof& proof);
  void evaluate_extra(const std::vector<Proof*>& proofs, const Rows& all);
  std::vector<double> inverse_intercept_hessian(const Rows& all, const Proof& proof);

  const FitLimits limits_;
  const LogisticProblem problem_;
  const LogisticOptions options_;
  LogisticModels& out_;
  const FitProgress& progress_;
  StopPoll stop_;
  const RowWeights weights_;
  const std::ptrdiff_t n_, d_, n_outputs_, size_;
  Arithmetic arithmetic_ = Arithmetic::kDouble;  // of loss_
  bool uses_newton_;                             // some model, from the start or since then
  bool has_started_ = false;                     // from zero, that is
  bool is_dense_ = true;                         // the preconditioner
  double next_curvature_ = 0.0;                  // when it is taken anew, in passes of the wave
  std::ptrdiff_t max_points_ = 0;                // of a certificate
  int wave_ = 0, n_waves_ = 1;
  std::int64_t last_reported_ = 0, last_of_waves_ = 0;
  std::unique_ptr<LogisticLoss> loss_;
  std::vector<Model> models_;
  std::map<Fold, ClassSums> class_sums_;
  std::vector<double> mean_squares_;  // of the features, over all rows; empty: not asked for yet
  std::map<std::pair<std::ptrdiff_t, Fold>, double> scales_;
};

// Whether it is of use to fit in the span of the rows, and then all of the fit.
bool has_row_space(const LogisticProblem& problem, const LogisticModels& models);
bool fit_in_row_space(const LogisticProblem& problem, const LogisticOptions& options,
                      LogisticModels& models, const FitProgress& progress,
                      const StopRequested& stop);

}  // namespace fastsoftmax
