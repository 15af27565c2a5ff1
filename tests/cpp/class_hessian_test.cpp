// The curvature between classes along some directions of the features, against loops.
#include <algorithm>

#include "for_each_isa.h"
#include "logistic/loss.h"
#include "logistic_problem.h"

namespace {

using test::LogisticCase;

// Of the rows outside a fold: sum_i s_i (diag(p_i) - p_i p_i') (x) u_i u_i'.
template <class In>
std::vector<long double> reference(const LogisticCase<In>& c, const std::vector<double>& model,
                                   const std::vector<std::vector<double>>& directions,
                                   std::ptrdiff_t q, std::int32_t held_out) {
  const std::ptrdiff_t u = q + 1, n = c.R * u;
  std::vector<long double> H(c.at(n * n)), along(c.at(u));
  for (std::ptrdiff_t i = 0; i < c.n; ++i) {
    if (held_out >= 0 && c.fold_of_row[c.at(i)] == held_out) continue;
    const long double s = c.weights.empty() ? 1.0L : c.weights[c.at(i)];
    const auto p = c.probabilities(model, i);
    for (std::ptrdiff_t a = 0; a < q; ++a) {
      along[c.at(a)] = c.logit(directions[c.at(a / c.R)], a % c.R, i);
    }
    along[c.at(q)] = 1.0L;
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      for (std::ptrdiff_t l = 0; l < n; ++l) {
        const std::ptrdiff_t r = j / u, t = l / u;
        H[c.at(j * n + l)] += s * p[c.at(r)] * ((r == t ? 1.0L : 0.0L) - p[c.at(t)]) *
                              along[c.at(j % u)] * along[c.at(l % u)];
      }
    }
  }
  return H;
}

template <class In>
void test_hessian(fastsoftmax::Arithmetic arithmetic, std::ptrdiff_t n, std::ptrdiff_t d,
                  std::ptrdiff_t K, std::ptrdiff_t q) {
  test::set_context(test::name_of(In()), "class hessian", static_cast<int>(arithmetic), K, q);
  LogisticCase<In> c(n, d, K);
  c.use_weights();
  c.use_zeros();
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    c.fold_of_row.push_back(static_cast<std::int32_t>(i % 3));
  }
  const auto model = test::uniform<double>(c.R * (d + 1), 11, -0.5, 0.5);
  std::vector<std::vector<double>> directions;
  std::vector<const double*> pointers;
  for (std::ptrdiff_t i = 0; i * c.R < q; ++i) {
    directions.push_back(
        test::uniform<double>(c.R * (d + 1), static_cast<std::uint64_t>(20 + i), -0.3, 0.3));
  }
  for (const auto& each : directions) pointers.push_back(each.data());
  const auto expected = reference(c, model, directions, q, 1);
  const auto hessian = [&](const fastsoftmax::LogisticProblem& problem, int n_threads) {
    const fastsoftmax::StopRequested never;
    fastsoftmax::StopPoll stop(never);
    std::vector<double> H(expected.size());
    fastsoftmax::make_loss(problem, arithmetic, q > 8 ? 8 : 1, false, n_threads, stop)
        ->class_hessian(fastsoftmax::Rows{n, 1, 0}, {model.data(), nullptr, 0.0, 1, 1.0},
                        pointers.data(), q, H.data());
    // Its weights are in parts of the largest.
    const double unit = *std::max_element(c.weights.begin(), c.weights.end());
    for (double& h : H) h *= unit;
    return H;
  };
  test::for_each_layout(c, [&](const fastsoftmax::LogisticProblem& problem) {
    const auto H = hessian(problem, 1);
    // Terms of at most s |u|^2 / 4, each off by some roundings of logits as large as d / 2.
    const double eps = test::rounding_of<In>(arithmetic);
    const double largest = 0.3 * static_cast<double>(d + 1);
    const double tolerance =
        static_cast<double>(n) * largest * largest * eps * static_cast<double>(d + 10);
    for (std::size_t i = 0; i < H.size(); ++i) CHECK_NEAR(H[i], expected[i], tolerance);
    CHECK(test::relative_error(H, expected) <= 20 * eps);  // 4.5 at most
    for (const int n_threads : {2, 5}) CHECK(test::same_bits(hessian(problem, n_threads), H));
  });
}

template <class In>
void test_shapes(fastsoftmax::Arithmetic arithmetic) {
  test_hessian<In>(arithmetic, 70, 9, 2, 0);
  test_hessian<In>(arithmetic, 70, 9, 2, 3);
  test_hessian<In>(arithmetic, 300, 20, 4, 0);
  test_hessian<In>(arithmetic, 300, 20, 4, 7);
  // With room for them in a loss of several models.
  test_hessian<In>(arithmetic, 1500, 33, 10, 12);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_shapes<float>(fastsoftmax::Arithmetic::kReduced);
    test_shapes<float>(fastsoftmax::Arithmetic::kSingle);
    test_shapes<double>(fastsoftmax::Arithmetic::kDouble);
    test_shapes<std::uint8_t>(fastsoftmax::Arithmetic::kSingle);
  });
  return test::report();
}
