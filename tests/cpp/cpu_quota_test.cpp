// cpu_quota over made-up /proc and /sys trees.
#include "cpu_quota.h"

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "check.h"

namespace {

namespace fs = std::filesystem;

struct Tree {
  const char* name;
  int expected;
  std::vector<std::pair<std::string, std::string>> files;  // path below the root, content
};

const std::string kProc = "proc/self/cgroup", kSys = "sys/fs/cgroup/";

const std::vector<Tree> kTrees = {
    {"no files at all", INT_MAX, {}},
    {"empty /proc file", INT_MAX, {{kProc, ""}}},
    {"no limit files", INT_MAX, {{kProc, "0::/\n"}}},
    // Version 2
    {"v2 max", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "max 100000\n"}}},
    {"v2 two", 2, {{kProc, "0::/\n"}, {kSys + "cpu.max", "200000 100000\n"}}},
    {"v2 1.5 is rounded up", 2, {{kProc, "0::/a\n"}, {kSys + "a/cpu.max", "150000 100000\n"}}},
    {"v2 a tenth", 1, {{kProc, "0::/a\n"}, {kSys + "a/cpu.max", "10000 100000\n"}}},
    {"v2 other period", 3, {{kProc, "0::/a\n"}, {kSys + "a/cpu.max", "150000 50000\n"}}},
    {"v2 nested, tighter parent",
     2,
     {{kProc, "0::/a/b/c\n"},
      {kSys + "a/cpu.max", "200000 100000\n"},
      {kSys + "a/b/cpu.max", "max 100000\n"},
      {kSys + "a/b/c/cpu.max", "800000 100000\n"}}},
    {"v2 nested, tighter child",
     3,
     {{kProc, "0::/a/b\n"},
      {kSys + "a/cpu.max", "800000 100000\n"},
      {kSys + "a/b/cpu.max", "300000 100000\n"}}},
    {"v2 limit at the root of a container",
     4,
     {{kProc, "0::/\n"}, {kSys + "cpu.max", "400000 100000\n"}}},
    {"v2 path of the host, which the container cannot see",
     4,
     {{kProc, "0::/kubepods/pod1\n"}, {kSys + "cpu.max", "400000 100000\n"}}},
    {"v2 without an end of line", 2, {{kProc, "0::/a"}, {kSys + "a/cpu.max", "200000 100000"}}},
    {"v2 sibling's limit", INT_MAX, {{kProc, "0::/a\n"}, {kSys + "b/cpu.max", "100000 100000\n"}}},
    // Garbage limits nothing.
    {"v2 garbage", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "a lot\n"}}},
    {"v2 empty", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", ""}}},
    {"v2 no period", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "200000\n"}}},
    {"v2 period 0", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "200000 0\n"}}},
    {"v2 quota 0", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "0 100000\n"}}},
    {"v2 negative", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "-1 100000\n"}}},
    {"v2 nan", INT_MAX, {{kProc, "0::/\n"}, {kSys + "cpu.max", "nan 100000\n"}}},
    {"v2 huge", 1000000, {{kProc, "0::/\n"}, {kSys + "cpu.max", "1e300 1\n"}}},
    {"garbage lines in /proc",
     2,
     {{kProc, "\n:\n::\nabc\n0:\n0::\n0::a\n0::/a\n"}, {kSys + "a/cpu.max", "200000 100000\n"}}},
    // Version 1
    {"v1 two",
     2,
     {{kProc, "4:cpu,cpuacct:/a\n"},
      {kSys + "cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n"},
      {kSys + "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1 under the name cpu",
     2,
     {{kProc, "4:cpuacct,cpu:/a\n"},
      {kSys + "cpu/a/cpu.cfs_quota_us", "150000\n"},
      {kSys + "cpu/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1 no limit",
     INT_MAX,
     {{kProc, "4:cpu:/a\n"},
      {kSys + "cpu/a/cpu.cfs_quota_us", "-1\n"},
      {kSys + "cpu/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1 no period",
     INT_MAX,
     {{kProc, "4:cpu:/a\n"}, {kSys + "cpu/a/cpu.cfs_quota_us", "100000\n"}}},
    {"v1 nested, tighter parent",
     1,
     {{kProc, "4:cpu:/a/b\n"},
      {kSys + "cpu/a/cpu.cfs_quota_us", "100000\n"},
      {kSys + "cpu/a/cpu.cfs_period_us", "100000\n"},
      {kSys + "cpu/a/b/cpu.cfs_quota_us", "400000\n"},
      {kSys + "cpu/a/b/cpu.cfs_period_us", "100000\n"}}},
    {"v1 other controllers",
     INT_MAX,
     {{kProc, "3:cpuset:/a\n5:cpuacct:/a\n"},
      {kSys + "cpuset/a/cpu.cfs_quota_us", "100000\n"},
      {kSys + "cpuset/a/cpu.cfs_period_us", "100000\n"},
      {kSys + "cpuacct/a/cpu.cfs_quota_us", "100000\n"},
      {kSys + "cpuacct/a/cpu.cfs_period_us", "100000\n"}}},
    // Both, as on hybrid systems: the tighter.
    {"hybrid",
     2,
     {{kProc, "12:memory:/x\n4:cpu,cpuacct:/a\n1:name=systemd:/y\n0::/z\n"},
      {kSys + "cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n"},
      {kSys + "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
      {kSys + "z/cpu.max", "300000 100000\n"}}},
};

void write(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

}  // namespace

int main() {
  std::string root = (fs::temp_directory_path() / "fastsoftmax_quota_XXXXXX").string();
  CHECK(mkdtemp(root.data()) != nullptr);
  for (const Tree& tree : kTrees) {
    test::context = tree.name;
    fs::remove_all(root);
    for (const auto& [path, content] : tree.files) write(fs::path(root) / path, content);
    CHECK_EQ(fastsoftmax::cpu_quota(root), tree.expected);
  }
  fs::remove_all(root);
  CHECK(fastsoftmax::cpu_quota("/") >= 1);  // this machine's own
  return test::report();
}
