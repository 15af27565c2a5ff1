// Arrays for results, on memory that earlier results have left behind.
#include <pybind11/numpy.h>

#include <memory>

#include "bindings.h"
#include "output_memory.h"

namespace fastsoftmax {
namespace {

namespace py = pybind11;

struct OwnedBlock {
  explicit OwnedBlock(std::size_t bytes) : block(OutputMemory::shared().take(bytes)) {}
  ~OwnedBlock() { OutputMemory::shared().give_back(block); }
  OwnedBlock(const OwnedBlock&) = delete;
  OwnedBlock& operator=(const OwnedBlock&) = delete;

  const OutputMemory::Block block;
};

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
  auto block = std::make_unique<OwnedBlock>(bytes);
  void* const data = block->block.data;
  const py::capsule owner(block.get(), [](void* p) { delete static_cast<OwnedBlock*>(p); });
  block.release();
  return py::array(dtype, sizes, data, owner);
}

}  // namespace

void bind_output(py::module_& m) {
  m.def("large_output", &large_output, py::arg("shape"), py::arg("dtype"));
}

}  // namespace fastsoftmax
