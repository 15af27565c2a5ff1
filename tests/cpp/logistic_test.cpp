// fit_logistic: the optimum, the proof of it, and what models that share passes must not share.
#include <algorithm>
#include <stdexcept>

#include "for_each_isa.h"
#include "logistic_problem.h"

namespace {

using fastsoftmax::LogisticOptions;
using fastsoftmax::LogisticSolver;
using fastsoftmax::LogisticStatus;
using test::fit;
using test::Fitted;
using test::LogisticCase;

LogisticSolver solver = LogisticSolver::kLbfgs;  // of all tests until it is changed

LogisticOptions options(double tol, int n_threads = 1) {
  LogisticOptions o;
  o.solver = solver;
  o.tol = tol;
  o.max_iter = 2000;
  o.n_threads = n_threads;
  return o;
}

// Of the optimum: the objective by loops in long double, and the norm of its gradient. Where that
// is g and there is no intercept, the minimum is not below the objective less g^2 / (2 penalty).
template <class In>
void check_optimum(const LogisticCase<In>& c, const Fitted& fitted, double penalty, double tol,
                   double rounding) {
  const auto found = c.reference(fitted.W, fitted.b);
  long double objective = found.loss, squared = 0.0L, on_intercepts = 0.0L;
  for (std::ptrdiff_t i = 0; i < c.R * c.d; ++i) {
    const long double w = fitted.W[c.at(i)], g = found.gradient[c.at(i)] + penalty * w;
    objective += 0.5L * penalty * w * w;
    squared += g * g;
  }
  for (std::ptrdiff_t r = 0; r < c.R && c.fit_intercept; ++r) {
    on_intercepts = std::max(on_intercepts, std::abs(found.gradient[c.at(c.R * c.d + r)]));
  }
  CHECK_EQ(static_cast<int>(fitted.status[0]), 0);
  CHECK(fitted.gap[0] <= tol);
  CHECK_NEAR(fitted.objective[0], objective, rounding * static_cast<double>(objective));
  // A certified gap bounds the gradient: the objective falls by g^2 / (2 bend) along it, and bends
  // by no more than the sum of the squares of the inputs and the penalty.
  const double bend = static_cast<double>(c.n) * static_cast<double>(c.d + 1) + penalty;
  const double most = std::sqrt(2.0 * bend * 2.0 * tol * static_cast<double>(objective));
  CHECK(static_cast<double>(std::sqrt(squared)) <= most);
  CHECK(static_cast<double>(on_intercepts) <= most);
}

template <class In>
void test_optimum() {
  constexpr std::ptrdiff_t kShapes[][3] = {{60, 5, 2}, {90, 7, 3}, {150, 12, 10}, {300, 9, 70}};
  for (const auto& shape : kShapes) {
    for (const double penalty : {0.03, 1.0, 100.0}) {
      for (const bool fit_intercept : {true, false}) {
        LogisticCase<In> c(shape[0], shape[1], shape[2]);
        c.use_weights();
        c.fit_intercept = fit_intercept;
        test::set_context(test::name_of(In()), "fit", shape[2], penalty, fit_intercept);
        const auto view = c.view();
        const auto problem = c.problem(view);
        const Fitted loose = fit(problem, options(1e-3), {penalty});
        // A class may have one row, of a small weight: its residual is known to no more digits.
        const double tol = c.K == 70 ? 1e-8 : 1e-10;
        const Fitted tight = fit(problem, options(tol), {penalty});
        check_optimum(c, loose, penalty, 1e-3, 1e-5);
        check_optimum(c, tight, penalty, tol, 1e-12);
        // The bound that the gap stands for is one.
        CHECK(loose.objective[0] / (1.0 + loose.gap[0]) <= tight.objective[0] * (1.0 + 1e-6));
        CHECK(loose.objective[0] >= tight.objective[0] * (1.0 - 1e-6));
        if (!fit_intercept) {
          CHECK(std::all_of(tight.b.begin(), tight.b.end(), [](double b) { return b == 0.0; }));
        }
      }
    }
  }
}

// The first evaluation of few rows is made of sums over X, and counts as no pass; a warm start at
// zero makes one instead. The same iteration follows, with features and classes for which the
// curvature between classes costs too much to be known before it.
template <class In>
void test_start_at_zero() {
  for (const std::ptrdiff_t K : {2, 7, 19}) {
    for (const bool fit_intercept : {true, false}) {
      for (const double penalty : {1.0, 0.0}) {
        test::set_context(test::name_of(In()), "start", K, penalty, fit_intercept);
        LogisticCase<In> c(300, 40, K);
        c.use_weights();
        c.fit_intercept = fit_intercept;
        test::for_each_layout(c, [&](const fastsoftmax::LogisticProblem& problem) {
          LogisticOptions o = options(1e-12);
          o.max_iter = 1;
          const Fitted cold = fit(problem, o, {penalty});
          Fitted zero = cold;
          std::fill(zero.W.begin(), zero.W.end(), 0.0);
          std::fill(zero.b.begin(), zero.b.end(), 0.0);
          o.warm = true;
          const Fitted warm = fit(problem, o, {penalty}, {}, &zero);
          CHECK_EQ(cold.n_passes[0], warm.n_passes[0] - 1.0);
          const double objective = warm.objective[0];
          CHECK_NEAR(cold.objective[0], objective, 1e-12 * objective);
          for (std::size_t i = 0; i < cold.W.size(); ++i) CHECK_NEAR(cold.W[i], warm.W[i], 1e-10);
          for (std::size_t i = 0; i < cold.b.size(); ++i) CHECK_NEAR(cold.b[i], warm.b[i], 1e-10);
        });
      }
    }
  }
}

// Every bound on the way is below the minimum, and every objective above.
void test_bounds() {
  LogisticCase<double> c(4500, 20, 5);  // with samples of the rows before all of them
  const auto view = c.view();
  const auto problem = c.problem(view);
  const double minimum = fit(problem, options(1e-12), {0.01}).objective[0];
  for (int max_iter = 1; max_iter < 30; ++max_iter) {
    LogisticOptions o = options(1e-12);
    o.max_iter = max_iter;
    const Fitted early = fit(problem, o, {0.01});
    CHECK(early.objective[0] >= minimum * (1.0 - 1e-13));
    CHECK(early.objective[0] / (1.0 + early.gap[0]) <= minimum * (1.0 + 1e-13));
    CHECK_EQ(early.n_iter[0] <= max_iter, true);
  }
}

// Models share passes and nothing else; folds are as if their rows were not there.
template <class In>
void test_models() {
  LogisticCase<In> c(400, 11, 4);
  for (std::ptrdiff_t i = 0; i < c.n; ++i)
    c.fold_of_row.push_back(static_cast<std::int32_t>(i % 3));
  const auto view = c.view();
  const Fitted together =
      fit(c.problem(view), options(1e-10, 2), {0.1, 10.0, 1.0, 1.0}, {-1, -1, 0, 2});
  const std::size_t size = c.at(c.R * c.d);
  const auto check_model = [&](std::size_t m, const Fitted& alone) {
    test::set_context(test::name_of(In()), "model", m);
    CHECK_NEAR(together.objective[m], alone.objective[0], 1e-9 * alone.objective[0]);
    // |w - w*|^2 <= 2 gap / penalty, of both.
    for (std::size_t i = 0; i < size; ++i) {
      CHECK_NEAR(together.W[m * size + i], alone.W[i], 4e-4 * std::sqrt(alone.objective[0]));
    }
  };
  LogisticCase<In> all = c;
  all.fold_of_row.clear();
  check_model(0, fit(all.problem(view), options(1e-10), {0.1}));
  check_model(1, fit(all.problem(view), options(1e-10), {10.0}));
  for (const std::int32_t fold : {0, 2}) {
    LogisticCase<In> rest = all;
    rest.weights.assign(c.at(c.n), 1.0);
    for (std::ptrdiff_t i = 0; i < c.n; ++i) {
      if (c.fold_of_row[c.at(i)] == fold) rest.weights[c.at(i)] = 0.0;
    }
    check_model(fold == 0 ? 2 : 3, fit(rest.problem(view), options(1e-10), {1.0}));
  }
}

// Many penalties, of which most begin between their neighbours, with what is known of the curvature
// between classes: the optima of models that are fitted alone, in fewer passes, and the same bits
// for any number of threads.
void test_path() {
  LogisticCase<float> c(9000, 100, 3);
  for (std::ptrdiff_t i = 0; i < c.n; ++i)
    c.fold_of_row.push_back(static_cast<std::int32_t>(i % 4));
  std::vector<double> penalties;
  std::vector<std::int32_t> held_out;
  for (int i = 0; i < 18; ++i) {  // in no order, and two of them twice
    penalties.push_back(1e-2 * std::pow(2.0, (i % 9) * 5 % 8));
    held_out.push_back(i < 9 ? -1 : 2);
  }
  const auto view = c.view();
  const Fitted path = fit(c.problem(view), options(1e-6, 1), penalties, held_out);
  double together = 0.0, alone = 0.0;
  for (std::size_t m = 0; m < penalties.size(); ++m) {
    test::set_context("f32", "path", m);
    const Fitted single = fit(c.problem(view), options(1e-6), {penalties[m]}, {held_out[m]});
    CHECK_EQ(static_cast<int>(path.status[m]), 0);
    CHECK(path.gap[m] <= 1e-6);
    CHECK_NEAR(path.objective[m], single.objective[0], 2e-6 * single.objective[0]);
    together += path.n_passes[m];
    alone += single.n_passes[0];
  }
  CHECK(together < 0.8 * alone);
  for (const int n_threads : {2, 3}) {
    CHECK(same_bits(fit(c.problem(view), options(1e-6, n_threads), penalties, held_out), path));
  }
}

template <class In>
void test_threads() {
  LogisticCase<In> c(4100, 70, 6);
  c.use_zeros();
  const auto view = c.view();
  const Fitted serial = fit(c.problem(view), options(1e-5, 1), {0.1, 10.0});
  for (const int n_threads : {2, 3, 8}) {
    CHECK(same_bits(fit(c.problem(view), options(1e-5, n_threads), {0.1, 10.0}), serial));
  }
  if constexpr (sizeof(In) > 1) {
    const test::Csr<In> sparse(c.X, c.n, c.d);
    const auto csr = sparse.view();
    auto problem = c.problem(view);
    problem.dense = nullptr;
    problem.csr = &csr;
    const Fitted one = fit(problem, options(1e-5, 1), {0.1});
    CHECK(same_bits(fit(problem, options(1e-5, 3), {0.1}), one));
    CHECK_NEAR(one.objective[0], serial.objective[0], 3e-5 * serial.objective[0]);
  }
}

// Columns in any units, none, the same ones twice: the same minimum.
void test_units() {
  LogisticCase<double> c(300, 12, 3);
  const auto view = c.view();
  const Fitted plain = fit(c.problem(view), options(1e-9), {1e-9});
  LogisticCase<double> scaled = c;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    scaled.X[c.at(i * c.d)] *= 1e6;
    scaled.X[c.at(i * c.d + 1)] *= 1e-3;
  }
  const auto scaled_view = scaled.view();
  const Fitted other = fit(scaled.problem(scaled_view), options(1e-4), {1e-9});
  CHECK_EQ(static_cast<int>(other.status[0]), 0);
  CHECK_NEAR(other.objective[0], plain.objective[0], 2e-4 * plain.objective[0]);
  LogisticCase<double> degenerate = c;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    degenerate.X[c.at(i * c.d + 2)] = 0.0;
    degenerate.X[c.at(i * c.d + 3)] = 7.0;
    degenerate.X[c.at(i * c.d + 4)] = degenerate.X[c.at(i * c.d + 5)];
  }
  const auto degenerate_view = degenerate.view();
  const Fitted third = fit(degenerate.problem(degenerate_view), options(1e-9), {0.1});
  CHECK_EQ(static_cast<int>(third.status[0]), 0);
  for (std::ptrdiff_t r = 0; r < c.R; ++r) {
    CHECK_NEAR(third.W[c.at(r * c.d + 2)], 0.0, 1e-3);
    CHECK_NEAR(third.W[c.at(r * c.d + 4)], third.W[c.at(r * c.d + 5)], 1e-3);
  }
}

