// The gemm and packing kernels of every instruction set and column against the reference.
//
// Tolerance: a sum of k products is off by at most k u sum |a b| in any order (Higham, 3.1), adding
// to C rounds once more, and the reference is off likewise: kEps (k + 2) (sum |a b| + |c|) is
// enough. Where floats are split, each pair makes six products, and 2 kEps of it is left out; in
// reduced precision it makes three, of factors that are off by 2^-17, and leaves 2^-16 out.
#include <algorithm>
#include <cmath>
#include <limits>

#include "data.h"
#include "for_each_isa.h"
#include "guarded.h"
#include "reference.h"

namespace {

using test::Guarded;
using test::kEps;
using test::Side;

constexpr std::ptrdiff_t kRowGap = 3;  // C's rows are that much longer than n

fastsoftmax::Precision precision = fastsoftmax::Precision::kFull;

// What factors are off by, or a number that is multiplied by one.
template <class T>
double reduction() {
  const bool is_exact = precision == fastsoftmax::Precision::kFull || sizeof(T) != sizeof(float);
  return is_exact ? 0.0 : 0x1p-17;
}

template <class In, class Acc>
struct Case {
  std::ptrdiff_t m, k, n;
  bool transpose_A, transpose_B, accumulate;
  std::vector<In> A;      // (m, k), stored by columns if transpose_A
  std::vector<Acc> B, C;  // (k, n), likewise; (m, n) with gaps
  std::ptrdiff_t A_row_stride() const { return transpose_A ? 1 : k; }
  std::ptrdiff_t A_col_stride() const { return transpose_A ? m : 1; }
};

template <class Acc>
double tolerance(std::ptrdiff_t k) {
  const bool splits = fastsoftmax::arithmetic_kernels<Acc>(precision).gemm_depth(1) != 1;
  return kEps<Acc> * (static_cast<double>(k) * (splits ? 6 : 1) + (splits ? 4 : 2)) +
         4.01 * reduction<Acc>();
}

std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return (n + unit - 1) / unit * unit;
}

template <class In, class Acc>
Case<In, Acc> make_case(std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n) {
  const auto seed = static_cast<std::uint64_t>(m * 10000 + k * 100 + n);
  const std::ptrdiff_t c_size = m > 0 ? (m - 1) * (n + kRowGap) + n : 0;  // no gap after the last
  return {m,
          k,
          n,
          (m + k) % 2 == 0,
          (k + n) % 3 == 0,
          (m + n) % 2 == 0,
          test::uniform<In>(m * k, seed),
          test::uniform<Acc>(k * n, seed + 1),
          test::uniform<Acc>(c_size, seed + 2)};
}

template <class In, class Acc>
std::vector<Acc> run(const Case<In, Acc>& c, Side side) {
  const auto& kernels = fastsoftmax::arithmetic_kernels<Acc>(precision);
  Guarded<In> A(c.A, side);
  Guarded<Acc> B(c.B, side), C(c.C, side);
  Guarded<Acc> packed_A(kernels.gemm_depth(c.k) * round_up(c.m, kernels.gemm_rows), side);
  Guarded<Acc> packed_B(kernels.gemm_depth(c.k) * round_up(c.n, kernels.gemm_columns), side);
  fastsoftmax::storage_kernels(A.data(), Acc(), precision)
      .gemm_pack_a(A.data(), c.A_row_stride(), c.A_col_stride(), c.m, c.k, packed_A.data());
  fastsoftmax::storage_kernels(B.data(), Acc(), precision)
      .gemm_pack_b(B.data(), c.transpose_B ? 1 : c.n, c.transpose_B ? c.k : 1, c.k, c.n,
                   packed_B.data());
  const auto A_before = packed_A.copy(), B_before = packed_B.copy();
  kernels.gemm(packed_A.data(), packed_B.data(), c.m, c.k, c.n, C.data(), c.n + kRowGap,
               c.accumulate);
  CHECK(test::same_bits(A.copy(), c.A));
  CHECK(test::same_bits(B.copy(), c.B));
  CHECK(test::same_bits(packed_A.copy(), A_before));
  CHECK(test::same_bits(packed_B.copy(), B_before));
  return C.copy();
}

