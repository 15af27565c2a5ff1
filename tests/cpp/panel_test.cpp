// The kernels of training over slices of the features, with the weights in panels: against naive
// sums in float64; where blocks of zeros are skipped, and however rows and features are shared out,
// the very same bits. Masks are as naive loops find them.
//
// Tolerances: a sum of n terms is off by at most n roundings of the sum of their sizes; the step
// takes five more (the scale, the penalty, the rate, momentum, the sum).
#include <algorithm>
#include <array>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "slices.h"
#include "weight_step.h"

namespace {

using fastsoftmax::AlignedBuffer;
using fastsoftmax::Range;
using fastsoftmax::Slices;
using test::Guarded;
using test::kEps;
using test::kRules;
using test::Rule;
using test::Side;

template <class In, class Acc>
struct Case {
  std::ptrdiff_t n_rows, d, K, stride;  // stride of sums and dlogits
  std::vector<In> X;
  std::vector<Acc> W, velocity, dlogits;

  Case(std::ptrdiff_t rows, std::ptrdiff_t features, std::ptrdiff_t classes)
      : n_rows(rows), d(features), K(classes), stride((classes + 15) / 16 * 16) {
    const auto seed = static_cast<std::uint64_t>(rows * 10000 + features * 100 + classes);
    X = test::with_gaps<In>(rows * d, seed);
    W = test::uniform<Acc>(K * d, seed + 2);
    velocity = test::uniform<Acc>(K * d, seed + 3);
    dlogits = test::uniform<Acc>(rows * stride, seed + 4);
  }
  double x(std::ptrdiff_t i, std::ptrdiff_t f) const {
    return static_cast<double>(X[static_cast<std::size_t>(i * d + f)]);
  }
  double w(std::ptrdiff_t c, std::ptrdiff_t f) const {
    return static_cast<double>(W[static_cast<std::size_t>(c * d + f)]);
  }
};

// A case in memory that may not be overrun, with its masks, and all slices to go through.
template <class In, class Acc>
struct Placed {
  const Case<In, Acc>& c;
  const fastsoftmax::StorageKernels<In, Acc>& kernels;
  Slices<Acc> slices;
  std::ptrdiff_t words;
  Guarded<In> X;
  AlignedBuffer<Acc> W, velocity, gradient;
  Guarded<std::uint64_t> masks;
  std::vector<const In*> rows;
  std::vector<std::uint64_t*> mask_of_row;

  Placed(const Case<In, Acc>& of, Side side)
      : c(of),
        kernels(fastsoftmax::storage_kernels(of.X.data(), Acc())),
        slices(of.K, of.d, 16 << 10),
        words(slices.mask_words(kernels.block_features)),
        X(of.X, side),
        W(slices.size()),
        velocity(slices.size()),
        gradient(slices.size()),
        masks(of.n_rows * words, side) {
    slices.cut(c.W.data(), W);
    slices.cut(c.velocity.data(), velocity);
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      rows.push_back(X.data() + i * c.d);
      mask_of_row.push_back(masks.data() + i * words);
    }
  }

  fastsoftmax::SliceOfRows<In, Acc> slice(std::ptrdiff_t s, Range mine) {
    return slices.of_rows(s, kernels.block_features, rows.data() + mine.begin,
                          mask_of_row.data() + mine.begin, mine.end - mine.begin);
  }
};

template <class T>
void check_cut_and_join(const Slices<T>& slices, const std::vector<T>& W) {
  AlignedBuffer<T> buffer(slices.size());
  slices.cut(W.data(), buffer);
  std::vector<T> joined(W.size(), T(7));
  slices.join(buffer, joined.data());
  CHECK(test::same_bits(joined, W));
  std::ptrdiff_t n_before = std::count(W.begin(), W.end(), T(0)), n_zero = 0;
  for (std::ptrdiff_t i = 0; i < buffer.size(); ++i) n_zero += buffer[i] == T(0);
  CHECK_EQ(n_zero - n_before, buffer.size() - static_cast<std::ptrdiff_t>(W.size()));
}

