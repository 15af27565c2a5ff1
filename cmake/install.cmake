# The core as a C++ library: find_package(fastsoftmax) gives fastsoftmax::fastsoftmax.
include(CMakePackageConfigHelpers)

install(TARGETS fastsoftmax EXPORT fastsoftmax ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY cpp/include/fastsoftmax DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fastsoftmax)
install(
  EXPORT fastsoftmax
  NAMESPACE fastsoftmax::
  FILE fastsoftmaxTargets.cmake
  DESTINATION ${config_dir})
configure_package_config_file(cmake/fastsoftmaxConfig.cmake.in fastsoftmaxConfig.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(fastsoftmaxConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fastsoftmaxConfig.cmake
              ${PROJECT_BINARY_DIR}/fastsoftmaxConfigVersion.cmake DESTINATION ${config_dir})
