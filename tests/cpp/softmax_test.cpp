// The softmax, log_softmax and logsumexp kernels of every instruction set against the reference.
//
// Tolerances, u = kEps / 2 the error of one rounding, r = |x - m| of the entry: x - m is rounded,
// which moves exp by the factor 1 +- u r; exp adds 2 ULP = 4 u; the sum of n terms adds (n - 1) u,
// the terms of it r exp(-r) u <= u / e each; two more roundings. Relative, in kEps: r + n + 5 is an
// upper bound for softmax with something to spare for the reference, whose errors have the same
// form in double. The log of the sum inherits the relative error of the sum as an absolute one, and
// adds its 2 ULP.
#include <algorithm>
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
std::vector<double> row_of(const std::vector<T>& x, std::ptrdiff_t i, std::ptrdiff_t n) {
  return {x.begin() + i * n, x.begin() + (i + 1) * n};
}

// double to T and back, so that what overflows in T does in the expectation.
template <class T>
double as(double x) {
  return static_cast<double>(static_cast<T>(x));
}

template <class T>
struct Results {
  std::vector<T> softmax, log_softmax, logsumexp;
};

template <class T>
void check_row(const std::vector<double>& x, const Results<T>& actual, std::ptrdiff_t i) {
  const auto n = static_cast<std::ptrdiff_t>(x.size());
  const double size = static_cast<double>(n), m = reference::shift(x);
  const auto softmax = reference::softmax(x), log_softmax = reference::log_softmax(x);
  const double log_sum = std::abs(reference::log_sum(x));
  for (std::ptrdiff_t j = 0; j < n; ++j) {
    const auto at = static_cast<std::size_t>(i * n + j), in_row = static_cast<std::size_t>(j);
    const double r = std::abs(x[in_row] - m), p = softmax[in_row];
    CHECK_NEAR(actual.softmax[at], p, kEps<T> * (p > 0 ? (r + size + 5) * p : 0) + 3 * kTiny<T>);
    CHECK_NEAR(actual.log_softmax[at], as<T>(log_softmax[in_row]),
               kEps<T> * (2 * r + 3 * log_sum + size + 5));
  }
  CHECK_NEAR(actual.logsumexp[static_cast<std::size_t>(i)], as<T>(reference::logsumexp(x)),
             kEps<T> * (std::abs(m) + 3 * log_sum + size + 5));
}

// Written past the cache, wherever the first row begins in a cache line: the same bits.
template <class T>
void check_streamed(const std::vector<T>& x, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                    const Results<T>& expected) {
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
  const auto most = fastsoftmax::kLongRowBytes / static_cast<std::ptrdiff_t>(sizeof(T));
  Guarded<T> scratch(std::min(n, most), Side::kEnd);
  for (const std::ptrdiff_t shift : {0, 1, 3}) {
    Guarded<T> out(n_rows * n + shift, Side::kBegin), log_out(n_rows * n + shift, Side::kEnd);
    kernels.softmax_streamed(x.data(), n_rows, n, scratch.data(), out.data() + shift);
    kernels.log_softmax_streamed(x.data(), n_rows, n, log_out.data() + (shift > 1 ? shift : 0));
    auto probs = out.copy(), log_probs = log_out.copy();
    probs.erase(probs.begin(), probs.begin() + shift);
    log_probs.erase(log_probs.begin() + (shift > 1 ? 0 : n_rows * n),
                    shift > 1 ? log_probs.begin() + shift : log_probs.end());
    CHECK(test::same_bits(probs, expected.softmax));
    CHECK(test::same_bits(log_probs, expected.log_softmax));
  }
}

// Runs the three kernels, each in place too, which must give the same bits.
template <class T>
Results<T> run(const std::vector<T>& x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Side side) {
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
  Guarded<T> in(x, side), out(n_rows * n, side), log_out(n_rows * n, side), sums(n_rows, side);
  kernels.softmax(in.data(), n_rows, n, out.data());
  kernels.log_softmax(in.data(), n_rows, n, log_out.data());
  kernels.logsumexp(in.data(), n_rows, n, sums.data());
  CHECK(test::same_bits(in.copy(), x));
  const Results<T> results{out.copy(), log_out.copy(), sums.copy()};
  Guarded<T> same(x, side), log_same(x, side);
  kernels.softmax(same.data(), n_rows, n, same.data());
  kernels.log_softmax(log_same.data(), n_rows, n, log_same.data());
  CHECK(test::same_bits(same.copy(), results.softmax));
  CHECK(test::same_bits(log_same.copy(), results.log_softmax));
  check_streamed(x, n_rows, n, results);
  return results;
}

template <class T>
void check(const std::vector<T>& x, std::ptrdiff_t n_rows, std::ptrdiff_t n) {
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    const Results<T> results = run(x, n_rows, n, side);
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) check_row(row_of(x, i, n), results, i);
  }
}

