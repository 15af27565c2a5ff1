// The cross-entropy kernel of every instruction set against the reference.
//
// Tolerances as in softmax_test.cpp, in kEps: the loss is a log_softmax times a weight; the
// gradient is (softmax - onehot) times a scale, with one more rounding of the scale itself and, at
// the label, one of the difference.
#include <cstring>
#include <limits>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "reference.h"

namespace {

using test::Guarded;
using test::kEps;
using test::kTiny;
using test::Side;

template <class T>
struct Case {
  std::ptrdiff_t n_rows, n;
  std::vector<T> logits, weights;  // no weights: null
  std::vector<std::int64_t> labels;
  T gradient_scale;
};

template <class T>
void check_row(const Case<T>& c, std::ptrdiff_t i, const std::vector<T>& losses,
               const std::vector<T>& dlogits) {
  const auto row = static_cast<std::size_t>(i);
  const std::vector<double> z(c.logits.begin() + i * c.n, c.logits.begin() + (i + 1) * c.n);
  const double weight = c.weights.empty() ? 1.0 : static_cast<double>(c.weights[row]);
  const double scale = std::abs(weight * static_cast<double>(c.gradient_scale));
  const double size = static_cast<double>(c.n), m = reference::shift(z);
  const double log_sum = std::abs(reference::log_sum(z));
  const auto label = static_cast<std::size_t>(c.labels[row]);
  const double expected = weight * reference::cross_entropy(z, c.labels[row]);
  CHECK_NEAR(losses[row], static_cast<T>(expected),
             kEps<T> * std::abs(weight) * (2 * std::abs(z[label] - m) + 4 * log_sum + size + 6));
  const auto softmax = reference::softmax(z);
  const auto gradient = reference::cross_entropy_gradient(z, c.labels[row]);
  for (std::size_t j = 0; j < z.size(); ++j) {
    const double of_softmax = softmax[j] > 0 ? (std::abs(z[j] - m) + size + 7) * softmax[j] : 0.0;
    const double bound = of_softmax + (j == label ? 2 : 0);
    CHECK_NEAR(dlogits[row * z.size() + j], weight * c.gradient_scale * gradient[j],
               kEps<T> * scale * bound + 3 * kTiny<T>);
  }
}

// The kernel for two classes of which the first has the logit zero: two parts, scaled and shifted,
// in rows of three models, of which the one in the middle is asked for and alone touched.
template <class T>
void check_logistic(const Case<T>& c) {
  const std::ptrdiff_t stride = 3, size = c.n_rows * stride;
  const auto filled = [&] { return std::vector<T>(static_cast<std::size_t>(2 * size), T(7)); };
  std::vector<T> parts = filled(), dlogits = filled(), b{T(5), T(0.25), T(5)};
  std::vector<T> losses(static_cast<std::size_t>(c.n_rows));
  Case<T> pairs = c;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    const T z = c.logits[static_cast<std::size_t>(2 * i + 1)];
    parts[static_cast<std::size_t>(i * stride + 1)] = z;
    parts[static_cast<std::size_t>(size + i * stride + 1)] = z / 2;
    pairs.logits[static_cast<std::size_t>(2 * i)] = 0;
    // Rounded as it may be, the logit is within two roundings of this.
    pairs.logits[static_cast<std::size_t>(2 * i + 1)] = T(0.5) * (z + z / 2) + T(0.25);
  }
  const auto run = [&](std::ptrdiff_t first, std::ptrdiff_t n_rows, T* d, T* to) {
    fastsoftmax::arithmetic_kernels<T>().logistic_of_parts(
        {parts.data() + first * stride + 1, 2, size, stride, stride, n_rows, 1, T(0.5),
         b.data() + 1, c.labels.data() + first,
         c.weights.empty() ? nullptr : c.weights.data() + first, c.gradient_scale, d + 1, to,
         false});
  };
  run(0, c.n_rows, dlogits.data(), losses.data());
  std::vector<T> gradient;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    const T d = dlogits[static_cast<std::size_t>(i * stride + 1)];
    gradient.insert(gradient.end(), {-d, d});
    CHECK_EQ(dlogits[static_cast<std::size_t>(i * stride)], T(7));
    CHECK_EQ(dlogits[static_cast<std::size_t>(i * stride + 2)], T(7));
    check_row(pairs, i, losses, gradient);
  }
  // A row has the same bits alone as among others: threads may share the rows in any way.
  std::vector<T> alone = filled(), losses_alone(losses.size());
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    run(i, 1, alone.data() + i * stride, losses_alone.data() + i);
  }
  CHECK(test::same_bits(losses_alone, losses));
  CHECK(test::same_bits(alone, dlogits));
}