template <class In, class Acc>
void check_entry(const Case<In, Acc>& c, const std::vector<Acc>& actual, std::ptrdiff_t i,
                 std::ptrdiff_t j) {
  const auto at = static_cast<std::size_t>(i * (c.n + kRowGap) + j);
  const double old = c.accumulate ? static_cast<double>(c.C[at]) : 0.0;
  double sum = old, size = std::abs(old);
  for (std::ptrdiff_t p = 0; p < c.k; ++p) {
    const auto a_at = c.transpose_A ? p * c.m + i : i * c.k + p;
    const auto b_at = c.transpose_B ? j * c.k + p : p * c.n + j;
    const double product = static_cast<double>(c.A[static_cast<std::size_t>(a_at)]) *
                           static_cast<double>(c.B[static_cast<std::size_t>(b_at)]);
    sum += product;
    size += std::abs(product);
  }
  CHECK_NEAR(actual[at], sum, tolerance<Acc>(c.k) * size);
}

template <class In, class Acc>
void check_gaps(const Case<In, Acc>& c, const std::vector<Acc>& actual) {
  for (std::ptrdiff_t i = 0; i + 1 < c.m; ++i) {
    for (std::ptrdiff_t j = c.n; j < c.n + kRowGap; ++j) {
      const auto at = static_cast<std::size_t>(i * (c.n + kRowGap) + j);
      CHECK_EQ(actual[at], c.C[at]);
    }
  }
}

template <class In, class Acc>
void check(const Case<In, Acc>& c) {
  test::set_context(test::name_of(In()), test::name_of(Acc()), c.m, c.k, c.n);
  const auto actual = run(c, Side::kEnd);
  for (std::ptrdiff_t i = 0; i < c.m; ++i) {
    for (std::ptrdiff_t j = 0; j < c.n; ++j) check_entry(c, actual, i, j);
  }
  check_gaps(c, actual);
  CHECK(test::same_bits(run(c, Side::kBegin), actual));
}

// The same bits for a row alone as among others: rows may be shared among threads anyhow.
template <class In, class Acc>
void check_independence(Case<In, Acc> c) {
  c.transpose_A = false;
  const auto all = run(c, Side::kEnd);
  for (std::ptrdiff_t i = 0; i < c.m; ++i) {
    Case<In, Acc> row = c;
    row.m = 1;
    row.A.assign(c.A.begin() + i * c.k, c.A.begin() + (i + 1) * c.k);
    const auto begin = i * (c.n + kRowGap);
    row.C.assign(c.C.begin() + begin, c.C.begin() + begin + c.n);
    const std::vector<Acc> expected(all.begin() + begin, all.begin() + begin + c.n);
    CHECK(test::same_bits(run(row, Side::kEnd), expected));
  }
}

template <class In, class Acc>
void test_ragged_sizes() {
  for (std::ptrdiff_t n = 0; n <= 70; ++n) {
    for (const std::ptrdiff_t m : {1, 2, 5, 13}) {
      for (const std::ptrdiff_t k : {1, 2, 7}) check(make_case<In, Acc>(m, k, n));
    }
  }
  for (std::ptrdiff_t m = 0; m <= 30; ++m) {
    for (const std::ptrdiff_t n : {4, 33}) {
      for (const std::ptrdiff_t k : {1, 4, 9}) check(make_case<In, Acc>(m, k, n));
      check_independence(make_case<In, Acc>(m, 5, n));
    }
  }
  check(make_case<In, Acc>(7, 300, 100));
  check(make_case<In, Acc>(33, 256, 65));
  check(make_case<In, Acc>(26, 20, 600));  // more than the panels that are met at once
}

