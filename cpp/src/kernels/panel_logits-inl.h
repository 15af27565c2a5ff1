// The forward pass of training: sums over a slice of the features, with the weights in panels.
//
// A tile of accumulators stays in registers, with vectors along the features. The bits of a sum
// depend on its row, class and slice alone, never on the tile it falls into or on whether blocks of
// zeros are skipped: x + 0 * w is x. Threads may share the rows in any way.
#pragma once

#include "kernels/later_lines-inl.h"
#include "kernels/logits-inl.h"
#include "kernels/masks-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Where the weights of a group begin, and how far apart its grains are.
template <class Acc>
struct Panel {
  Acc* W;
  std::ptrdiff_t grain_stride;

  // Of the first class of a vector of features from f on; the next class is kGrain further.
  // Without signs a division is a shift.
  Acc* at(std::ptrdiff_t f) const {
    const auto feature = static_cast<std::size_t>(f), size = static_cast<std::size_t>(kGrain);
    return W + static_cast<std::ptrdiff_t>(feature / size) * grain_stride + feature % size;
  }
};

// f(first class, panel of it, Count<number of classes>) over tiles of at most kMax classes, none of
// which crosses groups. kMin: as for_each_block has it; half a group at the most.
template <int kMax, int kMin = 1, class Acc, class F>
void for_each_class_tile(Acc* W, std::ptrdiff_t n_classes, std::ptrdiff_t panel_stride,
                         const F& f) {
  static_assert(2 * kMin <= kGroupClasses);
  const std::ptrdiff_t n_groups = (n_classes + kGroupClasses - 1) / kGroupClasses;
  for (std::ptrdiff_t group = 0, begin = 0; group < n_groups; ++group) {
    const std::ptrdiff_t end = (group + 1) * n_classes / n_groups, size = end - begin;
    for_each_block<kMax, kMin>(size, [&](std::ptrdiff_t c, auto n_tile_classes) {
      f(begin + c, Panel<Acc>{W + begin * panel_stride + c * kGrain, size * kGrain},
        n_tile_classes);
    });
    begin = end;
  }
}

// Brings the next row from the second-level cache into the first: 1.05x the speed; 1.02x with the
// odd line at the end.
template <class In>
[[gnu::always_inline]] inline void approach(const In* x, std::ptrdiff_t n_features) {
  constexpr std::ptrdiff_t kPerLine = kLineBytes / sizeof(In);
  for (std::ptrdiff_t f = 0; f < n_features; f += kPerLine) __builtin_prefetch(x + f, 0, 3);
}

// Masks of rows in random order have left the first level since the row's list was made: the masks
// of so many rows ahead are brought back. 1.09x the speed of an epoch of MNIST as bytes on a Zen 3,
// 1.05x in float32.
constexpr std::ptrdiff_t kMasksAhead = 6;

// If kFetch as many later rows are fetched meanwhile.
template <int kRows, int kClasses, bool kFetch, class In, class Acc>
void panel_logits_tile(const PanelLogits<In, Acc>& a, std::ptrdiff_t row, std::ptrdiff_t c0,
                       const Panel<const Acc>& panel) {
  using V = Vec<Acc>;
  V sum[kRows][kClasses];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  const In* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = a.rows[row + r] + a.first_feature;
  // Left to itself GCC makes functions of some of these, and sums lie in memory: an epoch of dense
  // rows with tiles of 2 x 10 took 42 ms, not 26 (Zen 4, 256 bits).
  const auto accumulate = [&](std::ptrdiff_t f, const Acc* W, const auto& load_x)
      __attribute__((always_inline)) {
    V x[kRows];
    for (int r = 0; r < kRows; ++r) {
      if constexpr (kFetch) __builtin_prefetch(a.later.rows[row + r] + a.first_feature + f, 0, 2);
      x[r] = load_x(rows[r] + f);
    }
    for (int c = 0; c < kClasses; ++c) {
      V w = V::load(W + c * kGrain);
      keep_in_register(w);
      for (int r = 0; r < kRows; ++r) sum[r][c] = fma(x[r], w, sum[r][c]);
    }
  };
  const auto whole = [](const In* p) { return load<Acc>(p); };
  std::ptrdiff_t f = 0;
  for (const Acc* W = panel.W; f + kGrain <= a.n_features; f += kGrain, W += panel.grain_stride) {
    for (std::ptrdiff_t v = 0; v < kGrain; v += V::kLanes) accumulate(f + v, W + v, whole);
  }
  for (; f + V::kLanes <= a.n_features; f += V::kLanes) accumulate(f, panel.at(f), whole);
  if (const std::ptrdiff_t n = a.n_features - f; n > 0) {
    accumulate(f, panel.at(f), [n](const In* p) { return load_n<Acc>(p, n); });
  }
  for (int r = 0; r < kRows; ++r) {
    store_all_sums(sum[r], a.sums + (row + r) * a.row_stride + c0);
  }
}

