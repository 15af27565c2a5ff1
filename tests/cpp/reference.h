// The specification: every formula as a naive loop in double. Shares no code with the library.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace reference {

using Vector = std::vector<double>;
using Index = std::ptrdiff_t;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

inline double& at(Vector& v, Index i) { return v[static_cast<std::size_t>(i)]; }
inline double at(const Vector& v, Index i) { return v[static_cast<std::size_t>(i)]; }
inline Vector zeros(Index n) { return Vector(static_cast<std::size_t>(n), 0.0); }

// NaN if any is.
inline double maximum(const Vector& x) {
  double m = -kInfinity;
  for (double v : x) m = v > m || std::isnan(v) ? v : m;
  for (double v : x) m = std::isnan(v) ? v : m;
  return m;
}

inline Vector softmax(const Vector& x) {
  const double m = maximum(x);
  double sum = 0;
  for (double v : x) sum += std::exp(v - m);
  Vector out = x;
  for (double& v : out) v = std::exp(v - m) / sum;
  return out;
}

// What scipy.special.log_softmax and logsumexp shift by.
inline double shift(const Vector& x) {
  const double m = maximum(x);
  return std::isfinite(m) ? m : 0.0;
}
inline double log_sum(const Vector& x) {
  const double m = shift(x);
  double sum = 0;
  for (double v : x) sum += std::exp(v - m);
  return std::log(sum);
}
inline double logsumexp(const Vector& x) { return shift(x) + log_sum(x); }
inline Vector log_softmax(const Vector& x) {
  const double m = shift(x), log_of_sum = log_sum(x);
  Vector out = x;
  for (double& v : out) v = v - m - log_of_sum;
  return out;
}

inline double cross_entropy(const Vector& logits, Index label) {
  return log_sum(logits) - (at(logits, label) - shift(logits));
}
// The derivative of that: infinities count as in log_softmax. Of two classes one's is the other's
// negative, which only infinities can tell.
inline Vector cross_entropy_gradient(const Vector& logits, Index label) {
  Vector gradient = log_softmax(logits);
  for (double& g : gradient) g = std::exp(g);
  at(gradient, label) = logits.size() == 2 ? -at(gradient, 1 - label) : at(gradient, label) - 1;
  return gradient;
}

// C = A B, (m, k) x (k, n)
inline Vector gemm(const Vector& A, const Vector& B, Index m, Index k, Index n) {
  Vector C = zeros(m * n);
  for (Index i = 0; i < m; ++i) {
    for (Index j = 0; j < n; ++j) {
      for (Index p = 0; p < k; ++p) at(C, i * n + j) += at(A, i * k + p) * at(B, p * n + j);
    }
  }
  return C;
}

// scale * x . W' + b for one row x; b may be empty
inline Vector logits(const Vector& x, const Vector& W, const Vector& b, Index n_classes,
                     double scale) {
  const Index n_features = static_cast<Index>(x.size());
  Vector z = zeros(n_classes);
  for (Index c = 0; c < n_classes; ++c) {
    for (Index f = 0; f < n_features; ++f) at(z, c) += at(x, f) * at(W, c * n_features + f);
    at(z, c) = scale * at(z, c) + (b.empty() ? 0.0 : at(b, c));
  }
  return z;
}

// One entry of the parameters from the gradient of the loss in it.
inline void sgd_step(double gradient, double rate, double momentum, bool nesterov, double& w,
                     double& v) {
  v = momentum * v - rate * gradient;
  w += nesterov ? momentum * v - rate * gradient : v;
}

struct Sgd {
  Index n_features, n_classes;
  double learning_rate, alpha, momentum, input_scale;
  bool nesterov, fit_intercept;
  Vector W, b, velocity_W, velocity_b;

  // The rows order[begin..end) as one batch; adds their weighted losses up.
  double batch(const Vector& X, const std::vector<std::int64_t>& labels, const Vector& weights,
               const std::vector<std::int64_t>& order, Index begin, Index end) {
    Vector dW = zeros(n_classes * n_features), db = zeros(n_classes);
    double loss = 0;
    for (Index i = begin; i < end; ++i) {
      const Index row = order[static_cast<std::size_t>(i)];
      const Index label = labels[static_cast<std::size_t>(row)];
      const double weight = weights.empty() ? 1.0 : at(weights, row);
      const Vector x(X.begin() + row * n_features, X.begin() + (row + 1) * n_features);
      const Vector z = logits(x, W, b, n_classes, input_scale);
      const Vector dz = cross_entropy_gradient(z, label);
      loss += weight * cross_entropy(z, label);
      for (Index c = 0; c < n_classes; ++c) {
        const double d = weight * at(dz, c) / static_cast<double>(end - begin);
        at(db, c) += d;
        for (Index f = 0; f < n_features; ++f) {
          at(dW, c * n_features + f) += d * input_scale * at(x, f);
        }
      }
    }
    for (Index j = 0; j < n_classes * n_features; ++j) {
      const double gradient = at(dW, j) + alpha * at(W, j);
      sgd_step(gradient, learning_rate, momentum, nesterov, at(W, j), at(velocity_W, j));
    }
    for (Index c = 0; c < n_classes && fit_intercept; ++c) {
      sgd_step(at(db, c), learning_rate, momentum, nesterov, at(b, c), at(velocity_b, c));
    }
    return loss;
  }

  // All rows in this order; the weighted mean of the losses met.
  double epoch(const Vector& X, const std::vector<std::int64_t>& labels, const Vector& weights,
               const std::vector<std::int64_t>& order, Index batch_size) {
    const Index n = static_cast<Index>(order.size());
    double loss = 0, total_weight = weights.empty() ? static_cast<double>(n) : 0.0;
    for (double w : weights) total_weight += w;
    for (Index begin = 0; begin < n; begin += batch_size) {
      const Index end = begin + batch_size < n ? begin + batch_size : n;
      loss += batch(X, labels, weights, order, begin, end);
    }
    return loss / total_weight;
  }
};

}  // namespace reference
