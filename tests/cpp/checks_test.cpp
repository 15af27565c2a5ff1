// Labels out of range and the size of the largest entry; where an entry is not finite,
// objective_test asks.
#include "fastsoftmax/checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "data.h"

namespace {

void test_largest_size() {
  using Limits = std::numeric_limits<float>;
  constexpr std::ptrdiff_t kRows = 7;
  for (const std::ptrdiff_t d : {1, 5, 15, 16, 17, 50}) {
    for (const std::ptrdiff_t stride : {d, d + 3}) {
      std::vector<float> X = test::uniform<float>(kRows * stride, 1);
      for (std::ptrdiff_t i = 0; i < kRows * stride; ++i) {
        if (i % stride >= d) X[static_cast<std::size_t>(i)] = 10.0f;  // of no row
      }
      const auto largest = [&] { return fastsoftmax::largest_size(X.data(), kRows, d, stride); };
      for (std::ptrdiff_t i = 0; i < kRows * stride; ++i) {
        if (i % stride >= d) continue;
        float& x = X[static_cast<std::size_t>(i)];
        const float before = x;
        for (const float value : {3.0f, -3.0f, Limits::max(), -Limits::max()}) {
          x = value;
          CHECK_EQ(largest(), std::abs(value));
        }
        for (const float value :
             {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
          x = value;
          CHECK(!std::isfinite(largest()));
        }
        x = before;
      }
      std::fill(X.begin(), X.end(), -0.0f);
      CHECK_EQ(largest(), 0.0f);
    }
  }
}

void test_check_labels() {
  const std::int64_t labels[] = {0, 2, 1, 3, -1};
  fastsoftmax::check_labels(labels, 3, 3);
  fastsoftmax::check_labels(labels, 0, 0);
  CHECK_THROWS(std::invalid_argument, "labels[3] is 3, not in 0..2",
               fastsoftmax::check_labels(labels, 4, 3));
  CHECK_THROWS(std::invalid_argument, "labels[4] is -1, not in 0..3",
               fastsoftmax::check_labels(labels, 5, 4));
}

}  // namespace

int main() {
  test_check_labels();
  test_largest_size();
  return test::report();
}
