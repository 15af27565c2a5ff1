// The loss of logistic regressions and its gradient against loops in long double, for every
// instruction set, storage type and kind of product.
#include <algorithm>

#include "for_each_isa.h"
#include "logistic_problem.h"

namespace {

using test::LogisticCase;

struct Found {
  double loss;
  std::vector<double> W_gradient, b_gradient;
};

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

// Each product of a logit rounds once, as does each step of its sum: |logit| errors of (d + 4) eps
// times the sum of |w x| + |b|, at most 2 d max|w| max|x|; a loss has that error twice, a
// gradient's entry that of a probability and n roundings more.
template <class In>
void check(const LogisticCase<In>& c, const fastsoftmax::LogisticProblem& problem, bool wide) {
  const auto W = test::uniform<double>(c.R * c.d, 11, -0.5, 0.5),
             b = test::uniform<double>(c.R, 12);
  // The arithmetic rounds the parameters first.
  const bool is_double = wide || sizeof(In) == 8;
  const double eps = is_double ? test::kEps<double> : test::kEps<float>;
  const auto expected = c.reference(W, b);
  double weight = 0.0;
  for (std::ptrdiff_t i = 0; i < c.n; ++i) weight += c.weights.empty() ? 1.0 : c.weights[c.at(i)];
  const double logit_error =
      eps * static_cast<double>(c.d + 8) * (0.5 * static_cast<double>(c.d) + 2.0) * 0.5;
  const double tolerance = weight * (2.0 * logit_error + 8.0 * eps);
  const Found one = evaluate(c, problem, W, b, wide, 1);
  CHECK_NEAR(one.loss, expected.loss, tolerance);
  for (std::ptrdiff_t i = 0; i < c.R * c.d; ++i) {
    CHECK_NEAR(one.W_gradient[c.at(i)], expected.gradient[c.at(i)], tolerance);
  }
  for (std::ptrdiff_t r = 0; r < c.R; ++r) {
    CHECK_NEAR(one.b_gradient[c.at(r)], expected.gradient[c.at(c.R * c.d + r)], tolerance);
  }
  for (const int n_threads : {2, 5}) {
    const Found many = evaluate(c, problem, W, b, wide, n_threads);
    CHECK(many.loss == one.loss && test::same_bits(many.W_gradient, one.W_gradient) &&
          test::same_bits(many.b_gradient, one.b_gradient));
  }
}

template <class In>
void test_shapes(bool wide) {
  // Rows, features, classes: ragged, with few outputs and with many, in one chunk and in several.
  constexpr std::ptrdiff_t kShapes[][3] = {
      {1, 1, 2},    {7, 3, 3},    {37, 17, 2},   {600, 33, 10},  {50, 200, 5},
      {45, 20, 63}, {45, 20, 64}, {300, 19, 70}, {130, 600, 66}, {1100, 5, 101}};
  for (const auto& shape : kShapes) {
    for (int variant = 0; variant < 3; ++variant) {
      test::set_context(test::name_of(In()), wide ? "wide" : "own", shape[0], shape[1], shape[2],
                        variant);
      LogisticCase<In> c(shape[0], shape[1], shape[2]);
      if (variant > 0) c.use_weights();
      if (variant > 1) c.use_zeros();
      const auto view = c.view();
      check(c, c.problem(view), wide);
      if constexpr (sizeof(In) > 1) {
        const test::Csr<In> sparse(c);
        const auto csr = sparse.view();
        auto problem = c.problem(view);
        problem.dense = nullptr;
        problem.csr = &csr;
        check(c, problem, wide);
      }
    }
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
  });
  return test::report();
}
