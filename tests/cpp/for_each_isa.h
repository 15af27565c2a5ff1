// Runs a body under each instruction set of this machine, and makes sure that it really ran there.
#pragma once

#include <string>

#include "check.h"
#include "dispatch.h"
#include "fastsoftmax/isa.h"
#include "kernels/kernel_table.h"

namespace test {

template <class Acc>
bool differs(const fastsoftmax::ArithmeticKernels<Acc>& a,
             const fastsoftmax::ArithmeticKernels<Acc>& b) {
  return a.softmax != b.softmax && a.log_softmax != b.log_softmax && a.logsumexp != b.logsumexp &&
         a.softmax_columns != b.softmax_columns && a.log_softmax_columns != b.log_softmax_columns &&
         a.logsumexp_columns != b.logsumexp_columns && a.add_rows != b.add_rows &&
         a.cross_entropy_of_parts != b.cross_entropy_of_parts &&
         a.softmax_streamed != b.softmax_streamed &&
         a.log_softmax_streamed != b.log_softmax_streamed && a.cross_entropy != b.cross_entropy &&
         a.logistic_of_parts != b.logistic_of_parts && a.gemm != b.gemm &&
         a.gemm_unpacked != b.gemm_unpacked && a.gemm_depth != b.gemm_depth &&
         a.argmax != b.argmax && a.scale_and_shift != b.scale_and_shift &&
         a.transpose != b.transpose && a.packed_logits != b.packed_logits &&
         a.packed_update != b.packed_update && a.packed_logits_nonzero != b.packed_logits_nonzero &&
         a.packed_update_nonzero != b.packed_update_nonzero;
}
template <class In, class Acc>
bool differs(const fastsoftmax::StorageKernels<In, Acc>& a,
             const fastsoftmax::StorageKernels<In, Acc>& b) {
  return a.find_nonzero != b.find_nonzero && a.logits != b.logits &&
         a.panel_logits_blocks != b.panel_logits_blocks &&
         a.panel_update_blocks != b.panel_update_blocks && a.panel_logits != b.panel_logits &&
         a.panel_update != b.panel_update && a.widen_rows != b.widen_rows &&
         a.sparse_logits != b.sparse_logits && a.add_sparse_row != b.add_sparse_row &&
         a.gemm_pack_a != b.gemm_pack_a && a.gemm_pack_b != b.gemm_pack_b &&
         a.pack_weights != b.pack_weights;
}

// No slot of a has the function of b.
inline bool differs(const fastsoftmax::KernelTable& a, const fastsoftmax::KernelTable& b) {
  return differs(a.f32, b.f32) && differs(a.f64, b.f64) && differs(a.f32_f32, b.f32_f32) &&
         differs(a.u8_f32, b.u8_f32) && differs(a.f64_f64, b.f64_f64) &&
         differs(a.f32_f64, b.f32_f64) && differs(a.u8_f64, b.u8_f64);
}

template <class F>
void for_each_isa(const F& body) {
  const std::string before = fastsoftmax::active_isa();
  fastsoftmax::KernelTable scalar{};
  fastsoftmax::fill_scalar(scalar);
  for (const std::string& isa : fastsoftmax::supported_isas()) {
    fastsoftmax::set_active_isa(isa);
    CHECK_EQ(fastsoftmax::active_isa(), isa);
    CHECK_EQ(differs(fastsoftmax::kernels(), scalar), isa != "scalar");
    body();
    CHECK_EQ(fastsoftmax::active_isa(), isa);
  }
  fastsoftmax::set_active_isa(before);
}

// f(In(), Acc()) for each column of the table: the storage type of X and that of the arithmetic.
template <class F>
void for_each_column(const F& f) {
  f(float(), float());
  f(std::uint8_t(), float());
  f(double(), double());
  f(float(), double());
  f(std::uint8_t(), double());
}

template <class In>
const char* name_of(In) {
  return sizeof(In) == 1 ? "u8" : sizeof(In) == 4 ? "f32" : "f64";
}

// The context of a case: the instruction set, the column, the shape.
template <class... Numbers>
void set_context(const char* in, const char* acc, Numbers... shape) {
  context = fastsoftmax::active_isa() + ' ' + in + '_' + acc;
  ((context += ' ' + std::to_string(shape)), ...);
}

}  // namespace test
