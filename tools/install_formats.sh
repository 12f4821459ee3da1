#!/bin/bash
# Installs what the [formats] extra names into the active environment, if it is not there and whole.
# pillow-simd is compiled on the spot; where that fails, or gives one that cannot read TIFF or
# JPEG 2000 or draw text, Pillow reads the same formats, slower, and nothing else changes.
set -euo pipefail
install() { python -m pip --quiet --disable-pip-version-check install "$@"; }
whole() {
  python -c 'import sys; from PIL import features
sys.exit(not all(map(features.check, ("libtiff", "littlecms2", "jpg_2000", "freetype2"))))' 2>/dev/null
}

if whole; then exit 0; fi
requirement=$(python "$(dirname "$0")/requirements.py" formats)
echo "Installing $requirement"
# pip may have kept a build of a time when the libraries were not there: then build it again.
install "$requirement" && { whole || install --force-reinstall --no-deps --no-cache-dir "$requirement"; } || true
if ! whole; then
  echo "$requirement cannot be built whole here: installing Pillow in its place"
  python -m pip --quiet uninstall --yes pillow-simd || true
  install "pillow>=10"
fi
