// How many threads to use.
#pragma once

namespace fastsoftmax {

// CPUs this process may use: its affinity, cut to the CPU quota of its control group.
int available_threads();

// What one thread does in a nanosecond, for estimates of work: half of the FMA peak of AVX2 at 3
// GHz in products, measured exponentials of float32 in elements.
constexpr double kProductsPerNs = 20.0, kExponentialsPerNs = 1.0;

// Threads for a call with this many nanoseconds of single-threaded work between two meetings of the
// threads: min(n_requested, available_threads()), where n_requested = 0 means OMP_NUM_THREADS or
// all, and fewer when the work does not pay for them. 1 in a child forked after the first region.
int plan_threads(int n_requested, double work_ns);

}  // namespace fastsoftmax
