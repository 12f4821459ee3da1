"""Shards: files of encoded pictures with their labels, small enough to be carried one by one.

A shard is an uncompressed .npz archive: `data` (uint8, the encoded pictures one after another),
`ends` (int64, where each ends), `label` (int32, -1 without), `hash` (uint64). Its source and the
labels' names are in `manifest.json` beside it, which also says how the shards were made.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MANIFEST", "Pictures", "ShardWriter", "load_pictures", "read_manifest"]

MANIFEST: Final = "manifest.json"


@dataclass(slots=True)
class ShardWriter:
    """Writes the pictures of one source into numbered shards below `max_bytes`."""

    folder: Path
    name: str
    max_bytes: int
    files: list[str] = field(default_factory=list)
    n_pictures: int = 0
    _pictures: list[bytes] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _hashes: list[int] = field(default_factory=list)
    _n_bytes: int = 0

    def add(self, encoded: bytes, label: int, picture_hash: int) -> None:
        """Append a picture; begin a new shard where it would not fit any more."""
        needed = len(encoded) + 20  # its place in the other arrays
        if self._pictures and self._n_bytes + needed > self.max_bytes - 4096:
            self.flush()
        self._pictures.append(encoded)
        self._labels.append(label)
        self._hashes.append(picture_hash)
        self._n_bytes += needed
        self.n_pictures += 1

    def flush(self) -> None:
        """Write what is there as a shard, if there is anything."""
        if not self._pictures:
            return
        name = f"{self.name}-{len(self.files):03}.npz"
        part = self.folder / (name + ".part")
        with part.open("wb") as file:
            np.savez(
                file,
                data=np.frombuffer(b"".join(self._pictures), np.uint8),
                ends=np.cumsum([len(one) for one in self._pictures], dtype=np.int64),
                label=np.array(self._labels, np.int32),
                hash=np.array(self._hashes, np.uint64),
            )
        part.replace(self.folder / name)
        self.files.append(name)
        self._pictures, self._labels, self._hashes, self._n_bytes = [], [], [], 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Decoded pictures of one storage size.

    Attributes
    ----------
    pixels : uint8 ndarray of shape (n, side, side, 3)
    labels : int64 ndarray of shape (n,)
        Index in the labels of the manifest, -1 where a picture has none.
    numbers : int64 ndarray of shape (n,)
        The picture's number over all shards of the manifest, which tells which is which.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    numbers: NDArray[np.int64]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what `manifest.json` says."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def load_pictures(
    folder: Path, *, sources: Sequence[str] = (), n_threads: int = 2, limit: int = 0
) -> dict[int, Pictures]:
    """Decode the shards into memory, grouped by the side of their pictures.

    Parameters
    ----------
    folder : path
        Where the shards and their manifest are.
    sources : sequence of str
        Which sources; all if empty.
    n_threads : int
        Decoding threads.
    limit : int
        At most so many pictures of each source; 0 is all of them.

    Returns
    -------
    dict of int to Pictures
        By side in pixels, ascending.
    """
    manifest = read_manifest(folder)
    parts: dict[int, list[Pictures]] = {}
    first = 0
    for entry in manifest["sources"]:
        left = limit or entry["n_pictures"]
        number = first
        first += entry["n_pictures"]
        if sources and entry["name"] not in sources:
            continue
        for file in entry["files"]:
            if left == 0:
                break
            with np.load(folder / file) as shard:
                data, ends, labels = shard["data"], shard["ends"], shard["label"]
            count = min(left, len(ends))
            pixels = _decode(data, ends[:count], entry["side"], n_threads)
            parts.setdefault(entry["side"], []).append(
                Pictures(
                    pixels=pixels,
                    labels=labels[:count].astype(np.int64),
                    numbers=np.arange(number, number + count),
                )
            )
            number += count
            left -= count
    return {
        side: Pictures(
            pixels=np.concatenate([one.pixels for one in parts[side]]),
            labels=np.concatenate([one.labels for one in parts[side]]),
            numbers=np.concatenate([one.numbers for one in parts[side]]),
        )
        for side in sorted(parts)
    }


def _decode(
    data: NDArray[np.uint8], ends: NDArray[np.int64], side: int, n_threads: int
) -> NDArray[np.uint8]:
    from PIL import Image

    pixels = np.empty((len(ends), side, side, 3), np.uint8)

    def decode(i: int) -> None:
        begin = int(ends[i - 1]) if i else 0
        with Image.open(io.BytesIO(data[begin : ends[i]].tobytes())) as image:
            pixels[i] = np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(decode, range(len(ends)), chunksize=64))
    return pixels
