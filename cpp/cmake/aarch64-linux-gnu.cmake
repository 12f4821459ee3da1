# Cross-compiles for 64-bit Arm on Debian and Ubuntu, with the libraries of that architecture from
# the same package manager; tests run under QEMU. The preset `arm64` uses it, `make arm64-test` too.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# `max` has every extension that QEMU knows, so that Highway has its choice of targets.
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64-static;-cpu;max")

# Not the libraries of the building machine.
set(ENV{PKG_CONFIG_LIBDIR} "/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig")
