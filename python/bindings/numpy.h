// NumPy arrays as the core's views. The Python layer has chosen dtypes and made copies; here
// everything that memory safety rests on is checked once more, and nothing is converted.
#pragma once

#include <pybind11/numpy.h>

#include <initializer_list>
#include <string>

#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

namespace py = pybind11;

// The message, in two parts, is put together where it is needed: strings for calls without an error
// were a ninth of a prediction of one row, and a quarter of a fit of sparse rows.
inline void require(bool condition, const char* message, const char* more = "") {
  if (!condition) throw py::value_error(std::string(message) + more);
}

// Whether an array has the dtype of T in native byte order. The type number says so at once; where
// it does not (long and long long are both 64 bits), NumPy is asked.
template <class T>
bool has_dtype(const py::array& a) {
  const py::dtype dtype = a.dtype();
  if (dtype.byteorder() == '>' || dtype.byteorder() == '<') return false;
  constexpr int kNumber = py::detail::npy_format_descriptor<T>::value;
  return dtype.num() == kNumber || py::isinstance<py::array_t<T>>(a);
}

// The input dtypes: one row each.
inline Storage storage_of(const py::array& a, const char* name) {
  if (has_dtype<float>(a)) return Storage::kFloat32;
  if (has_dtype<double>(a)) return Storage::kFloat64;
  if (has_dtype<std::uint8_t>(a)) return Storage::kUInt8;
  throw py::type_error(std::string(name) +
                       " must be float32, float64 or uint8 in native byte order");
}

// A stride in elements. That of an axis with fewer than two entries means nothing.
inline py::ssize_t element_stride(const py::array& a, int axis, const char* name) {
  if (a.shape(axis) < 2) return axis == 0 && a.ndim() > 1 ? a.shape(1) : 1;
  require(a.strides(axis) % a.itemsize() == 0, name, " must have strides of whole elements");
  return a.strides(axis) / a.itemsize();
}

inline StridedInputView strided_input(const py::array& a, const char* name) {
  const Storage storage = storage_of(a, name);
  require(a.ndim() == 2, name, " must have two dimensions");
  require(a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_, name, " must be aligned");
  return {storage,
          a.data(),
          a.shape(0),
          a.shape(1),
          element_stride(a, 0, name),
          element_stride(a, 1, name)};
}

// X: contiguous columns, any row stride.
inline InputView input_view(const py::array& a, const char* name = "X") {
  const StridedInputView view = strided_input(a, name);
  require(view.col_stride == 1, name, " must have contiguous columns");
  return {view.storage, view.data, view.n_rows, view.n_cols, view.row_stride};
}

// A C-contiguous, aligned array of exactly this dtype and shape.
template <class T>
const T* checked_data(const py::array& a, std::initializer_list<py::ssize_t> shape,
                      const char* name) {
  if (!has_dtype<T>(a)) {
    throw py::type_error(std::string(name) + " must have dtype " +
                         py::cast<std::string>(py::str(py::dtype::of<T>())) +
                         " in native byte order");
  }
  constexpr int kFlags =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  require((a.flags() & kFlags) == kFlags, name, " must be C-contiguous and aligned");
  bool fits = a.ndim() == static_cast<py::ssize_t>(shape.size());
  for (py::ssize_t axis = 0; fits && axis < a.ndim(); ++axis) {
    fits = a.shape(axis) == shape.begin()[axis];
  }
  require(fits, name, " does not have the shape that the other arguments ask for");
  return static_cast<const T*>(a.data());
}

template <class T>
T* checked_output(py::array& a, std::initializer_list<py::ssize_t> shape, const char* name) {
  checked_data<T>(a, shape, name);
  require(a.writeable(), name, " must be writeable");
  return static_cast<T*>(a.mutable_data());
}

// Calls f(T()) for the arithmetic type T that an array has.
template <class F>
auto with_arithmetic(const py::array& a, const char* name, const F& f) {
  switch (storage_of(a, name)) {
    case Storage::kFloat32:
      return f(float());
    case Storage::kFloat64:
      return f(double());
    default:
      throw py::type_error(std::string(name) + " must be float32 or float64");
  }
}

}  // namespace fastsoftmax