void test_ends() {
  LogisticCase<double> separable(40, 60, 3);
  const auto view = separable.view();
  const Fitted apart = fit(separable.problem(view), options(1e-6), {0.0});
  CHECK(apart.status[0] == LogisticStatus::kSeparable);
  CHECK(std::all_of(apart.W.begin(), apart.W.end(), [](double w) { return std::isfinite(w); }));
  LogisticCase<double> c(500, 6, 3);
  const auto c_view = c.view();
  LogisticOptions few = options(1e-12);
  few.max_iter = 2;
  CHECK(fit(c.problem(c_view), few, {0.1}).status[0] == LogisticStatus::kMaxIter);
  const Fitted start = fit(c.problem(c_view), options(1e-9), {0.1});
  LogisticOptions warm = options(1e-6);
  warm.warm = true;
  CHECK(fit(c.problem(c_view), warm, {0.1}, {}, &start).n_iter[0] <= 3);
  c.weights.assign(c.at(c.n), 0.0);
  const Fitted nothing = fit(c.problem(c_view), options(1e-6), {0.1});
  CHECK(std::all_of(nothing.W.begin(), nothing.W.end(), [](double w) { return w == 0.0; }));
  c.labels[7] = 3;
  CHECK_THROWS(std::invalid_argument, "3", fit(c.problem(c_view), options(1e-6), {0.1}));
}

