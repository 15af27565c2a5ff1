// Rows of a sparse X times weights that lie feature-major, and their outer products, against loops
// in long double: every instruction set, column, kind of index and ragged number of outputs.
#include <algorithm>

#include "aligned_buffer.h"
#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"

namespace {

using test::Guarded;
using test::Side;

constexpr std::ptrdiff_t kFeatures = 19;

template <class In, class Acc>
void check(std::ptrdiff_t n_entries, std::ptrdiff_t n_outputs, bool wide, Side side) {
  const auto& kernels = fastsoftmax::storage_kernels(static_cast<const In*>(nullptr), Acc());
  const auto seed = static_cast<std::uint64_t>(100 * n_entries + n_outputs);
  const auto size = static_cast<std::size_t>(n_outputs);
  std::vector<std::int32_t> features;
  for (std::ptrdiff_t e = 0; e < n_entries; ++e) {
    features.push_back(static_cast<std::int32_t>((7 * e + 3) % kFeatures));
  }
  Guarded<In> values(test::uniform<In>(n_entries, seed), side);
  Guarded<std::int32_t> narrow(features, side);
  Guarded<std::int64_t> broad({features.begin(), features.end()}, side);
  Guarded<Acc> W(test::uniform<Acc>(kFeatures * n_outputs, seed + 1), side);
  const std::ptrdiff_t stride = n_outputs <= fastsoftmax::kFewSparseOutputs
                                    ? n_outputs
                                    : fastsoftmax::padded<double>(n_outputs);
  Guarded<double> dlogits(test::uniform<double>(stride, seed + 3), side);
  const auto sums = test::uniform<double>(kFeatures * stride, seed + 4);
  Guarded<Acc> logits(test::uniform<Acc>(n_outputs, seed + 2), side);
  Guarded<double> gradient(sums, side);
  const fastsoftmax::SparseRow<In> row{values.data(), wide ? nullptr : narrow.data(),
                                       wide ? broad.data() : nullptr, n_entries};
  kernels.sparse_logits(row, W.data(), n_outputs, logits.data());
  kernels.add_sparse_row(row, dlogits.data(), n_outputs, stride, gradient.data());

  std::vector<long double> expected(size), most(size), products(sums.begin(), sums.end());
  for (std::ptrdiff_t e = 0; e < n_entries; ++e) {
    const auto f = static_cast<std::size_t>(features[static_cast<std::size_t>(e)]);
    const auto x = static_cast<long double>(values.data()[e]);
    for (std::size_t r = 0; r < size; ++r) {
      const long double product = x * static_cast<long double>(W.data()[f * size + r]);
      expected[r] += product;
      most[r] += std::abs(product);
      products[f * static_cast<std::size_t>(stride) + r] +=
          x * static_cast<long double>(dlogits.data()[r]);
    }
  }
  // A rounding for each entry, of two where there is no fma.
  const auto roundings = static_cast<long double>(2 * n_entries);
  for (std::size_t r = 0; r < size; ++r) {
    CHECK_NEAR(logits.data()[r], expected[r],
               roundings * static_cast<long double>(test::kEps<Acc>) * most[r]);
  }
  const double largest = sizeof(In) == 1 ? 255.0 : 4.0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    if (i % static_cast<std::size_t>(stride) >= size) continue;
    CHECK_NEAR(gradient.data()[i], products[i],
               roundings * static_cast<long double>(test::kEps<double> * (1.0 + largest)));
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      using In = decltype(in);
      using Acc = decltype(acc);
      for (const std::ptrdiff_t n_entries : {0, 1, 5, 40}) {
        for (const std::ptrdiff_t n_outputs :
             {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 20, 33, 63, 64, 65, 130}) {
          test::set_context(test::name_of(In()), test::name_of(Acc()), n_entries, n_outputs);
          for (const Side side : {Side::kBegin, Side::kEnd}) {
            check<In, Acc>(n_entries, n_outputs, n_outputs % 2 == 0, side);
          }
        }
      }
    });
  });
  return test::report();
}
