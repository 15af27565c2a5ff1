# Cross-compilation for AArch64 on Debian or Ubuntu (g++-aarch64-linux-gnu, qemu-user):
#   cmake -B build/neon --toolchain cmake/toolchains/aarch64-linux-gnu.cmake
#   cmake --build build/neon && ctest --test-dir build/neon
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
