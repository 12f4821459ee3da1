# Every third-party look-up, its version floor, and the one message that names what to install.
# Nothing is downloaded here. Order: CMAKE_PREFIX_PATH / *_ROOT, then CMake config, then pkg-config.
#
# This file serves twice: eyespot's own build includes it, and it is installed beside
# eyespotConfig.cmake, so that programs that link the libraries are held to the same floors.

find_package(Threads QUIET)
find_package(PkgConfig QUIET)

function(eyespot_pkg_config target requirement)
  if(PkgConfig_FOUND)
    pkg_check_modules(${target} QUIET IMPORTED_TARGET ${requirement})
  endif()
endfunction()

# Finds what the solver column, or with `vision` both columns, are linked with. Sets `missing` in the
# caller to a list of what is not there; makes eyespot::hwy and PkgConfig::EYESPOT_{JPEG,SPNG,WEBP}.
function(eyespot_find_dependencies missing)
  set(absent "")
  if(NOT TARGET Threads::Threads)
    list(APPEND absent "a thread library")
  endif()

  if(NOT TARGET eyespot::hwy)
    find_package(hwy 1.0.3 CONFIG QUIET)
    set(highway hwy::hwy)
    if(NOT TARGET hwy::hwy)
      eyespot_pkg_config(EYESPOT_HWY "libhwy>=1.0.3")
      set(highway PkgConfig::EYESPOT_HWY)
    endif()
    if(TARGET ${highway})
      add_library(eyespot::hwy INTERFACE IMPORTED)
      target_link_libraries(eyespot::hwy INTERFACE ${highway})
    else()
      list(APPEND absent "Google Highway >= 1.0.3")
    endif()
  endif()

  if("vision" IN_LIST ARGN)
    # FindJPEG reports the ABI (62), not the release: ask pkg-config; jpeg.cpp checks the header again.
    eyespot_pkg_config(EYESPOT_JPEG "libjpeg>=2.1")
    if(NOT TARGET PkgConfig::EYESPOT_JPEG)
      list(APPEND absent "libjpeg-turbo >= 2.1")
    endif()
    eyespot_pkg_config(EYESPOT_SPNG "spng>=0.7")
    if(NOT TARGET PkgConfig::EYESPOT_SPNG)
      eyespot_pkg_config(EYESPOT_SPNG "libspng>=0.7")
    endif()
    if(NOT TARGET PkgConfig::EYESPOT_SPNG)
      list(APPEND absent "libspng >= 0.7")
    endif()
    eyespot_pkg_config(EYESPOT_WEBP "libwebp>=1.0;libwebpdemux>=1.0")
    if(NOT TARGET PkgConfig::EYESPOT_WEBP)
      list(APPEND absent "libwebp >= 1.0 with libwebpdemux")
    endif()
  endif()

  if(absent AND NOT PkgConfig_FOUND)
    list(PREPEND absent "pkg-config")
  endif()
  set(${missing} "${absent}" PARENT_SCOPE)
endfunction()

# What to tell who lacks the things in `absent`; `what` says what cannot be done without them.
function(eyespot_explain_missing result what absent)
  list(JOIN absent "\n    " absent)
  set(${result} "${what}, because these are missing:\n"
    "    ${absent}\n"
    "  Debian, Ubuntu:  apt-get install g++ pkg-config libjpeg62-turbo-dev libspng-dev libwebp-dev "
    "libhwy-dev   (Ubuntu: libjpeg-turbo8-dev)\n"
    "  Fedora, RHEL:    dnf install gcc-c++ pkgconf libjpeg-turbo-devel libspng-devel libwebp-devel "
    "highway-devel\n"
    "  macOS:           brew install pkg-config jpeg-turbo libspng webp highway\n"
    "  Libraries in a place of their own: set CMAKE_PREFIX_PATH and PKG_CONFIG_PATH.")
  string(JOIN "" ${result} ${${result}})
  set(${result} "${${result}}" PARENT_SCOPE)
endfunction()
