// The products of a pass over a sparse X. W and its gradient lie feature-major meanwhile, so that
// an entry of X meets the numbers of all outputs side by side. The gradient is shared among threads
// by features: each walks through all entries of the chunk and takes those in its columns, so that
// a column's sum has the order of the rows whoever makes it.
#include <algorithm>

#include "aligned_buffer.h"
#include "logistic/products.h"

namespace fastsoftmax {
namespace {

// Logits of 1 MB stay in the cache.
template <class T>
std::ptrdiff_t csr_chunk(std::ptrdiff_t n_rows, std::ptrdiff_t outputs) {
  constexpr std::ptrdiff_t kLogitsBytes = 1 << 20, kLeast = 64, kMost = 4096;
  const std::ptrdiff_t fitting = kLogitsBytes / static_cast<std::ptrdiff_t>(sizeof(T)) / outputs;
  return std::max<std::ptrdiff_t>(1,
                                  std::min(n_rows, std::clamp(fitting / 16 * 16, kLeast, kMost)));
}

template <class In, class Index, class T>
class CsrProducts final : public Products<T> {
  using Base = Products<T>;
  using Base::b_, Base::chunk_rows_, Base::n_features_, Base::n_outputs_, Base::scale_;

 public:
  CsrProducts(const CsrView& X, T input_scale, std::ptrdiff_t max_outputs)
      : Base(X.n_cols, csr_chunk<T>(X.n_rows, max_outputs), input_scale),
        X_(X),
        data_(static_cast<const In*>(X.data)),
        indices_(static_cast<const Index*>(X.indices)),
        weights_(X.n_cols * max_outputs),
        gradient_(X.n_cols * max_outputs),
        dlogits_(chunk_rows_ * max_outputs) {}

  void set_weights(const T* W, const T* b, std::ptrdiff_t n_outputs) override {
    Base::set_weights(W, b, n_outputs);
    for (std::ptrdiff_t f = 0; f < n_features_; ++f) {
      for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
        weights_[f * n_outputs + r] = scale_ * W[r * n_features_ + f];
      }
    }
  }

  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int,
               const ChunkLogits<T>& out) override {
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      T* logits = dlogits_.data() + i * n_outputs_;
      std::copy_n(b_, n_outputs_, logits);
      for_entries(rows[chunk.begin + i], [&](std::ptrdiff_t f, In value) {
        const T v = static_cast<T>(value);
        const T* w = weights_.data() + f * n_outputs_;
        for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) logits[r] += v * w[r];
      });
      for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
        out.logits[r * out.output_stride + i] = logits[r];
      }
    }
  }

  bool needs_preparation() const override { return true; }
  void prepare(const Rows&, const RowChunk& chunk, const ChunkLogits<T>& dlogits, int piece,
               int n_pieces) override {
    const Range mine = share(chunk.n_rows, 16, piece, n_pieces);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
        dlogits_[i * n_outputs_ + r] = dlogits.logits[r * dlogits.output_stride + i];
      }
    }
    const Range features = share(n_features_, 8, piece, n_pieces);
    if (chunk.begin == 0) {
      std::fill(gradient_.data() + features.begin * n_outputs_,
                gradient_.data() + features.end * n_outputs_, 0.0);
    }
  }

  void backward(const Rows& rows, const RowChunk& chunk, const ChunkLogits<T>&, int piece,
                int n_pieces, double* const* gradient) override {
    const Range mine = share(n_features_, 8, piece, n_pieces);
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
      const T* d = dlogits_.data() + i * n_outputs_;
      for_entries(rows[chunk.begin + i], [&](std::ptrdiff_t f, In value) {
        if (f < mine.begin || f >= mine.end) return;
        const double v = static_cast<double>(value);
        double* g = gradient_.data() + f * n_outputs_;
        for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) g[r] += v * static_cast<double>(d[r]);
      });
    }
    if (!chunk.last) return;
    for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
      for (std::ptrdiff_t r = 0; r < n_outputs_; ++r)
        gradient[r][f] += gradient_[f * n_outputs_ + r];
    }
  }

  void gram(const Rows& rows, const float* c, Range features, bool diagonal_only, double* out,
            double* sums, int n_threads, StopPoll& stop) override {
    const std::ptrdiff_t n = features.end - features.begin;
    std::fill_n(out, diagonal_only ? n : n * n, 0.0);
    std::fill_n(sums, n, 0.0);
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range part = share(n, 8, thread, n_running);
      const Range mine{features.begin + part.begin, features.begin + part.end};
      for (std::ptrdiff_t i = 0; i < rows.size() && !stop.stopped(); ++i) {
        const double weight = static_cast<double>(c[i]);
        if (thread == 0 && i % 1024 == 0) stop.poll();
        for_entries(rows[i], [&](std::ptrdiff_t f, In value) {
          if (f < mine.begin || f >= mine.end) return;
          const double wv = weight * static_cast<double>(value);
          const std::ptrdiff_t at = f - features.begin;
          sums[at] += wv;
          for_entries(rows[i], [&](std::ptrdiff_t other, In factor) {
            const std::ptrdiff_t to = other - features.begin;
            if (diagonal_only ? to != at : to < 0 || to > at) return;
            out[diagonal_only ? at : at * n + to] += wv * static_cast<double>(factor);
          });
        });
      }
    });
  }

 private:
  std::ptrdiff_t entries_before(std::ptrdiff_t row) const {
    if (X_.wide_indptr) {
      return static_cast<std::ptrdiff_t>(static_cast<const std::int64_t*>(X_.indptr)[row]);
    }
    return static_cast<std::ptrdiff_t>(static_cast<const std::int32_t*>(X_.indptr)[row]);
  }
  template <class F>
  void for_entries(std::ptrdiff_t row, const F& visit) const {
    const std::ptrdiff_t end = entries_before(row + 1);
    for (std::ptrdiff_t e = entries_before(row); e < end; ++e) {
      visit(static_cast<std::ptrdiff_t>(indices_[e]), data_[e]);
    }
  }

  const CsrView X_;
  const In* const data_;
  const Index* const indices_;
  AlignedBuffer<T> weights_;
  AlignedBuffer<double> gradient_;
  AlignedBuffer<T> dlogits_;  // by rows
};

template <class In, class T>
std::unique_ptr<Products<T>> make_with_index(const CsrView& X, T input_scale,
                                             std::ptrdiff_t max_outputs) {
  if (X.wide_indices) {
    return std::make_unique<CsrProducts<In, std::int64_t, T>>(X, input_scale, max_outputs);
  }
  return std::make_unique<CsrProducts<In, std::int32_t, T>>(X, input_scale, max_outputs);
}

}  // namespace

template <class T>
std::unique_ptr<Products<T>> make_csr_products(const CsrView& X, double input_scale,
                                               std::ptrdiff_t max_outputs) {
  const T scale = static_cast<T>(input_scale);
  if (X.storage == Storage::kFloat64) return make_with_index<double, T>(X, scale, max_outputs);
  return make_with_index<float, T>(X, scale, max_outputs);
}

template std::unique_ptr<Products<float>> make_csr_products<float>(const CsrView&, double,
                                                                   std::ptrdiff_t);
template std::unique_ptr<Products<double>> make_csr_products<double>(const CsrView&, double,
                                                                     std::ptrdiff_t);

}  // namespace fastsoftmax
