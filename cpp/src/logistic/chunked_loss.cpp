// The loss over X: chunks of rows that stay in the cache from the logits to the gradient, so
// that X is read from memory once a pass and no (n_rows, n_classes) array exists. Logits are shared
// among threads by rows, the gradient by features; no sum crosses threads. The gradient of a chunk
// is summed in the type of the arithmetic, over chunks in float64.
#include <algorithm>
#include <cmath>
#include <vector>

#include "fastsoftmax/threads.h"
#include "logistic/class_hessian.h"
#include "logistic/common_part.h"
#include "logistic/products.h"
#include "logistic/weights.h"

namespace fastsoftmax {
namespace {

// Outputs at once; more models than fit take turns, each with a pass of its own.
constexpr std::ptrdiff_t kMaxOutputs = 4096;

// What a row takes one thread, in nanoseconds; beside its products lists, labels and the ends of
// sums.
double row_ns(double entries, std::ptrdiff_t n_outputs) {
  return entries * static_cast<double>(n_outputs) / kProductsPerNs + 10.0;
}

std::ptrdiff_t points_at_once(const LogisticProblem& problem, std::ptrdiff_t max_points,
                              std::ptrdiff_t least) {
  return std::min(least * max_points,
                  std::max<std::ptrdiff_t>(least, kMaxOutputs / problem.n_outputs()));
}

template <class T>
std::unique_ptr<Products<T>> make_products(const LogisticProblem& problem, std::ptrdiff_t n_points,
                                           Precision precision, int n_threads) {
  const std::ptrdiff_t outputs = n_points * problem.n_outputs();
  if (problem.csr) return make_csr_products<T>(*problem.csr, outputs, n_threads);
  return make_dense_products<T>(*problem.dense, outputs, precision, n_threads);
}

template <class T>
class ChunkedLoss final : public LogisticLoss {
 public:
  // group_points: of one pass; where there are more they take turns.
  ChunkedLoss(const LogisticProblem& problem, std::ptrdiff_t group_points, Precision precision,
              int n_threads, StopPoll& stop)
      : arithmetic_(arithmetic_kernels<T>()),
        precision_(precision),
        problem_(problem),
        d_(problem.n_cols()),
        row_weights_(problem),
        n_threads_(n_threads),
        stop_(stop),
        n_outputs_(problem.n_outputs()),
        group_points_(group_points),
        products_(make_products<T>(problem, group_points, precision, n_threads)),
        chunk_rows_(products_->chunk_rows()),
        stride_(stride_of(group_points_, n_outputs_)),
        part_stride_(chunk_rows_ * stride_),
        W_(group_points_ * n_outputs_ * d_),
        b_(stride_),
        parts_(products_->n_parts() * part_stride_),
        dlogits_(part_stride_ + padded<T>(1)),
        db_(group_points_ * n_outputs_),
        labels_(chunk_rows_),
        weights_(row_weights_.all_one()
                     ? 0
                     : chunk_rows_ * (row_weights_.by_model() ? group_points_ : 1)),
        losses_(group_points_ * chunk_rows_) {
    // What no kernel writes is read with the rest of its vector.
    std::fill_n(b_.data(), b_.size(), T(0));
    std::fill_n(parts_.data(), parts_.size(), T(0));
    std::fill_n(dlogits_.data(), dlogits_.size(), T(0));
  }

  Arithmetic arithmetic() const override {
    if (sizeof(T) == sizeof(double)) return Arithmetic::kDouble;
    return products_->precision() == Precision::kReduced ? Arithmetic::kReduced
                                                         : Arithmetic::kSingle;
  }
  double entries_per_row() const override { return products_->entries_per_row(); }

  void evaluate(const Rows& rows, LossPoint* points, std::ptrdiff_t n_points) override {
    for (std::ptrdiff_t i = 0; i < n_points; i += group_points_) {
      evaluate_group(rows, points + i, std::min(group_points_, n_points - i));
    }
  }

