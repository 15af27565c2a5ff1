// The products of a pass over a dense X for many outputs: X W' and the gradient dlogits' X in
// packed tiles.
#pragma once

#include "logistic/dense_products.h"
#include "tasks.h"

namespace fastsoftmax {

// Logits of 4 MB and X twice, packed, stay in the third-level cache; the gradient of a chunk is
// added in float64 once for so many rows.
template <class T>
std::ptrdiff_t many_outputs_chunk(std::ptrdiff_t n_rows, std::ptrdiff_t outputs) {
  constexpr std::ptrdiff_t kLogitsBytes = 4 << 20, kLeast = 128, kMost = 1024;
  const std::ptrdiff_t fitting = kLogitsBytes / static_cast<std::ptrdiff_t>(sizeof(T)) / outputs;
  return std::max<std::ptrdiff_t>(1,
                                  std::min(n_rows, std::clamp(fitting / 64 * 64, kLeast, kMost)));
}

template <class In, class T>
class ManyOutputs final : public DenseProducts<In, T> {
  using Base = DenseProducts<In, T>;
  using Base::chunk_rows_, Base::data_, Base::row, Base::X_;

 public:
  ManyOutputs(const In* data, const InputView& X, std::ptrdiff_t max_outputs, Precision precision,
              int n_threads)
      : Base(data, X, many_outputs_chunk<T>(X.n_rows, max_outputs)),
        precision_(precision),
        table_(fastsoftmax::kernels(precision)),
        n_threads_(n_threads),
        features_{X.n_cols, ceil_div(X.n_cols, kSlice)},
        feature_depth_(arithmetic_.gemm_depth(ceil_div(X.n_cols, features_.n_parts))),
        row_depth_(arithmetic_.gemm_depth(std::min(chunk_rows_, kSlice))),
        row_slices_(ceil_div(chunk_rows_, kSlice)),
        padded_outputs_(std::max(round_up(max_outputs, arithmetic_.gemm_rows),
                                 round_up(max_outputs, arithmetic_.gemm_columns))),
        padded_features_(round_up(X.n_cols, arithmetic_.gemm_columns)),
        packed_W_(padded_outputs_ * feature_depth_ * features_.n_parts),
        packed_X_(std::max(kRowBlock * feature_depth_ * n_threads,
                           padded_features_ * row_depth_ * row_slices_)),
        packed_dlogits_(padded_outputs_ * row_depth_ * row_slices_),
        tiles_(kTileOutputs * kTileFeatures * n_threads),
        chunk_copy_(chunk_rows_ * X.n_cols) {}

  Precision precision() const override { return precision_; }

  void set_weights(const T* W, std::ptrdiff_t n_outputs, std::ptrdiff_t n_gradients) override {
    n_outputs_ = n_outputs;
    n_gradients_ = n_gradients;
    Tasks tasks;
    const Cuts outputs{n_outputs, ceil_div(n_outputs, 4 * arithmetic_.gemm_columns),
                       arithmetic_.gemm_columns};
    parallel_region(n_threads_, [&](int, int) {
      tasks.run(outputs.n_parts * features_.n_parts, [&](std::ptrdiff_t task) {
        const std::ptrdiff_t slice = task % features_.n_parts;
        const Range k = features_[slice], r = outputs[task / features_.n_parts];
        own_kernels_.gemm_pack_b(
            W + r.begin * X_.n_cols + k.begin, 1, X_.n_cols, k.end - k.begin, r.end - r.begin,
            W_slice(slice) + r.begin * arithmetic_.gemm_depth(k.end - k.begin));
      });
    });
  }

  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int piece,
               const ChunkProducts<T>& out) override {
    gather(rows, chunk, mine);
    const auto [X, x_stride] = chunk_rows_at(rows, chunk);
    T* packed = packed_X_.data() + piece * kRowBlock * feature_depth_;
    for (std::ptrdiff_t i = mine.begin; i < mine.end; i += kRowBlock) {
      const std::ptrdiff_t n = std::min(kRowBlock, mine.end - i);
      for (std::ptrdiff_t slice = 0; slice < features_.n_parts; ++slice) {
        const Range k = features_[slice];
        const std::ptrdiff_t depth = k.end - k.begin;
        kernels_.gemm_pack_a(X + i * x_stride + k.begin, x_stride, 1, n, depth, packed);
        arithmetic_.gemm(packed, W_slice(slice), n, depth, n_outputs_,
                         out.data + i * out.row_stride, out.row_stride, slice > 0);
      }
    }
  }

