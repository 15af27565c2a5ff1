// The functions of functions.h on whole arrays: the kernel's values in every row, the same bits for
// any number of threads, checks before anything is written. The values themselves: softmax_test,
// cross_entropy_test.
#include "fastsoftmax/functions.h"

#include <limits>
#include <stdexcept>

#include "cache_size.h"
#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "reference.h"

namespace {

using test::Guarded;
using test::Side;

template <class T>
struct Results {
  std::vector<T> softmax, log_softmax, logsumexp, losses, dlogits;
};

template <class T>
Results<T> run(const std::vector<T>& x, std::ptrdiff_t n_rows, std::ptrdiff_t n,
               const std::vector<std::int64_t>& labels, const T* weights, int n_threads) {
  const std::vector<T> full(x.size()), column(static_cast<std::size_t>(n_rows));
  Results<T> r{full, full, column, column, full};
  fastsoftmax::softmax(x.data(), n_rows, n, r.softmax.data(), n_threads);
  fastsoftmax::log_softmax(x.data(), n_rows, n, r.log_softmax.data(), n_threads);
  fastsoftmax::logsumexp(x.data(), n_rows, n, r.logsumexp.data(), n_threads);
  fastsoftmax::cross_entropy(x.data(), n_rows, n, labels.data(), weights, r.losses.data(),
                             r.dlogits.data(), n_threads);
  return r;
}

template <class T>
void check_same(const Results<T>& a, const Results<T>& b) {
  CHECK(test::same_bits(a.softmax, b.softmax));
  CHECK(test::same_bits(a.log_softmax, b.log_softmax));
  CHECK(test::same_bits(a.logsumexp, b.logsumexp));
  CHECK(test::same_bits(a.losses, b.losses));
  CHECK(test::same_bits(a.dlogits, b.dlogits));
}

// Tolerance: entries in +-3 and n <= 100, so every result is off by less than kEps (n + 30) by the
// bounds of softmax_test.cpp and cross_entropy_test.cpp, weights below 2 double it.
template <class T>
void check_values(const std::vector<T>& x, std::ptrdiff_t n,
                  const std::vector<std::int64_t>& labels, const T* weights, const Results<T>& r) {
  const double tolerance = 2 * test::kEps<T> * (static_cast<double>(n) + 30);
  for (std::size_t i = 0; i < r.losses.size(); ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(i) * n;
    const std::vector<double> row(x.begin() + begin, x.begin() + begin + n);
    const double weight = weights ? static_cast<double>(weights[i]) : 1.0;
    const auto probs = reference::softmax(row), log_probs = reference::log_softmax(row);
    const auto gradient = reference::cross_entropy_gradient(row, labels[i]);
    CHECK_NEAR(r.logsumexp[i], reference::logsumexp(row), tolerance);
    CHECK_NEAR(r.losses[i], weight * reference::cross_entropy(row, labels[i]), tolerance);
    for (std::size_t j = 0; j < row.size(); ++j) {
      const auto at = i * row.size() + j;
      CHECK_NEAR(r.softmax[at], probs[j], tolerance);
      CHECK_NEAR(r.log_softmax[at], log_probs[j], tolerance);
      CHECK_NEAR(r.dlogits[at], weight * gradient[j], tolerance);
    }
  }
}

template <class T>
void test_rows_and_threads() {
  for (const std::ptrdiff_t n : {1, 10, 100}) {
    for (const std::ptrdiff_t n_rows : {0, 1, 16, 17, 33, 500}) {
      test::set_context("functions", sizeof(T) == 4 ? "f32" : "f64", n_rows, n);
      const auto x = test::uniform<T>(n_rows * n, 1, -3, 3);
      const auto labels = test::labels(n_rows, n, 2);
      const auto all_weights = test::uniform<T>(n_rows, 3, 0, 2);
      const T* weights = n == 10 ? nullptr : all_weights.data();
      const auto serial = run(x, n_rows, n, labels, weights, 1);
      check_values(x, n, labels, weights, serial);
      if (n_rows < 33) continue;
      for (const int n_threads : {2, 3, 8}) {
        check_same(run(x, n_rows, n, labels, weights, n_threads), serial);
      }
    }
  }
}

// What is beyond the last-level cache goes past it: the same bits, in rows that begin anywhere.
template <class T>
void test_beyond_the_cache() {
  const std::ptrdiff_t n = 1001;
  const auto n_rows =
      fastsoftmax::last_level_cache_bytes() / 2 / (n * static_cast<std::ptrdiff_t>(sizeof(T))) + 3;
  const auto x = test::uniform<T>(n_rows * n, 1, -3, 3);
  std::vector<T> out(x.size()), in_place = x, log_out(x.size()), log_in_place = x;
  fastsoftmax::softmax(x.data(), n_rows, n, out.data(), 2);
  fastsoftmax::softmax(x.data(), n_rows, n, in_place.data(), 1);
  CHECK(test::same_bits(in_place, out));
  in_place = x;
  fastsoftmax::softmax(in_place.data(), n_rows, n, in_place.data(), 2);
  CHECK(test::same_bits(in_place, out));
  fastsoftmax::log_softmax(x.data(), n_rows, n, log_out.data(), 2);
  fastsoftmax::log_softmax(log_in_place.data(), n_rows, n, log_in_place.data(), 2);
  CHECK(test::same_bits(log_in_place, log_out));
  const std::vector<double> row(x.end() - n, x.end());
  const auto probs = reference::softmax(row);
  for (std::size_t j = 0; j < row.size(); ++j) {
    CHECK_NEAR(out[out.size() - row.size() + j], probs[j], test::kEps<T> * 1050 * probs[j]);
  }
}

// Columns, all and a part of them, between pages that nobody may touch: the bits of rows.
template <class T>
void check_columns(std::ptrdiff_t n_outer, std::ptrdiff_t n, std::ptrdiff_t n_inner, Side side,
                   const std::vector<T>& numbers) {
  test::set_context("columns", sizeof(T) == 4 ? "f32" : "f64", n_outer, n, n_inner);
  const std::ptrdiff_t n_columns = n_outer * n_inner;
  const auto at = [&](std::ptrdiff_t column, std::ptrdiff_t j) {
    return static_cast<std::size_t>((column / n_inner * n + j) * n_inner + column % n_inner);
  };
  std::vector<T> rows(numbers.size());
  for (std::ptrdiff_t c = 0; c < n_columns; ++c) {
    T* row = rows.data() + c * n;
    for (std::ptrdiff_t j = 0; j < n; ++j) row[j] = numbers[at(c, j)];
  }
  const std::vector<std::int64_t> labels(static_cast<std::size_t>(n_columns), 0);
  const Results<T> of_rows = run<T>(rows, n_columns, n, labels, nullptr, 1);
  for (const fastsoftmax::Columns part : {fastsoftmax::Columns{n, n_inner, 0, n_columns},
                                          {n, n_inner, n_columns / 3, n_columns / 2 + 1}}) {
    const std::vector<T> no_sums(static_cast<std::size_t>(n_columns), T(-7));
    Guarded<T> x(numbers, side), probs(numbers, side), logs(numbers, side), sums(no_sums, side);
    fastsoftmax::softmax(probs.data(), part, probs.data(), 2);  // in place
    fastsoftmax::log_softmax(x.data(), part, logs.data(), 3);
    fastsoftmax::logsumexp(x.data(), part, sums.data(), 1);
    std::vector<T> want_probs = numbers, want_logs = numbers, want_sums = no_sums;
    for (std::ptrdiff_t c = part.begin; c < part.end; ++c) {
      for (std::ptrdiff_t j = 0; j < n; ++j) {
        want_probs[at(c, j)] = of_rows.softmax[static_cast<std::size_t>(c * n + j)];
        want_logs[at(c, j)] = of_rows.log_softmax[static_cast<std::size_t>(c * n + j)];
      }
      const auto column = static_cast<std::size_t>(c);
      want_sums[column] = of_rows.logsumexp[column];
    }
    CHECK(test::same_bits(probs.copy(), want_probs));
    CHECK(test::same_bits(logs.copy(), want_logs));
    CHECK(test::same_bits(sums.copy(), want_sums));
  }
}

// Each column with a special number somewhere, or with nothing else.
template <class T>
std::vector<T> with_specials(std::vector<T> numbers, std::ptrdiff_t n, std::ptrdiff_t n_inner) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  const T specials[] = {infinity, -infinity, std::numeric_limits<T>::quiet_NaN(),
                        std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest()};
  for (std::ptrdiff_t c = 0; c < n_inner; ++c) {
    const T special = specials[c % 5];
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const bool is_special = c < 5 || j == 7 * c % n;
      if (is_special) numbers[static_cast<std::size_t>(j * n_inner + c)] = special;
    }
  }
  return numbers;
}

