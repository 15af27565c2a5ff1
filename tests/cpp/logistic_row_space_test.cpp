// The span of the rows of X, and fits with fewer rows than features that go through it.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "for_each_isa.h"
#include "logistic_problem.h"
#include "solvers/row_space.h"

namespace {

using fastsoftmax::InputView;
using fastsoftmax::LogisticOptions;
using fastsoftmax::LogisticStatus;
using test::fit;
using test::Fitted;
using test::LogisticCase;

// L L' is X X', and the logits of weights are those of their coordinates.
template <class In>
void test_row_space() {
  for (const std::ptrdiff_t n : {1, 7, 49, 100, 230}) {
    const std::ptrdiff_t d = 2 * n + 331, stride = d + 3, n_outputs = 5;
    test::set_context(test::name_of(In()), "row space", n);
    const auto X = test::uniform<In>(n * stride, 1);
    const InputView view{test::kStorage<In>, X.data(), n, d, stride};
    const fastsoftmax::StopRequested never;
    fastsoftmax::StopPoll poll(never);
    const fastsoftmax::RowSpace space(view, 1, poll);
    CHECK(space.is_known());
    const InputView rows = space.rows();
    CHECK(rows.n_rows == n && rows.n_cols == n);
    const auto* L = static_cast<const double*>(rows.data);
    const auto coordinates = test::uniform<double>(n_outputs * n, 2);
    std::vector<double> W(static_cast<std::size_t>(n_outputs * d));
    space.weights_of(coordinates.data(), n_outputs, W.data());
    const double largest = sizeof(In) == 1 ? 255.0 : 1.0;
    const double tolerance = test::kEps<double> * static_cast<double>(n + d) * largest;
    const auto x = [&](std::ptrdiff_t row, std::ptrdiff_t f) {
      const std::ptrdiff_t i = space.order()[static_cast<std::size_t>(row)];
      return static_cast<double>(X[static_cast<std::size_t>(i * stride + f)]);
    };
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      CHECK(i == 0 ||
            L[0] >= std::sqrt(std::inner_product(L + i * n, L + (i + 1) * n, L + i * n, 0.0)));
      for (std::ptrdiff_t j = 0; j <= i; ++j) {
        double expected = 0.0;
        for (std::ptrdiff_t f = 0; f < d; ++f) expected += x(i, f) * x(j, f);
        const double sum = std::inner_product(L + i * n, L + (i + 1) * n, L + j * n, 0.0);
        CHECK_NEAR(sum, expected, tolerance * static_cast<double>(d) * largest);
      }
      for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
        double logit = 0.0;
        for (std::ptrdiff_t f = 0; f < d; ++f) {
          logit += x(i, f) * W[static_cast<std::size_t>(r * d + f)];
        }
        const double expected =
            std::inner_product(L + i * n, L + (i + 1) * n, coordinates.data() + r * n, 0.0);
        CHECK_NEAR(logit, expected, 100.0 * tolerance * std::sqrt(static_cast<double>(n)));
      }
    }
    for (const int n_threads : {2, 3}) {
      const fastsoftmax::RowSpace threaded(view, n_threads, poll);
      CHECK(std::equal(L, L + n * n, static_cast<const double*>(threaded.rows().data)));
      std::vector<double> again(W.size());
      threaded.weights_of(coordinates.data(), n_outputs, again.data());
      CHECK(test::same_bits(again, W));
    }
  }
}

void test_unknown() {
  std::vector<double> X(60, 1e200);
  const InputView view{test::kStorage<double>, X.data(), 3, 20, 20};
  bool stops = false;
  const fastsoftmax::StopRequested ask = [&] { return stops; };
  fastsoftmax::StopPoll poll(ask);
  CHECK(!fastsoftmax::RowSpace(view, 1, poll).is_known());
}

// Rows that are nearly the sums of a few others, as embeddings are: L-BFGS in all features takes
// a thousand passes of them and more.
template <class In>
LogisticCase<In> correlated(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t n_classes) {
  constexpr std::ptrdiff_t kParts = 10;
  LogisticCase<In> c(n, d, n_classes);
  const auto parts = test::uniform<double>(kParts * d, 11),
             factors = test::uniform<double>(n * kParts, 12);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      double sum = sizeof(In) == 1 ? 128.0 : 0.0;
      for (std::ptrdiff_t k = 0; k < kParts; ++k) {
        sum += (sizeof(In) == 1 ? 15.0 : 10.0) * factors[c.at(i * kParts + k)] *
               parts[c.at(k * d + f)];
      }
      const double own = static_cast<double>(c.X[c.at(i * d + f)]) * (sizeof(In) == 1 ? 0.02 : 0.1);
      c.X[c.at(i * d + f)] = static_cast<In>(sum + own);
    }
  }
  return c;
}

