// A made-up training problem for the tests of fit_sgd, and what training made of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "data.h"
#include "fastsoftmax/sgd.h"
#include "views.h"

namespace test {

template <class T>
struct Trained {
  std::vector<T> W, b, velocity_W, velocity_b;
  std::vector<double> loss_curve;
  fastsoftmax::SgdResult result;
};

template <class T>
bool same_bits(const Trained<T>& a, const Trained<T>& b) {
  return same_bits(a.W, b.W) && same_bits(a.b, b.b) && same_bits(a.velocity_W, b.velocity_W) &&
         same_bits(a.velocity_b, b.velocity_b) && same_bits(a.loss_curve, b.loss_curve) &&
         a.result.n_epochs == b.result.n_epochs && a.result.diverged == b.result.diverged;
}

template <class In, class T>
struct SgdProblem {
  std::ptrdiff_t n, d, K;  // K outputs: one of two classes
  fastsoftmax::SgdOptions options;
  std::vector<In> X;
  std::vector<std::int64_t> labels;
  std::vector<T> weights;  // empty: none
  Trained<T> start;

  // The learning rate keeps the steps stable: entries in +-1 have |x|^2 near d / 3, the loss bends
  // by at most (|x|^2 + 1) / 2 times the weights' 2.
  SgdProblem(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
             std::int64_t batch_size)
      : n(n_rows), d(n_features), K(n_classes) {
    options.learning_rate = 2.0 / static_cast<double>(d + 1);
    options.batch_size = batch_size;
    options.n_epochs = 2;
    options.seed = 7;
    options.input_scale = sizeof(In) == 1 ? 1 / 255.0 : 1.0;
    X = uniform<In>(n * d, 1);
    labels = test::labels(n, std::max<std::ptrdiff_t>(2, K), 2);
    start.W = uniform<T>(K * d, 3, -0.1, 0.1);
    start.b = uniform<T>(K, 4);
  }

  // Most stretches of 16 features hold nothing, as in images: the solver skips them.
  void use_blanks() {
    Random random(8);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t f = 0; f < d; f += 16) {
        if (random.uniform(0, 1) < 0.3) continue;
        std::fill_n(X.begin() + i * d + f, std::min<std::ptrdiff_t>(16, d - f), In(0));
      }
    }
  }
  void use_weights() { weights = uniform<T>(n, 5, 0, 2); }
  void use_momentum(bool nesterov) {
    options.momentum = 0.5;
    options.nesterov = nesterov;
    start.velocity_W = uniform<T>(K * d, 6, -0.01, 0.01);
    start.velocity_b = uniform<T>(K, 7, -0.01, 0.01);
  }

  fastsoftmax::InputView view() const { return {kStorage<In>, X.data(), n, d, d}; }

  // Training goes on from there.
  void train(Trained<T>& at, const fastsoftmax::StopRequested& stop = nullptr) const {
    const bool moving = !at.velocity_W.empty();
    const fastsoftmax::SgdState<T> state{K, at.W.data(), at.b.data(),
                                         moving ? at.velocity_W.data() : nullptr,
                                         moving ? at.velocity_b.data() : nullptr};
    at.loss_curve.assign(static_cast<std::size_t>(options.n_epochs), 0.0);
    at.result =
        fastsoftmax::fit_sgd(view(), labels.data(), weights.empty() ? nullptr : weights.data(),
                             options, state, at.loss_curve.data(), stop);
  }
  Trained<T> train_with(int n_threads) {
    options.n_threads = n_threads;
    Trained<T> at = start;
    train(at);
    return at;
  }
};

// The problems that the tests go through differ in these: every option alone, and all together.
constexpr int kVariants = 9;
template <class In, class T>
void use_variant(SgdProblem<In, T>& p, int variant) {
  const bool all = variant == kVariants - 1;
  if (variant == 1 || all) p.use_weights();
  if (variant == 2) p.use_momentum(false);
  if (variant == 3 || all) p.use_momentum(true);
  if (variant == 4 || all) p.options.alpha = 0.1;
  if (variant == 5) p.options.shuffle = false;
  if (variant == 6) p.options.fit_intercept = false;
  if (variant == 7 || all) p.use_blanks();
}

}  // namespace test
