// A made-up logistic regression for tests, dense or sparse, and the specification of its objective.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "data.h"
#include "fastsoftmax/logistic.h"
#include "logistic/loss.h"
#include "views.h"

namespace test {

// What a product of inputs and weights is off by in parts of it, for each time that it is rounded.
template <class In>
double rounding_of(fastsoftmax::Arithmetic arithmetic) {
  if (arithmetic == fastsoftmax::Arithmetic::kDouble || sizeof(In) == 8) return kEps<double>;
  return arithmetic == fastsoftmax::Arithmetic::kSingle ? kEps<float> : 0x1p-15;
}

// |actual - expected| in parts of |expected|, both as vectors. Errors of many roundings that add up
// at random are far less than at worst, and so is their length than a bound for each entry.
template <class Actual, class Expected>
long double relative_error(const Actual& actual, const Expected& expected) {
  long double wrong = 0.0L, right = 0.0L;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto exact = static_cast<long double>(expected[i]);
    const long double difference = static_cast<long double>(actual[i]) - exact;
    wrong += difference * difference;
    right += exact * exact;
  }
  if (right == 0.0L) return wrong == 0.0L ? 0.0L : HUGE_VALL;
  return std::sqrt(wrong / right);
}

struct Objective {
  long double loss;
  std::vector<long double> gradient;  // W, then b
};

template <class In>
struct LogisticCase {
  std::ptrdiff_t n, d, K, R;
  std::vector<In> X;
  std::vector<std::int64_t> labels;
  std::vector<double> weights;            // empty: none
  std::vector<std::int32_t> fold_of_row;  // empty: none
  double input_scale = sizeof(In) == 1 ? 1 / 255.0 : 1.0;
  bool fit_intercept = true;

  // Labels follow the first features, a fifth of them by chance; every class has a row, if there
  // are enough: without one its intercept has no optimum.
  LogisticCase(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes)
      : n(n_rows), d(n_features), K(n_classes), R(K == 2 ? 1 : K) {
    X = uniform<In>(n * d, 1);
    labels = test::labels(n, K, 2);
    Random random(3);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      if (i < K) {
        labels[at(i)] = i;
        continue;
      }
      if (random.uniform(0, 1) < 0.2) continue;
      std::ptrdiff_t best = 0;
      for (std::ptrdiff_t f = 0; f < std::min(d, K); ++f) {
        if (X[at(i * d + f)] > X[at(i * d + best)]) best = f;
      }
      labels[at(i)] = best;
    }
  }
  static std::size_t at(std::ptrdiff_t i) { return static_cast<std::size_t>(i); }

  void use_weights() { weights = uniform<double>(n, 5, 0, 2); }
  void use_zeros() {
    Random random(8);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t f = 0; f < d; f += 16) {
        if (random.uniform(0, 1) < 0.3) continue;
        std::fill_n(X.begin() + i * d + f, std::min<std::ptrdiff_t>(16, d - f), In(0));
      }
    }
  }

  fastsoftmax::InputView view() const { return {kStorage<In>, X.data(), n, d, d}; }
  fastsoftmax::LogisticProblem problem(const fastsoftmax::InputView& X_view) const {
    fastsoftmax::LogisticProblem p;
    p.dense = &X_view;
    p.labels = labels.data();
    p.sample_weight = weights.empty() ? nullptr : weights.data();
    p.fold_of_row = fold_of_row.empty() ? nullptr : fold_of_row.data();
    p.n_classes = K;
    p.input_scale = input_scale;
    p.fit_intercept = fit_intercept;
    return p;
  }

  // Of a row and an output; parameters are W and then b.
  long double logit(const std::vector<double>& parameters, std::ptrdiff_t r,
                    std::ptrdiff_t i) const {
    long double z = parameters[at(R * d + r)];
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      z += static_cast<long double>(parameters[at(r * d + f)]) * input_scale *
           static_cast<long double>(X[at(i * d + f)]);
    }
    return z;
  }
  // Of the outputs: for two classes that of class 1.
  std::vector<long double> probabilities(const std::vector<double>& parameters,
                                         std::ptrdiff_t i) const {
    std::vector<long double> p(at(R));
    long double sum = R == 1 ? 1.0L : 0.0L;
    for (std::ptrdiff_t r = 0; r < R; ++r) sum += p[at(r)] = std::exp(logit(parameters, r, i));
    for (long double& each : p) each /= sum;
    return p;
  }

  // The loss and its gradient without the penalty, of the rows that are not in a fold.
  Objective reference(const std::vector<double>& W, const std::vector<double>& b,
                      std::int32_t held_out = -1) const {
    Objective result{0.0L, std::vector<long double>(at(R * (d + 1)))};
    std::vector<long double> z(at(K));
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      if (held_out >= 0 && fold_of_row[at(i)] == held_out) continue;
      const long double weight = weights.empty() ? 1.0L : weights[at(i)];
      long double largest = 0.0L;
      for (std::ptrdiff_t c = 0; c < K; ++c) {
        const std::ptrdiff_t r = R == 1 ? 0 : c;
        z[at(c)] = R == 1 && c == 0 ? 0.0L : static_cast<long double>(b[at(r)]);
        for (std::ptrdiff_t f = 0; f < d && !(R == 1 && c == 0); ++f) {
          z[at(c)] += static_cast<long double>(W[at(r * d + f)]) * input_scale *
                      static_cast<long double>(X[at(i * d + f)]);
        }
        largest = std::max(largest, z[at(c)]);
      }
      long double sum = 0.0L;
      for (const long double v : z) sum += std::exp(v - largest);
      const std::ptrdiff_t y = static_cast<std::ptrdiff_t>(labels[at(i)]);
      result.loss += weight * (largest + std::log(sum) - z[at(y)]);
      for (std::ptrdiff_t r = 0; r < R; ++r) {
        const std::ptrdiff_t c = R == 1 ? 1 : r;
        const long double dz =
            weight * (std::exp(z[at(c)] - largest) / sum - (c == y ? 1.0L : 0.0L));
        for (std::ptrdiff_t f = 0; f < d; ++f) {
          result.gradient[at(r * d + f)] +=
              dz * input_scale * static_cast<long double>(X[at(i * d + f)]);
        }
        result.gradient[at(R * d + r)] += dz;
      }
    }
    return result;
  }
};

