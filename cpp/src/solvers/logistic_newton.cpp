// Newton's directions for a fit of logistic regressions: conjugate gradients, whose products with
// the Hessians of all models share each pass over X. Without a penalty they also tell how near the
// end is.
#include <algorithm>
#include <cmath>
#include <vector>

#include "solvers/logistic_fit.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

// Of the residual of Newton's equations. Seconds to a gap of 1e-4 on two threads of a Zen 3, of
// 0.5, 0.25, 0.1, 0.03 and of L-BFGS: MNIST at C = 0.01 0.91, 0.86, 0.84, 0.86 and 0.64, at C =
// 1 2.3, 3.4, 3.4, 5.8 and 1.3, at C = 100 29, 33, 48, 48 and 16; 50,000 x 768 x
// 100 6.2, 5.8, 7.1, 8.1 and 4.0; words in CSR 1.5, 1.8, 1.8, 1.6 and 1.2.
constexpr double kTolerance = 0.5;

// The same where it is to say what is left to gain.
constexpr double kCheckTolerance = 0.01;

}  // namespace

// Newton's directions of some models, preconditioned with the curvature and, with_pairs, what the
// steps have shown; how many products that took, shared ones counted once.
int LogisticFit::solve_newton(std::vector<Model*> open, bool with_pairs, double tolerance,
                              const Rows& all) {
  const auto step_for = [&](Model& model) {
    return [&, precondition = preconditioner_of(model)](const double* v, double* out) {
      if (with_pairs) return model.solver->step_for(v, precondition, out);
      precondition(v, out);
      for (std::ptrdiff_t i = 0; i < size_; ++i) out[i] = -out[i];
    };
  };
  for (Model* model : open) {
    if (!model->newton) {
      model->newton = std::make_unique<ConjugateGradients>(size_, options_.n_threads);
    }
    model->newton->start(model->solver->gradient(), tolerance,
                         kNothing * std::abs(model->solver->f()), step_for(*model));
  }
  int n_products = 0;
  for (; !open.empty(); ++n_products) {
    std::vector<HessianPoint> points;
    for (Model* model : open) {
      points.push_back({model->solver->x(), model->newton->direction(), model->newton->product(),
                        model->held_out});
      model->n_passes += 1.5;
    }
    loss_->hessian_products(all, points.data(), static_cast<std::ptrdiff_t>(points.size()));
    if (stop_.stopped()) return n_products;
    std::vector<Model*> still;
    for (Model* model : open) {
      add_penalty(*model, model->newton->direction(), model->newton->product());
      if (model->newton->tell(step_for(*model))) still.push_back(model);
    }
    open = still;
  }
  return n_products;
}

// Whether L-BFGS gets nowhere: after so many iterations it has no bound on the minimum at all.
// Passes of one thread to 1e-4 of L-BFGS, and with Newton's directions from 100, 200 and 300
// iterations: 16,380 texts of 10 of 6000 words at C = 1e4 -, 1784, 1764, 1908; three columns of
// 3000 categories at C = 1e4 361, 412, 361, 361; 3000 x 1000 of three classes at C = 1e4 -, 4046,
// 3321, 3036; lognormal features of 5 classes at C = 100 238, 462, 238, 238. ("-": not in 1000
// iterations, where the first is 15 % above the minimum.)
bool LogisticFit::is_slow(const Model& model) const {
  constexpr std::int64_t kMany = 200;
  return options_.solver == LogisticSolver::kAuto && model.certificate && model.n_iter >= kMany &&
         !std::isfinite(model.gap);
}

// The direction of each model that waits for one of these, and the first trial along it.
int LogisticFit::take_newton_directions(const Rows& all) {
  // Of a fit that was slow: what max_iter allows is not to take ever so long.
  constexpr double kMostPasses = 5.0;
  const double most_passes = kMostPasses * static_cast<double>(options_.max_iter);
  std::vector<Model*> waiting;
  for (Model& model : models_) {
    if (!model.awaits_direction) continue;
    model.by_newton |= arithmetic_ != Arithmetic::kReduced && is_slow(model);
    if (options_.solver == LogisticSolver::kAuto) model.by_newton &= model.n_passes < most_passes;
    if (model.by_newton) waiting.push_back(&model);
  }
  if (waiting.empty()) return 0;
  if (!uses_newton_) {
    uses_newton_ = true;
    calculate_in(arithmetic_);
  }
  const int n_products = solve_newton(waiting, true, kTolerance, all);
  if (stop_.stopped()) return n_products;
  for (Model* model : waiting) {
    model->solver->advance_along(model->newton->solution(), preconditioner_of(*model));
  }
  return n_products;
}

// Models that nothing is proven of, and that L-BFGS takes for finished, or that are to end. It
// knows the curvature only where it has been: 400 sparse rows of two separable classes seemed to be
// 6e-6 of the objective away from the minimum and were above it by all of it. What Newton's step
// promises, with the curvature taken there, is half of that. If it is too much, the fit goes on
// along that step.
int LogisticFit::check_ends(const Rows& all) {
  std::vector<Model*> waiting;
  for (Model& model : models_) {
    if (model.active && model.awaits_check) waiting.push_back(&model);
  }
  if (waiting.empty()) return 0;
  precondition(true, 0.0);
  if (stop_.stopped()) return 0;
  const int n_products = solve_newton(waiting, false, kCheckTolerance, all);
  if (stop_.stopped()) return n_products;
  for (Model* model : waiting) {
    model->awaits_check = false;
    const double *step = model->newton->solution(), *g = model->solver->gradient();
    const double left =
        -0.5 * dot(step, g, size_, options_.n_threads) / std::max(model->solver->f(), 1e-300);
    model->gap = std::isfinite(model->gap) ? std::max(model->gap, left) : left;
    if (model->gap <= kMargin * options_.tol) {
      finish(*model, LogisticStatus::kCertified);
    } else if (model->n_iter >= options_.max_iter) {
      finish(*model, LogisticStatus::kMaxIter);
    } else {
      model->solver->advance_along(step, preconditioner_of(*model));
    }
  }
  return n_products;
}

}  // namespace fastsoftmax
