"""A folder that keeps embeddings by the content of the images, from one training to the next."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np

from eyespot.errors import ExportError, InvalidOption, StoreError
from eyespot.files import write_atomically
from eyespot.options import integer, real
from eyespot.progress import logger
from eyespot.segments import KEY, Segment, SegmentWriter, failure, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["FeatureStore", "Shelf"]

#: Form of the files; a store of a higher one is refused.
VERSION: Final = 1
_MARKER, _LABEL = "eyespot-store.json", "shelf.json"
_FORMAT = "eyespot feature store"
_SYNC_EVERY_S = 2.0
_USE_EVERY_S = 3600.0
_MERGED_AT_ONCE = 256


class FeatureStore:
    """A folder of embeddings, found again by what they are of.

    A row is kept by the content of the image file (SHA-256), the feature extractor with its crop,
    and which augmented copy it is. Labels, names and places of the files do not matter, so photos
    that were embedded once serve any number of trainings: after some more were added, with other
    labels, or from another folder.

    Parameters
    ----------
    path : str or path
        The folder. It is made if it is not there; the folder above it must be.

    Raises
    ------
    StoreError
        If the folder cannot be made or read, holds other files, or is a store of a later version.

    Notes
    -----
    Rows come back bit for bit as they went in, or not at all: each has a checksum, and one that
    does not fit is embedded anew. Whatever kills a process that writes, even a power failure, costs
    at most its last two seconds of work. Several processes may use a store at once. A row is also
    told apart by the version of ONNX Runtime and the SIMD target, which may change its last bits.

    Examples
    --------
    >>> from eyespot import FeatureStore
    >>> store = FeatureStore("embeddings")  # doctest: +SKIP
    >>> ImageClassifier.train(photos, store=store)  # doctest: +SKIP
    >>> len(store), store.size_bytes  # doctest: +SKIP
    (1840, 5034240)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(cast("object", path), (str, os.PathLike)):
            message = f"path is a {type(path).__name__}; allowed: the path of a folder"
            raise InvalidOption(message, source="path", code="invalid_argument")
        self.path = Path(path)
        try:
            self._open()
        except ExportError as error:
            cause = error.__cause__
            if isinstance(cause, OSError):
                raise failure(self.path, cause, "written") from error
            raise StoreError(str(error), source=str(self.path), code="io") from error
        except OSError as error:
            raise failure(self.path, error, "used as a feature store") from error

    def _open(self) -> None:
        marker = self.path / _MARKER
        if marker.is_file():
            self._check(marker)
            return
        if self.path.exists():
            if not self.path.is_dir():
                message = f"{self.path}: is a file; a feature store is a folder"
                raise StoreError(message, source=str(self.path), code="io")
            others = any(not entry.name.startswith(".") for entry in self.path.iterdir())
            if others and not marker.is_file():  # else another process has made it just now
                message = (
                    f"{self.path}: holds other files and is no feature store; give a new or an "
                    "empty folder"
                )
                raise StoreError(message, source=str(self.path), code="io")
        elif not self.path.absolute().parent.is_dir():
            message = f"{self.path}: the folder {self.path.absolute().parent} does not exist"
            raise StoreError(message, source=str(self.path), code="io")
        self.path.mkdir(exist_ok=True)
        write_atomically(marker, _json({"format": _FORMAT, "version": VERSION}))

    def _check(self, marker: Path) -> None:
        values = _read_json(marker)
        version = values.get("version")
        if values.get("format") != _FORMAT or not isinstance(version, int):
            message = f"{marker}: is damaged; clear the folder, or give another one"
            raise StoreError(message, source=str(marker), code="corrupt_store")
        if version > VERSION:
            message = (
                f"{self.path}: a feature store of version {version}, and this eyespot knows "
                f"version {VERSION}; update eyespot, or give another folder"
            )
            raise StoreError(message, source=str(self.path), code="unsupported_version")

    def __repr__(self) -> str:
        return f"<FeatureStore {str(self.path)!r}>"

    def __len__(self) -> int:
        """Return the number of different rows."""
        return sum(len(np.unique(_keys(part))) for _, part in self._shelves())

    @property
    def size_bytes(self) -> int:
        """Bytes of its files on disk."""
        return sum(segment.size_bytes for _, part in self._shelves() for segment in part)

    def shelf(self, identity: Mapping[str, Any], n_features: int) -> Shelf:
        """Open the part for one feature extractor.

        Parameters
        ----------
        identity : mapping
            All that embeddings depend on beside the image, as plain JSON values.
        n_features : int
            Numbers in a row.

        Raises
        ------
        StoreError
            If its files cannot be read.
        """
        values = {**identity, "n_features": n_features}
        name = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
        return Shelf(self.path / name, values)

    def add_from(self, other: FeatureStore) -> None:
        """Take over the rows of another store, by hard links to its files where that works.

        Raises
        ------
        StoreError
            If files cannot be read or written.
        """
        for folder, segments in other._shelves():
            target = self.path / folder.name
            try:
                _label(target, _read_json(folder / _LABEL))
                for segment in segments:
                    # The rows first: nobody sees an index without them.
                    for ending in (".rows", ".index"):
                        source = segment.index.with_suffix(ending)
                        _link(source, target / source.name)
            except OSError as error:
                raise failure(target, error, "written") from error

    def clear(self) -> int:
        """Remove all rows but those of files that are just being written; return the bytes freed.

        Raises
        ------
        StoreError
            If files cannot be removed.
        """
        before = self.size_bytes
        for _, segments in self._shelves():
            for segment in segments:
                with segment.unused() as free:
                    if free:
                        segment.remove()
        return before - self.size_bytes

    def prune(self, *, max_bytes: int | None = None, unused_days: float | None = None) -> int:
        """Bring the store to order, and make it smaller where asked; return the bytes freed.

        Files that were not used for long go first, then what is left is written anew: many small
        files become one, and rows that are damaged or there twice go.

        Parameters
        ----------
        max_bytes : int, optional
            How large it may be, 0 or more. Whole files go, those first that were not used for the
            longest time.
        unused_days : float, optional
            Files go that were not used for so long, 0 or more; told to the hour.

        Raises
        ------
        StoreError
            If files cannot be read, written or removed.
        """
        before = self.size_bytes
        oldest_s = None
        if unused_days is not None:
            oldest_s = time.time() - 86400 * real(unused_days, "unused_days", low=0.0)
        if max_bytes is not None:
            max_bytes = integer(max_bytes, "max_bytes", low=0)
        left = before
        every = [segment for _, segments in self._shelves() for segment in segments]
        for segment in sorted(every, key=lambda segment: segment.last_use_s):
            old = oldest_s is not None and segment.last_use_s <= oldest_s
            if not old and (max_bytes is None or left <= max_bytes):
                continue
            size = segment.size_bytes
            with segment.unused() as free:
                if free:
                    segment.remove()
                    left -= size
        for folder, segments in self._shelves():
            _merge(folder, segments)
        return before - self.size_bytes

    def _shelves(self) -> Iterator[tuple[Path, list[Segment]]]:
        try:
            folders = sorted(entry for entry in self.path.iterdir() if (entry / _LABEL).is_file())
        except OSError as error:
            raise failure(self.path, error, "read") from error
        for folder in folders:
            yield folder, segments_of(folder, _n_features(folder))


