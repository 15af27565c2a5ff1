// The backward pass over X, fused with the update of W: the gradient stays in registers.
//
// The bits of a weight depend on its feature and class alone, never on the tile it falls into or on
// whether blocks of zeros are skipped. Threads may share the features in any way.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/weight_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Sums dlogits' . X over the rows (for_rows calls back with each that counts) for kVecs vectors of
// features from f on (one of n_lanes lanes, if kMasked) and kClasses classes, then steps; the
// gradient never leaves the registers unless the batch comes in several row chunks.
template <int kVecs, int kClasses, bool kMasked, class In, class Acc, class ForRows>
void update_tile(const SgdUpdate<In, Acc>& a, const UpdateRule<Acc>& rule, std::ptrdiff_t f,
                 std::ptrdiff_t c0, std::ptrdiff_t n_lanes, const ForRows& for_rows) {
  using V = Vec<Acc>;
  const auto read = [&](const auto* p) {
    if constexpr (kMasked) {
      return load_n<Acc>(p, n_lanes);
    } else {
      return load<Acc>(p);
    }
  };
  const auto write = [&](V value, Acc* p) {
    if constexpr (kMasked) {
      value.store_n(p, n_lanes);
    } else {
      value.store(p);
    }
  };
  const auto for_each_vec = [&](const auto& body) {
    for (int c = 0; c < kClasses; ++c) {
      for (int k = 0; k < kVecs; ++k) body(c, k, (c0 + c) * a.n_features + f + k * V::kLanes);
    }
  };
  V g[kClasses][kVecs];
  for_each_vec([&](int c, int k, std::ptrdiff_t at) {
    g[c][k] = a.gradient && !a.first_chunk ? read(a.gradient + at) : V::zero();
  });
  for_rows([&](std::ptrdiff_t i) {
    V x[kVecs];
    for (int k = 0; k < kVecs; ++k) x[k] = read(a.rows[i] + f + k * V::kLanes);
    for (int c = 0; c < kClasses; ++c) {
      const V d = V::splat(a.dlogits[i * a.row_stride + (c0 + c) * a.class_stride]);
      for (int k = 0; k < kVecs; ++k) g[c][k] = fma(d, x[k], g[c][k]);
    }
  });
  for_each_vec([&](int c, int k, std::ptrdiff_t at) {
    if (!a.last_chunk) return write(g[c][k], a.gradient + at);
    V w = read(a.W + at);
    V v = a.velocity ? read(a.velocity + at) : V::zero();
    rule.apply(g[c][k], w, v);
    write(w, a.W + at);
    if (a.velocity) write(v, a.velocity + at);
  });
}

template <class In, class Acc>
void dense_update(const SgdUpdate<In, Acc>& a, const UpdateRule<Acc>& rule, std::ptrdiff_t begin,
                  std::ptrdiff_t end) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes, kSpan = kUpdateVecs * kLanes;
  // Classes inside: the lines of X that a span of features touches stay in the first-level cache.
  std::ptrdiff_t f = begin;
  const auto sweep = [&](auto n_vecs, auto masked, std::ptrdiff_t n_lanes) {
    const auto for_rows = [&](const auto& body) {
      for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) body(i);
    };
    for_each_block<kUpdateClasses>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      update_tile<decltype(n_vecs)::value, decltype(n_tile_classes)::value,
                  decltype(masked)::value != 0>(a, rule, f, c0, n_lanes, for_rows);
    });
  };
  for (; f + kSpan <= end; f += kSpan) sweep(Count<kUpdateVecs>(), Count<0>(), kLanes);
  for (; f + kLanes <= end; f += kLanes) sweep(Count<1>(), Count<0>(), kLanes);
  if (f < end) sweep(Count<1>(), Count<1>(), end - f);
}

// a[i] bit j <-> a[j] bit i: halves of the square change places, then quarters, .. (Warren,
// Hacker's Delight, 2nd ed., section 7-3).
inline void transpose_bits(std::uint64_t (&a)[64]) {
  std::uint64_t low = ~std::uint64_t{0} >> 32;
  for (int width = 32; width; width /= 2, low ^= low << width) {
    for (int pair = 0; pair < 64; pair += 2 * width) {
      for (int i = pair; i < pair + width; ++i) {
        const std::uint64_t change = ((a[i] >> width) ^ a[i + width]) & low;
        a[i] ^= change << width;
        a[i + width] ^= change;
      }
    }
  }
}

// Some whole blocks, each with only the rows in which it is not zero: the masks, transposed.
template <class In, class Acc>
void sparse_update(const SgdUpdate<In, Acc>& a, const UpdateRule<Acc>& rule,
                   std::ptrdiff_t block_begin, std::ptrdiff_t block_end) {
  std::uint64_t rows_of_block[kMaxMaskedRows / 64][64];
  const std::ptrdiff_t n_groups = (a.n_rows + 63) / 64;
  std::ptrdiff_t word = -1;
  for (std::ptrdiff_t block = block_begin; block < block_end; ++block) {
    if (block / 64 != word) {
      word = block / 64;
      for (std::ptrdiff_t group = 0; group < n_groups; ++group) {
        for (std::ptrdiff_t i = 0, row = 64 * group; i < 64; ++i, ++row) {
          rows_of_block[group][i] = row < a.n_rows ? a.masks[row][word] : 0;
        }
        transpose_bits(rows_of_block[group]);
      }
    }
    const auto for_rows = [&](const auto& body) {
      for (std::ptrdiff_t group = 0; group < n_groups; ++group) {
        for (std::uint64_t bits = rows_of_block[group][block % 64]; bits; bits &= bits - 1) {
          body(64 * group + __builtin_ctzll(bits));
        }
      }
    };
    for_each_block<kSparseClasses>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      update_tile<1, decltype(n_tile_classes)::value, false>(a, rule, block * Vec<Acc>::kLanes, c0,
                                                             Vec<Acc>::kLanes, for_rows);
    });
  }
}

template <class In, class Acc>
void sgd_update(const SgdUpdate<In, Acc>& a) {
  constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
  const UpdateRule<Acc> rule(a);
  std::ptrdiff_t dense_begin = a.feature_begin;
  if (a.masks) {
    // Features before the first whole block and after the last one are few, and dense.
    const std::ptrdiff_t first = (a.feature_begin + kLanes - 1) / kLanes,
                         last = a.feature_end / kLanes;
    if (first < last) {
      dense_update(a, rule, a.feature_begin, first * kLanes);
      sparse_update(a, rule, first, last);
      dense_begin = last * kLanes;
    }
  }
  dense_update(a, rule, dense_begin, a.feature_end);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
