#include "solvers/preconditioner.h"

#include <algorithm>
#include <cmath>

#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "solvers/spd_inverse.h"
#include "solvers/vectors.h"

namespace fastsoftmax {

Preconditioner::Preconditioner(std::ptrdiff_t n_features, std::ptrdiff_t block, bool fit_intercept,
                               int n_threads)
    : n_features_(n_features),
      block_(std::min(block, n_features)),
      fit_intercept_(fit_intercept),
      n_threads_(n_threads),
      inverse_(n_features * block_),
      scale_(n_features),
      means_(n_features) {}

void Preconditioner::build(LogisticLoss& loss, const Rows& rows, const LossPoint& point,
                           const float* c, double scale, double penalty, std::ptrdiff_t n_outputs,
                           std::ptrdiff_t n_directions) {
  penalty_ = penalty;
  double total = 0.0;
  for (std::ptrdiff_t i = 0; i < rows.size(); ++i) total += static_cast<double>(c[i]);
  total_ = total * scale > 0.0 ? total * scale : 1.0;
  for (std::ptrdiff_t begin = 0; begin < n_features_; begin += block_) {
    const bool diagonal = block_ == 1;
    const Range features{begin, diagonal ? n_features_ : std::min(n_features_, begin + block_)};
    const std::ptrdiff_t n = features.end - features.begin;
    double* gram = inverse_.data() + begin * block_;
    loss.gram(rows, c, features, diagonal, gram, means_.data() + begin);
    // In terms of b + means' w the intercept stands apart from the weights, and the matrix is that
    // of the centred features.
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      double& mean = means_[begin + i];
      mean = fit_intercept_ && total > 0.0 ? mean / total : 0.0;
      if (!std::isfinite(mean)) mean = 0.0;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t j = diagonal ? i : 0; j <= i; ++j) {
        double& entry = gram[diagonal ? i : i * n + j];
        entry = scale * (entry - total * means_[begin + i] * means_[begin + j]);
      }
    }
    if (diagonal) {
      double largest = 0.0;
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        gram[i] = std::isfinite(gram[i]) ? std::max(0.0, gram[i]) + penalty : penalty;
        largest = std::max(largest, gram[i]);
        least_curvature_ = std::min(least_curvature_, gram[i]);
        scale_[i] = 1.0;
      }
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        gram[i] = 1.0 / std::max(gram[i], largest > 0.0 ? 1e-16 * largest : 1.0);
      }
      return;
    }
    if (n_directions > 0) {
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        for (std::ptrdiff_t j = 0; j < i; ++j) gram[j * n + i] = gram[i * n + j];
      }
      classes_ = std::make_unique<ClassCurvature>(gram, n, n_directions, total_, n_threads_);
    }
    build_block(gram, features, penalty);
  }
  if (classes_ && !classes_->build(loss, rows, point, scale, penalty, means_.data(), n_outputs,
                                   fit_intercept_)) {
    classes_.reset();
  }
}

// Scaled to a diagonal of ones, so that columns in any units are alike, and inverted, with a ridge
// that grows until that works.
void Preconditioner::build_block(double* gram, Range features, double penalty) {
  const std::ptrdiff_t n = features.end - features.begin;
  double* scale = scale_.data() + features.begin;
  double largest = 0.0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const double d = std::max(0.0, gram[i * n + i]) + penalty;
    if (std::isfinite(d)) largest = std::max(largest, d);
  }
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const double d = std::max(0.0, gram[i * n + i]) + penalty;
    const bool means_something = std::isfinite(d) && d > 1e-300;
    scale[i] = means_something ? 1.0 / std::sqrt(d) : 0.0;
    least_curvature_ = std::min(least_curvature_, means_something ? d : 0.0);
  }
  // The original stays above the diagonal.
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < i; ++j) {
      const double entry = gram[i * n + j] * scale[i] * scale[j];
      gram[j * n + i] = std::isfinite(entry) ? entry : 0.0;
    }
  }
  for (double ridge = 0.0;; ridge = std::max(10.0 * ridge, 1e-10)) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t j = 0; j < i; ++j) gram[i * n + j] = gram[j * n + i];
      gram[i * n + i] = 1.0 + ridge;
    }
    if (invert_spd(gram, n, 1e-11, n_threads_)) break;
  }
  // A feature that is constant or out of range: nothing is known, so the gradient is followed.
  const double missing = largest > 0.0 ? 1.0 / std::sqrt(largest) : 1.0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (scale[i] == 0.0) scale[i] = missing;
  }
}