LogisticOptions options(double tol, int n_threads = 1) {
  LogisticOptions o;
  o.tol = tol;
  o.max_iter = 2000;
  o.n_threads = n_threads;
  return o;
}

template <class In>
double objective_of(const LogisticCase<In>& c, const Fitted& fitted, std::size_t m, double penalty,
                    std::int32_t held_out = -1) {
  const auto size = static_cast<std::ptrdiff_t>(m) * c.R;
  const std::vector<double> W(fitted.W.begin() + size * c.d, fitted.W.begin() + (size + c.R) * c.d);
  const std::vector<double> b(fitted.b.begin() + size, fitted.b.begin() + size + c.R);
  return static_cast<double>(c.reference(W, b, held_out).loss) +
         0.5 * penalty * std::inner_product(W.begin(), W.end(), W.begin(), 0.0);
}

// Against the same problem in compressed rows, which are fitted in all features: as many models as
// there are folds and penalties, with weights, and without intercepts.
template <class In>
void test_optimum() {
  for (const bool fit_intercept : {true, false}) {
    for (const std::ptrdiff_t n_classes : {2, 4}) {
      test::set_context(test::name_of(In()), "row space fit", n_classes, fit_intercept);
      LogisticCase<In> c = correlated<In>(40, 1500, n_classes);
      c.fit_intercept = fit_intercept;
      c.use_weights();
      for (std::ptrdiff_t i = 0; i < c.n; ++i) c.fold_of_row.push_back(static_cast<int>(i % 3));
      const std::vector<double> penalty{0.1, 0.1, 1e-3, 10.0};
      const std::vector<std::int32_t> held_out{-1, 0, 1, 2};
      const auto view = c.view();
      const Fitted fitted = fit(c.problem(view), options(1e-7), penalty, held_out);
      std::vector<double> wide = test::widen(c.X);
      const test::Csr<double> sparse(wide, c.n, c.d);
      const auto csr = sparse.view();
      auto problem = c.problem(view);
      problem.dense = nullptr;
      problem.csr = &csr;
      LogisticOptions newton = options(1e-7);
      newton.solver = fastsoftmax::LogisticSolver::kNewtonCg;
      const Fitted expected = fit(problem, newton, penalty, held_out);
      for (std::size_t m = 0; m < penalty.size(); ++m) {
        CHECK(fitted.status[m] == LogisticStatus::kCertified);
        CHECK(expected.status[m] == LogisticStatus::kCertified);
        CHECK(fitted.gap[m] <= 1e-7);
        CHECK_NEAR(fitted.objective[m], expected.objective[m], 2e-7 * expected.objective[m]);
        CHECK_NEAR(objective_of(c, fitted, m, penalty[m], held_out[m]), fitted.objective[m],
                   1e-9 * fitted.objective[m]);
        CHECK(fitted.n_passes[m] < 250.0);  // of those in the row space little counts
      }
      for (const int n_threads : {2, 3}) {
        const Fitted threaded = fit(c.problem(view), options(1e-7, n_threads), penalty, held_out);
        CHECK(same_bits(threaded, fitted));
      }
    }
  }
}

