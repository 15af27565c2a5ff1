// Where the rows lie that a class is still uncertain of. The curvature of the loss in the weights
// of class k is sum_i s_i p_ik (1 - p_ik) x_i x_i', most of it along the mean of x_i in that sum:
// by these means, more than by anything else, do the Hessian's blocks of the classes differ.
#pragma once

#include <vector>

#include "logistic/loss.h"
#include "logistic/weights.h"

namespace fastsoftmax {

struct ClassCentres {
  std::vector<double> total;   // (n_outputs)
  std::vector<double> centre;  // (n_outputs, n_features)
};

// Of three classes or more, at a point: K / (K - 1) times the sums of s_i w_ik, and the means of
// x_i with these weights, w_ik being p_ik (1 - p_ik) for the rows of class k and p_ik for all
// others. As the gradient is a sum over p_ik - 1 and p_ik, it takes one reading of X more, for 1 -
// p_ik^2 of the rows of each class (p_ik (1 - p_ik) of all rows would take half a pass, and saves
// no iteration). gradient: of the loss there, like parameters; row_losses (n_rows): each times its
// weight.
ClassCentres class_centres(LogisticLoss& loss, const LogisticProblem& problem,
                           const RowWeights& weights, std::int32_t held_out,
                           std::vector<float> row_losses, const double* gradient, int n_threads);

}  // namespace fastsoftmax
