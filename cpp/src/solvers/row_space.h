// The span of the rows of X, where X has fewer rows than features: X = L Q with as many orthonormal
// rows of Q as X has rows, so that X W' is L (W Q')', and W has its least norm in the span of Q.
#pragma once

#include <vector>

#include "aligned_buffer.h"
#include "fastsoftmax/matrix.h"
#include "stop_poll.h"

namespace fastsoftmax {

class RowSpace {
 public:
  // L is the Cholesky factor of X X', in float64 whatever X is stored in: 1e-8 of the longest row
  // is what rounding leaves of it. Longer rows come first, so that columns of L do, too: of rows
  // whose lengths are 1e4 apart the inverse of a matrix of columns in any order is rounding.
  RowSpace(const InputView& X, int n_threads, StopPoll& stop);

  // Whether there is such an L: X X' is finite, and nothing has stopped its making.
  bool is_known() const { return is_known_; }

  // L (n, n): rows of X in terms of Q, and which ones.
  InputView rows() const;
  const std::vector<std::ptrdiff_t>& order() const { return order_; }

  // W (n_outputs, d) = coordinates (n_outputs, n) Q.
  void weights_of(const double* coordinates, std::ptrdiff_t n_outputs, double* W) const;

 private:
  template <class In>
  void add_products(const In* data, double* products, StopPoll& stop) const;
  bool sort_rows(const double* products);

  const InputView X_;
  const int n_threads_;
  AlignedBuffer<double> L_;
  std::vector<std::ptrdiff_t> order_;
  bool is_known_;
};

}  // namespace fastsoftmax
