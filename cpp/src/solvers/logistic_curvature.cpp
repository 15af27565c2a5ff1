// The preconditioners of a fit of logistic regressions: from which rows, and for which models.
#include <algorithm>
#include <cmath>

#include "solvers/logistic_fit.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

constexpr double kPreconditionerBytes = 64 << 20;
// Passes after which a curvature that nothing else asks for is taken anew.
constexpr double kOften = 20.0;

}  // namespace

// Blocks of features that are dense in the preconditioner, where it is not diagonal.
std::ptrdiff_t LogisticFit::largest_block() const {
  if (problem_.csr) return d_ <= 1024 ? d_ : 1;
  return d_ <= 2048 ? d_ : 1024;
}
std::ptrdiff_t LogisticFit::block() const { return is_dense_ ? largest_block() : 1; }

// So many products, in passes of one model. What a pass takes besides its products is worth the
// time of 300,000.
double LogisticFit::in_passes(double products) const {
  constexpr double kOverhead = 3e5;
  return products /
         (2.0 * static_cast<double>(n_ * d_) * static_cast<double>(n_outputs_) + kOverhead);
}

// Of a dense preconditioner: its products, of half a square for each row, and its inverse, whose
// products in float64 count twice. With fewer rows than features that is hundreds of passes.
double LogisticFit::passes_of_dense(const Rows& rows) const {
  const auto block = static_cast<double>(largest_block());
  return in_passes(static_cast<double>(d_) *
                   (0.5 * static_cast<double>(rows.size()) * block + 2.0 * block * block));
}

// Rows for the curvature: all for a diagonal, which costs less than a pass. A column that a part of
// them misses would have no curvature but its penalty's, and a step too long by all that C is: two
// columns of 2457 categories, one-hot, at C = 1e4 took 741 passes from half of 16,384 rows, and
// take 83.
Rows LogisticFit::curvature_rows(double passes) const {
  return block() == 1 ? all_for_diagonal() : sample_for_dense(passes);
}

