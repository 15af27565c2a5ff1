// The loss of logistic regressions and its gradient against loops in long double, for every
// instruction set, storage type and kind of product; of several models at once; its curvature.
#include <algorithm>

#include "for_each_isa.h"
#include "logistic/loss.h"
#include "logistic_problem.h"

namespace {

using fastsoftmax::Arithmetic;
using test::LogisticCase;

struct Found {
  double loss;
  std::vector<double> W_gradient, b_gradient;
};

// Of gradients, as vectors, in roundings: 8.2 at most, of 600 features.
constexpr double kMostRoundings = 30;

// Each product of a logit rounds once, as does each step of its sum: |logit| errors of (d + 4) eps
// times the sum of |w x| + |b|, at most 2 d max|w| max|x|; a loss has that error twice, a
// gradient's entry that of a probability and n roundings more.
template <class In>
double tolerance_of(const LogisticCase<In>& c, Arithmetic arithmetic) {
  // The arithmetic rounds the parameters first.
  const double eps = test::rounding_of<In>(arithmetic);
  double weight = 0.0;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) weight += c.weights.empty() ? 1.0 : c.weights[c.at(i)];
  const double logit_error =
      eps * static_cast<double>(c.d + 8) * (0.5 * static_cast<double>(c.d) + 2.0) * 0.5;
  return weight * (2.0 * logit_error + 8.0 * eps);
}

template <class In>
Found evaluate(const LogisticCase<In>& c, const fastsoftmax::LogisticProblem& problem,
               const std::vector<double>& W, const std::vector<double>& b, bool wide,
               int n_threads) {
  Found found{0.0, std::vector<double>(W.size()), std::vector<double>(b.size())};
  found.loss =
      fastsoftmax::logistic_loss(problem, W.data(), b.data(), wide, found.W_gradient.data(),
                                 found.b_gradient.data(), n_threads);
  (void)c;
  return found;
}

template <class In>
void check(const LogisticCase<In>& c, const fastsoftmax::LogisticProblem& problem, bool wide) {
  const auto W = test::uniform<double>(c.R * c.d, 11, -0.5, 0.5),
             b = test::uniform<double>(c.R, 12);
  const auto expected = c.reference(W, b);
  const double tolerance = tolerance_of(c, wide ? Arithmetic::kDouble : Arithmetic::kSingle);
  const Found one = evaluate(c, problem, W, b, wide, 1);
  CHECK_NEAR(one.loss, expected.loss, tolerance);
  for (std::ptrdiff_t i = 0; i < c.R * c.d; ++i) {
    CHECK_NEAR(one.W_gradient[c.at(i)], expected.gradient[c.at(i)], tolerance);
  }
  for (std::ptrdiff_t r = 0; r < c.R; ++r) {
    CHECK_NEAR(one.b_gradient[c.at(r)], expected.gradient[c.at(c.R * c.d + r)], tolerance);
  }
  auto gradient = one.W_gradient;
  gradient.insert(gradient.end(), one.b_gradient.begin(), one.b_gradient.end());
  CHECK(test::relative_error(gradient, expected.gradient) <=
        kMostRoundings * test::rounding_of<In>(wide ? Arithmetic::kDouble : Arithmetic::kSingle));
  for (const int n_threads : {2, 5}) {
    const Found many = evaluate(c, problem, W, b, wide, n_threads);
    CHECK(many.loss == one.loss && test::same_bits(many.W_gradient, one.W_gradient) &&
          test::same_bits(many.b_gradient, one.b_gradient));
  }
}

