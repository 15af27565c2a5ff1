// The rules of gradient descent that the kernels' tests go through, and what they make of a weight.
//
// Tolerance: a sum of n terms is off by at most n roundings of the sum of their sizes; the step
// takes five more (the scale, the penalty, the rate, momentum, the sum).
#pragma once

#include <array>

#include "check.h"
#include "data.h"
#include "kernels/kernel_table.h"
#include "reference.h"

namespace test {

struct Rule {
  double alpha, momentum;
  bool nesterov, in_chunks;
};
constexpr std::array<Rule, 5> kRules{{{0, 0, false, false},
                                      {0.3, 0, false, false},
                                      {0, 0.9, false, true},
                                      {0.3, 0.9, true, false},
                                      {0.3, 0, false, true}}};
constexpr double kRate = 0.125, kInputScale = 0.7;

// But for the arrays.
template <class T>
void set_rule(const Rule& rule, bool first_chunk, bool last_chunk,
              fastsoftmax::WeightStep<T>& step) {
  step.first_chunk = first_chunk;
  step.last_chunk = last_chunk;
  step.learning_rate = static_cast<T>(kRate);
  step.alpha = static_cast<T>(rule.alpha);
  step.momentum = static_cast<T>(rule.momentum);
  step.input_scale = static_cast<T>(kInputScale);
  step.nesterov = rule.nesterov;
}

// A weight and its velocity after a step, from those before it; gradient, over n_rows rows, without
// the scale of the inputs, and the sum of the sizes of its terms.
template <class T>
struct Moved {
  T W, velocity;
};
template <class T>
void check_moved(const Rule& rule, const Moved<T>& before, double gradient, double size,
                 std::ptrdiff_t n_rows, const Moved<T>& after) {
  const double scale = static_cast<double>(static_cast<T>(kInputScale));
  const double alpha = static_cast<double>(static_cast<T>(rule.alpha));
  const double momentum = static_cast<double>(static_cast<T>(rule.momentum));
  const auto old_w = static_cast<double>(before.W), old_v = static_cast<double>(before.velocity);
  double w = old_w, v = old_v;
  reference::sgd_step(scale * gradient + alpha * old_w, kRate, momentum, rule.nesterov, w, v);
  const double n = static_cast<double>(n_rows);
  const double step = kRate * ((n + 8) * scale * size + 8 * alpha * std::abs(old_w));
  const double moved = (1 + momentum) * (step + 4 * momentum * std::abs(old_v));
  CHECK_NEAR(after.W, w, kEps<T> * (moved + 4 * std::abs(old_w)));
  CHECK_NEAR(after.velocity, momentum > 0 ? v : old_v, kEps<T> * moved);
}

}  // namespace test
