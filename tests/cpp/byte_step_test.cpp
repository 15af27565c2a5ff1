// The kernels of training on bytes: against naive sums in float64; however rows and features are
// shared out, the very same bits. Machines without tiles have nothing to test.
//
// Tolerances: an integer is off by half of one in 8.3 million, the largest number of its class; the
// sums of integers by nothing; the scales, three digits made one float and the step by eight
// roundings of the sum of the sizes, with the largest number in place of each.
#include <algorithm>
#include <cstdio>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "weight_step.h"

namespace {

using fastsoftmax::ByteLogits;
using fastsoftmax::ByteSlice;
using fastsoftmax::ByteUpdate;
using test::Guarded;
using test::kEps;
using test::kRules;
using test::Rule;
using test::Side;

constexpr std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return (n + unit - 1) / unit * unit;
}

// A slice that begins after `first` features of the rows.
struct Case {
  std::ptrdiff_t n_rows, first, d, K, row_bytes, digit_stride, stride;  // of dlogits
  std::vector<std::uint8_t> X;
  std::vector<float> W, velocity, dlogits;  // W (K, d)

  Case(std::ptrdiff_t rows, std::ptrdiff_t first_feature, std::ptrdiff_t features,
       std::ptrdiff_t classes)
      : n_rows(rows),
        first(first_feature),
        d(features),
        K(classes),
        row_bytes(round_up(d, 64)),
        digit_stride(round_up(3 * K + 1, 16) * 4),
        stride(round_up(K, 16)) {
    const auto seed = static_cast<std::uint64_t>(rows * 10000 + features * 100 + classes);
    X = test::with_gaps<std::uint8_t>(rows * (first + d), seed);
    W = test::uniform<float>(K * d, seed + 2);
    velocity = test::uniform<float>(K * d, seed + 3);
    dlogits = test::uniform<float>(rows * stride, seed + 4);
    // Classes of very different sizes, and one of zeros.
    for (std::ptrdiff_t c = 0; c < K; ++c) {
      const float size = c == 1 ? 0.0f : std::ldexp(1.0f, static_cast<int>(c % 5 * 9 - 18));
      for (std::ptrdiff_t f = 0; f < d; ++f) at(W, c * d + f) *= size;
      for (std::ptrdiff_t i = 0; i < rows; ++i) at(dlogits, i * stride + c) *= size;
    }
  }
  template <class T>
  static T& at(std::vector<T>& values, std::ptrdiff_t i) {
    return values[static_cast<std::size_t>(i)];
  }
  template <class T>
  static double at(const std::vector<T>& values, std::ptrdiff_t i) {
    return static_cast<double>(values[static_cast<std::size_t>(i)]);
  }
  double x(std::ptrdiff_t i, std::ptrdiff_t f) const { return at(X, i * (first + d) + first + f); }
  double largest_w(std::ptrdiff_t c) const {
    double m = 0;
    for (std::ptrdiff_t f = 0; f < d; ++f) m = std::max(m, std::abs(at(W, c * d + f)));
    return m;
  }

  // Where a weight lies: vectors of 16 features, which in a block of 64 take four of each quarter.
  std::size_t place(std::ptrdiff_t f, std::ptrdiff_t c) const {
    const std::ptrdiff_t block = f / 64, quarter = f % 64 / 16, vector = f % 16 / 4, i = f % 4;
    return static_cast<std::size_t>(((block * 4 + vector) * K + c) * 16 + quarter * 4 + i);
  }
  std::vector<float> pack(const std::vector<float>& values) const {
    std::vector<float> packed(static_cast<std::size_t>(row_bytes * K), 0.0f);
    for (std::ptrdiff_t c = 0; c < K; ++c) {
      for (std::ptrdiff_t f = 0; f < d; ++f) {
        packed[place(f, c)] = values[static_cast<std::size_t>(c * d + f)];
      }
    }
    return packed;
  }
};

