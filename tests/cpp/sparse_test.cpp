// The kernels that skip blocks of zeros: masks as naive loops find them, and otherwise the very
// bits of the dense kernels, which logits_test and sgd_update_test compare with the reference.
#include <algorithm>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"

namespace {

using test::Guarded;
using test::Side;

template <class In, class Acc>
struct Case {
  std::ptrdiff_t n_rows, d, K;
  std::vector<In> X;
  std::vector<Acc> W, b, dlogits;

  Case(std::ptrdiff_t rows, std::ptrdiff_t features, std::ptrdiff_t classes)
      : n_rows(rows), d(features), K(classes) {
    const auto seed = static_cast<std::uint64_t>(rows * 10000 + features * 100 + classes);
    X = test::with_gaps<In>(rows * d, seed);
    W = test::uniform<Acc>(K * d, seed + 2);
    b = test::uniform<Acc>(K, seed + 3);
    dlogits = test::uniform<Acc>(rows * K, seed + 4);
  }
  std::ptrdiff_t words(std::ptrdiff_t block) const { return (d / block + 63) / 64; }
};

// A case in memory that may not be overrun, with its masks.
template <class In, class Acc>
struct Placed {
  const fastsoftmax::StorageKernels<In, Acc>& kernels;
  Guarded<In> X;
  Guarded<Acc> W, b, dlogits;
  std::ptrdiff_t words;
  Guarded<std::uint64_t> masks;
  std::vector<const In*> rows;
  std::vector<std::uint64_t*> mask_of_row;

  Placed(const Case<In, Acc>& c, Side side)
      : kernels(fastsoftmax::storage_kernels(c.X.data(), Acc())),
        X(c.X, side),
        W(c.W, side),
        b(c.b, side),
        dlogits(c.dlogits, side),
        words(c.words(kernels.block_features)),
        masks(c.n_rows * words, side) {
    for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
      rows.push_back(X.data() + i * c.d);
      mask_of_row.push_back(masks.data() + i * words);
    }
    kernels.find_nonzero(rows.data(), c.n_rows, c.d, mask_of_row.data());
  }
};

template <class In, class Acc>
void check_masks(const Case<In, Acc>& c, Placed<In, Acc>& p) {
  const std::ptrdiff_t block = p.kernels.block_features;
  for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
    for (std::ptrdiff_t bit = 0; bit < 64 * p.words; ++bit) {
      const In* begin = c.X.data() + i * c.d + bit * block;
      const bool any = (bit + 1) * block <= c.d &&
                       std::any_of(begin, begin + block, [](In x) { return x != In(0); });
      CHECK_EQ((p.mask_of_row[static_cast<std::size_t>(i)][bit / 64] >> (bit % 64)) & 1,
               std::uint64_t{any});
    }
  }
}

// Rows that are fetched meanwhile and the layout of the result change nothing.
template <class In, class Acc>
void check_logits(const Case<In, Acc>& c, Placed<In, Acc>& p, Side side) {
  const auto run = [&](bool sparse, bool fetch, bool class_major) {
    Guarded<Acc> out(c.n_rows * c.K, side);
    p.kernels.logits({p.rows.data(), sparse ? p.mask_of_row.data() : nullptr, p.rows.data(),
                      sparse ? p.mask_of_row.data() : nullptr, c.n_rows, fetch ? c.n_rows - 1 : 0,
                      c.d, c.K, p.W.data(), p.b.data(), Acc(0.7), out.data(), class_major ? 1 : c.K,
                      class_major ? c.n_rows : 1});
    auto result = out.copy();
    if (class_major) {
      const auto columns = result;
      for (std::ptrdiff_t i = 0; i < c.n_rows; ++i) {
        for (std::ptrdiff_t k = 0; k < c.K; ++k) {
          result[static_cast<std::size_t>(i * c.K + k)] =
              columns[static_cast<std::size_t>(k * c.n_rows + i)];
        }
      }
    }
    return result;
  };
  const auto dense = run(false, false, false);
  for (const bool fetch : {false, true}) {
    CHECK(test::same_bits(run(true, fetch, false), dense));
    CHECK(test::same_bits(run(true, fetch, true), dense));
    CHECK(test::same_bits(run(false, fetch, true), dense));
  }
}

template <class In, class Acc>
void check_update(const Case<In, Acc>& c, Placed<In, Acc>& p, Side side) {
  const auto run = [&](bool sparse, const std::vector<std::ptrdiff_t>& cuts) {
    Guarded<Acc> W(c.W, side), gradient(c.K * c.d, side);
    for (const bool first : {true, false}) {  // two chunks: the rows twice
      fastsoftmax::SgdUpdate<In, Acc> u{};
      u.rows = p.rows.data();
      u.masks = sparse ? p.mask_of_row.data() : nullptr;
      u.n_rows = c.n_rows;
      u.dlogits = p.dlogits.data();
      u.row_stride = 1;
      u.class_stride = c.n_rows;
      u.n_classes = c.K;
      u.n_features = c.d;
      u.W = W.data();
      u.gradient = gradient.data();
      u.first_chunk = first;
      u.last_chunk = !first;
      u.learning_rate = Acc(0.125);
      u.alpha = Acc(0.1);
      u.input_scale = Acc(0.7);
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        u.feature_begin = cuts[i];
        u.feature_end = cuts[i + 1];
        p.kernels.sgd_update(u);
      }
    }
    return W.copy();
  };
  const auto dense = run(false, {0, c.d});
  CHECK(test::same_bits(run(true, {0, c.d}), dense));
  CHECK(test::same_bits(run(true, {0, c.d / 3, c.d / 2, c.d}), dense));
}

template <class In, class Acc>
void check(std::ptrdiff_t n_rows, std::ptrdiff_t d, std::ptrdiff_t K) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), n_rows, d, K);
  const Case<In, Acc> c(n_rows, d, K);
  for (const Side side : {Side::kEnd, Side::kBegin}) {
    Placed<In, Acc> p(c, side);
    if (side == Side::kEnd) check_masks(c, p);
    check_logits(c, p, side);
    check_update(c, p, side);
  }
}

template <class In, class Acc>
void test_ragged_sizes() {
  for (std::ptrdiff_t d = 1; d <= 70; ++d) check<In, Acc>(3, d, 1 + d % 20);
  for (const std::ptrdiff_t K : {2, 10, 16, 17, 33, 100}) check<In, Acc>(5, 150, K);
  // Words of 64 blocks, groups of 64 rows, up to the most rows of a chunk.
  for (const std::ptrdiff_t d : {511, 512, 513, 784, 1100}) check<In, Acc>(2, d, 3);
  for (const std::ptrdiff_t n_rows : {63, 64, 65, 200, 512}) check<In, Acc>(n_rows, 40, 3);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column(
        [](auto in, auto acc) { test_ragged_sizes<decltype(in), decltype(acc)>(); });
  });
  return test::report();
}
