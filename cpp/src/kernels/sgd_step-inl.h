// The two passes over X of a mini-batch step: logits forward; backward fused with the update of W.
//
// Both keep a tile of accumulators in registers with vectors along the features, so W is class-major.
// The bits of a logit depend on its row and class alone, those of a weight on its feature and class
// alone, never on the tile they fall into: threads may share the rows and the features in any way.
#pragma once

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class In, class Acc>
struct LogitsArgs {
  const In* const* rows;
  std::ptrdiff_t n_features;
  const Acc *W, *b;
  std::ptrdiff_t n_classes;
  Acc scale;
  Acc* logits;
};

template <int kRows, int kClasses, class In, class Acc>
void logits_tile(const LogitsArgs<In, Acc>& a, std::ptrdiff_t row, std::ptrdiff_t c0) {
  using V = Vec<Acc>;
  V sum[kRows][kClasses];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  const In* const* rows = a.rows + row;
  const Acc* W = a.W + c0 * a.n_features;
  std::ptrdiff_t f = 0;
  const auto accumulate = [&](const auto& load_x, const auto& load_w) {
    V x[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = load_x(rows[r] + f);
    for (int c = 0; c < kClasses; ++c) {
      const V w = load_w(W + c * a.n_features + f);
      for (int r = 0; r < kRows; ++r) sum[r][c] = fma(x[r], w, sum[r][c]);
    }
  };
  for (; f + V::kLanes <= a.n_features; f += V::kLanes) {
    accumulate([](const In* p) { return load<Acc>(p); }, [](const Acc* p) { return V::load(p); });
  }
  if (const std::ptrdiff_t n = a.n_features - f; n > 0) {
    accumulate([n](const In* p) { return load_n<Acc>(p, n); },
               [n](const Acc* p) { return V::load_n(p, n); });
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kClasses; ++c) {
      const Acc bias = a.b ? a.b[c0 + c] : Acc(0);
      a.logits[(row + r) * a.n_classes + c0 + c] = a.scale * reduce_add(sum[r][c]) + bias;
    }
  }
}

// Many classes: a block of W stays in the first-level cache while all rows pass. Few: W does as a
// whole, and each row is read once (for 784 x 10 float32 the second order reads X twice).
constexpr std::ptrdiff_t kFewClasses = 16;

template <class In, class Acc>
void logits(const In* const* rows, std::ptrdiff_t n_rows, std::ptrdiff_t n_features, const Acc* W,
            const Acc* b, std::ptrdiff_t n_classes, Acc scale, Acc* out) {
  const LogitsArgs<In, Acc> args{rows, n_features, W, b, n_classes, scale, out};
  const std::ptrdiff_t rows_at_a_time = n_classes <= kFewClasses ? kLogitsRows : n_rows;
  for (std::ptrdiff_t begin = 0; begin < n_rows; begin += rows_at_a_time) {
    const std::ptrdiff_t end = begin + rows_at_a_time < n_rows ? begin + rows_at_a_time : n_rows;
    for_each_block<kLogitsClasses>(n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      constexpr int kClasses = decltype(n_tile_classes)::value;
      std::ptrdiff_t row = begin;
      for (; row + kLogitsRows <= end; row += kLogitsRows) {
        logits_tile<kLogitsRows, kClasses>(args, row, c0);
      }
      for (; row < end; ++row) logits_tile<1, kClasses>(args, row, c0);
    });
  }
}

// The new weights from the gradient of the loss, v <- momentum v - learning_rate g, W <- W + v, with
// Nesterov's look-ahead W <- W + momentum v - learning_rate g (Sutskever et al., ICML 2013).
template <class In, class Acc>
struct UpdateRule {
  Vec<Acc> scale, alpha, minus_rate, momentum;
  bool has_velocity, nesterov;

