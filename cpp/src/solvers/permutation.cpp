// The order of the rows in an epoch: a Fisher-Yates shuffle driven by SplitMix64.
#include <utility>

#include "fastsoftmax/sgd.h"
#include "splitmix64.h"

namespace fastsoftmax {
namespace {

using splitmix64::kGolden, splitmix64::mix;

class SplitMix64 {
 public:
  // The streams of neighbouring seeds and epochs have nothing to do with each other.
  SplitMix64(std::uint64_t seed, std::uint64_t stream)
      : state_(mix(mix(seed + kGolden) + stream)) {}

  // Uniform in 0..n-1 without bias: for 32 bits by multiplication (Lemire, ACM TOMACS 2019), which
  // divides about never; beyond that by rejection of the highest, incomplete round.
  std::uint64_t below(std::uint64_t n) {
    if (n > UINT32_MAX) {
      const std::uint64_t limit = UINT64_MAX - UINT64_MAX % n;
      std::uint64_t draw = next();
      while (draw >= limit) draw = next();
      return draw % n;
    }
    std::uint64_t product = (next() >> 32) * n;
    if (static_cast<std::uint32_t>(product) < n) {
      const std::uint32_t rejected =
          (0U - static_cast<std::uint32_t>(n)) % static_cast<std::uint32_t>(n);
      while (static_cast<std::uint32_t>(product) < rejected) product = (next() >> 32) * n;
    }
    return product >> 32;
  }

 private:
  std::uint64_t next() { return mix(state_ += kGolden); }
  std::uint64_t state_;
};

}  // namespace

void epoch_permutation(std::uint64_t seed, std::int64_t epoch, std::int64_t n, std::int64_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = i;
  SplitMix64 random(seed, static_cast<std::uint64_t>(epoch));
  for (std::int64_t i = n - 1; i > 0; --i) {
    const std::uint64_t j = random.below(static_cast<std::uint64_t>(i) + 1);
    std::swap(out[i], out[static_cast<std::int64_t>(j)]);
  }
}

}  // namespace fastsoftmax