// Infinite logits: one loss is zero, the other infinite; NaN stays NaN.
template <class T>
void test_infinite_logit(const char* name) {
  test::set_context("logistic", name);
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  const std::vector<T> z{infinity, infinity, -infinity, -infinity, nan, nan}, b{T(0)};
  const std::vector<std::int64_t> labels{0, 1, 0, 1, 0, 1};
  std::vector<T> d(6), losses(6);
  fastsoftmax::arithmetic_kernels<T>().logistic_of_parts({z.data(), 1, 0, 1, 1, 6, 1, T(1),
                                                          b.data(), labels.data(), nullptr, T(1),
                                                          d.data(), losses.data(), false});
  const std::vector<double> expected{infinity, 0, 0, infinity, nan, nan},
      slope{1, 0, 0, -1, nan, nan};
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK_NEAR(losses[i], expected[i], 0);
    CHECK_NEAR(d[i], slope[i], 0);
  }
}

// The logits cut into two parts, scaled and shifted, in rows without a gap, dlogits in padded ones:
// the same numbers come out where the parts add up without rounding, and the same bits for each row
// by itself.
template <class T>
void check_parts(const Case<T>& c, bool few_rows) {
  const std::ptrdiff_t stride = (c.n + 15) / 16 * 16, size = c.n_rows * stride;
  const std::ptrdiff_t part = c.n_rows * c.n + 64;  // whole vectors are read
  std::vector<T> parts(static_cast<std::size_t>(2 * part)), b(static_cast<std::size_t>(stride));
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t j = 0; j < c.n; ++j) {
      const T z = c.logits[static_cast<std::size_t>(i * c.n + j)];
      // z = (z / 2 + z / 2) * 1 + 0, without rounding but for the smallest numbers.
      parts[static_cast<std::size_t>(i * c.n + j)] = z / 2;
      parts[static_cast<std::size_t>(part + i * c.n + j)] = z / 2;
    }
  }
  const auto run = [&](std::ptrdiff_t first, std::ptrdiff_t n_rows, T* dlogits, T* losses) {
    fastsoftmax::arithmetic_kernels<T>().cross_entropy_of_parts(
        {parts.data() + first * c.n, 2, part, c.n, stride, n_rows, c.n, T(1), b.data(),
         c.labels.data() + first, c.weights.empty() ? nullptr : c.weights.data() + first,
         c.gradient_scale, dlogits, losses, few_rows});
  };
  std::vector<T> dlogits(static_cast<std::size_t>(size)),
      losses(static_cast<std::size_t>(c.n_rows));
  run(0, c.n_rows, dlogits.data(), losses.data());
  std::vector<T> gradient;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    gradient.insert(gradient.end(), dlogits.begin() + i * stride,
                    dlogits.begin() + i * stride + c.n);
  }
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) check_row(c, i, losses, gradient);
  std::vector<T> alone(dlogits.size()), losses_alone(losses.size());
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    run(i, 1, alone.data() + i * stride, losses_alone.data() + i);
  }
  CHECK(test::same_bits(losses_alone, losses));
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t j = 0; j < c.n; ++j) {
      const auto at = static_cast<std::size_t>(i * stride + j);
      CHECK(std::memcmp(&alone[at], &dlogits[at], sizeof(T)) == 0);
    }
  }

  std::vector<T> sums(static_cast<std::size_t>(stride), T(0.5));
  fastsoftmax::arithmetic_kernels<T>().add_rows(dlogits.data(), stride, c.n_rows, c.n, sums.data());
  for (std::ptrdiff_t j = 0; j < c.n; ++j) {
    double sum = 0.5, magnitude = 0.5;
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      const auto value = static_cast<double>(dlogits[static_cast<std::size_t>(i * stride + j)]);
      sum += value;
      magnitude += std::abs(value);
    }
    CHECK_NEAR(sums[static_cast<std::size_t>(j)], sum,
               kEps<T> * static_cast<double>(c.n_rows + 1) * magnitude);
  }
}