// Iterations are counted through all of the fit, and none are more than max_iter; whoever looks on
// sees the model that is reported, and what it ends stays there.
void test_progress() {
  const LogisticCase<double> c = correlated<double>(60, 400, 3);
  const auto view = c.view();
  const Fitted whole = fit(c.problem(view), options(1e-9), {1e-3});
  CHECK(whole.n_passes[0] < 100.0);
  for (const std::int64_t max_iter : {1, 2, 3, 10, 24, 25, 26, 27, 28, 29, 30, 40, 60}) {
    LogisticOptions few = options(1e-9);
    few.max_iter = max_iter;
    std::int64_t last = 0;
    bool went_on = true;
    const Fitted fitted =
        fit(c.problem(view), few, {1e-3}, {}, nullptr, nullptr, [&](std::int64_t i, bool goes_on) {
          CHECK(went_on && i > last);
          last = i;
          went_on = goes_on;
          return false;
        });
    test::set_context("f64", "max_iter", max_iter);
    CHECK(fitted.finished && !went_on);
    CHECK(fitted.n_iter[0] <= max_iter);
    CHECK_EQ(fitted.n_iter[0] < max_iter, whole.n_iter[0] < max_iter);
    CHECK_NEAR(objective_of(c, fitted, 0, 1e-3), fitted.objective[0], 1e-9 * fitted.objective[0]);
    CHECK(same_bits(fitted, fit(c.problem(view), few, {1e-3})));
  }
  double before = HUGE_VAL;
  for (const std::int64_t end : {1, 5, 20, 27, 30, 32, 34, 36, 45}) {
    test::set_context("f64", "end", end);
    const Fitted ended = fit(c.problem(view), options(1e-9), {1e-3}, {}, nullptr, nullptr,
                             [&](std::int64_t i, bool) { return i >= end; });
    CHECK(ended.finished && ended.status[0] == LogisticStatus::kStopped);
    CHECK_EQ(ended.n_iter[0], end);
    CHECK_NEAR(objective_of(c, ended, 0, 1e-3), ended.objective[0], 1e-6 * ended.objective[0]);
    CHECK(ended.objective[0] <= before * (1 + 1e-9));
    before = ended.objective[0];
  }
}

// Means of 1e7 beside spreads of 10 leave little of the rows in float64's X X', and numbers without
// finite squares have none: such fits go on in all features.
void test_rounding() {
  const LogisticCase<double> plain = correlated<double>(40, 300, 3);
  const auto plain_view = plain.view();
  const Fitted near = fit(plain.problem(plain_view), options(1e-4), {0.1});
  LogisticCase<double> far = plain;
  for (double& x : far.X) x += 1e7;
  const auto far_view = far.view();
  const Fitted found = fit(far.problem(far_view), options(1e-4), {0.1});
  CHECK(found.status[0] == LogisticStatus::kCertified);
  CHECK_NEAR(found.objective[0], near.objective[0], 2e-4 * near.objective[0]);
  LogisticCase<double> huge = plain;
  for (double& x : huge.X) x *= 1e160;
  const auto huge_view = huge.view();
  CHECK(fit(huge.problem(huge_view), options(1e-4), {0.1}).finished);
}

// From where the optimum is, no more than a look at it; and a few iterations again and again get
// nearer each time, whichever way they go.
void test_warm() {
  const LogisticCase<double> c = correlated<double>(60, 400, 3);
  const auto view = c.view();
  const Fitted first = fit(c.problem(view), options(1e-9), {1e-3});
  LogisticOptions warm = options(1e-7);
  warm.warm = true;
  CHECK(fit(c.problem(view), warm, {1e-3}, {}, &first).n_passes[0] < 4.0);
  const Fitted other = fit(c.problem(view), warm, {1e-2}, {}, &first);
  CHECK(other.status[0] == LogisticStatus::kCertified);
  for (const std::int64_t max_iter : {5, 45, 60}) {
    LogisticOptions few = options(1e-9);
    few.max_iter = max_iter;
    Fitted now = fit(c.problem(view), few, {1e-4});
    few.warm = true;
    for (int i = 0; i < 8; ++i) {
      const Fitted next = fit(c.problem(view), few, {1e-4}, {}, &now);
      CHECK(next.objective[0] <= now.objective[0] * (1 + 1e-12));
      now = next;
    }
  }
}

void test_stop() {
  const LogisticCase<float> c = correlated<float>(600, 9000, 4);
  const auto view = c.view();
  for (const int last : {1, 3, 6, 9}) {
    int n_polls = 0;
    const Fitted stopped = fit(c.problem(view), options(0.0, 2), {1e-6}, {}, nullptr,
                               [&] { return ++n_polls == last; });
    CHECK(!stopped.finished);
    CHECK_EQ(n_polls, last);
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_row_space<double>();
    test_row_space<float>();
    test_row_space<std::uint8_t>();
    test_optimum<double>();
  });
  test_optimum<float>();
  test_optimum<std::uint8_t>();
  test_unknown();
  test_progress();
  test_rounding();
  test_warm();
  test_stop();
  return test::report();
}
