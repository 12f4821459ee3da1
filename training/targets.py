"""What the student learns from its teachers: their embeddings, whitened, and their class scores.

An embedding is centred and projected on its first principal axes, each divided by its deviation, so
that a rare direction counts as much as a common one, or by a power of it, so that it counts less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TEACHERS", "Projection", "StoredTargets", "Teacher", "view_box", "whitening"]

LEAST_AREA: Final = 0.3  # of a stored view, as a part of the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A public network to learn from.

    Attributes
    ----------
    file : str
        Its ONNX file, in the folder of the teachers.
    side : int
        Pixels of its input, which is normalised by ImageNet's mean and deviation.
    n_axes : int
        Axes that its embedding is projected on.
    has_logits : bool
        Whether it also gives scores of the 1000 ImageNet classes.
    """

    file: str
    side: int
    n_axes: int
    has_logits: bool

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors to compute."""
        return ("embedding", "logits") if self.has_logits else ("embedding",)


#: The teachers, both Apache-2.0 from the ONNX Model Zoo.
TEACHERS: Final = (
    Teacher(
        file="mobilenet_v2_1.0_224_onnxzoo_features.onnx", side=224, n_axes=384, has_logits=False
    ),
    Teacher(file="squeezenet1.1_onnxzoo.onnx", side=224, n_axes=192, has_logits=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """How an embedding becomes a target: ``(x - mean) @ axes``.

    Attributes
    ----------
    mean : float32 ndarray of shape (n_features,)
    axes : float32 ndarray of shape (n_features, n_axes)
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]


def whitening(embeddings: NDArray[np.floating], n_axes: int, *, power: float = 1.0) -> Projection:
    """Measure a projection on rows of embeddings, of which there should be many more than axes.

    Parameters
    ----------
    embeddings : float ndarray of shape (n, n_features)
    n_axes : int
        How many axes to keep, those of the largest variance.
    power : float
        Each axis is divided by this power of its deviation: 1 makes all of them count the same, 0
        leaves their shares as they are. The mean variance stays about 1.
    """
    rows = np.asarray(embeddings, np.float64)
    mean = rows.mean(axis=0)
    covariance = np.cov(rows - mean, rowvar=False)
    variances, vectors = np.linalg.eigh(covariance)
    first = np.argsort(variances)[::-1][:n_axes]
    # Below a thousandth of the largest variance an axis is mostly noise: it is not blown up.
    deviations = np.sqrt(np.maximum(variances[first], 1e-3 * variances.max()))
    common = np.sqrt(np.mean(deviations**2))
    axes = vectors[:, first] / (deviations**power * common ** (1 - power))
    return Projection(mean=mean.astype(np.float32), axes=axes.astype(np.float32))


def view_box(number: int, view: int) -> tuple[float, float, float, float]:
    """Return left, top, width and height, as parts of the picture, of one of its views.

    View 0 is the whole picture, each other one a crop that only the two numbers decide.
    """
    if view == 0:
        return 0.0, 0.0, 1.0, 1.0
    random = np.random.default_rng([number, view])
    area, aspect = random.uniform(LEAST_AREA, 1), np.exp(random.uniform(-0.28, 0.28))
    width, height = min(1.0, np.sqrt(area * aspect)), min(1.0, np.sqrt(area / aspect))
    left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
    return float(left), float(top), float(width), float(height)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTargets:
    """Targets computed in advance, a row for each view of a picture.

    Attributes
    ----------
    numbers : int64 ndarray of shape (n,)
        The pictures, by their number in the shards' manifest, ascending; once for each view.
    boxes : float32 ndarray of shape (n, 4)
        What the teachers saw: left, top, width and height as parts of the picture.
    projected : tuple of float16 ndarrays of shape (n, n_axes)
        One a teacher.
    logits : float16 ndarray of shape (n, 1000), or (n, 0) where no teacher that was asked has any
    """

    numbers: NDArray[np.int64]
    boxes: NDArray[np.float32]
    projected: tuple[NDArray[np.float16], ...]
    logits: NDArray[np.float16]

    def save(self, path: Path) -> None:
        """Write the targets, aside first."""
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            arrays = {f"projected_{i}": rows for i, rows in enumerate(self.projected)}
            np.savez(file, numbers=self.numbers, boxes=self.boxes, logits=self.logits, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> StoredTargets:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            count = sum(name.startswith("projected_") for name in arrays.files)
            return cls(
                numbers=arrays["numbers"],
                boxes=arrays["boxes"],
                projected=tuple(arrays[f"projected_{i}"] for i in range(count)),
                logits=arrays["logits"],
            )
