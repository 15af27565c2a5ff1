// The backward pass of training over a slice of the features, fused with the update of W: the
// gradient stays in registers.
//
// The bits of a weight depend on its feature and class alone, never on the tile it falls into or on
// whether blocks of zeros are skipped. Threads may share the features in any way.
#pragma once

#include "kernels/masks-inl.h"
#include "kernels/panel_logits-inl.h"
#include "kernels/weight_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Sums dlogits' . X over the rows (for_rows calls back with each that counts) for kVecs vectors of
// features from f on (one of n_lanes lanes, if kMasked) and kClasses classes, then steps; the
// gradient never leaves the registers unless the batch comes in several row chunks. Where the last
// vector has no features, W holds zeros, and x = 0 keeps them so.
template <int kVecs, int kClasses, bool kMasked, class In, class Acc, class ForRows>
void panel_update_tile(const PanelUpdate<In, Acc>& a, const UpdateRule<Acc>& rule, std::ptrdiff_t f,
                       std::ptrdiff_t n_lanes, std::ptrdiff_t c0, const Panel<Acc>& panel,
                       const ForRows& for_rows) {
  using V = Vec<Acc>;
  V g[kVecs][kClasses];
  const auto begin_of = [&](int k) { return panel.at(f + k * V::kLanes) - a.W; };
  begin_sums(a, begin_of, kGrain, g);
  const In* const* rows = a.rows;
  const Acc* dlogits = a.dlogits + c0;
  const std::ptrdiff_t first = a.first_feature + f, row_stride = a.row_stride;
  for_rows([&](std::ptrdiff_t i) __attribute__((always_inline)) {
    V x[kVecs];
    for (int k = 0; k < kVecs; ++k) {
      const In* p = rows[i] + first + k * V::kLanes;
      if constexpr (kMasked) {
        x[k] = load_n<Acc>(p, n_lanes);
      } else {
        x[k] = load<Acc>(p);
      }
    }
    for (int c = 0; c < kClasses; ++c) {
      const V d = V::splat(dlogits[i * row_stride + c]);
      for (int k = 0; k < kVecs; ++k) g[k][c] = fma(d, x[k], g[k][c]);
    }
  });
  take_step(a, rule, begin_of, kGrain, g);
}

// If kFetch as many later rows are fetched meanwhile.
template <bool kFetch, class In, class Acc>
void dense_panel_update(const PanelUpdate<In, Acc>& a, const UpdateRule<Acc>& rule,
                        std::ptrdiff_t begin, std::ptrdiff_t end) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  constexpr int kSums = kUpdateVecs * kUpdateClasses;
  // Classes inside: the lines of X that a span of features touches stay in the first-level cache.
  std::ptrdiff_t f = begin;
  const auto sweep = [&](auto n_vecs, auto masked, std::ptrdiff_t n_lanes) {
    constexpr int kVecs = decltype(n_vecs)::value;
    const auto for_rows = [&](const auto& body) __attribute__((always_inline)) {
      for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
        if constexpr (kFetch) {
          for (int k = 0; k < kVecs; ++k) {
            __builtin_prefetch(a.later.rows[i] + a.first_feature + f + k * kLanes, 0, 2);
          }
        }
        body(i);
      }
    };
    for_each_class_tile<(kVecs > kUpdateVecs ? kSums / kVecs : kUpdateClasses)>(
        a.W, a.n_classes, a.panel_stride,
        [&](std::ptrdiff_t c0, const Panel<Acc>& panel, auto n_tile_classes) {
          panel_update_tile<kVecs, decltype(n_tile_classes)::value, decltype(masked)::value != 0>(
              a, rule, f, n_lanes, c0, panel, for_rows);
        });
  };
  const auto sweep_all = [&](auto n_vecs) {
    constexpr int kVecs = decltype(n_vecs)::value;
    for (; f + kVecs * kLanes <= end; f += kVecs * kLanes) sweep(n_vecs, Count<0>(), kLanes);
  };
  // As many sums with few classes, too. Where rows are a multiple of 4 KB apart, the lines of a
  // span are all in one set of the first-level cache, and none is there any more for the next span,
  // to which half of it belongs, as rows seldom begin on a line.
  if (a.n_classes <= kSums / 8) sweep_all(Count<8>());
  if (a.n_classes <= kSums / 4) sweep_all(Count<4>());
  sweep_all(Count<kUpdateVecs>());
  sweep_all(Count<1>());
  if (f < end) sweep(Count<1>(), Count<1>(), end - f);
}

// The bits of a word of 64 that belong to begin .. end - 1.
inline std::uint64_t bits_within(std::ptrdiff_t word, std::ptrdiff_t begin, std::ptrdiff_t end) {
  std::uint64_t bits = ~std::uint64_t{0};
  if (begin > 64 * word) bits <<= begin - 64 * word;
  if (end - 64 * word < 64) bits &= (std::uint64_t{1} << (end - 64 * word)) - 1;
  return bits;
}

