// The two products of a pass over X, on a chunk of its rows: X W', of which the logits are made,
// and the gradient dlogits' X. A row of either has all outputs side by side. What X is and how the
// products are made is known here and below alone.
#pragma once

#include <functional>
#include <memory>

#include "dispatch.h"
#include "logistic/loss.h"

namespace fastsoftmax {

// A chunk of the rows of a pass, in the order of the pass.
struct RowChunk {
  std::ptrdiff_t begin, n_rows;
  bool last;
};

// Products with the rows of a chunk, or dlogits (these in one part): that of row i and output r is
// the sum of the numbers at data[part * part_stride + i * row_stride + r].
template <class T>
struct ChunkProducts {
  T* data;
  std::ptrdiff_t row_stride, part_stride;
};

using RowWeight = std::function<double(std::ptrdiff_t row)>;

template <class T>
class Products {
 public:
  Products(std::ptrdiff_t n_features, std::ptrdiff_t chunk_rows)
      : n_features_(n_features), chunk_rows_(chunk_rows) {}
  virtual ~Products() = default;

  std::ptrdiff_t chunk_rows() const { return chunk_rows_; }
  // A chunk may as well come as several of so many rows: no bits depend on it.
  virtual std::ptrdiff_t block_rows() const { return chunk_rows_; }
  virtual Precision precision() const { return Precision::kFull; }
  // That each output meets.
  virtual double entries_per_row() const { return static_cast<double>(n_features_); }

  virtual std::ptrdiff_t n_parts() const { return 1; }

  // W (n_outputs, n_features); backward is asked for the gradients of the first n_gradients.
  virtual void set_weights(const T* W, std::ptrdiff_t n_outputs, std::ptrdiff_t n_gradients) = 0;
  // Some rows of the chunk times W'.
  virtual void forward(const Rows& rows, const RowChunk& chunk, Range mine, int piece,
                       const ChunkProducts<T>& out) = 0;
  // What backward needs of the chunk, in as many pieces; then its rows of the gradient (n_gradients
  // pointers) get their sum over the chunk added, without the scale of the inputs, for the features
  // of the piece, at the last chunk at the latest.
  virtual bool needs_preparation() const { return false; }
  virtual void prepare(const Rows&, const RowChunk&, const ChunkProducts<T>&, int, int) {}
  virtual void backward(const Rows& rows, const RowChunk& chunk, const ChunkProducts<T>& dlogits,
                        int piece, int n_pieces, double* const* gradient) = 0;

  // As LogisticLoss's, without the scale of the inputs.
  virtual void add_by_class(const std::int64_t* labels, const RowWeight& weight, double* sums,
                            int n_threads, StopPoll& stop) = 0;
  virtual void gram(const Rows& rows, const float* c, Range features, bool diagonal_only,
                    double* gram, double* sums, int n_threads, StopPoll& stop) = 0;

 protected:
  const std::ptrdiff_t n_features_, chunk_rows_;
};

template <class T>
void add_to(const T* values, std::ptrdiff_t n, double* sums) {
  for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] += static_cast<double>(values[i]);
}

// Of a dense or a sparse X; max_outputs: the most that set_weights is called with. precision: of
// what is made in packed tiles, but for the Gram matrix.
template <class T>
std::unique_ptr<Products<T>> make_dense_products(const InputView& X, std::ptrdiff_t max_outputs,
                                                 Precision precision, int n_threads);
template <class T>
std::unique_ptr<Products<T>> make_csr_products(const CsrView& X, std::ptrdiff_t max_outputs,
                                               int n_threads);

}  // namespace fastsoftmax
