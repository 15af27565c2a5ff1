#include "bindings.h"
#include "fastcall.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
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
  const py::gil_scoped_release release;
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

// Without weights: float32 may not hold them.
void cross_entropy_of_arrays(const py::array& logits, const py::array& labels, py::array losses,
                             int n_threads) {
  const Rows rows(logits);
  with_arithmetic(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const T* z = checked_data<T>(logits, {rows.n_rows, rows.n}, "logits");
    const auto* y = checked_data<std::int64_t>(labels, {rows.n_rows}, "labels");
    T* out = checked_output<T>(losses, {rows.n_rows}, "losses");
    const py::gil_scoped_release release;
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
    const py::gil_scoped_release release;
    call_on_threads(n_threads, products / kProductsPerNs,
                    [&](int n) { matmul<T>(A, right, C, n); });
  });
  return py::none();
}

}  // namespace

void bind_functions(py::module_& m) {
  def_fast<&apply_to_arrays<&softmax<float>, &softmax<double>, false>, 3>(m, "softmax");
  def_fast<&apply_to_arrays<&log_softmax<float>, &log_softmax<double>, false>, 3>(m, "log_softmax");
  def_fast<&apply_to_arrays<&logsumexp<float>, &logsumexp<double>, true>, 3>(m, "logsumexp");
  m.def("cross_entropy", &cross_entropy_of_arrays, py::arg("logits").noconvert(),
        py::arg("labels").noconvert(), py::arg("losses").noconvert(), py::arg("n_threads"));
  def_fast<&matmul_of_arrays, 4>(m, "matmul");
}

}  // namespace fastsoftmax
