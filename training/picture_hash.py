"""Perceptual hashes: to leave out copies of a picture, above all of one that is for judging.

The hash is the difference hash: 64 signs of the horizontal differences of a 9 x 8 grey miniature.
It survives scaling and recompression, not cropping or mirroring, so the judged pictures are hashed
mirrored as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["near_any", "picture_hash"]

_CHUNK: Final = 2048


def picture_hash(image: Image.Image, *, mirrored: bool = False) -> int:
    """Return the 64-bit difference hash of a picture, or of its mirror image."""
    from PIL import Image

    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    if mirrored:
        grey = grey[:, ::-1]
    signs = np.diff(grey, axis=1) > 0
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def near_any(
    hashes: NDArray[np.uint64], others: NDArray[np.uint64], *, max_distance: int
) -> NDArray[np.bool_]:
    """Tell for each hash whether one of `others` differs from it in at most so many bits.

    Parameters
    ----------
    hashes : uint64 ndarray of shape (n,)
    others : uint64 ndarray of shape (m,)
    max_distance : int
        Bits that may differ, 0 to 64.

    Returns
    -------
    bool ndarray of shape (n,)
    """
    near = np.zeros(len(hashes), np.bool_)
    if len(others) == 0:
        return near
    for start in range(0, len(hashes), _CHUNK):
        differing = hashes[start : start + _CHUNK, None] ^ others[None, :]
        near[start : start + _CHUNK] = (np.bitwise_count(differing) <= max_distance).any(axis=1)
    return near
