// The cross-entropy of contiguous rows: of a few classes as in softmax_columns-inl.h, of more one
// by one.
#pragma once

#include "kernels/cross_entropy-inl.h"
#include "kernels/softmax_columns-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T>
void cross_entropy_rows(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                        const std::int64_t* labels, const T* weights, T gradient_scale, T* dlogits,
                        T* losses) {
  using V = Vec<T>;
  if (n > kFewColumns) {
    return cross_entropy(logits, n_rows, n, labels, weights, gradient_scale, dlogits, losses);
  }
  for_row_groups(logits, n_rows, n, [&](RowGroup<T>& group, std::ptrdiff_t first) {
    T z[V::kLanes] = {}, weight[V::kLanes] = {}, label[V::kLanes] = {}, loss[V::kLanes];
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      z[i] = logits[(first + i) * n + labels[first + i]];
      label[i] = static_cast<T>(labels[first + i]);
      weight[i] = weights ? weights[first + i] : T(1);
    }
    const V shift = finite_or_zero(group.maximum()), z_of_label = V::load(z) - shift;
    group.template sum_exp<true>(shift);
    V others = V::zero();
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const V this_class = V::splat(static_cast<T>(j));
      others = others + of_others(this_class, V::load(label), group.columns[j]);
    }
    const V own = exp(z_of_label), sum = others + own, lost = lost_by_rounding(sum, others, own);
    const V one = V::splat(1), zero = V::zero(), infinity = V::splat(kInfinity<T>);
    const V normal = select_less(zero, sum, select_less(sum, infinity, one, zero), zero);
    const V log_sum = log_of_sums(sum) + select_less(zero, normal, lost, zero);
    (V::load(weight) * (log_sum - z_of_label)).store(loss);
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) losses[first + i] = loss[i];
    if (!dlogits) return;
    const V scale = V::splat(gradient_scale) * V::load(weight), factor = scale / sum;
    T of_label[V::kLanes], is_normal[V::kLanes];
    (zero - others * factor).store(of_label);
    normal.store(is_normal);
    group.store(dlogits + first * n, [&](V e) { return e * factor; });
    for (std::ptrdiff_t i = 0; i < group.n_lanes; ++i) {
      T* d = dlogits + (first + i) * n;
      const std::int64_t y = labels[first + i];
      d[y] =
          is_normal[i] != 0 ? of_label[i] : residual_of_label(d, n, y, gradient_scale * weight[i]);
    }
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
