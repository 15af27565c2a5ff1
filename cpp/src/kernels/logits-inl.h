// The forward pass over X: logits of some rows.
//
// A tile of accumulators stays in registers, with vectors along the features, so W is class-major.
// The bits of a logit depend on its row and class alone, never on the tile it falls into. Threads
// may share the rows in any way.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/load-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// out[c] = reduce_add(sum[c]), several at a time.
template <int kClasses, class Acc>
[[gnu::always_inline]] inline void store_all_sums(const Vec<Acc> (&sum)[kClasses], Acc* out) {
  int c = 0;
  for (; c + kSumGroup<Acc> <= kClasses; c += kSumGroup<Acc>) store_sums(sum + c, out + c);
  for (; c < kClasses; ++c) out[c] = reduce_add(sum[c]);
}

// The rows that come next are asked for one line at a time, spread over the work on these: at once
// they would fill the buffers for misses, and the work would wait for them. They go to the
// second-level cache, for W fills the first (784 x 10 float32 are 31 KB): 1.3x the speed of
// fetching into the first, when epochs of MNIST ran on this kernel, in float32 with AVX2 on one
// thread, 1.15x with AVX-512. Bytes are few, and come into the first: 1.1x.
template <class In>
void prefetch(const In* p) {
  __builtin_prefetch(p, 0, sizeof(In) == 1 ? 3 : 2);
}

template <int kRows, int kClasses, bool kPrefetch, class In, class Acc>
void logits_tile(const LogitsArgs<In, Acc>& a, std::ptrdiff_t row, std::ptrdiff_t c0) {
  using V = Vec<Acc>;
  V sum[kRows][kClasses];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  const In* const* rows = a.rows + row;
  const Acc* W = a.W + c0 * a.n_features;
  std::ptrdiff_t f = 0;
  const auto accumulate = [&](const auto& load_x, const auto& load_w)
      __attribute__((always_inline)) {
    V x[kRows];
    for (int r = 0; r < kRows; ++r) x[r] = load_x(rows[r] + f);
    for (int c = 0; c < kClasses; ++c) {
      V w = load_w(W + c * a.n_features + f);
      keep_in_register(w);
      for (int r = 0; r < kRows; ++r) sum[r][c] = fma(x[r], w, sum[r][c]);
    }
  };
  for (; f + V::kLanes <= a.n_features; f += V::kLanes) {
    if constexpr (kPrefetch) {
      for (int r = 0; r < kRows; ++r) prefetch(a.next[row + r] + f);
    }
    accumulate([](const In* p) { return load<Acc>(p); }, [](const Acc* p) { return V::load(p); });
  }
  if (const std::ptrdiff_t n = a.n_features - f; n > 0) {
    accumulate([n](const In* p) { return load_n<Acc>(p, n); },
               [n](const Acc* p) { return V::load_n(p, n); });
  }
  for (int r = 0; r < kRows; ++r) store_all_sums(sum[r], a.logits + (row + r) * a.n_classes + c0);
}

// Many classes: a block of W stays in the first-level cache while all rows pass. Few: W does as a
// whole, and each row is read once (for 784 x 10 float32 the second order reads X twice).
constexpr std::ptrdiff_t kFewClasses = 16;

// The classes that a tile of so many rows has at the most, and the fewest for which there are tiles
// of so many rows.
template <int kRows>
constexpr int kTileClasses = kLogitsRows * kLogitsClasses / kRows;
template <int kRows>
constexpr int kFewestClasses = kRows < 8 ? kTileClasses<2 * kRows> + 1 : 1;

// f(Count<rows of a tile>): few classes get as many sums as many do, as fewer wait for each other.
template <class F>
void with_tile_rows(std::ptrdiff_t n_classes, const F& f) {
  if (n_classes <= kTileClasses<8>) return f(Count<8>());
  if (n_classes <= kTileClasses<4>) return f(Count<4>());
  f(Count<kLogitsRows>());
}

template <int kRows, class In, class Acc>
void logits_by(const LogitsArgs<In, Acc>& a) {
  const std::ptrdiff_t group = a.n_classes > kFewClasses ? a.n_rows : kRows;
  for (std::ptrdiff_t begin = 0; begin < a.n_rows; begin += group) {
    const std::ptrdiff_t end = begin + group < a.n_rows ? begin + group : a.n_rows;
    constexpr int kMax = kTileClasses<kRows>, kMin = kFewestClasses<kRows>;
    for_each_block<kMax, kMin>(a.n_classes, [&](std::ptrdiff_t c0, auto n_tile_classes) {
      constexpr int kClasses = decltype(n_tile_classes)::value;
      std::ptrdiff_t row = begin;
      for (; row + kRows <= end; row += kRows) {
        if (c0 == 0 && row + kRows <= a.n_next) {
          logits_tile<kRows, kClasses, true>(a, row, c0);
        } else {
          logits_tile<kRows, kClasses, false>(a, row, c0);
        }
      }
      for (; row < end; ++row) logits_tile<1, kClasses, false>(a, row, c0);
    });
  }
}

template <class In, class Acc>
void logits(const LogitsArgs<In, Acc>& a) {
  with_tile_rows(a.n_classes, [&](auto n_rows) { logits_by<decltype(n_rows)::value>(a); });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