// Every number of a matrix (n_across, depth) is where the panels of weights have it, the padding is
// zero.
template <class Acc, class In, class Pack>
void check_packed(std::ptrdiff_t panel, std::ptrdiff_t n_across, std::ptrdiff_t depth,
                  std::ptrdiff_t across, std::ptrdiff_t along, const Pack& pack) {
  const std::ptrdiff_t last = std::max<std::ptrdiff_t>(0, (n_across - 1) * across) +
                              std::max<std::ptrdiff_t>(0, (depth - 1) * along);
  const std::ptrdiff_t padded = round_up(n_across, panel);
  for (const Side side : {Side::kBegin, Side::kEnd}) {
    Guarded<In> source(test::uniform<In>(n_across * depth > 0 ? last + 1 : 0, 1), side);
    Guarded<Acc> packed(padded * depth, side);
    pack(source.data(), packed.data());
    for (std::ptrdiff_t i = 0; i < padded; ++i) {
      for (std::ptrdiff_t p = 0; p < depth; ++p) {
        const Acc expected =
            i < n_across ? static_cast<Acc>(source[i * across + p * along]) : Acc(0);
        CHECK_EQ(packed[i / panel * panel * depth + p * panel + i % panel], expected);
      }
    }
  }
}

template <class In, class Acc>
void test_packing() {
  const auto& kernels = fastsoftmax::storage_kernels(static_cast<const In*>(nullptr), Acc());
  const auto& panels = fastsoftmax::arithmetic_kernels<Acc>();
  for (const std::ptrdiff_t n : {0, 1, 2, 5, 6, 7, 11, 12, 13, 16, 17, 31, 32, 33, 50}) {
    for (const std::ptrdiff_t k : {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33}) {
      test::set_context(test::name_of(In()), test::name_of(Acc()), n, k);
      const std::ptrdiff_t strides[][2] = {{1, n}, {1, n + 3}, {k, 1}, {k + 5, 1}, {2, 2 * n + 1}};
      for (const auto& stride : strides) {
        const std::ptrdiff_t across = stride[0], along = stride[1];
        check_packed<Acc, In>(panels.step_columns, n, k, across, along,
                              [&](const In* W, Acc* packed) {
                                kernels.pack_weights(W, along, across, k, n, packed);
                              });
      }
    }
  }
}

// In is what the number is stored in: bytes have no more than two digits.
template <class In, class Acc>
void check_same(Acc actual, Acc expected) {
  if (std::isnan(expected) || std::isinf(expected) || reduction<In>() == 0.0) {
    CHECK(actual == expected || (std::isnan(actual) && std::isnan(expected)));
  } else {
    // Of the largest floats the first half is left.
    const double part = std::abs(expected) >= 0x1.fep127 ? 0x1p-7 : reduction<In>();
    CHECK_NEAR(actual, expected, part * std::abs(expected));
  }
}

// A matrix times the identity, on either side, is the same bits, whatever its strides; of floats in
// reduced precision nearly.
template <class In, class Acc>
void check_identity(const In* source, std::ptrdiff_t n, std::ptrdiff_t k, std::ptrdiff_t across,
                    std::ptrdiff_t along) {
  const auto& kernels = fastsoftmax::arithmetic_kernels<Acc>(precision);
  const auto& storage = fastsoftmax::storage_kernels(source, Acc(), precision);
  const auto& own =
      fastsoftmax::storage_kernels(static_cast<const Acc*>(nullptr), Acc(), precision);
  std::vector<Acc> identity(static_cast<std::size_t>(k * k));
  for (std::ptrdiff_t p = 0; p < k; ++p) identity[static_cast<std::size_t>(p * k + p)] = 1;
  const std::ptrdiff_t depth = kernels.gemm_depth(k),
                       unit = kernels.gemm_rows * kernels.gemm_columns;
  Guarded<Acc> left(depth * round_up(std::max(n, k), unit), Side::kEnd);
  Guarded<Acc> right(depth * round_up(std::max(n, k), unit), Side::kEnd);
  Guarded<Acc> C(n * k, Side::kEnd);
  const auto at = [&](std::ptrdiff_t i, std::ptrdiff_t p) {
    return static_cast<Acc>(source[i * across + p * along]);
  };
  storage.gemm_pack_a(source, across, along, n, k, left.data());
  own.gemm_pack_b(identity.data(), k, 1, k, k, right.data());
  kernels.gemm(left.data(), right.data(), n, k, k, C.data(), k, false);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t p = 0; p < k; ++p) check_same<In>(C[i * k + p], at(i, p));
  }
  own.gemm_pack_a(identity.data(), k, 1, k, k, left.data());
  storage.gemm_pack_b(source, along, across, k, n, right.data());
  kernels.gemm(left.data(), right.data(), k, k, n, C.data(), n, false);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t p = 0; p < k; ++p) check_same<In>(C[p * n + i], at(i, p));
  }
}

