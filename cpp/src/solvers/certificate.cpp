#include "solvers/certificate.h"

#include <algorithm>
#include <cmath>

#include "solvers/spd_inverse.h"
#include "solvers/vectors.h"

namespace fastsoftmax {
namespace {

constexpr double kRidge = 1e-10, kResidualWeight = 100.0;
// Of a sum of products that are sums themselves; of a loss and what belongs to it.
constexpr double kRounding = 0x1p-49, kEntropyRounding = 0x1p-52;
// Of the objective: rounding of logits and gradients of usual size is not counted, for gaps are
// asked for down to 1e-15.
constexpr double kNegligible = 1e-12;

// A bound that is next to nothing beside what it is a sum of is what rounding has left; that the
// objective is not negative is known.
double unless_rounding(double bound, double magnitude) {
  constexpr double kCancelled = 1e-13;
  return bound > kCancelled * magnitude ? bound : std::min(bound, 0.0);
}

double entropy_term(double p) { return p > 0.0 ? p * std::log(p) : 0.0; }

// Minimises linear' c + c' Q c / 2 on the simplex by pairwise steps: share moves from the worst
// point in use to the best one, until no more than enough is left to gain: (c - e_i)' slope at the
// most, whatever the vertex i (Frank & Wolfe, 1956). Or until that is less than half of how far it
// is above least, and would not bring it to hopeless above that.
void minimise_on_simplex(const std::vector<double>& Q, const std::vector<double>& linear,
                         std::vector<double>& c, int steps_per_point, double enough, double least,
                         double hopeless) {
  const std::size_t m = c.size();
  const int max_steps = steps_per_point * static_cast<int>(m);
  std::vector<double> slope = linear;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < m; ++j) slope[i] += Q[i * m + j] * c[j];
  }
  for (int step = 0; step < max_steps; ++step) {
    std::size_t best = 0, worst = m;
    double along = 0.0, linear_part = 0.0;
    for (std::size_t i = 0; i < m; ++i) {
      along += c[i] * slope[i];
      linear_part += c[i] * linear[i];
      if (slope[i] < slope[best]) best = i;
      if (c[i] > 0.0 && (worst == m || slope[i] > slope[worst])) worst = i;
    }
    const double drop = slope[worst] - slope[best];
    const double left = along - slope[best], above = 0.5 * (linear_part + along) - least;
    if (!(drop > 0.0) || left <= enough) return;
    if (left < 0.5 * above && above - left > hopeless) return;
    const double bend = Q[best * m + best] + Q[worst * m + worst] - 2.0 * Q[best * m + worst];
    const double move = bend > 0.0 ? std::min(c[worst], drop / bend) : c[worst];
    c[best] += move;
    c[worst] = move == c[worst] ? 0.0 : c[worst] - move;
    for (std::size_t i = 0; i < m; ++i) slope[i] += move * (Q[i * m + best] - Q[i * m + worst]);
  }
}

}  // namespace

Certificate::Certificate(std::ptrdiff_t n_outputs, std::ptrdiff_t n_features, double penalty,
                         std::ptrdiff_t max_points, const ClassSums* sums, int n_threads)
    : n_outputs_(n_outputs),
      size_(n_outputs * n_features),
      max_points_(max_points),
      n_places_(max_points + kExtra),
      penalty_(penalty),
      sums_(sums),
      n_threads_(n_threads),
      G_(static_cast<std::size_t>(size_)),
      extra_G_(static_cast<std::size_t>(kExtra * size_)),
      gram_(static_cast<std::size_t>(n_places_ * n_places_)),
      entropy_(static_cast<std::size_t>(n_places_)),
      entropy_magnitude_(entropy_),
      residual_gram_(gram_),
      residual_(static_cast<std::size_t>(n_places_ * n_outputs)),
      on_sum_(residual_),
      sum_xy_(entropy_),
      share_(entropy_),
      logit_rounding_(entropy_),
      gradient_rounding_(entropy_),
      residual_of_mixture_(static_cast<std::size_t>(n_outputs)) {}