// What the kernels read and write, between pages that nobody may touch. Tiles and whole vectors lie
// on cache lines, so the guarded sizes are multiples of these.
struct Arrays {
  Guarded<std::uint8_t> X, by_row, by_feature;
  std::vector<const std::uint8_t*> rows;

  Arrays(const Case& c, Side side)
      : X(c.X, side),
        by_row(32 * c.row_bytes, side),
        by_feature(2 * round_up(c.n_rows, 64) * 64, side) {
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) rows.push_back(X.data() + i * (c.first + c.d));
  }
  ByteSlice slice(const Case& c, std::ptrdiff_t begin, std::ptrdiff_t end) const {
    return {rows.data() + begin,    end - begin, c.first, c.d, c.K, c.row_bytes,
            {rows.data(), c.n_rows}};
  }
};

std::vector<float> run_logits(const Case& c, Side side, std::ptrdiff_t turn) {
  const auto& kernels = fastsoftmax::kernels().bytes;
  Arrays arrays(c, side);
  Guarded<float> W(c.pack(c.W), side), sums(c.n_rows * c.K, side), per_unit(c.K, side);
  Guarded<std::uint8_t> digits(c.row_bytes / 4 * c.digit_stride, side);
  kernels.split_weights({W.data(), c.d, c.K, c.digit_stride, digits.data(), per_unit.data()});
  for (std::ptrdiff_t i = 0; i < c.n_rows; i += turn) {
    ByteLogits a{};
    static_cast<ByteSlice&>(a) = arrays.slice(c, i, std::min(c.n_rows, i + turn));
    a.digits = digits.data();
    a.digit_stride = c.digit_stride;
    a.per_unit = per_unit.data();
    a.by_row = arrays.by_row.data();
    a.sums = sums.data() + i * c.K;
    a.row_stride = c.K;
    kernels.logits(a);
  }
  return sums.copy();
}

void check_logits(const Case& c) {
  const std::vector<float> sums = run_logits(c, Side::kEnd, c.n_rows);
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    const double largest = c.largest_w(k);
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      double sum = 0, size = 0;
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        sum += c.x(i, f) * Case::at(c.W, k * c.d + f);
        size += c.x(i, f) * largest;
      }
      CHECK_NEAR(sums[static_cast<std::size_t>(i * c.K + k)], sum, 8 * kEps<float> * size);
    }
  }
  CHECK(test::same_bits(run_logits(c, Side::kBegin, c.n_rows), sums));
  CHECK(test::same_bits(run_logits(c, Side::kEnd, 32), sums));
  CHECK(test::same_bits(run_logits(c, Side::kBegin, 5), sums));
}

struct Weights {
  std::vector<float> W, velocity;
};

// Some features at a time; if in chunks, the rows in two calls.
Weights run_update(const Case& c, const Rule& rule, Side side, std::ptrdiff_t turn) {
  Arrays arrays(c, side);
  Guarded<float> W(c.pack(c.W), side), velocity(c.pack(c.velocity), side);
  Guarded<float> gradient(c.row_bytes * c.K, side), dlogits(c.dlogits, side);
  const std::ptrdiff_t middle = rule.in_chunks ? c.n_rows / 2 : c.n_rows;
  for (std::ptrdiff_t f = 0; f < c.row_bytes; f += turn) {
    for (const bool first : {true, false}) {
      if (!first && middle == c.n_rows) continue;
      ByteUpdate a{};
      static_cast<ByteSlice&>(a) = arrays.slice(c, first ? 0 : middle, first ? middle : c.n_rows);
      test::set_rule(rule, first, !first || middle == c.n_rows, a);
      a.by_feature = arrays.by_feature.data();
      a.dlogits = dlogits.data() + (first ? 0 : middle) * c.stride;
      a.row_stride = c.stride;
      a.begin = f;
      a.end = std::min(c.row_bytes, f + turn);
      a.W = W.data();
      a.velocity = rule.momentum > 0 ? velocity.data() : nullptr;
      a.gradient = rule.in_chunks ? gradient.data() : nullptr;
      fastsoftmax::kernels().bytes.update(a);
    }
  }
  return {W.copy(), velocity.copy()};
}

