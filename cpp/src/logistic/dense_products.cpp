// Which products serve a dense X.
#include "logistic/many_outputs.h"
#include "zero_blocks.h"

namespace fastsoftmax {

// From so many outputs on the packed tiles are faster.
constexpr std::ptrdiff_t kManyOutputs = 64;

template <class T>
std::unique_ptr<Products<T>> make_dense_products(const InputView& X, double input_scale,
                                                 std::ptrdiff_t max_outputs, int n_threads) {
  const T scale = static_cast<T>(input_scale);
  return with_storage<T>(X, [&](const auto* data) -> std::unique_ptr<Products<T>> {
    using In = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    // Tiles do not skip blocks of zeros.
    const bool sparse = has_zero_blocks(storage_kernels(data, T()), data, X);
    if (max_outputs >= kManyOutputs && !sparse) {
      return std::make_unique<ManyOutputs<In, T>>(data, X, scale, max_outputs, n_threads);
    }
    return std::make_unique<FewOutputs<In, T>>(data, X, scale, sparse, max_outputs, n_threads);
  });
}

template std::unique_ptr<Products<float>> make_dense_products<float>(const InputView&, double,
                                                                     std::ptrdiff_t, int);
template std::unique_ptr<Products<double>> make_dense_products<double>(const InputView&, double,
                                                                       std::ptrdiff_t, int);

}  // namespace fastsoftmax
