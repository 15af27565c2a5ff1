// Rows of a sparse X times the weights of a model, for predictions. The kernel wants the weights
// feature-major, those of an entry side by side.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "aligned_buffer.h"
#include "dispatch.h"
#include "fastsoftmax/matrix.h"
#include "parallel.h"

namespace fastsoftmax {

// The weights of one output are so already. Those of several are laid so for all features; or where
// X has few entries for that, for the entries of a row, when it comes: then each number is from
// another cache line. A row has the same bits either way, for the kernel meets the same numbers in
// the same order.
enum class CsrWeights { kAsTheyAre, kForAll, kByRow };

inline CsrWeights csr_weights(const CsrView& X, std::ptrdiff_t n_outputs) {
  constexpr std::ptrdiff_t kLine = 4;  // what such a number takes, in numbers of all features
  if (n_outputs == 1) return CsrWeights::kAsTheyAre;
  return X.n_entries() < X.n_cols / kLine ? CsrWeights::kByRow : CsrWeights::kForAll;
}

// What that takes one thread, in nanoseconds.
inline double csr_preparation_ns(const CsrView& X, std::ptrdiff_t n_outputs) {
  constexpr double kNumberNs = 0.5, kLineNs = 2.0;
  const auto outputs = static_cast<double>(n_outputs);
  switch (csr_weights(X, n_outputs)) {
    case CsrWeights::kForAll:
      return static_cast<double>(X.n_cols) * outputs * kNumberNs;
    case CsrWeights::kByRow:
      return static_cast<double>(X.n_entries()) * outputs * kLineNs;
    default:
      return 0;
  }
}

template <class In, class T>
class CsrLogits {
 public:
  CsrLogits(const KernelTable& table, const In* data, const CsrView& X, const T* W,
            std::ptrdiff_t n_outputs, int n_threads)
      : table_(table),
        data_(data),
        X_(X),
        W_(W),
        n_outputs_(n_outputs),
        how_(csr_weights(X, n_outputs)),
        longest_(how_ == CsrWeights::kByRow ? longest_row() : 0),
        stride_(padded<T>(longest_ * n_outputs)),
        weights_(how_ == CsrWeights::kForAll ? X.n_cols * n_outputs : n_threads * stride_),
        places_(longest_) {
    std::iota(places_.data(), places_.data() + longest_, 0);
    if (how_ == CsrWeights::kForAll) transpose(n_threads);
  }

  // logits (n_outputs) of a row, without scale and intercepts.
  void operator()(std::ptrdiff_t row, int thread, T* logits) {
    SparseRow<In> entries = entries_of(row);
    const T* W = how_ == CsrWeights::kForAll ? weights_.data() : W_;
    if (how_ == CsrWeights::kByRow) {
      T* own = weights_.data() + thread * stride_;
      gather(entries, own);
      entries.indices = places_.data();
      entries.wide_indices = nullptr;
      W = own;
    }
    kernels_.sparse_logits(entries, W, n_outputs_, logits);
  }

 private:
  SparseRow<In> entries_of(std::ptrdiff_t row) const {
    const std::ptrdiff_t begin = X_.begin_of_row(row);
    SparseRow<In> entries{data_ + begin, nullptr, nullptr, X_.begin_of_row(row + 1) - begin};
    if (X_.wide_indices) {
      entries.wide_indices = static_cast<const std::int64_t*>(X_.indices) + begin;
    } else {
      entries.indices = static_cast<const std::int32_t*>(X_.indices) + begin;
    }
    return entries;
  }

  std::ptrdiff_t longest_row() const {
    std::ptrdiff_t longest = 0;
    for (std::ptrdiff_t i = 0; i < X_.n_rows; ++i) {
      longest = std::max(longest, X_.begin_of_row(i + 1) - X_.begin_of_row(i));
    }
    return longest;
  }

  void transpose(int n_threads) {
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range mine = share(X_.n_cols, 16, thread, n_running);
      arithmetic_kernels<T>(table_).transpose(
          W_ + mine.begin, X_.n_cols, 1, n_outputs_, mine.end - mine.begin,
          weights_.data() + mine.begin * n_outputs_, n_outputs_);
    });
  }

  void gather(const SparseRow<In>& entries, T* to) const {
    for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
      const T* of_output = W_ + r * X_.n_cols;
      for (std::ptrdiff_t e = 0; e < entries.n_entries; ++e) {
        to[e * n_outputs_ + r] =
            of_output[entries.wide_indices ? entries.wide_indices[e] : entries.indices[e]];
      }
    }
  }

  const KernelTable& table_;
  const StorageKernels<In, T>& kernels_ = storage_kernels<In, T>(table_);
  const In* const data_;
  const CsrView X_;
  const T* const W_;
  const std::ptrdiff_t n_outputs_;
  const CsrWeights how_;
  const std::ptrdiff_t longest_, stride_;  // of rows whose weights are brought together
  AlignedBuffer<T> weights_;
  AlignedBuffer<std::int32_t> places_;  // 0, 1, ..
};

}  // namespace fastsoftmax