void check_update(const Case& c, const Rule& rule) {
  const Weights after = run_update(c, rule, Side::kEnd, c.row_bytes);
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    double largest = 0;
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      largest = std::max(largest, std::abs(Case::at(c.dlogits, i * c.stride + k)));
    }
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      double gradient = 0, size = 0;
      for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
        gradient += c.x(i, f) * Case::at(c.dlogits, i * c.stride + k);
        size += c.x(i, f) * largest;
      }
      const auto from = static_cast<std::size_t>(k * c.d + f);
      test::check_moved<float>(rule, {c.W[from], c.velocity[from]}, gradient, size, 0,
                               {after.W[c.place(f, k)], after.velocity[c.place(f, k)]});
    }
  }
  for (const Side side : {Side::kBegin, Side::kEnd}) {
    const Weights again = run_update(c, rule, side, 64);
    CHECK(test::same_bits(again.W, after.W) && test::same_bits(again.velocity, after.velocity));
  }
}

// The largest sums there are, which must not overflow.
void test_largest() {
  Case c(256, 0, 300, 3);
  std::fill(c.X.begin(), c.X.end(), std::uint8_t{255});
  std::fill(c.W.begin(), c.W.end(), -1.0f);
  std::fill(c.dlogits.begin(), c.dlogits.end(), 1.0f);
  check_logits(c);
  for (const Rule& rule : kRules) check_update(c, rule);
}

// Numbers too small for a scale count as zeros; what is not finite makes every sum of its class so,
// wherever it is.
void test_extremes() {
  Case tiny(20, 0, 70, 4);
  for (float& w : tiny.W) w = 1e-35f;
  for (const float s : run_logits(tiny, Side::kEnd, 20)) CHECK_EQ(s, 0.0f);
  for (const float wrong : {INFINITY, -INFINITY, NAN, -NAN}) {
    for (std::ptrdiff_t f = 0; f < 130; ++f) {
      Case c(5, 0, 130, 4);
      Case::at(c.W, 2 * c.d + f) = wrong;
      const std::vector<float> sums = run_logits(c, Side::kEnd, c.n_rows);
      for (std::size_t i = 0; i < sums.size(); ++i) CHECK_EQ(std::isfinite(sums[i]), i % 4 != 2);
    }
    for (std::ptrdiff_t i = 0; i < 70; ++i) {
      Case c(70, 0, 64, 4);
      Case::at(c.dlogits, i * c.stride + 2) = wrong;
      const Weights after = run_update(c, kRules[0], Side::kEnd, c.row_bytes);
      for (std::ptrdiff_t k = 0; k < c.K; ++k) {
        for (std::ptrdiff_t f = 0; f < c.d; ++f) {
          CHECK_EQ(std::isfinite(after.W[c.place(f, k)]), k != 2);
        }
      }
    }
  }
}

void test_shapes() {
  int turn = 0;
  for (const std::ptrdiff_t K : {1, 3, 5, 6, 10, 11, 16, 17, 21, 26, 31}) {
    for (const std::ptrdiff_t d : {1, 15, 64, 65, 130, 400}) {
      for (const std::ptrdiff_t n_rows : {1, 3, 16, 17, 32, 64, 65, 100, 256}) {
        if (turn++ % 3 != K % 3) continue;  // a third of them
        const Case c(n_rows, turn % 2 * 7, d, K);
        test::set_context("u8", "f32", n_rows, d, K);
        check_logits(c);
        check_update(c, kRules[static_cast<std::size_t>(turn) % kRules.size()]);
      }
    }
  }
}

}  // namespace

int main() {
  bool any = false;
  test::for_each_isa([&] {
    if (!fastsoftmax::kernels().bytes.update) return;
    any = true;
    test_shapes();
    test_largest();
    test_extremes();
  });
  if (!any) std::puts("no tiles here: nothing tested");
  return test::report();
}
