// The centres of the classes, and a preconditioner that knows them, against loops.
#include "solvers/class_centres.h"

#include <algorithm>
#include <cmath>

#include "for_each_isa.h"
#include "logistic/common_part.h"
#include "logistic_problem.h"
#include "solvers/preconditioner.h"

namespace {

using test::LogisticCase;
using Vector = std::vector<long double>;

const fastsoftmax::StopRequested kNever;
constexpr std::int32_t kHeldOut = 1;
constexpr double kPenalty = 0.3;

// Gaussian elimination with pivots from the column.
Vector solve(std::vector<Vector> A, Vector b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t pivot = i;
    for (std::size_t r = i; r < n; ++r) {
      if (std::abs(A[r][i]) > std::abs(A[pivot][i])) pivot = r;
    }
    std::swap(A[i], A[pivot]);
    std::swap(b[i], b[pivot]);
    for (std::size_t r = i + 1; r < n; ++r) {
      const long double by = A[r][i] / A[i][i];
      for (std::size_t c = i; c < n; ++c) A[r][c] -= by * A[i][c];
      b[r] -= by * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t c = i + 1; c < n; ++c) b[i] -= A[i][c] * b[c];
    b[i] /= A[i][i];
  }
  return b;
}

template <class In>
struct Case {
  LogisticCase<In> c;
  std::vector<double> model;

  Case(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t K, bool fit_intercept)
      : c(n, d, K), model(test::uniform<double>(K * (d + 1), 11, -0.5, 0.5)) {
    c.use_weights();
    c.use_zeros();
    c.fit_intercept = fit_intercept;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      c.fold_of_row.push_back(static_cast<std::int32_t>(i % 3));
    }
  }

  long double x(std::ptrdiff_t i, std::ptrdiff_t f) const {
    return c.input_scale * static_cast<long double>(c.X[c.at(i * c.d + f)]);
  }
  long double weight(std::ptrdiff_t i) const {
    return i % 3 == kHeldOut ? 0.0L : static_cast<long double>(c.weights[c.at(i)]);
  }
};

// The totals, and then the centres.
template <class In>
Vector reference_centres(const Case<In>& at) {
  const auto& c = at.c;
  Vector result(c.at(c.K * (c.d + 1)));
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    const Vector p = c.probabilities(at.model, i);
    for (std::ptrdiff_t k = 0; k < c.K; ++k) {
      const long double of_class = c.labels[c.at(i)] == k ? 1.0L - p[c.at(k)] : 1.0L;
      const long double w = at.weight(i) * p[c.at(k)] * of_class;
      result[c.at(k)] += w;
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        result[c.at(c.K + k * c.d + f)] += w * at.x(i, f);
      }
    }
  }
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      result[c.at(c.K + k * c.d + f)] /= result[c.at(k)];
    }
    result[c.at(k)] *= static_cast<long double>(c.K) / static_cast<long double>(c.K - 1);
  }
  return result;
}

// What the preconditioner is to be, class by class: the inverse of a matrix for each, less what the
// steps have in common.
template <class In>
Vector reference_step(const Case<In>& at, const std::vector<float>& curvature,
                      const fastsoftmax::ClassCentres& centres, const std::vector<double>& g) {
  const auto& c = at.c;
  const std::size_t d = c.at(c.d), K = c.at(c.K), u = d + (c.fit_intercept ? 1 : 0);
  std::vector<Vector> A(d, Vector(d));
  Vector mean(d);
  long double total = 0.0L;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    const auto weight = static_cast<long double>(curvature[c.at(i)]);
    total += weight;
    for (std::size_t f = 0; f < d; ++f) {
      const long double x = at.x(i, static_cast<std::ptrdiff_t>(f));
      mean[f] += weight * x;
      for (std::size_t e = 0; e < d; ++e) {
        A[f][e] += weight * x * at.x(i, static_cast<std::ptrdiff_t>(e));
      }
    }
  }
  for (std::size_t f = 0; f < d; ++f) {
    for (std::size_t e = 0; e < d; ++e) A[f][e] -= mean[f] * mean[e] / total;
    A[f][f] += kPenalty;
  }
  Vector excess(u), result(K * (d + 1));
  const auto place = [&](std::size_t k, std::size_t f) { return f < d ? k * d + f : K * d + k; };
  for (std::size_t k = 0; k < K; ++k) {
    std::vector<Vector> B(u, Vector(u));
    Vector right(u);
    const auto centre = [&](std::size_t f) {
      return f < d ? static_cast<long double>(centres.centre[k * d + f]) : 1.0L;
    };
    for (std::size_t f = 0; f < u; ++f) {
      right[f] = g[place(k, f)];
      for (std::size_t e = 0; e < u; ++e) {
        B[f][e] = (f < d && e < d ? A[f][e] : 0.0L) + centres.total[k] * centre(f) * centre(e);
      }
    }
    const Vector step = solve(B, right);
    for (std::size_t f = 0; f < u; ++f) {
      result[place(k, f)] = step[f];
      excess[f] += step[f] / static_cast<long double>(K);
    }
  }
  for (std::size_t k = 0; k < K; ++k) {
    for (std::size_t f = 0; f < u; ++f) result[place(k, f)] -= excess[f];
  }
  return result;
}

