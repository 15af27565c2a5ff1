#include "solvers/lbfgs.h"

#include <algorithm>
#include <cmath>

#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

// Of the sufficient decrease and of the slope (Nocedal & Wright, section 3.1); trials of a search.
constexpr double kDecrease = 1e-4, kSlope = 0.9;
constexpr int kMaxTrials = 25;

// The minimum of the cubic through two points with slopes, kept well inside them.
template <class End>
double between(const End& a, const End& b) {
  const double width = b.t - a.t;
  double at = 0.5;
  if (std::isfinite(b.f) && std::isfinite(b.slope)) {
    const double d1 = a.slope + b.slope - 3.0 * (b.f - a.f) / width;
    const double root = d1 * d1 - a.slope * b.slope;
    if (root >= 0.0) {
      const double d2 = std::copysign(std::sqrt(root), width);
      const double cubic = 1.0 - (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
      if (std::isfinite(cubic)) at = cubic;
    }
    at = std::clamp(at, 0.1, 0.9);
  } else {
    at = 0.1;
  }
  return a.t + at * width;
}

}  // namespace

Lbfgs::Lbfgs(std::ptrdiff_t size, std::ptrdiff_t memory, int n_threads)
    : size_(size),
      memory_(memory),
      n_threads_(n_threads),
      x_(size),
      g_(size),
      trial_(size),
      trial_gradient_(size),
      p_(size),
      scratch_(size),
      S_(size * memory),
      Y_(size * memory),
      rho_(memory) {}

void Lbfgs::start(const double* x) {
  std::copy_n(x, size_, x_.data());
  restart();
}

void Lbfgs::restart() {
  std::copy_n(x_.data(), size_, trial_.data());
  n_pairs_ = n_stored_ = 0;
  has_start_ = has_stepped_ = retried_ = false;
}

Lbfgs::Outcome Lbfgs::tell(double f) {
  if (!has_start_) {
    std::copy_n(trial_.data(), size_, x_.data());
    std::copy_n(trial_gradient_.data(), size_, g_.data());
    f_ = f;
    has_start_ = true;
    return std::isfinite(f) ? Outcome::kStepped : Outcome::kStuck;
  }
  ++n_trials_;
  const double slope = dot(trial_gradient_.data(), p_.data(), size_, n_threads_);
  const double slack = noise_ * std::abs(f_);
  const bool decreases = f <= f_ + kDecrease * t_ * slope_ ||
                         (f <= f_ + slack && slope <= (2.0 * kDecrease - 1.0) * slope_);
  if (!(std::isfinite(f) && std::isfinite(slope)) || !decreases) {
    high_ = {t_, f, slope};
    has_high_ = true;
  } else if (slope < kSlope * slope_ && -slope_ > kNothing * std::abs(f_)) {
    low_ = {t_, f, slope};
  } else {
    f_ = f;
    take_trial();
    return Outcome::kStepped;
  }
  if (n_trials_ >= kMaxTrials ||
      t_ * std::sqrt(dot(p_.data(), p_.data(), size_, n_threads_)) <=
          1e-16 * (1e-300 + std::sqrt(dot(x_.data(), x_.data(), size_, n_threads_)))) {
    return give_up();
  }
  if (has_high_) {
    try_step(between(low_, high_));
  } else {
    try_step(t_ * 4.0);
  }
  return Outcome::kSearching;
}

// Once more without the pairs; a first step that the preconditioner alone has made, from a
// curvature that rounding has made of features of large means, without that.
Lbfgs::Outcome Lbfgs::give_up() {
  if (retried_ || (n_pairs_ == 0 && has_stepped_)) return Outcome::kStuck;
  retried_ = true;
  n_pairs_ = n_stored_ = 0;
  return Outcome::kRestarted;
}

// The trial becomes the point, and the step a pair.
void Lbfgs::take_trial() {
  double* s = S_.data() + n_stored_ % memory_ * size_;
  double* y = Y_.data() + n_stored_ % memory_ * size_;
  for_vector_blocks(size_, n_threads_,
                    [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
                      for (std::ptrdiff_t i = begin; i < end; ++i) {
                        s[i] = trial_[i] - x_[i];
                        y[i] = trial_gradient_[i] - g_[i];
                        x_[i] = trial_[i];
                        g_[i] = trial_gradient_[i];
                      }
                    });
  retried_ = false;
  has_stepped_ = true;
  const double sy = dot(s, y, size_, n_threads_);
  if (!(sy > 0.0) || !std::isfinite(1.0 / sy)) {
    n_pairs_ = n_stored_ = 0;  // rounding: what was learnt is worth no more than this
    return;
  }
  rho_[n_stored_ % memory_] = 1.0 / sy;
  ++n_stored_;
  n_pairs_ = std::min(n_pairs_ + 1, memory_);
}

