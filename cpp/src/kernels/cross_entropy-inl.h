// The cross-entropy of softmax(logits) against labels, with its gradient in the logits.
//
//   loss_i = w_i (m + log s - z_y),  dlogits_i = gradient_scale w_i (exp(z - m) / s - onehot(y))
#pragma once

#include "kernels/softmax-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                   const std::int64_t* labels, const T* weights, T gradient_scale, T* dlogits,
                   T* losses) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, logits += n) {
    const T weight = weights ? weights[i] : T(1);
    T m = 0, z = 0, sum = 0;
    if (dlogits) {
      m = finite_max(logits, n);
      z = logits[labels[i]] - m;  // read before dlogits, which may be the same memory
      sum = row_sum_exp<true>(logits, n, m, dlogits);
    } else {
      sum = shifted_sum_exp(logits, n, &m);
      z = logits[labels[i]] - m;
    }
    losses[i] = weight * (log(sum) - z);
    if (dlogits) {
      const T scale = gradient_scale * weight;
      const Vec<T> factor = Vec<T>::splat(scale / sum);
      transform(dlogits, n, dlogits, [&](Vec<T> e) { return e * factor; });
      // Of two classes one's gradient is the other's negative. Said so, weights that start at zero
      // stay so to the last bit, and nothing cancels where the probability is near one.
      dlogits[labels[i]] = n == 2 ? -dlogits[1 - labels[i]] : dlogits[labels[i]] - scale;
      dlogits += n;
    }
  }
}

// The same for few classes, in place, on logits that lie class-major, stride apart: vectors run
// along the samples, so ten classes fill their lanes and a row costs a quarter of what it costs
// above.
template <class T>
void cross_entropy_columns(T* logits, std::ptrdiff_t stride, std::ptrdiff_t n_rows,
                           std::ptrdiff_t n, const std::int64_t* labels, const T* weights,
                           T gradient_scale, T* losses) {
  using V = Vec<T>;
  T shift[V::kLanes], z[V::kLanes], sum[V::kLanes], scale[V::kLanes];
  for (std::ptrdiff_t i = 0; i < n_rows; i += V::kLanes, logits += V::kLanes) {
    const std::ptrdiff_t lanes = n_rows - i < V::kLanes ? n_rows - i : V::kLanes;
    const auto read = [&](const T* p) {
      return lanes < V::kLanes ? V::load_n(p, lanes) : V::load(p);
    };
    const auto write = [&](V v, T* p) { lanes < V::kLanes ? v.store_n(p, lanes) : v.store(p); };
    V m = read(logits);
    for (std::ptrdiff_t c = 1; c < n; ++c) m = max(read(logits + c * stride), m);
    m.store(shift);
    for (std::ptrdiff_t k = 0; k < lanes; ++k) {
      if (!is_finite(shift[k])) shift[k] = 0;
      z[k] = logits[labels[i + k] * stride + k] - shift[k];
    }
    m = V::load(shift);
    V sums = V::zero();
    for (std::ptrdiff_t c = 0; c < n; ++c) {
      const V e = exp(read(logits + c * stride) - m);
      write(e, logits + c * stride);
      sums = sums + e;
    }
    sums.store(sum);
    for (std::ptrdiff_t k = 0; k < lanes; ++k) {
      const T weight = weights ? weights[i + k] : T(1);
      losses[i + k] = weight * (log(sum[k]) - z[k]);
      scale[k] = gradient_scale * weight;
    }
    for (std::ptrdiff_t k = lanes; k < V::kLanes; ++k) scale[k] = 0;
    const V factor = V::load(scale) / sums;
    for (std::ptrdiff_t c = 0; c < n; ++c) {
      write(read(logits + c * stride) * factor, logits + c * stride);
    }
    for (std::ptrdiff_t k = 0; k < lanes; ++k) {
      T* d = logits + k;
      const std::int64_t y = labels[i + k];
      d[y * stride] = n == 2 ? -d[(1 - y) * stride] : d[y * stride] - scale[k];
    }
  }
}

// sums[c] += the sum of column c of a class-major matrix: the gradient in the intercepts.
template <class T>
void add_column_sums(const T* dlogits, std::ptrdiff_t stride, std::ptrdiff_t n_rows,
                     std::ptrdiff_t n, T* sums) {
  using V = Vec<T>;
  for (std::ptrdiff_t c = 0; c < n; ++c, dlogits += stride) {
    V sum = V::zero();
    std::ptrdiff_t i = 0;
    for (; i + V::kLanes <= n_rows; i += V::kLanes) sum = sum + V::load(dlogits + i);
    if (i < n_rows) sum = sum + V::load_n(dlogits + i, n_rows - i);
    sums[c] += reduce_add(sum);
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
