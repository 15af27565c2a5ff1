// The span of the rows of X, where X has fewer rows than features: X = L Q with as many orthonormal
// rows of Q as X has rows, so that X W' is L (W Q')', and W has its least norm in the span of Q.
#pragma once

#include "aligned_buffer.h"
#include "fastsoftmax/matrix.h"
#include "logistic/stop_poll.h"

namespace fastsoftmax {

class RowSpace {
 public:
  // L is the Cholesky factor of X X', in float64 whatever X is stored in: 1e-8 of the longest row
  // is what rounding leaves of it.
  RowSpace(const InputView& X, int n_threads, StopPoll& stop);

  // Whether there is such an L: X X' is finite, and nothing has stopped its making.
  bool is_known() const { return is_known_; }

  // L (n, n): rows of X in terms of Q.
  InputView rows() const;

  // W (n_outputs, d) = coordinates (n_outputs, n) Q.
  void weights_of(const double* coordinates, std::ptrdiff_t n_outputs, double* W) const;

 private:
  template <class In>
  void add_products(const In* data, StopPoll& stop);

  const InputView X_;
  const int n_threads_;
  AlignedBuffer<double> L_;
  bool is_known_;
};

}  // namespace fastsoftmax