void test_stop() {
  LogisticCase<float> c(20000, 300, 10);
  const auto view = c.view();
  int n_polls = 0;
  const Fitted stopped =
      fit(c.problem(view), options(0.0, 2), {1e-6}, {}, nullptr, [&] { return ++n_polls == 3; });
  CHECK(!stopped.finished);
  CHECK_EQ(n_polls, 3);
  // A progress that ends a path: the models whose turn has not come are at zero.
  int n_calls = 0;
  const Fitted ended =
      fit(c.problem(view), options(1e-6, 2), {1.0, 3.0, 9.0, 27.0, 81.0}, {}, nullptr, nullptr,
          [&](std::int64_t, bool goes_on) { return CHECK(goes_on), ++n_calls == 2; });
  CHECK(ended.finished);
  CHECK_EQ(n_calls, 2);
  const double at_zero = static_cast<double>(c.n) * std::log(static_cast<double>(c.K));
  CHECK(ended.objective[0] < at_zero);
  CHECK_NEAR(ended.objective[1], at_zero, 1e-12 * at_zero);
  const std::ptrdiff_t size = c.R * c.d;
  CHECK(std::all_of(ended.W.begin() + size, ended.W.begin() + 2 * size,
                    [](double w) { return w == 0.0; }));
  for (const LogisticStatus status : ended.status) CHECK(status == LogisticStatus::kStopped);
}

