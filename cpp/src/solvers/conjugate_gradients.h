// Preconditioned conjugate gradients for Newton's equations H p = -g, by reverse communication: it
// says of which direction it wants the product with H, is told, and says when p is good enough
// (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithms 5.3 and 7.1).
#pragma once

#include <functional>

#include "aligned_buffer.h"

namespace fastsoftmax {

class ConjugateGradients {
 public:
  // out = -M v, M a positive definite matrix near H^-1, the same from start to the end.
  using Precondition = std::function<void(const double* v, double* out)>;

  ConjugateGradients(std::ptrdiff_t size, int n_threads);

  // Begins at p = 0. The end is where the residual is below this part of g, both measured with M,
  // or where what is left to gain is no more than rounding.
  void start(const double* g, double tolerance, double rounding, const Precondition& precondition);

  // The product of H with this is wanted there.
  const double* direction() const { return direction_.data(); }
  double* product() { return product_.data(); }
  // It is there: true if another is wanted.
  bool tell(const Precondition& precondition);

  const double* solution() const { return p_.data(); }

 private:
  const std::ptrdiff_t size_;
  const int n_threads_;
  AlignedBuffer<double> p_, residual_, step_, direction_, product_;  // step_: -M residual
  double of_direction_ = 0.0;  // its square in the norm of the preconditioned matrix
  // residual' M residual; where that is to end, and what is rounding
  double squared_ = 0.0, wanted_ = 0.0, nothing_ = 0.0;
  int n_products_ = 0;
};

}  // namespace fastsoftmax
