// Every kernel of one instruction set into the table: the list of what there is.
#pragma once

#include "kernels/argmax-inl.h"
#include "kernels/cross_entropy_lanes-inl.h"
#include "kernels/gemm-inl.h"
#include "kernels/kernel_table.h"
#include "kernels/logits-inl.h"
#include "kernels/masks-inl.h"
#include "kernels/packed_nonzero-inl.h"
#include "kernels/packed_step-inl.h"
#include "kernels/panel_logits-inl.h"
#include "kernels/panel_update-inl.h"
#include "kernels/softmax_columns-inl.h"
#include "kernels/sparse_rows-inl.h"

namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE {
namespace {

template <class Acc>
void fill(ArithmeticKernels<Acc>& table) {
  table.softmax = softmax<Acc>;
  table.log_softmax = log_softmax<Acc>;
  table.softmax_streamed = softmax_streamed<Acc>;
  table.log_softmax_streamed = log_softmax_streamed<Acc>;
  table.logsumexp = logsumexp<Acc>;
  table.softmax_columns = softmax_columns<Acc>;
  table.log_softmax_columns = log_softmax_columns<Acc>;
  table.logsumexp_columns = logsumexp_columns<Acc>;
  table.cross_entropy = cross_entropy_rows<Acc>;
  table.cross_entropy_of_parts = cross_entropy_of_parts<Acc>;
  table.logistic_of_parts = logistic_of_parts<Acc>;
  table.add_rows = add_rows<Acc>;
  table.argmax = argmax<Acc>;
  table.scale_and_shift = scale_and_shift<Acc>;
  table.transpose = transpose_matrix<Acc>;
  table.gemm = gemm<Acc>;
  table.gemm_unpacked = gemm_unpacked<Acc>;
  table.gemm_few_rows = kGemmFewRows;
  table.gemm_rows = kGemmRows;
  table.gemm_columns = kGemmColumns<Acc>;
  table.gemm_depth = gemm_depth;
  table.step_rows = kGemmRows;
  table.step_columns = kGemmColumns<Acc>;
  table.packed_logits = packed_logits<Acc>;
  table.packed_update = packed_update<Acc>;
  table.packed_logits_nonzero = packed_logits_nonzero<Acc>;
  table.packed_update_nonzero = packed_update_nonzero<Acc>;
}

// What must agree on the size of a vector, that skipping a block changes no bit.
template <class In, class Acc>
void fill_block_kernels(StorageKernels<In, Acc>& table) {
  table.find_nonzero = find_nonzero<In, Acc>;
  table.block_features = Vec<Acc>::kLanes;
  table.logits = logits<In, Acc>;
  table.panel_logits = panel_logits<In, Acc>;
  table.panel_logits_blocks = panel_logits_blocks<In, Acc>;
  table.panel_update = panel_update<In, Acc>;
  table.panel_update_blocks = panel_update_blocks<In, Acc>;
}

template <class In, class Acc>
void fill(StorageKernels<In, Acc>& table) {
  fill_block_kernels(table);
  table.widen_rows = widen_rows<In, Acc>;
  table.sparse_logits = sparse_logits<In, Acc>;
  table.add_sparse_row = add_sparse_row<In>;
  table.gemm_pack_a = gemm_pack_a<In, Acc>;
  table.gemm_pack_b = gemm_pack_b<In, Acc>;
  table.pack_weights = gemm_pack_b<In, Acc>;
}

inline void fill_block_kernels(KernelTable& table) {
  fill_block_kernels(table.f32_f32);
  fill_block_kernels(table.u8_f32);
  fill_block_kernels(table.f64_f64);
  fill_block_kernels(table.f32_f64);
  fill_block_kernels(table.u8_f64);
}

inline void fill_kernels(KernelTable& table) {
  fill(table.f32);
  fill(table.f64);
  fill(table.f32_f32);
  fill(table.u8_f32);
  fill(table.f64_f64);
  fill(table.f32_f64);
  fill(table.u8_f64);
}

}  // namespace
}  // namespace fastsoftmax::FASTSOFTMAX_ISA_NAMESPACE