// v += factors[i - 1] added(i - 1), then factors[i] = factor(i, dotted(i) . v), one pair after the
// other, and at last v += what belongs to the last. The threads meet once for each pair, in one
// region. A thread that was away finds the parts of each product where they were.
template <class Added, class Dotted, class Factor>
void Lbfgs::along_pairs(double* v, const Added& added, const Dotted& dotted, const Factor& factor,
                        double* factors) const {
  const std::ptrdiff_t n_blocks = vector_blocks(size_);
  const int n_threads = vector_threads(size_, n_pairs_, n_threads_);
  std::vector<double> parts(static_cast<std::size_t>(n_pairs_ * n_blocks));
  Team team(n_threads);
  parallel_region(n_threads, [&](int thread, int n_pieces) {
    Team::Member member(team, thread, n_pieces);
    double last = 0.0;
    for (std::ptrdiff_t i = 0; i <= n_pairs_; ++i) {
      double* part = parts.data() + i * n_blocks;
      member.run([&](int piece) {
        const Range mine = share(n_blocks, 1, piece, n_pieces);
        for (std::ptrdiff_t block = mine.begin; block < mine.end; ++block) {
          const std::ptrdiff_t begin = block * kVectorBlock,
                               end = std::min(size_, begin + kVectorBlock);
          if (i > 0) {
            const double* x = added(i - 1);
            for (std::ptrdiff_t j = begin; j < end; ++j) v[j] += last * x[j];
          }
          if (i < n_pairs_) part[block] = dot_block(dotted(i) + begin, v + begin, end - begin);
        }
      });
      if (i == n_pairs_) return;
      double sum = 0.0;
      for (std::ptrdiff_t block = 0; block < n_blocks; ++block) sum += part[block];
      last = factor(i, sum);
      if (factors && thread == 0) factors[i] = last;
    }
  });
}

void Lbfgs::step_for(const double* v, const Precondition& precondition, double* out) {
  std::vector<double> alpha(static_cast<std::size_t>(n_pairs_));
  double* q = scratch_.data();
  std::copy_n(v, size_, q);
  along_pairs(
      q, [&](std::ptrdiff_t age) { return y(age); }, [&](std::ptrdiff_t age) { return s(age); },
      [&](std::ptrdiff_t age, double product) { return -rho_[place(age)] * product; },
      alpha.data());
  double scale = 1.0;
  if (precondition) {
    if (n_pairs_ > 0) {
      precondition(y(0), out);
      const double yHy = dot(y(0), out, size_, n_threads_);
      if (yHy > 0.0) scale = 1.0 / (rho_[place(0)] * yHy);
    }
    precondition(q, out);
  } else {
    if (n_pairs_ > 0) scale = 1.0 / (rho_[place(0)] * dot(y(0), y(0), size_, n_threads_));
    std::copy_n(q, size_, out);
  }
  for_vector_blocks(size_, n_threads_,
                    [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
                      for (std::ptrdiff_t i = begin; i < end; ++i) out[i] *= -scale;
                    });
  // The oldest first.
  const auto age_of = [&](std::ptrdiff_t i) { return n_pairs_ - 1 - i; };
  along_pairs(
      out, [&](std::ptrdiff_t i) { return s(age_of(i)); },
      [&](std::ptrdiff_t i) { return y(age_of(i)); },
      [&](std::ptrdiff_t i, double product) {
        return alpha[static_cast<std::size_t>(age_of(i))] - rho_[place(age_of(i))] * product;
      },
      nullptr);
}

void Lbfgs::advance(const Precondition& preconditioner) {
  const Precondition precondition = retried_ && !has_stepped_ ? nullptr : preconditioner;
  step_for(g_.data(), precondition, p_.data());
  slope_ = dot(g_.data(), p_.data(), size_, n_threads_);
  for (int attempt = 0; attempt < 2 && !(slope_ < 0.0); ++attempt) {
    // Rounding: without the pairs, and then without the preconditioner.
    n_pairs_ = n_stored_ = 0;
    step_for(g_.data(), attempt == 0 ? precondition : nullptr, p_.data());
    slope_ = dot(g_.data(), p_.data(), size_, n_threads_);
  }
  double t = 1.0;
  if (n_pairs_ == 0 && !precondition) {
    // The gradient has no scale: as far as would halve the objective if it were linear, at most.
    t = std::min(1.0, 0.5 * std::abs(f_) / std::max(-slope_, 1e-300));
  }
  search(t);
}

void Lbfgs::advance_along(const double* direction, const Precondition& precondition) {
  slope_ = dot(g_.data(), direction, size_, n_threads_);
  if (!(slope_ < 0.0)) return advance(precondition);
  std::copy_n(direction, size_, p_.data());
  search(1.0);
}

// Begins the line search along p_.
void Lbfgs::search(double t) {
  low_ = {0.0, f_, slope_};
  has_high_ = false;
  n_trials_ = 0;
  try_step(t);
}

void Lbfgs::try_step(double t) {
  t_ = t;
  for_vector_blocks(size_, n_threads_,
                    [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
                      for (std::ptrdiff_t i = begin; i < end; ++i) trial_[i] = x_[i] + t * p_[i];
                    });
}

}  // namespace fastsoftmax