// The features in any pieces, over numbers that were there before: the grains are the same.
template <class T>
void check_cut_in_pieces(const Slices<T>& slices, const std::vector<T>& W, std::ptrdiff_t d,
                         std::ptrdiff_t K) {
  AlignedBuffer<T> whole(slices.size()), pieces(slices.size());
  slices.cut(W.data(), whole);
  std::fill_n(pieces.data(), pieces.size(), T(7));
  for (const std::ptrdiff_t n_pieces : {1, 3}) {
    for (int i = 0; i < n_pieces; ++i) {
      slices.cut(W.data(), fastsoftmax::share(d, 16, i, static_cast<int>(n_pieces)), pieces);
    }
    std::ptrdiff_t n_grains = 0;
    slices.for_each_grain(
        {0, d}, [&](std::ptrdiff_t at, std::ptrdiff_t c, std::ptrdiff_t f, std::ptrdiff_t n) {
          ++n_grains;
          CHECK(std::equal(&whole[at], &whole[at] + 16, &pieces[at]));
          CHECK(std::equal(&whole[at], &whole[at] + n, W.begin() + c * d + f));
        });
    CHECK_EQ(n_grains, K * ((d + 15) / 16));
  }
}

// Fewer classes keep the cut of the features, and fit.
template <class T>
void check_fewer_classes(const Slices<T>& slices, const std::vector<T>& W, std::ptrdiff_t d,
                         std::ptrdiff_t K) {
  const Slices<T> fewer = slices.of_classes((K + 1) / 2);
  CHECK_EQ(fewer.count(), slices.count());
  CHECK(fewer.size() <= slices.size());
  for (std::ptrdiff_t s = 0; s < slices.count(); ++s) {
    CHECK_EQ(fewer.features(s).begin, slices.features(s).begin);
  }
  check_cut_and_join(fewer, std::vector<T>(W.begin(), W.begin() + (K + 1) / 2 * d));
}

template <class In, class Acc>
std::vector<Acc> run_logits(Placed<In, Acc>& p, std::ptrdiff_t s, bool blocks, std::ptrdiff_t turn,
                            bool masks_known = false) {
  const auto& c = p.c;
  std::vector<Acc> sums(static_cast<std::size_t>(c.n_rows * c.stride), Acc(0));
  for (std::ptrdiff_t i = 0; i < c.n_rows; i += turn) {
    fastsoftmax::PanelLogits<In, Acc> a{};
    static_cast<fastsoftmax::SliceOfRows<In, Acc>&>(a) =
        p.slice(s, {i, std::min(c.n_rows, i + turn)});
    a.later = {p.rows.data(), a.n_rows - i % 2};
    a.W = p.slices.at(p.W, s);
    a.sums = sums.data() + i * c.stride;
    a.row_stride = c.stride;
    a.masks_known = masks_known;
    (blocks ? p.kernels.panel_logits_blocks : p.kernels.panel_logits)(a);
  }
  return sums;
}

// The masks after passes over all slices.
template <class In, class Acc>
void check_masks(Placed<In, Acc>& p) {
  const auto& c = p.c;
  for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) run_logits(p, s, true, c.n_rows);
  const std::ptrdiff_t block = p.kernels.block_features;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) {
      const Range f = p.slices.features(s);
      for (std::ptrdiff_t j = 0; f.begin + (j + 1) * block <= f.end; ++j) {
        const In* begin = c.X.data() + i * c.d + f.begin + j * block;
        const bool any = std::any_of(begin, begin + block, [](In x) { return x != In(0); });
        const std::uint64_t word = p.masks[i * p.words + p.slices.first_word(s, block) + j / 64];
        CHECK_EQ((word >> (j % 64)) & 1, std::uint64_t{any});
      }
    }
  }
}

template <class In, class Acc>
void check_logits(Placed<In, Acc>& p) {
  const auto& c = p.c;
  for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) {
    const Range f = p.slices.features(s);
    const auto sums = run_logits(p, s, false, c.n_rows);
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      for (std::ptrdiff_t k = 0; k < c.stride; ++k) {
        double sum = 0, size = 0;
        for (std::ptrdiff_t j = f.begin; k < c.K && j < f.end; ++j) {
          sum += c.x(i, j) * c.w(k, j);
          size += std::abs(c.x(i, j) * c.w(k, j));
        }
        const auto n = static_cast<double>(f.end - f.begin);
        CHECK_NEAR(sums[static_cast<std::size_t>(i * c.stride + k)], sum, kEps<Acc> * n * size);
      }
    }
    CHECK(test::same_bits(run_logits(p, s, true, c.n_rows), sums));
    CHECK(test::same_bits(run_logits(p, s, true, c.n_rows, true), sums));
    CHECK(test::same_bits(run_logits(p, s, false, 1), sums));
    CHECK(test::same_bits(run_logits(p, s, true, 3), sums));
  }
}

template <class Acc>
struct Result {
  std::vector<Acc> W, velocity;
};

