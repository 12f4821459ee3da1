"""Images that an export is proved with: the caller's photos, or made ones, the same anywhere."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from eyespot import _core
from eyespot.errors import DataError, DecodeError, ImageError
from eyespot.images import read_image
from eyespot.loader import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from eyespot.images import ImageInput
    from eyespot.options import Preprocessing

__all__ = ["Sample", "Samples", "content_key", "photos", "spread", "synthetic"]

_KEY_DIGITS: Final = 16
# Shares of the network's sides that made photos of any size have: smaller, wide, tall, large.
_SHAPES: Final = ((1.0, 1.0), (1.7, 1.3), (1.25, 2.1), (0.6, 0.9), (3.4, 2.3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image of a proof.

    Attributes
    ----------
    key : str
        What to recognise it by: the beginning of the SHA-256 of the file; empty for pixels.
    image : uint8 ndarray of shape (any height, any width, 3)
        Decoded; empty, (0, 0, 3), unless whole images were asked for.
    pixels : uint8 ndarray of shape (1, height, width, 3)
        As the model takes it.
    """

    key: str
    image: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Images of a proof, read one at a time.

    Attributes
    ----------
    kind : {"photos", "synthetic"}
        Whether somebody took them.
    inputs : tuple of ImageInput
        The images.
    spec : Preprocessing
        What the model's input takes.
    """

    kind: Literal["photos", "synthetic"]
    inputs: tuple[ImageInput, ...]
    spec: Preprocessing

    def __len__(self) -> int:
        return len(self.inputs)

    def read(self, *, whole: bool) -> Iterator[Sample | ImageError]:
        """Yield each image, or why it cannot be read.

        Parameters
        ----------
        whole : bool
            Decode the whole image and make the model's input of it; else do it as `predict` does,
            which decodes no more of a file than it needs.
        """
        if whole:
            for index, source in enumerate(self.inputs):
                yield self._whole(index, source)
            return
        pool = _core.ThreadPool(0)
        with Loader(self.inputs, self.spec, batch_size=1, pool=pool) as loader:
            for batch in loader:
                yield from batch.errors
                nothing = np.empty((0, 0, 3), np.uint8)
                for index in batch.indices.tolist():
                    key = content_key(self.inputs[index])
                    yield Sample(key=key, image=nothing, pixels=batch.pixels)

    def _whole(self, index: int, source: ImageInput) -> Sample | ImageError:
        try:
            image = read_image(source)
        except DecodeError as error:
            reason = str(error).removeprefix(f"{error.source}: ")
            return ImageError(index=index, source=error.source, code=error.code, message=reason)
        pixels = _core.preprocess(image, self.spec.uint8_spec())
        return Sample(key=content_key(source), image=image, pixels=pixels[None].astype(np.uint8))


def photos(images: Sequence[ImageInput], count: int, spec: Preprocessing) -> Samples:
    """Return up to `count` of the caller's photos, evenly spread over the list.

    Raises
    ------
    DataError
        If there are none.
    """
    if not images:
        message = "there are no photos to compare on"
        raise DataError(message, source="photos", code="no_images")
    chosen = tuple(images[index] for index in spread(len(images), count))
    return Samples(kind="photos", inputs=chosen, spec=spec)


def spread(total: int, count: int) -> list[int]:
    """Return up to `count` indices below `total`, evenly spread, ascending."""
    if count >= total:
        return list(range(total))
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def synthetic(count: int, spec: Preprocessing, *, any_size: bool = False) -> Samples:
    """Return made images: coarse patches of colour, finer ones on top, and grain.

    Parameters
    ----------
    count : int
        How many. The first are the same whatever the count.
    spec : Preprocessing
        What the model's input takes.
    any_size : bool
        Whether they have several shapes and sizes instead of the model's.

    Notes
    -----
    Made with whole numbers from SHAKE-256, so that they are the same on every machine and with
    every version of NumPy.
    """
    images = []
    for number in range(count):
        wide, high = _SHAPES[number % len(_SHAPES)] if any_size else (1.0, 1.0)
        width, height = max(1, int(spec.width * wide)), max(1, int(spec.height * high))
        images.append(_picture(number, width, height))
    return Samples(kind="synthetic", inputs=tuple(images), spec=spec)


def _picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    coarse = 1 + number % 5
    layers = ((coarse, 6), (4 * coarse + 3, 3), (max(width, height), 1))
    total = np.zeros((height, width, 3), np.uint32)
    for cells, weight in layers:
        seed = f"eyespot parity {number} {cells}".encode()
        levels = np.frombuffer(hashlib.shake_256(seed).digest(cells * cells * 3), np.uint8)
        rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
        total += weight * levels.reshape(cells, cells, 3)[rows[:, None], columns].astype(np.uint32)
    return (total // sum(weight for _, weight in layers)).astype(np.uint8)


def content_key(image: ImageInput) -> str:
    """Return the beginning of the SHA-256 of an image file; empty for what is no file."""
    if isinstance(image, (str, os.PathLike)):
        try:
            with Path(image).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:_KEY_DIGITS]
        except (OSError, ValueError):
            return ""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return hashlib.sha256(image).hexdigest()[:_KEY_DIGITS]
    return ""
