"""Writing files so that a reader, a crash or a full disk never meets half of one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_atomically"]

_STALE_S = 3600.0  # no write lasts this long: what left such a file behind was killed


def write_atomically(
    path: str | os.PathLike[str], data: bytes | Sequence[bytes | memoryview]
) -> None:
    """Write `data` to `path`: to a temporary file beside it, synced, then renamed.

    Parameters
    ----------
    path : str or path
        The file to make or to replace. A symbolic link stays, and what it points to is replaced.
        A device or a pipe, such as ``/dev/stdout``, is written to; it cannot be replaced.
    data : bytes, or a sequence of bytes or memoryviews
        All of the file, or its parts in their order.

    Raises
    ------
    ExportError
        If the file cannot be written. A file that was there is then as it was.
    """
    parts = [data] if isinstance(data, bytes) else data
    if _is_special(path):
        _write_through(path, parts)
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        message = f"{path}: is a folder; give the name of a file"
        raise ExportError(message, source=str(path), code="io")
    if not target.parent.is_dir():
        message = f"{path}: the folder {target.parent} does not exist"
        raise ExportError(message, source=str(path), code="io")
    prefix = f".{target.name[:64]}."
    _remove_stale(target.parent, prefix)
    temporary = target.with_name(f"{prefix}{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        _remove(temporary)
        state = "the file that was there is unchanged" if target.exists() else "nothing was written"
        reason = error.strerror or str(error)
        needed = sum(memoryview(part).nbytes for part in parts)
        message = f"{path}: could not be written ({reason}, {needed:,} bytes needed); {state}"
        raise ExportError(message, source=str(path), code="io") from error
    except BaseException:  # Ctrl-C: leave nothing behind
        _remove(temporary)
        raise
    _sync_folder(target.parent)


def _is_special(path: str | os.PathLike[str]) -> bool:
    """Whether `path` leads to a device, a pipe or a socket, which a rename would destroy."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - also takes text
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_through(path: str | os.PathLike[str], parts: Sequence[bytes | memoryview]) -> None:
    try:
        with Path(path).open("wb") as file:
            file.writelines(parts)
    except OSError as error:
        message = f"{path}: could not be written ({error.strerror or error})"
        raise ExportError(message, source=str(path), code="io") from error


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove the temporary files of earlier writes that were killed; younger ones may be in use."""
    name = re.compile(re.escape(prefix) + r"[0-9a-f]{12}\.tmp")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not name.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_S:
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
