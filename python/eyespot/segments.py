"""The files of a feature store: rows of floats that are only ever added to, and what they are of.

A segment is a pair of files with one writer. ``NAME.rows`` holds float32 rows, little-endian, one
after the other. ``NAME.index`` holds for each row, in the same order, the 32 bytes of its key and
16 bytes of checksum, the start of SHA-256 over the key and the row. A row is written before its
entry of the index, so of a writer that was killed, whole rows remain and nothing else counts: what
stands behind the last whole entry is passed over, and an entry whose row the disk has lost or
changed fails its checksum.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from eyespot.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["KEY", "Segment", "SegmentWriter", "failure", "segments_of"]

#: 32 bytes; NumPy compares them as they are, because all have the same length.
KEY: Final = np.dtype("S32")
_KEY_BYTES = 32
_CHECK_BYTES = 16
_ENTRY: Final = np.dtype([("key", KEY), ("check", f"V{_CHECK_BYTES}")])
_ROWS, _INDEX = ".rows", ".index"


def failure(path: Path, error: OSError, what: str) -> StoreError:
    """Return an error of the file system with the remedy, for someone who has a store."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "; free some space, or use a store on another disk: what it holds by now is kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "; give yourself permission, or copy the store to a folder of your own"
    else:
        remedy = ""
    return StoreError(f"{path}: cannot be {what} ({reason}){remedy}", source=str(path), code="io")


class Segment:
    """A segment as it was when it was opened; what is added later does not show.

    Parameters
    ----------
    index : Path
        The file of the index.
    n_features : int
        Numbers in a row.

    Attributes
    ----------
    keys : ndarray of S32
        Of the rows, in their order.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """

    def __init__(self, index: Path, n_features: int) -> None:
        self.index = index
        self._row_bytes = 4 * n_features
        rows = index.with_suffix(_ROWS)
        try:
            entries = index.read_bytes()  # first, since a row is there before its entry
            count = min(len(entries) // _ENTRY.itemsize, rows.stat().st_size // self._row_bytes)
            self._rows: NDArray[np.uint8] = np.empty((0, self._row_bytes), np.uint8)
            if count:
                shape = (count, self._row_bytes)
                self._rows = np.memmap(rows, np.uint8, "r", shape=shape)
        except OSError as error:
            raise failure(index, error, "read") from error
        whole = np.frombuffer(entries, _ENTRY, count)
        self.keys: NDArray[np.bytes_] = whole["key"]
        self._checks = whole["check"].tobytes()
        self._key_bytes = self.keys.tobytes()

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, row: int) -> bytes:
        """Return all 32 bytes of the key of a row; NumPy would cut zeros off."""
        return self._key_bytes[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]

    def row(self, row: int) -> bytes | None:
        """Return the bytes of a row; ``None`` if they are not those that were written."""
        data = self._rows[row].tobytes()
        check = self._checks[row * _CHECK_BYTES : (row + 1) * _CHECK_BYTES]
        return data if _checksum(self.key(row), data) == check else None

    @property
    def size_bytes(self) -> int:
        """Bytes of both files, as they are now."""
        files = (self.index, self.index.with_suffix(_ROWS))
        return sum(file.stat().st_size for file in files if file.exists())

    @property
    def last_use_s(self) -> float:
        """When a row was last written or read, give or take an hour; in seconds since 1970."""
        with contextlib.suppress(OSError):
            return self.index.stat().st_mtime
        return 0.0

    def set_last_use(self, time_s: float) -> None:
        """Note when a row was last used, where the file system lets us."""
        with contextlib.suppress(OSError):
            os.utime(self.index, (time_s, time_s))

    @contextlib.contextmanager
    def unused(self) -> Iterator[bool]:
        """Whether no process writes to it; none begins to, because each writes to its own."""
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self.index.open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                free = False
            else:
                free = True
            yield free

    def remove(self) -> None:
        """Remove both files; who reads them may go on.

        Raises
        ------
        StoreError
            If that is not allowed.
        """
        for file in (self.index, self.index.with_suffix(_ROWS)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise failure(file, error, "removed") from error


class SegmentWriter:
    """Makes a segment of its own in a folder, when there is a first row for it.

    Parameters
    ----------
    folder : Path
        Where.
    n_features : int
        Numbers in a row.
    """

    def __init__(self, folder: Path, n_features: int) -> None:
        self.index = folder / f"{secrets.token_hex(8)}{_INDEX}"
        self._n_features = n_features
        self._files: list[Any] = []
        self._unsynced = False
        self._failure: StoreError | None = None

    def append(self, keys: NDArray[np.bytes_], rows: NDArray[np.float32]) -> None:
        """Add rows.

        Parameters
        ----------
        keys : S32 ndarray of shape (n,)
            What they are of.
        rows : float32 ndarray of shape (n, n_features)
            What is kept of them, bit for bit.

        Raises
        ------
        StoreError
            If they cannot be written; what was there before is kept.
        """
        little = np.ascontiguousarray(rows, dtype="<f4")
        assert little.shape == (len(keys), self._n_features)
        if not len(keys):
            return
        if self._failure is not None:
            raise self._failure
        entries = np.empty(len(keys), _ENTRY)
        entries["key"] = keys
        named = np.ascontiguousarray(keys, KEY).tobytes()
        for i, row in enumerate(little):
            check = _checksum(named[i * _KEY_BYTES : (i + 1) * _KEY_BYTES], row.tobytes())
            entries["check"][i] = np.void(check)
        try:
            if not self._files:
                self._open()
            for file, data in zip(self._files, (little, entries), strict=True):
                rest = memoryview(data.tobytes())
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError as error:
            self._close()  # half a row may be there, so no other can follow
            self._failure = failure(self.index, error, "written")
            raise self._failure from error
        self._unsynced = True

    def sync(self) -> None:
        """Wait until the disk has all of it.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        if not self._unsynced:
            return
        try:
            for file in self._files:
                os.fsync(file.fileno())
        except OSError as error:
            raise failure(self.index, error, "written") from error
        self._unsynced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.sync()
        finally:
            self._close()

    def _open(self) -> None:
        rows = self.index.with_suffix(_ROWS)
        self._files = [path.open("xb", buffering=0) for path in (rows, self.index)]
        # Until it is closed, or we are killed. Without locks nobody removes what might be in use.
        with contextlib.suppress(OSError):
            fcntl.flock(self._files[1], fcntl.LOCK_EX)

    def _close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []
        self._unsynced = False


def segments_of(folder: Path, n_features: int) -> list[Segment]:
    """Open all segments in a folder; those that another process removes just now are left out.

    Raises
    ------
    StoreError
        If one cannot be read.
    """
    found = []
    for index in sorted(folder.glob(f"*{_INDEX}")):
        try:
            found.append(Segment(index, n_features))
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return found


def _checksum(key: bytes, row: bytes) -> bytes:
    return hashlib.sha256(key + row).digest()[:_CHECK_BYTES]
