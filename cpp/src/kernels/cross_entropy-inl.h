// The cross-entropy of softmax(logits) against labels, with its gradient in the logits.
//
//   loss_i = w_i (m + log s - z_y),  dlogits_i = gradient_scale w_i (exp(z - m) / s - onehot(y))
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"
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

// A vector of losses: weight * (log(sum) - z).
template <class T>
void finish_losses(const T* sums, const T* z, const T* weights, std::ptrdiff_t n, T* losses) {
  using V = Vec<T>;
  for (std::ptrdiff_t i = 0; i < n; i += V::kLanes) {
    const std::ptrdiff_t lanes = n - i < V::kLanes ? n - i : V::kLanes;
    const V weight = !weights            ? V::splat(1)
                     : lanes < V::kLanes ? V::load_n(weights + i, lanes)
                                         : V::load(weights + i);
    const V loss = weight * (log(V::load(sums + i)) - V::load(z + i));
    lanes < V::kLanes ? loss.store_n(losses + i, lanes) : loss.store(losses + i);
  }
}

// Rows whose classes fill kVecs registers, the last of them with n_last.
template <int kVecs, class T>
void cross_entropy_in_registers(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t kBlock = 64;  // rows whose logarithms are taken together
  const std::ptrdiff_t n_last = a.n_classes - (kVecs - 1) * V::kLanes;
  const V scale = V::splat(a.scale), nothing = V::splat(-kInfinity<T>);
  T sums[kBlock], z_of_label[kBlock];
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += kBlock) {
    const std::ptrdiff_t n_rows = a.n_rows - begin < kBlock ? a.n_rows - begin : kBlock;
    bool all_normal = true;
    for (std::ptrdiff_t k = 0; k < n_rows; ++k) {
      const std::ptrdiff_t i = begin + k;
      const T* part = a.parts + i * a.row_stride;
      T* d = a.dlogits + i * a.dlogits_stride;
      V z[kVecs];
      for (int v = 0; v < kVecs; ++v) z[v] = V::load(part + v * V::kLanes);
      for (std::ptrdiff_t p = 1; p < a.n_parts; ++p) {
        part += a.part_stride;
        for (int v = 0; v < kVecs; ++v) z[v] = z[v] + V::load(part + v * V::kLanes);
      }
      for (int v = 0; v < kVecs; ++v) z[v] = fma(scale, z[v], V::load(a.b + v * V::kLanes));
      V largest = first_n(n_last, z[kVecs - 1], nothing);
      for (int v = 0; v + 1 < kVecs; ++v) largest = max(z[v], largest);
      T m = reduce_max(largest);
      if (!is_finite(m)) m = 0;
      const V shift = V::splat(m);
      V sum = V::zero();
      for (int v = 0; v < kVecs; ++v) {
        z[v] = z[v] - shift;
        z[v].store(d + v * V::kLanes);
      }
      const std::int64_t y = a.labels[i];
      z_of_label[k] = d[y];
      for (int v = 0; v < kVecs; ++v) {
        z[v] = exp(z[v]);
        sum = sum + (v + 1 < kVecs ? z[v] : first_n(n_last, z[v], V::zero()));
      }
      sums[k] = reduce_add(sum);
      all_normal &= sums[k] > 0 && is_finite(sums[k]);
      const T gradient_scale = a.weights ? a.gradient_scale * a.weights[i] : a.gradient_scale;
      const V factor = V::splat(gradient_scale / sums[k]);
      for (int v = 0; v < kVecs; ++v) (z[v] * factor).store(d + v * V::kLanes);
      d[y] = a.n_classes == 2 ? -d[1 - y] : d[y] - gradient_scale;
    }
    const T* weights = a.weights ? a.weights + begin : nullptr;
    if (all_normal) {
      for (std::ptrdiff_t k = n_rows; k % V::kLanes; ++k) sums[k] = z_of_label[k] = 1;
      finish_losses(sums, z_of_label, weights, n_rows, a.losses + begin);
    } else {
      for (std::ptrdiff_t k = 0; k < n_rows; ++k) {
        a.losses[begin + k] = (weights ? weights[k] : T(1)) * (log(sums[k]) - z_of_label[k]);
      }
    }
  }
}

template <class T>
void cross_entropy_of_parts(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t kMaxVecs = 4;
  if (a.n_classes <= kMaxVecs * V::kLanes) {
    with_count<kMaxVecs>((a.n_classes + V::kLanes - 1) / V::kLanes, [&](auto n_vecs) {
      cross_entropy_in_registers<decltype(n_vecs)::value>(a);
    });
    return;
  }
  const V scale = V::splat(a.scale);
  for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
    T* z = a.dlogits + i * a.dlogits_stride;
    for (std::ptrdiff_t j = 0; j < a.n_classes; j += V::kLanes) {
      const T* part = a.parts + i * a.row_stride + j;
      V sum = V::load(part);
      for (std::ptrdiff_t p = 1; p < a.n_parts; ++p) sum = sum + V::load(part += a.part_stride);
      fma(scale, sum, V::load(a.b + j)).store(z + j);
    }
    cross_entropy(z, 1, a.n_classes, a.labels + i, a.weights ? a.weights + i : nullptr,
                  a.gradient_scale, z, a.losses + i);
  }
}

template <class T>
void add_rows(const T* x, std::ptrdiff_t row_stride, std::ptrdiff_t n_rows, std::ptrdiff_t n,
              T* sums) {
  for (std::ptrdiff_t j = 0; j < n; j += Vec<T>::kLanes) {
    Vec<T> sum = Vec<T>::load(sums + j);
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) sum = sum + Vec<T>::load(x + i * row_stride + j);
    sum.store(sums + j);
  }
}

// Vectors run along the rows, whose logits are brought together first.
template <class T>
void logistic_of_parts(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t kBlock = 64;
  const V scale = V::splat(a.scale), b = V::splat(a.b[0]), zero = V::zero(), one = V::splat(1);
  T z[kBlock], sign[kBlock], d[kBlock], losses[kBlock];
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += kBlock) {
    const std::ptrdiff_t n_rows = a.n_rows - begin < kBlock ? a.n_rows - begin : kBlock;
    for (std::ptrdiff_t k = 0; k < n_rows; ++k) {
      const T* part = a.parts + (begin + k) * a.row_stride;
      z[k] = part[0];
      for (std::ptrdiff_t p = 1; p < a.n_parts; ++p) z[k] += part[p * a.part_stride];
      sign[k] = a.labels[begin + k] ? T(-1) : T(1);
    }
    for (std::ptrdiff_t k = n_rows; k % V::kLanes; ++k) z[k] = sign[k] = 0;
    for (std::ptrdiff_t k = 0; k < n_rows; k += V::kLanes) {
      // The logit of the class that is not the label, where the label's is zero.
      const V wrong = V::load(sign + k) * fma(scale, V::load(z + k), b);
      const V excess = max(zero - wrong, wrong), e = exp(zero - excess), sum = one + e;
      (max(zero, wrong) + log(sum)).store(losses + k);
      (V::load(sign + k) * select_less(wrong, zero, e, one) / sum).store(d + k);
    }
    for (std::ptrdiff_t k = 0; k < n_rows; ++k) {
      const T weight = a.weights ? a.weights[begin + k] : T(1);
      a.losses[begin + k] = weight * losses[k];
      a.dlogits[(begin + k) * a.dlogits_stride] = a.gradient_scale * weight * d[k];
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
