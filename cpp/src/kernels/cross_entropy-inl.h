// The cross-entropy of softmax(logits) against labels, with its gradient in the logits.
//
//   loss_i = w_i (m + log s - z_y),  dlogits_i = gradient_scale w_i (exp(z - m) / s - onehot(y))
//
// Where the label has nearly all of s, the others are summed by themselves: they alone say how far
// from one its probability is, and from zero the loss. 1e-11 has all its digits then in float32
// too, on which fits of classes that are nearly separable depend.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"
#include "kernels/softmax-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// x, but 0 where the class is the label.
template <class T>
Vec<T> of_others(Vec<T> classes, Vec<T> label, Vec<T> x) {
  const Vec<T> distance = classes - label;
  return select_less(Vec<T>::zero(), distance * distance, x, Vec<T>::zero());
}

// In the logit of the label, from the probabilities times scale. Of two classes one's gradient is
// the other's negative: said so, weights that start at zero stay so to the last bit.
template <class T>
T residual_of_label(const T* probabilities, std::ptrdiff_t n, std::int64_t label, T scale) {
  return n == 2 ? -probabilities[1 - label] : probabilities[label] - scale;
}

// What log(sum) lacks, sum being others + own rounded: it counts where sum is near one. Of numbers
// or vectors.
template <class X>
X lost_by_rounding(X sum, X others, X own) {
  return (others - (sum - own)) / sum;
}

// The sum of n numbers but for one; at(j) is the vector of those from j on.
template <class T, class At>
T sum_but_one(std::ptrdiff_t n, std::ptrdiff_t but, const At& at) {
  using V = Vec<T>;
  T lanes[V::kLanes];
  for (std::ptrdiff_t i = 0; i < V::kLanes; ++i) lanes[i] = static_cast<T>(i);
  const V first = V::load(lanes);
  V sum = V::zero();
  for (std::ptrdiff_t begin = 0; begin < n; begin += kSumPart<T>) {
    const std::ptrdiff_t end = n - begin < kSumPart<T> ? n : begin + kSumPart<T>;
    V part = V::zero();
    for (std::ptrdiff_t j = begin; j < end; j += V::kLanes) {
      V e = at(j);
      if (but >= j && but < j + V::kLanes) {
        e = of_others(first, V::splat(static_cast<T>(but - j)), e);
      }
      part = part + (end - j < V::kLanes ? first_n(end - j, e, V::zero()) : e);
    }
    sum = sum + part;
  }
  return reduce_add(sum);
}

template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                   const std::int64_t* labels, const T* weights, T gradient_scale, T* dlogits,
                   T* losses) {
  for_rows(logits, n_rows, n, [&](const T* row, const T* next, std::ptrdiff_t i) {
    const T weight = weights ? weights[i] : T(1);
    const std::int64_t y = labels[i];
    T m = 0, z = 0, sum = 0, others = 0;
    if (dlogits) {
      m = finite_max(row, n);
      z = row[y] - m;  // read before dlogits, which may be the same memory
      sum = row_sum_exp<true>(row, next, n, m, dlogits);
    } else {
      sum = shifted_sum_exp(row, next, n, &m);
      z = row[y] - m;
    }
    const bool is_sure = z == 0 && sum < 2;
    if (is_sure) {
      const T* from = dlogits ? dlogits : row;
      const Vec<T> shift = Vec<T>::splat(m);
      others = sum_but_one<T>(n, y, [&](std::ptrdiff_t j) {
        const Vec<T> x =
            n - j < Vec<T>::kLanes ? Vec<T>::load_n(from + j, n - j) : Vec<T>::load(from + j);
        return dlogits ? x : exp(x - shift);
      });
      sum = 1 + others;
    }
    losses[i] = weight * (is_sure ? log(sum) + lost_by_rounding(sum, others, T(1)) : log(sum) - z);
    if (dlogits) {
      const T scale = gradient_scale * weight, factor = scale / sum;
      transform(dlogits, n, dlogits, [&](auto& e) {
        for (Vec<T>& each : e) each = each * Vec<T>::splat(factor);
      });
      dlogits[y] = is_sure ? -(others * factor) : residual_of_label(dlogits, n, y, scale);
      dlogits += n;
    }
  });
}

// The weights of n_lanes rows; ones, if there are none.
template <class T>
Vec<T> weights_or_ones(const T* weights, std::ptrdiff_t n_lanes) {
  using V = Vec<T>;
  if (!weights) return V::splat(1);
  return n_lanes < V::kLanes ? V::load_n(weights, n_lanes) : V::load(weights);
}

