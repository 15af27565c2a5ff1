// Predictions for whole matrices. Logits that are not asked for never leave the cache.
#include "fastsoftmax/objective.h"

#include <algorithm>
#include <atomic>

#include "aligned_buffer.h"
#include "csr_logits.h"
#include "fastsoftmax/threads.h"
#include "finite.h"
#include "packed_product.h"
#include "row_blocks.h"

namespace fastsoftmax {
namespace {

// Up to so many classes, W stays in the first-level cache and vectors run along the features; more
// are a product in packed tiles. The rows do not count, so that no row's bits depend on the others.
constexpr std::ptrdiff_t kMaxUnpacked = 32;

// The logits of blocks of rows, for few classes: written to place(thread, first_row), then handed
// to finish(logits, first_row, n_rows).
template <class In, class T, class Place, class Finish>
void for_few_logits(const KernelTable& table, const In* data, const StridedInputView& X,
                    const Model<T>& model, int n_threads, const Place& place,
                    const Finish& finish) {
  const auto& kernels = storage_kernels<In, T>(table);
  const std::ptrdiff_t n_classes = model.n_classes;
  const std::ptrdiff_t size = n_classes * X.n_cols;
  ThreadWeights W(is_well_placed(model.W, X.n_rows) ? model.W : nullptr, size, n_threads,
                  [&](T* to) { std::copy_n(model.W, size, to); });
  RowCopies<In> copies(table, X, n_threads);
  for_row_blocks(data, X.row_stride, X.n_rows, n_threads, [&](const auto& found, int thread) {
    const auto block = copies.with_rows(found, thread);
    T* logits = place(thread, block.first);
    kernels.logits({block.rows, block.next, block.n_rows, block.n_next, X.n_cols, n_classes,
                    W.of(thread), logits});
    arithmetic_kernels<T>(table).scale_and_shift(logits, n_classes, block.n_rows, n_classes,
                                                 model.input_scale, model.b);
    finish(logits, block.first, block.n_rows);
  });
}

// Likewise of a sparse X, in blocks of so many rows.
std::ptrdiff_t csr_block_rows(std::ptrdiff_t n_classes) {
  constexpr std::ptrdiff_t kNumbers = 16384;  // these stay in the cache
  return std::clamp<std::ptrdiff_t>(kNumbers / std::max<std::ptrdiff_t>(1, n_classes), 1,
                                    kBlockRows);
}

template <class T, class Place, class Finish>
void for_sparse_logits(const KernelTable& table, const CsrView& X, const Model<T>& model,
                       int n_threads, const Place& place, const Finish& finish) {
  const std::ptrdiff_t n_classes = model.n_classes;
  with_storage<T>(X, [&](const auto* data) {
    CsrLogits logits_of(table, data, X, model.W, n_classes, n_threads);
    Tasks tasks;
    const Cuts blocks = row_tasks(X.n_rows, csr_block_rows(n_classes), 1, n_threads);
    parallel_region(n_threads, [&](int thread, int) {
      tasks.run(blocks.n_parts, [&](std::ptrdiff_t block) {
        const Range rows = blocks[block];
        const std::ptrdiff_t n_rows = rows.end - rows.begin;
        T* logits = place(thread, rows.begin);
        for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
          logits_of(rows.begin + i, thread, logits + i * n_classes);
        }
        arithmetic_kernels<T>(table).scale_and_shift(logits, n_classes, n_rows, n_classes,
                                                     model.input_scale, model.b);
        finish(logits, rows.begin, n_rows);
      });
    });
  });
}

// The same product, X W', for many.
template <class In, class T>
PackedProduct<In, T> many_logits(const KernelTable& table, const In* data,
                                 const StridedInputView& X, const Model<T>& model, int n_threads) {
  return {table, data, X, {model.W, X.n_cols, model.n_classes, 1, X.n_cols}, n_threads, true};
}

// Rows of logits to what is asked for; true if all were finite.
template <class T>
bool finish_logits(const ArithmeticKernels<T>& kernels, Prediction what, T* logits,
                   std::ptrdiff_t n_rows, std::ptrdiff_t n_classes) {
  const bool finite = all_finite(logits, n_rows * n_classes);
  if (what == Prediction::kProbs) kernels.softmax(logits, n_rows, n_classes, logits);
  if (what == Prediction::kLogProbs) kernels.log_softmax(logits, n_rows, n_classes, logits);
  return finite;
}

// Both predictions where blocks of whole rows of logits come from for_logits(place, finish).
template <class T, class ForLogits>
bool predict_blocks(const KernelTable& table, Prediction what, std::ptrdiff_t n_classes, T* out,
                    const ForLogits& for_logits) {
  std::atomic<bool> finite{true};
  for_logits([&](int, std::ptrdiff_t row) { return out + row * n_classes; },
             [&](T* logits, std::ptrdiff_t, std::ptrdiff_t n_rows) {
               if (!finish_logits(arithmetic_kernels<T>(table), what, logits, n_rows, n_classes)) {
                 finite = false;
               }
             });
  return finite;
}

template <class T, class ForLogits>
bool predict_class_of_blocks(const KernelTable& table, std::ptrdiff_t n_classes,
                             std::ptrdiff_t block_rows, int n_threads, std::int64_t* out,
                             const ForLogits& for_logits) {
  const std::ptrdiff_t block = block_rows * n_classes;
  AlignedBuffer<T> blocks(block * n_threads);
  std::atomic<bool> finite{true};
  for_logits([&](int thread, std::ptrdiff_t) { return blocks.data() + thread * block; },
             [&](const T* logits, std::ptrdiff_t first, std::ptrdiff_t n_rows) {
               T best[kBlockRows];
               if (!arithmetic_kernels<T>(table).argmax(logits, n_classes, n_rows, n_classes, 0,
                                                        best, out + first)) {
                 finite = false;
               }
             });
  return finite;
}

}  // namespace

