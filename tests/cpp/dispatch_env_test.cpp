// FASTSOFTMAX_ISA is honoured: CTest runs this once without it, and once for each of its values.
#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "check.h"
#include "fastsoftmax/functions.h"
#include "fastsoftmax/isa.h"

namespace {

bool is_supported(const std::string& isa) {
  const auto all = fastsoftmax::supported_isas();
  return std::find(all.begin(), all.end(), isa) != all.end();
}

void softmax_of_one() {
  const float x = 3;
  float p = 0;
  fastsoftmax::softmax(&x, 1, 1, &p, 1);
  CHECK_EQ(p, 1.0f);
}

void test_refused(const std::string& isa) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    CHECK_THROWS(std::invalid_argument, "FASTSOFTMAX_ISA", fastsoftmax::active_isa());
    CHECK_THROWS(std::invalid_argument, "'" + isa + "'", fastsoftmax::active_isa());
    CHECK_THROWS(std::invalid_argument, "scalar", softmax_of_one());
  }
  fastsoftmax::set_active_isa("scalar");  // the way out
  CHECK_EQ(fastsoftmax::active_isa(), "scalar");
  softmax_of_one();
}

}  // namespace

int main() {
  const char* asked = std::getenv("FASTSOFTMAX_ISA");
  const std::string isa = asked && *asked ? asked : fastsoftmax::supported_isas().front();
  CHECK(is_supported("scalar"));
  CHECK(!is_supported("nonsense"));
  if (is_supported(isa)) {
    CHECK_EQ(fastsoftmax::active_isa(), isa);
    softmax_of_one();
  } else {
    test_refused(isa);
  }
  return test::report();
}
