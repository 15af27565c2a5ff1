#include "bindings.h"
#include "fastsoftmax/objective.h"
#include "fastsoftmax/threads.h"
#include "numpy.h"

namespace fastsoftmax {
namespace {

template <class T>
Model<T> model_of(const InputView& X, const py::array& W, const py::array& b, double input_scale) {
  require(W.ndim() == 2, "W must have two dimensions");
  const py::ssize_t n_classes = W.shape(0);
  require(n_classes > 0, "W must have a row for each class");
  return {checked_data<T>(W, {n_classes, X.n_cols}, "W"), checked_data<T>(b, {n_classes}, "b"),
          n_classes, static_cast<T>(input_scale)};
}

template <class T>
int plan(const InputView& X, const Model<T>& model, int n_threads) {
  return plan_threads(n_threads, static_cast<double>(X.n_rows) * static_cast<double>(X.n_cols) *
                                     static_cast<double>(model.n_classes) / kProductsPerNs);
}

template <Prediction kWhat>
bool predict_into(const py::array& X, const py::array& W, const py::array& b, double input_scale,
                  py::array out, int n_threads) {
  const InputView view = input_view(X);
  return with_arithmetic(W, "W", [&](auto zero) {
    using T = decltype(zero);
    const Model<T> model = model_of<T>(view, W, b, input_scale);
    T* to = checked_output<T>(out, {view.n_rows, model.n_classes}, "out");
    const py::gil_scoped_release release;
    return predict<T>(view, model, kWhat, to, plan(view, model, n_threads));
  });
}

bool predict_class_into(const py::array& X, const py::array& W, const py::array& b,
                        double input_scale, py::array out, int n_threads) {
  const InputView view = input_view(X);
  return with_arithmetic(W, "W", [&](auto zero) {
    using T = decltype(zero);
    const Model<T> model = model_of<T>(view, W, b, input_scale);
    auto* to = checked_output<std::int64_t>(out, {view.n_rows}, "out");
    const py::gil_scoped_release release;
    return predict_class<T>(view, model, to, plan(view, model, n_threads));
  });
}

py::object first_nonfinite(const py::array& X) {
  const InputView view = input_view(X);
  std::ptrdiff_t row = 0, col = 0;
  bool found;
  {
    const py::gil_scoped_release release;
    found = find_nonfinite(view, &row, &col);
  }
  return found ? py::object(py::make_tuple(row, col)) : py::none();
}

template <class F>
void bind_prediction(py::module_& m, const char* name, F function) {
  m.def(name, function, py::arg("X").noconvert(), py::arg("W").noconvert(),
        py::arg("b").noconvert(), py::arg("input_scale"), py::arg("out").noconvert(),
        py::arg("n_threads"));
}

}  // namespace

void bind_objective(py::module_& m) {
  bind_prediction(m, "predict_logits", &predict_into<Prediction::kLogits>);
  bind_prediction(m, "predict_probs", &predict_into<Prediction::kProbs>);
  bind_prediction(m, "predict_log_probs", &predict_into<Prediction::kLogProbs>);
  bind_prediction(m, "predict_class", &predict_class_into);
  m.def("first_nonfinite", &first_nonfinite, py::arg("X").noconvert());
}

}  // namespace fastsoftmax