template <class In, class Acc>
Result<Acc> run_update(Placed<In, Acc>& p, const Rule& rule, bool blocks, std::ptrdiff_t turn) {
  const auto& c = p.c;
  p.slices.cut(c.W.data(), p.W);
  p.slices.cut(c.velocity.data(), p.velocity);
  const std::ptrdiff_t half = rule.in_chunks ? c.n_rows / 2 : c.n_rows;
  for (const Range mine : {Range{0, half}, Range{half, c.n_rows}}) {
    if (!rule.in_chunks && mine.begin > 0) continue;
    for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) {
      fastsoftmax::PanelUpdate<In, Acc> a{};
      static_cast<fastsoftmax::SliceOfRows<In, Acc>&>(a) = p.slice(s, mine);
      a.dlogits = c.dlogits.data() + mine.begin * c.stride;
      a.row_stride = c.stride;
      a.W = p.slices.at(p.W, s);
      a.velocity = rule.momentum > 0 ? p.slices.at(p.velocity, s) : nullptr;
      a.gradient = rule.in_chunks ? p.slices.at(p.gradient, s) : nullptr;
      test::set_rule<Acc>(rule, mine.begin == 0, mine.end == c.n_rows, a);
      for (std::ptrdiff_t f = 0; f < a.n_features; f += turn) {
        a.begin = f;
        a.end = std::min(a.n_features, f + turn);
        a.later = {p.rows.data(), f == 0 ? a.n_rows : 0};
        (blocks ? p.kernels.panel_update_blocks : p.kernels.panel_update)(a);
      }
    }
  }
  Result<Acc> result{std::vector<Acc>(c.W.size()), std::vector<Acc>(c.W.size())};
  p.slices.join(p.W, result.W.data());
  p.slices.join(p.velocity, result.velocity.data());
  return result;
}

template <class In, class Acc>
void check_update(Placed<In, Acc>& p, const Rule& rule) {
  const auto& c = p.c;
  const auto whole = run_update(p, rule, false, c.d);
  for (std::ptrdiff_t k = 0; k < c.K; ++k) {
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      double g = 0, size = 0;
      for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
        const auto dlogit =
            static_cast<double>(c.dlogits[static_cast<std::size_t>(i * c.stride + k)]);
        g += dlogit * c.x(i, f);
        size += std::abs(dlogit * c.x(i, f));
      }
      const auto at = static_cast<std::size_t>(k * c.d + f);
      test::check_moved<Acc>(rule, {c.W[at], c.velocity[at]}, g, size, c.n_rows,
                             {whole.W[at], whole.velocity[at]});
    }
  }
  for (const bool blocks : {false, true}) {
    for (const std::ptrdiff_t turn : {c.d, std::ptrdiff_t{16}, std::ptrdiff_t{48}}) {
      const auto parts = run_update(p, rule, blocks, turn);
      CHECK(test::same_bits(parts.W, whole.W));
      CHECK(test::same_bits(parts.velocity, whole.velocity));
    }
  }
}

// A row by itself moves the weights to the bit as the dense tiles do, to which a second row is
// given whose dlogits are zero.
template <class In, class Acc>
void check_single_row(std::ptrdiff_t d, std::ptrdiff_t K) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), 1, d, K);
  Case<In, Acc> c(2, d, K);
  std::fill(c.dlogits.begin() + c.stride, c.dlogits.end(), Acc(0));
  for (std::size_t rule = 0; rule < 2; ++rule) {  // those without momentum or chunks
    c.n_rows = 2;
    Placed<In, Acc> p(c, Side::kEnd);
    const auto both = run_update(p, kRules[rule], false, d);
    run_logits(p, 0, true, c.n_rows);
    check_masks(p);
    c.n_rows = 1;
    for (const bool blocks : {false, true}) {
      for (const std::ptrdiff_t turn : {d, std::ptrdiff_t{16}, std::ptrdiff_t{48}}) {
        CHECK(test::same_bits(run_update(p, kRules[rule], blocks, turn).W, both.W));
      }
    }
  }
}

// Masks that are given are believed: with none, all that is left are the features beyond whole
// blocks.
template <class In, class Acc>
void check_given_masks(Placed<In, Acc>& p) {
  const std::ptrdiff_t n_words = p.c.n_rows * p.words;
  std::fill_n(p.masks.data(), n_words, 0);
  for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) {
    const Range f = p.slices.features(s);
    if ((f.end - f.begin) % p.kernels.block_features != 0) continue;
    const auto sums = run_logits(p, s, true, p.c.n_rows, true);
    CHECK(std::all_of(sums.begin(), sums.end(), [](Acc v) { return v == Acc(0); }));
  }
}

