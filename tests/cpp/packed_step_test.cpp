// The kernels of training for many classes, with the weights packed: against naive sums in float64;
// however panels, rows and features are shared out, and where zeros are skipped, the very same
// bits. Rows are widened and masks found as naive loops do it.
//
// Tolerances: a sum of n terms is off by at most n roundings of the sum of their sizes; the step
// takes five more (the scale, the penalty, the rate, momentum, the sum).
#include <algorithm>
#include <array>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "weight_step.h"

namespace {

using test::Guarded;
using test::kEps;
using test::kRules;
using test::Rule;
using test::Side;

// W (K, d) as the kernels want it, and back.
template <class T>
std::vector<T> pack(const std::vector<T>& W, std::ptrdiff_t K, std::ptrdiff_t d) {
  const std::ptrdiff_t columns = fastsoftmax::arithmetic_kernels<T>().step_columns;
  std::vector<T> packed(static_cast<std::size_t>((K + columns - 1) / columns * columns * d), T(0));
  for (std::ptrdiff_t c = 0; c < K; ++c) {
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      packed[static_cast<std::size_t>((c / columns * d + f) * columns + c % columns)] =
          W[static_cast<std::size_t>(c * d + f)];
    }
  }
  return packed;
}
template <class T>
std::vector<T> unpack(const std::vector<T>& packed, std::ptrdiff_t K, std::ptrdiff_t d) {
  const std::ptrdiff_t columns = fastsoftmax::arithmetic_kernels<T>().step_columns;
  std::vector<T> W(static_cast<std::size_t>(K * d));
  for (std::ptrdiff_t c = 0; c < K; ++c) {
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      W[static_cast<std::size_t>(c * d + f)] =
          packed[static_cast<std::size_t>((c / columns * d + f) * columns + c % columns)];
    }
  }
  return W;
}

// Of rows of X (n_rows, d).
template <class In>
std::vector<std::uint64_t> masks_of(const std::vector<In>& X, std::ptrdiff_t n_rows,
                                    std::ptrdiff_t d) {
  const std::ptrdiff_t n_words = (d + 63) / 64;
  std::vector<std::uint64_t> masks(static_cast<std::size_t>(n_rows * n_words));
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      const bool is_nonzero = X[static_cast<std::size_t>(i * d + f)] != In(0);
      masks[static_cast<std::size_t>(i * n_words + f / 64)] |= std::uint64_t{is_nonzero} << f % 64;
    }
  }
  return masks;
}

template <class T>
struct Case {
  std::ptrdiff_t n_rows, d, K, n_panels, stride;  // stride of logits and dlogits
  std::vector<T> X, W, velocity, dlogits;

  Case(std::ptrdiff_t rows, std::ptrdiff_t features, std::ptrdiff_t classes)
      : n_rows(rows), d(features), K(classes) {
    const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
    n_panels = (K + kernels.step_columns - 1) / kernels.step_columns;
    stride = n_panels * kernels.step_columns;
    const auto seed = static_cast<std::uint64_t>(rows * 10000 + features * 100 + classes);
    X = test::with_gaps<T>(rows * d, seed);
    W = test::uniform<T>(K * d, seed + 2);
    velocity = test::uniform<T>(K * d, seed + 3);
    dlogits = test::uniform<T>(rows * stride, seed + 4);
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      for (std::ptrdiff_t c = K; c < stride; ++c) at(dlogits, i * stride + c) = 0;
    }
  }
  static T& at(std::vector<T>& values, std::ptrdiff_t i) {
    return values[static_cast<std::size_t>(i)];
  }
  static double at(const std::vector<T>& values, std::ptrdiff_t i) {
    return static_cast<double>(values[static_cast<std::size_t>(i)]);
  }
};

