// A mini-batch step for many classes: both products in register tiles of gemm, on weights that stay
// packed from step to step. Rows of X are met where they lie: a tile reads numbers of kGemmRows
// rows (forward) or of kGemmRows features (backward) one by one, and they are not packed.
//
// The bits of a logit depend on its row and class alone, those of a weight on its feature and
// class. Threads may share panels, rows (forward) and features (backward) in any way.
#pragma once

#include "kernels/gemm-inl.h"
#include "kernels/weight_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Rows that a tile meets stay in the first-level cache while panels pass: slices of the features.
constexpr std::ptrdiff_t kPackedSliceBytes = 24 << 10;
// Panels, or slices of them, that stay in the second-level cache while rows pass.
constexpr std::ptrdiff_t kPackedGroupBytes = 192 << 10;

// f(panel, first class of it, Count<its vectors>) for the panels [begin, end).
template <class Acc, class F>
void for_panels(const PackedRows<Acc>& a, std::ptrdiff_t begin, std::ptrdiff_t end, const F& f) {
  for (std::ptrdiff_t panel = begin; panel < end; ++panel) {
    const std::ptrdiff_t c = panel * kGemmColumns<Acc>, left = a.n_classes - c;
    const std::ptrdiff_t n_vecs =
        left < kGemmColumns<Acc> ? (left + Vec<Acc>::kLanes - 1) / Vec<Acc>::kLanes : kGemmVecs;
    with_count<kGemmVecs>(n_vecs, [&](auto vecs) { f(panel, c, vecs); });
  }
}

template <int kRows, int kVecs, class Acc>
void packed_logits_tile(const Acc* X, std::ptrdiff_t x_stride, const Acc* W, std::ptrdiff_t k,
                        const Acc* next, bool accumulate, Acc* logits, std::ptrdiff_t row_stride) {
  using V = Vec<Acc>;
  V sum[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      sum[r][v] = accumulate ? V::load(logits + r * row_stride + v * V::kLanes) : V::zero();
    }
  }
  add_products(X, x_stride, 1, W, kGemmColumns<Acc>, k, next, sum);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sum[r][v].store(logits + r * row_stride + v * V::kLanes);
  }
}

template <class Acc>
void packed_logits(const PackedLogits<Acc>& a) {
  constexpr std::ptrdiff_t kMostDepth =
      kPackedSliceBytes / kGemmRows / static_cast<std::ptrdiff_t>(sizeof(Acc));
  const std::ptrdiff_t panel_size = a.n_features * kGemmColumns<Acc>;
  const std::ptrdiff_t n_slices = (a.n_features + kMostDepth - 1) / kMostDepth;
  const std::ptrdiff_t depth = (a.n_features + n_slices - 1) / n_slices;
  const std::ptrdiff_t slice_bytes =
      depth * kGemmColumns<Acc> * static_cast<std::ptrdiff_t>(sizeof(Acc));
  const std::ptrdiff_t group =
      slice_bytes < kPackedGroupBytes ? kPackedGroupBytes / slice_bytes : 1;
  for (std::ptrdiff_t first = a.first_panel; first < a.last_panel; first += group) {
    const std::ptrdiff_t last = a.last_panel - first < group ? a.last_panel : first + group;
    for (std::ptrdiff_t f = 0; f < a.n_features; f += depth) {
      const std::ptrdiff_t k = a.n_features - f < depth ? a.n_features - f : depth;
      for (std::ptrdiff_t i = 0; i < a.n_rows; i += kGemmRows) {
        with_count<kGemmRows>(a.n_rows - i < kGemmRows ? a.n_rows - i : kGemmRows, [&](auto rows) {
          const auto slice_of = [&](std::ptrdiff_t panel) {
            return a.W + panel * panel_size + f * kGemmColumns<Acc>;
          };
          for_panels(a, first, last, [&](std::ptrdiff_t panel, std::ptrdiff_t c, auto vecs) {
            packed_logits_tile<decltype(rows)::value, decltype(vecs)::value>(
                a.X + i * a.x_stride + f, a.x_stride, slice_of(panel), k,
                slice_of(panel + 1 < last ? panel + 1 : first), f > 0,
                a.logits + i * a.row_stride + c, a.row_stride);
          });
        });
      }
    }
  }
}