class Shelf:
    """The rows of one feature extractor: what is there, and a file of one's own to add to.

    Use it as a context; see `FeatureStore.shelf`.

    Parameters
    ----------
    folder : Path
        Made with the first row.
    values : mapping
        What the rows depend on, and ``n_features``.
    """

    def __init__(self, folder: Path, values: Mapping[str, Any]) -> None:
        self._folder = folder
        self._values = values
        n_features = int(values["n_features"])
        self._segments = segments_of(folder, n_features)
        keys = _keys(self._segments)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self._starts = np.cumsum([0] + [len(segment) for segment in self._segments])
        self._writer = SegmentWriter(folder, n_features)
        self._n_added = 0
        self._synced_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def __len__(self) -> int:
        """Return the number of rows that were there, copies included."""
        return len(self._sorted)

    def read(
        self, keys: NDArray[np.bytes_], values: NDArray[np.float32], places: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Copy rows to where they are wanted.

        Parameters
        ----------
        keys : S32 ndarray of shape (n,)
            Which.
        values : float32 ndarray of shape (n_rows, n_features)
            Where to.
        places : int64 ndarray of shape (n,)
            Position in `values` of each.

        Returns
        -------
        bool ndarray of shape (n,)
            Which of them are there; the others are left as they were in `values`.
        """
        first = np.searchsorted(self._sorted, keys, "left")
        last = np.searchsorted(self._sorted, keys, "right")
        found = np.zeros(len(keys), np.bool_)
        used: set[int] = set()
        n_damaged = 0
        there = np.flatnonzero(first < last)
        candidates = self._order[first[there]]
        which = np.searchsorted(self._starts, candidates, "right") - 1
        rows = candidates - self._starts[which]
        for i, segment, row in zip(there.tolist(), which.tolist(), rows.tolist(), strict=True):
            data = self._segments[segment].row(row)
            if data is None:
                n_damaged += 1
                data = self._other_row(int(first[i]) + 1, int(last[i]))
                if data is None:
                    continue
            values[places[i]] = np.frombuffer(data, "<f4")
            found[i] = True
            used.add(segment)
        if n_damaged:
            logger.warning(
                "%s: %d damaged rows were passed over; prune() removes them",
                self._folder,
                n_damaged,
            )
        now_s = time.time()
        for segment in used:
            if now_s - self._segments[segment].last_use_s > _USE_EVERY_S:
                self._segments[segment].set_last_use(now_s)
        return found

    def _other_row(self, first: int, last: int) -> bytes | None:
        """Return the first good one of the copies of a row, by their places among sorted keys."""
        for position in self._order[first:last].tolist():
            segment = int(np.searchsorted(self._starts, position, "right")) - 1
            data = self._segments[segment].row(position - int(self._starts[segment]))
            if data is not None:
                return data
        return None

    def append(self, keys: NDArray[np.bytes_], rows: NDArray[np.float32]) -> None:
        """Add rows; they are safe on disk two seconds later at most.

        Parameters
        ----------
        keys : S32 ndarray of shape (n,)
            What they are of.
        rows : float32 ndarray of shape (n, n_features)
            The rows.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        if not self._n_added and len(keys):
            try:
                _label(self._folder, self._values)
            except OSError as error:
                raise failure(self._folder, error, "written") from error
        self._writer.append(keys, rows)
        self._n_added += len(keys)
        if time.monotonic() - self._synced_s > _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has all that was added.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        self._writer.sync()
        self._synced_s = time.monotonic()


def _keys(segments: list[Segment]) -> NDArray[np.bytes_]:
    return np.concatenate([np.empty(0, KEY), *(segment.keys for segment in segments)])


def _label(folder: Path, values: Mapping[str, Any]) -> None:
    """Make the folder of a shelf and say in it what it is of, unless that is done."""
    if (folder / _LABEL).is_file():
        return
    folder.mkdir(exist_ok=True)
    try:
        write_atomically(folder / _LABEL, _json(values))
    except ExportError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise


def _merge(folder: Path, segments: list[Segment]) -> None:
    """Write the good rows of those segments that nobody writes to into one."""
    with contextlib.ExitStack() as locks:
        free = [segment for segment in segments if locks.enter_context(segment.unused())]
        seen: set[bytes] = set()
        chosen: list[tuple[Segment, int]] = []
        for segment in free:
            for row in range(len(segment)):
                key = segment.key(row)
                if key not in seen and segment.row(row) is not None:
                    seen.add(key)
                    chosen.append((segment, row))
        clean = len(free) == 1 and free[0].size_bytes == _exact_size(folder, len(chosen))
        if not free or clean:
            return
        n_features = _n_features(folder)
        with SegmentWriter(folder, n_features) as writer:
            for start in range(0, len(chosen), _MERGED_AT_ONCE):
                part = chosen[start : start + _MERGED_AT_ONCE]
                rows = [segment.row(row) for segment, row in part]
                good = [i for i, row in enumerate(rows) if row is not None]
                keys = np.array([part[i][0].key(part[i][1]) for i in good], KEY)
                data = b"".join(row for row in rows if row is not None)
                writer.append(keys, np.frombuffer(data, "<f4").reshape(len(good), n_features))
        if chosen:
            merged = Segment(writer.index, n_features)
            merged.set_last_use(max(segment.last_use_s for segment in free))
        for segment in free:
            segment.remove()


def _exact_size(folder: Path, n_rows: int) -> int:
    return n_rows * (48 + 4 * _n_features(folder))


def _link(source: Path, target: Path) -> None:
    import shutil

    if target.exists():
        return
    try:
        os.link(source, target)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, target)


def _n_features(folder: Path) -> int:
    value = _read_json(folder / _LABEL).get("n_features")
    if not isinstance(value, int) or value < 1:
        message = f"{folder / _LABEL}: is damaged; remove the folder {folder}"
        raise StoreError(message, source=str(folder / _LABEL), code="corrupt_store")
    return value


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise failure(path, error, "read") from error
    except ValueError as error:
        message = f"{path}: is damaged ({error}); clear the folder, or give another one"
        raise StoreError(message, source=str(path), code="corrupt_store") from error
    return values if isinstance(values, dict) else {}