template <class T>
void test_columns() {
  const auto check = [](std::ptrdiff_t n_outer, std::ptrdiff_t n, std::ptrdiff_t n_inner,
                        Side side) {
    const auto numbers = test::uniform<T>(n_outer * n * n_inner, 1, -3, 3);
    check_columns<T>(n_outer, n, n_inner, side, numbers);
    if (n_outer == 1) check_columns<T>(1, n, n_inner, side, with_specials(numbers, n, n_inner));
  };
  for (const Side side : {Side::kBegin, Side::kEnd}) {
    for (const std::ptrdiff_t n : {1, 3, 10, 32, 33, 100}) {
      for (const std::ptrdiff_t n_inner : {1, 2, 7, 16, 33, 64, 130}) {
        for (const std::ptrdiff_t n_outer : {1, 3}) check(n_outer, n, n_inner, side);
      }
    }
    check(1, 5000, 3, side);
    check(1, 4999, 50, side);  // sums of more than a part
    const auto longest = fastsoftmax::kLongRowBytes / static_cast<std::ptrdiff_t>(sizeof(T));
    for (const std::ptrdiff_t n : {longest, longest + 1}) check(1, n, 40, side);
  }
}

template <class T>
void test_in_place() {
  const auto x = test::uniform<T>(50 * 7, 1, -3, 3);
  auto out = x, in_place = x;
  fastsoftmax::softmax(x.data(), 50, 7, out.data(), 3);
  fastsoftmax::softmax(in_place.data(), 50, 7, in_place.data(), 3);
  CHECK(test::same_bits(in_place, out));
  in_place = x;
  fastsoftmax::log_softmax(x.data(), 50, 7, out.data(), 3);
  fastsoftmax::log_softmax(in_place.data(), 50, 7, in_place.data(), 3);
  CHECK(test::same_bits(in_place, out));
}

