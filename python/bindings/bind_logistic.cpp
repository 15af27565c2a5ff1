#include <cmath>
#include <optional>

#include "bindings.h"
#include "csr.h"
#include "fastsoftmax/logistic.h"
#include "fastsoftmax/threads.h"
#include "gil.h"
#include "numpy.h"

namespace fastsoftmax {
namespace {

template <class T>
const T* optional_data(const py::object& a, py::ssize_t n, const char* name) {
  return a.is_none() ? nullptr : checked_data<T>(py::cast<py::array>(a), {n}, name);
}

LogisticSolver solver_of(const std::string& name) {
  if (name == "auto") return LogisticSolver::kAuto;
  if (name == "lbfgs") return LogisticSolver::kLbfgs;
  if (name == "newton-cg") return LogisticSolver::kNewtonCg;
  throw py::value_error("solver must be 'auto', 'lbfgs' or 'newton-cg', not '" + name + "'");
}

// An exception in the callback is kept, to be thrown once the solver has come back.
FitProgress progress_to(const py::object& callback, const py::dict& found,
                        std::optional<py::error_already_set>& error) {
  if (callback.is_none()) return nullptr;
  return [&](std::int64_t iteration, bool goes_on) {
    const AcquiredGil acquire;
    try {
      return static_cast<bool>(py::bool_(callback(iteration, goes_on, found)));
    } catch (py::error_already_set& e) {
      error.emplace(e);
      return true;
    }
  };
}

struct Problem {
  Problem(const py::object& X, const py::array& labels, const py::object& sample_weight,
          const py::object& fold_of_row, const py::object& shape, std::int64_t n_classes,
          bool fit_intercept, double input_scale) {
    if (py::isinstance<py::tuple>(X)) {
      const auto [n_rows, n_cols] = py::cast<std::pair<std::ptrdiff_t, std::ptrdiff_t>>(shape);
      csr = csr_view(py::cast<py::tuple>(X), n_cols);
      require(csr.n_rows == n_rows, "X does not have the shape of its parts");
      problem.csr = &csr;
    } else {
      dense = input_view(py::cast<py::array>(X));
      problem.dense = &dense;
    }
    require(n_classes >= 2, "n_classes must be at least 2");
    const py::ssize_t n = problem.n_rows();
    problem.labels = checked_data<std::int64_t>(labels, {n}, "labels");
    problem.sample_weight = optional_data<double>(sample_weight, n, "sample_weight");
    for (py::ssize_t i = 0; problem.sample_weight && i < n; ++i) {
      require(problem.sample_weight[i] >= 0 && std::isfinite(problem.sample_weight[i]),
              "sample_weight must be finite and not negative");
    }
    problem.fold_of_row = optional_data<std::int32_t>(fold_of_row, n, "fold_of_row");
    problem.n_classes = n_classes;
    problem.input_scale = input_scale;
    problem.fit_intercept = fit_intercept;
  }
  int plan(int n_threads, std::ptrdiff_t n_models) const {
    return plan_threads(n_threads, pass_ns(problem, n_models));
  }

