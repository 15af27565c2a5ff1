// Which products serve a dense X.
#include "logistic/few_outputs.h"
#include "logistic/many_outputs.h"
#include "zero_blocks.h"

namespace fastsoftmax {
namespace {

// From so many outputs on the packed tiles are faster: 64 with AVX-512 (AMD Zen 4), 32 with AVX2
// (Zen 3, 6,000 x 768 in milliseconds: 24 outputs 11.8 in panels and 13.4 in tiles, 32 18.9 and
// 17.2, 48 23.5 and 20.3; in float64 48 are the first). Packing costs the same for any number.
std::ptrdiff_t many_outputs() {
  return std::max<std::ptrdiff_t>(32, 2 * arithmetic_kernels<float>().gemm_columns);
}

}  // namespace

template <class T>
std::unique_ptr<Products<T>> make_dense_products(const InputView& X, std::ptrdiff_t max_outputs,
                                                 Precision precision, int n_threads) {
  return with_storage<T>(X, [&](const auto* data) -> std::unique_ptr<Products<T>> {
    using In = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    // Tiles do not skip blocks of zeros.
    const bool sparse = has_zero_blocks(storage_kernels(data, T()), data, X);
    if (max_outputs >= many_outputs() && !sparse) {
      return std::make_unique<ManyOutputs<In, T>>(data, X, max_outputs, precision, n_threads);
    }
    return std::make_unique<FewOutputs<In, T>>(data, X, sparse, max_outputs, n_threads);
  });
}

template std::unique_ptr<Products<float>> make_dense_products<float>(const InputView&,
                                                                     std::ptrdiff_t, Precision,
                                                                     int);
template std::unique_ptr<Products<double>> make_dense_products<double>(const InputView&,
                                                                       std::ptrdiff_t, Precision,
                                                                       int);

}  // namespace fastsoftmax