  explicit UpdateRule(const SgdUpdate<In, Acc>& a)
      : scale(Vec<Acc>::splat(a.input_scale)),
        alpha(Vec<Acc>::splat(a.alpha)),
        minus_rate(Vec<Acc>::splat(-a.learning_rate)),
        momentum(Vec<Acc>::splat(a.momentum)),
        has_velocity(a.velocity != nullptr),
        nesterov(a.nesterov) {}

  void apply(Vec<Acc> gradient, Vec<Acc>& w, Vec<Acc>& v) const {
    gradient = fma(gradient, scale, alpha * w);
    if (!has_velocity) {
      w = fma(minus_rate, gradient, w);
      return;
    }
    v = fma(momentum, v, minus_rate * gradient);
    w = nesterov ? w + fma(momentum, v, minus_rate * gradient) : w + v;
  }
};

// Sums dlogits' . X over the rows for kVecs vectors of features from f on (the last of n_last lanes,
// if kMasked) and kClasses classes, then steps; the gradient never leaves the registers unless the
// batch comes in several row chunks.
template <int kVecs, int kClasses, bool kMasked, class In, class Acc>
void update_tile(const SgdUpdate<In, Acc>& a, const UpdateRule<In, Acc>& rule, std::ptrdiff_t f,
                 std::ptrdiff_t c0, std::ptrdiff_t n_lanes) {
  using V = Vec<Acc>;
  const auto read = [&](const auto* p) {
    if constexpr (kMasked) {
      return load_n<Acc>(p, n_lanes);
    } else {
      return load<Acc>(p);
    }
  };
  const auto write = [&](V value, Acc* p) {
    if constexpr (kMasked) {
      value.store_n(p, n_lanes);
    } else {
      value.store(p);
    }
  };
  const auto for_each_vec = [&](const auto& body) {
    for (int c = 0; c < kClasses; ++c) {
      for (int k = 0; k < kVecs; ++k) body(c, k, (c0 + c) * a.n_features + f + k * V::kLanes);
    }
  };
  V g[kClasses][kVecs];
  for_each_vec([&](int c, int k, std::ptrdiff_t at) {
    g[c][k] = a.gradient && !a.first_chunk ? read(a.gradient + at) : V::zero();
  });
  for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
    V x[kVecs];
    for (int k = 0; k < kVecs; ++k) x[k] = read(a.rows[i] + f + k * V::kLanes);
    for (int c = 0; c < kClasses; ++c) {
      const V d = V::splat(a.dlogits[i * a.n_classes + c0 + c]);
      for (int k = 0; k < kVecs; ++k) g[c][k] = fma(d, x[k], g[c][k]);
    }
  }
  for_each_vec([&](int c, int k, std::ptrdiff_t at) {
    if (!a.last_chunk) return write(g[c][k], a.gradient + at);
    V w = read(a.W + at);
    V v = a.velocity ? read(a.velocity + at) : V::zero();
    rule.apply(g[c][k], w, v);
    write(w, a.W + at);
    if (a.velocity) write(v, a.velocity + at);
  });
}

template <class In, class Acc>
void sgd_update(const SgdUpdate<In, Acc>& a) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes, kSpan = kUpdateVecs * kLanes;
  const UpdateRule<In, Acc> rule(a);
  // Classes inside: the lines of X that a span of features touches stay in the first-level cache.
  std::ptrdiff_t f = a.feature_begin;
  const auto sweep = [&](auto n_vecs, auto masked, std::ptrdiff_t n_lanes) {
    for_each_block<kUpdateClasses>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      update_tile<decltype(n_vecs)::value, decltype(n_tile_classes)::value,
                  decltype(masked)::value != 0>(a, rule, f, c0, n_lanes);
    });
  };
  for (; f + kSpan <= a.feature_end; f += kSpan) sweep(Count<kUpdateVecs>(), Count<0>(), kLanes);
  for (; f + kLanes <= a.feature_end; f += kLanes) sweep(Count<1>(), Count<0>(), kLanes);
  if (f < a.feature_end) sweep(Count<1>(), Count<1>(), a.feature_end - f);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