// Entries in +-20, so each of n exponentials is off by some 30 u, their sum, in 8 or more parts of
// which each is off by u for a term, by n u / 8 at most; random errors grow as the root of that.
template <class T>
void check_long_row(const std::vector<T>& x) {
  const auto n = static_cast<std::ptrdiff_t>(x.size());
  const Results<T> actual = run(x, 1, n, Side::kEnd);
  const auto row = row_of(x, 0, n);
  const double relative = kEps<T> * (40 + 4 * std::sqrt(static_cast<double>(n)));
  const auto softmax = reference::softmax(row), log_softmax = reference::log_softmax(row);
  for (std::size_t j = 0; j < row.size(); ++j) {
    CHECK_NEAR(actual.softmax[j], softmax[j], relative * softmax[j] + 3 * kTiny<T>);
    CHECK_NEAR(actual.log_softmax[j], log_softmax[j], 2 * relative);
  }
  CHECK_NEAR(actual.logsumexp[0], reference::logsumexp(row), 2 * relative);
}

template <class T>
void test_ragged_sizes(const char* name) {
  std::vector<std::ptrdiff_t> sizes = {100, 257, 1000};
  for (std::ptrdiff_t n = 0; n <= 70; ++n) sizes.push_back(n);
  for (const std::ptrdiff_t n : sizes) {
    for (const std::ptrdiff_t n_rows : {0, 1, 3, 17}) {
      test::set_context("softmax", name, n_rows, n);
      const auto seed = static_cast<std::uint64_t>(n_rows * 1000 + n);
      for (const double range : {1.0, 30.0, sizeof(T) == 4 ? 200.0 : 1500.0}) {
        check(test::uniform<T>(n_rows * n, seed, -range, range), n_rows, n);
      }
    }
  }
}

// A row has the same bits alone as among others.
template <class T>
void test_rows_alone(const char* name) {
  for (const std::ptrdiff_t n : {1, 2, 10, 31, 32, 33, 100}) {
    test::set_context("softmax alone", name, n);
    const auto x = test::uniform<T>(37 * n, 5, -9, 9);
    const auto all = run(x, 37, n, Side::kEnd);
    for (std::ptrdiff_t i = 0; i < 37; ++i) {
      const auto alone = run<T>({x.begin() + i * n, x.begin() + (i + 1) * n}, 1, n, Side::kEnd);
      const auto begin = all.softmax.begin() + i * n, log_begin = all.log_softmax.begin() + i * n;
      CHECK(test::same_bits(alone.softmax, std::vector<T>(begin, begin + n)));
      CHECK(test::same_bits(alone.log_softmax, std::vector<T>(log_begin, log_begin + n)));
      CHECK(test::same_bits(alone.logsumexp, {all.logsumexp[static_cast<std::size_t>(i)]}));
    }
  }
}

// Rows that are read twice, in blocks: the largest number early, late, in a block of its own.
template <class T>
void test_long_rows(const char* name) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  const auto longest = fastsoftmax::kLongRowBytes / static_cast<std::ptrdiff_t>(sizeof(T));
  for (const std::ptrdiff_t n : {longest, longest + 1, longest + 2048, longest + 4099}) {
    test::set_context("softmax long", name, n);
    auto x = test::uniform<T>(n, 11, -20, -10);
    for (const std::ptrdiff_t at : {std::ptrdiff_t{0}, n / 2, n - 1}) {
      for (const T value : {T(5), infinity, -infinity, nan}) {
        auto row = x;
        row[static_cast<std::size_t>(at)] = value;
        check_long_row(row);
      }
    }
    std::fill(x.begin(), x.begin() + n / 2, -infinity);
    check_long_row(x);
    x.front() = nan;
    check_long_row(x);
    check_long_row(std::vector<T>(x.size(), -infinity));
  }
}

// Every pair and place of special values, among ordinary ones.
template <class T>
void test_special_values(const char* name) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr T big = std::numeric_limits<T>::max(), nan = std::numeric_limits<T>::quiet_NaN();
  const T special[] = {infinity, -infinity, nan, T(1e38), T(-1e38), big, -big, T(0), -T(0)};
  for (const std::ptrdiff_t n : {1, 2, 5, 9, 17, 35}) {
    for (const T a : special) {
      for (const T b : special) {
        test::set_context("softmax", name, n, a, b);
        std::vector<T> x(static_cast<std::size_t>(n), a);
        check(x, 1, n);  // nothing else in the row
        x = test::uniform<T>(n, 3);
        x.front() = a;
        x.back() = b;
        check(x, 1, n);
        x[x.size() / 2] = b;
        check(x, 1, n);
      }
    }
  }
}

// The largest sum of weights may not overflow, nor the smallest vanish: [big, big, .., big].
template <class T>
void test_equal_entries(const char* name) {
  for (const std::ptrdiff_t n : {1, 10, 1000}) {
    for (const T value : {std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest(), T(0)}) {
      test::set_context("softmax equal", name, n);
      check(std::vector<T>(static_cast<std::size_t>(n), value), 1, n);
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_ragged_sizes<float>("f32");
    test_ragged_sizes<double>("f64");
    test_special_values<float>("f32");
    test_special_values<double>("f64");
    test_rows_alone<float>("f32");
    test_rows_alone<double>("f64");
    test_long_rows<float>("f32");
    test_long_rows<double>("f64");
    test_equal_entries<float>("f32");
    test_equal_entries<double>("f64");
  });
  return test::report();
}
