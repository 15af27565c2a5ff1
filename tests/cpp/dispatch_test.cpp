// Which instruction sets there are, forcing one, and the reading of the processor's registers.
#include "dispatch.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "check.h"
#include "fastsoftmax/isa.h"
#include "for_each_isa.h"

namespace {

void test_list() {
  const auto all = fastsoftmax::supported_isas();
  CHECK_EQ(all.back(), "scalar");
  // Of the two that AVX-512 has, which is the better depends on the machine.
  const bool halves_first = all.front() == "avx512vl";
  std::vector<std::string> best_first = {"amx",
                                         halves_first ? "avx512vl" : "avx512",
                                         halves_first ? "avx512" : "avx512vl",
                                         "avx2",
                                         "neon",
                                         "scalar"};
#if FASTSOFTMAX_EMULATE_TILES
  std::rotate(best_first.begin(), best_first.begin() + 1, best_first.end() - 2);
#endif
  std::vector<std::string> sorted;
  for (const auto& isa : best_first) {
    if (std::find(all.begin(), all.end(), isa) != all.end()) sorted.push_back(isa);
  }
  CHECK(sorted == all);
}

// An unknown name throws, names the choices and changes nothing.
void test_unknown_name() {
  test::for_each_isa([] {
    const std::string before = fastsoftmax::active_isa();
    const auto* kernels = &fastsoftmax::kernels();
    for (const char* wrong : {"", "AVX2", "avx", "sse2", "scalar ", "nonsense"}) {
      for (const auto& choice : fastsoftmax::supported_isas()) {
        CHECK_THROWS(std::invalid_argument, choice, fastsoftmax::set_active_isa(wrong));
      }
      const std::string quoted = std::string(1, '\'').append(wrong).append(1, '\'');
      CHECK_THROWS(std::invalid_argument, quoted, fastsoftmax::set_active_isa(wrong));
    }
    CHECK_EQ(fastsoftmax::active_isa(), before);
    CHECK(&fastsoftmax::kernels() == kernels);
  });
}

// No two instruction sets share a function: each runs what it says. But for avx512vl, which is
// avx512 with other blocks of zeros, and for amx, which is avx512 with tiles.
void test_tables_differ() {
  std::vector<fastsoftmax::KernelTable> tables;
  test::for_each_isa([&] {
    const std::string isa = fastsoftmax::active_isa();
    const bool again = isa == "avx512vl" || isa == "amx";
    CHECK_EQ(fastsoftmax::kernels().bytes.update != nullptr, isa == "amx");
    for (const auto& other : tables) CHECK(again || test::differs(fastsoftmax::kernels(), other));
    if (!again) tables.push_back(fastsoftmax::kernels());
  });
}

#if defined(__x86_64__)
using fastsoftmax::CpuRegisters;

// The bits from Intel's manual (CPUID in volume 2; XCR0 in volume 1, 13.3), written down anew.
constexpr std::uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28;
constexpr std::uint32_t kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30;
constexpr std::uint32_t kVl = 1u << 31, kBmi1 = 1u << 3, kBmi2 = 1u << 8;
constexpr std::uint32_t kLeaf7 = kAvx2 | kBmi1 | kBmi2 | kF | kDq | kBw | kVl;
constexpr std::uint64_t kXmm = 2, kYmm = 4, kMasks = 0x20, kZmmLow = 0x40, kZmmHigh = 0x80;
constexpr std::uint32_t kTiles = 1u << 24, kTilesOfBytes = 1u << 25, kTilesOfBf16 = 1u << 22;
constexpr std::uint64_t kTileConfig = 1u << 17, kTileData = 1u << 18;

void test_every_combination_of_bits() {
  const std::uint32_t leaf1[] = {kFma, kOsxsave, kAvx},
                      leaf7[] = {kAvx2, kBmi1, kBmi2, kF, kDq, kBw, kVl};
  const std::uint64_t xcr0[] = {kXmm, kYmm, kMasks, kZmmLow, kZmmHigh};
  constexpr unsigned kAvx2Needs = 0b00011'0000111'111, kAvx512Needs = 0b11111'1111111'111;
  for (unsigned chosen = 0; chosen < 1u << 15; ++chosen) {
    for (const bool others : {false, true}) {  // the bits that do not matter, all off and all on
      CpuRegisters cpu{};
      if (others) {
        cpu = {~0u, ~0u, ~(kFma | kOsxsave | kAvx), ~kLeaf7, ~0u, ~0xe6ull};
      }
      for (unsigned i = 0; i < 3; ++i) cpu.leaf1_ecx |= chosen >> i & 1 ? leaf1[i] : 0;
      for (unsigned i = 0; i < 7; ++i) cpu.leaf7_ebx |= chosen >> (3 + i) & 1 ? leaf7[i] : 0;
      for (unsigned i = 0; i < 5; ++i) cpu.xcr0 |= chosen >> (10 + i) & 1 ? xcr0[i] : 0;
      CHECK_EQ(has_avx2(cpu), (chosen & kAvx2Needs) == kAvx2Needs);
      CHECK_EQ(has_avx512(cpu), chosen == kAvx512Needs);
      CHECK_EQ(has_amx(cpu), chosen == kAvx512Needs && others);
    }
  }
}

void test_every_combination_of_bits_of_tiles() {
  for (unsigned chosen = 0; chosen < 1u << 5; ++chosen) {
    CpuRegisters cpu{0,
                     0,
                     kFma | kOsxsave | kAvx,
                     kLeaf7,
                     (chosen & 1 ? kTiles : 0) | (chosen & 2 ? kTilesOfBytes : 0) |
                         (chosen & 16 ? kTilesOfBf16 : 0),
                     0xe6 | (chosen & 4 ? kTileConfig : 0) | (chosen & 8 ? kTileData : 0)};
    CHECK_EQ(has_amx(cpu), chosen == 0x1f);
    cpu.leaf7_ebx &= ~kVl;
    CHECK(!has_amx(cpu));
  }
}

// Zen 4 and its maker; the other family of AMD, and another maker. (Family and model as in AMD's
// manual, volume 3, appendix E.)
void test_halves() {
  CpuRegisters cpu{};
  cpu.leaf0_ebx = 0x68747541;  // "Auth"
  cpu.leaf1_eax = 0x00a10f11;
  CHECK(halves_512_bits(cpu));
  cpu.leaf1_eax = 0x00b40f40;  // Zen 5
  CHECK(!halves_512_bits(cpu));
  cpu.leaf1_eax = 0x00a10f11;
  cpu.leaf0_ebx = 0x756e6547;  // "Genu"
  CHECK(!halves_512_bits(cpu));
}

// The compiler's own run-time asks the same questions.
void test_this_machine() {
  const auto all = fastsoftmax::supported_isas();
  const auto has = [&](const char* isa) {
    return std::find(all.begin(), all.end(), isa) != all.end();
  };
  CHECK_EQ(has("avx2"), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                            __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"));
#if !FASTSOFTMAX_EMULATE_AVX512
  CHECK_EQ(has("avx512"), __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                              __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl"));
#else
  CHECK_EQ(has("avx512"), has("avx2"));
#endif
  CHECK_EQ(has("avx512vl"), has("avx512"));
}
#else
void test_halves() {}
void test_every_combination_of_bits() {}
void test_every_combination_of_bits_of_tiles() {}
void test_this_machine() {}
#endif

}  // namespace

int main() {
  test_list();
  test_unknown_name();
  test_tables_differ();
  test_every_combination_of_bits();
  test_every_combination_of_bits_of_tiles();
  test_halves();
  test_this_machine();
  return test::report();
}
