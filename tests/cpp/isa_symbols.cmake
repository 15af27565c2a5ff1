# Fails if an object of an instruction set exports anything but what fills its tables. A weak symbol
# in it could be the one that the linker keeps, and crash machines without that instruction set.
#   cmake -D NM=nm -D OBJECT=avx2.cpp.o -D ISA=avx2 -P isa_symbols.cmake
execute_process(COMMAND ${NM} -C --defined-only --extern-only ${OBJECT} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${symbols}" symbols)
set(expected "^([0-9a-f]+ T fastsoftmax::fill_${ISA}(_reduced)?\\(fastsoftmax::KernelTable&\\)\n?)+$")
set(fills "fastsoftmax::fill_${ISA}\\(")
if(NOT symbols MATCHES "${expected}" OR NOT symbols MATCHES "${fills}")
  message(FATAL_ERROR "${OBJECT} must export fill_${ISA}(_reduced)(KernelTable&) alone, but it has\n${symbols}")
endif()
