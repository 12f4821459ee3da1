"""The contents of files as digests, read by several threads."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from eyespot import _core
from eyespot.errors import Cancelled, ImageError
from eyespot.options import integer
from eyespot.progress import Phase, ProgressCallback, ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CancelSign", "ContentHashes", "DuplicateGroup", "FileStamp", "hash_files", "stamp_of"]

#: Size in bytes, time of the last change in ns, and inode: another one tells another content.
FileStamp: TypeAlias = tuple[int, int, int]

_READ_WHOLE = 1 << 20  # files up to this many bytes are read in one piece
_FILES_AT_A_TIME = 16
_WAKE_S = 0.05  # how often the calling thread looks at progress, cancellation and Ctrl-C


class CancelSign(Protocol):
    """What may ask the work to stop; `eyespot.CancelToken` does."""

    @property
    def cancelled(self) -> bool:
        """Whether it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentHashes:
    """The contents of the files of a source, as digests.

    Attributes
    ----------
    digests : tuple of str or None
        SHA-256 of each file in lower-case hexadecimal, in the order of the source's paths;
        ``None`` for a file that could not be read.
    errors : tuple of ImageError
        The files that could not be read, and why.
    stamps : tuple of FileStamp or None
        Of each file as it was read; ``None`` where that is not known.
    """

    digests: tuple[str | None, ...]
    errors: tuple[ImageError, ...]
    stamps: tuple[FileStamp | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.stamps:
            object.__setattr__(self, "stamps", (None,) * len(self.digests))

    def take(self, positions: Sequence[int]) -> Self:
        """Return those of the files at some positions."""
        new_index = {old: new for new, old in enumerate(positions)}
        return type(self)(
            digests=tuple(self.digests[i] for i in positions),
            errors=tuple(
                replace(error, index=new_index[error.index])
                for error in self.errors
                if error.index in new_index
            ),
            stamps=tuple(self.stamps[i] for i in positions),
        )

    def followed_by(self, other: ContentHashes) -> Self:
        """Return those of these files and then those of `other`."""
        moved = (replace(error, index=error.index + len(self.digests)) for error in other.errors)
        return type(self)(
            digests=self.digests + other.digests,
            errors=(*self.errors, *moved),
            stamps=self.stamps + other.stamps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Files that are equal to the last byte.

    Attributes
    ----------
    digest : str
        SHA-256 of the content, in hexadecimal.
    paths : tuple of Path
        The files, two or more, in the order of the source.
    labels : tuple of str
        The label of each.
    """

    digest: str
    paths: tuple[Path, ...]
    labels: tuple[str, ...]

    @property
    def conflicting(self) -> bool:
        """Whether the same image goes by several labels, of which at most one can be right."""
        return len(set(self.labels)) > 1

    def __str__(self) -> str:
        return ", ".join(f"{p} ({n})" for p, n in zip(self.paths, self.labels, strict=True))


def hash_files(
    paths: Sequence[Path],
    n_threads: int,
    progress: ProgressCallback | None,
    cancel: CancelSign | None,
) -> ContentHashes:
    """Read each of `paths` once; see `DataSource.hashes`."""
    n_threads = integer(n_threads, "n_threads", low=0) or _core.available_threads()
    digests: list[str | None] = [None] * len(paths)
    stamps: list[FileStamp | None] = [None] * len(paths)
    errors: list[ImageError] = []
    starts = iter(range(0, len(paths), _FILES_AT_A_TIME))
    lock, stop = threading.Lock(), threading.Event()
    n_done = 0

    def work() -> None:
        nonlocal n_done
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            for i in range(start, min(start + _FILES_AT_A_TIME, len(paths))):
                if stop.is_set():
                    return
                try:
                    digests[i], stamps[i] = _hash_file(paths[i])
                except (OSError, ValueError) as error:
                    why = getattr(error, "strerror", None) or str(error)
                    errors.append(ImageError(index=i, source=str(paths[i]), code="io", message=why))
            with lock:
                n_done += min(_FILES_AT_A_TIME, len(paths) - start)

    def check() -> None:
        if cancel is not None and cancel.cancelled:
            raise Cancelled("cancelled while the files were read", code="cancelled")

    check()
    reporter = ProgressReporter(progress, Phase.INITIALIZED, len(paths))
    reporter.update(0)
    n_workers = max(1, min(n_threads, -(-len(paths) // _FILES_AT_A_TIME)))
    with ThreadPoolExecutor(n_workers, thread_name_prefix="eyespot-hash") as pool:
        futures = [pool.submit(work) for _ in range(n_workers)]
        try:
            while wait(futures, timeout=_WAKE_S, return_when=FIRST_EXCEPTION).not_done:
                check()
                if any(future.done() and future.exception() for future in futures):
                    break
                reporter.update(n_done)
        finally:
            stop.set()
        for future in futures:
            future.result()
    reporter.update(len(paths))
    return ContentHashes(
        digests=tuple(digests),
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        stamps=tuple(stamps),
    )


def stamp_of(path: str | os.PathLike[str]) -> FileStamp | None:
    """Return the stamp of a file as it is now; ``None`` if it is not there."""
    try:
        return _stamp(Path(path).stat())
    except (OSError, ValueError):
        return None


def _stamp(status: os.stat_result) -> FileStamp:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _hash_file(path: Path) -> tuple[str, FileStamp]:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise OSError("a folder" if path.is_dir() else "not a regular file")
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())  # before the reading: what changes the file then shows
        if status.st_size > _READ_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest(), _stamp(status)
        return hashlib.sha256(file.readall()).hexdigest(), _stamp(status)
