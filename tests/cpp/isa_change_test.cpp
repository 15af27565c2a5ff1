// Another thread chooses another instruction set while fits and products are under way: each has
// the bits of one instruction set, as panels of one are not those of another.
#include <algorithm>
#include <atomic>
#include <thread>

#include "data.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/isa.h"
#include "fastsoftmax/objective.h"
#include "for_each_isa.h"
#include "sgd_problem.h"

namespace {

// Chooses one after the other for as long as it lives.
class Changes {
 public:
  explicit Changes(const std::vector<std::string>& isas)
      : thread_([this, isas] {
          for (std::size_t i = 0; !done_; ++i) {
            fastsoftmax::set_active_isa(isas[i % isas.size()]);
            std::this_thread::yield();
          }
        }) {}
  ~Changes() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// compute(): what must be the same as one of its results under each instruction set.
template <class F>
void check(const std::string& what, const F& compute, int n_times) {
  test::context = what;
  std::vector<decltype(compute())> expected;
  test::for_each_isa([&] { expected.push_back(compute()); });
  const std::string before = fastsoftmax::active_isa();
  {
    const Changes changes(fastsoftmax::supported_isas());
    for (int i = 0; i < n_times; ++i) {
      const auto actual = compute();
      CHECK(std::any_of(expected.begin(), expected.end(),
                        [&](const auto& e) { return test::same_bits(actual, e); }));
    }
  }
  fastsoftmax::set_active_isa(before);
}

template <class In>
void check_fit(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, std::ptrdiff_t n_classes,
               int n_times) {
  test::SgdProblem<In, float> problem(n_rows, n_features, n_classes, n_rows);
  problem.use_weights();
  check(
      "fit of " + std::to_string(n_classes) + " classes", [&] { return problem.train_with(1); },
      n_times);
}

// Few rows, so that choosing kernels is much of the work; transposed: A lies so.
void check_product(std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n, bool transposed,
                   int n_times) {
  const auto A = test::uniform<float>(m * k, 1), B = test::uniform<float>(k * n, 2);
  const fastsoftmax::StridedInputView a{
      fastsoftmax::Storage::kFloat32, A.data(), m, k, transposed ? 1 : k, transposed ? m : 1};
  check(
      transposed ? "product, transposed" : "product",
      [&] {
        std::vector<float> C(static_cast<std::size_t>(m * n));
        fastsoftmax::matmul<float>(a, {B.data(), k, n, n, 1}, C.data(), 1);
        return C;
      },
      n_times);
}

void check_prediction(std::ptrdiff_t n_classes, int n_times) {
  constexpr std::ptrdiff_t kRows = 200, kFeatures = 50;
  const auto X = test::uniform<float>(kRows * kFeatures, 1);
  const auto W = test::uniform<float>(n_classes * kFeatures, 2);
  const auto b = test::uniform<float>(n_classes, 3);
  const fastsoftmax::StridedInputView view{
      fastsoftmax::Storage::kFloat32, X.data(), kRows, kFeatures, kFeatures, 1};
  const fastsoftmax::Model<float> model{W.data(), b.data(), n_classes, 0.5f};
  check(
      "probabilities of " + std::to_string(n_classes) + " classes",
      [&] {
        std::vector<float> out(static_cast<std::size_t>(kRows * n_classes));
        CHECK(fastsoftmax::predict<float>(view, model, fastsoftmax::Prediction::kProbs, out.data(),
                                          1));
        return out;
      },
      n_times);
}

}  // namespace

int main() {
  check_fit<float>(256, 1500, 33, 200);
  check_fit<float>(20, 100, 5, 2000);
  check_fit<std::uint8_t>(2000, 64, 10, 500);
  check_product(20, 9, 40, false, 50000);
  check_product(20, 1500, 3, true, 20000);
  check_prediction(10, 5000);
  check_prediction(50, 5000);
  return test::report();
}