// Ten for each feature: MNIST at C = 1 takes 47 passes to a gap of 1e-4, of 24 it takes 44, but
// twice the time for the curvature. More than twice as many, and again, while they take no more
// than some passes, leave room for the directions, and fit some memory: who has made many passes
// may have hundreds to go.
Rows LogisticFit::sample_for_dense(double passes) const {
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

// Of all that a curvature takes, for one model: the probabilities of its rows, and matrices.
double LogisticFit::passes_of_curvature(const Rows& rows) const {
  const double of_rows = 0.5 * static_cast<double>(rows.size()) / static_cast<double>(n_);
  return of_rows + (is_dense_ ? passes_of_dense(rows) : 0.0) +
         passes_of_directions(rows, n_directions(rows, 1, 0.0));
}

// Whether the classes' centres are to be known, instead of the curvature between classes; what they
// need takes 4 bytes for each row and model.
bool LogisticFit::knows_centres() const {
  constexpr double kRowBytes = 32 << 20;
  const auto n_active = std::count_if(models_.begin(), models_.end(),
                                      [](const Model& model) { return model.active; });
  return n_outputs_ > 2 && n_directions(curvature_rows(0.0), 1, 0.0) == 0 &&
         4.0 * static_cast<double>(n_) * static_cast<double>(n_active) <= kRowBytes;
}

// Not in the middle of a search, and classes' centres only of points that are not far from the
// optimum: 4,000 x 256 embeddings of 200 classes at C = 1000 are at 68 times the minimum after one
// step, and with the centres there take 132 passes to 1e-4, where without them they take 54. Nor is
// it worth its time so near the end that a few passes will do.
bool LogisticFit::is_time_for_curvature(double passes) const {
  constexpr double kFew = 10.0;
  return std::all_of(models_.begin(), models_.end(), [&](const Model& model) {
    if (!model.active) return true;
    if (!model.awaits_direction) return false;
    if (passes == 0.0 || passes >= kOften || !knows_centres()) return true;
    return has_settled(model) &&
           model.solver->decrement() > kFew * options_.tol * model.solver->f();
  });
}

// By what the last iteration has gained. The first one gains much wherever it leads: there, what
// the next one promises tells more.
bool LogisticFit::has_settled(const Model& model) const {
  constexpr double kGain = 0.1, kPromise = 0.12;
  if (model.n_iter != 1 || !model.preconditioner) return model.last_gain < kGain;
  std::vector<double> step(static_cast<std::size_t>(size_));
  const double* g = model.solver->gradient();
  model.preconditioner->apply(g, n_outputs_, step.data());
  return 0.5 * dot(g, step.data(), size_, options_.n_threads) < kPromise * model.solver->f();
}

// The curvature for the first time in a wave, or anew: as often as it would take an eighth of the
// work, with rows and directions that take an eighth of the passes made each. (A sixteenth and a
// quarter for C = 100 on MNIST to 1e-4: 318 and 249 passes, not 281, but 0.93 to 1.14 and 0.94 to
// 0.97 of the time; at C = 10 to 1e-6 0.95 to 1.1 and 1 to 1.3.)
void LogisticFit::take_curvature(double passes) {
  constexpr double kPart = 0.125, kWorth = 2.0;
  const Rows sample = curvature_rows(0.0);
  const double dense = passes_of_dense(sample_for_dense(0.0));
  // A diagonal that has taken as many passes as more would have cost should have been more.
  if (!is_dense_ && passes >= dense) {
    is_dense_ = true;
    for (Model& model : models_) model.preconditioner.reset();
  }
  has_started_ |= passes > 0.0;
  precondition(passes > 0.0, passes < kOften ? 0.0 : kPart * passes);
  if (stop_.stopped()) return;
  for (Model& model : models_) std::vector<float>().swap(model.row_losses);
  const double cost = passes_of_curvature(sample);
  const bool lacks_centres = passes == 0.0 && knows_centres() &&
                             std::any_of(models_.begin(), models_.end(), [](const Model& model) {
                               return model.active && !model.preconditioner->has_centres();
                             });
  next_curvature_ = lacks_centres && cost <= kWorth
                        ? 1.0
                        : std::max({knows_centres() ? 1.0 : kOften, cost / kPart, 2.0 * passes});
  if (!is_dense_) next_curvature_ = std::min(next_curvature_, std::max(dense, passes + 1.0));
}

// Where the solver is, if what it takes has been asked for in the last pass.
ClassCentres LogisticFit::centres_of(Model& model) {
  if (model.row_losses.empty()) return {};
  std::vector<double> gradient(static_cast<std::size_t>(size_));
  std::copy_n(model.solver->gradient(), size_, gradient.data());
  add_scaled(-model.penalty, model.solver->x(), gradient.data(), n_outputs_ * d_,
             options_.n_threads);
  std::copy(model.intercept_gradient.begin(), model.intercept_gradient.end(),
            gradient.begin() + n_outputs_ * d_);
  return class_centres(*loss_, problem_, weights_, model.held_out, std::move(model.row_losses),
                       gradient.data(), options_.n_threads);
}

// Of the curvature between classes along so many directions.
double LogisticFit::passes_of_directions(const Rows& rows, std::ptrdiff_t n_directions) const {
  if (n_directions == 0) return 0.0;
  const auto size = static_cast<double>(n_outputs_ * (n_directions + 1));
  return in_passes(0.5 * size * size * (static_cast<double>(rows.size()) + 4.0 * size));
}

// Directions of the features in which the curvature between classes is worth its cost, for so many
// models that share it: that of four passes or more, and its memory. Less than 16, or than there
// are classes, tell less than the classes' centres do, unless they are all that there is: 50,000 x
// 768 of 100 classes takes 18 passes with 16, and 15 with the centres; MNIST at C = 1 47 with 64,
// and 93. Where all probabilities are alike it is known.
std::ptrdiff_t LogisticFit::n_directions(const Rows& rows, std::ptrdiff_t n_sharing,
                                         double passes) const {
  constexpr std::ptrdiff_t kMost = 64, kMostAnew = 128;
  constexpr double kPasses = 4.0;
  const std::ptrdiff_t least = std::min(d_, std::max<std::ptrdiff_t>(16, n_outputs_));
  if (n_outputs_ < 3 || block() < d_ || !has_started_) return 0;
  const auto is_too_much = [&](std::ptrdiff_t q) {
    const auto size = static_cast<double>(n_outputs_ * (q + 1));
    return 8.0 * size * size > kPreconditionerBytes ||
           passes_of_directions(rows, q) >
               std::max(passes, kPasses * static_cast<double>(n_sharing));
  };
  std::ptrdiff_t q = std::min(passes > kPasses ? kMostAnew : kMost, d_);
  while (q >= least && is_too_much(q)) q -= 8;
  return q < least ? 0 : q;
}

// The one that was built for nearly the same penalty, if there is one.
std::shared_ptr<const Preconditioner> LogisticFit::preconditioner_near(double penalty) const {
  constexpr double kNear = 3.0;
  std::shared_ptr<const Preconditioner> nearest;
  double distance = std::log(kNear);
  for (const Model& model : models_) {
    if (!model.preconditioner || model.by_diagonal || !(penalty > 0.0 && model.penalty > 0.0)) {
      continue;
    }
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

void LogisticFit::precondition_by_diagonal(Model& model) {
  const Rows rows = all_for_diagonal();
  AlignedBuffer<float> c(rows.size());
  set_preconditioner(model, build(rows, c.data(), model, 0));
}

// A preconditioner for each penalty, or for neighbours among them if these are many; anew: instead
// of those that there are. passes: what more rows, and more directions, may take each.
void LogisticFit::precondition(bool anew, double passes) {
  std::vector<std::size_t> order;
  for (std::size_t m = 0; m < models_.size(); ++m) {
    if (!models_[m].active) continue;
    if (models_[m].by_diagonal) {
      precondition_by_diagonal(models_[m]);
      if (stop_.stopped()) return;
      continue;
    }
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

// Of a feature, for who has not seen it in some of the rows: without curvature steps along it are
// too long by what the penalty lacks. It takes a quarter of a pass, unless it is zero in all rows
// as far as sums tell.
double LogisticFit::mean_square(const Model& model, std::ptrdiff_t feature) {
  const auto f = static_cast<std::size_t>(feature), d = static_cast<std::size_t>(d_);
  const auto found = class_sums_.find(model.held_out);
  if (found != class_sums_.end()) {
    const ClassSums& sums = found->second;
    bool is_zero = sums.sum[f] == 0.0;
    for (std::size_t at = f; at < sums.class_sums.size(); at += d) {
      is_zero &= sums.class_sums[at] == 0.0;
    }
    if (is_zero) return 0.0;
  }
  if (mean_squares_.empty()) {
    const Rows all{n_, 1, 0};
    AlignedBuffer<float> one(n_);
    std::fill_n(one.data(), n_, 1.0f);
    std::vector<double> sums(d);
    mean_squares_.resize(d);
    loss_->gram(all, one.data(), {0, d_}, true, mean_squares_.data(), sums.data());
    for (double& each : mean_squares_) each /= static_cast<double>(n_);
  }
  return mean_squares_[f];
}

std::shared_ptr<const Preconditioner> LogisticFit::build(const Rows& rows, float* c, Model& model,
                                                         std::ptrdiff_t n_directions) {
  const LossPoint point{model.solver->x(), nullptr, 0.0, model.held_out, 1.0};
  auto built = std::make_shared<Preconditioner>(d_, is_diagonal(model) ? 1 : block(),
                                                problem_.fit_intercept, options_.n_threads);
  if (is_at_zero(model)) {
    const double p = 1.0 / static_cast<double>(problem_.n_classes);
    const double of_row = n_outputs_ == 1 ? p * (1.0 - p) : p;
    for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
      c[i] = static_cast<float>(of_row * weights_(rows[i], model.held_out));
    }
  } else {
    loss_->curvature(rows, point, c);
  }
  if (stop_.stopped()) return built;
  const double part = total_weight(rows, model.held_out);
  const double total = total_weight(Rows{n_, 1, 0}, model.held_out) * weights_.unit();
  // A sum of curvatures is about that of the losses, which are a hundredth of the objective or more
  // at an optimum. Next to none, of a step that went too far, tells nothing: intercepts would move
  // by one rounding error divided by another. Passes of 4,000 x 256 embeddings of 200 classes at
  // C = 10, 1000, 1e6, of nothing, 1e-4, 1e-3, 1e-2 and 5e-2: 411, 299, 190, 154, 166; 994, 547,
  // 140, 152, 142; 679, 369, 282, 178, 203; of 15 x 1500 of 5 classes at 1e4 -, 59, 68, 63, 52.
  constexpr double kLeastLoss = 1e-3;
  const double least_total = model.has_stepped ? kLeastLoss * model.solver->f() : 0.0;
  built->build(
      *loss_, rows, point, c, part > 0.0 ? total / part : 0.0, least_total, model.penalty,
      n_outputs_, n_directions, n_directions == 0 ? centres_of(model) : ClassCentres(),
      rows.stride == 1 ? Preconditioner::Unseen()
                       : [&](std::ptrdiff_t feature) { return mean_square(model, feature); });
  out_.n_curvature_rows += rows.size();
  return built;
}

}  // namespace fastsoftmax