// By both kernels, with a gradient and without one; of two classes by the third, too.
template <class T>
void check_certain(const Case<T>& c, const std::vector<double>& expected, double margin) {
  const std::ptrdiff_t stride = (c.n + 15) / 16 * 16;
  std::vector<T> padded(static_cast<std::size_t>(c.n_rows * stride)), b(padded.size());
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    std::copy_n(c.logits.begin() + i * c.n, c.n, padded.begin() + i * stride);
  }
  const T* weights = c.weights.empty() ? nullptr : c.weights.data();
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
  const auto check = [&](const std::vector<T>& losses, const std::vector<T>& d,
                         std::ptrdiff_t row_stride, std::ptrdiff_t n) {
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      const auto row = static_cast<std::size_t>(i);
      const double weight = weights ? static_cast<double>(weights[i]) : 1.0;
      const double rounding = kEps<T> * (margin + static_cast<double>(c.n) + 12);
      CHECK_NEAR(losses[row], weight * expected[row], rounding * weight * expected[row]);
      if (d.empty()) continue;
      const std::int64_t y = c.labels[row];
      const double sign = n == 1 && y == 0 ? 1.0 : -1.0;
      const double slope = sign * weight * c.gradient_scale * -std::expm1(-expected[row]);
      CHECK_NEAR(d[static_cast<std::size_t>(i * row_stride + (n == 1 ? 0 : y))], slope,
                 rounding * std::abs(slope));
    }
  };
  std::vector<T> losses(static_cast<std::size_t>(c.n_rows)), d(c.logits.size()), of_parts(padded);
  kernels.cross_entropy(c.logits.data(), c.n_rows, c.n, c.labels.data(), weights, c.gradient_scale,
                        d.data(), losses.data());
  check(losses, d, c.n, c.n);
  kernels.cross_entropy(c.logits.data(), c.n_rows, c.n, c.labels.data(), weights, c.gradient_scale,
                        nullptr, losses.data());
  check(losses, {}, c.n, c.n);
  kernels.cross_entropy_of_parts({padded.data(), 1, 0, stride, stride, c.n_rows, c.n, T(1),
                                  b.data(), c.labels.data(), weights, c.gradient_scale,
                                  of_parts.data(), losses.data(), false});
  check(losses, of_parts, stride, c.n);
  if (c.n != 2) return;
  std::vector<T> differences;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    differences.push_back(c.logits[static_cast<std::size_t>(2 * i + 1)] -
                          c.logits[static_cast<std::size_t>(2 * i)]);
  }
  std::vector<T> slopes(differences);
  kernels.logistic_of_parts({differences.data(), 1, 0, 1, 1, c.n_rows, 1, T(1), b.data(),
                             c.labels.data(), weights, c.gradient_scale, slopes.data(),
                             losses.data(), false});
  check(losses, slopes, 1, 1);
}

template <class T>
void check(const Case<T>& c) {
  check_parts(c, false);
  check_parts(c, true);
  const auto& kernel = fastsoftmax::arithmetic_kernels<T>().cross_entropy;
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    Guarded<T> logits(c.logits, side), weights(c.weights, side);
    Guarded<T> losses(c.n_rows, side), dlogits(c.n_rows * c.n, side);
    Guarded<std::int64_t> labels(c.labels, side);
    const T* w = c.weights.empty() ? nullptr : weights.data();
    const auto run = [&](T* out) {
      kernel(logits.data(), c.n_rows, c.n, labels.data(), w, c.gradient_scale, out, losses.data());
      return losses.copy();
    };
    const auto with_gradient = run(dlogits.data());
    CHECK(test::same_bits(logits.copy(), c.logits));
    const auto gradient = dlogits.copy();
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) check_row(c, i, with_gradient, gradient);
    CHECK(test::same_bits(run(nullptr), with_gradient));
    CHECK(test::same_bits(run(logits.data()), with_gradient));  // in place
    CHECK(test::same_bits(logits.copy(), dlogits.copy()));
  }
  // Infinite logits have a loss of their own there.
  if (c.n == 2 && (c.logits.empty() || std::isfinite(c.logits.back()))) check_logistic(c);
}

