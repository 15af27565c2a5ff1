#include <limits>
#include <optional>
#include <utility>

#include "bindings.h"
#include "csr.h"
#include "fastcall.h"
#include "fastsoftmax/objective.h"
#include "fastsoftmax/threads.h"
#include "gil.h"
#include "numpy.h"
#include "plain.h"

namespace fastsoftmax {
namespace {

template <class T>
Model<T> model_of(std::ptrdiff_t n_cols, const py::array& W, const py::array& b,
                  double input_scale) {
  const py::ssize_t n_classes = W.shape(0);
  require(n_classes > 0, "W must have a row for each class");
  return {checked_data<T>(W, {n_classes, n_cols}, "W"), checked_data<T>(b, {n_classes}, "b"),
          n_classes, static_cast<T>(input_scale)};
}

// f(n_threads), which is true if all was finite.
template <class View, class T, class F>
bool predict_on_threads(const View& X, const Model<T>& model, int n_threads, const F& f) {
  bool all_finite = true;
  const ReleasedGil release;
  call_on_threads(n_threads, prediction_ns(X, model.n_classes), [&](int n) { all_finite = f(n); });
  return all_finite;
}

// X (an array, or the parts of a sparse one), W, b, input_scale, out, n_threads; f(view, model,
// n_threads, out) is true if all was finite.
template <class F>
py::object predict_arrays(const Arguments& arguments, const F& f) {
  const py::array W = arguments.array(1, "W"), b = arguments.array(2, "b");
  const double input_scale = arguments.number(3);
  py::array out = arguments.array(4, "out");
  const int n_threads = arguments.integer(5);
  require(W.ndim() == 2, "W must have two dimensions");
  const auto predict_view = [&](const auto& view) {
    return py::bool_(with_arithmetic(W, "W", [&](auto zero) {
      const auto model = model_of<decltype(zero)>(view.n_cols, W, b, input_scale);
      return f(view, model, n_threads, out);
    }));
  };
  if (py::isinstance<py::tuple>(arguments[0])) {
    return predict_view(csr_view(py::reinterpret_borrow<py::tuple>(arguments[0]), W.shape(1)));
  }
  return predict_view(strided_input(arguments.array(0, "X"), "X"));
}

template <Prediction kWhat>
py::object predict_into(const Arguments& arguments) {
  return predict_arrays(
      arguments, [](const auto& view, const auto& model, int n_threads, py::array& out) {
        using T = std::remove_const_t<decltype(model.input_scale)>;
        T* to = checked_output<T>(out, {view.n_rows, model.n_classes}, "out");
        return predict_on_threads(view, model, n_threads,
                                  [&](int n) { return predict<T>(view, model, kWhat, to, n); });
      });
}

py::object predict_class_into(const Arguments& arguments) {
  return predict_arrays(
      arguments, [](const auto& view, const auto& model, int n_threads, py::array& out) {
        auto* to = checked_output<std::int64_t>(out, {view.n_rows}, "out");
        return predict_on_threads(view, model, n_threads,
                                  [&](int n) { return predict_class(view, model, to, n); });
      });
}

// A prediction of plain arrays with little work.
template <class T>
struct FewRows {
  py::array X, W, b;  // kept while the views are read
  StridedInputView view;
  Model<T> model;
  int n_threads;
};

// X, W, b, input_scale, n_threads
template <class T>
std::optional<FewRows<T>> few_rows(const Arguments& arguments) {
  auto X = plain_input(arguments[0]);
  auto W = plain_array<T>(arguments[1]), b = plain_array<T>(arguments[2]);
  const py::handle scale = arguments[3];
  const auto n_threads = plain_threads(arguments[4]);
  if (!X || !W || !b || !PyFloat_CheckExact(scale.ptr()) || !n_threads) return std::nullopt;
  const bool fits = X->itemsize() <= W->itemsize() && W->ndim() == 2 && b->ndim() == 1 &&
                    W->shape(1) == X->shape(1) && W->shape(0) == b->shape(0);
  if (!fits || X->size() == 0 || W->size() == 0) return std::nullopt;
  // What T would round to zero or infinity Python refuses.
  using Limits = std::numeric_limits<T>;
  const double factor = PyFloat_AS_DOUBLE(scale.ptr());
  if (!(Limits::min() <= factor && factor <= Limits::max())) return std::nullopt;
  const StridedInputView view = strided_input(*X, "X");
  const auto model = model_of<T>(view.n_cols, *W, *b, factor);
  const double n_results = static_cast<double>(view.n_rows) * static_cast<double>(model.n_classes);
  if (!is_little(prediction_ns(view, model.n_classes), n_results)) return std::nullopt;
  return FewRows<T>{*std::move(X), *std::move(W), *std::move(b), view, model, *n_threads};
}

// f(rows), which is the result if all was finite; None where it was not, or there is more to check.
template <class F>
py::object predict_few(const Arguments& arguments, const F& f) {
  if (const auto rows = few_rows<float>(arguments)) return f(*rows);
  if (const auto rows = few_rows<double>(arguments)) return f(*rows);
  return py::none();
}

template <Prediction kWhat>
py::object predict_of_few(const Arguments& arguments) {
  return predict_few(arguments, [](const auto& rows) -> py::object {
    using T = std::remove_const_t<decltype(rows.model.input_scale)>;
    py::array_t<T> out({rows.view.n_rows, rows.model.n_classes});
    T* to = out.mutable_data();
    const bool finite = predict_on_threads(rows.view, rows.model, rows.n_threads, [&](int n) {
      return predict<T>(rows.view, rows.model, kWhat, to, n);
    });
    return finite ? py::object(std::move(out)) : py::none();
  });
}

py::object predict_class_of_few(const Arguments& arguments) {
  return predict_few(arguments, [](const auto& rows) -> py::object {
    py::array_t<std::int64_t> out(rows.view.n_rows);
    std::int64_t* to = out.mutable_data();
    const bool finite = predict_on_threads(rows.view, rows.model, rows.n_threads, [&](int n) {
      return predict_class(rows.view, rows.model, to, n);
    });
    return finite ? py::object(std::move(out)) : py::none();
  });
}

}  // namespace

void bind_objective(py::module_& m) {
  def_fast<&predict_into<Prediction::kLogits>, 6>(m, "predict_logits");
  def_fast<&predict_into<Prediction::kProbs>, 6>(m, "predict_probs");
  def_fast<&predict_into<Prediction::kLogProbs>, 6>(m, "predict_log_probs");
  def_fast<&predict_class_into, 6>(m, "predict_class");
  def_fast<&predict_of_few<Prediction::kLogits>, 5>(m, "predict_logits_of_few");
  def_fast<&predict_of_few<Prediction::kProbs>, 5>(m, "predict_probs_of_few");
  def_fast<&predict_of_few<Prediction::kLogProbs>, 5>(m, "predict_log_probs_of_few");
  def_fast<&predict_class_of_few, 5>(m, "predict_class_of_few");
}

}  // namespace fastsoftmax