  bool needs_preparation() const override { return true; }
  void prepare(const Rows& rows, const RowChunk& chunk, const ChunkProducts<T>& dlogits, int piece,
               int n_pieces) override {
    const auto [X, x_stride] = chunk_rows_at(rows, chunk);
    const Cuts slices = row_slices(chunk);
    const Range r = share(n_gradients_, arithmetic_.gemm_rows, piece, n_pieces);
    const Range f = share(X_.n_cols, arithmetic_.gemm_columns, piece, n_pieces);
    for (std::ptrdiff_t slice = 0; slice < slices.n_parts; ++slice) {
      const Range k = slices[slice];
      const std::ptrdiff_t n_rows = k.end - k.begin, depth = arithmetic_.gemm_depth(n_rows);
      if (r.begin < r.end) {
        own_kernels_.gemm_pack_a(dlogits.data + k.begin * dlogits.row_stride + r.begin, 1,
                                 dlogits.row_stride, r.end - r.begin, n_rows,
                                 dlogits_slice(slice) + r.begin * depth);
      }
      if (f.begin < f.end) {
        kernels_.gemm_pack_b(X + k.begin * x_stride + f.begin, x_stride, 1, n_rows, f.end - f.begin,
                             X_slice(slice) + f.begin * depth);
      }
    }
  }

  void backward(const Rows&, const RowChunk& chunk, const ChunkProducts<T>&, int piece,
                int n_pieces, double* const* gradient) override {
    const Cuts slices = row_slices(chunk);
    const Range mine = share(X_.n_cols, arithmetic_.gemm_columns, piece, n_pieces);
    T* tile = tiles_.data() + piece * kTileOutputs * kTileFeatures;
    for (std::ptrdiff_t f = mine.begin; f < mine.end; f += kTileFeatures) {
      const std::ptrdiff_t n_f = std::min(kTileFeatures, mine.end - f);
      const std::ptrdiff_t step = kTileOutputs / arithmetic_.gemm_rows * arithmetic_.gemm_rows;
      for (std::ptrdiff_t r = 0; r < n_gradients_; r += step) {
        const std::ptrdiff_t n_r = std::min(step, n_gradients_ - r);
        for (std::ptrdiff_t slice = 0; slice < slices.n_parts; ++slice) {
          const Range k = slices[slice];
          const std::ptrdiff_t n_rows = k.end - k.begin, depth = arithmetic_.gemm_depth(n_rows);
          arithmetic_.gemm(dlogits_slice(slice) + r * depth, X_slice(slice) + f * depth, n_r,
                           n_rows, n_f, tile, kTileFeatures, slice > 0);
        }
        for (std::ptrdiff_t j = 0; j < n_r; ++j) {
          add_to(tile + j * kTileFeatures, n_f, gradient[r + j] + f);
        }
      }
    }
  }

 private:
  // Slices of the depth of a product, of 2 KB in float32 (packed_product.h); rows whose packed
  // slices stay in the second-level cache (half or twice as many make no difference); tiles of the
  // gradient that do (of 64 to 192 outputs and 128 or 256 features, no difference).
  static constexpr std::ptrdiff_t kSlice = 2048 / sizeof(T);
  static constexpr std::ptrdiff_t kRowBlock = 192, kTileOutputs = 96, kTileFeatures = 256;

  T* W_slice(std::ptrdiff_t slice) {
    return packed_W_.data() + slice * feature_depth_ * padded_outputs_;
  }
  T* X_slice(std::ptrdiff_t slice) {
    return packed_X_.data() + slice * row_depth_ * padded_features_;
  }
  T* dlogits_slice(std::ptrdiff_t slice) {
    return packed_dlogits_.data() + slice * row_depth_ * padded_outputs_;
  }

  Cuts row_slices(const RowChunk& chunk) const {
    return {chunk.n_rows, ceil_div(chunk.n_rows, kSlice)};
  }

  struct Strided {
    const In* data;
    std::ptrdiff_t row_stride;
  };
  // The rows of the chunk: where they lie, or where their threads have gathered them.
  Strided chunk_rows_at(const Rows& rows, const RowChunk& chunk) const {
    if (rows.stride == 1) return {row(rows, chunk.begin), X_.row_stride};
    return {chunk_copy_.data(), X_.n_cols};
  }
  void gather(const Rows& rows, const RowChunk& chunk, Range mine) {
    if (rows.stride == 1) return;
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      std::copy_n(row(rows, chunk.begin + i), X_.n_cols, chunk_copy_.data() + i * X_.n_cols);
    }
  }

  const Precision precision_;
  const KernelTable& table_;
  const StorageKernels<In, T>& kernels_ = storage_kernels<In, T>(table_);
  const StorageKernels<T, T>& own_kernels_ = storage_kernels<T, T>(table_);
  const ArithmeticKernels<T>& arithmetic_ = arithmetic_kernels<T>(table_);
  const int n_threads_;
  const Cuts features_;
  // What slices of features and of a chunk's rows take of a panel, at the most.
  const std::ptrdiff_t feature_depth_, row_depth_, row_slices_;
  const std::ptrdiff_t padded_outputs_, padded_features_;
  std::ptrdiff_t n_outputs_ = 0, n_gradients_ = 0;
  AlignedBuffer<T> packed_W_, packed_X_, packed_dlogits_, tiles_;
  AlignedBuffer<In> chunk_copy_;
};

}  // namespace fastsoftmax
