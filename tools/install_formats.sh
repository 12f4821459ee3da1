#!/bin/bash
# Installs what the [formats] extra names into the active environment. pillow-simd is compiled on
# the spot; where that fails, Pillow reads the same formats, slower, and nothing else changes.
set -euo pipefail
requirement=$(python "$(dirname "$0")/requirements.py" formats)
echo "Installing $requirement"
python -m pip --quiet --disable-pip-version-check install "$requirement" || {
  echo "$requirement could not be built here: installing Pillow in its place"
  python -m pip --quiet --disable-pip-version-check install "pillow>=10"
}
