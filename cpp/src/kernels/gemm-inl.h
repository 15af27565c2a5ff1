// C = A B: B in packed panels of a few vectors, A read where it lies (any strides), a register tile
// of kGemmRows x kGemmVecs. Packing, cache blocking and threads are the caller's (matmul.cpp).
#pragma once

#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class Acc>
constexpr std::ptrdiff_t kGemmPanel = kGemmVecs * Vec<Acc>::kLanes;

template <class Acc>
void gemm_pack(const Acc* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride, std::ptrdiff_t k,
               std::ptrdiff_t n, Acc* packed) {
  constexpr std::ptrdiff_t kPanel = kGemmPanel<Acc>;
  for (std::ptrdiff_t j = 0; j < n; j += kPanel) {
    const std::ptrdiff_t width = n - j < kPanel ? n - j : kPanel;
    for (std::ptrdiff_t p = 0; p < k; ++p, packed += kPanel) {
      const Acc* row = B + p * row_stride + j * col_stride;
      for (std::ptrdiff_t c = 0; c < width; ++c) packed[c] = row[c * col_stride];
      for (std::ptrdiff_t c = width; c < kPanel; ++c) packed[c] = 0;
    }
  }
}

template <int kRows, class In, class Acc>
void gemm_tile(const In* A, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride, const Acc* panel,
               std::ptrdiff_t k, std::ptrdiff_t width, Acc* C, std::ptrdiff_t c_row_stride,
               bool accumulate) {
  using V = Vec<Acc>;
  V sum[kRows][kGemmVecs];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  for (std::ptrdiff_t p = 0; p < k; ++p, A += col_stride, panel += kGemmPanel<Acc>) {
    V b[kGemmVecs];
    for (int v = 0; v < kGemmVecs; ++v) b[v] = V::load(panel + v * V::kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V a = splat<Acc>(A + r * row_stride);
      for (int v = 0; v < kGemmVecs; ++v) sum[r][v] = fma(a, b[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kGemmVecs; ++v) {
      Acc* out = C + r * c_row_stride + v * V::kLanes;
      const std::ptrdiff_t n = width - v * V::kLanes;
      if (n >= V::kLanes) {
        (accumulate ? V::load(out) + sum[r][v] : sum[r][v]).store(out);
      } else if (n > 0) {
        (accumulate ? V::load_n(out, n) + sum[r][v] : sum[r][v]).store_n(out, n);
      }
    }
  }
}

template <class In, class Acc>
void gemm(const In* A, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride, const Acc* packed,
          std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n, Acc* C, std::ptrdiff_t c_row_stride,
          bool accumulate) {
  constexpr std::ptrdiff_t kPanel = kGemmPanel<Acc>;
  for (std::ptrdiff_t i = 0; i < m; i += kGemmRows) {
    const std::ptrdiff_t n_rows = m - i < kGemmRows ? m - i : kGemmRows;
    with_count<kGemmRows>(n_rows, [&](auto rows) {
      for (std::ptrdiff_t j = 0; j < n; j += kPanel) {
        const std::ptrdiff_t width = n - j < kPanel ? n - j : kPanel;
        gemm_tile<decltype(rows)::value>(A + i * row_stride, row_stride, col_stride, packed + j * k,
                                         k, width, C + i * c_row_stride + j, c_row_stride,
                                         accumulate);
      }
    });
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
