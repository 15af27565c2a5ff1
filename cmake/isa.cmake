# The instruction sets: one row each, name | architectures (regex) | flags beyond the baseline.
# The source is cpp/src/isa/<name>.cpp; dispatch.cpp has the question whether a machine runs it.
set(FASTSOFTMAX_ISA_TABLE
    "scalar|.*|"
    "avx2|x86_64|-mavx2 -mfma -mbmi -mbmi2"
    "avx512|x86_64|-mavx2 -mfma -mbmi -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl"
    "avx512vl|x86_64|-mavx2 -mfma -mbmi -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl"
    "amx|x86_64|-mavx2 -mfma -mbmi -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mamx-tile -mamx-int8 -mamx-bf16 -mprfchw"
    "neon|aarch64|")

set(processor ${CMAKE_SYSTEM_PROCESSOR})
if(APPLE AND CMAKE_OSX_ARCHITECTURES)
  set(processor ${CMAKE_OSX_ARCHITECTURES})
  if(processor MATCHES ";")
    message(FATAL_ERROR "Build for one architecture at a time, not for ${processor}")
  endif()
endif()
if(processor MATCHES "^(x86_64|amd64|AMD64)$")
  set(FASTSOFTMAX_ARCHITECTURE x86_64)
elseif(processor MATCHES "^(aarch64|arm64|ARM64)$")
  set(FASTSOFTMAX_ARCHITECTURE aarch64)
else()
  set(FASTSOFTMAX_ARCHITECTURE other)
endif()

# For tests on machines without AVX-512: its kernels on AVX2 through SIMDe (Debian: libsimde-dev).
option(FASTSOFTMAX_EMULATE_AVX512 "Run the avx512 kernels on AVX2, slowly" OFF)
# For tests on machines with AVX-512 and no AMX: tiles in plain loops.
option(FASTSOFTMAX_EMULATE_TILES "Run the amx kernels on AVX-512, slowly" OFF)

# Adds one object library per row that fits this architecture to the target, and tells its sources
# which there are (FASTSOFTMAX_HAS_AVX2, ..). The objects are compiled apart, so that no header
# that others include is ever compiled with the flags of a stronger machine.
function(fastsoftmax_add_isas target)
  foreach(row IN LISTS FASTSOFTMAX_ISA_TABLE)
    string(REPLACE "|" ";" columns "${row};")
    list(GET columns 0 name)
    list(GET columns 1 architectures)
    list(GET columns 2 flags)
    if(NOT FASTSOFTMAX_ARCHITECTURE MATCHES "^(${architectures})$")
      continue()
    endif()
    if(name STREQUAL "amx" AND FASTSOFTMAX_EMULATE_AVX512)
      continue()  # SIMDe has no tiles
    endif()
    set(objects fastsoftmax_isa_${name})
    add_library(${objects} OBJECT src/isa/${name}.cpp)
    target_include_directories(${objects} PRIVATE src)
    target_link_libraries(${objects} PRIVATE fastsoftmax_warnings fastsoftmax_sanitizers)
    set(emulated "")
    if(name MATCHES "^avx512" AND FASTSOFTMAX_EMULATE_AVX512)
      set(emulated AVX512)
      # The ABI of 512-bit arguments is nobody's business: all functions in there are local.
      set(flags "-mavx2 -mfma -mbmi -mbmi2 -Wno-psabi -Wno-ignored-attributes")
    elseif(name STREQUAL "amx" AND FASTSOFTMAX_EMULATE_TILES)
      set(emulated TILES)
    endif()
    if(emulated)
      target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/tests/cpp)
      foreach(each ${objects} ${target})
        target_compile_definitions(${each} PRIVATE FASTSOFTMAX_EMULATE_${emulated}=1)
      endforeach()
    endif()
    separate_arguments(flags)
    # Contraction off: else a compiler may fuse a * b + c in one tile and not in the next, and the
    # same row would get other bits there. The kernels say fma where they mean it.
    target_compile_options(${objects} PRIVATE ${flags} -ffp-contract=off)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # Else GCC sets tiles of accumulators to zero by memset before it unrolls the loops over them,
      # and they stay in memory.
      target_compile_options(${objects} PRIVATE -fno-tree-loop-distribute-patterns)
    endif()
    if(name MATCHES "^(avx512|amx)" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC's own intrinsics header (gcc bug 105593).
      target_compile_options(${objects} PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
    string(TOUPPER ${name} upper)
    target_compile_definitions(${target} PRIVATE FASTSOFTMAX_HAS_${upper}=1)
    set_property(GLOBAL APPEND PROPERTY FASTSOFTMAX_ISA_TARGETS ${objects})
  endforeach()
endfunction()