  void hessian_products(const Rows& rows, const HessianPoint* points,
                        std::ptrdiff_t n_points) override {
    // The directions are as more models, of which only the logits count.
    const std::ptrdiff_t at_once = group_points_ / 2;
    for (std::ptrdiff_t first = 0; first < n_points; first += at_once) {
      const std::ptrdiff_t n = std::min(at_once, n_points - first);
      std::vector<LossPoint> both;
      for (std::ptrdiff_t m = 0; m < n; ++m) {
        const HessianPoint& point = points[first + m];
        both.push_back({point.parameters, point.product, 0.0, point.held_out, 1.0});
      }
      for (std::ptrdiff_t m = 0; m < n; ++m) {
        both.push_back({points[first + m].direction, nullptr, 0.0, -1, 1.0});
      }
      set_points(both.data(), 2 * n, n);
      sum_gradients(
          rows, both.data(), n,
          [&](const RowChunk& chunk, Range mine, int piece) {
            forward(rows, chunk, mine, piece, both.data(), n, false);
            for (std::ptrdiff_t m = 0; m < n; ++m) {
              for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
                curve(i, m, n, row_weights_(rows[chunk.begin + i], points[first + m].held_out));
              }
            }
          },
          [](const RowChunk&, int, int) {});
    }
  }

  void curvature(const Rows& rows, const LossPoint& point, float* curvature) override {
    set_points(&point, 1, 0);
    for_chunks(rows, 1, [&](Team::Member& member, int n_pieces, const RowChunk& chunk) {
      member.run([&](int piece) {
        const Range mine = share(chunk.n_rows, kRowGrain, piece, n_pieces);
        if (mine.begin == mine.end || stop_.stopped()) return;
        forward(rows, chunk, mine, piece, &point, 1, false);
        for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
          curvature[chunk.begin + i] = static_cast<float>(
              row_weights_(rows[chunk.begin + i], point.held_out) * curvature_of_row(i));
        }
      });
    });
  }

  void class_sums(std::int32_t held_out, const float* part, double* sums) override {
    const std::ptrdiff_t size = problem_.n_classes * d_;
    std::fill_n(sums, size, 0.0);
    products_->add_by_class(
        problem_.labels,
        [&](std::ptrdiff_t i) {
          const double weight = row_weights_(i, held_out);
          return part ? weight * static_cast<double>(part[i]) : weight;
        },
        sums, n_threads_, stop_);
    const double scale = problem_.input_scale * row_weights_.unit();
    for (std::ptrdiff_t i = 0; i < size; ++i) sums[i] *= scale;
  }

