// The curvature of the objective in the weights of one class, as one matrix for all classes:
//
//   F = [X 1]' diag(c) [X 1] + penalty I,  c_i = s_i (1 - sum_k p_ik^2) / (K - 1)
//
// (of two classes, with one row of weights, c_i = s_i p_i (1 - p_i)) from some of the rows at some
// point, without penalty for the intercept. X is left as it is. If the centres of the classes are
// known, class k has a matrix of its own instead,
//
//   X' diag(c) X - total mean mean' + penalty I  +  total_k [centre_k 1]' [centre_k 1],
//
// which costs no more: in terms of b + centre_k' w the intercept stands apart from w.
//
// Of three classes and more only what differs between them counts. What they have in common changes
// no probability: gradients have none of it, and steps get none, as the penalty alone, or nothing,
// would hold it. Matrices of the classes that let it through stall: 2,000 x 20 of 5 classes at a
// gap of 1e-7. Nor may rounding bring it in: at the minimum of 150 x 4 of 3 classes at C = inf it
// became steps of 1e12, and logits without their digits.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "aligned_buffer.h"
#include "logistic/loss.h"
#include "solvers/class_centres.h"
#include "solvers/class_curvature.h"

namespace fastsoftmax {

class Preconditioner {
 public:
  // The features in blocks, of which the last may be smaller; of 1: a diagonal.
  Preconditioner(std::ptrdiff_t n_features, std::ptrdiff_t block, bool fit_intercept,
                 int n_threads);

  // The mean over all rows of the square of a feature that is zero in all rows that a curvature is
  // taken from; not for a diagonal.
  using Unseen = std::function<double(std::ptrdiff_t feature)>;

  // c (rows.size()), that of the point, to be multiplied by scale; its sum counts as least_total at
  // least, as do the totals of the centres together. n_directions: of the features, in which the
  // curvature between the classes is known too, or centres, which may be empty.
  void build(LogisticLoss& loss, const Rows& rows, const LossPoint& point, const float* c,
             double scale, double least_total, double penalty, std::ptrdiff_t n_outputs,
             std::ptrdiff_t n_directions, ClassCentres centres, const Unseen& unseen = nullptr);

  // out = F^-1 g, corrected in the directions that are known better (class_curvature.h), less what
  // is common to three classes and more; W (n_outputs, n_features) and then b (n_outputs).
  void apply(const double* g, std::ptrdiff_t n_outputs, double* out) const;

  // The sum of c over all rows.
  double total() const { return total_; }
  bool has_centres() const { return !centres_.total.empty(); }
  // That it was built for.
  double penalty() const { return penalty_; }
  // Of the features, on the diagonal, with the penalty: 0 if there is one of which nothing is
  // known.
  double least_curvature() const { return least_curvature_; }
  // What an objective with this curvature, at its minimum x, gains if x is rounded to float32: as
  // if roundings were independent, but for their common effect on samples that all have the means.
  double cost_of_float32(const double* x, std::ptrdiff_t n_outputs) const;

 private:
  template <class F>
  void for_outputs(std::ptrdiff_t n_outputs, const F& f) const;
  void build_block(double* gram, Range features, double penalty);
  void build_border(std::ptrdiff_t n_outputs);
  void solve(double* g, std::ptrdiff_t n_outputs, double* out) const;
  void apply_to_all(const double* g, std::ptrdiff_t n_outputs, double* out) const;
  void apply_to_classes(const double* g, std::ptrdiff_t n_outputs, double* out) const;
  const double* centre(std::ptrdiff_t r) const { return centres_.centre.data() + r * n_features_; }
  Range block(std::ptrdiff_t i) const {
    return {i * block_, std::min(n_features_, (i + 1) * block_)};
  }

  const std::ptrdiff_t n_features_, block_;
  const bool fit_intercept_;
  const int n_threads_;
  AlignedBuffer<double> inverse_;  // the blocks, one after the other
  AlignedBuffer<double> scale_;    // of the features, so that the matrix has a diagonal of ones
  AlignedBuffer<double> means_;    // of the features, weighted by c
  double total_ = 1.0;             // of c
  double penalty_ = 0.0, least_curvature_ = HUGE_VAL;
  std::unique_ptr<ClassCurvature> classes_;
  ClassCentres centres_;
  // Of centres without intercepts: A^-1 centre and centre' A^-1 centre, A being F without its last
  // term.
  std::vector<double> border_, corner_;
};

}  // namespace fastsoftmax
