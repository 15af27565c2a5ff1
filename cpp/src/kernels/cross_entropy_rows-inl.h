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
    T z[V::kLanes] = {}, weight[V::kLanes] = {}, loss[V::kLanes];
    for (std::ptrdiff_t i = 0; i < group.n_rows; ++i) {
      z[i] = logits[(first + i) * n + labels[first + i]];
      weight[i] = weights ? weights[first + i] : T(1);
    }
    const V shift = finite_or_zero(group.maximum());
    const V sum =
        dlogits ? group.template sum_exp<true>(shift) : group.template sum_exp<false>(shift);
    (V::load(weight) * (log_by_lane(sum) - (V::load(z) - shift))).store(loss);
    for (std::ptrdiff_t i = 0; i < group.n_rows; ++i) losses[first + i] = loss[i];
    if (!dlogits) return;
    const V scale = V::splat(gradient_scale) * V::load(weight), factor = scale / sum;
    group.transform([&](V e) { return e * factor; });
    group.store(dlogits + first * n);
    for (std::ptrdiff_t i = 0; i < group.n_rows; ++i) {
      T* d = dlogits + (first + i) * n;
      const std::int64_t y = labels[first + i];
      d[y] = n == 2 ? -d[1 - y] : d[y] - gradient_scale * weight[i];
    }
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
