// The products of a pass over X with many of its rows: all kinds of them against naive sums, the
// same bits however rows and features are shared out, and wherever masks of zeros are kept.
//
// Tolerance: a sum of n terms is off by at most n roundings of the sum of their sizes, in parts by
// no more, and by what reduced precision rounds of each product.
#include <algorithm>

#include "for_each_isa.h"
#include "guarded.h"
#include "logistic/few_outputs.h"
#include "logistic/many_outputs.h"
#include "logistic_problem.h"

namespace {

using fastsoftmax::ChunkProducts;
using fastsoftmax::Precision;
using fastsoftmax::Products;
using fastsoftmax::Range;
using fastsoftmax::RowChunk;
using fastsoftmax::Rows;
using test::kEps;
using test::LogisticCase;

template <class T>
struct Result {
  std::vector<T> products;       // (rows of the pass, n_outputs)
  std::vector<double> gradient;  // (n_outputs, d)
};

// A pass with W and made-up dlogits, its work in n_pieces, which are done one after the other.
template <class T>
Result<T> pass(Products<T>& products, const Rows& rows, const std::vector<T>& W,
               const std::vector<T>& dlogits, std::ptrdiff_t n_outputs, std::ptrdiff_t d,
               int n_pieces) {
  const std::ptrdiff_t chunk_rows = products.chunk_rows(), stride = n_outputs + 3;
  std::vector<T> parts(static_cast<std::size_t>(products.n_parts() * chunk_rows * stride)),
      chunk_dlogits(static_cast<std::size_t>(chunk_rows * stride));
  const ChunkProducts<T> out{parts.data(), stride, chunk_rows * stride};
  const ChunkProducts<T> in{chunk_dlogits.data(), stride, 0};
  Result<T> result{{}, std::vector<double>(static_cast<std::size_t>(n_outputs * d))};
  std::vector<double*> gradient;
  for (std::ptrdiff_t r = 0; r < n_outputs; ++r) gradient.push_back(result.gradient.data() + r * d);
  products.set_weights(W.data(), n_outputs, n_outputs);
  for (std::ptrdiff_t begin = 0; begin < rows.size(); begin += chunk_rows) {
    const std::ptrdiff_t n = std::min(chunk_rows, rows.size() - begin);
    const RowChunk chunk{begin, n, begin + n == rows.size()};
    std::fill(parts.begin(), parts.end(), T(7));
    for (int piece = 0; piece < n_pieces; ++piece) {
      const Range mine = fastsoftmax::share(n, 1, piece, n_pieces);
      if (mine.begin < mine.end) products.forward(rows, chunk, mine, piece, out);
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t r = 0; r < stride; ++r) {
        T sum = T(0);
        for (std::ptrdiff_t p = 0; p < products.n_parts(); ++p) {
          const T part = parts[static_cast<std::size_t>(p * out.part_stride + i * stride + r)];
          if (r >= n_outputs) CHECK_EQ(part, T(7));
          sum += part;
        }
        if (r < n_outputs) result.products.push_back(sum);
      }
      std::copy_n(dlogits.begin() + (begin + i) * n_outputs, n_outputs,
                  chunk_dlogits.begin() + i * stride);
    }
    for (int piece = 0; piece < n_pieces && products.needs_preparation(); ++piece) {
      products.prepare(rows, chunk, in, piece, n_pieces);
    }
    for (int piece = 0; piece < n_pieces; ++piece) {
      products.backward(rows, chunk, in, piece, n_pieces, gradient.data());
    }
  }
  return result;
}

