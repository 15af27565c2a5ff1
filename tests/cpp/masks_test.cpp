// The masks of blocks that are not zero, as naive loops find them.
#include <algorithm>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"

namespace {

using test::Guarded;
using test::Side;

template <class In, class Acc>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t d) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), n_rows, d);
  const auto x = test::with_gaps<In>(n_rows * d, static_cast<std::uint64_t>(n_rows * 10000 + d));
  const auto& kernels = fastsoftmax::storage_kernels(x.data(), Acc());
  const std::ptrdiff_t block = kernels.block_features, words = (d / block + 63) / 64;
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    Guarded<In> X(x, side);
    Guarded<std::uint64_t> masks(n_rows * words, side);
    std::vector<const In*> rows;
    std::vector<std::uint64_t*> mask_of_row;
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
      rows.push_back(X.data() + i * d);
      mask_of_row.push_back(masks.data() + i * words);
    }
    kernels.find_nonzero(rows.data(), n_rows, d, mask_of_row.data());
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
      for (std::ptrdiff_t bit = 0; bit < 64 * words; ++bit) {
        const In* begin = x.data() + i * d + bit * block;
        const bool any = (bit + 1) * block <= d &&
                         std::any_of(begin, begin + block, [](In v) { return v != In(0); });
        CHECK_EQ((masks[i * words + bit / 64] >> (bit % 64)) & 1, std::uint64_t{any});
      }
    }
  }
}

template <class In, class Acc>
void test_ragged_sizes() {
  for (std::ptrdiff_t d = 1; d <= 70; ++d) check<In, Acc>(3, d);
  // Words of 64 blocks.
  for (const std::ptrdiff_t d : {511, 512, 513, 784, 1100}) check<In, Acc>(5, d);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column(
        [](auto in, auto acc) { test_ragged_sizes<decltype(in), decltype(acc)>(); });
  });
  return test::report();
}
