// The two products of a pass over X, on a chunk of its rows: logits = X W' + b and the gradient
// dlogits' X. The chunk's logits lie class-major, so that softmax runs along the rows. What X is
// and how the products are made is known here and below alone.
#pragma once

#include <functional>
#include <memory>

#include "logistic/loss.h"

namespace fastsoftmax {

// A chunk of the rows of a pass, in the order of the pass.
struct RowChunk {
  std::ptrdiff_t begin, n_rows;
  bool last;
};

// Logits of a chunk: output r of row i at logits[r * output_stride + i].
template <class T>
struct ChunkLogits {
  T* logits;
  std::ptrdiff_t output_stride;
};

using RowWeight = std::function<double(std::ptrdiff_t row)>;

template <class T>
class Products {
 public:
  Products(std::ptrdiff_t n_features, std::ptrdiff_t chunk_rows, T input_scale)
      : n_features_(n_features), chunk_rows_(chunk_rows), scale_(input_scale) {}
  virtual ~Products() = default;

  std::ptrdiff_t chunk_rows() const { return chunk_rows_; }
  // That each output meets.
  virtual double entries_per_row() const { return static_cast<double>(n_features_); }

  // W (n_outputs, n_features), b (n_outputs): kept by the caller until the pass is over.
  virtual void set_weights(const T* W, const T* b, std::ptrdiff_t n_outputs) {
    W_ = W, b_ = b, n_outputs_ = n_outputs;
  }
  // The logits of some rows of the chunk.
  virtual void forward(const Rows& rows, const RowChunk& chunk, Range mine, int piece,
                       const ChunkLogits<T>& out) = 0;
  // What backward needs of the chunk, in as many pieces; then its rows of the gradient (n_outputs
  // pointers) get their sum over the chunk added, without the scale of the inputs, for the features
  // of the piece, at the last chunk at the latest.
  virtual bool needs_preparation() const { return false; }
  virtual void prepare(const Rows&, const RowChunk&, const ChunkLogits<T>&, int, int) {}
  virtual void backward(const Rows& rows, const RowChunk& chunk, const ChunkLogits<T>& dlogits,
                        int piece, int n_pieces, double* const* gradient) = 0;

  // As LogisticLoss's, without the scale of the inputs.
  virtual void add_by_class(const std::int64_t* labels, const RowWeight& weight, double* sums,
                            int n_threads) = 0;
  virtual void gram(const Rows& rows, const float* c, Range features, bool diagonal_only,
                    double* gram, double* sums, int n_threads, StopPoll& stop) = 0;

 protected:
  const std::ptrdiff_t n_features_, chunk_rows_;
  const T scale_;
  std::ptrdiff_t n_outputs_ = 0;
  const T* W_ = nullptr;
  const T* b_ = nullptr;
};

template <class T>
void add_to(const T* values, std::ptrdiff_t n, double* sums) {
  for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] += static_cast<double>(values[i]);
}

// Of a dense or a sparse X; max_outputs: the most that set_weights is called with.
template <class T>
std::unique_ptr<Products<T>> make_dense_products(const InputView& X, double input_scale,
                                                 std::ptrdiff_t max_outputs, int n_threads);
template <class T>
std::unique_ptr<Products<T>> make_csr_products(const CsrView& X, double input_scale,
                                               std::ptrdiff_t max_outputs, int n_threads);

}  // namespace fastsoftmax