template <class T>
Case<T> make_case(std::ptrdiff_t n_rows, std::ptrdiff_t n, double range, bool weighted) {
  const auto seed = static_cast<std::uint64_t>(n_rows * 1000 + n);
  return {n_rows,
          n,
          test::uniform<T>(n_rows * n, seed, -range, range),
          weighted ? test::uniform<T>(n_rows, seed, 0, 3) : std::vector<T>(),
          test::labels(n_rows, n, seed),
          T(1) / static_cast<T>(n_rows + 1)};
}

template <class T>
void test_ragged_sizes(const char* name) {
  std::vector<std::ptrdiff_t> sizes = {100, 257};
  for (std::ptrdiff_t n = 1; n <= 40; ++n) sizes.push_back(n);
  for (const std::ptrdiff_t n : sizes) {
    for (const std::ptrdiff_t n_rows : {0, 1, 2, 3, 4, 5, 9, 33}) {
      test::set_context("cross_entropy", name, n_rows, n);
      check(make_case<T>(n_rows, n, 2, n_rows % 2 == 0));
      check(make_case<T>(n_rows, n, sizeof(T) == 4 ? 120 : 800, n_rows % 2 == 1));
    }
  }
}

template <class T>
void test_special_values(const char* name) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  for (const std::ptrdiff_t n : {1, 2, 5, 8, 9, 17}) {
    for (const T special : {infinity, -infinity, nan, T(1e38), T(-1e38)}) {
      for (std::int64_t label = 0; label < n; ++label) {
        test::set_context("cross_entropy special", name, n, special, label);
        Case<T> c = make_case<T>(1, n, 1, false);
        c.labels[0] = label;
        c.logits.back() = special;
        check(c);
        c.logits.assign(c.logits.size(), special);
        check(c);
      }
    }
  }
}

// Of two classes one's gradient is exactly the other's negative, so that weights which start as
// each other's negatives stay so.
template <class T>
void test_two_classes(const char* name) {
  test::set_context("cross_entropy two classes", name);
  const Case<T> c = make_case<T>(200, 2, 30, true);
  std::vector<T> losses(200), d(400);
  fastsoftmax::arithmetic_kernels<T>().cross_entropy(c.logits.data(), 200, 2, c.labels.data(),
                                                     c.weights.data(), c.gradient_scale, d.data(),
                                                     losses.data());
  for (std::size_t i = 0; i < 400; i += 2) CHECK_EQ(d[i], -d[i + 1]);
}

// Where the label is nearly certain its loss, and the gradient in its logit, have all their digits:
// the others' exponentials are what they are made of.
template <class T>
void test_nearly_certain(const char* name) {
  for (const std::ptrdiff_t n : {2, 3, 8, 10, 17, 33, 64, 65, 100, 1000}) {
    for (const double margin : {4.0, 12.0, 30.0, 60.0, 80.0}) {
      test::set_context("cross_entropy nearly certain", name, n, margin);
      Case<T> c = make_case<T>(9, n, 1, n % 2 == 0);
      std::vector<double> losses;
      for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
        T& own = c.logits[static_cast<std::size_t>(i * n + c.labels[static_cast<std::size_t>(i)])];
        own = static_cast<T>(margin);
        long double others = 0.0L;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
          const T z = c.logits[static_cast<std::size_t>(i * n + j)];
          others += j == c.labels[static_cast<std::size_t>(i)]
                        ? 0.0L
                        : std::exp(static_cast<long double>(z) - static_cast<long double>(own));
        }
        losses.push_back(static_cast<double>(std::log1p(others)));
      }
      check_certain(c, losses, margin);
    }
  }
}

// A weight of 0 takes its row out, and each weight goes with its own row.
template <class T>
void test_zero_weight(const char* name) {
  test::set_context("cross_entropy zero weight", name);
  Case<T> c = make_case<T>(3, 10, 1, true);
  c.weights = {T(1), T(0), T(2)};
  check(c);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_ragged_sizes<float>("f32");
    test_ragged_sizes<double>("f64");
    test_special_values<float>("f32");
    test_special_values<double>("f64");
    test_zero_weight<float>("f32");
    test_zero_weight<double>("f64");
    test_nearly_certain<float>("f32");
    test_nearly_certain<double>("f64");
    test_two_classes<float>("f32");
    test_two_classes<double>("f64");
    test_infinite_logit<float>("f32");
    test_infinite_logit<double>("f64");
  });
  return test::report();
}
