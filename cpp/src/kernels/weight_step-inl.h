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
  bool nesterov;

  template <class Args>
  explicit UpdateRule(const Args& a)
      : scale(Vec<Acc>::splat(a.input_scale)),
        alpha(Vec<Acc>::splat(a.alpha)),
        minus_rate(Vec<Acc>::splat(-a.learning_rate)),
        momentum(Vec<Acc>::splat(a.momentum)),
        nesterov(a.nesterov) {}

  void apply_plain(Vec<Acc> gradient, Vec<Acc>& w) const {
    w = fma(minus_rate, fma(gradient, scale, alpha * w), w);
  }
  void apply(Vec<Acc> gradient, Vec<Acc>& w, Vec<Acc>& v) const {
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

// The sums that a chunk of rows goes on from, for runs of weights that begin at begin_of(0), ..
template <int kRuns, int kN, class Acc, class BeginOf>
[[gnu::always_inline]] inline void begin_sums(const WeightStep<Acc>& a, const BeginOf& begin_of,
                                              std::ptrdiff_t stride, Vec<Acc> (&sums)[kRuns][kN]) {
  const bool goes_on = a.gradient && !a.first_chunk;
  for (int run = 0; run < kRuns; ++run) {
    for (int i = 0; i < kN; ++i) {
      sums[run][i] =
          goes_on ? Vec<Acc>::load(a.gradient + begin_of(run) + i * stride) : Vec<Acc>::zero();
    }
  }
}

// With momentum, or with a gradient that chunks leave for the next one. A function of its own, for
// sums in memory: inlined it was half of the code of the tiles, and of the time to compile them.
template <class Acc>
[[gnu::noinline]] void take_other_step(const WeightStep<Acc>& a, const Vec<Acc>* sums,
                                       const std::ptrdiff_t* begins, std::ptrdiff_t n_runs,
                                       std::ptrdiff_t n, std::ptrdiff_t stride) {
  using V = Vec<Acc>;
  const UpdateRule<Acc> rule(a);
  for (std::ptrdiff_t run = 0; run < n_runs; ++run, sums += n) {
    Acc* W = a.W + begins[run];
    if (!a.last_chunk) {
      Acc* to = a.gradient + begins[run];
      for (std::ptrdiff_t i = 0; i < n; ++i) sums[i].store(to + i * stride);
    } else if (!a.velocity) {
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        V w = V::load(W + i * stride);
        rule.apply_plain(sums[i], w);
        w.store(W + i * stride);
      }
    } else {
      Acc* velocity = a.velocity + begins[run];
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        V w = V::load(W + i * stride), v = V::load(velocity + i * stride);
        rule.apply(sums[i], w, v);
        w.store(W + i * stride);
        v.store(velocity + i * stride);
      }
    }
  }
}

// What becomes of the sums sum_of(run, 0) .. sum_of(run, n - 1), n <= kMost, of such runs.
template <int kRuns, int kMost, class Acc, class BeginOf, class SumOf>
[[gnu::always_inline]] inline void take_step(const WeightStep<Acc>& a, const UpdateRule<Acc>& rule,
                                             const BeginOf& begin_of, std::ptrdiff_t n,
                                             std::ptrdiff_t stride, const SumOf& sum_of) {
  using V = Vec<Acc>;
  if (is_plain(a)) {  // the usual case, without questions: 8 % of the pass
    for (int run = 0; run < kRuns; ++run) {
      Acc* W = a.W + begin_of(run);
      for (std::ptrdiff_t i = 0; i < n; ++i) {
        V w = V::load(W + i * stride);
        rule.apply_plain(sum_of(run, i), w);
        w.store(W + i * stride);
      }
    }
    return;
  }
  V sums[kRuns * kMost];
  std::ptrdiff_t begins[kRuns];
  for (int run = 0; run < kRuns; ++run) {
    begins[run] = begin_of(run);
    for (std::ptrdiff_t i = 0; i < n; ++i) sums[run * n + i] = sum_of(run, i);
  }
  take_other_step(a, sums, begins, kRuns, n, stride);
}
template <int kRuns, int kN, class Acc, class BeginOf>
[[gnu::always_inline]] inline void take_step(const WeightStep<Acc>& a, const UpdateRule<Acc>& rule,
                                             const BeginOf& begin_of, std::ptrdiff_t stride,
                                             const Vec<Acc> (&sums)[kRuns][kN]) {
  take_step<kRuns, kN>(
      a, rule, begin_of, kN, stride, [&](int run, std::ptrdiff_t i) __attribute__((always_inline)) {
        return sums[run][i];
      });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
