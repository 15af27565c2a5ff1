// What a preconditioner that is one matrix F for all classes does not know: the curvature between
// classes, along the few directions of the features, Z, in which there is most of it, and in the
// intercepts. There the inverse of F is replaced by that of the Hessian H itself:
//
//   (Z' H Z)^-1 - (Z' F Z)^-1 (x) I, put into the coordinates of Z
//
// so that the whole stays positive definite, whatever the directions.
#pragma once

#include <vector>

#include "aligned_buffer.h"
#include "logistic/loss.h"

namespace fastsoftmax {

class ClassCurvature {
 public:
  // F (n_features, n_features): its largest directions, n_directions of them or none if they are
  // not finite. total: the curvature of an intercept in F.
  ClassCurvature(const double* F, std::ptrdiff_t n_features, std::ptrdiff_t n_directions,
                 double total, int n_threads);

  // H at the point, from some of the rows, which are to be multiplied by scale; means of the
  // features where intercepts stand apart. False if nothing of use comes of it.
  bool build(LogisticLoss& loss, const Rows& rows, const LossPoint& point, double scale,
             double penalty, const double* means, std::ptrdiff_t n_outputs, bool fit_intercept);

  // Adds what is missing, g and out (n_outputs, n_features + 1) being in terms of weights that
  // intercepts stand apart from, those last.
  void add(const double* g, const double* g_intercepts, double* out, double* out_intercepts) const;

 private:
  void find_directions(const double* F);

  const std::ptrdiff_t n_features_;
  std::ptrdiff_t n_directions_, n_outputs_ = 0;
  const double total_;
  const int n_threads_;
  std::vector<double> Z_;           // (n_directions, n_features), orthonormal
  std::vector<double> F_;           // (n_directions, n_directions) Z' F Z
  std::vector<double> correction_;  // (n_outputs, n_directions + 1) squared
};

}  // namespace fastsoftmax
