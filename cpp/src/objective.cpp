// Predictions for whole matrices. Logits that are not asked for never leave the cache.
#include "fastsoftmax/objective.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "aligned_buffer.h"
#include "packed_product.h"
#include "row_blocks.h"

namespace fastsoftmax {
namespace {

// Up to so many classes, W stays in the first-level cache and vectors run along the features; more
// are a product in packed tiles. The rows do not count, so that no row's bits depend on the others.
constexpr std::ptrdiff_t kFewClasses = 32;

template <class T>
bool all_finite(const T* x, std::ptrdiff_t n) {
  int n_bad = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) n_bad += !(x[i] - x[i] == 0);
  return n_bad == 0;
}

// The logits of blocks of rows, for few classes: written to place(thread, first_row), then handed
// to finish(logits, first_row, n_rows).
template <class In, class T, class Place, class Finish>
void for_few_logits(const KernelTable& table, const In* data, const InputView& X,
                    const Model<T>& model, int n_threads, const Place& place,
                    const Finish& finish) {
  const auto& kernels = storage_kernels<In, T>(table);
  const std::ptrdiff_t n_classes = model.n_classes;
  const std::ptrdiff_t size = n_classes * X.n_cols;
  ThreadWeights W(is_well_placed(model.W, X.n_rows) ? model.W : nullptr, size, n_threads,
                  [&](T* to) { std::copy_n(model.W, size, to); });
  for_row_blocks(data, X.row_stride, X.n_rows, n_threads, [&](const auto& block, int thread) {
    T* logits = place(thread, block.first);
    kernels.logits({block.rows, block.next, block.n_rows, block.n_next, X.n_cols, n_classes,
                    W.of(thread), logits});
    arithmetic_kernels<T>(table).scale_and_shift(logits, n_classes, block.n_rows, n_classes,
                                                 model.input_scale, model.b);
    finish(logits, block.first, block.n_rows);
  });
}

// The same product, X W', for many.
template <class In, class T>
PackedProduct<In, T> many_logits(const KernelTable& table, const In* data, const InputView& X,
                                 const Model<T>& model, int n_threads) {
  return {table,
          data,
          {X.storage, X.data, X.n_rows, X.n_cols, X.row_stride, 1},
          {model.W, X.n_cols, model.n_classes, 1, X.n_cols},
          n_threads,
          true};
}

template <class T>
bool find_nonfinite_in(const T* data, const InputView& X, std::ptrdiff_t* row,
                       std::ptrdiff_t* col) {
  for (std::ptrdiff_t i = 0; i < X.n_rows; ++i) {
    const T* x = data + i * X.row_stride;
    if (all_finite(x, X.n_cols)) continue;
    *row = i;
    *col = std::find_if(x, x + X.n_cols, [](T v) { return !(v - v == 0); }) - x;
    return true;
  }
  return false;
}

}  // namespace

template <class T>
bool predict(const InputView& X, const Model<T>& model, Prediction what, T* out, int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  const auto& kernels = arithmetic_kernels<T>(table);
  const std::ptrdiff_t n_classes = model.n_classes;
  std::atomic<bool> finite{true};
  const auto finish = [&](T* logits, std::ptrdiff_t n_rows) {
    if (!all_finite(logits, n_rows * n_classes)) finite = false;
    if (what == Prediction::kProbs) kernels.softmax(logits, n_rows, n_classes, logits);
    if (what == Prediction::kLogProbs) kernels.log_softmax(logits, n_rows, n_classes, logits);
  };
  if (X.n_rows == 0) return true;
  with_storage<T>(X, [&](const auto* data) {
    if (n_classes <= kFewClasses || X.n_cols == 0) {
      for_few_logits(
          table, data, X, model, n_threads,
          [&](int, std::ptrdiff_t i) { return out + i * n_classes; },
          [&](T* logits, std::ptrdiff_t, std::ptrdiff_t n_rows) { finish(logits, n_rows); });
      return;
    }
    auto product = many_logits(table, data, X, model, n_threads);
    product.run(
        n_threads, n_classes, true,
        [&](Range rows, Range columns, int) {
          return out + rows.begin * n_classes + columns.begin;
        },
        [&](T* logits, Range rows, Range columns) {
          const std::ptrdiff_t n_rows = rows.end - rows.begin;
          kernels.scale_and_shift(logits, n_classes, n_rows, columns.end - columns.begin,
                                  model.input_scale, model.b ? model.b + columns.begin : nullptr);
          // With the last columns of a row all are there.
          if (columns.end == n_classes) finish(out + rows.begin * n_classes, n_rows);
        });
  });
  return finite;
}

template <class T>
bool predict_class(const InputView& X, const Model<T>& model, std::int64_t* out, int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  const auto& kernels = arithmetic_kernels<T>(table);
  const std::ptrdiff_t n_classes = model.n_classes;
  std::atomic<bool> finite{true};
  if (X.n_rows == 0) return true;
  with_storage<T>(X, [&](const auto* data) {
    if (n_classes <= kFewClasses || X.n_cols == 0) {
      const std::ptrdiff_t block = kBlockRows * n_classes;
      AlignedBuffer<T> blocks(block * n_threads);
      for_few_logits(
          table, data, X, model, n_threads,
          [&](int thread, std::ptrdiff_t) { return blocks.data() + thread * block; },
          [&](const T* logits, std::ptrdiff_t first, std::ptrdiff_t n_rows) {
            T best[kBlockRows];
            if (!kernels.argmax(logits, n_classes, n_rows, n_classes, 0, best, out + first)) {
              finite = false;
            }
          });
      return;
    }
    auto product = many_logits(table, data, X, model, n_threads);
    const std::ptrdiff_t width = product.width(), part_size = product.height() * width;
    AlignedBuffer<T> parts(part_size * n_threads), best(X.n_rows);
    product.run(
        n_threads, width, true,
        [&](Range, Range, int thread) { return parts.data() + thread * part_size; },
        [&](T* logits, Range rows, Range columns) {
          const std::ptrdiff_t n_rows = rows.end - rows.begin, n = columns.end - columns.begin;
          kernels.scale_and_shift(logits, width, n_rows, n, model.input_scale,
                                  model.b ? model.b + columns.begin : nullptr);
          if (!kernels.argmax(logits, width, n_rows, n, columns.begin, best.data() + rows.begin,
                              out + rows.begin)) {
            finite = false;
          }
        });
  });
  return finite;
}

bool find_nonfinite(const InputView& X, std::ptrdiff_t* row, std::ptrdiff_t* col) {
  switch (X.storage) {
    case Storage::kFloat32:
      return find_nonfinite_in(static_cast<const float*>(X.data), X, row, col);
    case Storage::kFloat64:
      return find_nonfinite_in(static_cast<const double*>(X.data), X, row, col);
    case Storage::kUInt8:
      break;
  }
  return false;
}

void check_labels(const std::int64_t* labels, std::ptrdiff_t n, std::ptrdiff_t n_classes) {
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    if (labels[i] < 0 || labels[i] >= n_classes) {
      throw std::invalid_argument("labels[" + std::to_string(i) + "] is " +
                                  std::to_string(labels[i]) + ", not in 0.." +
                                  std::to_string(n_classes - 1));
    }
  }
}

template bool predict<float>(const InputView&, const Model<float>&, Prediction, float*, int);
template bool predict<double>(const InputView&, const Model<double>&, Prediction, double*, int);
template bool predict_class<float>(const InputView&, const Model<float>&, std::int64_t*, int);
template bool predict_class<double>(const InputView&, const Model<double>&, std::int64_t*, int);

}  // namespace fastsoftmax
