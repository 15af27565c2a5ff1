// The cross-entropy of softmax(logits) against labels, with its gradient in the logits.
//
//   loss_i = w_i (m + log s - z_y),  dlogits_i = gradient_scale w_i (exp(z - m) / s - onehot(y))
#pragma once

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                   const std::int64_t* labels, const T* weights, T gradient_scale, T* dlogits,
                   T* losses) {
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, logits += n) {
    const T weight = weights ? weights[i] : T(1);
    const T m = finite_max(logits, n);
    const T z = logits[labels[i]] - m;  // read before dlogits, which may be the same memory
    const T sum = dlogits ? row_sum_exp<true>(logits, n, m, dlogits)
                          : row_sum_exp<false>(logits, n, m, dlogits);
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

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