  void gram(const Rows& rows, const float* c, Range features, bool diagonal_only, double* out,
            double* sums) override {
    products_->gram(rows, c, features, diagonal_only, out, sums, n_threads_, stop_);
    const double scale = problem_.input_scale;
    const std::ptrdiff_t n = features.end - features.begin;
    for (std::ptrdiff_t i = 0; i < (diagonal_only ? n : n * n); ++i) out[i] *= scale * scale;
    for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] *= scale;
  }

  void class_hessian(const Rows& rows, const LossPoint& point, const double* const* directions,
                     std::ptrdiff_t n_directions, double* hessian) override {
    // The directions are as more models, of which only the logits count.
    const std::ptrdiff_t n_points = 1 + ceil_div(n_directions, n_outputs_);
    if (n_points <= group_points_) {
      return add_class_hessian(rows, point, directions, n_directions, hessian);
    }
    ChunkedLoss<T>(problem_, n_points, precision_, n_threads_, stop_)
        .add_class_hessian(rows, point, directions, n_directions, hessian);
  }

 private:
  // Rows and outputs are shared out in whole cache lines of results.
  static constexpr std::ptrdiff_t kRowGrain = 16;

  // Of rows of logits, whose last model is read in whole vectors. Single outputs are not, and lie
  // side by side: rows of 20 features are smaller than a vector.
  static std::ptrdiff_t stride_of(std::ptrdiff_t n_points, std::ptrdiff_t n_outputs) {
    if (n_outputs == 1) return n_points;
    return padded<T>((n_points - 1) * n_outputs + padded<T>(n_outputs));
  }

  // f(point, i) for the weights of all points.
  template <class F>
  void for_weights(const LossPoint* points, std::ptrdiff_t n_points, const F& f) const {
    const std::ptrdiff_t size = n_outputs_ * d_;
    parallel_region(threads_worth(n_points * size, n_threads_), [&](int thread, int n) {
      const Range mine = share(size, 64, thread, n);
      for (std::ptrdiff_t m = 0; m < n_points; ++m) {
        for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) f(points[m], i);
      }
    });
  }

  // Gradients are wanted of the first n_gradients.
  void set_points(const LossPoint* points, std::ptrdiff_t n_points, std::ptrdiff_t n_gradients) {
    const std::ptrdiff_t size = n_outputs_ * d_;
    for_weights(points, n_points, [&](const LossPoint& point, std::ptrdiff_t i) {
      W_[(&point - points) * size + i] = static_cast<T>(point.parameters[i]);
    });
    for (std::ptrdiff_t m = 0; m < n_points; ++m) {
      for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
        b_[m * n_outputs_ + r] = static_cast<T>(points[m].parameters[size + r]);
      }
    }
    products_->set_weights(W_.data(), n_points * n_outputs_, n_gradients * n_outputs_);
  }

  // body(member, n_pieces, chunk) on every thread, for chunks of some rows. After a stop the chunks
  // still come, for all threads must go through the same phases; but nothing is done with them.
  template <class F>
  void for_chunks_of(const Rows& rows, std::ptrdiff_t chunk_rows, int n_threads, const F& body) {
    Team team(n_threads);
    parallel_region(n_threads, [&](int thread, int n_pieces) {
      Team::Member member(team, thread, n_pieces);
      for (std::ptrdiff_t i = 0; i < rows.size(); i += chunk_rows) {
        const std::ptrdiff_t n = std::min(chunk_rows, rows.size() - i);
        body(member, n_pieces, RowChunk{i, n, i + n == rows.size()});
        if (thread == 0) stop_.poll();
      }
    });
  }
  // Between two meetings threads do what they do with a whole chunk. One thread meets nobody, and
  // takes block by block, of which more is in the first-level cache: 1.05 to 1.1 times the speed.
  template <class F>
  void for_chunks(const Rows& rows, std::ptrdiff_t n_points, const F& body) {
    const int n_threads = threads_for(std::min(chunk_rows_, rows.size()), n_points);
    for_chunks_of(rows, n_threads > 1 ? chunk_rows_ : products_->block_rows(), n_threads, body);
  }
  int threads_for(std::ptrdiff_t chunk_rows, std::ptrdiff_t n_points) const {
    const double work_ns = static_cast<double>(chunk_rows) *
                           row_ns(products_->entries_per_row(), n_points * n_outputs_);
    return std::min(n_threads_, plan_threads(n_threads_, work_ns));
  }

  void add_class_hessian(const Rows& rows, const LossPoint& point, const double* const* directions,
                         std::ptrdiff_t n_directions, double* hessian) {
    std::vector<LossPoint> points{point};
    for (std::ptrdiff_t i = 0; i * n_outputs_ < n_directions; ++i) {
      points.push_back({directions[i], nullptr, 0.0, -1, 1.0});
    }
    const auto n_points = static_cast<std::ptrdiff_t>(points.size());
    set_points(points.data(), n_points, 0);
    const std::ptrdiff_t chunk_rows = products_->block_rows();
    ClassHessian<T> sum(n_outputs_, n_directions, chunk_rows, precision_, n_threads_);
    for_chunks_of(
        rows, chunk_rows, threads_for(chunk_rows, n_points),
        [&](Team::Member& member, int n_pieces, const RowChunk& chunk) {
          member.run([&](int piece) {
            const Range mine = share(chunk.n_rows, kRowGrain, piece, n_pieces);
            if (mine.begin == mine.end || stop_.stopped()) return;
            forward(rows, chunk, mine, piece, points.data(), 1, false);
            for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
              if (n_outputs_ > 1 || labels_[i] == 1) *derivative_at_label(i) += T(1);
              sum.set_weight(i, row_weights_(rows[chunk.begin + i], point.held_out));
            }
            sum.set(
                mine, [&](std::ptrdiff_t i, std::ptrdiff_t r) { return dlogits_[i * stride_ + r]; },
                [&](std::ptrdiff_t i, std::ptrdiff_t a) { return logit(i, n_outputs_ + a); });
          });
          member.run([&](int piece) {
            if (!stop_.stopped()) sum.pack(chunk.n_rows, piece, n_pieces);
          });
          member.run([&](int piece) {
            if (!stop_.stopped()) sum.add(chunk.n_rows, piece, n_pieces);
          });
        });
    sum.finish(hessian);
  }

  void evaluate_group(const Rows& rows, LossPoint* points, std::ptrdiff_t n_points) {
    set_points(points, n_points, n_points);
    for (std::ptrdiff_t m = 0; m < n_points; ++m) points[m].loss = 0.0;
    const auto add_losses = [&](const RowChunk& chunk, int piece, int n_pieces) {
      for (std::ptrdiff_t m = piece; m < n_points; m += n_pieces) {
        const T* losses = losses_.data() + m * chunk_rows_;
        for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
          points[m].loss += static_cast<double>(losses[i]);
        }
        if (float* row_losses = points[m].row_losses) {
          for (std::ptrdiff_t i = 0; i < chunk.n_rows; ++i) {
            row_losses[chunk.begin + i] = static_cast<float>(losses[i]);
          }
        }
      }
    };
    sum_gradients(
        rows, points, n_points,
        [&](const RowChunk& chunk, Range mine, int piece) {
          forward(rows, chunk, mine, piece, points, n_points, true);
        },
        add_losses);
    for (std::ptrdiff_t m = 0; m < n_points; ++m)
      points[m].loss *= points[m].scale * row_weights_.unit();
  }

  // The gradients of n_points are the sums of dlogits' X and dlogits over all rows; make(chunk,
  // mine, piece) makes dlogits of some rows of a chunk, also(chunk, piece, n_pieces) then has its
  // turn.
  template <class Make, class Also>
  void sum_gradients(const Rows& rows, const LossPoint* points, std::ptrdiff_t n_points,
                     const Make& make, const Also& also) {
    for_weights(points, n_points,
                [](const LossPoint& point, std::ptrdiff_t i) { point.gradient[i] = 0.0; });
    std::vector<double*> gradient;
    for (std::ptrdiff_t r = 0; r < n_points * n_outputs_; ++r) {
      gradient.push_back(points[r / n_outputs_].gradient + r % n_outputs_ * d_);
    }
    std::fill_n(db_.data(), db_.size(), 0.0);
    for_chunks(rows, n_points, [&](Team::Member& member, int n_pieces, const RowChunk& chunk) {
      member.run([&](int piece) {
        const Range mine = share(chunk.n_rows, kRowGrain, piece, n_pieces);
        if (mine.begin != mine.end && !stop_.stopped()) make(chunk, mine, piece);
      });
      if (products_->needs_preparation()) {
        member.run([&](int piece) {
          if (!stop_.stopped()) products_->prepare(rows, chunk, dlogits(), piece, n_pieces);
        });
      }
      member.run([&](int piece) {
        if (stop_.stopped()) return;
        products_->backward(rows, chunk, dlogits(), piece, n_pieces, gradient.data());
        add_rows(chunk, share(n_points * n_outputs_, kRowGrain, piece, n_pieces));
        also(chunk, piece, n_pieces);
      });
    });
    // What float32 leaves of a sum of zero is 1e-7 of it, and with a penalty next to nothing it
    // became steps of 1e7: 20,000 x 60 of 10 classes at C = 1e6 took 102 passes, 18 in float64.
    for (std::ptrdiff_t m = 0; m < n_points; ++m) {
      double* const b = points[m].gradient + n_outputs_ * d_;
      std::copy_n(db_.data() + m * n_outputs_, n_outputs_, b);
      remove_common_part(points[m].gradient, n_outputs_, d_, n_threads_);
      for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) b[r] *= points[m].scale * row_weights_.unit();
    }
    const double unit = problem_.input_scale * row_weights_.unit();
    for_weights(points, n_points, [&](const LossPoint& point, std::ptrdiff_t i) {
      point.gradient[i] *= point.scale * unit;
    });
  }

  ChunkProducts<T> dlogits() { return {dlogits_.data(), stride_, part_stride_}; }
  // Of the first model, in the logit of the row's label or in the only one.
  T* derivative_at_label(std::ptrdiff_t i) {
    return dlogits_.data() + i * stride_ + (n_outputs_ > 1 ? labels_[i] : 0);
  }

  // Of a row of the chunk and an output of any model.
  T logit(std::ptrdiff_t i, std::ptrdiff_t output) const {
    T sum = 0;
    for (std::ptrdiff_t part = 0; part < products_->n_parts(); ++part) {
      sum += parts_[part * part_stride_ + i * stride_ + output];
    }
    return static_cast<T>(problem_.input_scale) * sum + b_[output];
  }

  // Rows of the chunk to losses and dlogits.
  void forward(const Rows& rows, const RowChunk& chunk, Range mine, int piece,
               const LossPoint* points, std::ptrdiff_t n_points, bool weighted) {
    const std::ptrdiff_t first = mine.begin, n_rows = mine.end - mine.begin;
    for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
      labels_[i] = problem_.labels[rows[chunk.begin + i]];
    }
    products_->forward(rows, chunk, mine, piece, {parts_.data(), stride_, part_stride_});
    weighted = weighted && !row_weights_.all_one();
    for (std::ptrdiff_t m = 0; m < n_points; ++m) {
      T* weights = weights_.data();
      if (row_weights_.by_model()) weights += m * chunk_rows_;
      if (weighted && (m == 0 || row_weights_.by_model())) {
        for (std::ptrdiff_t i = mine.begin; i < mine.end; ++i) {
          weights[i] = static_cast<T>(row_weights_(rows[chunk.begin + i], points[m].held_out));
        }
      }
      const std::ptrdiff_t at = first * stride_ + m * n_outputs_;
      CrossEntropyArgs<T> a{};
      a.parts = parts_.data() + at;
      a.n_parts = products_->n_parts();
      a.part_stride = part_stride_;
      a.row_stride = stride_;
      a.dlogits_stride = stride_;
      a.n_rows = n_rows;
      a.n_classes = n_outputs_;
      a.scale = static_cast<T>(problem_.input_scale);
      a.b = b_.data() + m * n_outputs_;
      a.labels = labels_.data() + first;
      a.weights = weighted ? weights + first : nullptr;
      a.gradient_scale = T(1);
      a.dlogits = dlogits_.data() + at;
      a.losses = losses_.data() + m * chunk_rows_ + first;
      n_outputs_ > 1 ? arithmetic_.cross_entropy_of_parts(a) : arithmetic_.logistic_of_parts(a);
    }
  }

  // dlogits of model m, from p - onehot to weight (diag(p) - p p') u; u is the direction's logits,
  // which follow those of n models.
  void curve(std::ptrdiff_t i, std::ptrdiff_t m, std::ptrdiff_t n, double weight) {
    T* d = dlogits_.data() + i * stride_ + m * n_outputs_;
    const auto w = static_cast<T>(weight);
    if (n_outputs_ == 1) {
      const T p = std::abs(d[0]);  // or 1 - p
      d[0] = w * p * (T(1) - p) * logit(i, n + m);
      return;
    }
    // Less that of the label: else a row that is nearly certain would round away what it has to
    // say.
    T* u = parts_.data() + i * stride_ + (n + m) * n_outputs_;
    const T of_label = logit(i, (n + m) * n_outputs_ + labels_[i]);
    T mean = 0;
    for (std::ptrdiff_t c = 0; c < n_outputs_; ++c) {
      u[c] = logit(i, (n + m) * n_outputs_ + c) - of_label;
      mean += d[c] * u[c];
    }
    d[labels_[i]] += T(1);
    for (std::ptrdiff_t c = 0; c < n_outputs_; ++c) d[c] *= w * (u[c] - mean);
  }

  // So many rows by vectors of T, and then in float64. (Each row in float64 took 6 % of a pass of
  // 1000 outputs, this one 1 %.)
  void add_rows(const RowChunk& chunk, Range outputs) {
    constexpr std::ptrdiff_t kRows = 64, kOutputs = 256;
    alignas(64) T sums[kOutputs];
    for (std::ptrdiff_t r = outputs.begin; r < outputs.end; r += kOutputs) {
      const std::ptrdiff_t n = std::min(kOutputs, outputs.end - r);
      for (std::ptrdiff_t i = 0; i < chunk.n_rows; i += kRows) {
        std::fill_n(sums, kOutputs, T(0));
        arithmetic_.add_rows(dlogits_.data() + i * stride_ + r, stride_,
                             std::min(kRows, chunk.n_rows - i), n, sums);
        add_to(sums, n, db_.data() + r);
      }
    }
  }

  // From the gradient of the unweighted loss in the logits, which is p - onehot(y).
  double curvature_of_row(std::ptrdiff_t i) const {
    const T* d = dlogits_.data() + i * stride_;
    if (n_outputs_ == 1) {
      const double p = std::abs(static_cast<double>(d[0]));
      return p * (1.0 - p);  // p or 1 - p
    }
    double squares = 0.0;
    for (std::ptrdiff_t c = 0; c < n_outputs_; ++c) {
      const double p = static_cast<double>(d[c]) + (c == labels_[i] ? 1.0 : 0.0);
      squares += p * p;
    }
    return std::max(0.0, 1.0 - squares) / static_cast<double>(n_outputs_ - 1);
  }

  const ArithmeticKernels<T>& arithmetic_;
  const Precision precision_;
  const LogisticProblem problem_;
  const std::ptrdiff_t d_;
  const RowWeights row_weights_;
  const int n_threads_;
  StopPoll& stop_;
  const std::ptrdiff_t n_outputs_;  // of a model; the outputs of all lie side by side
  const std::ptrdiff_t group_points_;
  const std::unique_ptr<Products<T>> products_;
  const std::ptrdiff_t chunk_rows_, stride_, part_stride_;
  AlignedBuffer<T> W_, b_, parts_, dlogits_;
  AlignedBuffer<double> db_;
  AlignedBuffer<std::int64_t> labels_;
  AlignedBuffer<T> weights_, losses_;
};

}  // namespace

double pass_ns(const LogisticProblem& problem, std::ptrdiff_t n_models) {
  const auto n_rows = static_cast<double>(std::max<std::ptrdiff_t>(1, problem.n_rows()));
  const double entries = static_cast<double>(problem.n_entries()) / n_rows;
  return n_rows * row_ns(entries, n_models * problem.n_outputs());
}

std::unique_ptr<LogisticLoss> make_loss(const LogisticProblem& problem, Arithmetic arithmetic,
                                        std::ptrdiff_t max_points, bool has_hessian_products,
                                        int n_threads, StopPoll& stop) {
  const std::ptrdiff_t n_points = points_at_once(problem, max_points, has_hessian_products ? 2 : 1);
  const Storage storage = problem.dense ? problem.dense->storage : problem.csr->storage;
  if (arithmetic == Arithmetic::kDouble || storage == Storage::kFloat64) {
    return std::make_unique<ChunkedLoss<double>>(problem, n_points, Precision::kFull, n_threads,
                                                 stop);
  }
  const Precision precision =
      arithmetic == Arithmetic::kReduced ? Precision::kReduced : Precision::kFull;
  return std::make_unique<ChunkedLoss<float>>(problem, n_points, precision, n_threads, stop);
}

}  // namespace fastsoftmax
