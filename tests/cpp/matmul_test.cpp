// matmul for every storage type, stride and size around its blocks, against the reference, and with
// the same bits for any number of threads.
//
// Tolerance: a sum of k products in any order is off by at most k u sum |a b| (Higham, 3.1), for
// entries below 1 (bytes: 255) at most k u k max |a|; the reference, in double, likewise.
#include <algorithm>
#include <stdexcept>

#include "data.h"
#include "fastsoftmax/functions.h"
#include "for_each_isa.h"
#include "reference.h"
#include "views.h"

namespace {

using fastsoftmax::StridedInputView;
using fastsoftmax::StridedView;

enum class Layout { kRows, kColumns, kColumnsApart, kReversed, kGaps, kSameRow };

// A matrix in memory of its own; entry (i, j) is at origin + i * row_stride + j * col_stride.
template <class T>
struct Matrix {
  std::ptrdiff_t n_rows, n_cols, origin = 0, row_stride, col_stride;
  std::vector<T> memory;

  Matrix(std::ptrdiff_t m, std::ptrdiff_t n, Layout layout, std::uint64_t seed)
      : n_rows(m), n_cols(n), row_stride(n), col_stride(1) {
    if (layout == Layout::kColumns) row_stride = 1, col_stride = m;
    if (layout == Layout::kColumnsApart) row_stride = 1, col_stride = m + 3;
    if (layout == Layout::kGaps) row_stride = 3 * n + 2, col_stride = 3;
    if (layout == Layout::kSameRow) row_stride = 0;
    if (layout == Layout::kReversed) {
      row_stride = -n, col_stride = -1;
      origin = std::max<std::ptrdiff_t>(m * n - 1, 0);
    }
    memory = test::uniform<T>(m * (3 * n + 2) + 1, seed);
  }
  const T* data() const { return memory.data() + origin; }
  reference::Vector dense() const {
    reference::Vector out;
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
      for (std::ptrdiff_t j = 0; j < n_cols; ++j) {
        out.push_back(static_cast<double>(data()[i * row_stride + j * col_stride]));
      }
    }
    return out;
  }
};

template <class In, class T>
std::vector<T> multiply(const Matrix<In>& A, const Matrix<T>& B, int n_threads) {
  constexpr T kCanary = T(12345);
  const std::ptrdiff_t size = A.n_rows * B.n_cols;
  std::vector<T> C(static_cast<std::size_t>(size) + 16, kCanary);
  const StridedInputView a{test::kStorage<In>, A.data(),     A.n_rows,
                           A.n_cols,           A.row_stride, A.col_stride};
  const StridedView<const T> b{B.data(), B.n_rows, B.n_cols, B.row_stride, B.col_stride};
  fastsoftmax::matmul(a, b, C.data(), n_threads);
  CHECK(std::all_of(C.begin() + size, C.end(), [](T c) { return c == kCanary; }));
  C.resize(static_cast<std::size_t>(size));
  return C;
}

template <class In, class T>
void check(std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n, Layout a = Layout::kRows,
           Layout b = Layout::kRows) {
  test::set_context(test::name_of(In()), test::name_of(T()), m, k, n, static_cast<int>(a),
                    static_cast<int>(b));
  const auto seed = static_cast<std::uint64_t>(m * 10000 + k * 100 + n);
  const Matrix<In> A(m, k, a, seed);
  const Matrix<T> B(k, n, b, seed + 1);
  const auto C = multiply(A, B, 1);
  const auto expected = reference::gemm(A.dense(), B.dense(), m, k, n);
  const double size = static_cast<double>(k * k) * (sizeof(In) == 1 ? 255 : 1);
  // The last digits of a bound that is quadratic in k say little: random errors grow as its root
  // (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), of which ten are never seen.
  const double tolerance = test::kEps<T> * std::min(size, 10 * std::sqrt(size * 255) + 10);
  for (std::size_t i = 0; i < C.size(); ++i) CHECK_NEAR(C[i], expected[i], tolerance);
  // Threads meet twice a block, slowly where there are more of them than CPUs: not for every shape.
  if (m < 60 && n < 1000) return;
  for (const int n_threads : {2, 3, 8}) CHECK(test::same_bits(multiply(A, B, n_threads), C));
}

template <class In, class T>
void test_small_sizes() {
  for (const std::ptrdiff_t m : {0, 1, 2, 23, 24, 25, 70}) {
    for (const std::ptrdiff_t k : {0, 1, 5, 40}) {
      for (const std::ptrdiff_t n : {0, 1, 10, 16, 17, 33, 70}) check<In, T>(m, k, n);
    }
  }
}

template <class In, class T>
void test_strides() {
  const Layout all[] = {Layout::kRows,     Layout::kColumns, Layout::kColumnsApart,
                        Layout::kReversed, Layout::kGaps,    Layout::kSameRow};
  for (const Layout a : all) {
    for (const Layout b : all) {
      for (const std::ptrdiff_t n : {1, 10, 35}) {
        for (const std::ptrdiff_t m : {20, 50}) check<In, T>(m, 20, n, a, b);
      }
    }
  }
}

// Slices of k of 512 float32 or 256 float64, tasks of 1024 columns and up to 48 rows, 16
// slices in a block of B; up to 32 rows meet 4 panels of B at a time; skinny products up to 16
// columns in blocks of 64 rows.
template <class In, class T>
void test_around_the_blocks() {
  for (const std::ptrdiff_t k : {255, 256, 257, 600}) check<In, T>(9, k, 40);
  for (const std::ptrdiff_t n : {1023, 1024, 1025, 2100}) check<In, T>(5, 20, n);
  for (const std::ptrdiff_t k : {511, 512, 513, 1025}) check<In, T>(9, k, 40);
  check<In, T>(26, 513, 1030);
  for (const std::ptrdiff_t m : {47, 48, 49, 97, 300}) check<In, T>(m, 70, 70);
  check<In, T>(26, 300, 1030, Layout::kColumns, Layout::kColumns);
  for (const std::ptrdiff_t m : {63, 64, 65, 200}) check<In, T>(m, 30, 10);
  for (const std::ptrdiff_t m : {31, 32, 33}) check<In, T>(m, 520, 1030);  // few rows, or not
}

// More slices and more columns than a block of B holds.
template <class In, class T>
void test_many_blocks() {
  constexpr std::ptrdiff_t kDeep = 16 * 2048 / static_cast<std::ptrdiff_t>(sizeof(T)) + 3;
  for (const std::ptrdiff_t m : {3, 60}) check<In, T>(m, kDeep, 20);  // few rows, or not
  check<In, T>(2, 1100, 4500);
}

void test_float64_needs_float64() {
  const Matrix<double> A(2, 3, Layout::kRows, 1);
  const Matrix<float> B(3, 2, Layout::kRows, 2);
  CHECK_THROWS(std::invalid_argument, "float64", multiply(A, B, 1));
}

}  // namespace

int main() {
  test::for_each_isa([] {
    test::for_each_column([](auto in, auto acc) {
      test_small_sizes<decltype(in), decltype(acc)>();
      test_strides<decltype(in), decltype(acc)>();
      test_around_the_blocks<decltype(in), decltype(acc)>();
      test_many_blocks<decltype(in), decltype(acc)>();
    });
  });
  test_float64_needs_float64();
  return test::report();
}