template <class In, class T>
void check_values(const LogisticCase<In>& c, const Rows& rows, const std::vector<T>& W,
                  const std::vector<T>& dlogits, std::ptrdiff_t n_outputs, Precision precision,
                  const Result<T>& found) {
  const double of_product =
      precision == Precision::kReduced && sizeof(T) == sizeof(float) ? 0x1p-15 : 0.0;
  const auto x = [&](std::ptrdiff_t i, std::ptrdiff_t f) {
    return static_cast<double>(c.X[c.at(rows[i] * c.d + f)]);
  };
  for (std::ptrdiff_t r = 0; r < n_outputs; ++r) {
    for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
      double sum = 0, size = 0;
      for (std::ptrdiff_t f = 0; f < c.d; ++f) {
        const double product = static_cast<double>(W[c.at(r * c.d + f)]) * x(i, f);
        sum += product;
        size += std::abs(product);
      }
      CHECK_NEAR(found.products[c.at(i * n_outputs + r)], sum,
                 (kEps<T> * static_cast<double>(c.d) + of_product) * size);
    }
    for (std::ptrdiff_t f = 0; f < c.d; ++f) {
      double sum = 0, size = 0;
      for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
        const double product = static_cast<double>(dlogits[c.at(i * n_outputs + r)]) * x(i, f);
        sum += product;
        size += std::abs(product);
      }
      CHECK_NEAR(found.gradient[c.at(r * c.d + f)], sum,
                 (kEps<T> * static_cast<double>(rows.size()) + of_product) * size);
    }
  }
}

// Passes over all rows and over some, with as many outputs as there may be and with fewer.
// Returns the first.
template <class In, class T>
Result<T> check(const LogisticCase<In>& c, Products<T>& products, std::ptrdiff_t max_outputs) {
  Result<T> first;
  for (const std::ptrdiff_t n_outputs : {max_outputs, (max_outputs + 1) / 2}) {
    const auto W = test::uniform<T>(n_outputs * c.d, 3);
    const auto dlogits = test::uniform<T>(c.n * n_outputs, 4);
    for (const Rows& rows : {Rows{c.n, 1, 0}, Rows{c.n, 4, 1}}) {
      if (rows.size() == 0) continue;
      const auto found = pass(products, rows, W, dlogits, n_outputs, c.d, 1);
      check_values(c, rows, W, dlogits, n_outputs, products.precision(), found);
      for (const int n_pieces : {2, 3}) {
        const auto shared = pass(products, rows, W, dlogits, n_outputs, c.d, n_pieces);
        CHECK(test::same_bits(shared.products, found.products));
        CHECK(test::same_bits(shared.gradient, found.gradient));
      }
      if (first.products.empty()) first = found;
    }
  }
  return first;
}

// X' diag(w) X of all features and of some, its lower triangle or its diagonal, and w' X.
template <class In, class T>
void check_gram(const LogisticCase<In>& c, Products<T>& products) {
  const fastsoftmax::StopRequested never;
  fastsoftmax::StopPoll stop(never);
  const Rows rows{c.n, 2, 0};
  const auto weights = test::uniform<float>(rows.size(), 6, 0, 1);
  const auto x = [&](std::ptrdiff_t i, std::ptrdiff_t f) {
    return static_cast<double>(c.X[c.at(rows[i] * c.d + f)]);
  };
  const double roundings = static_cast<double>(rows.size() + 3);
  for (const Range features : {Range{0, c.d}, Range{c.d / 3, c.d - c.d / 4}}) {
    const std::ptrdiff_t n = features.end - features.begin;
    for (const bool diagonal_only : {false, true}) {
      const std::size_t size = c.at(diagonal_only ? n : n * n);
      std::vector<double> gram(size), sums(c.at(n)), again(size), sums_again(c.at(n));
      products.gram(rows, weights.data(), features, diagonal_only, gram.data(), sums.data(), 1,
                    stop);
      products.gram(rows, weights.data(), features, diagonal_only, again.data(), sums_again.data(),
                    3, stop);
      for (std::ptrdiff_t j = 0; j < n; ++j) {
        double sum = 0, most = 0;
        for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
          const double term = static_cast<double>(weights[c.at(i)]) * x(i, features.begin + j);
          sum += term;
          most += std::abs(term);
        }
        CHECK_NEAR(sums[c.at(j)], sum, roundings * kEps<T> * most);
        CHECK_EQ(sums_again[c.at(j)], sums[c.at(j)]);
        for (std::ptrdiff_t k = diagonal_only ? j : 0; k <= j; ++k) {
          const std::size_t at = c.at(diagonal_only ? j : j * n + k);
          sum = most = 0;
          for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
            const double term = static_cast<double>(weights[c.at(i)]) * x(i, features.begin + j) *
                                x(i, features.begin + k);
            sum += term;
            most += std::abs(term);
          }
          CHECK_NEAR(gram[at], sum, roundings * kEps<T> * most);
          CHECK_EQ(again[at], gram[at]);
        }
      }
    }
  }
}

