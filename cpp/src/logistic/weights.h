// The weights of rows: sample weights, divided by the largest so that they fit any arithmetic, and
// zero for the rows of a model's fold.
#pragma once

#include <algorithm>

#include "fastsoftmax/logistic.h"

namespace fastsoftmax {

class RowWeights {
 public:
  explicit RowWeights(const LogisticProblem& problem)
      : sample_weight_(problem.sample_weight), fold_of_row_(problem.fold_of_row) {
    if (!sample_weight_) return;
    const double largest = *std::max_element(sample_weight_, sample_weight_ + problem.n_rows());
    if (largest > 0) unit_ = largest;
  }

  bool all_one() const { return !sample_weight_ && !fold_of_row_; }
  bool by_model() const { return fold_of_row_ != nullptr; }
  // What the weights were divided by.
  double unit() const { return unit_; }
  double operator()(std::ptrdiff_t row, std::int32_t held_out) const {
    if (fold_of_row_ && held_out >= 0 && fold_of_row_[row] == held_out) return 0.0;
    return sample_weight_ ? sample_weight_[row] / unit_ : 1.0;
  }

 private:
  const double* sample_weight_;
  const std::int32_t* fold_of_row_;
  double unit_ = 1.0;
};

}  // namespace fastsoftmax
