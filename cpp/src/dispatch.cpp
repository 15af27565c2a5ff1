// The instruction sets in order of preference, the question which of them this machine runs, and
// the choice. They are named here, in cmake/isa.cmake, and where kernel_table.h declares what fills
// the tables.
#include "dispatch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fastsoftmax/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastsoftmax {
namespace {

#if defined(__x86_64__)
CpuRegisters read_cpu_registers() {
  CpuRegisters cpu{};
  std::uint32_t eax, ebx, ecx, edx;
  if (__get_cpuid(0, &eax, &ebx, &ecx, &edx)) cpu.leaf0_ebx = ebx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) cpu.leaf1_eax = eax, cpu.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    cpu.leaf7_ebx = ebx, cpu.leaf7_edx = edx;
  }
  if (cpu.leaf1_ecx & bit_OSXSAVE) {
    std::uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    cpu.xcr0 = (std::uint64_t{high} << 32) | low;
  }
  return cpu;
}
bool machine_has_avx2() { return has_avx2(read_cpu_registers()); }
#if defined(FASTSOFTMAX_EMULATE_AVX512)
bool machine_has_avx512() { return machine_has_avx2(); }
#else
bool machine_has_avx512() { return has_avx512(read_cpu_registers()); }
#endif
#if defined(FASTSOFTMAX_EMULATE_TILES)
bool machine_has_amx() { return machine_has_avx512(); }
#elif defined(FASTSOFTMAX_HAS_AMX)
// Linux gives the 8 KB of a thread's tiles to programs that ask for them, and from then on refuses
// them signal stacks that have no room for those. So it refuses now if one has none.
bool machine_has_amx() {
  if (!has_amx(read_cpu_registers())) return false;
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif
#endif
bool always() { return true; }

// Of two that a machine has, the one that comes later here; but for this one, which is the faster
// only on some machines.
bool prefers_avx512vl() {
#if defined(__x86_64__)
  return halves_512_bits(read_cpu_registers());
#else
  return false;
#endif
}

// fill overrides what it has in a copy of the table of a weaker set, and fill_reduced, if it is
// there, in one more copy what is faster in reduced precision.
struct Row {
  const char* name;
  const char* weaker;
  bool (*machine_has)();
  void (*fill)(KernelTable&);
  void (*fill_reduced)(KernelTable&) = nullptr;
};

// Weakest first.
constexpr Row kRows[] = {
    {"scalar", "", always, fill_scalar},
#if defined(FASTSOFTMAX_HAS_AVX2)
    {"avx2", "scalar", machine_has_avx2, fill_avx2},
#endif
#if defined(FASTSOFTMAX_HAS_AVX512)
    {"avx512", "avx2", machine_has_avx512, fill_avx512},
#endif
#if defined(FASTSOFTMAX_HAS_AVX512VL)
    {"avx512vl", "avx512", machine_has_avx512, fill_avx512vl},
#endif
#if defined(FASTSOFTMAX_HAS_AMX)
    {"amx", "avx512", machine_has_amx, fill_amx, fill_amx_reduced},
#endif
#if defined(FASTSOFTMAX_HAS_NEON)
    {"neon", "scalar", always, fill_neon},
#endif
};

struct Candidate {
  std::string name;
  KernelTable table, reduced;
};

// Built once; the addresses stay.
const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> all = [] {
    std::vector<Candidate> supported;
    const auto named = [&](const char* name) {
      return std::find_if(supported.begin(), supported.end(),
                          [&](const Candidate& c) { return c.name == name; });
    };
    for (const Row& row : kRows) {
      if (!row.machine_has()) continue;
      const auto weaker = named(row.weaker);
      KernelTable table = weaker == supported.end() ? KernelTable{} : weaker->table;
      row.fill(table);
      supported.push_back({row.name, table, table});
      if (row.fill_reduced) row.fill_reduced(supported.back().reduced);
    }
    const auto vl = named("avx512vl");
    if (vl != supported.end() && !prefers_avx512vl()) std::iter_swap(vl - 1, vl);
#if defined(FASTSOFTMAX_EMULATE_TILES)
    // Never the first choice.
    const auto amx = named("amx");
    if (amx != supported.end()) std::rotate(named("avx2"), amx, amx + 1);
#endif
    return supported;
  }();
  return all;
}

const Candidate& find(const std::string& name, const char* asked_by) {
  for (const Candidate& candidate : candidates()) {
    if (candidate.name == name) return candidate;
  }
  std::string message = std::string(asked_by) + "'" + name +
                        "' is not an instruction set that this build and this machine support; " +
                        "choose one of";
  for (const std::string& supported : supported_isas()) message += " " + supported;
  throw std::invalid_argument(message);
}

const Candidate& first_choice() {
  const char* forced = std::getenv("FASTSOFTMAX_ISA");
  return forced && *forced ? find(forced, "FASTSOFTMAX_ISA: ") : candidates().back();
}

std::atomic<const Candidate*> active_candidate{nullptr};

const Candidate& active() {
  const Candidate* candidate = active_candidate.load(std::memory_order_acquire);
  if (candidate) return *candidate;
  // Two threads that come here at once choose the same.
  const Candidate& choice = first_choice();
  active_candidate.store(&choice, std::memory_order_release);
  return choice;
}

}  // namespace

#if defined(__x86_64__)
namespace {
bool os_saves(const CpuRegisters& cpu, std::uint64_t state) {
  return (cpu.leaf1_ecx & bit_OSXSAVE) && (cpu.xcr0 & state) == state;
}
}  // namespace

bool has_avx2(const CpuRegisters& cpu) {
  constexpr std::uint64_t kXmmYmm = 0x6;
  constexpr std::uint32_t kFeatures = bit_AVX2 | bit_BMI | bit_BMI2;
  return os_saves(cpu, kXmmYmm) && (cpu.leaf1_ecx & bit_AVX) && (cpu.leaf1_ecx & bit_FMA) &&
         (cpu.leaf7_ebx & kFeatures) == kFeatures;
}

bool halves_512_bits(const CpuRegisters& cpu) {
  constexpr std::uint32_t kAuth = 0x68747541;  // of "AuthenticAMD"
  const std::uint32_t family = ((cpu.leaf1_eax >> 8) & 0xf) + ((cpu.leaf1_eax >> 20) & 0xff);
  return cpu.leaf0_ebx == kAuth && family == 0x19;
}

bool has_avx512(const CpuRegisters& cpu) {
  constexpr std::uint64_t kXmmYmmMaskZmm = 0xe6;
  constexpr std::uint32_t kFeatures = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  return has_avx2(cpu) && os_saves(cpu, kXmmYmmMaskZmm) && (cpu.leaf7_ebx & kFeatures) == kFeatures;
}

bool has_amx(const CpuRegisters& cpu) {
  constexpr std::uint64_t kTiles = 0x60000;  // their configuration and their data
  constexpr std::uint32_t kFeatures = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, -TILE, -INT8
  return has_avx512(cpu) && os_saves(cpu, kTiles) && (cpu.leaf7_edx & kFeatures) == kFeatures;
}
#endif

const KernelTable& kernels(Precision precision) {
  return precision == Precision::kFull ? active().table : active().reduced;
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (auto c = candidates().rbegin(); c != candidates().rend(); ++c) names.push_back(c->name);
  return names;
}

std::string active_isa() { return active().name; }

void set_active_isa(const std::string& name) {
  active_candidate.store(&find(name, ""), std::memory_order_release);
}

}  // namespace fastsoftmax
