// Predictions for whole matrices: rows over threads, blocks of rows through the kernels.
#include "fastsoftmax/objective.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "aligned_buffer.h"
#include "parallel.h"
#include "storage.h"

namespace fastsoftmax {
namespace {

constexpr std::ptrdiff_t kBlockRows = 64;

template <class T>
bool all_finite(const T* x, std::ptrdiff_t n) {
  int n_bad = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) n_bad += !(x[i] - x[i] == 0);
  return n_bad == 0;
}

// finish(logits, first_row, n_rows) for each block of rows, whose logits are written to
// place(thread, first_row). True if all of them were finite.
template <class T, class Place, class Finish>
bool for_logits(const InputView& X, const Model<T>& model, int n_threads, const Place& place,
                const Finish& finish) {
  std::atomic<bool> finite{true};
  with_storage<T>(X, [&](const auto* data) {
    const auto& kernels = storage_kernels(data, T());
    parallel_region(n_threads, [&](int thread, int n) {
      decltype(data) rows[kBlockRows];
      const Range mine = share(X.n_rows, 16, thread, n);
      for (std::ptrdiff_t i = mine.begin; i < mine.end; i += kBlockRows) {
        const std::ptrdiff_t n_rows = std::min(kBlockRows, mine.end - i);
        T* logits = place(thread, i);
        point_at_rows(data, X.row_stride, i, n_rows, rows);
        kernels.logits({rows, nullptr, nullptr, nullptr, n_rows, 0, X.n_cols, model.n_classes,
                        model.W, model.b, model.input_scale, logits, model.n_classes, 1});
        if (!all_finite(logits, n_rows * model.n_classes)) finite = false;
        finish(logits, i, n_rows);
      }
    });
  });
  return finite;
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
  const auto& kernels = arithmetic_kernels<T>();
  const std::ptrdiff_t n_classes = model.n_classes;
  return for_logits(
      X, model, n_threads, [&](int, std::ptrdiff_t i) { return out + i * n_classes; },
      [&](T* logits, std::ptrdiff_t, std::ptrdiff_t n_rows) {
        if (what == Prediction::kProbs) kernels.softmax(logits, n_rows, n_classes, logits);
        if (what == Prediction::kLogProbs) kernels.log_softmax(logits, n_rows, n_classes, logits);
      });
}

template <class T>
bool predict_class(const InputView& X, const Model<T>& model, std::int64_t* out, int n_threads) {
  const std::ptrdiff_t n_classes = model.n_classes, block = kBlockRows * n_classes;
  AlignedBuffer<T> blocks(block * n_threads);
  return for_logits(
      X, model, n_threads,
      [&](int thread, std::ptrdiff_t) { return blocks.data() + thread * block; },
      [&](T* logits, std::ptrdiff_t first, std::ptrdiff_t n_rows) {
        for (std::ptrdiff_t i = 0; i < n_rows; ++i, logits += n_classes) {
          out[first + i] = std::max_element(logits, logits + n_classes) - logits;
        }
      });
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
