"""Where the files lie that other native programs build against.

The headers, the static libraries and their CMake package come with the wheel::

    cmake -Deyespot_DIR="$(python -c 'import eyespot; print(eyespot.get_cmake_dir())')" ...
"""

from __future__ import annotations

import sys
from pathlib import Path

from eyespot.errors import EyespotError

__all__ = ["get_cmake_dir", "get_include"]


def get_include() -> str:
    """Return the folder to pass to a C++ compiler as an include path.

    It holds ``eyespot/softmax_regression.hpp`` and the other public headers, which include nothing
    but each other and the standard library of C++20. Programs built with CMake need only
    :func:`get_cmake_dir`.

    Returns
    -------
    str
        Absolute path of an existing folder.

    Raises
    ------
    EyespotError
        The headers are not installed, because the package runs from a source tree.
    """
    return _find("include", "eyespot/softmax_regression.hpp", "set of C++ headers")


def get_cmake_dir() -> str:
    """Return the folder that CMake's ``find_package(eyespot CONFIG)`` is to be given.

    Pass it as ``-Deyespot_DIR=...``. The package has the targets ``eyespot::solver``,
    ``eyespot::vision`` and, for both, ``eyespot::core``.

    Returns
    -------
    str
        Absolute path of an existing folder.

    Raises
    ------
    EyespotError
        The package's CMake files are not installed, because it runs from a source tree.
    """
    return _find("cmake", "eyespotConfig.cmake", "CMake package")


def _find(folder: str, file: str, what: str) -> str:
    # An editable install spreads the package over two folders.
    places = [Path(place).resolve() for place in sys.modules["eyespot"].__path__]
    for place in places:
        if (place / folder / file).is_file():
            return str(place / folder)
    looked = " or ".join(str(place / folder) for place in places)
    message = (
        f"eyespot's {what} is not in {looked}: a build in the source tree does not install it. "
        "Install the package (pip install .), or the core alone (cmake --install BUILD "
        "--component development --prefix PREFIX)."
    )
    raise EyespotError(message, source=looked, code="not_installed")
