// What a step of gradient descent makes of a gradient.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// The new weights from the gradient of the loss, v <- momentum v - learning_rate g, W <- W + v,
// with Nesterov's look-ahead W <- W + momentum v - learning_rate g (Sutskever et al., ICML 2013).
template <class Acc>
struct UpdateRule {
  Vec<Acc> scale, alpha, minus_rate, momentum;
  bool has_velocity, nesterov;

  template <class In>
  explicit UpdateRule(const PanelUpdate<In, Acc>& a)
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

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