// Some panels at a time, and of these some rows.
template <class T>
std::vector<T> run_logits(const Case<T>& c, Side side, std::ptrdiff_t panels, std::ptrdiff_t turn,
                          bool nonzero) {
  Guarded<T> X(c.X, side), W(pack(c.W, c.K, c.d), side);
  Guarded<std::uint64_t> masks(masks_of(c.X, c.n_rows, c.d), side);
  Guarded<T> logits(c.n_rows * c.stride, side);
  for (std::ptrdiff_t panel = 0; panel < c.n_panels; panel += panels) {
    for (std::ptrdiff_t i = 0; i < c.n_rows; i += turn) {
      fastsoftmax::PackedLogits<T> a{};
      a.X = X.data() + i * c.d;
      a.x_stride = c.d;
      a.n_rows = std::min(turn, c.n_rows - i);
      a.n_features = c.d;
      a.n_classes = c.K;
      a.first_panel = panel;
      a.last_panel = std::min(c.n_panels, panel + panels);
      a.W = W.data();
      a.logits = logits.data() + i * c.stride;
      a.row_stride = c.stride;
      a.masks = nonzero ? masks.data() + i * ((c.d + 63) / 64) : nullptr;
      const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
      (nonzero ? kernels.packed_logits_nonzero : kernels.packed_logits)(a);
    }
  }
  return logits.copy();
}

// Of the classes: what the padding holds then is nobody's.
template <class T>
std::vector<T> of_classes(const Case<T>& c, const std::vector<T>& rows) {
  std::vector<T> kept;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    kept.insert(kept.end(), rows.begin() + i * c.stride, rows.begin() + i * c.stride + c.K);
  }
  return kept;
}

template <class T>
void check_logits(const Case<T>& c, Side side) {
  const auto logits = of_classes(c, run_logits(c, side, c.n_panels, c.n_rows, false));
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t k = 0; k < c.K; ++k) {
      double sum = 0, size = 0;
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        const double product = c.at(c.X, i * c.d + f) * c.at(c.W, k * c.d + f);
        sum += product;
        size += std::abs(product);
      }
      const auto n = static_cast<double>(c.d);
      CHECK_NEAR(c.at(logits, i * c.K + k), sum, kEps<T> * n * size);
    }
  }
  for (const bool nonzero : {false, true}) {
    CHECK(test::same_bits(of_classes(c, run_logits(c, side, 1, c.n_rows, nonzero)), logits));
    CHECK(test::same_bits(of_classes(c, run_logits(c, side, c.n_panels, 1, nonzero)), logits));
    CHECK(test::same_bits(of_classes(c, run_logits(c, side, 2, 7, nonzero)), logits));
  }
}

template <class T>
struct Result {
  std::vector<T> W, velocity;
};

template <class T>
Result<T> run_update(const Case<T>& c, const Rule& rule, Side side, std::ptrdiff_t panels,
                     std::ptrdiff_t turn, bool nonzero) {
  Guarded<std::uint64_t> masks(masks_of(c.X, c.n_rows, c.d), side);
  Guarded<T> X(c.X, side), dlogits(c.dlogits, side), W(pack(c.W, c.K, c.d), side);
  Guarded<T> velocity(pack(c.velocity, c.K, c.d), side);
  Guarded<T> gradient(static_cast<std::ptrdiff_t>(c.stride * c.d), side);
  const std::ptrdiff_t chunk = rule.in_chunks ? (c.n_rows + 1) / 2 : c.n_rows;
  for (std::ptrdiff_t begin = 0; begin < c.n_rows; begin += chunk) {
    const std::ptrdiff_t end = std::min(c.n_rows, begin + chunk);
    for (std::ptrdiff_t panel = 0; panel < c.n_panels; panel += panels) {
      for (std::ptrdiff_t f = 0; f < c.d; f += turn) {
        fastsoftmax::PackedUpdate<T> a{};
        a.X = X.data() + begin * c.d;
        a.x_stride = c.d;
        a.n_rows = end - begin;
        a.n_features = c.d;
        a.n_classes = c.K;
        a.first_panel = panel;
        a.last_panel = std::min(c.n_panels, panel + panels);
        a.dlogits = dlogits.data() + begin * c.stride;
        a.row_stride = c.stride;
        a.begin = f;
        a.end = std::min(c.d, f + turn);
        a.W = W.data();
        a.velocity = rule.momentum > 0 ? velocity.data() : nullptr;
        a.gradient = rule.in_chunks ? gradient.data() : nullptr;
        test::set_rule<T>(rule, begin == 0, end == c.n_rows, a);
        a.masks = nonzero ? masks.data() + begin * ((c.d + 63) / 64) : nullptr;
        const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
        (nonzero ? kernels.packed_update_nonzero : kernels.packed_update)(a);
      }
    }
  }
  const Result<T> result{unpack(W.copy(), c.K, c.d), unpack(velocity.copy(), c.K, c.d)};
  // Behind the last class there are zeros still.
  CHECK(test::same_bits(pack(result.W, c.K, c.d), W.copy()));
  return result;
}

