// One bind function per concept; module.cpp is their list.
#pragma once

#include <pybind11/pybind11.h>

#include "fastsoftmax/threads.h"

namespace fastsoftmax {

// Threads for a call that is one parallel region. A second thread must save some 25 microseconds:
// the end of the region waits for it, and where it has no CPU that is a time slice (100 rows of
// MNIST: 13 microseconds in place of 21, or 5 milliseconds).
inline int plan_call(int n_threads, double work_ns) { return plan_threads(n_threads, work_ns / 5); }

void bind_isa(pybind11::module_& m);
void bind_functions(pybind11::module_& m);
void bind_logistic(pybind11::module_& m);
void bind_objective(pybind11::module_& m);
void bind_output(pybind11::module_& m);
void bind_solvers(pybind11::module_& m);

}  // namespace fastsoftmax
