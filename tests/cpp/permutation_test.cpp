// The order of the rows in an epoch: a permutation, uniform, pinned for every platform. Includes
// the source, to reach the random numbers below 2^32 and more, which no array here is long enough
// for.
#include "solvers/permutation.cpp"

#include <algorithm>
#include <map>
#include <vector>

#include "check.h"

namespace {

using Order = std::vector<std::int64_t>;

Order permutation(std::uint64_t seed, std::int64_t epoch, std::int64_t n) {
  Order order(static_cast<std::size_t>(n) + 1, -7);
  fastsoftmax::epoch_permutation(seed, epoch, n, order.data());
  CHECK_EQ(order.back(), -7);
  order.pop_back();
  return order;
}

void test_is_a_permutation() {
  for (const std::int64_t n : {0, 1, 2, 3, 10, 1000, 60000}) {
    Order order = permutation(3, 4, n);
    std::sort(order.begin(), order.end());
    for (std::int64_t i = 0; i < n; ++i) CHECK_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

void test_differs_by_seed_and_epoch() {
  std::vector<Order> all;
  for (const std::uint64_t seed : {0ull, 1ull, 2ull, ~0ull, 1ull << 63}) {
    for (const std::int64_t epoch : {0ll, 1ll, 2ll, 1000000ll}) {
      all.push_back(permutation(seed, epoch, 100));
      CHECK(permutation(seed, epoch, 100) == all.back());
    }
  }
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
}

// The 24 orders of 4 rows over 24000 epochs, or seeds: chi-square with 23 degrees of freedom is
// above 58 once in 10^4 (and the numbers here never change).
template <class Draw>
void check_uniform(const Draw& draw) {
  constexpr int kDraws = 24000;
  std::map<Order, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[draw(i)];
  CHECK_EQ(counts.size(), 24u);
  double chi_square = 0;
  for (const auto& [order, count] : counts)
    chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  CHECK_NEAR(chi_square, 0, 58);
}
void test_uniform() {
  check_uniform([](int i) { return permutation(11, i, 4); });
  check_uniform([](int i) { return permutation(static_cast<std::uint64_t>(i), 0, 4); });
}

// Pinned when written: whoever trained with a seed must get the same model from any release.
void test_golden_values() {
  CHECK(permutation(0, 0, 10) == (Order{1, 4, 5, 0, 7, 6, 9, 8, 2, 3}));
  CHECK(permutation(42, 3, 10) == (Order{5, 9, 0, 1, 7, 3, 8, 2, 6, 4}));
  std::uint64_t hash = 0;
  for (const std::int64_t row : permutation(1, 1, 60000)) {
    hash = hash * 31 + static_cast<std::uint64_t>(row);
  }
  CHECK_EQ(hash, 7929054747669624448u);
}

// Draws below n spread over all of 0..n-1: 8 equal parts get 1000 of 8000 each; chi-square with 7
// degrees of freedom is above 30 once in 10^4.
void test_below() {
  const std::uint64_t sizes[] = {
      8,          1000,       UINT32_MAX - 7,   UINT32_MAX,    1ull << 32,
      3ull << 40, 1ull << 63, (1ull << 63) + 8, UINT64_MAX - 7};
  for (const std::uint64_t n : sizes) {
    fastsoftmax::SplitMix64 random(5, n);
    int counts[8] = {}, n_outside = 0;
    for (int i = 0; i < 8000; ++i) {
      const std::uint64_t draw = random.below(n);
      n_outside += draw >= n;
      ++counts[std::min<std::uint64_t>(
          7, static_cast<std::uint64_t>(static_cast<double>(draw) / static_cast<double>(n) * 8))];
    }
    CHECK_EQ(n_outside, 0);
    double chi_square = 0;
    for (const int count : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
    CHECK_NEAR(chi_square, 0, 30);
  }
}

}  // namespace

int main() {
  test_is_a_permutation();
  test_differs_by_seed_and_epoch();
  test_uniform();
  test_golden_values();
  test_below();
  return test::report();
}