template <class T>
void check_update(const Case<T>& c, const Rule& rule, Side side) {
  const auto whole = run_update(c, rule, side, c.n_panels, c.d, false);
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      double g = 0, size = 0;
      for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
        const double product = c.at(c.dlogits, i * c.stride + k) * c.at(c.X, i * c.d + f);
        g += product;
        size += std::abs(product);
      }
      const auto of = static_cast<std::size_t>(k * c.d + f);
      test::check_moved<T>(rule, {c.W[of], c.velocity[of]}, g, size, c.n_rows,
                           {whole.W[of], whole.velocity[of]});
    }
  }
  for (const bool nonzero : {false, true}) {
    for (const std::ptrdiff_t turn : {c.d, std::ptrdiff_t{1}, std::ptrdiff_t{48}}) {
      const auto parts = run_update(c, rule, side, 1 + turn % 2, turn, nonzero);
      CHECK(test::same_bits(parts.W, whole.W));
      CHECK(test::same_bits(parts.velocity, whole.velocity));
    }
  }
}

template <class T>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t d, std::ptrdiff_t K) {
  test::set_context(test::name_of(T()), test::name_of(T()), n_rows, d, K);
  const Case<T> c(n_rows, d, K);
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    check_logits(c, side);
    check_update(c, kRules[static_cast<std::size_t>(n_rows + d + K) % kRules.size()], side);
  }
}

template <class T>
void test_ragged_sizes() {
  for (std::ptrdiff_t K = 1; K <= 70; ++K) check<T>(4, 10, K);
  for (std::ptrdiff_t n_rows = 1; n_rows <= 26; ++n_rows) check<T>(n_rows, 9, 40);
  for (std::ptrdiff_t d = 1; d <= 26; ++d) check<T>(3, d, 33);
  // Slices of the features, groups of panels, the most rows of a chunk.
  for (const std::ptrdiff_t d : {784, 1100, 2100}) check<T>(7, d, 35);
  check<T>(14, 500, 500);
  check<T>(512, 20, 50);
}

template <class In, class Acc>
void test_widening() {
  for (const std::ptrdiff_t n : {1, 7, 8, 9, 31, 64, 100, 128}) {
    test::set_context(test::name_of(In()), test::name_of(Acc()), n);
    const auto X = test::with_gaps<In>(3 * n, static_cast<std::uint64_t>(n));
    for (const Side side : {Side::kEnd, Side::kBegin}) {
      Guarded<In> placed(X, side);
      Guarded<Acc> out(2 * (n + 2) + n, side);
      Guarded<std::uint64_t> masks(3 * ((n + 63) / 64), side);
      const auto before = out.copy();
      const In* rows[] = {placed.data() + 2 * n, placed.data(), placed.data() + n};
      fastsoftmax::storage_kernels(placed.data(), Acc())
          .widen_rows(rows, 3, n, n + 2, out.data(), masks.data());
      auto expected = before;
      for (std::ptrdiff_t i = 0; i < 3; ++i) {
        for (std::ptrdiff_t f = 0; f < n; ++f) {
          expected[static_cast<std::size_t>(i * (n + 2) + f)] = static_cast<Acc>(rows[i][f]);
        }
      }
      CHECK(test::same_bits(out.copy(), expected));
      std::vector<In> in_order(X.begin() + 2 * n, X.end());
      in_order.insert(in_order.end(), X.begin(), X.begin() + 2 * n);
      CHECK(masks.copy() == masks_of(in_order, 3, n));
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_ragged_sizes<float>();
    test_ragged_sizes<double>();
    test::for_each_column([](auto in, auto acc) { test_widening<decltype(in), decltype(acc)>(); });
  });
  return test::report();
}