void Certificate::set_product(std::ptrdiff_t i, std::ptrdiff_t j, double product) {
  gram_[static_cast<std::size_t>(i * n_places_ + j)] = product;
  gram_[static_cast<std::size_t>(j * n_places_ + i)] = product;
}

// The newest of the solver's points alone.
void Certificate::keep(std::ptrdiff_t n_points) {
  n_points_ = n_points;
  for (std::ptrdiff_t age = n_points; age < max_points_; ++age) {
    share_[static_cast<std::size_t>(place(age))] = 0.0;
  }
}

// With the solver's points: product is that with the newest, and the pairs lead from one to the one
// before.
void Certificate::put_products(std::ptrdiff_t at, const double* G, const Lbfgs& solver,
                               double product) {
  const std::ptrdiff_t n_pairs = n_points_ - 1;
  const auto y_then_s = [&](std::ptrdiff_t i) {
    return i < n_pairs ? solver.y(i) : solver.s(i - n_pairs);
  };
  std::vector<double> with_pairs(static_cast<std::size_t>(2 * n_pairs));
  dots(y_then_s, 2 * n_pairs, &G, 1, size_, n_threads_, with_pairs.data());
  set_product(at, place(0), product);
  for (std::ptrdiff_t age = 1; age <= n_pairs; ++age) {
    const auto y = static_cast<std::size_t>(age - 1), s = static_cast<std::size_t>(n_pairs) + y;
    product -= with_pairs[y] - penalty_ * with_pairs[s];
    set_product(at, place(age), product);
  }
}

// What the rounding of logits, of weights times means, leaves of a loss and its entropy: no row's
// |p - y| is more than twice its loss.
double Certificate::logit_rounding(const double* W, double loss) const {
  const std::ptrdiff_t d = size_ / n_outputs_;
  double largest = 0.0;
  for (std::ptrdiff_t r = 0; r < n_outputs_; ++r) {
    double sum = 0.0;
    for (std::ptrdiff_t f = 0; f < d; ++f) {
      sum += std::abs(W[r * d + f] * sums_->sum[static_cast<std::size_t>(f)]);
    }
    largest = std::max(largest, sum / sums_->total_weight);
  }
  const double rounding = 2.0 * kEntropyRounding * largest;
  return rounding > kNegligible ? rounding * std::abs(loss) : 0.0;
}

// Likewise of the length of its gradient, of residuals times means: half an ulp of their sum, had
// they one sign. (Sums of many rows have as much by chance: of 50,000 rows in any order a fifth.)
double Certificate::gradient_rounding(double loss) const {
  return 0.5 * kEntropyRounding * std::abs(loss) * std::sqrt(sums_->sum_squared) /
         sums_->total_weight;
}

// That of a gradient of this length squared, in the objective.
double Certificate::cost_of_rounding(double in_gradient, double squared, double loss) const {
  const double cost =
      in_gradient * (2.0 * std::sqrt(std::max(0.0, squared)) + in_gradient) / (2.0 * penalty_);
  return cost > kNegligible * std::abs(loss) ? cost : 0.0;
}

void Certificate::describe(std::ptrdiff_t at, const double* G, const double* x, const double* r,
                           double loss) {
  const auto slot = static_cast<std::size_t>(at), k = static_cast<std::size_t>(n_outputs_);
  const double on_x = dot(G, x, size_, n_threads_);
  entropy_[slot] = on_x - loss;
  entropy_magnitude_[slot] = std::abs(on_x) + std::abs(loss);
  if (!sums_) return;
  logit_rounding_[slot] = logit_rounding(x, loss);
  gradient_rounding_[slot] = gradient_rounding(loss);
  const std::ptrdiff_t d = size_ / n_outputs_;
  for (std::size_t c = 0; c < k; ++c) {
    const auto i = static_cast<std::ptrdiff_t>(c);
    residual_[slot * k + c] = r[i];
    on_sum_[slot * k + c] = dot(G + i * d, sums_->sum.data(), d, 1);
    entropy_[slot] += r[i] * x[size_ + i];
    entropy_magnitude_[slot] += std::abs(r[i] * x[size_ + i]);
  }
  sum_xy_[slot] = dot(G, sums_->class_sums.data(), size_, n_threads_);
  const auto n = static_cast<std::size_t>(n_places_);
  for (std::size_t other = 0; other < n; ++other) {
    residual_gram_[slot * n + other] = residual_gram_[other * n + slot] =
        dot_block(&residual_[slot * k], &residual_[other * k], n_outputs_);
  }
}

