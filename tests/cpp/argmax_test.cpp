// The kernels argmax, scale_and_shift and transpose of every instruction set against plain loops.
// None but scale_and_shift rounds, and that twice, as the loop here does: all bits must be equal.
#include <algorithm>
#include <limits>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"

namespace {

using test::Guarded;
using test::Side;

constexpr std::ptrdiff_t kGap = 3;

// Numbers of a few values, so that many are equal.
template <class T>
std::vector<T> coarse(std::ptrdiff_t n, std::uint64_t seed) {
  auto values = test::uniform<T>(n, seed, -4, 4);
  for (T& v : values) v = std::round(v);
  return values;
}

template <class T>
void check_argmax(std::ptrdiff_t n_rows, std::ptrdiff_t n, std::ptrdiff_t first_class) {
  const std::ptrdiff_t stride = n + kGap, size = n_rows > 0 ? (n_rows - 1) * stride + n : 0;
  const auto logits = coarse<T>(size, static_cast<std::uint64_t>(n_rows * 100 + n));
  const auto old = coarse<T>(n_rows, 7);
  for (const Side side : {Side::kBegin, Side::kEnd}) {
    Guarded<T> in(logits, side), best(old, side);
    Guarded<std::int64_t> out(std::vector<std::int64_t>(old.size(), -5), side);
    const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
    CHECK(kernels.argmax(in.data(), stride, n_rows, n, first_class, best.data(), out.data()));
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
      const auto row = logits.begin() + i * stride;
      const auto largest = std::max_element(row, row + n);
      const T before = old[static_cast<std::size_t>(i)];
      const bool is_better = first_class == 0 || *largest > before;
      CHECK_EQ(out[i], is_better ? first_class + (largest - row) : -5);
      CHECK_EQ(best[i], is_better ? *largest : before);
    }
  }
}

template <class T>
void test_argmax() {
  for (const std::ptrdiff_t n_rows : {0, 1, 2, 7, 15, 16, 17, 40}) {
    for (std::ptrdiff_t n = 1; n <= 40; ++n) {
      test::set_context("argmax", sizeof(T) == 4 ? "f32" : "f64", n_rows, n);
      for (const std::ptrdiff_t first_class : {0, 100}) check_argmax<T>(n_rows, n, first_class);
    }
  }
  check_argmax<T>(3, 1000, 0);
}

// Wherever it is, what is not finite is noticed; a class is named all the same.
template <class T>
void test_argmax_of_nonfinite() {
  using limits = std::numeric_limits<T>;
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>();
  for (const T special : {limits::quiet_NaN(), limits::infinity(), -limits::infinity()}) {
    for (std::size_t at = 0; at < 5 * 21; ++at) {
      auto logits = coarse<T>(5 * 21, 1);
      logits[at] = special;
      T best[5];
      std::int64_t out[5] = {-1, -1, -1, -1, -1};
      CHECK(!kernels.argmax(logits.data(), 21, 5, 21, 0, best, out));
      CHECK(std::all_of(out, out + 5, [](std::int64_t c) { return c >= 0 && c < 21; }));
    }
  }
}

template <class T>
void test_scale_and_shift() {
  for (const std::ptrdiff_t n_rows : {0, 1, 3}) {
    for (std::ptrdiff_t n = 1; n <= 70; ++n) {
      test::set_context("scale_and_shift", sizeof(T) == 4 ? "f32" : "f64", n_rows, n);
      const std::ptrdiff_t stride = n + kGap, size = n_rows > 0 ? (n_rows - 1) * stride + n : 0;
      const auto logits = test::uniform<T>(size, 1), shift = test::uniform<T>(n, 2);
      const T scale = T(1) / T(255);
      for (const bool has_b : {false, true}) {
        auto expected = logits;
        for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
          for (std::ptrdiff_t j = 0; j < n; ++j) {
            T& value = expected[static_cast<std::size_t>(i * stride + j)];
            value = scale * value + (has_b ? shift[static_cast<std::size_t>(j)] : T(0));
          }
        }
        for (const Side side : {Side::kBegin, Side::kEnd}) {
          Guarded<T> actual(logits, side), b(shift, side);
          fastsoftmax::arithmetic_kernels<T>().scale_and_shift(actual.data(), stride, n_rows, n,
                                                               scale, has_b ? b.data() : nullptr);
          CHECK(test::same_bits(actual.copy(), expected));
        }
      }
    }
  }
}

template <class T>
void test_transpose() {
  for (const std::ptrdiff_t k : {0, 1, 2, 7, 8, 9, 16, 17, 33, 50}) {
    for (const std::ptrdiff_t n : {0, 1, 3, 4, 8, 10, 16, 17, 20}) {
      test::set_context("transpose", sizeof(T) == 4 ? "f32" : "f64", k, n);
      const std::ptrdiff_t strides[][2] = {{n, 1}, {n + kGap, 1}, {1, k}, {2 * n + 1, 2}};
      for (const auto& [row_stride, col_stride] : strides) {
        const std::ptrdiff_t size =
            k > 0 && n > 0 ? (k - 1) * row_stride + (n - 1) * col_stride + 1 : 0;
        for (const Side side : {Side::kBegin, Side::kEnd}) {
          for (const std::ptrdiff_t gap : {0, 5}) {
            const std::ptrdiff_t stride = k + gap;
            Guarded<T> B(test::uniform<T>(size, 1), side);
            Guarded<T> out(std::vector<T>(static_cast<std::size_t>(n * stride), T(7)), side);
            fastsoftmax::arithmetic_kernels<T>().transpose(B.data(), row_stride, col_stride, k, n,
                                                           out.data(), stride);
            for (std::ptrdiff_t j = 0; j < n; ++j) {
              for (std::ptrdiff_t p = 0; p < stride; ++p) {
                CHECK_EQ(out[j * stride + p], p < k ? B[p * row_stride + j * col_stride] : T(7));
              }
            }
          }
        }
      }
    }
  }
}

template <class T>
void test_all() {
  test_argmax<T>();
  test_argmax_of_nonfinite<T>();
  test_scale_and_shift<T>();
  test_transpose<T>();
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_all<float>();
    test_all<double>();
  });
  return test::report();
}
