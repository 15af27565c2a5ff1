#include "solvers/class_curvature.h"

#include <algorithm>
#include <cmath>

#include "ceil_div.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "solvers/spd_inverse.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

// Rounds of orthogonal iteration; the part of F that is added to H, of which some rows know little.
constexpr int kRounds = 6;
constexpr double kShrink = 0.02;

// Rows (n, d) to orthonormal ones, as many as are in directions of their own; none if some are not
// finite.
std::ptrdiff_t orthonormalise(double* rows, std::ptrdiff_t n, std::ptrdiff_t d) {
  constexpr double kNoise = 1e-10;  // of what is left of a row in the span of those before it
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    double* row = rows + i * d;
    const double before = std::sqrt(dot_block(row, row, d));
    if (!(before < 1e150)) return 0;
    for (int twice = 0; twice < 2; ++twice) {
      for (std::ptrdiff_t j = 0; j < i; ++j) {
        add_scaled(-dot_block(row, rows + j * d, d), rows + j * d, row, d, 1);
      }
      const double norm = std::sqrt(dot_block(row, row, d));
      if (!(norm > 1e-150 && norm > (twice ? 0.5 : kNoise * before))) return i;
      for (std::ptrdiff_t f = 0; f < d; ++f) row[f] /= norm;
    }
  }
  return n;
}

// Inverts A (n, n), scaled to a diagonal of ones, with a ridge that grows until that works; false
// if it never does.
bool invert(std::vector<double>& A, std::ptrdiff_t n, int n_threads) {
  std::vector<double> scale(static_cast<std::size_t>(n)), original = A;
  const auto at = [&](std::ptrdiff_t i, std::ptrdiff_t j) {
    return static_cast<std::size_t>(i * n + j);
  };
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (!(A[at(i, i)] > 0.0)) return false;
    scale[at(0, i)] = 1.0 / std::sqrt(A[at(i, i)]);
  }
  bool is_inverted = false;
  for (double ridge = 0.0; ridge < 1e3; ridge = std::max(10.0 * ridge, 1e-10)) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t j = 0; j < i; ++j) {
        A[at(i, j)] = original[at(i, j)] * scale[at(0, i)] * scale[at(0, j)];
      }
      A[at(i, i)] = 1.0 + ridge;
    }
    is_inverted = invert_spd(A.data(), n, 1e-11, n_threads);
    if (is_inverted) break;
  }
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j) A[at(i, j)] *= scale[at(0, i)] * scale[at(0, j)];
  }
  return is_inverted;
}

}  // namespace

ClassCurvature::ClassCurvature(const double* F, std::ptrdiff_t n_features,
                               std::ptrdiff_t n_directions, double total, int n_threads)
    : n_features_(n_features),
      n_directions_(std::min(n_directions, n_features)),
      total_(total),
      n_threads_(n_threads),
      Z_(static_cast<std::size_t>(n_directions_ * n_features)) {
  find_directions(F);
}

// Orthogonal iteration: directions that are nearly the largest do as well.
void ClassCurvature::find_directions(const double* F) {
  const std::ptrdiff_t d = n_features_;
  std::ptrdiff_t& q = n_directions_;
  std::uint64_t state = 1;
  for (double& z : Z_) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    z = static_cast<double>(state >> 40) - static_cast<double>(1 << 23);
  }
  std::vector<double> product(Z_.size());
  const int n_threads = plan_threads(
      n_threads_, static_cast<double>(d * d) * static_cast<double>(q) / kProductsPerNs);
  for (int round = 0; round <= kRounds; ++round) {
    q = orthonormalise(Z_.data(), q, d);
    Z_.resize(static_cast<std::size_t>(q * d));
    product.resize(Z_.size());
    if (q == 0) return;
    matmul<double>({Storage::kFloat64, Z_.data(), q, d, d, 1}, {F, d, d, d, 1}, product.data(),
                   n_threads);
    if (round < kRounds) Z_ = product;
  }
  F_.resize(static_cast<std::size_t>(q * q));
  for (std::ptrdiff_t a = 0; a < q; ++a) {
    for (std::ptrdiff_t b = 0; b < q; ++b) {
      F_[static_cast<std::size_t>(a * q + b)] =
          dot_block(product.data() + std::max(a, b) * d, Z_.data() + std::min(a, b) * d, d);
    }
  }
}

