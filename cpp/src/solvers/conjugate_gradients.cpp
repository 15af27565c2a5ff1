#include "solvers/conjugate_gradients.h"

#include <algorithm>

#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

// Of one system. What is left then is better asked of H at another point.
constexpr int kMaxProducts = 50;

// Curvatures that are smaller parts of the preconditioner's are rounding: of features that depend
// on each other, without a penalty, 1e-20 and less.
constexpr double kNone = 1e-13;

}  // namespace

ConjugateGradients::ConjugateGradients(std::ptrdiff_t size, int n_threads)
    : size_(size),
      n_threads_(n_threads),
      p_(size),
      residual_(size),
      step_(size),
      direction_(size),
      product_(size) {}

void ConjugateGradients::start(const double* g, double tolerance, double rounding,
                               const Precondition& precondition) {
  std::fill_n(p_.data(), size_, 0.0);
  std::copy_n(g, size_, residual_.data());
  precondition(residual_.data(), step_.data());
  std::copy_n(step_.data(), size_, direction_.data());
  squared_ = -dot(residual_.data(), step_.data(), size_, n_threads_);
  of_direction_ = squared_;
  nothing_ = 2.0 * rounding;
  wanted_ = std::max(tolerance * tolerance * squared_, nothing_);
  n_products_ = 0;
}

bool ConjugateGradients::tell(const Precondition& precondition) {
  const double curvature = dot(direction_.data(), product_.data(), size_, n_threads_);
  if (!(squared_ > nothing_ && curvature > kNone * of_direction_)) {
    if (n_products_ == 0) std::copy_n(direction_.data(), size_, p_.data());
    return false;
  }
  const double t = squared_ / curvature;
  add_scaled(t, direction_.data(), p_.data(), size_, n_threads_);
  add_scaled(t, product_.data(), residual_.data(), size_, n_threads_);
  precondition(residual_.data(), step_.data());
  const double squared = -dot(residual_.data(), step_.data(), size_, n_threads_);
  if (!(squared > wanted_) || ++n_products_ >= kMaxProducts) return false;
  const double share = squared / squared_;
  squared_ = squared;
  of_direction_ = squared + share * share * of_direction_;  // steps are orthogonal in that norm
  for_vector_blocks(size_, n_threads_,
                    [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
                      for (std::ptrdiff_t i = begin; i < end; ++i) {
                        direction_[i] = step_[i] + share * direction_[i];
                      }
                    });
  return true;
}

}  // namespace fastsoftmax
