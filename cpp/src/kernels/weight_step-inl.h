// What a step of gradient descent does to a vector of weights once its gradient is summed.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// The new weights from the gradient of the loss, v <- momentum v - learning_rate g, W <- W + v,
// with Nesterov's look-ahead W <- W + momentum v - learning_rate g (Sutskever et al., ICML 2013).
template <class Acc>
struct UpdateRule {
  Vec<Acc> scale, alpha, minus_rate, momentum;
  bool has_velocity, nesterov;

  template <class Args>
  explicit UpdateRule(const Args& a)
      : scale(Vec<Acc>::splat(a.input_scale)),
        alpha(Vec<Acc>::splat(a.alpha)),
        minus_rate(Vec<Acc>::splat(-a.learning_rate)),
        momentum(Vec<Acc>::splat(a.momentum)),
        has_velocity(a.velocity != nullptr),
        nesterov(a.nesterov) {}

  void apply_plain(Vec<Acc> gradient, Vec<Acc>& w) const {
    w = fma(minus_rate, fma(gradient, scale, alpha * w), w);
  }
  void apply(Vec<Acc> gradient, Vec<Acc>& w, Vec<Acc>& v) const {
    if (!has_velocity) return apply_plain(gradient, w);
    gradient = fma(gradient, scale, alpha * w);
    v = fma(momentum, v, minus_rate * gradient);
    w = nesterov ? w + fma(momentum, v, minus_rate * gradient) : w + v;
  }
};

// Whether a step is its gradient and the weights alone: neither momentum nor a sum over chunks.
template <class Acc>
bool is_plain(const WeightStep<Acc>& a) {
  return !a.velocity && !a.gradient;
}

// Whether weights stay what they are where the gradient is zero.
template <class Acc>
bool keeps_without_gradient(const WeightStep<Acc>& a) {
  return is_plain(a) && a.alpha == 0;
}

// The sum that a chunk of rows goes on from, for the weights from `at` on.
template <class Acc>
Vec<Acc> sum_before(const WeightStep<Acc>& a, std::ptrdiff_t at) {
  return a.gradient && !a.first_chunk ? Vec<Acc>::load(a.gradient + at) : Vec<Acc>::zero();
}

// And what becomes of it. for_each(f) calls f(sum, at) for some vectors of weights.
template <class Acc, class ForEach>
[[gnu::always_inline]] inline void take_step(const WeightStep<Acc>& a, const UpdateRule<Acc>& rule,
                                             const ForEach& for_each) {
  using V = Vec<Acc>;
  if (is_plain(a)) {  // the usual case, without questions: 8 % of the pass
    for_each([&](V sum, std::ptrdiff_t at) __attribute__((always_inline)) {
      V w = V::load(a.W + at);
      rule.apply_plain(sum, w);
      w.store(a.W + at);
    });
    return;
  }
  for_each([&](V sum, std::ptrdiff_t at) __attribute__((always_inline)) {
    if (!a.last_chunk) return sum.store(a.gradient + at);
    V w = V::load(a.W + at);
    V v = a.velocity ? V::load(a.velocity + at) : V::zero();
    rule.apply(sum, w, v);
    w.store(a.W + at);
    if (a.velocity) v.store(a.velocity + at);
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
