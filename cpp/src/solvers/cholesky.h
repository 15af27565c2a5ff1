// The Cholesky factor of a symmetric positive semi-definite matrix.
#pragma once

#include <cstddef>

#include "stop_poll.h"

namespace fastsoftmax {

// A (n, n), whose lower triangle counts, becomes L with A = L L', zeros above the diagonal. A row
// that those before it make up, but for rounding, has a diagonal entry of zero, and so has its
// column. False if A is not finite, or if it was stopped. Same bits for any n_threads.
bool factor_semidefinite(double* A, std::ptrdiff_t n, int n_threads, StopPoll& stop);

// X (n_rows, n), rows together: X L = B for what X is before, B; zero where the diagonal of L is.
void solve_from_right(const double* L, std::ptrdiff_t n, std::ptrdiff_t n_rows, double* X,
                      int n_threads);

}  // namespace fastsoftmax
