#!/bin/bash
# Checks that the compiler and the C libraries that eyespot is built with are there; on Debian and
# Ubuntu installs what is missing. Anywhere else, or without the rights, prints one message that
# names the packages and fails. Called by the Makefile; PYTHON names the interpreter to build for.
set -euo pipefail

PYTHON=${PYTHON:-python3}
APT=(g++ pkg-config python3-venv python3-dev libjpeg62-turbo-dev libspng-dev libwebp-dev
     libhwy-dev zlib1g-dev libtiff-dev liblcms2-dev libopenjp2-7-dev libfreetype-dev doctest-dev ccache)
APT_NAMES="${APT[*]}"
DNF_NAMES="gcc-c++ pkgconf python3-devel libjpeg-turbo-devel libspng-devel libwebp-devel highway-devel zlib-devel libtiff-devel lcms2-devel openjpeg2-devel freetype-devel doctest-devel ccache"
BREW_NAMES="pkg-config jpeg-turbo libspng webp highway doctest ccache"

INCLUDES=()  # written with + below: an empty array is "unbound" to the bash of macOS
if command -v brew >/dev/null; then INCLUDES=("-I$(brew --prefix)/include"); fi

compiles() {  # compiles HEADER: the C++ compiler finds it
  echo "#include <$1>" |
    "${CXX:-c++}" -std=c++20 ${INCLUDES[@]+"${INCLUDES[@]}"} -fsyntax-only -x c++ - 2>/dev/null
}

# Fills `missing` with one line for each thing that is not there.
look() {
  missing=()
  if ! command -v "${CXX:-c++}" >/dev/null; then
    missing+=("a C++20 compiler (g++ 12 or newer)")
  else
    compiles concepts || missing+=("a compiler that knows C++20 (g++ 12 or newer)")
    compiles zlib.h || missing+=("zlib's headers")
    compiles hwy/highway.h || missing+=("Google Highway 1.0.3 or newer")
    compiles doctest/doctest.h || missing+=("doctest 2.4.9 or newer")
    compiles "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ||
      missing+=("the headers of $PYTHON")
  fi
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=("venv for $PYTHON")
  if ! command -v pkg-config >/dev/null; then
    missing+=("pkg-config and the libraries that it finds")
  else
    pkg-config --exists 'libjpeg >= 2.1' || missing+=("libjpeg-turbo 2.1 or newer")
    pkg-config --exists 'spng >= 0.7' || pkg-config --exists 'libspng >= 0.7' ||
      missing+=("libspng 0.7 or newer")
    pkg-config --exists 'libwebp >= 1.0' 'libwebpdemux >= 1.0' || missing+=("libwebp 1.0 or newer")
    # pillow-simd builds without them too, but then cannot read most TIFF and JPEG 2000 files, and
    # has no font but a bitmap.
    [[ $(uname -sm) != "Linux x86_64" ]] || pkg-config --exists libtiff-4 lcms2 libopenjp2 freetype2 ||
      missing+=("libtiff, Little CMS 2, OpenJPEG and FreeType, which pillow-simd is built with")
  fi
}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  found=$("$PYTHON" --version 2>/dev/null || echo "not there")
  echo "eyespot needs Python 3.11 or newer; '$PYTHON' is $found." \
       "Name another one: make PYTHON=python3.12" >&2
  exit 1
}

look
if ((${#missing[@]} == 0)); then exit 0; fi

if command -v apt-get >/dev/null; then
  as_root=()
  [[ $(id -u) == 0 ]] || as_root=(sudo)
  if [[ $(id -u) == 0 ]] || command -v sudo >/dev/null; then
    # Ubuntu has libjpeg-turbo under a name of its own.
    grep -qi '^ID=ubuntu' /etc/os-release && APT=("${APT[@]/libjpeg62-turbo-dev/libjpeg-turbo8-dev}")
    echo "Installing system packages: ${APT[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq -y --no-install-recommends "${APT[@]}" </dev/null 2>&1 >/dev/null |
      grep -v '^debconf: delaying package configuration' >&2 || true
    hash -r
    look
    if ((${#missing[@]} == 0)); then exit 0; fi
  fi
fi

{
  echo "eyespot cannot be built yet, because these are missing:"
  printf '    %s\n' "${missing[@]}"
  echo "Install them, then run make again:"
  echo "  Debian, Ubuntu:  apt-get install $APT_NAMES"
  echo "                   (Ubuntu: libjpeg-turbo8-dev)"
  echo "  Fedora, RHEL:    dnf install $DNF_NAMES"
  echo "  macOS:           brew install $BREW_NAMES"
  echo "Libraries in a place of their own: set CXX, CPATH, LIBRARY_PATH and PKG_CONFIG_PATH."
} >&2
exit 1