// Of a whole path none but the last call may say that it ends, and none goes back.
void test_progress_of_a_path() {
  LogisticCase<double> c(400, 20, 3);
  const auto view = c.view();
  std::vector<bool> went_on;
  std::int64_t last = -1;
  fit(c.problem(view), options(1e-6), {0.1, 1.0, 10.0, 100.0, 1000.0}, {}, nullptr, nullptr,
      [&](std::int64_t n_iter, bool goes_on) {
        CHECK(n_iter > last);
        last = n_iter;
        went_on.push_back(goes_on);
        return false;
      });
  CHECK(went_on.size() > 5);
  CHECK(std::all_of(went_on.begin(), went_on.end() - 1, [](bool on) { return on; }));
}

// Few rows of many features: a diagonal at first, the whole curvature where that takes long.
template <class In>
void test_few_rows() {
  LogisticCase<In> c(100, 120, 3);
  const auto view = c.view();
  for (const double penalty : {1e4, 1e-2, 1e-4}) {
    test::set_context(test::name_of(In()), "few rows", penalty);
    const Fitted tight = fit(c.problem(view), options(1e-9), {penalty});
    check_optimum(c, tight, penalty, 1e-9, 1e-10);
    for (const int n_threads : {2, 3}) {
      CHECK(same_bits(fit(c.problem(view), options(1e-9, n_threads), {penalty}), tight));
    }
    // At zero; and with the classes' centres, or for the whole after the 12 passes that it costs.
    const bool is_long = tight.n_passes[0] > 13.0;
    CHECK_EQ(is_long, penalty < 1.0);
    CHECK(is_long ? tight.n_curvature_rows >= 2 * c.n : tight.n_curvature_rows == 2 * c.n);
  }
}

