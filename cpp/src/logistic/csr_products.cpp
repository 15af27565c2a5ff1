// The products of a pass over a sparse X. W and its gradient lie feature-major meanwhile, so that
// an entry of X meets the numbers of all outputs side by side. The gradient is shared among threads
// by features with equally many entries: in each row a thread finds its own by bisection, so that
// a feature's sum has the order of the rows whoever makes it.
#include <algorithm>
#include <functional>
#include <numeric>

#include "aligned_buffer.h"
#include "dispatch.h"
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

// std::lower_bound without a branch on what it finds, which nobody can predict. (Rows of 15 entries
// take two threads 0.8 of the time of one, for each looks at all rows; places found once for all
// passes, and kept, made that 0.76.)
template <class Index>
const Index* lower_bound_of(const Index* begin, const Index* end, Index value) {
  std::ptrdiff_t n = end - begin;
  for (; n > 1; n -= n / 2) begin += begin[n / 2 - 1] < value ? n / 2 : 0;
  return begin + (n == 1 && *begin < value ? 1 : 0);
}

template <class In, class Index, class T>
class CsrProducts final : public Products<T> {
  using Base = Products<T>;
  using Base::chunk_rows_, Base::n_features_;

 public:
  CsrProducts(const CsrView& X, std::ptrdiff_t max_outputs, int n_threads)
      : Base(X.n_cols, csr_chunk<T>(X.n_rows, max_outputs)),
        kernels_(storage_kernels(static_cast<const In*>(nullptr), T())),
        X_(X),
        data_(static_cast<const In*>(X.data)),
        indices_(static_cast<const Index*>(X.indices)),
        n_threads_(n_threads),
        entries_before_(X.n_cols + 1),
        weights_(X.n_cols * max_outputs),
        gradient_(X.n_cols * stride_of(max_outputs)),
        dlogits_(chunk_rows_ * stride_of(max_outputs)) {
    std::fill_n(dlogits_.data(), dlogits_.size(), 0.0);
    look_at_entries();
  }

  double entries_per_row() const override {
    return static_cast<double>(entries_before_[n_features_]) / static_cast<double>(X_.n_rows);
  }

