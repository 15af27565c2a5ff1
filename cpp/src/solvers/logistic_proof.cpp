// The proofs of a fit of logistic regressions: what the certificates are told, and the passes that
// are made for their sake.
#include <algorithm>
#include <cmath>

#include "solvers/logistic_fit.h"
#include "solvers/spd_inverse.h"
#include "solvers/vectors.h"

namespace fastsoftmax {

// What the certificates must know of constant probabilities.
void LogisticFit::sum_classes() {
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

ClassSums LogisticFit::sums_of(Fold held_out) {
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
  sums.class_sums_squared = dot(sums.class_sums.data(), sums.class_sums.data(), n_outputs_ * d_, 1);
  return sums;
}

// True if the model is finished.
bool LogisticFit::update_gap(Model& model, bool thorough) {
  const double f = model.solver->f(), gap = model.certificate->gap(*model.solver, thorough);
  model.gap = gap <= 0.0 ? 0.0 : gap / std::max(f - gap, 1e-300);
  if (model.gap <= options_.tol) finish(model, LogisticStatus::kCertified);
  return !model.active;
}

// Passes for the sake of a bound, once the solver is near enough: at the point in the span of the
// last ones where the gradient seems to be smallest; then, where the residual in the intercepts
// alone keeps the bound from being good enough, with Newton's step in the intercepts to the
// residual that cancels the mixture's in a quarter of it.
void LogisticFit::prove(const Rows& all) {
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

void LogisticFit::evaluate_extra(Model& model, const Rows& all, LossPoint& point) {
  loss_->evaluate(all, &point, 1);
  if (stop_.stopped()) return;
  model.n_passes += 1.0;
  model.certificate->add_extra(*model.solver, point.parameters, point.loss, point.gradient);
  update_gap(model, true);
}

// On the subspace that intercepts live in: a number added to all changes nothing.
std::vector<double> LogisticFit::inverse_intercept_hessian(const Rows& all,
                                                           const LossPoint& point) {
  const auto n = static_cast<std::size_t>(n_outputs_);
  std::vector<double> H(n * n);
  loss_->class_hessian(all, point, nullptr, 0, H.data());
  for (double& h : H) h *= weights_.unit();
  if (n == 1) return {1.0 / std::max(H[0], 1e-300)};
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

}  // namespace fastsoftmax
