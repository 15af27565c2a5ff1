// fastsoftmax._core: the table of contents. Its signatures are in _core.pyi.
#include "bindings.h"

PYBIND11_MODULE(_core_of_main, m) {
  m.doc() = "The C++ core of fastsoftmax. Private: arrays must already be of the right kind.";
  fastsoftmax::bind_checks(m);
  fastsoftmax::bind_isa(m);
  fastsoftmax::bind_functions(m);
  fastsoftmax::bind_objective(m);
  fastsoftmax::bind_output(m);
  fastsoftmax::bind_logistic(m);
  fastsoftmax::bind_sgd(m);
}

// In a sub-interpreter of Python 3.11 pybind11 waits for a lock that its own thread holds.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_of_main();
  PyErr_SetString(PyExc_ImportError, "fastsoftmax cannot be imported by a sub-interpreter");
  return nullptr;
}
