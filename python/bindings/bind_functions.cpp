#include <algorithm>

#include "bindings.h"
#include "fastcall.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "gil.h"
#include "numpy.h"

namespace fastsoftmax {
namespace {

template <class T>
using RowFunction = void (*)(const T*, std::ptrdiff_t, std::ptrdiff_t, T*, int);

struct Rows {
  py::ssize_t n_rows, n;
  explicit Rows(const py::array& x) {
    require(x.ndim() == 2, "x must have two dimensions");
    n_rows = x.shape(0);
    n = x.shape(1);
  }
  // f(n_threads)
  template <class F>
  void call(int n_threads, const F& f) const {
    call_on_threads(n_threads,
                    static_cast<double>(n_rows) * static_cast<double>(n) / kExponentialsPerNs, f);
  }
};

template <class T>
void apply(RowFunction<T> function, const py::array& x, py::array& out, bool reduces,
           int n_threads) {
  const Rows rows(x);
  const T* from = checked_data<T>(x, {rows.n_rows, rows.n}, "x");
  T* to = reduces ? checked_output<T>(out, {rows.n_rows}, "out")
                  : checked_output<T>(out, {rows.n_rows, rows.n}, "out");
  const ReleasedGil release;
  rows.call(n_threads, [&](int n) { function(from, rows.n_rows, rows.n, to, n); });
}

// x, out, n_threads
template <RowFunction<float> kF32, RowFunction<double> kF64, bool kReduces>
py::object apply_to_arrays(const Arguments& arguments) {
  const py::array x = arguments.array(0, "x");
  py::array out = arguments.array(1, "out");
  const int n_threads = arguments.integer(2);
  with_arithmetic(x, "x", [&](auto zero) {
    if constexpr (sizeof zero == sizeof(float)) {
      apply<float>(kF32, x, out, kReduces, n_threads);
    } else {
      apply<double>(kF64, x, out, kReduces, n_threads);
    }
  });
  return py::none();
}

template <class T>
using ColumnFunction = void (*)(const T*, const Columns&, T*, int);

// Of x (n_outer, n, n_inner) the columns from begin on before end, as a slice has them.
template <ColumnFunction<float> kF32, ColumnFunction<double> kF64, bool kReduces>
void apply_to_columns(const py::array& x, py::array out, py::ssize_t begin, py::ssize_t end,
                      int n_threads) {
  require(x.ndim() == 3, "x must have three dimensions");
  const py::ssize_t n_columns = x.shape(0) * x.shape(2);
  require(0 <= begin && begin <= end, "begin and end must be in order");
  const Columns columns{x.shape(1), x.shape(2), std::min(begin, n_columns),
                        std::min(end, n_columns)};
  with_arithmetic(x, "x", [&](auto zero) {
    using T = decltype(zero);
    const T* from = checked_data<T>(x, {x.shape(0), columns.n, columns.n_inner}, "x");
    T* to = kReduces ? checked_output<T>(out, {x.shape(0), columns.n_inner}, "out")
                     : checked_output<T>(out, {x.shape(0), columns.n, columns.n_inner}, "out");
    const double exponentials =
        static_cast<double>(columns.end - columns.begin) * static_cast<double>(columns.n);
    const ReleasedGil release;
    call_on_threads(n_threads, exponentials / kExponentialsPerNs, [&](int n) {
      if constexpr (sizeof zero == sizeof(float)) {
        kF32(from, columns, to, n);
      } else {
        kF64(from, columns, to, n);
      }
    });
  });
}

template <ColumnFunction<float> kF32, ColumnFunction<double> kF64, bool kReduces>
void def_columns(py::module_& m, const char* name) {
  m.def(name, &apply_to_columns<kF32, kF64, kReduces>, py::arg("x").noconvert(),
        py::arg("out").noconvert(), py::arg("begin"), py::arg("end"), py::arg("n_threads"));
}

// Without weights: float32 may not hold them.
void cross_entropy_of_arrays(const py::array& logits, const py::array& labels, py::array losses,
                             int n_threads) {
  const Rows rows(logits);
  with_arithmetic(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const T* z = checked_data<T>(logits, {rows.n_rows, rows.n}, "logits");
    const auto* y = checked_data<std::int64_t>(labels, {rows.n_rows}, "labels");
    T* out = checked_output<T>(losses, {rows.n_rows}, "losses");
    const ReleasedGil release;
    rows.call(n_threads, [&](int n) {
      cross_entropy<T>(z, rows.n_rows, rows.n, y, nullptr, out, nullptr, n);
    });
  });
}

py::object matmul_of_arrays(const Arguments& arguments) {
  const py::array a = arguments.array(0, "a"), b = arguments.array(1, "b");
  py::array out = arguments.array(2, "out");
  const int n_threads = arguments.integer(3);
  const StridedInputView A = strided_input(a, "a");
  const StridedInputView B = strided_input(b, "b");
  require(A.n_cols == B.n_rows, "a has not as many columns as b has rows");
  with_arithmetic(b, "b", [&](auto zero) {
    using T = decltype(zero);
    T* C = checked_output<T>(out, {A.n_rows, B.n_cols}, "out");
    const StridedView<const T> right{static_cast<const T*>(B.data), B.n_rows, B.n_cols,
                                     B.row_stride, B.col_stride};
    const double products = static_cast<double>(A.n_rows) * static_cast<double>(A.n_cols) *
                            static_cast<double>(B.n_cols);
    const ReleasedGil release;
    call_on_threads(n_threads, products / kProductsPerNs,
                    [&](int n) { matmul<T>(A, right, C, n); });
  });
  return py::none();
}

void transpose_array(const py::array& b, py::array out, int n_threads) {
  constexpr double kBytesPerNs = 5.0;
  const StridedInputView B = strided_input(b, "b");
  with_arithmetic(b, "b", [&](auto zero) {
    using T = decltype(zero);
    T* to = checked_output<T>(out, {B.n_cols, B.n_rows}, "out");
    const StridedView<const T> from{static_cast<const T*>(B.data), B.n_rows, B.n_cols, B.row_stride,
                                    B.col_stride};
    const double work_ns = static_cast<double>(b.nbytes()) / kBytesPerNs;
    const ReleasedGil release;
    call_on_threads(n_threads, work_ns, [&](int n) { transpose<T>(from, to, n); });
  });
}

}  // namespace

void bind_functions(py::module_& m) {
  def_fast<&apply_to_arrays<&softmax<float>, &softmax<double>, false>, 3>(m, "softmax");
  def_fast<&apply_to_arrays<&log_softmax<float>, &log_softmax<double>, false>, 3>(m, "log_softmax");
  def_fast<&apply_to_arrays<&logsumexp<float>, &logsumexp<double>, true>, 3>(m, "logsumexp");
  def_columns<&softmax<float>, &softmax<double>, false>(m, "softmax_columns");
  def_columns<&log_softmax<float>, &log_softmax<double>, false>(m, "log_softmax_columns");
  def_columns<&logsumexp<float>, &logsumexp<double>, true>(m, "logsumexp_columns");
  m.def("cross_entropy", &cross_entropy_of_arrays, py::arg("logits").noconvert(),
        py::arg("labels").noconvert(), py::arg("losses").noconvert(), py::arg("n_threads"));
  def_fast<&matmul_of_arrays, 4>(m, "matmul");
  m.def("transpose", &transpose_array, py::arg("b").noconvert(), py::arg("out").noconvert(),
        py::arg("n_threads"));
}

}  // namespace fastsoftmax
