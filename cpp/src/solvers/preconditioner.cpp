#include "solvers/preconditioner.h"

#include <algorithm>
#include <cmath>

#include "fastsoftmax/functions.h"
#include "fastsoftmax/threads.h"
#include "logistic/common_part.h"
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
                           const float* c, double scale, double least_total, double penalty,
                           std::ptrdiff_t n_outputs, std::ptrdiff_t n_directions,
                           ClassCentres centres, const Unseen& unseen) {
  penalty_ = penalty;
  centres_ = std::move(centres);
  for (double& of_class : centres_.total) {
    of_class = std::max(of_class, least_total / static_cast<double>(n_outputs));
  }
  const bool is_centred = fit_intercept_ || has_centres();
  double total = 0.0;
  for (std::ptrdiff_t i = 0; i < rows.size(); ++i) total += static_cast<double>(c[i]);
  total_ = std::max(total * scale, least_total);
  if (!(total_ > 0.0)) total_ = 1.0;
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
      mean = is_centred && total > 0.0 ? mean / total : 0.0;
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
      break;
    }
    for (std::ptrdiff_t i = 0; unseen && i < n; ++i) {
      double& entry = gram[i * n + i];
      if (entry == 0.0) entry = total_ * unseen(begin + i);
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
  if (has_centres() && !fit_intercept_) build_border(n_outputs);
}

void Preconditioner::build_border(std::ptrdiff_t n_outputs) {
  border_.resize(centres_.centre.size());
  std::vector<double> right = centres_.centre;
  solve(right.data(), n_outputs, border_.data());
  for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
    corner_.push_back(dot_block(centre(r), border_.data() + r * n_features_, n_features_));
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
void Preconditioner::for_outputs(std::ptrdiff_t n_outputs, const F& f) const {
  for_shared(n_outputs, threads_worth(n_outputs * n_features_, n_threads_), f);
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

// out = A^-1 g, A being F without what belongs to intercepts or centres. g is lost.
void Preconditioner::solve(double* g, std::ptrdiff_t n_outputs, double* out) const {
  const std::ptrdiff_t d = n_features_;
  if (block_ == 1) {
    return for_outputs(n_outputs, [&](std::ptrdiff_t r) {
      for (std::ptrdiff_t f = 0; f < d; ++f) out[r * d + f] = inverse_[f] * g[r * d + f];
    });
  }
  const auto scale = [&](double* v) {
    for_outputs(n_outputs, [&](std::ptrdiff_t r) {
      for (std::ptrdiff_t f = 0; f < d; ++f) v[r * d + f] *= scale_[f];
    });
  };
  scale(g);
  const auto threads = [&](std::ptrdiff_t n) {
    return plan_threads(
        n_threads_, static_cast<double>(n * n) * static_cast<double>(n_outputs) / kProductsPerNs);
  };
  constexpr std::ptrdiff_t kFewOutputs = 16;
  if (block_ == d && n_outputs > kFewOutputs) {
    matmul<double>({Storage::kFloat64, g, n_outputs, d, d, 1}, {inverse_.data(), d, d, d, 1}, out,
                   threads(d));
    return scale(out);
  }
  AlignedBuffer<double> product(n_outputs * block_);
  for (std::ptrdiff_t begin = 0; begin < d; begin += block_) {
    const std::ptrdiff_t n = std::min(block_, d - begin);
    const double* P = inverse_.data() + begin * block_;
    // Few outputs: P read as X is, one row after the other.
    const bool by_feature = n_outputs <= kFewOutputs;
    if (by_feature) {
      matmul<double>({Storage::kFloat64, P, n, n, n, 1}, {g + begin, n, n_outputs, 1, d},
                     product.data(), threads(n));
    } else {
      matmul<double>({Storage::kFloat64, g + begin, n_outputs, n, d, 1}, {P, n, n, n, 1},
                     product.data(), threads(n));
    }
    for_outputs(n_outputs, [&](std::ptrdiff_t r) {
      for (std::ptrdiff_t f = 0; f < n; ++f) {
        out[r * d + begin + f] = product[by_feature ? f * n_outputs + r : r * n + f];
      }
    });
  }
  scale(out);
}

void Preconditioner::apply(const double* g, std::ptrdiff_t n_outputs, double* out) const {
  if (has_centres()) {
    apply_to_classes(g, n_outputs, out);
  } else {
    apply_to_all(g, n_outputs, out);
  }
  remove_common_part(out, n_outputs, n_features_, n_threads_);
}

void Preconditioner::apply_to_all(const double* g, std::ptrdiff_t n_outputs, double* out) const {
  const std::ptrdiff_t d = n_features_;
  const double* gb = g + n_outputs * d;
  double* b = out + n_outputs * d;
  // The gradient in weights that intercepts stand apart from.
  AlignedBuffer<double> centred(n_outputs * d);
  for_outputs(n_outputs, [&](std::ptrdiff_t r) {
    const double intercept = fit_intercept_ ? gb[r] : 0.0;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      centred[r * d + f] = g[r * d + f] - means_[f] * intercept;
    }
    b[r] = intercept / total_;
  });
  AlignedBuffer<double> kept(classes_ ? n_outputs * d : 0);
  std::copy_n(centred.data(), kept.size(), kept.data());
  solve(centred.data(), n_outputs, out);
  if (classes_) classes_->add(kept.data(), gb, out, b);
  for_outputs(n_outputs, [&](std::ptrdiff_t r) {
    const double shift = dot_block(means_.data(), out + r * d, d);
    b[r] = fit_intercept_ ? b[r] - shift : 0.0;
  });
}

// With a matrix for each class.
void Preconditioner::apply_to_classes(const double* g, std::ptrdiff_t n_outputs,
                                      double* out) const {
  const std::ptrdiff_t d = n_features_, n_weights = n_outputs * d;
  const double* gb = g + n_weights;
  double* b = out + n_weights;
  AlignedBuffer<double> centred(n_weights);
  for_outputs(n_outputs, [&](std::ptrdiff_t r) {
    const double intercept = fit_intercept_ ? gb[r] : 0.0;
    const double* at = centre(r);
    for (std::ptrdiff_t f = 0; f < d; ++f) centred[r * d + f] = g[r * d + f] - at[f] * intercept;
    b[r] = intercept / centres_.total[static_cast<std::size_t>(r)];
  });
  solve(centred.data(), n_outputs, out);
  for_outputs(n_outputs, [&](std::ptrdiff_t r) {
    const double along = dot_block(centre(r), out + r * d, d);
    if (fit_intercept_) {
      b[r] -= along;
    } else {
      const auto c = static_cast<std::size_t>(r);
      const double factor = along / (1.0 / centres_.total[c] + corner_[c]);
      add_scaled(-factor, border_.data() + r * d, out + r * d, d, 1);
    }
  });
}

}  // namespace fastsoftmax
