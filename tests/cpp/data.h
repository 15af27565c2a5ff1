// Made-up numbers for tests: the same on every platform, every run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

namespace test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  // A linear congruential generator (Knuth's MMIX), its upper half.
  std::uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  double uniform(double low, double high) { return low + (high - low) * next() / 4294967296.0; }

 private:
  std::uint64_t state_;
};

// Uniform in (low, high); bytes are uniform in 0..255.
template <class T>
std::vector<T> uniform(std::ptrdiff_t n, std::uint64_t seed, double low = -1, double high = 1) {
  Random random(seed);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& v : values) {
    v = sizeof(T) == 1 ? static_cast<T>(random.next() >> 24)
                       : static_cast<T>(random.uniform(low, high));
  }
  return values;
}

inline std::vector<std::int64_t> labels(std::ptrdiff_t n, std::ptrdiff_t n_classes,
                                        std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int64_t> values(static_cast<std::size_t>(n));
  for (auto& v : values) v = random.next() % n_classes;
  return values;
}

// B B' of uniform numbers B (n, rank).
inline std::vector<double> products_of_rows(std::ptrdiff_t n, std::ptrdiff_t rank) {
  const auto B = uniform<double>(n * rank, 1);
  std::vector<double> A;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      const auto row = B.begin() + i * rank;
      A.push_back(std::inner_product(row, row + rank, B.begin() + j * rank, 0.0));
    }
  }
  return A;
}

template <class T>
std::vector<double> widen(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The distance from 1 to the next number: twice the largest relative error of one rounding.
template <class T>
constexpr double kEps = std::numeric_limits<T>::epsilon();
// The smallest positive number: twice the largest error of a rounding into the subnormals.
template <class T>
constexpr double kTiny = std::numeric_limits<T>::denorm_min();

// Uniform numbers, with stretches of zeros and of numbers of any length.
template <class In>
std::vector<In> with_gaps(std::ptrdiff_t n, std::uint64_t seed) {
  std::vector<In> x = uniform<In>(n, seed);
  Random random(seed + 1);
  for (std::ptrdiff_t i = 0; i < n;) {
    const bool zero = random.next() % 2;
    const std::ptrdiff_t end = std::min<std::ptrdiff_t>(n, i + 1 + random.next() % 40);
    if (zero) std::fill(x.begin() + i, x.begin() + end, In(0));
    i = end;
  }
  return x;
}

}  // namespace test