template <class In>
void test_shapes(bool wide) {
  // Rows, features, classes: ragged, with few outputs and with many, in one chunk and in several;
  // of few features in chunks of several blocks.
  constexpr std::ptrdiff_t kShapes[][3] = {
      {1, 1, 2},      {7, 3, 3},      {37, 17, 2},  {600, 33, 10}, {50, 200, 5},
      {45, 20, 31},   {45, 20, 32},   {45, 20, 63}, {45, 20, 64},  {300, 19, 70},
      {130, 600, 66}, {1100, 5, 101}, {1600, 9, 4}, {8800, 3, 2}};
  for (const auto& shape : kShapes) {
    for (int variant = 0; variant < 3; ++variant) {
      test::set_context(test::name_of(In()), wide ? "wide" : "own", shape[0], shape[1], shape[2],
                        variant);
      LogisticCase<In> c(shape[0], shape[1], shape[2]);
      if (variant > 0) c.use_weights();
      if (variant > 1) c.use_zeros();
      test::for_each_layout(c, [&](const auto& problem) { check(c, problem, wide); });
    }
  }
}

struct Losses {
  std::vector<double> loss;
  std::vector<std::vector<double>> gradient;
};

// Model m has the parameters at[m] and leaves out fold m - 1, the first none; n_left models have
// left already, as they do in a fit.
Losses evaluate_all(const fastsoftmax::LogisticProblem& problem,
                    const std::vector<std::vector<double>>& at, std::ptrdiff_t n_left,
                    Arithmetic arithmetic, int n_threads) {
  const fastsoftmax::StopRequested never;
  fastsoftmax::StopPoll stop(never);
  const auto n = static_cast<std::ptrdiff_t>(at.size());
  const auto loss = make_loss(problem, arithmetic, n + n_left, false, n_threads, stop);
  Losses found;
  std::vector<fastsoftmax::LossPoint> points;
  for (const auto& parameters : at) {
    found.gradient.emplace_back(parameters.size(), 7.0);
    points.push_back({parameters.data(), found.gradient.back().data(), 7.0,
                      static_cast<std::int32_t>(points.size()) - 1, 2.0});
  }
  loss->evaluate({problem.n_rows(), 1, 0}, points.data(), n);
  for (const auto& point : points) found.loss.push_back(point.loss);
  return found;
}

// Several models in one pass, each with its fold.
template <class In>
void check_models(LogisticCase<In>& c, const fastsoftmax::LogisticProblem& problem,
                  Arithmetic arithmetic, std::size_t n_models, std::ptrdiff_t n_left) {
  std::vector<std::vector<double>> at;
  for (std::size_t m = 0; m < n_models; ++m) {
    at.push_back(test::uniform<double>(c.R * c.d, 20 + m, -0.5, 0.5));
    const auto b = test::uniform<double>(c.R, 40 + m);
    at.back().insert(at.back().end(), b.begin(), b.end());
  }
  const Losses one = evaluate_all(problem, at, n_left, arithmetic, 1);
  const double tolerance = 2.0 * tolerance_of(c, arithmetic);
  for (std::size_t m = 0; m < n_models; ++m) {
    const std::vector<double> W(at[m].begin(), at[m].end() - c.R),
        b(at[m].end() - c.R, at[m].end());
    auto expected = c.reference(W, b, static_cast<std::int32_t>(m) - 1);
    for (long double& each : expected.gradient) each *= 2.0L;
    CHECK_NEAR(one.loss[m], 2.0L * expected.loss, tolerance);
    for (std::size_t i = 0; i < at[m].size(); ++i) {
      CHECK_NEAR(one.gradient[m][i], expected.gradient[i], tolerance);
    }
    CHECK(test::relative_error(one.gradient[m], expected.gradient) <=
          kMostRoundings * test::rounding_of<In>(arithmetic));
  }
  for (const int n_threads : {2, 3, 7}) {
    const Losses many = evaluate_all(problem, at, n_left, arithmetic, n_threads);
    CHECK(test::same_bits(many.loss, one.loss));
    for (std::size_t m = 0; m < n_models; ++m) {
      CHECK(test::same_bits(many.gradient[m], one.gradient[m]));
    }
  }
}

