"""How much images resemble one another, by the cosine of their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from eyespot.augmentation import Augmentation, Crop, Exposure, Flip
from eyespot.loader import check_cancel
from eyespot.variants import Variants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.features import FeatureExtractor
    from eyespot.images import ImageInput
    from eyespot.progress import ProgressReporter

__all__ = ["Likeness", "compare", "copy_similarity", "upper_fence"]

#: Neighbours that an image is compared with; that of J. Kuan and J. Mueller, Back to the Basics:
#: Revisiting Out-of-Distribution Detection Baselines, 2022.
N_NEIGHBOURS: Final = 10
#: What somebody does to a photo and still calls it the same.
SLIGHT_CHANGES: Final = Augmentation(
    crop=Crop(area=(0.8, 1.0), aspect=(0.95, 1.05)),
    exposure=Exposure(stops=(-0.3, 0.3), probability=0.5),
    flip=Flip(vertical=False, both=False, probability=0.25),
    copies_per_image=2,
)
_SAMPLE: Final = 100
_ROWS_AT_A_TIME: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Each image beside all others.

    Attributes
    ----------
    distance : float64 ndarray of shape (n,)
        1 less the mean cosine to the 10 nearest images, or to all where there are fewer.
    group : int64 ndarray of shape (n,)
        The first image of the group of look-alikes that each belongs to; itself if it is alone.
    similarity : float64 ndarray of shape (n,)
        Cosine to the image by which it came into its group; 1 for the first of a group.
    """

    distance: NDArray[np.float64]
    group: NDArray[np.int64]
    similarity: NDArray[np.float64]


def compare(
    embeddings: NDArray[np.float32],
    threshold: float,
    reporter: ProgressReporter,
    cancel: CancelToken | None = None,
) -> Likeness:
    """Compare every image with every other one.

    Parameters
    ----------
    embeddings : float32 ndarray of shape (n, n_features)
    threshold : float
        Cosine from which on two images look alike. An image joins the group of the one before it
        that it resembles most, if that is enough.
    reporter : ProgressReporter
        Told how many images are done.
    cancel : CancelToken, optional
        Looked at between blocks of rows.

    Notes
    -----
    The time grows with the square of n, the memory does not: a block of rows is compared at a time.
    """
    n = len(embeddings)
    unit = _unit(embeddings)
    k = min(N_NEIGHBOURS, n - 1)
    distance = np.zeros(n)
    group = np.arange(n)
    similarity = np.ones(n)
    reporter.update(0)
    for start in range(0, n, _ROWS_AT_A_TIME):
        check_cancel(cancel)
        rows = np.arange(start, min(start + _ROWS_AT_A_TIME, n))
        cosines = unit[rows] @ unit.T
        cosines[rows - start, rows] = -2  # below any cosine: an image is no neighbour of its own
        if k > 0:
            nearest = np.partition(cosines, n - k, axis=1)[:, n - k :]
            distance[rows] = 1 - nearest.mean(axis=1, dtype=np.float64)
        for row in rows[rows > 0].tolist():
            earlier = cosines[row - start, :row]
            most = int(earlier.argmax())
            if earlier[most] >= threshold:
                group[row] = group[most]
                similarity[row] = min(float(earlier[most]), 1.0)
        reporter.update(int(rows[-1]) + 1)
    return Likeness(distance=distance, group=group, similarity=similarity)


def copy_similarity(
    extractor: FeatureExtractor,
    images: Sequence[ImageInput],
    *,
    n_threads: int = 0,
    cancel: CancelToken | None = None,
) -> float:
    """Return how alike an image and a slightly changed copy of it are to a network.

    That is the lower quartile of the cosine between an image and its copies (a crop of at least
    80 % of the area, sometimes mirrored, a third of a stop lighter or darker), over 100 images at
    most. So the threshold follows from the network and the photos, not from a table.

    Parameters
    ----------
    extractor : FeatureExtractor
    images : sequence of images
        Readable ones, 1 or more.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, _SAMPLE).round().astype(np.int64))
    sample = [images[i] for i in chosen.tolist()]
    found = extractor.extract(
        sample,
        n_threads=n_threads,
        cancel=cancel,
        variants=Variants(SLIGHT_CHANGES, 0, [""] * len(sample)),
    )
    assert found.variants is not None
    unit = _unit(found.embeddings)
    originals = np.flatnonzero(found.variants < 0)
    copies = np.flatnonzero(found.variants >= 0)
    of = originals[np.searchsorted(originals, copies) - 1]
    return float(np.quantile((unit[of] * unit[copies]).sum(axis=1), 0.25))


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: NDArray[np.float32] = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def upper_fence(values: NDArray[np.float64]) -> float:
    """Return the end of Tukey's upper whisker: the third quartile and 1.5 times the quartiles' gap.

    J. Tukey, Exploratory Data Analysis, 1977: of normal values 0.35 % lie above.
    """
    lower, upper = np.quantile(values, [0.25, 0.75])
    return float(upper + 1.5 * (upper - lower))
