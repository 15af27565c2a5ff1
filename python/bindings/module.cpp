// fastsoftmax._core: the table of contents. Its signatures are in _core.pyi.
#include "bindings.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of fastsoftmax. Private: arrays must already be of the right kind.";
  fastsoftmax::bind_isa(m);
  fastsoftmax::bind_functions(m);
  fastsoftmax::bind_objective(m);
  fastsoftmax::bind_output(m);
  fastsoftmax::bind_logistic(m);
  fastsoftmax::bind_solvers(m);
}
