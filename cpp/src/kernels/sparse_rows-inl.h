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

template <class In>
std::ptrdiff_t feature_of(const SparseRow<In>& row, std::ptrdiff_t entry) {
  return row.wide_indices ? static_cast<std::ptrdiff_t>(row.wide_indices[entry])
                          : static_cast<std::ptrdiff_t>(row.indices[entry]);
}

// f(entry, feature) for the entries of a row.
template <class In, class F>
void for_entries(const SparseRow<In>& row, const F& f) {
  for (std::ptrdiff_t e = 0; e < row.n_entries; ++e) f(e, feature_of(row, e));
}

// Single numbers where outputs are few: vectors of which most is not there take 1.4 ns an entry
// forward and, as what a masked store has written cannot be read before it is in the cache, 4 to 6
// back, where these take 0.6 to 0.9 and 0.7 to 1.7 (1 to 4 outputs, AVX-512, Zen 4; AVX2 0.9 to 1.2
// and 2.8 to 4, and the same).
template <int kOutputs, class In, class Acc>
void logits_of_few(const SparseRow<In>& row, const Acc* W, Acc* logits) {
  // The sums of one output and of two wait for themselves: two of each take 0.6 ns, not 0.8.
  constexpr int kChains = kOutputs <= 2 ? 2 : 1;
  Acc sum[kChains][kOutputs] = {};
  const auto add = [&](std::ptrdiff_t e, Acc(&sums)[kOutputs]) __attribute__((always_inline)) {
    const Acc x = static_cast<Acc>(row.values[e]);
    const Acc* w = W + feature_of(row, e) * kOutputs;
    for (int r = 0; r < kOutputs; ++r) sums[r] += x * w[r];
  };
  std::ptrdiff_t e = 0;
  for (; e + kChains <= row.n_entries; e += kChains) {
    for (int chain = 0; chain < kChains; ++chain) add(e + chain, sum[chain]);
  }
  for (; e < row.n_entries; ++e) add(e, sum[0]);
  for (int r = 0; r < kOutputs; ++r) {
    logits[r] = sum[0][r];
    for (int chain = 1; chain < kChains; ++chain) logits[r] += sum[chain][r];
  }
}

template <class In, class Acc>
void sparse_logits(const SparseRow<In>& row, const Acc* W, std::ptrdiff_t n_outputs, Acc* logits) {
  using V = Vec<Acc>;
  if (n_outputs <= kFewSparseOutputs) {
    return with_count<kFewSparseOutputs>(
        n_outputs, [&](auto count) { logits_of_few<decltype(count)::value>(row, W, logits); });
  }
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
                    std::ptrdiff_t stride, double* gradient) {
  using V = Vec<double>;
  if (n_outputs <= kFewSparseOutputs) {
    return with_count<kFewSparseOutputs>(n_outputs, [&](auto count) {
      constexpr int kOutputs = decltype(count)::value;
      double d[kOutputs];
      for (int r = 0; r < kOutputs; ++r) d[r] = dlogits[r];
      for_entries(row, [&](std::ptrdiff_t e, std::ptrdiff_t feature) {
        const double x = static_cast<double>(row.values[e]);
        double* g = gradient + feature * stride;
        for (int r = 0; r < kOutputs; ++r) g[r] += x * d[r];
      });
    });
  }
  for_output_tiles<double>(n_outputs, [&](std::ptrdiff_t r, auto count, std::ptrdiff_t) {
    constexpr int kVecs = decltype(count)::value;
    V d[kVecs];
    for (int j = 0; j < kVecs; ++j) d[j] = V::load(dlogits + r + j * V::kLanes);
    for_entries(row, [&](std::ptrdiff_t e, std::ptrdiff_t feature) {
      const V x = splat<double>(row.values + e);
      double* g = gradient + feature * stride + r;
      for (int j = 0; j < kVecs; ++j) {
        fma(x, d[j], V::load(g + j * V::kLanes)).store(g + j * V::kLanes);
      }
    });
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
