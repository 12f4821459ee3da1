"""What a classifier answers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyespot.errors import ImageError

__all__ = ["Inference", "Prediction"]


class Prediction(NamedTuple):
    """One label and how probable it is, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What a model says about a list of images, some of which may be unreadable.

    Attributes
    ----------
    probabilities : float32 ndarray of shape (n_images, n_classes)
        Rows in the order of the images; the row of an unreadable one is NaN.
    errors : tuple of ImageError
        The unreadable images, in order.
    """

    probabilities: NDArray[np.float32]
    errors: tuple[ImageError, ...]