template <class In, class Acc>
void test_identity() {
  for (const std::ptrdiff_t n : {1, 5, 15, 16, 17, 31, 32, 33, 50}) {
    for (const std::ptrdiff_t k : {1, 2, 15, 16, 17, 31, 32, 33, 70}) {
      test::set_context(test::name_of(In()), test::name_of(Acc()), n, k);
      const std::ptrdiff_t strides[][2] = {{1, n}, {1, n + 3}, {k, 1}, {k + 5, 1}, {2, 2 * n + 1}};
      for (const auto& [across, along] : strides) {
        Guarded<In> source(test::uniform<In>((n - 1) * across + (k - 1) * along + 1, 1),
                           Side::kEnd);
        check_identity<In, Acc>(source.data(), n, k, across, along);
      }
    }
  }
}

// Numbers of every size, the ends of the range and infinity keep all their bits beside others. (Of
// a float below 2^-103 tiles lose some: split_gemm-inl.h.)
template <class T>
void test_range() {
  using Limits = std::numeric_limits<T>;
  constexpr int kLow = sizeof(T) == 4 ? -103 : Limits::min_exponent;
  std::vector<T> numbers{0,
                         Limits::max(),
                         -Limits::max(),
                         Limits::infinity(),
                         -Limits::infinity(),
                         Limits::quiet_NaN(),
                         Limits::signaling_NaN()};
  for (int e = kLow; e < Limits::max_exponent; ++e) {
    for (const double m : {1.0, 1.99609375, 1.998046875, 1 + kEps<T> * 2, -1.2345678901234567}) {
      numbers.push_back(static_cast<T>(std::ldexp(m, e)));
    }
  }
  const auto n = static_cast<std::ptrdiff_t>(numbers.size());
  test::set_context("range of", test::name_of(T()), n);
  for (const bool is_row : {false, true}) {
    Case<T, T> c = make_case<T, T>(is_row ? n : 3, 1, is_row ? 3 : n);
    c.accumulate = false;
    std::fill(c.A.begin(), c.A.end(), T(1));
    std::fill(c.B.begin(), c.B.end(), T(1));
    (is_row ? c.A : c.B) = numbers;
    const auto C = run(c, Side::kEnd);
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t j = 0; j < 3; ++j) {
        const auto at = is_row ? i * (c.n + kRowGap) + j : j * (c.n + kRowGap) + i;
        check_same<T>(C[static_cast<std::size_t>(at)], numbers[static_cast<std::size_t>(i)]);
      }
    }
  }
}

// The same bits as from panels, whatever the stride of the columns; nothing beside them is read.
template <class T>
void check_unpacked(std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n, std::ptrdiff_t stride,
                    bool accumulate) {
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>(precision);
  const auto seed = static_cast<std::uint64_t>(m * 10000 + k * 100 + n);
  const std::ptrdiff_t c_stride = n + kRowGap;
  const auto numbers = test::uniform<T>((n - 1) * stride + k, seed + 1);
  for (const Side side : {Side::kBegin, Side::kEnd}) {
    Guarded<T> A(test::uniform<T>(m * k, seed), side), B(numbers, side);
    Guarded<T> packed_A(k * kernels.gemm_rows, side);
    Guarded<T> packed_B(k * round_up(n, kernels.gemm_columns), side);
    const auto before = test::uniform<T>((m - 1) * c_stride + n, seed + 2);
    Guarded<T> expected(before, side), actual(before, side);
    const auto& packs = fastsoftmax::storage_kernels(A.data(), T(), precision);
    packs.gemm_pack_a(A.data(), k, 1, m, k, packed_A.data());
    packs.gemm_pack_b(B.data(), 1, stride, k, n, packed_B.data());
    kernels.gemm(packed_A.data(), packed_B.data(), m, k, n, expected.data(), c_stride, accumulate);
    kernels.gemm_unpacked(packed_A.data(), B.data(), stride, m, k, n, actual.data(), c_stride,
                          accumulate);
    CHECK(test::same_bits(actual.copy(), expected.copy()));
  }
}

