// One bind function per concept; module.cpp is their list.
#pragma once

#include <pybind11/pybind11.h>

namespace fastsoftmax {

void bind_checks(pybind11::module_& m);
void bind_isa(pybind11::module_& m);
void bind_functions(pybind11::module_& m);
void bind_logistic(pybind11::module_& m);
void bind_objective(pybind11::module_& m);
void bind_output(pybind11::module_& m);
void bind_sgd(pybind11::module_& m);

}  // namespace fastsoftmax
