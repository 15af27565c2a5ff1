#include <algorithm>
#include <utility>
#include <vector>

#include "bindings.h"
#include "fastcall.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "gil.h"
#include "numpy.h"
#include "plain.h"

namespace fastsoftmax {
namespace {

template <class T>
using RowFunction = void (*)(const T*, std::ptrdiff_t, std::ptrdiff_t, T*, int);

struct Rows {
  py::ssize_t n_rows, n;

  static Rows of(const py::array& x) {
    require(x.ndim() == 2, "x must have two dimensions");
    return {x.shape(0), x.shape(1)};
  }
  double work_ns() const {
    return static_cast<double>(n_rows) * static_cast<double>(n) / kExponentialsPerNs;
  }
  // f(n_threads)
  template <class F>
  void call(int n_threads, const F& f) const {
    call_on_threads(n_threads, work_ns(), f);
  }
};

template <class T>
void apply(RowFunction<T> function, const py::array& x, py::array& out, bool reduces,
           int n_threads) {
  const Rows rows = Rows::of(x);
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

// As apply, of an x of any dimensions, into out or a new array, which is returned; or None.
template <class T>
py::object apply_to_few(RowFunction<T> function, py::handle x, py::handle out, bool reduces,
                        int n_threads) {
  const auto from = plain_array<T>(x);
  if (!from || from->ndim() == 0 || from->size() == 0) return py::none();
  std::vector<py::ssize_t> shape(from->shape(), from->shape() + from->ndim());
  const Rows rows{from->size() / shape.back(), shape.back()};
  if (!is_little(rows.work_ns(), 0.0)) return py::none();
  if (reduces) shape.pop_back();
  const bool in_place = out.is(x) && from->writeable();
  auto to = in_place ? from : plain_output<T>(out, shape, {&*from});
  if (!to) return py::none();
  {
    const auto* numbers = static_cast<const T*>(from->data());
    auto* results = static_cast<T*>(to->mutable_data());
    const ReleasedGil release;
    rows.call(n_threads, [&](int n) { function(numbers, rows.n_rows, rows.n, results, n); });
  }
  return *std::move(to);
}

// x, out, n_threads
template <RowFunction<float> kF32, RowFunction<double> kF64, bool kReduces>
py::object apply_to_few_rows(const Arguments& arguments) {
  const auto n_threads = plain_threads(arguments[2]);
  if (!n_threads) return py::none();
  py::object result = apply_to_few<float>(kF32, arguments[0], arguments[1], kReduces, *n_threads);
  if (!result.is_none()) return result;
  return apply_to_few<double>(kF64, arguments[0], arguments[1], kReduces, *n_threads);
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
  const Rows rows = Rows::of(logits);
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

double products_ns(const StridedInputView& A, const StridedInputView& B) {
  return static_cast<double>(A.n_rows) * static_cast<double>(A.n_cols) *
         static_cast<double>(B.n_cols) / kProductsPerNs;
}

template <class T>
void multiply(const StridedInputView& A, const StridedInputView& B, T* C, int n_threads) {
  const StridedView<const T> right{static_cast<const T*>(B.data), B.n_rows, B.n_cols, B.row_stride,
                                   B.col_stride};
  const ReleasedGil release;
  call_on_threads(n_threads, products_ns(A, B), [&](int n) { matmul<T>(A, right, C, n); });
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
    multiply<T>(A, B, checked_output<T>(out, {A.n_rows, B.n_cols}, "out"), n_threads);
  });
  return py::none();
}

// Into out or a new array, which is returned; or None.
template <class T>
py::object multiply_few(py::handle a, py::handle b, py::handle out, int n_threads) {
  constexpr int kAnyOrder = py::array::c_style | py::array::f_style;  // as coef_.T is
  const auto left = plain_array<T>(a), right = plain_array<T>(b, kAnyOrder);
  if (!left || !right || left->ndim() != 2 || right->ndim() != 2) return py::none();
  const StridedInputView A = strided_input(*left, "a"), B = strided_input(*right, "b");
  const double work_ns = products_ns(A, B);
  const double n_results = static_cast<double>(A.n_rows) * static_cast<double>(B.n_cols);
  if (A.n_cols != B.n_rows || work_ns == 0 || !is_little(work_ns, n_results)) return py::none();
  auto C = plain_output<T>(out, {A.n_rows, B.n_cols}, {&*left, &*right});
  if (!C) return py::none();
  multiply<T>(A, B, static_cast<T*>(C->mutable_data()), n_threads);
  return *std::move(C);
}

// a, b, out, n_threads
py::object matmul_of_few(const Arguments& arguments) {
  const auto n_threads = plain_threads(arguments[3]);
  if (!n_threads) return py::none();
  py::object result = multiply_few<float>(arguments[0], arguments[1], arguments[2], *n_threads);
  if (!result.is_none()) return result;
  return multiply_few<double>(arguments[0], arguments[1], arguments[2], *n_threads);
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
  def_fast<&apply_to_few_rows<&softmax<float>, &softmax<double>, false>, 3>(m, "softmax_of_few");
  def_fast<&apply_to_few_rows<&log_softmax<float>, &log_softmax<double>, false>, 3>(
      m, "log_softmax_of_few");
  def_fast<&apply_to_few_rows<&logsumexp<float>, &logsumexp<double>, true>, 3>(m,
                                                                               "logsumexp_of_few");
  def_columns<&softmax<float>, &softmax<double>, false>(m, "softmax_columns");
  def_columns<&log_softmax<float>, &log_softmax<double>, false>(m, "log_softmax_columns");
  def_columns<&logsumexp<float>, &logsumexp<double>, true>(m, "logsumexp_columns");
  m.def("cross_entropy", &cross_entropy_of_arrays, py::arg("logits").noconvert(),
        py::arg("labels").noconvert(), py::arg("losses").noconvert(), py::arg("n_threads"));
  def_fast<&matmul_of_arrays, 4>(m, "matmul");
  def_fast<&matmul_of_few, 4>(m, "matmul_of_few");
  m.def("transpose", &transpose_array, py::arg("b").noconvert(), py::arg("out").noconvert(),
        py::arg("n_threads"));
}

}  // namespace fastsoftmax
