#include "solvers/class_centres.h"

#include <algorithm>
#include <cmath>

#include "solvers/vectors.h"

namespace fastsoftmax {

ClassCentres class_centres(LogisticLoss& loss, const LogisticProblem& problem,
                           const RowWeights& weights, std::int32_t held_out,
                           std::vector<float> row_losses, const double* gradient, int n_threads) {
  // Rounding, or a class without a row, may leave next to nothing.
  constexpr double kLeast = 1e-6;
  const std::ptrdiff_t k = problem.n_outputs(), d = problem.n_cols();
  std::vector<double> own(static_cast<std::size_t>(k), 0.0);
  for (std::ptrdiff_t i = 0; i < problem.n_rows(); ++i) {
    float& part = row_losses[static_cast<std::size_t>(i)];
    const double weight = weights(i, held_out);
    part = weight > 0.0 ? -std::expm1(-2.0f * part / static_cast<float>(weight)) : 0.0f;
    own[static_cast<std::size_t>(problem.labels[i])] +=
        weight * weights.unit() * static_cast<double>(part);
  }
  ClassCentres centres;
  centres.total.assign(gradient + k * d, gradient + k * (d + 1));
  centres.centre.resize(static_cast<std::size_t>(k * d));
  loss.class_sums(held_out, row_losses.data(), centres.centre.data());
  const double of_all = static_cast<double>(k) / static_cast<double>(k - 1);
  for_shared(k, n_threads, [&](std::ptrdiff_t r) {
    const auto c = static_cast<std::size_t>(r);
    double& total = centres.total[c];
    total = std::max(total + own[c], kLeast * (own[c] + std::abs(total)));
    const double* g = gradient + r * d;
    double* centre = centres.centre.data() + r * d;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      centre[f] = total > 0.0 ? (centre[f] + g[f]) / total : 0.0;
    }
    total = total > 0.0 ? of_all * total : 1.0;
  });
  return centres;
}

}  // namespace fastsoftmax