template <int kFeatures, int kVecs, class Acc>
void packed_update_tile(const PackedUpdate<Acc>& a, const UpdateRule<Acc>& rule, std::ptrdiff_t f,
                        const Acc* dlogits, std::ptrdiff_t at) {
  using V = Vec<Acc>;
  V sum[kFeatures][kVecs];
  const auto begin_of = [at](int r) { return at + r * kGemmColumns<Acc>; };
  begin_sums(a, begin_of, V::kLanes, sum);
  add_products(a.X + f, 1, a.x_stride, dlogits, kGemmColumns<Acc>, a.n_rows, dlogits, sum);
  take_step(a, rule, begin_of, V::kLanes, sum);
}

// The dlogits of a panel's classes are copied together, as many rows as there may be, and stay in
// the first-level cache while features pass. Each row of 1000 classes has a page of its own: met
// where they lie, the pass is 1.1x slower (100 classes: no difference).
template <class Acc>
void packed_update(const PackedUpdate<Acc>& a) {
  const UpdateRule<Acc> rule(a);
  const std::ptrdiff_t panel_size = a.n_features * kGemmColumns<Acc>;
  alignas(64) Acc dlogits[kMaxUpdateRows * kGemmColumns<Acc>];
  for_panels(
      a, a.first_panel, a.last_panel, [&](std::ptrdiff_t panel, std::ptrdiff_t c, auto vecs) {
        for (std::ptrdiff_t i = 0; i < a.n_rows; ++i) {
          for (std::ptrdiff_t j = 0; j < kGemmColumns<Acc>; j += Vec<Acc>::kLanes) {
            Vec<Acc>::load(a.dlogits + i * a.row_stride + c + j)
                .store(dlogits + i * kGemmColumns<Acc> + j);
          }
        }
        for (std::ptrdiff_t f = a.begin; f < a.end; f += kGemmRows) {
          with_count<kGemmRows>(a.end - f < kGemmRows ? a.end - f : kGemmRows, [&](auto features) {
            packed_update_tile<decltype(features)::value, decltype(vecs)::value>(
                a, rule, f, dlogits, panel * panel_size + f * kGemmColumns<Acc>);
          });
        }
      });
}

// The next row is fetched meanwhile: rows of a shuffled batch are on pages of their own.
template <class In, class Acc>
void widen_rows(const In* const* rows, std::ptrdiff_t n_rows, std::ptrdiff_t n_features,
                std::ptrdiff_t out_stride, Acc* out, std::uint64_t* masks) {
  using V = Vec<Acc>;
  constexpr std::ptrdiff_t kPerLine = 64 / sizeof(In);
  for (std::ptrdiff_t i = 0; i < n_rows; ++i, out += out_stride) {
    const In* x = rows[i];
    if (i + 1 < n_rows) {
      for (std::ptrdiff_t f = 0; f < n_features; f += kPerLine) __builtin_prefetch(rows[i + 1] + f);
    }
    std::uint64_t bits = 0;
    for (std::ptrdiff_t f = 0; f < n_features; f += V::kLanes) {
      const std::ptrdiff_t n = n_features - f;
      const V v = n < V::kLanes ? load_n<Acc>(x + f, n) : load<Acc>(x + f);
      n < V::kLanes ? v.store_n(out + f, n) : v.store(out + f);
      if (!masks) continue;
      bits |= nonzero_lanes(v) << f % 64;
      if ((f + V::kLanes) % 64 == 0 || n <= V::kLanes) {
        *masks++ = bits;
        bits = 0;
      }
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