// The entries of each row from the last to the first.
template <class In>
test::Csr<In> reversed(test::Csr<In> csr) {
  for (std::ptrdiff_t i = 0; i < csr.n; ++i) {
    const auto begin = csr.indptr[static_cast<std::size_t>(i)],
               end = csr.indptr[static_cast<std::size_t>(i + 1)];
    std::reverse(csr.data.begin() + begin, csr.data.begin() + end);
    std::reverse(csr.indices.begin() + begin, csr.indices.begin() + end);
  }
  return csr;
}

template <class In, class T>
void test_kinds(std::ptrdiff_t n, std::ptrdiff_t d, std::ptrdiff_t n_outputs) {
  LogisticCase<In> c(n, d, 3);
  c.use_zeros();
  const auto view = c.view();
  const In* data = c.X.data();
  const auto context = [&](const char* kind) {
    test::set_context(test::name_of(In()), test::name_of(T()), n, d, n_outputs);
    test::context += kind;
  };
  context(" few");
  fastsoftmax::FewOutputs<In, T> few(data, view, false, n_outputs, 3);
  const auto dense = check(c, few, n_outputs);
  if (n_outputs < 6) check_gram(c, few);
  for (const std::ptrdiff_t kept_words : {std::ptrdiff_t{1} << 20, std::ptrdiff_t{0}}) {
    context(kept_words ? " few, masks kept" : " few, masks found by chunk");
    fastsoftmax::FewOutputs<In, T> blocks(data, view, true, n_outputs, 3, kept_words);
    const auto skipped = check(c, blocks, n_outputs);
    CHECK(test::same_bits(skipped.products, dense.products));
    CHECK(test::same_bits(skipped.gradient, dense.gradient));
  }
  for (const auto precision : {Precision::kFull, Precision::kReduced}) {
    context(precision == Precision::kFull ? " many" : " many, reduced");
    fastsoftmax::ManyOutputs<In, T> many(data, view, n_outputs, precision, 3);
    check(c, many, n_outputs);
    if (n_outputs < 6) check_gram(c, many);
  }
  if constexpr (sizeof(In) == sizeof(T)) {
    const test::Csr<In> csr(c.X, c.n, c.d), turned = reversed(csr);
    for (const auto* rows : {&csr, &turned}) {
      context(rows == &csr ? " csr" : " csr, out of order");
      const auto products = fastsoftmax::make_csr_products<T>(rows->view(), n_outputs, 3);
      check(c, *products, n_outputs);
      if (n_outputs < 6) check_gram(c, *products);
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      using In = decltype(in);
      using T = decltype(acc);
      for (const std::ptrdiff_t n_outputs : {1, 2, 10, 16, 17, 40})
        test_kinds<In, T>(70, 45, n_outputs);
      // Several chunks and sums of chunks, several slices, one row, one feature.
      test_kinds<In, T>(1200, 9, 5);
      test_kinds<In, T>(150, 900, 11);
      test_kinds<In, T>(1, 30, 3);
      test_kinds<In, T>(40, 1, 70);
    });
  });
  return test::report();
}