// One row after the other, only the blocks that its mask names. A function of its own: inlined for
// each number of classes into one, GCC keeps addresses of the inner loop in memory (1.15x).
template <int kClasses, class Lines, class In, class Acc>
[[gnu::noinline]] void panel_logits_of_blocks(const PanelLogits<In, Acc>& a, std::ptrdiff_t c0,
                                              const Panel<const Acc>& panel, Lines lines) {
  using V = Vec<Acc>;
  const std::ptrdiff_t n_full = a.n_features / V::kLanes;
  const bool finds_masks = c0 == 0 && !a.masks_known;
  for (std::ptrdiff_t row = 0; row < a.n_rows; ++row) {
    const In* x = a.rows[row] + a.first_feature;
    std::uint64_t* mask = a.masks[row] + a.first_word;
    if (row + kMasksAhead < a.n_rows) __builtin_prefetch(a.masks[row + kMasksAhead] + a.first_word);
    if (c0 == 0 && row + 1 < a.n_rows) approach(a.rows[row + 1] + a.first_feature, a.n_features);
    if (finds_masks) find_nonzero<In, Acc>(&x, 1, a.n_features, &mask);
    V sum[kClasses];
    for (V& s : sum) s = V::zero();
    const auto accumulate = [&](std::ptrdiff_t f, V v) __attribute__((always_inline)) {
      const Acc* W = panel.at(f);
      for (int c = 0; c < kClasses; ++c) sum[c] = fma(v, V::load(W + c * kGrain), sum[c]);
    };
    for (std::ptrdiff_t first = 0; first < n_full; first += 64, ++mask) {
      for (std::uint64_t bits = *mask; bits; bits &= bits - 1) {
        lines.fetch_one();
        const std::ptrdiff_t f = (first + __builtin_ctzll(bits)) * V::kLanes;
        accumulate(f, load<Acc>(x + f));
      }
    }
    if (const std::ptrdiff_t f = n_full * V::kLanes, n = a.n_features - f; n > 0) {
      accumulate(f, load_n<Acc>(x + f, n));
    }
    store_all_sums(sum, a.sums + row * a.row_stride + c0);
  }
  lines.fetch_rest();
}

// Many classes: the panel of a group stays in the first-level cache while all rows pass. Few: W
// does as a whole, and each row is read once.
template <int kRows, class In, class Acc>
void panel_logits_by(const PanelLogits<In, Acc>& a) {
  const std::ptrdiff_t turn = a.n_classes > kGroupClasses ? a.n_rows : kRows;
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += turn) {
    const std::ptrdiff_t end = begin + turn < a.n_rows ? begin + turn : a.n_rows;
    for_each_class_tile<kTileClasses<kRows>, kFewestClasses<kRows>>(
        a.W, a.n_classes, a.panel_stride,
        [&](std::ptrdiff_t c0, const Panel<const Acc>& panel, auto n_tile_classes) {
          constexpr int kClasses = decltype(n_tile_classes)::value;
          std::ptrdiff_t row = begin;
          for (; row + kRows <= end; row += kRows) {
            if (c0 == 0 && row + kRows <= a.later.n) {
              panel_logits_tile<kRows, kClasses, true>(a, row, c0, panel);
            } else {
              panel_logits_tile<kRows, kClasses, false>(a, row, c0, panel);
            }
          }
          for (; row < end; ++row) panel_logits_tile<1, kClasses, false>(a, row, c0, panel);
        });
  }
}

template <class In, class Acc>
void panel_logits(const PanelLogits<In, Acc>& a) {
  with_tile_rows(a.n_classes, [&](auto n_rows) { panel_logits_by<decltype(n_rows)::value>(a); });
}

template <class In, class Acc>
void panel_logits_blocks(const PanelLogits<In, Acc>& a) {
  for_each_class_tile<kSparseClasses>(
      a.W, a.n_classes, a.panel_stride,
      [&](std::ptrdiff_t c0, const Panel<const Acc>& panel, auto n_tile_classes) {
        constexpr int kClasses = decltype(n_tile_classes)::value;
        if (c0 > 0) {
          panel_logits_of_blocks<kClasses>(a, c0, panel, NoLines());
        } else {
          panel_logits_of_blocks<kClasses>(a, c0, panel, LaterLines(a, a.later));
        }
      });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