bool ClassCurvature::build(LogisticLoss& loss, const Rows& rows, const LossPoint& point,
                           double scale, double penalty, const double* means,
                           std::ptrdiff_t n_outputs, bool fit_intercept) {
  n_outputs_ = n_outputs;
  const std::ptrdiff_t q = n_directions_, d = n_features_, k = n_outputs, u = q + 1, n = k * u;
  // As parameters of models of as many outputs.
  const std::ptrdiff_t n_models = ceil_div(q, k), size = k * (d + 1);
  std::vector<double> models(static_cast<std::size_t>(n_models * size));
  std::vector<const double*> directions;
  for (std::ptrdiff_t m = 0; m < n_models; ++m) {
    double* model = models.data() + m * size;
    directions.push_back(model);
    for (std::ptrdiff_t r = 0; r < std::min(k, q - m * k); ++r) {
      const double* z = Z_.data() + (m * k + r) * d;
      std::copy_n(z, d, model + r * d);
      model[k * d + r] = -dot_block(z, means, d);
    }
  }
  const auto at = [](std::ptrdiff_t i, std::ptrdiff_t j, std::ptrdiff_t width) {
    return static_cast<std::size_t>(i * width + j);
  };
  std::vector<double> H(static_cast<std::size_t>(n * n)), F(at(u, 0, u));
  loss.class_hessian(rows, point, directions.data(), q, H.data());
  for (std::ptrdiff_t a = 0; a < q; ++a) {
    for (std::ptrdiff_t b = 0; b < q; ++b) F[at(a, b, u)] = F_[at(a, b, q)];
    F[at(a, a, u)] += penalty;
  }
  F[at(q, q, u)] = total_;
  // What all classes have in common changes no probability: there, F takes the place of H.
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      double& h = H[at(i, j, n)];
      const double f = F[at(i % u, j % u, u)];
      h = scale * h + f / static_cast<double>(k);
      if (i / u == j / u) h += kShrink * f;
      if (i == j && i % u < q) h += penalty;
      const bool is_intercept = i % u == q || j % u == q;
      if (is_intercept && i != j && !fit_intercept) h = 0.0;
    }
  }
  if (!invert(F, u, 1) || !invert(H, n, n_threads_)) return false;
  correction_ = std::move(H);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t b = 0; b < u; ++b) {
      correction_[at(i, i / u * u + b, n)] -= F[at(i % u, b, u)];
    }
  }
  return std::all_of(correction_.begin(), correction_.end(),
                     [](double x) { return std::isfinite(x); });
}

void ClassCurvature::add(const double* g, const double* g_intercepts, double* out,
                         double* out_intercepts) const {
  const std::ptrdiff_t q = n_directions_, d = n_features_, u = q + 1, n = n_outputs_ * u;
  std::vector<double> along(static_cast<std::size_t>(n));
  const int threads = plan_threads(
      n_threads_, static_cast<double>(n) * static_cast<double>(n + 2 * d) / kProductsPerNs);
  for_shared(n_outputs_, threads, [&](std::ptrdiff_t r) {
    double* mine = along.data() + r * u;
    for (std::ptrdiff_t a = 0; a < q; ++a) mine[a] = dot_block(Z_.data() + a * d, g + r * d, d);
    mine[q] = g_intercepts[r];
  });
  for_shared(n_outputs_, threads, [&](std::ptrdiff_t r) {
    const auto by = [&](std::ptrdiff_t a) {
      return dot_block(correction_.data() + (r * u + a) * n, along.data(), n);
    };
    for (std::ptrdiff_t a = 0; a < q; ++a) add_scaled(by(a), Z_.data() + a * d, out + r * d, d, 1);
    out_intercepts[r] += by(q);
  });
}

}  // namespace fastsoftmax
