// The same step where most numbers of X are zero (packed_step-inl.h has the dense one): a row meets
// only the weights of its features that are not. Vectors run along the classes, so that a number of
// X alone is worth skipping, not just a block of them.
//
// As x + 0 * w is x, the bits are those of the dense kernels.
#pragma once

#include "kernels/masks-inl.h"
#include "kernels/packed_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Panels that a number of X meets at once. One core of a Zen 3, 121 of 784 numbers not zero, 48 to
// 96 classes, as GFLOP/s of the dense product: 190 forward, 130 to 175 backward; dense tiles make
// 75 to 85, blocks of 8 features 50.
constexpr int kNonzeroPanels = 4;

// sum[p][v] += x * the vectors of kPanels panels.
template <int kPanels, class Acc>
[[gnu::always_inline]] inline void add_multiple(Acc x, const Acc* of_panels,
                                                std::ptrdiff_t panel_stride,
                                                Vec<Acc> (&sum)[kPanels][kGemmVecs]) {
  using V = Vec<Acc>;
  const V factor = V::splat(x);
  for (int p = 0; p < kPanels; ++p) {
    for (int v = 0; v < kGemmVecs; ++v) {
      sum[p][v] = fma(factor, V::load(of_panels + p * panel_stride + v * V::kLanes), sum[p][v]);
    }
  }
}

template <int kPanels, class Acc>
void nonzero_logits_of_row(const PackedLogits<Acc>& a, std::ptrdiff_t row, std::ptrdiff_t panel) {
  using V = Vec<Acc>;
  const std::ptrdiff_t panel_size = a.n_features * kGemmColumns<Acc>;
  const std::ptrdiff_t n_words = (a.n_features + 63) / 64;
  const Acc* x = a.X + row * a.x_stride;
  const Acc* W = a.W + panel * panel_size;
  V sum[kPanels][kGemmVecs];
  for (auto& of_panel : sum) {
    for (V& s : of_panel) s = V::zero();
  }
  for (std::ptrdiff_t word = 0; word < n_words; ++word) {
    for (std::uint64_t bits = a.masks[row * n_words + word]; bits; bits &= bits - 1) {
      const std::ptrdiff_t f = 64 * word + __builtin_ctzll(bits);
      add_multiple(x[f], W + f * kGemmColumns<Acc>, panel_size, sum);
    }
  }
  Acc* logits = a.logits + row * a.row_stride + panel * kGemmColumns<Acc>;
  for (int p = 0; p < kPanels; ++p) {
    for (int v = 0; v < kGemmVecs; ++v)
      sum[p][v].store(logits + p * kGemmColumns<Acc> + v * V::kLanes);
  }
}

template <class Acc>
void packed_logits_nonzero(const PackedLogits<Acc>& a) {
  for_each_block<kNonzeroPanels>(
      a.last_panel - a.first_panel, [&](std::ptrdiff_t panel, auto n_panels) {
        for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
          nonzero_logits_of_row<decltype(n_panels)::value>(a, i, a.first_panel + panel);
        }
      });
}

template <int kPanels, class Acc>
void nonzero_update_of_feature(const PackedUpdate<Acc>& a, const UpdateRule<Acc>& rule,
                               const MaskColumns& columns, std::ptrdiff_t f, std::ptrdiff_t panel) {
  using V = Vec<Acc>;
  const std::ptrdiff_t panel_size = a.n_features * kGemmColumns<Acc>;
  V sum[kPanels][kGemmVecs];
  const auto begin_of = [&](int p) { return (panel + p) * panel_size + f * kGemmColumns<Acc>; };
  begin_sums(a, begin_of, V::kLanes, sum);
  const Acc* dlogits = a.dlogits + panel * kGemmColumns<Acc>;
  columns.for_rows(f % 64, [&](std::ptrdiff_t i) {
    add_multiple(a.X[i * a.x_stride + f], dlogits + i * a.row_stride, kGemmColumns<Acc>, sum);
  });
  take_step(a, rule, begin_of, V::kLanes, sum);
}

template <class Acc>
void packed_update_nonzero(const PackedUpdate<Acc>& a) {
  const UpdateRule<Acc> rule(a);
  const bool keeps = keeps_without_gradient(a);
  const std::ptrdiff_t n_words = (a.n_features + 63) / 64;
  MaskColumns columns;
  for (std::ptrdiff_t begin = a.begin; begin < a.end;) {
    const std::ptrdiff_t word = begin / 64;
    const std::ptrdiff_t end = a.end < 64 * (word + 1) ? a.end : 64 * (word + 1);
    columns.load(a.n_rows, [&](std::ptrdiff_t row) { return a.masks[row * n_words + word]; });
    for_each_block<kNonzeroPanels>(a.last_panel - a.first_panel,
                                   [&](std::ptrdiff_t panel, auto n_panels) {
                                     for (std::ptrdiff_t f = begin; f < end; ++f) {
                                       if (keeps && columns.is_empty(f % 64)) continue;
                                       nonzero_update_of_feature<decltype(n_panels)::value>(
                                           a, rule, columns, f, a.first_panel + panel);
                                     }
                                   });
    begin = end;
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
