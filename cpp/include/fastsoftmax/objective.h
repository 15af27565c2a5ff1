// The softmax model: formula, shapes and conventions, and its predictions for whole matrices.
//
//   logits = input_scale X W' + b    X (n_samples, n_features), W (n_classes, n_features) by rows
//   probs  = softmax(logits)         by rows
//   loss   = (1 / n_samples) sum_i w_i (-log probs[i, y_i]) + (alpha / 2) |W|^2
//
// b is not penalised. The gradient of a batch B in the logits is w_i (probs_i - onehot(y_i)) / |B|,
// in W it is dlogits' (input_scale X) + alpha W, in b the sum of dlogits over the batch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

// T is float or double: float reads X of float32 or uint8, double any.
template <class T>
struct Model {
  const T* W;  // (n_classes, n_features)
  const T* b;  // (n_classes), or null
  std::ptrdiff_t n_classes;
  T input_scale;
};

enum class Prediction { kLogits, kProbs, kLogProbs };

// What the predictions of X take one thread, an estimate in nanoseconds for call_on_threads.
double prediction_ns(const StridedInputView& X, std::ptrdiff_t n_classes);
double prediction_ns(const CsrView& X, std::ptrdiff_t n_classes);

// out (n_samples, n_classes), contiguous. True if every logit was finite: if not, X is not, or the
// numbers overflow. Same bits for any n_threads >= 1, any split of X into rows and any strides;
// where a column's numbers lie side by side, and no row's, some 64 rows of each thread are copied
// at once.
template <class T>
bool predict(const StridedInputView& X, const Model<T>& model, Prediction what, T* out,
             int n_threads);
template <class T>
bool predict(const CsrView& X, const Model<T>& model, Prediction what, T* out, int n_threads);

// The class of the largest logit of each row, the first of equals. Return value as above.
template <class T>
bool predict_class(const StridedInputView& X, const Model<T>& model, std::int64_t* out,
                   int n_threads);
template <class T>
bool predict_class(const CsrView& X, const Model<T>& model, std::int64_t* out, int n_threads);

}  // namespace fastsoftmax
