// Made-up matrices as the core's views.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsoftmax/matrix.h"

namespace test {

template <class In>
constexpr fastsoftmax::Storage kStorage = sizeof(In) == 1   ? fastsoftmax::Storage::kUInt8
                                          : sizeof(In) == 4 ? fastsoftmax::Storage::kFloat32
                                                            : fastsoftmax::Storage::kFloat64;

// A matrix (n, d) in compressed rows, without its zeros.
template <class In>
struct Csr {
  std::vector<In> data;
  std::vector<std::int32_t> indices;
  std::vector<std::int64_t> indptr{0};
  std::ptrdiff_t n, d;

  Csr(const std::vector<In>& X, std::ptrdiff_t n_, std::ptrdiff_t d_) : n(n_), d(d_) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t f = 0; f < d; ++f) {
        const In v = X[static_cast<std::size_t>(i * d + f)];
        if (v == In(0)) continue;
        data.push_back(v);
        indices.push_back(static_cast<std::int32_t>(f));
      }
      indptr.push_back(static_cast<std::int64_t>(data.size()));
    }
  }
  fastsoftmax::CsrView view() const {
    return {kStorage<In>, data.data(), indices.data(), indptr.data(), false, true, n, d};
  }
};

}  // namespace test
