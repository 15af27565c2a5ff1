# Fails if an object of an instruction set exports anything but its fill_<isa>. A weak symbol in it
# could be the one that the linker keeps, and crash machines without that instruction set.
#   cmake -D NM=nm -D OBJECT=avx2.cpp.o -D ISA=avx2 -P isa_symbols.cmake
execute_process(COMMAND ${NM} -C --defined-only --extern-only ${OBJECT} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${symbols}" symbols)
set(expected "^[0-9a-f]+ T fastsoftmax::fill_${ISA}\\(fastsoftmax::KernelTable&\\)$")
if(NOT symbols MATCHES "${expected}")
  message(FATAL_ERROR "${OBJECT} must export fill_${ISA}(KernelTable&) alone, but it has\n${symbols}")
endif()
