// The preconditioners of a fit of logistic regressions: from which rows, and for which models.
#include <algorithm>
#include <cmath>

#include "solvers/logistic_fit.h"

namespace fastsoftmax {
namespace {

constexpr double kPreconditionerBytes = 64 << 20;

}  // namespace

// Blocks of features that are dense in the preconditioner, where it is not diagonal.
std::ptrdiff_t LogisticFit::largest_block() const {
  if (problem_.csr) return d_ <= 1024 ? d_ : 1;
  return d_ <= 2048 ? d_ : 1024;
}
std::ptrdiff_t LogisticFit::block() const { return is_dense_ ? largest_block() : 1; }

// Of a dense preconditioner, in passes of one model: its products, of half a square for each row,
// and its inverse, whose products in float64 count twice. With fewer rows than features that is
// hundreds of passes.
double LogisticFit::passes_of_dense(const Rows& rows) const {
  const auto block = static_cast<double>(largest_block());
  return (0.5 * static_cast<double>(rows.size()) * block + 2.0 * block * block) /
         (2.0 * static_cast<double>(n_) * static_cast<double>(n_outputs_));
}

// Rows for the curvature, 10 for each feature: MNIST at C = 1 takes 47 passes to a gap of 1e-4, of
// 24 it takes 44, but twice the time for the curvature. More than twice as many, and again, while
// they take no more than some passes, leave room for the directions, and fit some memory: who has
// made many passes may have hundreds to go.
Rows LogisticFit::curvature_rows(double passes) const {
  constexpr std::ptrdiff_t kLeast = 8192, kMost = 1 << 20;
  const std::ptrdiff_t wanted = std::min(std::max(n_ / 4, kLeast), std::max(10 * d_, kLeast));
  Rows rows{n_, std::max<std::ptrdiff_t>(1, n_ / wanted), options_.seed + 1};
  const std::ptrdiff_t least_directions = n_directions(rows, 1, 0.0);
  for (Rows more = rows; rows.stride > 1; rows = more) {
    more.stride = rows.stride / 2;
    if (more.size() > kMost || passes_of_dense(more) > passes) break;
    if (n_directions(more, 1, passes) < least_directions) break;
  }
  return rows;
}

// Of the curvature between classes along so many directions, in passes of one model.
double LogisticFit::passes_of_directions(const Rows& rows, std::ptrdiff_t n_directions) const {
  if (n_directions == 0) return 0.0;
  const auto size = static_cast<double>(n_outputs_ * (n_directions + 1));
  return size * size * (static_cast<double>(rows.size()) + 4.0 * size) /
         (4.0 * static_cast<double>(n_ * d_) * static_cast<double>(n_outputs_));
}

// Directions of the features in which the curvature between classes is worth its cost, for so many
// models that share it: that of four passes or more, and its memory. Where all probabilities are
// alike it is known.
std::ptrdiff_t LogisticFit::n_directions(const Rows& rows, std::ptrdiff_t n_sharing,
                                         double passes) const {
  constexpr std::ptrdiff_t kLeast = 16, kMost = 64, kMostAnew = 128;
  constexpr double kPasses = 4.0;
  if (n_outputs_ < 3 || block() < d_ || !has_started_) return 0;
  const auto is_too_much = [&](std::ptrdiff_t q) {
    const auto size = static_cast<double>(n_outputs_ * (q + 1));
    return 8.0 * size * size > kPreconditionerBytes ||
           passes_of_directions(rows, q) >
               std::max(passes, kPasses * static_cast<double>(n_sharing));
  };
  std::ptrdiff_t q = std::min(passes > kPasses ? kMostAnew : kMost, d_);
  while (q >= kLeast && is_too_much(q)) q -= 8;
  return q < kLeast ? 0 : q;
}

// The one that was built for nearly the same penalty, if there is one.
std::shared_ptr<const Preconditioner> LogisticFit::preconditioner_near(double penalty) const {
  constexpr double kNear = 3.0;
  std::shared_ptr<const Preconditioner> nearest;
  double distance = std::log(kNear);
  for (const Model& model : models_) {
    if (!model.preconditioner || !(penalty > 0.0 && model.penalty > 0.0)) continue;
    const double there = std::abs(std::log(model.preconditioner->penalty() / penalty));
    if (there < distance) {
      distance = there;
      nearest = model.preconditioner;
    }
  }
  return nearest;
}

void LogisticFit::set_preconditioner(Model& model, std::shared_ptr<const Preconditioner> found) {
  model.preconditioner = std::move(found);
  if (model.certificate) model.certificate->set_curvature(model.preconditioner->total());
}

// A preconditioner for each penalty, or for neighbours among them if these are many; anew: instead
// of those that there are. passes: what more rows, and more directions, may take each.
void LogisticFit::precondition(bool anew, double passes) {
  std::vector<std::size_t> order;
  for (std::size_t m = 0; m < models_.size(); ++m) {
    if (!models_[m].active) continue;
    if (!anew) {
      if (auto found = preconditioner_near(models_[m].penalty)) {
        set_preconditioner(models_[m], std::move(found));
        continue;
      }
    }
    models_[m].preconditioner.reset();
    order.push_back(m);
  }
  if (order.empty()) return;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return models_[a].penalty < models_[b].penalty;
  });
  std::size_t n_penalties = 1;
  for (std::size_t i = 1; i < order.size(); ++i) {
    n_penalties += models_[order[i]].penalty > models_[order[i - 1]].penalty;
  }
  const Rows rows = curvature_rows(passes);
  const auto n_models = static_cast<std::ptrdiff_t>(order.size());
  const auto classes = static_cast<double>(n_outputs_ * (1 + n_directions(rows, n_models, passes)));
  const double bytes =
      8.0 * (static_cast<double>(d_) * static_cast<double>(block()) + classes * classes);
  const auto most = static_cast<std::size_t>(std::max(1.0, kPreconditionerBytes / bytes));
  const std::size_t per_group = (n_penalties + most - 1) / most;
  AlignedBuffer<float> c(rows.size());
  std::size_t begin = 0;
  while (begin < order.size()) {
    std::size_t end = begin, distinct = 0;
    double last = -1.0;
    for (; end < order.size(); ++end) {
      const double penalty = models_[order[end]].penalty;
      if (penalty != last && ++distinct > per_group) break;
      last = penalty;
    }
    const auto built = build(rows, c.data(), models_[order[begin + (end - begin) / 2]],
                             n_directions(rows, static_cast<std::ptrdiff_t>(end - begin), passes));
    if (stop_.stopped()) return;
    for (std::size_t i = begin; i < end; ++i) set_preconditioner(models_[order[i]], built);
    begin = end;
  }
}

std::shared_ptr<const Preconditioner> LogisticFit::build(const Rows& rows, float* c,
                                                         const Model& model,
                                                         std::ptrdiff_t n_directions) {
  const LossPoint point{model.solver->x(), nullptr, 0.0, model.held_out, 1.0};
  auto built =
      std::make_shared<Preconditioner>(d_, block(), problem_.fit_intercept, options_.n_threads);
  loss_->curvature(rows, point, c);
  if (stop_.stopped()) return built;
  const double part = total_weight(rows, model.held_out);
  const double total = total_weight(Rows{n_, 1, 0}, model.held_out) * weights_.unit();
  built->build(*loss_, rows, point, c, part > 0.0 ? total / part : 0.0, model.penalty, n_outputs_,
               n_directions);
  out_.n_curvature_rows += rows.size();
  return built;
}

}  // namespace fastsoftmax
