// What all products with a dense X share.
#pragma once

#include "logistic/gram.h"
#include "logistic/products.h"

namespace fastsoftmax {

template <class In, class T>
class DenseProducts : public Products<T> {
 public:
  DenseProducts(const In* data, const InputView& X, std::ptrdiff_t chunk_rows)
      : Products<T>(X.n_cols, chunk_rows), data_(data), X_(X) {}

  void add_by_class(const std::int64_t* labels, const RowWeight& weight, double* sums,
                    int n_threads, StopPoll& stop) override {
    parallel_region(n_threads, [&](int thread, int n_running) {
      const Range mine = share(X_.n_cols, 64, thread, n_running);
      for (std::ptrdiff_t i = 0; i < X_.n_rows && !stop.stopped(); ++i) {
        if (thread == 0 && i % kRowsBetweenPolls == 0) stop.poll();
        const In* x = data_ + i * X_.row_stride;
        double* sum = sums + labels[i] * X_.n_cols;
        const double w = weight(i);
        for (std::ptrdiff_t f = mine.begin; f < mine.end; ++f) {
          sum[f] += w * static_cast<double>(x[f]);
        }
      }
    });
  }

  void gram(const Rows& rows, const float* c, Range features, bool diagonal_only, double* out,
            double* sums, int n_threads, StopPoll& stop) override {
    Gram<In, T> gram(data_, X_, rows, c, features, n_threads, stop);
    if (diagonal_only) {
      gram.diagonal(out, sums);
    } else {
      gram.full(out, sums);
    }
  }

 protected:
  const In* row(const Rows& rows, std::ptrdiff_t j) const {
    return data_ + rows[j] * X_.row_stride;
  }

  const In* const data_;
  const InputView X_;
};

}  // namespace fastsoftmax
