// The Cholesky factor against its definition, of matrices that are definite and that are not.
#include "solvers/cholesky.h"

#include <cmath>

#include "data.h"
#include "for_each_isa.h"

namespace {

const fastsoftmax::StopRequested never;
fastsoftmax::StopPoll poll(never);

// Of the products of rows, row i being scale(i) as long.
template <class Scale>
std::vector<double> semidefinite(std::ptrdiff_t n, std::ptrdiff_t rank, const Scale& scale) {
  auto A = test::products_of_rows(n, rank);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j)
      A[static_cast<std::size_t>(i * n + j)] *= scale(i) * scale(j);
  }
  return A;
}

// An entry of L L' is off by n roundings of the product of its rows' lengths (Higham, Accuracy and
// Stability, 10.3), and by the root of what counts as dependent, 4 n roundings, where rows do.
void check_factor(const std::vector<double>& A, std::ptrdiff_t n, std::ptrdiff_t rank) {
  auto L = A;
  CHECK(fastsoftmax::factor_semidefinite(L.data(), n, 1, poll));
  const auto at = [&](std::ptrdiff_t i, std::ptrdiff_t j) {
    return L[static_cast<std::size_t>(i * n + j)];
  };
  std::ptrdiff_t n_independent = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    n_independent += at(i, i) > 0.0;
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      if (j > i) CHECK(at(i, j) == 0.0);
      if (at(j, j) == 0.0) CHECK(at(i, j) == 0.0);
      double sum = 0.0;
      for (std::ptrdiff_t k = 0; k < n; ++k) sum += at(i, k) * at(j, k);
      const double size = std::sqrt(A[static_cast<std::size_t>(i * (n + 1))] *
                                    A[static_cast<std::size_t>(j * (n + 1))]);
      CHECK_NEAR(sum, A[static_cast<std::size_t>(i * n + j)],
                 test::kEps<double> * 8.0 * static_cast<double>(n + 10) * size);
    }
  }
  CHECK_EQ(n_independent, std::min(n, rank));
  for (const int n_threads : {2, 3}) {
    auto threaded = A;
    CHECK(fastsoftmax::factor_semidefinite(threaded.data(), n, n_threads, poll));
    CHECK(test::same_bits(threaded, L));
  }
}

void test_factor() {
  const auto one = [](std::ptrdiff_t) { return 1.0; };
  const auto units = [](std::ptrdiff_t i) { return std::pow(10.0, i % 7 - 3); };
  for (const std::ptrdiff_t n : {1, 2, 17, 63, 64, 65, 130, 250}) {
    test::set_context("f64", "factor", n);
    check_factor(semidefinite(n, n + 20, one), n, n + 20);
    check_factor(semidefinite(n, n + 20, units), n, n + 20);
    check_factor(semidefinite(n, 5, one), n, 5);
  }
  check_factor(std::vector<double>(100, 0.0), 10, 0);
}

void test_not_finite() {
  for (const double bad : {HUGE_VAL, std::nan("")}) {
    std::vector<double> A(16, 0.5);
    A[15] = bad;
    CHECK(!fastsoftmax::factor_semidefinite(A.data(), 4, 1, poll));
  }
}

// X L against B; rows of a factor without a pivot get zero.
void test_solve() {
  constexpr std::ptrdiff_t n = 90, n_rows = 40;
  auto L = semidefinite(n, n + 20, [](std::ptrdiff_t) { return 1.0; });
  CHECK(fastsoftmax::factor_semidefinite(L.data(), n, 1, poll));
  const auto B = test::uniform<double>(n_rows * n, 7);
  auto X = B;
  fastsoftmax::solve_from_right(L.data(), n, n_rows, X.data(), 1);
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      double sum = 0.0, size = 0.0;
      for (std::ptrdiff_t k = 0; k < n; ++k) {
        const double product =
            X[static_cast<std::size_t>(i * n + k)] * L[static_cast<std::size_t>(k * n + j)];
        sum += product;
        size += std::abs(product);
      }
      // Backward stable: each column is off by n roundings of its products (Higham, 8.1).
      CHECK_NEAR(sum, B[static_cast<std::size_t>(i * n + j)],
                 test::kEps<double> * static_cast<double>(n) * (size + 1.0));
    }
  }
  for (const int n_threads : {2, 3}) {
    auto threaded = B;
    fastsoftmax::solve_from_right(L.data(), n, n_rows, threaded.data(), n_threads);
    CHECK(test::same_bits(threaded, X));
  }
  L[5 * n + 5] = 0.0;
  X = B;
  fastsoftmax::solve_from_right(L.data(), n, n_rows, X.data(), 1);
  for (std::ptrdiff_t i = 0; i < n_rows; ++i) CHECK(X[static_cast<std::size_t>(i * n + 5)] == 0.0);
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test_factor();
    test_not_finite();
    test_solve();
  });
  return test::report();
}
