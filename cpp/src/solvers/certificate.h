// Lower bounds on the minimum of a penalised objective, from the points that a solver has been to.
//
// The probabilities at a point j are a point of the dual (logistic.h) with the gradient G_j and the
// negative entropy E_j = sum_i s_i sum_k p_ik log p_ik = <G_j, W_j> + <r_j, b_j> - loss_j, where
// r_j is the gradient in the intercepts. Entropy is concave, so every convex combination c of such
// points gives the bound -c' E - |sum_j c_j G_j|^2 / (2 penalty), if sum_j c_j r_j is zero. The
// best combination is a small quadratic program in the products of the G_j, and the solver's pairs
// have those: no pass over X is needed.
//
// The residual sum_j c_j r_j is cancelled exactly by a share of constant probabilities, whose
// gradient is known from sums over X. That share costs as much as the residual is large; where the
// bound would do without it, a further point, of other intercepts alone, brings the residual down.
//
// Bounds hold but for the rounding of the losses and gradients. That of the sums of products, which
// may cancel (1e100 of inputs of 1e50, 1e23 of features with a mean of 1e9), is taken off: it is
// known by the sizes of what is added up, the magnitudes below. So is that of logits and gradients
// which are small differences of large numbers: of weights times means, of residuals times means.
#pragma once

#include <algorithm>
#include <vector>

#include "solvers/lbfgs.h"

namespace fastsoftmax {

// What constant probabilities need to know of the rows that count.
struct ClassSums {
  std::vector<double> weight;  // (n_outputs) of each class, or of class 1 of two
  double total_weight = 0.0;
  std::vector<double> sum;         // (n_features) sum_i s_i x_i
  std::vector<double> class_sums;  // (n_outputs, n_features) of the rows of each class
  std::vector<double> products;    // (n_outputs) class_sums . sum
  double sum_squared = 0.0, class_sums_squared = 0.0;
};

class Certificate {
 public:
  // sums is null without intercepts.
  Certificate(std::ptrdiff_t n_outputs, std::ptrdiff_t n_features, double penalty,
              std::ptrdiff_t max_points, const ClassSums* sums, int n_threads);

  // What a residual r costs: |r|^2 / (2 curvature), of the sum of the rows' curvatures.
  void set_curvature(double curvature) { residual_price_ = 1.0 / curvature; }

  // The best bound so far, and one that was made before.
  double bound() const { return bound_; }
  void know(double bound) { bound_ = std::max(bound_, bound); }

  // The point that the solver is at, loss without and gradient with the penalty.
  void add(const Lbfgs& solver, double loss);
  // A point of the caller's own: its loss and gradient without the penalty.
  void add_extra(const Lbfgs& solver, const double* parameters, double loss,
                 const double* gradient);
  // The point in the affine span of the solver's last ones where the gradient would be smallest if
  // it were linear; the gap that it would then have.
  double smooth(const Lbfgs& solver, double* parameters) const;

  // The gap between f, the objective where the solver is, and the best bound so far, which is made
  // to be good enough for the goal. thorough: also with shares that leave hardly any residual.
  double gap(const Lbfgs& solver, double goal, bool thorough);
  // What it would be if the residual were nothing, and that residual.
  double gap_without_residual() const { return free_gap_; }
  const std::vector<double>& residual() const { return residual_of_mixture_; }

 private:
  static constexpr std::ptrdiff_t kExtra = 4;

  struct Mixture {
    double entropy = 0.0, squared = 0.0, sum_xy = 0.0;  // E, |G|^2, <G, class_sums>
    double magnitude = 0.0, entropy_magnitude = 0.0;    // of what was added up to |G|^2, to E
    double in_logits = 0.0, in_gradient = 0.0;  // what their rounding leaves of E and of |G|
    std::vector<double> residual, on_sum;
  };

  // The places of the points: a ring of the solver's, newest first, then the extra ones.
  std::ptrdiff_t place(std::ptrdiff_t age) const {
    return (newest_ - age + max_points_) % max_points_;
  }
  std::vector<std::size_t> points() const;
  void keep(std::ptrdiff_t n_points);
  double logit_rounding(const double* W, double loss) const;
  double gradient_rounding(double loss) const;
  double cost_of_rounding(double in_gradient, double squared, double loss) const;
  void describe(std::ptrdiff_t at, const double* G, const double* x, const double* r, double loss);
  void put_products(std::ptrdiff_t at, const double* G, const Lbfgs& solver, double product);
  void set_product(std::ptrdiff_t i, std::ptrdiff_t j, double product);
  void combine(const double* b, double f, double goal, double residual_price, int steps_per_point);
  Mixture mix() const;
  // Constant probabilities that, with a share of theta, cancel a mixture's residual.
  struct Constant {
    double theta = 0.0, entropy = 0.0, squared = 0.0, with_mixture = 0.0;  // E, |G|^2, <G, G>
    double magnitude = 0.0, with_magnitude = 0.0;  // of what was added up to the latter two
  };
  Constant cancel(const Mixture& mixture) const;
  double bound_of(const Mixture& mixture) const;
  void consider(const Mixture& mixture, const double* b, double f, double* best);
  Mixture cancelled_by_extra();
  double rounding_of(const Mixture& mixture, const Constant& constant, double squared) const;
  // The gap of the newest point alone, without the cancellation between f and the bound.
  double own_gap(const Lbfgs& solver) const;

  const std::ptrdiff_t n_outputs_, size_, max_points_, n_places_;  // size_: of W
  const double penalty_;
  const ClassSums* const sums_;
  const int n_threads_;
  double residual_price_ = 0.0;

  std::vector<double> G_, extra_G_;  // of the newest point and of the extra ones
  // Of each place: the products of their G and of their r, E, r, the products with the sums over X,
  // the share.
  std::vector<double> gram_, entropy_, entropy_magnitude_, residual_gram_, residual_, on_sum_,
      sum_xy_, share_;
  std::vector<double> logit_rounding_, gradient_rounding_;  // of the loss and of |G|
  std::ptrdiff_t n_points_ = 0, newest_ = 0, n_extra_ = 0, next_extra_ = 0;
  std::vector<double> target_, residual_of_mixture_;
  double bound_ = -1e300, free_gap_ = 1e300;
};

}  // namespace fastsoftmax
