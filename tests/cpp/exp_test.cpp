// exp and log of kernels/exp-inl.h: the scalar ones directly and densely, those of each instruction
// set through a softmax that shows bare exponentials. The promise is 2 ULP for both, with an FMA.
// clang-format off: the order matters.
#define FASTSOFTMAX_ISA_NAMESPACE isa_of_the_test
#include "simd/scalar.h"
#include "kernels/exp-inl.h"
// clang-format on

#include <cmath>
#include <limits>

#include "data.h"
#include "for_each_isa.h"
#include "kernels/exp-inl.h"
#include "simd/scalar.h"

namespace {

using fastsoftmax::isa_of_the_test::Vec;
template <class T>
T scalar_exp(T x) {
  return fastsoftmax::isa_of_the_test::exp(Vec<T>{x}).v;
}
template <class T>
T scalar_log(T x) {
  return fastsoftmax::isa_of_the_test::log(x);
}

constexpr double kUlps = 2;
// Without an FMA each step of the polynomial rounds twice: 2.25 ULP at 5.25102f, the worst found.
constexpr double kUlpsWithoutFma = 2.3;

float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The spacing of the numbers of type T around |exact|.
template <class T, class Wide>
Wide ulp(Wide exact) {
  int exponent;
  std::frexp(exact, &exponent);
  const int lowest = std::numeric_limits<T>::min_exponent;
  return std::ldexp(Wide(1), std::max(exponent, lowest) - std::numeric_limits<T>::digits);
}

template <class T, class Wide>
bool is_close(T actual, Wide exact, double ulps = kUlps) {
  if (static_cast<T>(exact) == actual) return true;  // infinities too
  return std::abs(static_cast<Wide>(actual) - exact) <= static_cast<Wide>(ulps) * ulp<T>(exact);
}

// Every 97th float from +-0 to beyond both ends of the range, where exp is 0, subnormal or
// infinite.
void test_exp_of_floats() {
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    for (std::uint32_t bits = 0; bits < bits_of(120.0f); bits += 97) {
      const float x = float_of(sign | bits);
      const float y = scalar_exp(x);
      const double exact = std::exp(static_cast<double>(x));
      if (!is_close(y, exact, kUlpsWithoutFma)) CHECK_NEAR(y, exact, 0);
    }
    for (std::uint32_t bits = bits_of(120.0f); bits < 0x7f800000; bits += 9973) {
      CHECK_EQ(scalar_exp(float_of(sign | bits)), sign ? 0.0f : HUGE_VALF);
    }
  }
}

void test_exp_of_doubles() {
  test::Random random(1);
  for (const double range : {1e-3, 1.0, 40.0, 760.0}) {
    for (int i = 0; i < 50000; ++i) {
      const double x = random.uniform(-range, range);
      const double y = scalar_exp(x);
      if (!is_close(y, std::exp(static_cast<long double>(x)))) CHECK_NEAR(y, std::exp(x), 0);
    }
  }
}

template <class T>
void test_exp_of_special_values() {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  CHECK_EQ(scalar_exp(T(0)), T(1));
  CHECK_EQ(scalar_exp(-T(0)), T(1));
  CHECK_EQ(scalar_exp(infinity), infinity);
  CHECK_EQ(scalar_exp(-infinity), T(0));
  CHECK_EQ(scalar_exp(std::numeric_limits<T>::max()), infinity);
  CHECK_EQ(scalar_exp(std::numeric_limits<T>::lowest()), T(0));
  CHECK(std::isnan(scalar_exp(std::numeric_limits<T>::quiet_NaN())));
}

// Sums of exponentials whose largest is 1 lie in [1, n].
void test_log_of_floats() {
  for (std::uint32_t bits = bits_of(1.0f); bits < 0x7f800000; bits += 97) {
    const float x = float_of(bits);
    const float y = scalar_log(x);
    if (!is_close(y, std::log(static_cast<double>(x)))) CHECK_NEAR(y, std::log(double{x}), 0);
  }
}

void test_log_of_doubles() {
  test::Random random(2);
  for (const double range : {1e-12, 1e-3, 1.0, 40.0, 700.0}) {
    for (int i = 0; i < 40000; ++i) {
      const double x = std::max(1.0, std::exp(random.uniform(0, range)));
      const double y = scalar_log(x);
      if (!is_close(y, std::log(static_cast<long double>(x)))) CHECK_NEAR(y, std::log(x), 0);
    }
  }
}

template <class T>
void test_log_of_special_values() {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  CHECK_EQ(scalar_log(T(0)), -infinity);
  CHECK_EQ(scalar_log(T(1)), T(0));
  CHECK_EQ(scalar_log(infinity), infinity);
  CHECK(std::isnan(scalar_log(std::numeric_limits<T>::quiet_NaN())));
  // Exponentials of rows whose maximum was not finite may sum up to less than 1.
  for (int e = -100; e < 0; ++e) {
    const T x = std::ldexp(T(1.25), e);
    CHECK(is_close(scalar_log(x), std::log(static_cast<long double>(x))));
  }
}

// softmax([0, x, .., x']) is exp of each where all but the 0 are so small that the sum rounds to 1:
// 40 numbers of e^-50 are 8e-21. Sizes around the vectors put the numbers into every lane and tail.
template <class T>
void test_exp_of_each_isa() {
  const double lowest = sizeof(T) == 4 ? -106 : -750;
  const T infinity = std::numeric_limits<T>::infinity();
  const double ulps = fastsoftmax::active_isa() == "scalar" ? kUlpsWithoutFma : kUlps;
  for (std::ptrdiff_t n = 2; n <= 40; ++n) {
    test::set_context("", sizeof(T) == 4 ? "f32" : "f64", n);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      std::vector<T> x = test::uniform<T>(n, seed, lowest, -50);
      x[seed % x.size()] = -infinity;
      x[(seed + 1) % x.size()] = 0;
      std::vector<T> probs(x.size());
      fastsoftmax::arithmetic_kernels<T>().softmax(x.data(), 1, n, probs.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const auto exact = std::exp(static_cast<long double>(x[i]));
        if (!is_close(probs[i], exact, ulps)) CHECK_NEAR(probs[i], exact, 0);
      }
      CHECK_EQ(probs[(seed + 1) % x.size()], T(1));
    }
  }
}

}  // namespace

int main() {
  test_exp_of_floats();
  test_exp_of_doubles();
  test_exp_of_special_values<float>();
  test_exp_of_special_values<double>();
  test_log_of_floats();
  test_log_of_doubles();
  test_log_of_special_values<float>();
  test_log_of_special_values<double>();
  test::for_each_isa([] {
    test_exp_of_each_isa<float>();
    test_exp_of_each_isa<double>();
  });
  return test::report();
}
