// Which of the models with the same rows go first, and where the others begin: on the curve through
// the optima of their neighbours, as functions of the logarithm of the penalty.
#include <algorithm>
#include <cmath>

#include "solvers/logistic_fit.h"
#include "solvers/vectors.h"

namespace fastsoftmax {

// The models that a penalty of their own sets apart from the others of their fold, by penalty.
std::map<LogisticFit::Fold, std::vector<std::size_t>> LogisticFit::curves() const {
  std::map<Fold, std::vector<std::size_t>> curves;
  for (std::size_t m = 0; m < models_.size(); ++m) {
    if (models_[m].penalty > 0.0) curves[models_[m].held_out].push_back(m);
  }
  for (auto& [fold, curve] : curves) {
    const auto penalty = [&](std::size_t m) { return models_[m].penalty; };
    std::stable_sort(curve.begin(), curve.end(),
                     [&](std::size_t a, std::size_t b) { return penalty(a) < penalty(b); });
    const auto same = [&](std::size_t a, std::size_t b) { return penalty(a) == penalty(b); };
    curve.erase(std::unique(curve.begin(), curve.end(), same), curve.end());
  }
  return curves;
}

// The ends of each curve and every so many between them, then those in the middle of the gaps.
void LogisticFit::plan_waves() {
  constexpr std::size_t kLeast = 2;  // gaps in the first wave
  n_waves_ = 1;
  if (options_.warm) return;
  for (const auto& [fold, curve] : curves()) {
    const std::size_t last = curve.size() - 1;
    std::size_t first_stride = 1;
    int waves = 1;
    for (; 2 * first_stride * kLeast <= last; first_stride *= 2) ++waves;
    for (std::size_t i = 0; i < curve.size(); ++i) {
      int wave = 0;
      for (std::size_t stride = first_stride; i % stride != 0 && i != last; stride /= 2) ++wave;
      models_[curve[i]].wave = wave;
    }
    n_waves_ = std::max(n_waves_, waves);
  }
}

// Through the two finished neighbours on each side, if there are so many; but not through two that
// nearly coincide, whose difference is that of their errors.
void LogisticFit::start_from_neighbours() {
  constexpr std::size_t kSide = 2;
  AlignedBuffer<double> start(size_);
  for (const auto& [fold, curve] : curves()) {
    for (std::size_t i = 0; i < curve.size(); ++i) {
      Model& model = models_[curve[i]];
      if (model.wave != wave_) continue;
      std::vector<const Model*> known;
      const auto distance = [](const Model& a, const Model& b) {
        return std::abs(std::log(a.penalty / b.penalty));
      };
      const auto is_of_use = [&](const Model& other) {
        return other.wave < wave_ && std::all_of(known.begin(), known.end(), [&](const Model* one) {
                 return distance(other, *one) > 0.1 * distance(model, *one);
               });
      };
      for (std::size_t j = i, n = 0; j-- > 0 && n < kSide;) {
        if (is_of_use(models_[curve[j]])) known.push_back(&models_[curve[j]]), ++n;
      }
      for (std::size_t j = i + 1, n = 0; j < curve.size() && n < kSide; ++j) {
        if (is_of_use(models_[curve[j]])) known.push_back(&models_[curve[j]]), ++n;
      }
      std::fill_n(start.data(), size_, 0.0);
      for (const Model* a : known) {
        double share = 1.0;
        for (const Model* b : known) {
          if (a == b) continue;
          share *= std::log(model.penalty / b->penalty) / std::log(a->penalty / b->penalty);
        }
        add_scaled(share, a->solver->x(), start.data(), size_, options_.n_threads);
      }
      model.solver->start(start.data());
    }
  }
}

}  // namespace fastsoftmax