struct Fitted {
  std::vector<double> W, b, objective, gap, float32_cost, n_passes;
  std::vector<std::int64_t> n_iter;
  std::vector<fastsoftmax::LogisticStatus> status;
  std::int64_t n_curvature_rows = 0;
  bool finished = false;
};

inline bool same_bits(const Fitted& a, const Fitted& b) {
  return same_bits(a.W, b.W) && same_bits(a.b, b.b) && same_bits(a.objective, b.objective) &&
         same_bits(a.gap, b.gap);
}

inline Fitted fit(const fastsoftmax::LogisticProblem& problem,
                  const fastsoftmax::LogisticOptions& options, const std::vector<double>& penalty,
                  const std::vector<std::int32_t>& held_out = {}, const Fitted* start = nullptr,
                  const fastsoftmax::StopRequested& stop = nullptr,
                  const fastsoftmax::FitProgress& progress = nullptr) {
  const auto m = penalty.size();
  const auto k = static_cast<std::size_t>(problem.n_outputs());
  Fitted fitted;
  if (start) {
    fitted = *start;
  } else {
    fitted.W.assign(m * k * static_cast<std::size_t>(problem.n_cols()), 0.0);
    fitted.b.assign(m * k, 0.0);
  }
  for (auto* each : {&fitted.objective, &fitted.gap, &fitted.float32_cost, &fitted.n_passes}) {
    each->assign(m, 0.0);
  }
  fitted.n_iter.assign(m, 0);
  fitted.status.resize(m);
  fastsoftmax::LogisticModels models;
  models.n_models = static_cast<std::ptrdiff_t>(m);
  models.penalty = penalty.data();
  models.held_out = held_out.empty() ? nullptr : held_out.data();
  models.W = fitted.W.data();
  models.b = fitted.b.data();
  models.objective = fitted.objective.data();
  models.gap = fitted.gap.data();
  models.float32_cost = fitted.float32_cost.data();
  models.n_iter = fitted.n_iter.data();
  models.n_passes = fitted.n_passes.data();
  models.status = fitted.status.data();
  fitted.finished = fastsoftmax::fit_logistic(problem, options, models, progress, stop);
  fitted.n_curvature_rows = models.n_curvature_rows;
  return fitted;
}

// f(problem) for the dense matrix and, but for bytes, the same in compressed rows.
template <class In, class F>
void for_each_layout(const LogisticCase<In>& c, const F& f) {
  const auto view = c.view();
  auto problem = c.problem(view);
  f(problem);
  if constexpr (sizeof(In) > 1) {
    const Csr<In> sparse(c.X, c.n, c.d);
    const auto csr = sparse.view();
    problem.dense = nullptr;
    problem.csr = &csr;
    f(problem);
  }
}

}  // namespace test