void Certificate::add(const Lbfgs& solver, double loss) {
  const double *x = solver.x(), *g = solver.gradient();
  target_.clear();
  // Products with older points come from the pairs that lead back to them.
  newest_ = (newest_ + 1) % max_points_;
  keep(std::min({n_points_, solver.n_pairs(), max_points_ - 1}) + 1);
  for_vector_blocks(size_, n_threads_,
                    [&](std::ptrdiff_t begin, std::ptrdiff_t end, std::ptrdiff_t) {
                      for (std::ptrdiff_t i = begin; i < end; ++i) {
                        G_[static_cast<std::size_t>(i)] = g[i] - penalty_ * x[i];
                      }
                    });
  const double* G = G_.data();
  put_products(newest_, G, solver, dot(G, G, size_, n_threads_));
  for (std::ptrdiff_t i = 0; i < n_extra_; ++i) {
    set_product(newest_, max_points_ + i, dot(G, extra_G_.data() + i * size_, size_, n_threads_));
  }
  describe(newest_, G, x, g + size_, loss);
  share_[static_cast<std::size_t>(newest_)] = 0.0;
}

void Certificate::add_extra(const Lbfgs& solver, const double* parameters, double loss,
                            const double* gradient) {
  if (solver.n_pairs() + 1 < n_points_) {  // it has forgotten the way to the older ones
    keep(solver.n_pairs() + 1);
    target_.clear();
  }
  // A place in a ring.
  const std::ptrdiff_t i_extra = next_extra_++ % kExtra, at = max_points_ + i_extra;
  n_extra_ = std::max(n_extra_, i_extra + 1);
  double* G = extra_G_.data() + i_extra * size_;
  std::copy_n(gradient, size_, G);
  put_products(at, G, solver, dot(G, G_.data(), size_, n_threads_));
  for (std::ptrdiff_t i = 0; i < n_extra_; ++i) {
    set_product(at, max_points_ + i, dot(G, extra_G_.data() + i * size_, size_, n_threads_));
  }
  describe(at, G, parameters, gradient + size_, loss);
  share_[static_cast<std::size_t>(at)] = 0.0;
  if (!target_.empty() && target_[static_cast<std::size_t>(at)] > 0.0) target_.clear();
}

double Certificate::smooth(const Lbfgs& solver, double* parameters) const {
  const std::ptrdiff_t n_pairs = solver.n_pairs(), k = n_outputs_;
  const auto m = static_cast<std::size_t>(n_pairs);
  const double* g = solver.gradient();
  std::copy_n(solver.x(), size_ + k, parameters);
  // Least squares for g - sum_l a_l y_l, in which a residual counts as much as it costs.
  const double weight = sums_ ? penalty_ * residual_price_ * kResidualWeight : 0.0;
  const auto product = [&](const double* u, const double* v) {
    return dot(u, v, size_, n_threads_) + weight * dot(u + size_, v + size_, k, 1);
  };
  std::vector<double> normal(m * m), right(m), scale(m);
  const auto y_at = [&](std::ptrdiff_t age) { return solver.y(age); };
  for (std::size_t i = 0; i < m; ++i) {
    const double* y = solver.y(static_cast<std::ptrdiff_t>(i));
    dots(y_at, static_cast<std::ptrdiff_t>(i) + 1, &y, 1, size_, n_threads_, &normal[i * m]);
    for (std::size_t j = 0; j <= i; ++j) {
      normal[i * m + j] +=
          weight * dot(y + size_, solver.y(static_cast<std::ptrdiff_t>(j)) + size_, k, 1);
    }
    scale[i] = normal[i * m + i] > 0.0 ? 1.0 / std::sqrt(normal[i * m + i]) : 0.0;
    right[i] = scale[i] * product(y, g);
  }
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < i; ++j) normal[i * m + j] *= scale[i] * scale[j];
    normal[i * m + i] = 1.0 + kRidge;
  }
  double left = product(g, g);
  if (!invert_spd(normal.data(), n_pairs, 0.1 * kRidge, 1)) return left / (2.0 * penalty_);
  for (std::size_t i = 0; i < m; ++i) {
    double a = 0.0;
    for (std::size_t j = 0; j < m; ++j) a += normal[i * m + j] * right[j];
    left -= a * right[i];
    add_scaled(-a * scale[i], solver.s(static_cast<std::ptrdiff_t>(i)), parameters, size_ + k,
               n_threads_);
  }
  return left / (2.0 * penalty_);
}