// The gradient alone, over chunks, for those who never step.
template <class In, class Acc>
void check_gradient(Placed<In, Acc>& p) {
  const auto& c = p.c;
  const std::ptrdiff_t half = c.n_rows / 2;
  for (const bool blocks : {false, true}) {
    p.slices.cut(c.W.data(), p.W);
    std::fill_n(p.gradient.data(), p.gradient.size(), Acc(7));
    for (const Range mine : {Range{0, half}, Range{half, c.n_rows}}) {
      for (std::ptrdiff_t s = 0; s < p.slices.count(); ++s) {
        fastsoftmax::PanelUpdate<In, Acc> a{};
        static_cast<fastsoftmax::SliceOfRows<In, Acc>&>(a) = p.slice(s, mine);
        a.dlogits = c.dlogits.data() + mine.begin * c.stride;
        a.row_stride = c.stride;
        a.W = p.slices.at(p.W, s);
        a.gradient = p.slices.at(p.gradient, s);
        a.first_chunk = mine.begin == 0;
        a.end = a.n_features;
        (blocks ? p.kernels.panel_update_blocks : p.kernels.panel_update)(a);
      }
    }
    std::vector<Acc> W(c.W.size()), gradient(c.W.size());
    p.slices.join(p.W, W.data());
    CHECK(test::same_bits(W, c.W));
    p.slices.join(p.gradient, gradient.data());
    for (std::ptrdiff_t k = 0; k < c.K; ++k) {
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        double g = 0, size = 0;
        for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
          const auto d = static_cast<double>(c.dlogits[static_cast<std::size_t>(i * c.stride + k)]);
          g += d * c.x(i, f);
          size += std::abs(d * c.x(i, f));
        }
        CHECK_NEAR(gradient[static_cast<std::size_t>(k * c.d + f)], g,
                   kEps<Acc> * static_cast<double>(c.n_rows) * size);
      }
    }
  }
}

template <class In, class Acc>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t d, std::ptrdiff_t K) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), n_rows, d, K);
  const Case<In, Acc> c(n_rows, d, K);
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    Placed<In, Acc> p(c, side);
    check_masks(p);
    check_logits(p);
    check_update(p, kRules[static_cast<std::size_t>(n_rows + d + K) % kRules.size()]);
    check_gradient(p);
    check_given_masks(p);
    if (side == Side::kEnd) {
      check_cut_and_join(p.slices, c.W);
      check_cut_in_pieces(p.slices, c.W, d, K);
      check_fewer_classes(p.slices, c.W, d, K);
    }
  }
}

template <class In, class Acc>
void test_ragged_sizes() {
  for (std::ptrdiff_t d = 1; d <= 70; ++d) check<In, Acc>(3, d, 1 + d % 20);
  for (std::ptrdiff_t d = 1; d <= 70; ++d) check<In, Acc>(1, d, 1 + d * 3 % 20);
  for (std::ptrdiff_t d = 1; d <= 70; ++d) check_single_row<In, Acc>(d, 1 + d * 3 % 20);
  for (std::ptrdiff_t K = 1; K <= 35; ++K) check<In, Acc>(4, 50, K);
  // Several slices, words of 64 blocks, groups of 64 rows up to the most of a chunk, many classes.
  for (const std::ptrdiff_t d : {511, 784, 1100}) {
    check<In, Acc>(5, d, 10);
    check_single_row<In, Acc>(d, 10);
  }
  for (const std::ptrdiff_t d : {1024, 2050, 4100}) {  // slices of several words
    for (const std::ptrdiff_t n_rows : {1, 5}) check<In, Acc>(n_rows, d, 2);
    for (std::ptrdiff_t K = 1; K <= 6; ++K) check<In, Acc>(3, d / 4, K);  // wide tiles
    check_single_row<In, Acc>(d, 2);
  }
  for (const std::ptrdiff_t n_rows : {63, 64, 65, 200, 512}) check<In, Acc>(n_rows, 40, 3);
  for (const std::ptrdiff_t n_rows : {7, 8, 9, 17}) {  // tiles of eight rows and of four
    for (std::ptrdiff_t K = 1; K <= 6; ++K) check<In, Acc>(n_rows, 37, K);
  }
  for (const std::ptrdiff_t K : {48, 100, 257}) check<In, Acc>(5, 300, K);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column(
        [](auto in, auto acc) { test_ragged_sizes<decltype(in), decltype(acc)>(); });
  });
  return test::report();
}
