#include <algorithm>

#include "bindings.h"
#include "fastsoftmax/sgd.h"
#include "fastsoftmax/threads.h"
#include "gil.h"
#include "numpy.h"

namespace fastsoftmax {
namespace {

template <class T>
T* optional_output(const py::object& a, std::initializer_list<py::ssize_t> shape,
                   const char* name) {
  if (a.is_none()) return nullptr;
  py::array array = py::cast<py::array>(a);
  return checked_output<T>(array, shape, name);
}

py::tuple fit_sgd_on_arrays(const py::array& X, const py::array& labels,
                            const py::object& sample_weight, py::array W, py::array b,
                            const py::object& velocity_W, const py::object& velocity_b,
                            py::array loss_curve, SgdOptions options) {
  const InputView view = input_view(X);
  require(W.ndim() == 2, "W must have two dimensions");
  const py::ssize_t n_outputs = W.shape(0), n_features = view.n_cols;
  const SgdResult result = with_arithmetic(W, "W", [&](auto zero) {
    using T = decltype(zero);
    const auto* y = checked_data<std::int64_t>(labels, {view.n_rows}, "labels");
    const T* weights = sample_weight.is_none() ? nullptr
                                               : checked_data<T>(py::cast<py::array>(sample_weight),
                                                                 {view.n_rows}, "sample_weight");
    const SgdState<T> state{n_outputs, checked_output<T>(W, {n_outputs, n_features}, "W"),
                            checked_output<T>(b, {n_outputs}, "b"),
                            optional_output<T>(velocity_W, {n_outputs, n_features}, "velocity_W"),
                            optional_output<T>(velocity_b, {n_outputs}, "velocity_b")};
    require((state.velocity_W == nullptr) == (state.velocity_b == nullptr),
            "velocity_W and velocity_b go together");
    double* losses = checked_output<double>(loss_curve, {options.n_epochs}, "loss_curve");
    const double rows_of_step =
        static_cast<double>(std::min<std::int64_t>(options.batch_size, view.n_rows));
    options.n_threads =
        plan_threads(options.n_threads, rows_of_step * static_cast<double>(n_features) *
                                            static_cast<double>(n_outputs) / kProductsPerNs);
    const ReleasedGil release;
    return fit_sgd<T>(view, y, weights, options, state, losses, signal_raised);
  });
  if (PyErr_Occurred()) throw py::error_already_set();
  return py::make_tuple(result.n_epochs, result.diverged);
}

py::array_t<std::int64_t> permutation(std::uint64_t seed, std::int64_t epoch, std::int64_t n) {
  require(n >= 0, "n must not be negative");
  py::array_t<std::int64_t> out(n);
  epoch_permutation(seed, epoch, n, out.mutable_data());
  return out;
}

}  // namespace

void bind_sgd(py::module_& m) {
  m.def(
      "fit_sgd",
      [](const py::array& X, const py::array& labels, const py::object& sample_weight, py::array W,
         py::array b, const py::object& velocity_W, const py::object& velocity_b,
         py::array loss_curve, double learning_rate, double alpha, double momentum, bool nesterov,
         bool shuffle, bool fit_intercept, double input_scale, std::int64_t batch_size,
         std::int64_t first_epoch, std::int64_t n_epochs, std::uint64_t seed, int n_threads) {
        return fit_sgd_on_arrays(X, labels, sample_weight, W, b, velocity_W, velocity_b, loss_curve,
                                 {learning_rate, alpha, momentum, nesterov, shuffle, fit_intercept,
                                  input_scale, batch_size, first_epoch, n_epochs, seed, n_threads});
      },
      py::arg("X").noconvert(), py::arg("labels").noconvert(), py::arg("sample_weight"),
      py::arg("W").noconvert(), py::arg("b").noconvert(), py::arg("velocity_W"),
      py::arg("velocity_b"), py::arg("loss_curve").noconvert(), py::kw_only(),
      py::arg("learning_rate"), py::arg("alpha"), py::arg("momentum"), py::arg("nesterov"),
      py::arg("shuffle"), py::arg("fit_intercept"), py::arg("input_scale"), py::arg("batch_size"),
      py::arg("first_epoch"), py::arg("n_epochs"), py::arg("seed"), py::arg("n_threads"));
  m.def("epoch_permutation", &permutation, py::arg("seed"), py::arg("epoch"), py::arg("n"));
}

}  // namespace fastsoftmax
