// Training by mini-batch gradient descent: options, what it changes, what it reports.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsoftmax/matrix.h"
#include "fastsoftmax/stop.h"

namespace fastsoftmax {

struct SgdOptions {
  double learning_rate = 0.01;
  double alpha = 0.0;  // L2 strength of the mean loss
  double momentum = 0.0;
  bool nesterov = false;
  // The rows anew in every epoch, by seed and number of the epoch alone; not where a batch is all.
  bool shuffle = true;
  bool fit_intercept = true;
  double input_scale = 1.0;
  std::int64_t batch_size = 100;  // the last batch of an epoch may be smaller
  std::int64_t first_epoch = 0;   // the number of the first epoch, so that training can go on
  std::int64_t n_epochs = 10;
  std::uint64_t seed = 0;
  int n_threads = 1;
};

// What is trained, updated in place. An output is a class; one output stands for two classes, as
// the logit of class 1 less that of class 0: what training both from zero, or from each other's
// negatives, makes of their difference.
template <class T>
struct SgdState {
  std::ptrdiff_t n_outputs;
  T* W;           // (n_outputs, n_features)
  T* b;           // (n_outputs)
  T* velocity_W;  // like W; null if momentum is 0
  T* velocity_b;  // like b; null if momentum is 0
};

struct SgdResult {
  std::int64_t n_epochs = 0;  // finished, the diverged one included
  bool diverged = false;      // the loss or a weight of the last epoch is not finite
  bool stopped = false;       // on request; the state is that of some step in between
};

// Mini-batch stochastic gradient descent on the loss of objective.h, one threaded region for all
// epochs. labels (n_samples) of the classes; sample_weight (n_samples), finite, none negative,
// not all zero, or null. loss_curve (n_epochs) gets the weighted mean of the losses met during each
// epoch, without the penalty. The same bits for any n_threads >= 1. Throws std::invalid_argument
// for a label out of range or sizes that make no sense, std::bad_alloc; then nothing has been
// changed.
template <class T>
SgdResult fit_sgd(const InputView& X, const std::int64_t* labels, const T* sample_weight,
                  const SgdOptions& options, const SgdState<T>& state, double* loss_curve,
                  const StopRequested& stop_requested);

// The order in which an epoch visits the rows: out (n) is a permutation of 0..n-1.
void epoch_permutation(std::uint64_t seed, std::int64_t epoch, std::int64_t n, std::int64_t* out);

}  // namespace fastsoftmax
