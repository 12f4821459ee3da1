# Every third-party look-up, its version floor, and the one message that names what to install.
# Nothing is downloaded here. Order: CMAKE_PREFIX_PATH / *_ROOT, then CMake config, then pkg-config.

find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)

set(_eyespot_missing "")

function(eyespot_pkg_config target requirement)
  if(NOT PkgConfig_FOUND)
    return()
  endif()
  pkg_check_modules(${target} QUIET IMPORTED_TARGET ${requirement})
endfunction()

# FindJPEG reports the ABI (62), not the release, so ask pkg-config; jpeg.cpp checks the header again.
eyespot_pkg_config(EYESPOT_JPEG "libjpeg>=2.1")
if(NOT TARGET PkgConfig::EYESPOT_JPEG)
  list(APPEND _eyespot_missing "libjpeg-turbo >= 2.1")
endif()

eyespot_pkg_config(EYESPOT_SPNG "spng>=0.7")
if(NOT TARGET PkgConfig::EYESPOT_SPNG)
  eyespot_pkg_config(EYESPOT_SPNG "libspng>=0.7")
endif()
if(NOT TARGET PkgConfig::EYESPOT_SPNG)
  list(APPEND _eyespot_missing "libspng >= 0.7")
endif()

eyespot_pkg_config(EYESPOT_WEBP "libwebp>=1.0;libwebpdemux>=1.0")
if(NOT TARGET PkgConfig::EYESPOT_WEBP)
  list(APPEND _eyespot_missing "libwebp >= 1.0 with libwebpdemux")
endif()

find_package(hwy 1.0.3 CONFIG QUIET)
if(TARGET hwy::hwy)
  add_library(eyespot_hwy INTERFACE)
  target_link_libraries(eyespot_hwy INTERFACE hwy::hwy)
else()
  eyespot_pkg_config(EYESPOT_HWY "libhwy>=1.0.3")
  if(TARGET PkgConfig::EYESPOT_HWY)
    add_library(eyespot_hwy INTERFACE)
    target_link_libraries(eyespot_hwy INTERFACE PkgConfig::EYESPOT_HWY)
  else()
    list(APPEND _eyespot_missing "Google Highway >= 1.0.3")
  endif()
endif()

if(NOT PkgConfig_FOUND)
  list(PREPEND _eyespot_missing "pkg-config")
endif()

if(_eyespot_missing)
  list(JOIN _eyespot_missing "\n    " _eyespot_missing)
  message(FATAL_ERROR "eyespot cannot be built, because these are missing:\n"
    "    ${_eyespot_missing}\n"
    "  Debian, Ubuntu:  apt-get install g++ pkg-config libjpeg62-turbo-dev libspng-dev libwebp-dev "
    "libhwy-dev   (Ubuntu: libjpeg-turbo8-dev)\n"
    "  Fedora, RHEL:    dnf install gcc-c++ pkgconf libjpeg-turbo-devel libspng-devel libwebp-devel "
    "highway-devel\n"
    "  macOS:           brew install pkg-config jpeg-turbo libspng webp highway\n"
    "  Libraries in a place of their own: set CMAKE_PREFIX_PATH and PKG_CONFIG_PATH.")
endif()