// f(r) for all outputs, shared among threads where that pays.
template <class F>
void Preconditioner::for_outputs(std::ptrdiff_t n_outputs, int n_threads, const F& f) const {
  for_shared(n_outputs, n_outputs * n_features_ > 100000 ? n_threads : 1, f);
}

double Preconditioner::cost_of_float32(const double* x, std::ptrdiff_t n_outputs) const {
  const std::ptrdiff_t d = n_features_;
  const auto rounding = [](double value) {
    return value - static_cast<double>(static_cast<float>(value));
  };
  double cost = 0.0;
  for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
    double shift = fit_intercept_ ? rounding(x[n_outputs * d + r]) : 0.0;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      const double by = rounding(x[r * d + f]);
      const double curvature = block_ == 1 ? 1.0 / inverse_[f] : 1.0 / (scale_[f] * scale_[f]);
      cost += 0.5 * curvature * by * by;
      shift += means_[f] * by;
    }
    cost += 0.5 * total_ * shift * shift;
  }
  return cost;
}

void Preconditioner::apply(const double* g, std::ptrdiff_t n_outputs, double* out,
                           int n_threads) const {
  const std::ptrdiff_t d = n_features_;
  const double* gb = g + n_outputs * d;
  double* b = out + n_outputs * d;
  if (block_ == 1) {
    for_outputs(n_outputs, n_threads, [&](std::ptrdiff_t r) {
      const double intercept = fit_intercept_ ? gb[r] : 0.0;
      double shift = 0.0;
      for (std::ptrdiff_t f = 0; f < d; ++f) {
        const double at = inverse_[f] * (g[r * d + f] - means_[f] * intercept);
        out[r * d + f] = at;
        shift += means_[f] * at;
      }
      b[r] = fit_intercept_ ? gb[r] / total_ - shift : 0.0;
    });
    return;
  }
  AlignedBuffer<double> centred(n_outputs * d), product(n_outputs * block_);
  for_outputs(n_outputs, n_threads, [&](std::ptrdiff_t r) {
    const double intercept = fit_intercept_ ? gb[r] : 0.0;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      centred[r * d + f] = scale_[f] * (g[r * d + f] - means_[f] * intercept);
    }
  });
  for (std::ptrdiff_t begin = 0; begin < d; begin += block_) {
    const std::ptrdiff_t n = std::min(block_, d - begin);
    const double* P = inverse_.data() + begin * block_;
    const int threads = plan_threads(
        n_threads, static_cast<double>(n * n) * static_cast<double>(n_outputs) / kProductsPerNs);
    // Few outputs: P read as X is, one row after the other.
    if (n_outputs <= 16) {
      matmul<double>({Storage::kFloat64, P, n, n, n, 1},
                     {centred.data() + begin, n, n_outputs, 1, d}, product.data(), threads);
    } else {
      matmul<double>({Storage::kFloat64, centred.data() + begin, n_outputs, n, d, 1},
                     {P, n, n, n, 1}, product.data(), threads);
    }
    for_outputs(n_outputs, n_threads, [&](std::ptrdiff_t r) {
      for (std::ptrdiff_t f = 0; f < n; ++f) {
        out[r * d + begin + f] = product[n_outputs <= 16 ? f * n_outputs + r : r * n + f];
      }
    });
  }
  for_outputs(n_outputs, n_threads, [&](std::ptrdiff_t r) {
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      out[r * d + f] *= scale_[f];
      // The gradient in weights that intercepts stand apart from.
      centred[r * d + f] = g[r * d + f] - (fit_intercept_ ? means_[f] * gb[r] : 0.0);
    }
    b[r] = fit_intercept_ ? gb[r] / total_ : 0.0;
  });
  if (classes_) classes_->add(centred.data(), gb, out, b, n_threads);
  for_outputs(n_outputs, n_threads, [&](std::ptrdiff_t r) {
    double shift = 0.0;
    for (std::ptrdiff_t f = 0; f < d; ++f) shift += means_[f] * out[r * d + f];
    b[r] = fit_intercept_ ? b[r] - shift : 0.0;
  });
}

}  // namespace fastsoftmax
