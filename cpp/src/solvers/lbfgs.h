// L-BFGS by reverse communication: it says where it wants the objective and its gradient, is told,
// and says where next, so that many minimisations can share each pass over the data.
//
// The first matrix of the recursion is a preconditioner of the caller's, scaled to the last pair
// (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.4).
#pragma once

#include <functional>

#include "aligned_buffer.h"

namespace fastsoftmax {

// Of an objective: what promises less is made of rounding. Along features that depend on each
// other, without a penalty, such a step is not lengthened, for its slope stays what it is until
// weights of 1e14 have made the objective out of the rounding of logits, nor is a product with the
// Hessian asked for, which enlarges it.
constexpr double kNothing = 1e-14;

class Lbfgs {
 public:
  // out = (approximate Hessian)^-1 g
  using Precondition = std::function<void(const double* g, double* out)>;

  Lbfgs(std::ptrdiff_t size, std::ptrdiff_t memory, int n_threads);

  // Starts anew from a point, or from where it is, without what it has learnt.
  void start(const double* x);
  void restart();
  // Takes the objective as known to this relative error.
  void set_noise(double noise) { noise_ = noise; }

  // Where the objective and its gradient are wanted, and the place for the latter.
  const double* trial() const { return trial_.data(); }
  double* trial_gradient() { return trial_gradient_.data(); }

  enum class Outcome { kSearching, kStepped, kRestarted, kStuck };
  // What they are there. kStepped: an iteration has ended there; call advance next. kRestarted: no
  // lower point was found, so it is where it was and has forgotten its pairs; call advance too.
  // kStuck: none was found along the preconditioned gradient either, nor, of a first step, along
  // the gradient.
  Outcome tell(double f);
  // The next direction, and the first trial along it.
  void advance(const Precondition& precondition);
  // A direction of the caller's, downhill, or advance's own if it is not.
  void advance_along(const double* direction, const Precondition& precondition);
  // out = -(approximate Hessian)^-1 v, by the pairs and the preconditioner.
  void step_for(const double* v, const Precondition& precondition, double* out);

  const double* x() const { return x_.data(); }
  const double* gradient() const { return g_.data(); }
  double f() const { return f_; }
  // The half of what the last direction's slope promised: an estimate of what is left to gain.
  double decrement() const { return -0.5 * slope_; }

  // The pairs, newest first: x and g of one iteration less those of the one before.
  std::ptrdiff_t n_pairs() const { return n_pairs_; }
  const double* s(std::ptrdiff_t age) const { return S_.data() + place(age) * size_; }
  const double* y(std::ptrdiff_t age) const { return Y_.data() + place(age) * size_; }

 private:
  std::ptrdiff_t place(std::ptrdiff_t age) const { return (n_stored_ - 1 - age) % memory_; }
  void take_trial();
  void try_step(double t);
  void search(double t);
  template <class Added, class Dotted, class Factor>
  void along_pairs(double* v, const Added& added, const Dotted& dotted, const Factor& factor,
                   double* factors) const;
  Outcome give_up();

  const std::ptrdiff_t size_, memory_;
  const int n_threads_;
  AlignedBuffer<double> x_, g_, trial_, trial_gradient_, p_, scratch_, S_, Y_, rho_;
  std::ptrdiff_t n_pairs_ = 0, n_stored_ = 0;
  double f_ = 0.0, slope_ = 0.0, noise_ = 1e-15;
  bool has_start_ = false, has_stepped_ = false, retried_ = false;

  // The line search: a step that is too short and one that is too long, with what was seen there.
  struct End {
    double t, f, slope;
  };
  double t_ = 0.0;
  End low_{}, high_{};
  bool has_high_ = false;
  int n_trials_ = 0;
};

}  // namespace fastsoftmax