  InputView dense{};
  CsrView csr{};
  LogisticProblem problem;
};

py::dict fit_logistic_on_arrays(const Problem& on, const py::array& penalty,
                                const py::object& held_out, py::array W, py::array b,
                                LogisticOptions options, const py::object& callback) {
  require(penalty.ndim() == 1 && penalty.shape(0) > 0, "penalty must have a number for each model");
  const py::ssize_t n_models = penalty.shape(0), n_outputs = on.problem.n_outputs();
  LogisticModels models;
  models.n_models = n_models;
  models.penalty = checked_data<double>(penalty, {n_models}, "penalty");
  for (py::ssize_t m = 0; m < n_models; ++m) {
    require(models.penalty[m] >= 0 && std::isfinite(models.penalty[m]),
            "penalty must be finite and not negative");
  }
  models.held_out = optional_data<std::int32_t>(held_out, n_models, "held_out");
  require(!models.held_out || on.problem.fold_of_row, "held_out needs fold_of_row");
  models.W = checked_output<double>(W, {n_models, n_outputs, on.problem.n_cols()}, "W");
  models.b = checked_output<double>(b, {n_models, n_outputs}, "b");
  py::array_t<double> objective(n_models), gap(n_models), float32_cost(n_models),
      n_passes(n_models);
  py::array_t<std::int64_t> n_iter(n_models), status(n_models);
  models.objective = objective.mutable_data();
  models.gap = gap.mutable_data();
  models.float32_cost = float32_cost.mutable_data();
  models.n_passes = n_passes.mutable_data();
  models.n_iter = n_iter.mutable_data();
  models.status = reinterpret_cast<LogisticStatus*>(status.mutable_data());
  options.n_threads = on.plan(options.n_threads, n_models);
  py::dict found;
  found["objective"] = objective;
  found["gap"] = gap;
  found["float32_cost"] = float32_cost;
  found["n_iter"] = n_iter;
  found["n_passes"] = n_passes;
  found["status"] = status;
  std::optional<py::error_already_set> error;
  const FitProgress progress = progress_to(callback, found, error);
  {
    const ReleasedGil release;
    fit_logistic(on.problem, options, models, progress, signal_raised);
  }
  if (error) throw py::error_already_set(*error);
  if (PyErr_Occurred()) throw py::error_already_set();
  return found;
}

}  // namespace

void bind_logistic(py::module_& m) {
  m.def(
      "fit_logistic",
      [](const py::object& X, const py::array& labels, const py::object& sample_weight,
         const py::object& fold_of_row, const py::array& penalty, const py::object& held_out,
         py::array W, py::array b, std::int64_t n_classes, bool fit_intercept, double input_scale,
         double tol, std::int64_t max_iter, const std::string& solver, bool warm,
         std::uint64_t seed, int n_threads, const py::object& callback, const py::object& shape) {
        const Problem on(X, labels, sample_weight, fold_of_row, shape, n_classes, fit_intercept,
                         input_scale);
        return fit_logistic_on_arrays(on, penalty, held_out, W, b,
                                      {tol, max_iter, solver_of(solver), warm, seed, n_threads},
                                      callback);
      },
      py::arg("X"), py::arg("labels").noconvert(), py::arg("sample_weight"), py::arg("fold_of_row"),
      py::arg("penalty").noconvert(), py::arg("held_out"), py::arg("W").noconvert(),
      py::arg("b").noconvert(), py::kw_only(), py::arg("n_classes"), py::arg("fit_intercept"),
      py::arg("input_scale"), py::arg("tol"), py::arg("max_iter"), py::arg("solver"),
      py::arg("warm"), py::arg("seed"), py::arg("n_threads"), py::arg("callback") = py::none(),
      py::arg("shape") = py::none());
  m.def(
      "logistic_loss",
      [](const py::object& X, const py::array& labels, const py::object& sample_weight,
         const py::array& W, const py::array& b, py::array W_gradient, py::array b_gradient,
         std::int64_t n_classes, double input_scale, bool wide, int n_threads,
         const py::object& shape) {
        const Problem on(X, labels, sample_weight, py::none(), shape, n_classes, true, input_scale);
        const py::ssize_t r = on.problem.n_outputs(), d = on.problem.n_cols();
        const double *w = checked_data<double>(W, {r, d}, "W"),
                     *intercepts = checked_data<double>(b, {r}, "b");
        double *to_W = checked_output<double>(W_gradient, {r, d}, "W_gradient"),
               *to_b = checked_output<double>(b_gradient, {r}, "b_gradient");
        const int threads = on.plan(n_threads, 1);
        const ReleasedGil release;
        return logistic_loss(on.problem, w, intercepts, wide, to_W, to_b, threads);
      },
      py::arg("X"), py::arg("labels").noconvert(), py::arg("sample_weight"),
      py::arg("W").noconvert(), py::arg("b").noconvert(), py::arg("W_gradient").noconvert(),
      py::arg("b_gradient").noconvert(), py::kw_only(), py::arg("n_classes"),
      py::arg("input_scale"), py::arg("wide"), py::arg("n_threads"), py::arg("shape") = py::none());
}

}  // namespace fastsoftmax