// Whole blocks of a single row, those of its mask or all; dlogits are in registers. Batches of one
// image of MNIST 1.5x the speed, on a Zen 3.
template <int kClasses, class In, class Acc>
[[gnu::noinline]] void update_by_one_row(const PanelUpdate<In, Acc>& a,
                                         const UpdateRule<Acc>& rule_of, const std::uint64_t* mask,
                                         std::ptrdiff_t c0, const Panel<Acc>& panel) {
  using V = Vec<Acc>;
  const UpdateRule<Acc> rule = rule_of;
  V d[kClasses];
  for (int c = 0; c < kClasses; ++c) d[c] = V::splat(a.dlogits[c0 + c]);
  const In* x = a.rows[0] + a.first_feature;
  const std::ptrdiff_t begin = a.begin / V::kLanes, end = a.end / V::kLanes;
  for (std::ptrdiff_t word = begin / 64; 64 * word < end; ++word) {
    std::uint64_t bits = bits_within(word, begin, end);
    if (mask) bits &= mask[word];
    for (; bits; bits &= bits - 1) {
      const std::ptrdiff_t f = (64 * word + __builtin_ctzll(bits)) * V::kLanes;
      const V v = load<Acc>(x + f);
      Acc* W = panel.at(f);
      for (int c = 0; c < kClasses; ++c) {
        V w = V::load(W + c * kGrain);
        rule.apply_plain(fma(d[c], v, V::zero()), w);
        w.store(W + c * kGrain);
      }
    }
  }
}

template <class In, class Acc>
void update_by_one_row(const PanelUpdate<In, Acc>& a, const UpdateRule<Acc>& rule,
                       const std::uint64_t* mask) {
  for_each_class_tile<kSparseClasses>(
      a.W, a.n_classes, a.panel_stride,
      [&](std::ptrdiff_t c0, const Panel<Acc>& panel, auto n_tile_classes) {
        update_by_one_row<decltype(n_tile_classes)::value>(a, rule, mask, c0, panel);
      });
}

template <class In, class Acc>
void panel_update(const PanelUpdate<In, Acc>& a) {
  const UpdateRule<Acc> rule(a);
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  if (a.n_rows == 1 && is_plain(a) && a.begin % kLanes == 0) {
    update_by_one_row(a, rule, nullptr);
    return dense_panel_update<false>(a, rule, a.end / kLanes * kLanes, a.end);
  }
  if (a.later.n >= a.n_rows) return dense_panel_update<true>(a, rule, a.begin, a.end);
  dense_panel_update<false>(a, rule, a.begin, a.end);
}

// Those of 64 blocks that have a bit. A function of its own: inlined for each number of classes
// into one, GCC keeps addresses of the inner loop in memory.
template <int kClasses, class Lines, class In, class Acc>
[[gnu::noinline]] void panel_update_of_blocks(const PanelUpdate<In, Acc>& a,
                                              const UpdateRule<Acc>& rule_of, std::ptrdiff_t first,
                                              std::uint64_t bits, std::ptrdiff_t c0,
                                              const Panel<Acc>& panel, const MaskColumns& columns,
                                              Lines& later) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  const UpdateRule<Acc> rule = rule_of;
  Lines lines = later;  // in registers
  for (; bits; bits &= bits - 1) {
    const std::ptrdiff_t column = __builtin_ctzll(bits);
    panel_update_tile<1, kClasses, false>(a, rule, (first + column) * kLanes, kLanes, c0, panel,
                                          [&](const auto& body) {
                                            columns.for_rows(column, [&](std::ptrdiff_t i) {
                                              lines.fetch_one();
                                              body(i);
                                            });
                                          });
  }
  later = lines;
}

// Whole blocks, each with only the rows in which it is not zero: the masks, transposed.
template <class Lines, class In, class Acc>
void update_blocks(const PanelUpdate<In, Acc>& a, const UpdateRule<Acc>& rule, Lines later) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  const std::ptrdiff_t begin = a.begin / kLanes, end = a.end / kLanes;
  const std::uint64_t all = keeps_without_gradient(a) ? 0 : ~std::uint64_t{0};
  MaskColumns columns;
  for (std::ptrdiff_t word = begin / 64; 64 * word < end; ++word) {
    columns.load(a.n_rows, [&](std::ptrdiff_t row) { return a.masks[row][a.first_word + word]; });
    const std::uint64_t bits = (columns.occupied() | all) & bits_within(word, begin, end);
    for_each_class_tile<kSparseClasses>(
        a.W, a.n_classes, a.panel_stride,
        [&](std::ptrdiff_t c0, const Panel<Acc>& panel, auto n_tile_classes) {
          constexpr int kClasses = decltype(n_tile_classes)::value;
          panel_update_of_blocks<kClasses>(a, rule, 64 * word, bits, c0, panel, columns, later);
        });
  }
  later.fetch_rest();
}

template <class In, class Acc>
void panel_update_blocks(const PanelUpdate<In, Acc>& a) {
  const UpdateRule<Acc> rule(a);
  if (a.n_rows == 1 && keeps_without_gradient(a)) {
    update_by_one_row(a, rule, a.masks[0] + a.first_word);
    if (a.later.n > 0) LaterLines(a, a.later).fetch_rest();
  } else if (a.later.n == 0) {
    update_blocks(a, rule, NoLines());
  } else {
    update_blocks(a, rule, LaterLines(a, a.later));
  }
  // Less than a block: it has no bit.
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  dense_panel_update<false>(a, rule, a.end / kLanes * kLanes, a.end);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
