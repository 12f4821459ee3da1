"""Embeddings by way of a store: what it has is read, the rest is made and written as it comes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from eyespot import _core
from eyespot.hashing import ContentHashes, hash_files, stamp_of
from eyespot.image_rows import Filling, Rows, compacted, fill_rows
from eyespot.progress import Phase, ProgressCallback, ProgressReporter
from eyespot.segments import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.images import ImageInput
    from eyespot.inference import NetworkRunner
    from eyespot.options import Preprocessing
    from eyespot.store import Shelf
    from eyespot.variants import Variants

__all__ = ["contents_of", "identity_of", "rows_by_way_of"]

#: To be raised when decoding, resizing or augmentation change the last bits of an embedding.
_PIXELS_REVISION: Final = 1


def identity_of(fingerprint: str, name: str) -> dict[str, Any]:
    """Return all that the bits of an embedding depend on beside the image and its augmentation.

    Parameters
    ----------
    fingerprint : str
        Of the feature extractor.
    name : str
        What to call it, for people who look into the store.
    """
    import onnxruntime

    return {
        "fingerprint": fingerprint,
        "backbone": name,
        "onnxruntime": onnxruntime.__version__,
        "simd": _core.simd_target(),
        "pixels": _PIXELS_REVISION,
    }


def contents_of(
    inputs: Sequence[ImageInput],
    n_threads: int,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> ContentHashes:
    """Return the digests of those images that are files; the others have none."""
    files = [i for i, image in enumerate(inputs) if isinstance(image, (str, os.PathLike))]
    paths = [Path(os.fsdecode(inputs[i])) for i in files]  # type: ignore[arg-type]
    known = hash_files(paths, n_threads, progress, cancel)
    digests: list[str | None] = [None] * len(inputs)
    stamps: list[tuple[int, int, int] | None] = [None] * len(inputs)
    for i, digest, stamp in zip(files, known.digests, known.stamps, strict=True):
        digests[i], stamps[i] = digest, stamp
    errors = tuple(replace(error, index=files[error.index]) for error in known.errors)
    return ContentHashes(digests=tuple(digests), errors=errors, stamps=tuple(stamps))


def rows_by_way_of(
    shelf: Shelf,
    runner: NetworkRunner,
    inputs: Sequence[ImageInput],
    preprocessing: Preprocessing,
    n_columns: int,
    contents: ContentHashes,
    *,
    n_threads: int = 0,
    on_error: Literal["skip", "raise"] = "skip",
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    variants: Variants | None = None,
) -> tuple[Rows, int]:
    """Return what `run_images` would, and how many of the rows were in the store.

    Parameters
    ----------
    shelf : Shelf
        The part of the store for this network.
    contents : ContentHashes
        Of `inputs`; an image without a digest goes past the store.
    runner, inputs, preprocessing, n_columns, n_threads, on_error, progress, cancel, variants
        As in `run_images`.

    Raises
    ------
    StoreError
        If the store cannot be written. What was written stays in it.
    """
    n_rows = len(inputs) if variants is None else variants.n_rows
    image_of = np.arange(n_rows, dtype=np.int64) if variants is None else variants.images()
    keys = _keys(contents, variants)
    values = np.empty((n_rows, n_columns), np.float32)
    good = np.zeros(n_rows, np.bool_)
    known = np.flatnonzero(keys != b"")
    good[known] = shelf.read(keys[known], values, known)
    n_reused = int(good.sum())
    if n_reused == n_rows:
        ProgressReporter(progress, Phase.EXTRACTING_FEATURES, n_rows, reused=n_rows).update(n_rows)
        return compacted(values, good, (), variants), n_reused

    missing = ~good
    images = np.unique(image_of[missing])
    unchanged: dict[int, bool] = {}

    def keep(places: NDArray[np.int64]) -> None:
        """Write rows, but none of a file that is no longer what was hashed."""
        for image in np.unique(image_of[places]).tolist():
            if image not in unchanged:
                stamp, path = contents.stamps[image], inputs[image]
                known = isinstance(path, (str, os.PathLike)) and stamp is not None
                unchanged[image] = known and stamp == stamp_of(os.fsdecode(path))
        places = places[[unchanged[image] for image in image_of[places].tolist()]]
        shelf.append(keys[places], values[places])

    made, errors = fill_rows(
        runner,
        [inputs[image] for image in images.tolist()],
        preprocessing,
        Filling(values=values, places=np.flatnonzero(missing), images=images, take=keep),
        phase=Phase.EXTRACTING_FEATURES,
        n_threads=n_threads,
        on_error=on_error,
        progress=progress,
        cancel=cancel,
        variants=None if variants is None else variants.take(missing),
    )
    shelf.sync()
    good[missing] = made
    return compacted(values, good, errors, variants), n_reused


def _keys(contents: ContentHashes, variants: Variants | None) -> NDArray[np.bytes_]:
    """Return the key of each row, empty without a digest: of an original the digest itself."""
    digests = [b"" if digest is None else bytes.fromhex(digest) for digest in contents.digests]
    if variants is None:
        return np.array(digests, KEY)
    suffixes: dict[tuple[int, int], bytes] = {}
    keys = []
    for image, index in zip(variants.images().tolist(), variants.indices().tolist(), strict=True):
        plan = variants.plan_of[image]
        if (suffix := suffixes.get((plan, index))) is None:
            suffix = suffixes[plan, index] = variants.key(plan, index)
        digest = digests[image]
        keys.append(hashlib.sha256(digest + suffix).digest() if digest and suffix else digest)
    return np.array(keys, KEY)
