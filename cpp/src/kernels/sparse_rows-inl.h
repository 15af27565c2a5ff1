// Rows of a sparse X times weights that lie feature-major, and their outer products with numbers of
// the outputs: an entry of X meets the numbers of all outputs side by side. Outputs in tiles of
// four vectors, which stay in registers while the entries pass.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// f(begin, Count<vectors>, lanes of the last vector) for tiles of the outputs.
template <class T, class F>
void for_output_tiles(std::ptrdiff_t n_outputs, const F& f) {
  constexpr std::ptrdiff_t kLanes = Vec<T>::kLanes, kTile = 4;
  for (std::ptrdiff_t r = 0; r < n_outputs; r += kTile * kLanes) {
    const std::ptrdiff_t left = n_outputs - r, vectors = (left + kLanes - 1) / kLanes;
    with_count<kTile>(vectors < kTile ? vectors : kTile, [&](auto count) {
      const std::ptrdiff_t last = left - (count.value - 1) * kLanes;
      f(r, count, last < kLanes ? last : kLanes);
    });
  }
}

// f(entry, feature) for the entries of a row.
template <class In, class F>
void for_entries(const SparseRow<In>& row, const F& f) {
  for (std::ptrdiff_t e = 0; e < row.n_entries; ++e) {
    f(e, row.wide_indices ? static_cast<std::ptrdiff_t>(row.wide_indices[e])
                          : static_cast<std::ptrdiff_t>(row.indices[e]));
  }
}

template <class In, class Acc>
void sparse_logits(const SparseRow<In>& row, const Acc* W, std::ptrdiff_t n_outputs, Acc* logits) {
  using V = Vec<Acc>;
  for_output_tiles<Acc>(n_outputs, [&](std::ptrdiff_t r, auto count, std::ptrdiff_t last) {
    constexpr int kFull = decltype(count)::value - 1;
    constexpr std::ptrdiff_t kTail = kFull * V::kLanes;
    V sum[kFull + 1];
    for (V& s : sum) s = V::zero();
    for_entries(row, [&](std::ptrdiff_t e, std::ptrdiff_t feature) {
      const V x = splat<Acc>(row.values + e);
      const Acc* w = W + feature * n_outputs + r;
      for (int j = 0; j < kFull; ++j) sum[j] = fma(x, V::load(w + j * V::kLanes), sum[j]);
      sum[kFull] = fma(x, V::load_n(w + kTail, last), sum[kFull]);
    });
    for (int j = 0; j < kFull; ++j) sum[j].store(logits + r + j * V::kLanes);
    sum[kFull].store_n(logits + r + kTail, last);
  });
}

template <class In>
void add_sparse_row(const SparseRow<In>& row, const double* dlogits, std::ptrdiff_t n_outputs,
                    double* gradient) {
  using V = Vec<double>;
  for_output_tiles<double>(n_outputs, [&](std::ptrdiff_t r, auto count, std::ptrdiff_t last) {
    constexpr int kFull = decltype(count)::value - 1;
    constexpr std::ptrdiff_t kTail = kFull * V::kLanes;
    V d[kFull + 1];
    for (int j = 0; j < kFull; ++j) d[j] = V::load(dlogits + r + j * V::kLanes);
    d[kFull] = V::load_n(dlogits + r + kTail, last);
    for_entries(row, [&](std::ptrdiff_t e, std::ptrdiff_t feature) {
      const V x = splat<double>(row.values + e);
      double* g = gradient + feature * n_outputs + r;
      for (int j = 0; j < kFull; ++j) {
        fma(x, d[j], V::load(g + j * V::kLanes)).store(g + j * V::kLanes);
      }
      fma(x, d[kFull], V::load_n(g + kTail, last)).store_n(g + kTail, last);
    });
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
