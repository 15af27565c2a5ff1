#include <pybind11/stl.h>

#include "bindings.h"
#include "fastsoftmax/isa.h"
#include "fastsoftmax/threads.h"

namespace fastsoftmax {

namespace py = pybind11;

void bind_isa(py::module_& m) {
  m.def("supported_isas", &supported_isas);
  m.def("active_isa", &active_isa);
  m.def("set_active_isa", &set_active_isa, py::arg("name"));
  m.def("available_threads", &available_threads);
  m.def("plan_threads", &plan_threads, py::arg("n_threads"), py::arg("work_ns"));
}

}  // namespace fastsoftmax