double prediction_ns(const StridedInputView& X, std::ptrdiff_t n_classes) {
  return static_cast<double>(X.n_rows) * static_cast<double>(X.n_cols) *
         static_cast<double>(n_classes) / kProductsPerNs;
}

double prediction_ns(const CsrView& X, std::ptrdiff_t n_classes) {
  constexpr double kEntryNs = 0.6, kExponential = kProductsPerNs / kExponentialsPerNs;
  const double entries = static_cast<double>(X.n_entries());
  return entries * kEntryNs + csr_preparation_ns(X, n_classes) +
         static_cast<double>(n_classes) / kProductsPerNs *
             (entries + kExponential * static_cast<double>(X.n_rows));
}

template <class T>
bool predict(const StridedInputView& X, const Model<T>& model, Prediction what, T* out,
             int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  const std::ptrdiff_t n_classes = model.n_classes;
  if (X.n_rows == 0) return true;
  return with_storage<T>(X, [&](const auto* data) {
    if (n_classes <= kMaxUnpacked || X.n_cols == 0) {
      return predict_blocks(table, what, n_classes, out, [&](const auto&... uses) {
        for_few_logits(table, data, X, model, n_threads, uses...);
      });
    }
    const auto& kernels = arithmetic_kernels<T>(table);
    std::atomic<bool> finite{true};
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
          if (columns.end < n_classes) return;  // with the last columns of a row all are there
          if (!finish_logits(kernels, what, out + rows.begin * n_classes, n_rows, n_classes)) {
            finite = false;
          }
        });
    return finite.load();
  });
}

template <class T>
bool predict(const CsrView& X, const Model<T>& model, Prediction what, T* out, int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  if (X.n_rows == 0) return true;
  return predict_blocks(table, what, model.n_classes, out, [&](const auto&... uses) {
    for_sparse_logits(table, X, model, n_threads, uses...);
  });
}

template <class T>
bool predict_class(const StridedInputView& X, const Model<T>& model, std::int64_t* out,
                   int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  const std::ptrdiff_t n_classes = model.n_classes;
  if (X.n_rows == 0) return true;
  return with_storage<T>(X, [&](const auto* data) {
    if (n_classes <= kMaxUnpacked || X.n_cols == 0) {
      return predict_class_of_blocks<T>(
          table, n_classes, kBlockRows, n_threads, out,
          [&](const auto&... uses) { for_few_logits(table, data, X, model, n_threads, uses...); });
    }
    const auto& kernels = arithmetic_kernels<T>(table);
    std::atomic<bool> finite{true};
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
    return finite.load();
  });
}

template <class T>
bool predict_class(const CsrView& X, const Model<T>& model, std::int64_t* out, int n_threads) {
  const KernelTable& table = fastsoftmax::kernels();
  if (X.n_rows == 0) return true;
  return predict_class_of_blocks<T>(
      table, model.n_classes, csr_block_rows(model.n_classes), n_threads, out,
      [&](const auto&... uses) { for_sparse_logits(table, X, model, n_threads, uses...); });
}

template bool predict<float>(const StridedInputView&, const Model<float>&, Prediction, float*, int);
template bool predict<double>(const StridedInputView&, const Model<double>&, Prediction, double*,
                              int);
template bool predict<float>(const CsrView&, const Model<float>&, Prediction, float*, int);
template bool predict<double>(const CsrView&, const Model<double>&, Prediction, double*, int);
template bool predict_class<float>(const StridedInputView&, const Model<float>&, std::int64_t*,
                                   int);
template bool predict_class<double>(const StridedInputView&, const Model<double>&, std::int64_t*,
                                    int);
template bool predict_class<float>(const CsrView&, const Model<float>&, std::int64_t*, int);
template bool predict_class<double>(const CsrView&, const Model<double>&, std::int64_t*, int);

}  // namespace fastsoftmax
