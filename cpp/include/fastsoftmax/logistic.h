// Logistic regression to its optimum: the objective, what is fitted, what is reported.
//
//   F = sum_i s_i loss_i + (penalty / 2) |W|^2,   loss_i = -log softmax(logits_i)[y_i]
//
// with logits = input_scale X W' + b as in objective.h; the intercepts b are not penalised. Of two
// classes the model has one row: the logit of class 1, that of class 0 being zero.
//
// Lower bounds on the minimum come from the Fenchel dual: for probabilities p_i of each row with
// the gradient G = sum_i s_i (p_i - onehot(y_i)) x_i', and sum_i s_i (p_i - onehot(y_i)) = 0 if
// there are intercepts, sum_i s_i entropy(p_i) - |G|^2 / (2 penalty) is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "fastsoftmax/matrix.h"
#include "fastsoftmax/stop.h"

namespace fastsoftmax {

struct LogisticProblem {
  const InputView* dense = nullptr;  // this one
  const CsrView* csr = nullptr;      // or that one, of float32 or float64
  const std::int64_t* labels = nullptr;
  const double* sample_weight = nullptr;      // finite, none negative; or null: ones
  const std::int32_t* fold_of_row = nullptr;  // or null
  std::ptrdiff_t n_classes = 2;
  double input_scale = 1.0;
  bool fit_intercept = true;

  std::ptrdiff_t n_rows() const { return dense ? dense->n_rows : csr->n_rows; }
  std::ptrdiff_t n_cols() const { return dense ? dense->n_cols : csr->n_cols; }
  // Of X, those that are stored.
  std::ptrdiff_t n_entries() const { return dense ? n_rows() * n_cols() : csr->n_entries(); }
  // Rows of weights of a model.
  std::ptrdiff_t n_outputs() const { return n_classes == 2 ? 1 : n_classes; }
};

// Called after each iteration, when the models are written as they are by then; goes_on: another
// iteration may follow. true stops the fit. It may not throw.
using FitProgress = std::function<bool(std::int64_t iteration, bool goes_on)>;

// L-BFGS, or Newton's method with conjugate gradients, both preconditioned alike; or the first, and
// the second where the first gets nowhere.
enum class LogisticSolver { kAuto, kLbfgs, kNewtonCg };

struct LogisticOptions {
  double tol = 1e-6;  // on the relative gap (F - minimum) / minimum
  std::int64_t max_iter = 1000;
  LogisticSolver solver = LogisticSolver::kAuto;
  bool warm = false;  // W and b are a start to go on from, else zero
  std::uint64_t seed = 0;
  int n_threads = 1;
};

enum class LogisticStatus : std::int64_t { kCertified, kMaxIter, kSeparable, kRounding, kStopped };

// n_models models on the same rows, each with a penalty and a fold of rows that it leaves out.
struct LogisticModels {
  std::ptrdiff_t n_models = 1;
  const double* penalty = nullptr;         // (n_models), finite, none negative, 0: none
  const std::int32_t* held_out = nullptr;  // (n_models), of fold_of_row, -1: no fold; or null
  double* W = nullptr;                     // (n_models, n_outputs, n_features)
  double* b = nullptr;                     // (n_models, n_outputs)
  double* objective = nullptr;             // (n_models), as the others: F
  double* gap = nullptr;                   // proven; an estimate without a penalty that counts
  double* float32_cost = nullptr;          // what W and b in float32 would add to F: an estimate
  std::int64_t* n_iter = nullptr;          // iterations on all rows
  double* n_passes = nullptr;              // over X, on some rows pro rata; a product with H is 1.5
  LogisticStatus* status = nullptr;
  std::int64_t n_curvature_rows = 0;  // read for the preconditioners, all together
};

// What a pass over X for so many models takes one thread, an estimate in nanoseconds for
// plan_threads.
double pass_ns(const LogisticProblem& problem, std::ptrdiff_t n_models);

// Minimizes the objective of each model. All models that still need it share each pass over X. The
// same bits for any n_threads >= 1. False if stop_requested stopped it: then W and b are somewhere
// on the way. Models that progress stopped are kStopped. Throws std::invalid_argument for a label
// out of range, std::bad_alloc.
bool fit_logistic(const LogisticProblem& problem, const LogisticOptions& options,
                  LogisticModels& models, const FitProgress& progress,
                  const StopRequested& stop_requested);

// The value and gradient that fit_logistic works with, without the penalty, of one model; for tests
// and for those who bring their own solver. W (n_outputs, n_features), b (n_outputs), gradients
// alike; wide: arithmetic in float64 whatever X is stored in.
double logistic_loss(const LogisticProblem& problem, const double* W, const double* b, bool wide,
                     double* W_gradient, double* b_gradient, int n_threads);

}  // namespace fastsoftmax