template <class T>
void test_unpacked() {
  const auto& kernels = fastsoftmax::arithmetic_kernels<T>(precision);
  const bool splits = kernels.gemm_depth(1) != 1;
  CHECK_EQ(kernels.gemm_few_rows == 0, splits);
  CHECK(kernels.gemm_few_rows <= kernels.gemm_rows);
  for (std::ptrdiff_t m = 1; m <= kernels.gemm_few_rows; ++m) {
    for (const std::ptrdiff_t k : {1, 2, 7, 8, 9, 15, 16, 17, 33, 70}) {
      for (const std::ptrdiff_t n : {1, 3, 7, 8, 9, 16, 31, 32, 33, 64, 70}) {
        test::set_context("unpacked", test::name_of(T()), m, k, n);
        for (const std::ptrdiff_t gap : {0, 5}) {
          check_unpacked<T>(m, k, n, k + gap, (k + n) % 2 == 0);
        }
      }
    }
  }
}

// Numbers down to the smallest there are, beside others: those of a float that tiles cannot hold
// are lost, but no more.
template <class T>
void test_tiny() {
  using Limits = std::numeric_limits<T>;
  for (const bool in_A : {false, true}) {
    Case<T, T> c = make_case<T, T>(35, 70, 37);
    c.accumulate = false;
    auto& values = in_A ? c.A : c.B;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i % 3 == 0) continue;
      const int exponent = Limits::min_exponent - 24 + static_cast<int>(i * 7 % 60);
      values[i] = static_cast<T>(std::ldexp(static_cast<double>(values[i]), exponent));
    }
    check(c);
  }
}

// The padding of a panel is multiplied with A: infinities in A must not come out as NaN. Nor may
// other entries change for those that are not finite.
template <class In, class Acc>
void test_infinite_entries() {
  if constexpr (sizeof(In) > 1) {
    for (std::ptrdiff_t n = 1; n <= 40; ++n) {
      auto c = make_case<In, Acc>(14, 3, n);
      for (std::size_t i = 0; i < c.A.size(); i += 4) c.A[i] = std::numeric_limits<In>::infinity();
      check(c);
    }
    for (const std::ptrdiff_t k : {3, 40, 70}) {
      auto c = make_case<In, Acc>(37, k, 35);
      c.transpose_A = c.transpose_B = false;
      const auto before = run(c, Side::kEnd);
      const auto at = [&](std::ptrdiff_t i, std::ptrdiff_t j) {
        return static_cast<std::size_t>(i * (c.n + kRowGap) + j);
      };
      c.A[static_cast<std::size_t>(3 * k)] = std::numeric_limits<In>::infinity();
      c.A[static_cast<std::size_t>(20 * k + k - 1)] = std::numeric_limits<In>::quiet_NaN();
      // Of which reduced precision keeps the first half.
      c.A[static_cast<std::size_t>(33 * k + k - 1)] =
          reduction<In>() > 0.0 ? In(1e38) : std::numeric_limits<In>::max();
      c.B[static_cast<std::size_t>(2 * c.n + 18)] = -std::numeric_limits<Acc>::infinity();
      const auto after = run(c, Side::kEnd);
      for (std::ptrdiff_t i = 0; i < c.m; ++i) {
        for (std::ptrdiff_t j = 0; j < c.n; ++j) {
          if (i == 3 || i == 20 || i == 33 || j == 18) {
            check_entry(c, after, i, j);
          } else {
            CHECK(after[at(i, j)] == before[at(i, j)]);
          }
        }
      }
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    for (const auto p : {fastsoftmax::Precision::kFull, fastsoftmax::Precision::kReduced}) {
      if (p == fastsoftmax::Precision::kReduced && !fastsoftmax::can_reduce_precision()) continue;
      precision = p;
      test::for_each_column([](auto in, auto acc) {
        test_ragged_sizes<decltype(in), decltype(acc)>();
        test_packing<decltype(in), decltype(acc)>();
        test_identity<decltype(in), decltype(acc)>();
        test_infinite_entries<decltype(in), decltype(acc)>();
      });
      test_range<float>();
      test_range<double>();
      test_tiny<float>();
      test_tiny<double>();
      test_unpacked<float>();
      test_unpacked<double>();
    }
  });
  return test::report();
}
