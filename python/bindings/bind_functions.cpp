#include "bindings.h"
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
  int plan(int n_threads) const {
    return plan_threads(n_threads,
                        static_cast<double>(n_rows) * static_cast<double>(n) / kExponentialsPerNs);
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
  function(from, rows.n_rows, rows.n, to, rows.plan(n_threads));
}

void bind_row_function(py::module_& m, const char* name, RowFunction<float> f32,
                       RowFunction<double> f64, bool reduces) {
  m.def(
      name,
      [=](const py::array& x, py::array out, int n_threads) {
        with_arithmetic(x, "x", [&](auto zero) {
          if constexpr (sizeof zero == sizeof(float)) {
            apply<float>(f32, x, out, reduces, n_threads);
          } else {
            apply<double>(f64, x, out, reduces, n_threads);
          }
        });
      },
      py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("n_threads"));
}

void cross_entropy_of_arrays(const py::array& logits, const py::array& labels,
                             const py::object& weights, py::array losses, int n_threads) {
  const Rows rows(logits);
  with_arithmetic(logits, "logits", [&](auto zero) {
    using T = decltype(zero);
    const T* z = checked_data<T>(logits, {rows.n_rows, rows.n}, "logits");
    const auto* y = checked_data<std::int64_t>(labels, {rows.n_rows}, "labels");
    const T* w = weights.is_none() ? nullptr
                                   : checked_data<T>(py::cast<py::array>(weights), {rows.n_rows},
                                                     "sample_weight");
    T* out = checked_output<T>(losses, {rows.n_rows}, "losses");
    const py::gil_scoped_release release;
    cross_entropy<T>(z, rows.n_rows, rows.n, y, w, out, nullptr, rows.plan(n_threads));
  });
}

void matmul_of_arrays(const py::array& a, const py::array& b, py::array out, int n_threads) {
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
    matmul<T>(A, right, C, plan_threads(n_threads, products / kProductsPerNs));
  });
}

}  // namespace

void bind_functions(py::module_& m) {
  bind_row_function(m, "softmax", &softmax<float>, &softmax<double>, false);
  bind_row_function(m, "log_softmax", &log_softmax<float>, &log_softmax<double>, false);
  bind_row_function(m, "logsumexp", &logsumexp<float>, &logsumexp<double>, true);
  m.def("cross_entropy", &cross_entropy_of_arrays, py::arg("logits").noconvert(),
        py::arg("labels").noconvert(), py::arg("sample_weight"), py::arg("losses").noconvert(),
        py::arg("n_threads"));
  m.def("matmul", &matmul_of_arrays, py::arg("a").noconvert(), py::arg("b").noconvert(),
        py::arg("out").noconvert(), py::arg("n_threads"));
}

}  // namespace fastsoftmax
