// The inverse of a symmetric positive definite matrix.
#pragma once

#include <cstddef>

namespace fastsoftmax {

// A (n, n), whose lower triangle counts, becomes its inverse, both triangles. False if a pivot is
// not above smallest_pivot: then the lower triangle holds nothing of use, and the rest of A is as
// it was. Same bits for any n_threads.
bool invert_spd(double* A, std::ptrdiff_t n, double smallest_pivot, int n_threads);

}  // namespace fastsoftmax
