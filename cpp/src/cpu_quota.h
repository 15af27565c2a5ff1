// The CPU quota of this process's control group, in whole CPUs.
#pragma once

#include <string>

namespace fastsoftmax {

// The tightest quota on the way from the process's group to the root, rounded up; INT_MAX if there
// is none or it cannot be read. Linux cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us). root is the
// directory that holds proc/ and sys/: "/", or a made-up tree in a test.
int cpu_quota(const std::string& root);

}  // namespace fastsoftmax
