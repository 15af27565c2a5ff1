// The kernels as functions of whole arrays, rows shared among threads. T is float or double, and
// the type of the arithmetic. Every result has the same bits for any n_threads >= 1, but for the
// sign and the payload of a NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsoftmax/matrix.h"

namespace fastsoftmax {

// Of each row of x (n_rows, n), contiguous; out (n_rows, n) may be x. Infinities and NaN give what
// scipy.special gives. Rows of length 0 give nothing, their logsumexp is -inf.
template <class T>
void softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads);
template <class T>
void log_softmax(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads);
// out (n_rows)
template <class T>
void logsumexp(const T* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, T* out, int n_threads);

// Of columns of x (n_outer, n, n_inner), contiguous, along its middle: those from begin on before
// end, of n_outer * n_inner. out is like x, and may be x; the logsumexp of a column is at its
// number.
struct Columns {
  std::ptrdiff_t n, n_inner, begin, end;
};
template <class T>
void softmax(const T* x, const Columns& columns, T* out, int n_threads);
template <class T>
void log_softmax(const T* x, const Columns& columns, T* out, int n_threads);
template <class T>
void logsumexp(const T* x, const Columns& columns, T* out, int n_threads);

// losses (n_rows) = -log softmax(logits)[labels], logits (n_rows, n_classes) contiguous, labels in
// 0..n_classes-1 (std::invalid_argument otherwise, before anything is written). weights, if not
// null, multiply the losses. dlogits, if not null: the gradient of their sum in the logits.
template <class T>
void cross_entropy(const T* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n_classes,
                   const std::int64_t* labels, const T* weights, T* losses, T* dlogits,
                   int n_threads);

// C = A B, (m, k) x (k, n) -> (m, n), contiguous. C overlaps neither.
// A of float32 or uint8 for T = float; of any storage type for T = double.
template <class T>
void matmul(const StridedInputView& A, const StridedView<const T>& B, T* C, int n_threads);

// out (n_cols, n_rows), contiguous, = B', whose strides are any; they do not overlap.
template <class T>
void transpose(const StridedView<const T>& B, T* out, int n_threads);

}  // namespace fastsoftmax
