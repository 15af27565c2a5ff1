// The loss of logistic regressions and its gradient, for several models in one pass over X,
// whatever X is: the solvers know no more of the data than this. The penalty is theirs.
#pragma once

#include <cstdint>
#include <memory>

#include "fastsoftmax/logistic.h"
#include "parallel.h"
#include "splitmix64.h"
#include "stop_poll.h"

namespace fastsoftmax {

// All rows, or one drawn from each run of `stride` rows, by the seed alone.
struct Rows {
  std::ptrdiff_t n_total = 0, stride = 1;
  std::uint64_t seed = 0;

  std::ptrdiff_t size() const { return n_total / stride; }
  std::ptrdiff_t operator[](std::ptrdiff_t j) const {
    if (stride == 1) return j;
    const std::uint64_t count = static_cast<std::uint64_t>(j + 1) * splitmix64::kGolden;
    const std::uint64_t random = splitmix64::mix(seed + count);
    return j * stride + static_cast<std::ptrdiff_t>(random % static_cast<std::uint64_t>(stride));
  }
};

// A model's parameters, W (n_outputs, n_features) and then b (n_outputs), and what is asked there.
struct LossPoint {
  const double* parameters;
  double* gradient;  // like parameters
  double loss;
  std::int32_t held_out;        // rows of this fold count nothing
  double scale;                 // of the loss and the gradient
  float* row_losses = nullptr;  // (rows.size()), each times its weight, or not wanted
};

// A point and a direction from there, both like parameters, and the Hessian of the loss at the
// point times the direction.
struct HessianPoint {
  const double* parameters;
  const double* direction;
  double* product;
  std::int32_t held_out;
};

// Of products: in float32, of reduced precision or not, or in float64.
enum class Arithmetic { kReduced, kSingle, kDouble };

class LogisticLoss {
 public:
  virtual ~LogisticLoss() = default;

  // What losses and gradients have: no less than was asked for. Inputs in float64 are always worked
  // with in that, and only packed tiles know reduced precision.
  virtual Arithmetic arithmetic() const = 0;
  virtual double entries_per_row() const = 0;

  // Fills loss and gradient of each point; after a stop they mean nothing.
  virtual void evaluate(const Rows& rows, LossPoint* points, std::ptrdiff_t n_points) = 0;

  // Fills the product of each point, in the time of one and a half evaluations: X' (diag(p) - p p')
  // X needs the logits of point and direction, and one product back.
  virtual void hessian_products(const Rows& rows, const HessianPoint* points,
                                std::ptrdiff_t n_points) = 0;

  // curvature (rows.size()): s_i / unit (1 - sum_k p_ik^2) / (K - 1) at the parameters, the mean of
  // the eigenvalues but for the zero of the Hessian of a row's loss in its logits; for two classes
  // it is that Hessian, of one number.
  virtual void curvature(const Rows& rows, const LossPoint& point, float* curvature) = 0;

  // hessian, (n_outputs, n_directions + 1) squared: sum_i s_i / unit (diag(p_i) - p_i p_i') (x)
  // u_i u_i', of the loss along n_directions of the features and in the intercepts, whose u is 1.
  // The others are the logits of as many outputs as parameters of further models make.
  virtual void class_hessian(const Rows& rows, const LossPoint& point,
                             const double* const* directions, std::ptrdiff_t n_directions,
                             double* hessian) = 0;

  // sums (n_classes, n_features) = sum_i s_i part_i x_i of the rows of each class; part (n_rows),
  // or null: ones.
  virtual void class_sums(std::int32_t held_out, const float* part, double* sums) = 0;

  // The features [begin, end) of X' diag(c) X, lower triangle, in gram (n, n) with n = end - begin,
  // and of c' X in sums (n); diagonal_only: (n) numbers.
  virtual void gram(const Rows& rows, const float* c, Range features, bool diagonal_only,
                    double* gram, double* sums) = 0;
};

// The loss of a problem that has been checked. max_points: the most that evaluate is called with,
// or hessian_products, if it is at all.
std::unique_ptr<LogisticLoss> make_loss(const LogisticProblem& problem, Arithmetic arithmetic,
                                        std::ptrdiff_t max_points, bool has_hessian_products,
                                        int n_threads, StopPoll& stop);

}  // namespace fastsoftmax
