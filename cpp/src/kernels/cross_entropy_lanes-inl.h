// The cross-entropy of a few classes, vectors along the rows as in softmax_lanes-inl.h: of
// contiguous rows, and of rows that are sums of parts. A lane's numbers meet nobody else's, so a
// row's bits do not depend on its neighbours.
#pragma once

#include "kernels/cross_entropy-inl.h"
#include "kernels/softmax_lanes-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Of the row in each lane: the sum of the exponentials of all classes but the label, the label's,
// both together, and the label's logit less the largest one.
template <class T>
struct SumsOfRows {
  using V = Vec<T>;
  V others, own, z;
  V sum = others + own;

  // x, but y where the sum is 0, infinite or NaN.
  V if_normal(V x, V y) const {
    return select_less(V::zero(), sum, select_less(sum, V::splat(kInfinity<T>), x, y), y);
  }
  V losses(V weight) const {
    const V lost = if_normal(lost_by_rounding(sum, others, own), V::zero());
    return weight * (log_of_sums(sum) + lost - z);
  }
  // The gradient in the label's logit, as residual_of_label; factor is scale / sum.
  V residual(V scale, V factor, std::ptrdiff_t n_classes) const {
    const V of_others = V::zero() - others * factor;
    return n_classes == 2 ? of_others : if_normal(of_others, own * factor - scale);
  }
};

// The logits may not be written to, so the label's exponential is among the group's.
template <class T>
void cross_entropy_rows(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                        const std::int64_t* labels, const T* weights, T gradient_scale, T* dlogits,
                        T* losses) {
  using V = Vec<T>;
  if (n > kShortLength) {
    return cross_entropy(logits, n_rows, n, labels, weights, gradient_scale, dlogits, losses);
  }
  for_row_groups(logits, n_rows, n, [&](RowGroup<T>& group, std::ptrdiff_t first) {
    T z[V::kLanes] = {}, label[V::kLanes] = {}, residual[V::kLanes];
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      z[i] = logits[(first + i) * n + labels[first + i]];
      label[i] = static_cast<T>(labels[first + i]);
    }
    const V shift = finite_or_zero(group.maximum()), z_of_label = V::load(z) - shift;
    group.template sum_exp<true>(shift);
    V others = V::zero();
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const V this_class = V::splat(static_cast<T>(j));
      others = others + of_others(this_class, V::load(label), group.columns[j]);
    }
    const SumsOfRows<T> sums{others, exp(z_of_label), z_of_label};
    const V weight = weights_or_ones(weights ? weights + first : nullptr, group.n_lanes);
    store_first(sums.losses(weight), group.n_lanes, losses + first);
    if (!dlogits) return;
    const V scale = V::splat(gradient_scale) * weight, factor = scale / sums.sum;
    sums.residual(scale, factor, n).store(residual);
    group.store(dlogits + first * n, [&](V e) { return e * factor; });
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      dlogits[(first + i) * n + labels[first + i]] = residual[i];
    }
  });
}

// The label's logit waits by itself, with -inf in its place. (Put there before the numbers are
// stored, where loads would not wait for the stores: 1.1 times the time.)
template <class T>
void cross_entropy_in_lanes(const CrossEntropyArgs<T>& a) {
  using V = Vec<T>;
  for (std::ptrdiff_t first = 0; first < a.n_rows; first += V::kLanes) {
    LaneGroup<T> group(a.n_rows - first, a.n_classes);
    T* const dlogits = a.dlogits + first * a.dlogits_stride;
    const std::int64_t* const labels = a.labels + first;
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      logits_of_parts(a, first + i, 0).store(dlogits + i * a.dlogits_stride);
    }
    T z[V::kLanes] = {}, residual[V::kLanes];
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      T& own = dlogits[i * a.dlogits_stride + labels[i]];
      z[i] = own;
      own = -kInfinity<T>;
    }
    V square[V::kLanes];
    load_transposed<T>(dlogits, a.dlogits_stride, group.n_lanes, V::kLanes, square);
    for (std::ptrdiff_t c = 0; c < a.n_classes; ++c) group.columns[c] = square[c];
    const V shift = finite_or_zero(max(V::load(z), group.maximum()));
    const V z_of_label = V::load(z) - shift;
    const V others = group.template sum_exp<true>(shift);
    const SumsOfRows<T> sums{others, exp(z_of_label), z_of_label};
    const V weight = weights_or_ones(a.weights ? a.weights + first : nullptr, group.n_lanes);
    store_first(sums.losses(weight), group.n_lanes, a.losses + first);
    const V scale = V::splat(a.gradient_scale) * weight, factor = scale / sums.sum;
    sums.residual(scale, factor, a.n_classes).store(residual);
    for (std::ptrdiff_t c = 0; c < a.n_classes; ++c) square[c] = group.columns[c] * factor;
    transpose(square);
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      square[i].store(dlogits + i * a.dlogits_stride);
      dlogits[i * a.dlogits_stride + labels[i]] = residual[i];
    }
  }
}

template <class T>
void cross_entropy_of_parts(const CrossEntropyArgs<T>& a) {
  if constexpr (kHasRowsInLanes) {
    if (a.n_classes <= Vec<T>::kLanes && !a.few_rows) return cross_entropy_in_lanes(a);
  }
  cross_entropy_by_rows(a);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
