# What other native programs need: headers, static libraries, and the package that find_package reads.
# In a wheel all of it lies inside the Python package, where eyespot.get_cmake_dir() finds it.
include(CMakePackageConfigHelpers)

if(SKBUILD)
  set(_include_dir eyespot/include)
  set(_library_dir eyespot/lib)
  set(_package_dir eyespot/cmake)
else()
  include(GNUInstallDirs)
  set(_include_dir "${CMAKE_INSTALL_INCLUDEDIR}")
  set(_library_dir "${CMAKE_INSTALL_LIBDIR}")
  set(_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/eyespot")
endif()

install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/eyespot" DESTINATION "${_include_dir}"
  COMPONENT development FILES_MATCHING PATTERN "*.hpp")

# A set a column, so that whoever asks for the solver alone needs none of the codecs' libraries.
install(TARGETS eyespot_base eyespot_solver EXPORT eyespot-solver
  ARCHIVE DESTINATION "${_library_dir}" COMPONENT development
  INCLUDES DESTINATION "${_include_dir}")
install(TARGETS eyespot_vision eyespot_core EXPORT eyespot-vision
  ARCHIVE DESTINATION "${_library_dir}" COMPONENT development
  INCLUDES DESTINATION "${_include_dir}")
foreach(_column solver vision)
  install(EXPORT eyespot-${_column} NAMESPACE eyespot:: FILE eyespot-${_column}-targets.cmake
    DESTINATION "${_package_dir}" COMPONENT development)
endforeach()

# Before 1.0 a minor version may change the headers.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/eyespotConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/eyespotConfig.cmake"
  "${PROJECT_BINARY_DIR}/eyespotConfigVersion.cmake"
  DESTINATION "${_package_dir}" COMPONENT development)
install(FILES "${CMAKE_CURRENT_LIST_DIR}/Dependencies.cmake" RENAME eyespotDependencies.cmake
  DESTINATION "${_package_dir}" COMPONENT development)
