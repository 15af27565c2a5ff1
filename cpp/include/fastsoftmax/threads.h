// How many threads to use, and calls on them.
#pragma once

#include <functional>

namespace fastsoftmax {

// CPUs this process may use: its affinity, cut to the CPU quota of its control group, or what the
// environment's FASTSOFTMAX_CPUS says. Throws std::invalid_argument, as plan_threads does, if that
// is no positive integer.
int available_threads();

// What one thread does in a nanosecond, for estimates of work: half of the FMA peak of AVX2 at 3
// GHz in products, measured exponentials of float32 in elements.
constexpr double kProductsPerNs = 20.0, kExponentialsPerNs = 1.0;

// Threads for a call with this many nanoseconds of single-threaded work between two meetings of the
// threads: min(n_requested, available_threads()), where n_requested = 0 means OMP_NUM_THREADS or
// all, and fewer when the work does not pay for them. In a forked child, one of many as a rule, 0
// means 1.
int plan_threads(int n_requested, double work_ns);

// call(n_threads) for a call that is one parallel region. As plan_threads has it where calls follow
// each other within 100 microseconds, for the threads of one are awake still for the next (the
// second of short calls wakes them); and only as many threads as save 25 microseconds each
// otherwise, as they have to be woken. Who has no CPU is not waited for. The call may throw.
void call_on_threads(int n_requested, double work_ns, const std::function<void(int)>& call);

}  // namespace fastsoftmax