// A vector of losses, of sums, those without the label's exponential, that, and its logit z.
template <class T>
void finish_losses(const T* sums, const T* others, const T* own, const T* z, const T* weights,
                   std::ptrdiff_t n, T* losses) {
  using V = Vec<T>;
  for (std::ptrdiff_t i = 0; i < n; i += V::kLanes) {
    const std::ptrdiff_t lanes = n - i < V::kLanes ? n - i : V::kLanes;
    const V weight = weights_or_ones(weights ? weights + i : nullptr, lanes);
    const V sum = V::load(sums + i);
    const V lost = lost_by_rounding(sum, V::load(others + i), V::load(own + i));
    const V loss = weight * (log(sum) - V::load(z + i) + lost);
    lanes < V::kLanes ? loss.store_n(losses + i, lanes) : loss.store(losses + i);
  }
}

// A vector of the logits of a row, from class c on.
template <class T>
Vec<T> logits_of_parts(const CrossEntropyArgs<T>& a, std::ptrdiff_t row, std::ptrdiff_t c) {
  const T* part = a.parts + row * a.row_stride + c;
  Vec<T> sum = Vec<T>::load(part);
  for (std::ptrdiff_t p = 1; p < a.n_parts; ++p) sum = sum + Vec<T>::load(part += a.part_stride);
  return fma(Vec<T>::splat(a.scale), sum, Vec<T>::load(a.b + c));
}

// Rows whose classes fill kVecs registers, the last of them with n_last. (With their logits by
// logits_of_parts, vector by vector: 1.03 to 1.1 times the time with AVX-512, up to 1.3 with AVX2.)
template <int kVecs, class T>
void cross_entropy_in_registers(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t kBlock = 64;  // rows whose logarithms are taken together
  const std::ptrdiff_t n_last = a.n_classes - (kVecs - 1) * V::kLanes;
  const V scale = V::splat(a.scale), nothing = V::splat(-kInfinity<T>);
  T sums[kBlock], others[kBlock], own[kBlock], z_of_label[kBlock], lanes[kVecs * V::kLanes];
  V classes[kVecs];
  for (int j = 0; j < kVecs * V::kLanes; ++j) lanes[j] = static_cast<T>(j);
  for (int v = 0; v < kVecs; ++v) classes[v] = V::load(lanes + v * V::kLanes);
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
      const V label = V::splat(static_cast<T>(y));
      exp_all(z);
      for (int v = 0; v < kVecs; ++v) {
        const V e = of_others(classes[v], label, z[v]);
        sum = sum + (v + 1 < kVecs ? e : first_n(n_last, e, V::zero()));
        z[v].store(d + v * V::kLanes);
      }
      own[k] = d[y];
      others[k] = reduce_add(sum);
      sums[k] = others[k] + own[k];
      const bool is_normal = sums[k] > 0 && is_finite(sums[k]);
      all_normal &= is_normal;
      const T gradient_scale = a.weights ? a.gradient_scale * a.weights[i] : a.gradient_scale;
      const T factor = gradient_scale / sums[k];
      for (int v = 0; v < kVecs; ++v) (z[v] * V::splat(factor)).store(d + v * V::kLanes);
      d[y] =
          is_normal ? -(others[k] * factor) : residual_of_label(d, a.n_classes, y, gradient_scale);
    }
    const T* weights = a.weights ? a.weights + begin : nullptr;
    if (all_normal) {
      for (std::ptrdiff_t k = n_rows; k % V::kLanes; ++k) {
        sums[k] = others[k] = own[k] = z_of_label[k] = 1;
      }
      finish_losses(sums, others, own, z_of_label, weights, n_rows, a.losses + begin);
    } else {
      for (std::ptrdiff_t k = 0; k < n_rows; ++k) {
        a.losses[begin + k] = (weights ? weights[k] : T(1)) * (log(sums[k]) - z_of_label[k]);
      }
    }
  }
}

template <class T>
void cross_entropy_by_rows(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t kMaxVecs = 4;
  if (a.n_classes <= kMaxVecs * V::kLanes) {
    with_count<kMaxVecs>((a.n_classes + V::kLanes - 1) / V::kLanes, [&](auto n_vecs) {
      cross_entropy_in_registers<decltype(n_vecs)::value>(a);
    });
    return;
  }
  for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
    T* z = a.dlogits + i * a.dlogits_stride;
    for (std::ptrdiff_t j = 0; j < a.n_classes; j += V::kLanes) {
      logits_of_parts(a, i, j).store(z + j);
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
      (max(zero, wrong) + (log(sum) + lost_by_rounding(sum, e, one))).store(losses + k);
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
