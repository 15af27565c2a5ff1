// C = A B on packed matrices: a register tile of kGemmRows x kGemmVecs vectors walks along k. Cache
// blocks and threads are the caller's (packed_product.h and others).
#pragma once

#include "kernels/transpose-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// Panels of B that are met at once: with slices of k of 2 KB, 512 KB of B at 32 columns. AMD Zen 4,
// two threads, 1024^3 in float32: 202 GFLOP/s for 1 panel, 206 for 4 and 8, 210 for all (which a
// smaller third-level cache would not forgive).
constexpr std::ptrdiff_t kGemmChunk = 8;

// The most rows for which columns of B are not packed, and how far ahead in k these are fetched.
// Microseconds on one thread of a Zen 1 with 1000 columns of 392 float32, in the cache: one row 220
// packed and 94 so, 4 rows 239 and 155, 6 rows 336 and 216. With 8000 columns of 512, from memory,
// one row: 3000 packed, 2300 so but not fetched, 2000 fetched.
constexpr int kGemmFewRows = kGemmRows < 6 ? kGemmRows : 6;
constexpr std::ptrdiff_t kUnpackedAhead = 64;

template <class Acc>
constexpr std::ptrdiff_t kGemmColumns = kGemmVecs * Vec<Acc>::kLanes;

// One panel: depth columns of kPanel numbers, those from n_left on zeros. Number i of column p is
// at source[i * across + p * along]; where there are more than a panel takes, whole vectors are
// read.
template <std::ptrdiff_t kPanel, class In, class Acc>
void pack_panel(const In* source, std::ptrdiff_t across, std::ptrdiff_t along,
                std::ptrdiff_t n_left, std::ptrdiff_t depth, Acc* packed) {
  using V = Vec<Acc>;
  constexpr std::ptrdiff_t kLanes = V::kLanes, kLast = (kPanel - 1) / kLanes * kLanes;
  if (across == 1) {
    for (std::ptrdiff_t p = 0; p < depth; ++p, source += along, packed += kPanel) {
      for (std::ptrdiff_t i = 0; i < kPanel; i += kLanes) {
        const std::ptrdiff_t n = n_left - i;
        const V v = n >= kLanes ? load<Acc>(source + i)
                    : n > 0     ? load_n<Acc>(source + i, n)
                                : V::zero();
        store_first(v, kPanel - i, packed + i, p + 1 < depth);
      }
    }
  } else if (along == 1) {
    for (std::ptrdiff_t p = 0; p < depth; p += kLanes) {
      for (std::ptrdiff_t i = kLast; i >= 0; i -= kLanes) {  // what spills is overwritten after it
        const auto store = [&](std::ptrdiff_t q, V column) __attribute__((always_inline)) {
          store_first(column, kPanel - i, packed + (p + q) * kPanel + i, p + q + 1 < depth);
        };
        for_each_column<Acc>(source + i * across + p, across, n_left - i, depth - p, store);
      }
    }
  } else {
    for (std::ptrdiff_t p = 0; p < depth; ++p, source += along, packed += kPanel) {
      for (std::ptrdiff_t i = 0; i < kPanel; ++i) {
        packed[i] = i < n_left ? static_cast<Acc>(source[i * across]) : Acc(0);
      }
    }
  }
}

inline std::ptrdiff_t gemm_depth(std::ptrdiff_t k) { return k; }

template <class In, class Acc>
void gemm_pack_a(const In* A, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                 std::ptrdiff_t m, std::ptrdiff_t k, Acc* packed) {
  for (std::ptrdiff_t i = 0; i < m; i += kGemmRows) {
    pack_panel<kGemmRows>(A + i * row_stride, row_stride, col_stride, m - i, k, packed + i * k);
  }
}

template <class In, class Acc>
void gemm_pack_b(const In* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                 std::ptrdiff_t k, std::ptrdiff_t n, Acc* packed) {
  constexpr std::ptrdiff_t kPanel = kGemmColumns<Acc>;
  for (std::ptrdiff_t j = 0; j < n; j += kPanel) {
    pack_panel<kPanel>(B + j * col_stride, col_stride, row_stride, n - j, k, packed + j * k);
  }
}

// sum[r][v] += the products along k of A, with number p of row r at A[r * a_row + p * a_step], and
// of kVecs vectors at B + p * b_step. B is fetched ahead, and towards its end what begins at next
// and is met then; what may lie beyond it is not, for a page that is not there is looked for anew
// for each line.
template <int kRows, int kVecs, class Acc>
[[gnu::always_inline]] inline void add_products(const Acc* A, std::ptrdiff_t a_row,
                                                std::ptrdiff_t a_step, const Acc* B,
                                                std::ptrdiff_t b_step, std::ptrdiff_t k,
                                                const Acc* next, Vec<Acc> (&sum)[kRows][kVecs]) {
  using V = Vec<Acc>;
  const Acc* ahead = k > kGemmAhead ? B + kGemmAhead * b_step : next;
  const Acc* const end = B + k * b_step;
  const auto add = [&](std::ptrdiff_t p) __attribute__((always_inline)) {
    if constexpr (kGemmAhead > 0) {
      __builtin_prefetch(ahead, 0, 3);
      ahead += b_step;
      ahead = ahead == end ? next : ahead;
    }
    V b[kVecs];
    for (int v = 0; v < kVecs; ++v) b[v] = V::load(B + p * b_step + v * V::kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V a = V::splat(A[r * a_row + p * a_step]);
      for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(a, b[v], sum[r][v]);
    }
  };
  for (; k >= kGemmSteps; k -= kGemmSteps, A += kGemmSteps * a_step, B += kGemmSteps * b_step) {
    for (int p = 0; p < kGemmSteps; ++p) add(p);
  }
  for (; k > 0; --k, A += a_step, B += b_step) add(0);
}

