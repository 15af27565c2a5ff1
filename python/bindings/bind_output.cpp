// Arrays for results, on memory that earlier results have left behind.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "output_memory.h"

namespace fastsoftmax {
namespace {

namespace py = pybind11;

py::array large_output(const py::tuple& shape, const py::dtype& dtype) {
  std::vector<py::ssize_t> sizes;
  auto bytes = static_cast<std::size_t>(dtype.itemsize());
  for (const py::handle size : shape) {
    sizes.push_back(py::cast<py::ssize_t>(size));
    if (sizes.back() < 0 ||
        __builtin_mul_overflow(bytes, static_cast<std::size_t>(sizes.back()), &bytes)) {
      throw py::value_error("no array can have this shape");
    }
  }
  auto* const block = new OutputMemory::Block{OutputMemory::shared().take(bytes)};
  const py::capsule owner(block, [](void* p) {
    auto* const mine = static_cast<OutputMemory::Block*>(p);
    OutputMemory::shared().give_back(*mine);
    delete mine;
  });
  return py::array(dtype, sizes, block->data, owner);
}

}  // namespace

void bind_output(py::module_& m) {
  m.def("large_output", &large_output, py::arg("shape"), py::arg("dtype"));
}

}  // namespace fastsoftmax