std::vector<std::size_t> Certificate::points() const {
  std::vector<std::size_t> points;
  for (std::ptrdiff_t age = 0; age < n_points_; ++age) {
    points.push_back(static_cast<std::size_t>(place(age)));
  }
  for (std::ptrdiff_t i = 0; i < n_extra_; ++i) {
    points.push_back(static_cast<std::size_t>(max_points_ + i));
  }
  return points;
}

// The shares that maximise the bound with the intercepts at b, which is right where the residual is
// nothing, less what the residual will cost.
void Certificate::combine(const double* b, double f, double goal, double residual_price,
                          int steps_per_point) {
  // Of the goal, what may be left to gain. Solved to its end the program was 9 tenths of a fit of
  // 300 rows of 50 classes: seconds at C = 1, 100, 1e4 5.4, 12.6, 1.8, with 1e-4 3.4, 4.3, 0.8,
  // with 1e-3 3.1, 2.7, 1.1, so 2.8, 1.6, 0.7. MNIST, digits and embeddings take as many passes
  // with each. With no hope of ten goals 2.5, 1.9, 0.5, and lognormal features of 5 classes 0.9,
  // not 2.0.
  constexpr double kEnough = 0.01, kHopeless = 10.0;
  const auto n = static_cast<std::size_t>(n_places_), k = static_cast<std::size_t>(n_outputs_);
  const std::vector<std::size_t> at = points();
  const std::size_t m = at.size();
  double total = 0.0;
  for (const std::size_t i : at) total += share_[i];
  if (!(total > 0.0)) share_[at[0]] = total = 1.0;
  std::vector<double> Q(m * m), linear(m), c(m);
  for (std::size_t i = 0; i < m; ++i) {
    c[i] = share_[at[i]] / total;
    for (std::size_t j = 0; j < m; ++j) {
      const std::size_t pair = at[i] * n + at[j];
      Q[i * m + j] = gram_[pair] / penalty_ + residual_price * residual_gram_[pair];
    }
  }
  for (std::size_t i = 0; i < m; ++i) {
    linear[i] = entropy_[at[i]];
    for (std::size_t r = 0; sums_ && r < k; ++r) linear[i] -= residual_[at[i] * k + r] * b[r];
  }
  minimise_on_simplex(Q, linear, c, steps_per_point, kEnough * goal, -f, kHopeless * goal);
  double sum = 0.0;
  for (const double share : c) sum += share;
  for (std::size_t i = 0; i < m; ++i) share_[at[i]] = c[i] / sum;
}

Certificate::Mixture Certificate::mix() const {
  const auto n = static_cast<std::size_t>(n_places_), k = static_cast<std::size_t>(n_outputs_);
  Mixture mixture;
  mixture.residual.resize(k);
  mixture.on_sum.resize(k);
  for (std::size_t i = 0; i < n; ++i) {
    if (share_[i] == 0.0) continue;
    mixture.entropy += share_[i] * entropy_[i];
    mixture.entropy_magnitude += share_[i] * entropy_magnitude_[i];
    mixture.in_logits += share_[i] * logit_rounding_[i];
    mixture.in_gradient += share_[i] * gradient_rounding_[i];
    for (std::size_t j = 0; j < n; ++j) {
      if (share_[j] == 0.0) continue;
      const double product = share_[i] * share_[j] * gram_[i * n + j];
      mixture.squared += product;
      mixture.magnitude += std::abs(product);
    }
    if (!sums_) continue;
    mixture.sum_xy += share_[i] * sum_xy_[i];
    for (std::size_t r = 0; r < k; ++r) {
      mixture.residual[r] += share_[i] * residual_[i * k + r];
      mixture.on_sum[r] += share_[i] * on_sum_[i * k + r];
    }
  }
  return mixture;
}