// A fit that takes long: the curvature anew from more rows; and threads for vectors of some blocks,
// which a case of few parameters never sees.
void test_long() {
  LogisticCase<float> c(20000, 30, 40);
  const auto view = c.view();
  const Fitted tight = fit(c.problem(view), options(1e-10), {1e-6});
  check_optimum(c, tight, 1e-6, 1e-10, 1e-10);
  CHECK(tight.n_passes[0] > 30.0 && tight.n_passes[0] < 60.0);
  CHECK(tight.n_curvature_rows >= 2 * c.n);  // half of them, more than once, then all
  LogisticCase<float> wide(2000, 600, 10);
  const auto wide_view = wide.view();
  const Fitted serial = fit(wide.problem(wide_view), options(1e-7), {0.1});
  CHECK(serial.n_passes[0] > 36.0);  // past the first curvature with directions
  for (const int n_threads : {2, 3}) {
    CHECK(same_bits(fit(wide.problem(wide_view), options(1e-7, n_threads), {0.1}), serial));
  }
}

// Newton's iterations are few; Ctrl-C between its products ends the fit.
void test_newton() {
  LogisticCase<double> c(3000, 20, 5);
  const auto view = c.view();
  const Fitted newton = fit(c.problem(view), options(1e-9), {1e-3});
  LogisticOptions lbfgs = options(1e-9);
  lbfgs.solver = LogisticSolver::kLbfgs;
  const Fitted other = fit(c.problem(view), lbfgs, {1e-3});
  CHECK(newton.n_iter[0] < other.n_iter[0]);
  // An evaluation and at least one product each.
  CHECK(newton.n_passes[0] >= 2.5 * static_cast<double>(newton.n_iter[0] - 1));
  CHECK_NEAR(newton.objective[0], other.objective[0], 2e-9 * other.objective[0]);
  LogisticCase<float> large(20000, 300, 10);
  const auto large_view = large.view();
  for (const int last : {2, 4, 6}) {
    int n_polls = 0;
    CHECK(!fit(large.problem(large_view), options(0.0, 2), {1e-6}, {}, nullptr, [&] {
             return ++n_polls == last;
           }).finished);
    CHECK_EQ(n_polls, last);
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_optimum<double>();
    test_models<double>();
    test_threads<float>();
    test_threads<std::uint8_t>();
    test_threads<double>();
    test_units();
  });
  test_optimum<float>();
  test_optimum<std::uint8_t>();
  test_models<float>();
  test_start_at_zero<double>();
  test_bounds();
  test_path();
  test_ends();
  test_stop();
  test_progress_of_a_path();
  test_few_rows<double>();
  test_few_rows<float>();
  test_long();
  solver = LogisticSolver::kNewtonCg;
  test_optimum<double>();
  test_optimum<float>();
  test_optimum<std::uint8_t>();
  test_bounds();
  test_models<double>();
  test_models<float>();
  test_threads<float>();
  test_threads<double>();
  test_units();
  test_ends();
  test_newton();
  return test::report();
}
