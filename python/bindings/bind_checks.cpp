#include "bindings.h"
#include "fastsoftmax/checks.h"
#include "gil.h"
#include "numpy.h"

namespace fastsoftmax {
namespace {

py::object first_nonfinite(const py::array& X) {
  const InputView view = input_view(X);
  std::ptrdiff_t row = 0, col = 0;
  bool found;
  {
    const ReleasedGil release;
    found = find_nonfinite(view, &row, &col);
  }
  return found ? py::object(py::make_tuple(row, col)) : py::none();
}

float largest_entry(const py::array& X) {
  const InputView view = input_view(X);
  if (view.storage != Storage::kFloat32) throw py::type_error("X must be of float32");
  const ReleasedGil release;
  return largest_size(static_cast<const float*>(view.data), view.n_rows, view.n_cols,
                      view.row_stride);
}

}  // namespace

void bind_checks(py::module_& m) {
  m.def("first_nonfinite", &first_nonfinite, py::arg("X").noconvert());
  m.def("largest_size", &largest_entry, py::arg("X").noconvert());
}

}  // namespace fastsoftmax
