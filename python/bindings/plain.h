// Plain arrays: NumPy's own class, float32 or float64, where kernels read and write them. Here only
// what they are is asked; what is wrong with others Python says.
#pragma once

#include <cstdint>
#include <optional>

#include "numpy.h"

namespace fastsoftmax {

// Whether there is so little to do, a nanosecond for each result included, that plain arrays are
// taken as they are: the checks of Python take 8 microseconds on a Zen 1, where one thread makes
// the product of 100x784x10 in 48. (Large results come on the core's memory, by way of Python.)
inline bool is_little(double work_ns, double n_results) { return work_ns + n_results <= 1e6; }

inline bool is_ndarray(py::handle x) {
  return Py_TYPE(x.ptr()) ==
         reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_);
}

// An array of T in native byte order, aligned and contiguous in one of these orders.
template <class T>
std::optional<py::array> plain_array(py::handle x, int order = py::array::c_style) {
  if (!is_ndarray(x)) return std::nullopt;
  auto a = py::reinterpret_borrow<py::array>(x);
  constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if (!has_dtype<T>(a) || !(a.flags() & kAligned) || !(a.flags() & order)) return std::nullopt;
  return a;
}

// A matrix of any of the input dtypes.
inline std::optional<py::array> plain_input(py::handle x) {
  auto a = plain_array<float>(x);
  if (!a) a = plain_array<double>(x);
  if (!a) a = plain_array<std::uint8_t>(x);
  return a && a->ndim() == 2 ? a : std::nullopt;
}

// The core's number for n_threads: 0 for None.
inline std::optional<int> plain_threads(py::handle n_threads) {
  if (n_threads.is_none()) return 0;
  if (!PyLong_CheckExact(n_threads.ptr())) return std::nullopt;
  int overflow = 0;
  const long n = PyLong_AsLongAndOverflow(n_threads.ptr(), &overflow);
  if (overflow != 0 || n < 1 || n > 4096) return std::nullopt;
  return static_cast<int>(n);
}

// Of contiguous arrays.
inline bool overlap(const py::array& a, const py::array& b) {
  const auto* begin_a = static_cast<const char*>(a.data());
  const auto* begin_b = static_cast<const char*>(b.data());
  return begin_a < begin_b + b.nbytes() && begin_b < begin_a + a.nbytes();
}

// Where a result can go at once: a new array, or out if it is plain and apart from the inputs.
template <class T>
std::optional<py::array> plain_output(py::handle out, const py::array::ShapeContainer& shape,
                                      std::initializer_list<const py::array*> inputs) {
  if (out.is_none()) return py::array_t<T>(shape);
  auto to = plain_array<T>(out);
  if (!to || !to->writeable() || to->ndim() != static_cast<py::ssize_t>(shape->size())) {
    return std::nullopt;
  }
  for (py::ssize_t axis = 0; axis < to->ndim(); ++axis) {
    if (to->shape(axis) != (*shape)[static_cast<std::size_t>(axis)]) return std::nullopt;
  }
  for (const py::array* input : inputs) {
    if (overlap(*to, *input)) return std::nullopt;
  }
  return to;
}

}  // namespace fastsoftmax