  void set_weights(const T* W, std::ptrdiff_t n_outputs, std::ptrdiff_t n_gradients) override {
    n_outputs_ = n_outputs;
    n_gradients_ = n_gradients;
    stride_ = stride_of(n_gradients);
    parallel_region(threads_worth(n_features_ * n_outputs, n_threads_), [&](int thread, int n) {
      const Range mine = share(n_features_, 16, thread, n);
      for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
        for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
          weights_[f * n_outputs + r] = W[r * n_features_ + f];
        }
      }
    });
  }

  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int,
               const ChunkProducts<T>& out) override {
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      kernels_.sparse_logits(entries(rows[chunk.begin + i], all()), weights_.data(), n_outputs_,
                             out.data + i * out.row_stride);
    }
  }

  bool needs_preparation() const override { return true; }
  void prepare(const Rows&, const RowChunk& chunk, const ChunkProducts<T>& dlogits, int piece,
               int n_pieces) override {
    const Range mine = share(chunk.n_rows, 16, piece, n_pieces);
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      const T* row = dlogits.data + i * dlogits.row_stride;
      std::copy_n(row, n_gradients_, dlogits_.data() + i * stride_);
    }
    const Range features = features_of(piece, n_pieces);
    if (chunk.begin == 0) {
      std::fill(gradient_.data() + features.begin * stride_,
                gradient_.data() + features.end * stride_, 0.0);
    }
  }

  void backward(const Rows& rows, const RowChunk& chunk, const ChunkProducts<T>&, int piece,
                int n_pieces, double* const* gradient) override {
    const Range mine = features_of(piece, n_pieces);
    if (mine.begin == mine.end) return;
    for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
      kernels_.add_sparse_row(entries(rows[chunk.begin + i], mine), dlogits_.data() + i * stride_,
                              n_gradients_, stride_, gradient_.data());
    }
    if (!chunk.last) return;
    for (std::ptrdiff_t r = 0; r < n_gradients_; ++r) {
      for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
        gradient[r][f] += gradient_[f * stride_ + r];
      }
    }
  }

  void add_by_class(const std::int64_t* labels, const RowWeight& weight, double* sums,
                    int n_threads, StopPoll& stop) override {
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range mine = features_of(thread, n_running);
      for (std::ptrdiff_t i = 0; i < X_.n_rows && !stop.stopped(); ++i) {
        if (thread == 0 && i % kRowsBetweenPolls == 0) stop.poll();
        double* sum = sums + labels[i] * n_features_;
        const double w = weight(i);
        for_entries(i, mine, [&](std::ptrdiff_t f, double x) { sum[f] += w * x; });
      }
    });
  }

  void gram(const Rows& rows, const float* c, Range features, bool diagonal_only, double* out,
            double* sums, int n_threads, StopPoll& stop) override {
    const std::ptrdiff_t n = features.end - features.begin;
    std::fill_n(out, diagonal_only ? n : n * n, 0.0);
    std::fill_n(sums, n, 0.0);
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range part = features_of(thread, n_running);
      const Range mine{std::max(features.begin, part.begin), std::min(features.end, part.end)};
      if (mine.begin >= mine.end) return;
      for (std::ptrdiff_t i = 0; i < rows.size() && !stop.stopped(); ++i) {
        const double weight = static_cast<double>(c[i]);
        if (thread == 0 && i % kRowsBetweenPolls == 0) stop.poll();
        for_entries(rows[i], mine, [&](std::ptrdiff_t f, double value) {
          const std::ptrdiff_t at = f - features.begin;
          sums[at] += weight * value;
          if (diagonal_only && is_sorted_) {
            out[at] += weight * value * value;
            return;
          }
          const Range others{diagonal_only ? f : features.begin, f + 1};
          for_entries(rows[i], others, [&](std::ptrdiff_t other, double factor) {
            const std::ptrdiff_t to = other - features.begin;
            out[diagonal_only ? at : at * n + to] += weight * value * factor;
          });
        });
      }
    });
  }

 private:
  // Of rows of the gradient and of dlogits: whole cache lines, where they are added in vectors.
  static std::ptrdiff_t stride_of(std::ptrdiff_t n_gradients) {
    return n_gradients <= kFewSparseOutputs ? n_gradients : padded<double>(n_gradients);
  }

  // The entries of each feature are counted, so that threads can share features of equally many;
  // and whether each row's features ascend, so that a thread finds its own by bisection.
  void look_at_entries() {
    std::fill_n(entries_before_.data(), n_features_ + 1, 0);
    for (std::ptrdiff_t i = 0; i < X_.n_rows && is_sorted_; ++i) {
      const Index *begin = indices_ + X_.begin_of_row(i), *end = indices_ + X_.begin_of_row(i + 1);
      is_sorted_ = std::adjacent_find(begin, end, std::greater_equal<Index>()) == end;
    }
    const std::ptrdiff_t begin = X_.begin_of_row(0), end = X_.begin_of_row(X_.n_rows);
    for (std::ptrdiff_t e = begin; e < end; ++e) ++entries_before_[indices_[e] + 1];
    std::partial_sum(entries_before_.data(), entries_before_.data() + n_features_ + 1,
                     entries_before_.data());
  }

  Range all() const { return {0, n_features_}; }
  // All for the first piece where they do not ascend.
  Range features_of(int piece, int n_pieces) const {
    if (!is_sorted_) return {0, piece == 0 ? n_features_ : 0};
    const auto cut = [&](int i) -> std::ptrdiff_t {
      if (i == 0 || i == n_pieces) return i == 0 ? 0 : n_features_;
      const std::ptrdiff_t wanted = entries_before_[n_features_] / n_pieces * i;
      const std::ptrdiff_t* begin = entries_before_.data();
      return std::lower_bound(begin, begin + n_features_, wanted) - begin;
    };
    return {cut(piece), cut(piece + 1)};
  }

  // Those of some features; all of them where they do not ascend.
  SparseRow<In> entries(std::ptrdiff_t row, Range features) const {
    const Index *begin = indices_ + X_.begin_of_row(row),
                *end = indices_ + X_.begin_of_row(row + 1);
    if (is_sorted_ && features.begin > 0) {
      begin = lower_bound_of(begin, end, static_cast<Index>(features.begin));
    }
    if (is_sorted_ && features.end < n_features_) {
      end = lower_bound_of(begin, end, static_cast<Index>(features.end));
    }
    SparseRow<In> found{data_ + (begin - indices_), nullptr, nullptr, end - begin};
    if constexpr (sizeof(Index) == sizeof(std::int64_t)) {
      found.wide_indices = begin;
    } else {
      found.indices = begin;
    }
    return found;
  }

  template <class F>
  void for_entries(std::ptrdiff_t row, Range features, const F& visit) const {
    const SparseRow<In> found = entries(row, features);
    const Index* indices = indices_ + (found.values - data_);
    for (std::ptrdiff_t e = 0; e < found.n_entries; ++e) {
      const auto f = static_cast<std::ptrdiff_t>(indices[e]);
      if (!is_sorted_ && (f < features.begin || f >= features.end)) continue;
      visit(f, static_cast<double>(found.values[e]));
    }
  }

  const StorageKernels<In, T>& kernels_;
  const CsrView X_;
  const In* const data_;
  const Index* const indices_;
  const int n_threads_;
  bool is_sorted_ = true;
  std::ptrdiff_t n_outputs_ = 0, n_gradients_ = 0, stride_ = 0;
  AlignedBuffer<std::ptrdiff_t> entries_before_;  // those of all features before one
  AlignedBuffer<T> weights_;
  AlignedBuffer<double> gradient_;
  AlignedBuffer<double> dlogits_;
};

template <class In, class T>
std::unique_ptr<Products<T>> make_with_index(const CsrView& X, std::ptrdiff_t max_outputs,
                                             int n_threads) {
  if (X.wide_indices) {
    return std::make_unique<CsrProducts<In, std::int64_t, T>>(X, max_outputs, n_threads);
  }
  return std::make_unique<CsrProducts<In, std::int32_t, T>>(X, max_outputs, n_threads);
}

}  // namespace

template <class T>
std::unique_ptr<Products<T>> make_csr_products(const CsrView& X, std::ptrdiff_t max_outputs,
                                               int n_threads) {
  if constexpr (sizeof(T) == sizeof(double)) {
    if (X.storage == Storage::kFloat64) {
      return make_with_index<double, T>(X, max_outputs, n_threads);
    }
  }
  return make_with_index<float, T>(X, max_outputs, n_threads);
}

template std::unique_ptr<Products<float>> make_csr_products<float>(const CsrView&, std::ptrdiff_t,
                                                                   int);
template std::unique_ptr<Products<double>> make_csr_products<double>(const CsrView&, std::ptrdiff_t,
                                                                     int);

}  // namespace fastsoftmax