Certificate::Constant Certificate::cancel(const Mixture& m) const {
  if (!sums_) return {};
  // q = (weight - ratio residual) / total_weight, with ratio = (1 - theta) / theta: as large as
  // keeps q positive.
  const double total = sums_->total_weight;
  double ratio = 1e30;  // without a residual; 1e18 costs 3e-16, of objectives that may be 1e-14
  const auto k = m.residual.size();
  for (std::size_t r = 0; r < k; ++r) {
    const double residual = m.residual[r], weight = sums_->weight[r];
    if (residual > 0.0) ratio = std::min(ratio, 0.99 * weight / residual);
    if (residual < 0.0 && k == 1) ratio = std::min(ratio, 0.99 * (total - weight) / -residual);
  }
  Constant constant;
  constant.theta = 1.0 / (1.0 + ratio);
  constant.squared = constant.magnitude = sums_->class_sums_squared;
  constant.with_mixture = -m.sum_xy;
  constant.with_magnitude = std::abs(m.sum_xy);
  for (std::size_t r = 0; r < k; ++r) {
    const double q = std::max(0.0, (sums_->weight[r] - ratio * m.residual[r]) / total);
    constant.entropy += total * entropy_term(q);
    if (k == 1) constant.entropy += total * entropy_term(std::max(0.0, 1.0 - q));
    const double square = q * q * sums_->sum_squared, product = 2.0 * q * sums_->products[r];
    constant.squared += square - product;
    constant.magnitude += square + std::abs(product);
    constant.with_mixture += q * m.on_sum[r];
    constant.with_magnitude += std::abs(q * m.on_sum[r]);
  }
  return constant;
}

double Certificate::bound_of(const Mixture& m) const {
  const Constant q = cancel(m);
  const double rest = 1.0 - q.theta;
  const double of_both = 2.0 * q.theta * rest * q.with_mixture, own = q.theta * q.theta * q.squared;
  const double squared = rest * rest * m.squared + of_both + own;
  return -(rest * m.entropy + q.theta * q.entropy) - squared / (2.0 * penalty_) -
         rounding_of(m, q, squared);
}

// What rounding may have added to a bound; squared: of the gradient, with the constant's share.
double Certificate::rounding_of(const Mixture& m, const Constant& q, double squared) const {
  const double rest = 1.0 - q.theta;
  const double of_squares = rest * rest * m.magnitude + 2.0 * q.theta * rest * q.with_magnitude +
                            q.theta * q.theta * q.magnitude;
  return kRounding * of_squares / (2.0 * penalty_) + kEntropyRounding * rest * m.entropy_magnitude +
         m.in_logits + cost_of_rounding(m.in_gradient, squared, m.entropy);
}

double Certificate::own_gap(const Lbfgs& solver) const {
  const double *g = solver.gradient(), *b = solver.x() + size_;
  const auto slot = static_cast<std::size_t>(newest_), k = static_cast<std::size_t>(n_outputs_);
  double gap = dot(g, g, size_, n_threads_) / (2.0 * penalty_);
  if (!sums_) return gap;
  Mixture own;
  own.entropy = entropy_[slot];
  own.squared = gram_[slot * static_cast<std::size_t>(n_places_) + slot];
  own.sum_xy = sum_xy_[slot];
  own.residual.resize(k);
  own.on_sum.resize(k);
  double rounding = logit_rounding_[slot];
  for (std::size_t r = 0; r < k; ++r) {
    own.residual[r] = residual_[slot * k + r];
    own.on_sum[r] = on_sum_[slot * k + r];
    gap += own.residual[r] * b[r];
    rounding += kEntropyRounding * std::abs(own.residual[r] * b[r]);
  }
  const Constant q = cancel(own);
  const double of_both = 2.0 * q.theta * (q.with_mixture - own.squared);
  const double of_change = q.theta * q.theta * (own.squared - 2.0 * q.with_mixture + q.squared);
  const double of_squares =
      2.0 * q.theta * (q.with_magnitude + own.squared) +
      q.theta * q.theta * (own.squared + 2.0 * q.with_magnitude + q.magnitude);
  rounding +=
      kRounding * of_squares / (2.0 * penalty_) +
      kEntropyRounding * q.theta * entropy_magnitude_[slot] +
      cost_of_rounding(gradient_rounding_[slot], own.squared + of_both + of_change, own.entropy);
  return gap + q.theta * (q.entropy - own.entropy) + (of_both + of_change) / (2.0 * penalty_) +
         rounding;
}

