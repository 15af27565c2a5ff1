// invert_spd against the definition: A times its inverse is the identity.
#include "solvers/spd_inverse.h"

#include "data.h"
#include "for_each_isa.h"

namespace {

std::vector<double> positive_definite(std::ptrdiff_t n) {
  auto A = test::products_of_rows(n, n);
  for (std::ptrdiff_t i = 0; i < n; ++i) A[static_cast<std::size_t>(i * (n + 1))] += 1.0;
  return A;
}

void test_inverse(std::ptrdiff_t n) {
  test::set_context("f64", "inverse", n);
  const auto A = positive_definite(n);
  auto inverse = A;
  CHECK(fastsoftmax::invert_spd(inverse.data(), n, 0.0, 1));
  // Eigenvalues from 1 to about (2 n)^2 / 3: relative errors of n times their ratio, at most.
  const double tolerance = test::kEps<double> * static_cast<double>(n * n * n + 10);
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    for (std::ptrdiff_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (std::ptrdiff_t k = 0; k < n; ++k) {
        sum +=
            A[static_cast<std::size_t>(i * n + k)] * inverse[static_cast<std::size_t>(k * n + j)];
      }
      CHECK_NEAR(sum, i == j ? 1.0 : 0.0, tolerance);
      CHECK(inverse[static_cast<std::size_t>(i * n + j)] ==
            inverse[static_cast<std::size_t>(j * n + i)]);
    }
  }
  auto threaded = A;
  CHECK(fastsoftmax::invert_spd(threaded.data(), n, 0.0, 3));
  CHECK(test::same_bits(threaded, inverse));
}

// What is not positive definite is refused, and the part above the diagonal is as it was.
void test_refusal() {
  constexpr std::ptrdiff_t n = 100;
  auto A = positive_definite(n);
  A[70 * n + 70] = -1.0;
  auto at = A;
  CHECK(!fastsoftmax::invert_spd(at.data(), n, 0.0, 2));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) CHECK(at[i * n + j] == A[i * n + j]);
  }
}

}  // namespace

int main() {
  test::for_each_isa([] {
    for (const std::ptrdiff_t n : {1, 2, 63, 64, 65, 130, 200}) test_inverse(n);
    test_refusal();
  });
  return test::report();
}
