// Whether it pays to skip the zeros in X.
#pragma once

#include <algorithm>
#include <bit>

#include "aligned_buffer.h"
#include "ceil_div.h"
#include "dispatch.h"
#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

// Asked of some rows, evenly spread.
constexpr std::ptrdiff_t kSampleRows = 256;
constexpr double kSparseBelow = 0.6;

// Masks of 32 MB are found once and kept; more are found again by each pass over X.
constexpr std::ptrdiff_t kMaxMaskWords = 4 << 20;

template <class In, class T>
bool has_zero_blocks(const StorageKernels<In, T>& kernels, const In* data, const InputView& X) {
  const std::ptrdiff_t n_blocks = X.n_cols / kernels.block_features;
  const std::ptrdiff_t mask_words = ceil_div(n_blocks, 64);
  const std::ptrdiff_t n_sampled = std::min(X.n_rows, kSampleRows);
  AlignedBuffer<std::uint64_t> mask(mask_words);
  std::ptrdiff_t n_nonzero = 0;
  for (std::ptrdiff_t i = 0; i < n_sampled; ++i) {
    const In* row = data + i * X.n_rows / n_sampled * X.row_stride;
    std::uint64_t* words = mask.data();
    kernels.find_nonzero(&row, 1, X.n_cols, &words);
    for (std::ptrdiff_t w = 0; w < mask_words; ++w) n_nonzero += std::popcount(mask[w]);
  }
  return static_cast<double>(n_nonzero) < kSparseBelow * static_cast<double>(n_sampled * n_blocks);
}

// Whether single numbers are worth being skipped: by the figures of packed_nonzero-inl.h up to a
// third that are not zero.
template <class In>
bool has_few_nonzero(const In* data, const InputView& X) {
  constexpr double kFewBelow = 1.0 / 3.0;
  const std::ptrdiff_t n_sampled = std::min(X.n_rows, kSampleRows);
  std::ptrdiff_t n_nonzero = 0;
  for (std::ptrdiff_t i = 0; i < n_sampled; ++i) {
    const In* row = data + i * X.n_rows / n_sampled * X.row_stride;
    n_nonzero += X.n_cols - std::count(row, row + X.n_cols, In(0));
  }
  return static_cast<double>(n_nonzero) < kFewBelow * static_cast<double>(n_sampled * X.n_cols);
}

}  // namespace fastsoftmax
