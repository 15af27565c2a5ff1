// A matrix of scipy.sparse in compressed rows as the core's view: (data, indices, indptr).
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "numpy.h"

namespace fastsoftmax {

inline bool is_int64(const py::array& a, const char* name) {
  if (has_dtype<std::int64_t>(a)) return true;
  if (has_dtype<std::int32_t>(a)) return false;
  throw py::type_error(std::string(name) + " must be int32 or int64 in native byte order");
}

inline const void* checked_indices(const py::array& a, bool wide, py::ssize_t n, const char* name) {
  if (wide) return checked_data<std::int64_t>(a, {n}, name);
  return checked_data<std::int32_t>(a, {n}, name);
}

// Calls f(pointer) with indices in their type.
template <class F>
void with_indices(const void* indices, bool wide, const F& f) {
  if (wide) return f(static_cast<const std::int64_t*>(indices));
  f(static_cast<const std::int32_t*>(indices));
}

// Whether 0 <= value < limit for all of them. One that is not has its sign, or that of the distance
// to the last one allowed: in vectors, a fifth of the time of comparisons with 64 bits.
template <class Index>
bool are_within(const Index* values, py::ssize_t n, py::ssize_t limit) {
  using Bits = std::make_unsigned_t<Index>;
  constexpr py::ssize_t kLargest = std::numeric_limits<Index>::max();
  const Bits last = static_cast<Bits>(std::min(limit - 1, kLargest));
  Bits signs = 0;
  for (py::ssize_t i = 0; i < n; ++i) {
    signs |= static_cast<Bits>(values[i]) | (last - static_cast<Bits>(values[i]));
  }
  return static_cast<Index>(signs) >= 0;
}

// That every row lies in the arrays and every column in the matrix: memory safety rests on it.
inline void check_bounds(const CsrView& X, py::ssize_t n_entries) {
  with_indices(X.indptr, X.wide_indptr, [&](const auto* starts) {
    bool fits = are_within(starts, X.n_rows + 1, n_entries + 1);
    for (py::ssize_t i = 0; i < X.n_rows; ++i) fits &= starts[i] <= starts[i + 1];
    require(fits, "X.indptr must ascend within the number of entries");
  });
  with_indices(X.indices, X.wide_indices, [&](const auto* columns) {
    require(are_within(columns + X.begin_of_row(0), X.n_entries(), X.n_cols),
            "X.indices must be columns of X");
  });
}

// The rows of the parts are as many as indptr has ends of them.
inline CsrView csr_view(const py::tuple& X, std::ptrdiff_t n_cols) {
  require(X.size() == 3, "X must be an array or (data, indices, indptr)");
  const auto data = py::cast<py::array>(X[0]), indices = py::cast<py::array>(X[1]),
             indptr = py::cast<py::array>(X[2]);
  require(data.ndim() == 1 && indptr.ndim() == 1 && indptr.shape(0) > 0 && n_cols >= 0,
          "X does not have the shape of its parts");
  const py::ssize_t n_entries = data.shape(0), n_rows = indptr.shape(0) - 1;
  CsrView view{
      storage_of(data, "X.data"),   nullptr, nullptr, nullptr, is_int64(indices, "X.indices"),
      is_int64(indptr, "X.indptr"), n_rows,  n_cols};
  if (view.storage == Storage::kUInt8) throw py::type_error("X.data must be float32 or float64");
  view.data = view.storage == Storage::kFloat32
                  ? static_cast<const void*>(checked_data<float>(data, {n_entries}, "X.data"))
                  : checked_data<double>(data, {n_entries}, "X.data");
  view.indices = checked_indices(indices, view.wide_indices, n_entries, "X.indices");
  view.indptr = checked_indices(indptr, view.wide_indptr, n_rows + 1, "X.indptr");
  check_bounds(view, n_entries);
  return view;
}

}  // namespace fastsoftmax