// The bound of the shares as they are; the best ones of a call are the target, whose residual the
// next extra point is to cancel.
void Certificate::consider(const Mixture& mixture, const double* b, double f, double* best) {
  const double bound = bound_of(mixture);
  if (!std::isfinite(bound)) return;
  const double magnitude = mixture.entropy_magnitude + mixture.magnitude / (2.0 * penalty_);
  bound_ = std::max(bound_, unless_rounding(bound, magnitude));
  if (!(bound > *best)) return;
  *best = bound;
  target_ = share_;
  residual_of_mixture_ = mixture.residual;
  double free_bound =
      -mixture.entropy - mixture.squared / (2.0 * penalty_) - rounding_of(mixture, {}, 0.0);
  for (std::size_t r = 0; sums_ && r < mixture.residual.size(); ++r) {
    free_bound += mixture.residual[r] * b[r];
  }
  free_gap_ = f - free_bound;
}

// With as much of each of the extra points as brings the residual, in parts of the classes'
// weights, nearest to zero. Near rounding the program cannot see what that is worth.
Certificate::Mixture Certificate::cancelled_by_extra() {
  Mixture mixture = mix();
  const auto k = static_cast<std::size_t>(n_outputs_);
  for (std::ptrdiff_t e = 0; e < n_extra_; ++e) {
    const auto extra = static_cast<std::size_t>(max_points_ + e);
    double drop = 0.0, squared = 0.0;
    for (std::size_t r = 0; r < k; ++r) {
      const double step = (residual_[extra * k + r] - mixture.residual[r]) / sums_->weight[r];
      drop -= step * mixture.residual[r] / sums_->weight[r];
      squared += step * step;
    }
    const double share = drop / squared;
    if (!(share > 0.0 && share < 0.5)) continue;
    for (double& other : share_) other *= 1.0 - share;
    share_[extra] += share;
    mixture = mix();
  }
  return mixture;
}

double Certificate::gap(const Lbfgs& solver, double goal, bool thorough) {
  const double f = solver.f(), *b = solver.x() + size_;
  const double own = own_gap(solver);
  if (std::isfinite(own)) {
    const double magnitude = f + entropy_magnitude_[static_cast<std::size_t>(newest_)];
    bound_ = std::max(bound_, unless_rounding(f - own, magnitude));
  }
  double best = -HUGE_VAL;
  if (thorough && sums_ && !target_.empty()) {
    share_ = target_;
    consider(cancelled_by_extra(), b, f, &best);
  }
  for (const double times : {1.0, 1e2, 1e4, 1e6}) {
    combine(b, f, goal, times * residual_price_, thorough ? 400 : 40);
    consider(mix(), b, f, &best);
    if (!sums_ || !thorough) break;
    consider(cancelled_by_extra(), b, f, &best);
  }
  // A bound that f has refuted, by more than rounding has left of f, was rounding itself: of means
  // of 1e12 beside a spread of 1 it was 8000 f.
  constexpr double kRefuted = 1e-5;
  if (bound_ - f > kRefuted * std::abs(f)) {
    bound_ = -1e300;
    return HUGE_VAL;
  }
  // Above f, but for less: it is off by as much at the least.
  return std::abs(f - bound_) + logit_rounding_[static_cast<std::size_t>(newest_)];
}

}  // namespace fastsoftmax