template <class In>
void test_models(Arithmetic arithmetic) {
  for (const std::ptrdiff_t K : {2, 3, 9, 17, 33}) {
    for (const std::size_t n_models : {2u, 5u}) {
      for (const bool weighted : {false, true}) {
        test::set_context(test::name_of(In()), "models", static_cast<int>(arithmetic), K, n_models,
                          weighted);
        LogisticCase<In> c(170, 21, K);
        if (weighted) c.use_weights();
        if (weighted) c.use_zeros();
        for (std::ptrdiff_t i = 0; i < c.n; ++i) {
          c.fold_of_row.push_back(static_cast<std::int32_t>(i % 4));
        }
        test::for_each_layout(c, [&](const auto& problem) {
          check_models(c, problem, arithmetic, n_models, weighted);
        });
      }
    }
  }
}

// The Hessian in the intercepts and the mean curvature, from the probabilities of the rows.
template <class In>
void test_curvature(Arithmetic arithmetic) {
  for (const std::ptrdiff_t K : {2, 3, 20, 70}) {
    test::set_context(test::name_of(In()), "curvature", static_cast<int>(arithmetic), K);
    LogisticCase<In> c(300, 15, K);
    c.use_weights();
    auto parameters = test::uniform<double>(c.R * (c.d + 1), 31, -0.5, 0.5);
    const auto view = c.view();
    const fastsoftmax::StopRequested never;
    fastsoftmax::StopPoll stop(never);
    const auto loss = make_loss(c.problem(view), arithmetic, 2, false, 3, stop);
    const fastsoftmax::Rows rows{c.n, 1, 0};
    const fastsoftmax::LossPoint point{parameters.data(), nullptr, 0.0, -1, 1.0};
    std::vector<float> curvature(c.at(c.n));
    std::vector<double> hessian(c.at(c.R * c.R)), expected(hessian.size()), exact_curvature;
    loss->curvature(rows, point, curvature.data());
    loss->class_hessian(rows, point, nullptr, 0, hessian.data());
    const double largest = *std::max_element(c.weights.begin(), c.weights.end());
    for (double& h : hessian) h *= largest;
    const double tolerance = tolerance_of(c, arithmetic) + 1e-6;
    for (std::ptrdiff_t i = 0; i < c.n; ++i) {
      const auto exact = c.probabilities(parameters, i);
      const std::vector<double> p(exact.begin(), exact.end());
      double squares = c.R == 1 ? (1.0 - p[0]) * (1.0 - p[0]) : 0.0;
      for (const double v : p) squares += v * v;
      const double weight = c.weights[c.at(i)];
      // p (1 - p) of two classes is half of what the squares leave.
      const double mean = (1.0 - squares) / static_cast<double>(c.R == 1 ? 2 : K - 1);
      exact_curvature.push_back(weight / largest * mean);
      for (std::ptrdiff_t r = 0; r < c.R; ++r) {
        for (std::ptrdiff_t q = 0; q < c.R; ++q) {
          expected[c.at(r * c.R + q)] +=
              weight * ((r == q ? p[c.at(r)] : 0.0) - p[c.at(r)] * p[c.at(q)]);
        }
      }
    }
    for (std::size_t i = 0; i < hessian.size(); ++i) {
      CHECK_NEAR(hessian[i], expected[i], tolerance);
    }
    // 23 roundings at most where entries of the Hessian are differences; 0.6, as they are float32.
    const double eps = test::rounding_of<In>(arithmetic);
    CHECK(test::relative_error(hessian, expected) <= 100 * eps);
    CHECK(test::relative_error(curvature, exact_curvature) <= 8 * std::max(eps, test::kEps<float>));
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_shapes<float>(false);
    test_shapes<float>(true);
    test_shapes<std::uint8_t>(false);
    test_shapes<std::uint8_t>(true);
    test_shapes<double>(true);
    test_models<float>(Arithmetic::kReduced);
    test_models<float>(Arithmetic::kSingle);
    test_models<float>(Arithmetic::kDouble);
    test_models<std::uint8_t>(Arithmetic::kReduced);
    test_models<std::uint8_t>(Arithmetic::kSingle);
    test_models<double>(Arithmetic::kReduced);  // float64 all the same
    test_curvature<float>(Arithmetic::kReduced);
    test_curvature<float>(Arithmetic::kSingle);
    test_curvature<std::uint8_t>(Arithmetic::kDouble);
  });
  return test::report();
}
