// The Hessian of the loss times directions, for several models at once, against loops.
#include <cmath>

#include "for_each_isa.h"
#include "logistic/loss.h"
#include "logistic_problem.h"

namespace {

using fastsoftmax::Arithmetic;
using test::LogisticCase;

// Of the rows outside a fold: sum_i s_i (diag(p_i) - p_i p_i') u_i x_i', u_i being the logits that
// the direction makes; with 1 for the intercepts.
template <class In>
std::vector<long double> reference(const LogisticCase<In>& c, const std::vector<double>& model,
                                   const std::vector<double>& direction, std::int32_t held_out) {
  std::vector<long double> product(c.at(c.R * (c.d + 1)));
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    if (held_out >= 0 && c.fold_of_row[c.at(i)] == held_out) continue;
    const long double s = c.weights.empty() ? 1.0L : c.weights[c.at(i)];
    const auto p = c.probabilities(model, i);
    long double mean = 0.0L;
    for (std::ptrdiff_t r = 0; r < c.R; ++r) mean += p[c.at(r)] * c.logit(direction, r, i);
    for (std::ptrdiff_t r = 0; r < c.R; ++r) {
      const long double z = s * p[c.at(r)] * (c.logit(direction, r, i) - mean);
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        product[c.at(r * c.d + f)] +=
            z * c.input_scale * static_cast<long double>(c.X[c.at(i * c.d + f)]);
      }
      product[c.at(c.R * c.d + r)] += z;
    }
  }
  return product;
}

template <class In>
void check(const LogisticCase<In>& c, const fastsoftmax::LogisticProblem& problem,
           Arithmetic arithmetic, std::size_t n_models) {
  std::vector<std::vector<double>> at, along;
  for (std::size_t m = 0; m < n_models; ++m) {
    at.push_back(test::uniform<double>(c.R * (c.d + 1), 20 + m, -0.5, 0.5));
    along.push_back(test::uniform<double>(c.R * (c.d + 1), 40 + m, -0.5, 0.5));
  }
  const auto products = [&](int n_threads) {
    const fastsoftmax::StopRequested never;
    fastsoftmax::StopPoll stop(never);
    std::vector<std::vector<double>> found;
    for (std::size_t m = 0; m < n_models; ++m) found.emplace_back(at[m].size(), 7.0);
    std::vector<fastsoftmax::HessianPoint> points;
    for (std::size_t m = 0; m < n_models; ++m) {
      points.push_back(
          {at[m].data(), along[m].data(), found[m].data(), static_cast<std::int32_t>(m) - 1});
    }
    const auto loss = make_loss(problem, arithmetic, static_cast<std::ptrdiff_t>(n_models), true,
                                n_threads, stop);
    // Twice, and with evaluations between: nothing of one stays for the next.
    for (int turn = 0; turn < 2; ++turn) {
      loss->hessian_products({problem.n_rows(), 1, 0}, points.data(),
                             static_cast<std::ptrdiff_t>(n_models));
      std::vector<double> gradient(at[0].size());
      fastsoftmax::LossPoint point{along[0].data(), gradient.data(), 0.0, -1, 1.0};
      if (turn == 0) loss->evaluate({problem.n_rows(), 1, 0}, &point, 1);
    }
    return found;
  };
  const auto one = products(1);
  // Logits of at most (d + 1) / 2, each off by some d roundings; p (u - mean) has that error of u
  // and, times its size, that of p.
  const double eps = test::rounding_of<In>(arithmetic);
  double weight = 0.0;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) weight += c.weights.empty() ? 1.0 : c.weights[c.at(i)];
  const double size = 0.5 * static_cast<double>(c.d + 1);
  const double tolerance = weight * size * (size + 1.0) * eps * static_cast<double>(c.d + 8);
  for (std::size_t m = 0; m < n_models; ++m) {
    const auto expected = reference(c, at[m], along[m], static_cast<std::int32_t>(m) - 1);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK_NEAR(one[m][i], expected[i], tolerance);
    }
    CHECK(test::relative_error(one[m], expected) <= 500.0L * static_cast<long double>(eps));
  }
  for (const int n_threads : {2, 5}) {
    const auto many = products(n_threads);
    for (std::size_t m = 0; m < n_models; ++m) CHECK(test::same_bits(many[m], one[m]));
  }
}

template <class In>
void test_shapes(Arithmetic arithmetic) {
  constexpr std::ptrdiff_t kShapes[][3] = {{1, 1, 2},    {37, 17, 2},    {200, 33, 10},
                                           {50, 200, 5}, {45, 20, 16},   {45, 20, 33},
                                           {90, 9, 70},  {40, 1700, 16}, {9, 2, 1400}};
  for (const auto& shape : kShapes) {
    for (const std::size_t n_models : {1u, 3u}) {
      for (const bool weighted : {false, true}) {
        test::set_context(test::name_of(In()), "arithmetic", static_cast<int>(arithmetic), shape[0],
                          shape[1], shape[2], n_models, weighted);
        LogisticCase<In> c(shape[0], shape[1], shape[2]);
        if (weighted) c.use_weights();
        if (weighted) c.use_zeros();
        for (std::ptrdiff_t i = 0; i < c.n; ++i) {
          c.fold_of_row.push_back(static_cast<std::int32_t>(i % 4));
        }
        test::for_each_layout(
            c, [&](const auto& problem) { check(c, problem, arithmetic, n_models); });
      }
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_shapes<float>(Arithmetic::kReduced);
    test_shapes<float>(Arithmetic::kSingle);
    test_shapes<float>(Arithmetic::kDouble);
    test_shapes<std::uint8_t>(Arithmetic::kSingle);
    test_shapes<double>(Arithmetic::kDouble);
  });
  return test::report();
}
