#include "cpu_quota.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <fstream>
#include <sstream>

namespace fastsoftmax {
namespace {

int whole_cpus(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return INT_MAX;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, 1e6));
}

// "max 100000" or "150000 100000"
int quota_v2(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? whole_cpus(quota, period) : INT_MAX;
}

int quota_v1(const std::string& directory) {
  std::ifstream quota_file(directory + "/cpu.cfs_quota_us");
  std::ifstream period_file(directory + "/cpu.cfs_period_us");
  double quota = 0, period = 0;  // a quota of -1 means none
  return quota_file >> quota && period_file >> period ? whole_cpus(quota, period) : INT_MAX;
}

// The tightest along mount + group, mount + its parent, .., mount. A container may see the path of
// its host there; directories that do not exist limit nothing.
int tightest(const std::string& mount, std::string group, int (*quota)(const std::string&)) {
  int limit = quota(mount);
  while (group.size() > 1) {
    limit = std::min(limit, quota(mount + group));
    group.erase(group.rfind('/'));
  }
  return limit;
}

bool lists_cpu(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

}  // namespace

int cpu_quota(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  const std::string mounts = root + "/sys/fs/cgroup";
  int limit = INT_MAX;
  // "hierarchy:controllers:/path"; no controllers: version 2
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/')
      continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      limit = std::min(limit, tightest(mounts, path, quota_v2));
    } else if (lists_cpu(controllers)) {
      limit = std::min(limit, tightest(mounts + "/" + controllers, path, quota_v1));
      limit = std::min(limit, tightest(mounts + "/cpu", path, quota_v1));
    }
  }
  return limit;
}

}  // namespace fastsoftmax