template <class In>
void check(const Case<In>& at, const fastsoftmax::LogisticProblem& problem, std::ptrdiff_t block) {
  const auto& c = at.c;
  const fastsoftmax::Rows rows{c.n, 1, 0};
  const fastsoftmax::RowWeights weights(problem);
  const auto centres_by = [&](int n_threads) {
    fastsoftmax::StopPoll stop(kNever);
    const auto loss = fastsoftmax::make_loss(problem, fastsoftmax::Arithmetic::kSingle, 1, false,
                                             n_threads, stop);
    std::vector<double> gradient(at.model.size());
    std::vector<float> row_losses(c.at(c.n));
    fastsoftmax::LossPoint point{at.model.data(),  gradient.data(), 0.0, kHeldOut, 1.0,
                                 row_losses.data()};
    loss->evaluate(rows, &point, 1);
    return class_centres(*loss, problem, weights, kHeldOut, row_losses, gradient.data(), n_threads);
  };
  const auto centres = centres_by(1);
  const auto expected = reference_centres(at);
  // A sum over n rows of numbers up to 2, as sums of 1 - p^2 and of p - 1; a mean of inputs up
  // to 1.
  const double eps = test::kEps<float> * static_cast<double>(c.n + 10 * c.d);
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    CHECK_NEAR(centres.total[c.at(k)], expected[c.at(k)], 4.0 * eps);
    const double of_mean = 8.0 * eps / static_cast<double>(expected[c.at(k)]);
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      CHECK_NEAR(centres.centre[c.at(k * c.d + f)], expected[c.at(c.K + k * c.d + f)], of_mean);
    }
  }
  for (const int n_threads : {2, 5}) {
    const auto again = centres_by(n_threads);
    CHECK(test::same_bits(again.total, centres.total));
    CHECK(test::same_bits(again.centre, centres.centre));
  }

  auto g = test::uniform<double>(c.K * (c.d + 1), 12, -1, 1);
  fastsoftmax::remove_common_part(g.data(), c.K, c.d, 1);
  std::vector<float> curvature(c.at(c.n));
  const auto step_by = [&](int n_threads) {
    fastsoftmax::StopPoll stop(kNever);
    const auto loss = fastsoftmax::make_loss(problem, fastsoftmax::Arithmetic::kSingle, 1, false,
                                             n_threads, stop);
    const fastsoftmax::LossPoint point{at.model.data(), nullptr, 0.0, kHeldOut, 1.0};
    loss->curvature(rows, point, curvature.data());
    fastsoftmax::Preconditioner preconditioner(c.d, block, c.fit_intercept, n_threads);
    preconditioner.build(*loss, rows, point, curvature.data(), 1.0, 0.0, kPenalty, c.K, 0, centres);
    std::vector<double> step(g.size());
    preconditioner.apply(g.data(), c.K, step.data());
    return step;
  };
  const auto step = step_by(1);
  const Vector wanted = reference_step(at, curvature, centres, g);
  // Curvatures of 0.3 and more; those of the features are sums in the arithmetic of X.
  const double tolerance = (sizeof(In) == 8 ? 1e-10 : 1e-4) * static_cast<double>(c.d);
  if (block >= c.d) {
    for (std::size_t i = 0; i < step.size(); ++i) CHECK_NEAR(step[i], wanted[i], tolerance);
  }
  for (const int n_threads : {2, 5}) CHECK(test::same_bits(step_by(n_threads), step));
}

template <class In>
void test_case(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t K, bool fit_intercept) {
  test::set_context(test::name_of(In()), "class centres", K, d, fit_intercept);
  const Case<In> at(n, d, K, fit_intercept);
  test::for_each_layout(at.c, [&](const auto& problem) {
    check(at, problem, d);
    check(at, problem, 1);
  });
}

template <class In>
void test_shapes() {
  for (const bool fit_intercept : {true, false}) {
    test_case<In>(90, 7, 3, fit_intercept);
    test_case<In>(700, 33, 17, fit_intercept);
    test_case<In>(300, 21, 70, fit_intercept);
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_shapes<float>();
    test_shapes<double>();
    test_shapes<std::uint8_t>();
  });
  return test::report();
}