// width <= kVecs * kLanes columns of C.
template <int kRows, int kVecs, class Acc>
void gemm_tile(const Acc* A, const Acc* B, std::ptrdiff_t k, const Acc* next, std::ptrdiff_t width,
               Acc* C, std::ptrdiff_t c_row_stride, bool accumulate) {
  using V = Vec<Acc>;
  V sum[kRows][kVecs];
  for (auto& of_row : sum) {
    for (V& s : of_row) s = V::zero();
  }
  if (accumulate) {
    for (int r = 0; r < kRows; ++r) __builtin_prefetch(C + r * c_row_stride, 1);
  }
  add_products(A, 1, kGemmRows, B, kGemmColumns<Acc>, k, next, sum);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      Acc* out = C + r * c_row_stride + v * V::kLanes;
      add_or_store(sum[r][v], width - v * V::kLanes, out, accumulate);
    }
  }
}

// A panel of A stays in the first-level cache while it meets some panels of B, which stay in the
// second until all panels of A have passed.
template <class Acc>
void gemm(const Acc* A, const Acc* B, std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n, Acc* C,
          std::ptrdiff_t c_row_stride, bool accumulate) {
  constexpr std::ptrdiff_t kPanel = kGemmColumns<Acc>, kChunk = kGemmChunk * kPanel;
  for (std::ptrdiff_t begin = 0; begin < n; begin += kChunk) {
    const std::ptrdiff_t end = n - begin < kChunk ? n : begin + kChunk;
    for (std::ptrdiff_t i = 0; i < m; i += kGemmRows) {
      with_count<kGemmRows>(m - i < kGemmRows ? m - i : kGemmRows, [&](auto rows) {
        for (std::ptrdiff_t j = begin; j < end; j += kPanel) {
          const std::ptrdiff_t width = end - j < kPanel ? end - j : kPanel;
          const Acc* next = B + (j + kPanel < end ? j + kPanel : begin) * k;
          const std::ptrdiff_t n_vecs = (width + Vec<Acc>::kLanes - 1) / Vec<Acc>::kLanes;
          with_count<kGemmVecs>(n_vecs, [&](auto vecs) {
            gemm_tile<decltype(rows)::value, decltype(vecs)::value>(A + i * k, B + j * k, k, next,
                                                                    width, C + i * c_row_stride + j,
                                                                    c_row_stride, accumulate);
          });
        }
      });
    }
  }
}

// kGroups vectors of columns of B, of which n_left are there, times the first kRows of a panel of
// A.
template <int kRows, int kGroups, class Acc>
void gemm_unpacked_tile(const Acc* A, const Acc* B, std::ptrdiff_t column_stride, std::ptrdiff_t k,
                        std::ptrdiff_t n_left, Acc* C, std::ptrdiff_t c_row_stride,
                        bool accumulate) {
  using V = Vec<Acc>;
  constexpr std::ptrdiff_t kLanes = V::kLanes, kPerLine = 64 / sizeof(Acc);
  V sum[kGroups][kRows];
  for (auto& of_group : sum) {
    for (V& s : of_group) s = V::zero();
  }
  for (std::ptrdiff_t p = 0; p < k; p += kLanes) {
    for (int g = 0; g < kGroups; ++g) {
      const std::ptrdiff_t n = n_left - g * kLanes;
      const Acc* columns = B + g * kLanes * column_stride + p;
      if (p % kPerLine == 0 && n >= kLanes) {
        for (std::ptrdiff_t j = 0; j < kLanes; ++j) {
          __builtin_prefetch(columns + j * column_stride + kUnpackedAhead, 0, 3);
        }
      }
      const auto add = [&](std::ptrdiff_t q, V b) __attribute__((always_inline)) {
        for (int r = 0; r < kRows; ++r) {
          sum[g][r] = fma(V::splat(A[(p + q) * kGemmRows + r]), b, sum[g][r]);
        }
      };
      for_each_column<Acc>(columns, column_stride, n, k - p, add);
    }
  }
  for (int g = 0; g < kGroups; ++g) {
    for (int r = 0; r < kRows; ++r) {
      add_or_store(sum[g][r], n_left - g * kLanes, C + r * c_row_stride + g * kLanes, accumulate);
    }
  }
}

// Squares of B are transposed in registers: for few rows panels would take longer to write than the
// products.
template <class Acc>
void gemm_unpacked(const Acc* A, const Acc* B, std::ptrdiff_t column_stride, std::ptrdiff_t m,
                   std::ptrdiff_t k, std::ptrdiff_t n, Acc* C, std::ptrdiff_t c_row_stride,
                   bool accumulate) {
  with_count<kGemmFewRows>(m, [&](auto rows) {
    constexpr int kRows = decltype(rows)::value, kGroups = kRows > 2 ? 1 : 4 / kRows;
    constexpr std::ptrdiff_t kLanes = Vec<Acc>::kLanes;
    std::ptrdiff_t j = 0;
    const auto tile = [&](auto groups) {
      gemm_unpacked_tile<kRows, decltype(groups)::value>(A, B + j * column_stride, column_stride, k,
                                                         n - j, C + j, c_row_stride, accumulate);
      j += decltype(groups)::value * kLanes;
    };
    while (n - j >= kGroups * kLanes) tile(Count<kGroups>());
    while (j < n) tile(Count<1>());
  });
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
