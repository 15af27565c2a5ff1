// Masks of rows (kernel_table.h) by columns: in which rows a block, or a feature, is not zero.
#pragma once

#include "kernels/kernel_table.h"
#include "kernels/sgd_step-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

// 64 columns of the masks of at most kMaxMaskedRows rows.
class MaskColumns {
 public:
  // word_of(row): the row's bits of these columns.
  template <class F>
  void load(std::ptrdiff_t n_rows, const F& word_of) {
    n_groups_ = (n_rows + 63) / 64;
    for (std::ptrdiff_t group = 0; group < n_groups_; ++group) {
      for (std::ptrdiff_t i = 0, row = 64 * group; i < 64; ++i, ++row) {
        rows_[group][i] = row < n_rows ? word_of(row) : 0;
      }
      transpose_bits(rows_[group]);
    }
  }

  // f(row) for the rows of a column, 0..63, in ascending order.
  template <class F>
  [[gnu::always_inline]] void for_rows(std::ptrdiff_t column, const F& f) const {
    for (std::ptrdiff_t group = 0; group < n_groups_; ++group) {
      for (std::uint64_t bits = rows_[group][column]; bits; bits &= bits - 1) {
        f(64 * group + __builtin_ctzll(bits));
      }
    }
  }

 private:
  std::uint64_t rows_[kMaxMaskedRows / 64][64];
  std::ptrdiff_t n_groups_ = 0;
};

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
