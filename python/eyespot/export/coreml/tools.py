"""coremltools, imported and used without its noise."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

from eyespot.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["has_native_parts", "load_coremltools", "quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what coremltools logs, warns of and draws on stderr while it works.

    It tells of prediction being absent outside macOS, of other converters' versions and of its
    own progress; none of that concerns who exports. Errors still come as exceptions. Not for use
    from several threads at a time, like coremltools' builder itself.
    """
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def load_coremltools() -> Any:
    """Return the module `coremltools`.

    Raises
    ------
    ExportError
        If it is not installed, or cannot be imported.
    """
    try:
        with quiet():
            import coremltools
    except ImportError as error:
        message = (
            f"Core ML needs coremltools ({error}); install it with: pip install 'eyespot[coreml]'"
        )
        raise ExportError(message, source="coremltools", code="missing_package") from error
    return coremltools


def has_native_parts() -> bool:
    """Whether this coremltools can write the weights of an ML program.

    Its wheels can (Linux x86-64 and macOS); what pip builds from the source archive elsewhere
    cannot.
    """
    load_coremltools()
    try:
        from coremltools import libmilstoragepython
    except ImportError:
        return False
    return hasattr(libmilstoragepython, "_BlobStorageWriter")