template <class T>
void test_empty_rows() {
  std::vector<T> sums(40, T(1));
  fastsoftmax::logsumexp<T>(nullptr, 40, 0, sums.data(), 2);
  for (const T sum : sums) CHECK_EQ(sum, -std::numeric_limits<T>::infinity());
  fastsoftmax::softmax<T>(nullptr, 40, 0, nullptr, 2);
  fastsoftmax::log_softmax<T>(nullptr, 40, 0, nullptr, 2);
}

template <class T>
void test_label_out_of_range() {
  const std::vector<T> logits(40, T(1)), untouched(40, T(7));
  for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{4}, INT64_MIN, INT64_MAX}) {
    std::vector<std::int64_t> labels(10, 3);
    labels[7] = wrong;
    auto losses = untouched, dlogits = untouched;
    const auto message = "labels[7] is " + std::to_string(wrong) + ", not in 0..3";
    CHECK_THROWS(std::invalid_argument, message,
                 fastsoftmax::cross_entropy<T>(logits.data(), 10, 4, labels.data(), nullptr,
                                               losses.data(), dlogits.data(), 2));
    CHECK(losses == untouched && dlogits == untouched);
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_rows_and_threads<float>();
    test_rows_and_threads<double>();
    test_beyond_the_cache<float>();
    test_beyond_the_cache<double>();
    test_columns<float>();
    test_columns<double>();
    test_in_place<float>();
    test_in_place<double>();
    test_empty_rows<float>();
    test_empty_rows<double>();
    test_label_out_of_range<float>();
    test_label_out_of_range<double>();
  });
  return test::report();
}
