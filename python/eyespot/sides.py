"""The rows of one extraction, handed out to the two sides of the split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import DataError
from eyespot.features import Features
from eyespot.splitting import group_by_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from eyespot.data import Split
    from eyespot.errors import ImageError

__all__ = ["NAMED_FILES", "Rows", "Side", "Sides", "groups_of", "listed", "same_rows", "sides_of"]

#: How many of many files a message names.
NAMED_FILES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Images and their augmented copies, the copies of an image after it.

    Attributes
    ----------
    embeddings : float32 ndarray of shape (n_rows, n_features)
    targets : int64 ndarray of shape (n_rows,), or bool of shape (n_rows, n_labels)
    copies : bool ndarray of shape (n_rows,)
        Which rows are copies.
    weights : float64 ndarray of shape (n_rows,)
        What each row counts for in the loss.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[Any]
    copies: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @property
    def multi_label(self) -> bool:
        """Whether an image may bear several labels."""
        return self.targets.ndim == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The usable images of one side of the split.

    Attributes
    ----------
    embeddings : float32 ndarray of shape (n_images, n_features)
    targets : int64 ndarray of shape (n_images,), or bool of shape (n_images, n_labels)
    skipped : tuple of ImageError
        The images that could not be read.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[Any]
    skipped: tuple[ImageError, ...]

    @property
    def multi_label(self) -> bool:
        """Whether an image may bear several labels."""
        return self.targets.ndim == 2

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return how many images bear each label."""
        if self.multi_label:
            numbers = self.targets.sum(axis=0)
        else:
            numbers = np.bincount(self.targets, minlength=len(classes))
        return dict(zip(classes, numbers.tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides, and what the head is fitted to.

    Attributes
    ----------
    training : Side
    validation : Side or None
        None when no image was held out, or none of them could be read.
    augmented : Rows or None
        With augmentation, the training side and its copies: what the head is fitted to.
    """

    training: Side
    validation: Side | None
    augmented: Rows | None = None

    @property
    def n_copies(self) -> int:
        """Number of augmented copies."""
        return 0 if self.augmented is None else int(self.augmented.copies.sum())


def _weights(
    groups: NDArray[np.int64], copies: NDArray[np.bool_], copies_weight: float | None
) -> NDArray[np.float64]:
    """Return the weight of each row. Those of an image sum to their number, however they share it.

    So a class with more copies an image counts for more, which is what they may be made for.
    """
    weights = np.ones(len(groups))
    if copies_weight is None:
        return weights
    _, image = np.unique(groups, return_inverse=True)
    n_copies = np.bincount(image, weights=copies)[image]
    n_rows = np.bincount(image)[image]
    copied = n_copies > 0
    each = np.where(copies, copies_weight / np.maximum(n_copies, 1), 1.0)
    weights[copied] = (n_rows * each / (1 + copies_weight))[copied]
    return weights


def sides_of(features: Features, split: Split, copies_weight: float | None) -> Sides:
    """Hand out the embeddings of the one pass to both sides.

    Parameters
    ----------
    features : Features
        Of the images of ``split.train`` and, after them, ``split.validation``.
    split : Split
        With the targets of both.
    copies_weight : float or None
        What the copies of an image weigh together, against 1 of the image; None makes all rows
        weigh alike.

    Raises
    ------
    DataError
        If no image of a label could be read, or all that could bear a label.
    """
    classes = split.train.classes
    boundary = len(split.train)
    augmented = None
    if features.variants is not None:
        inside = slice(0, int(np.searchsorted(features.indices, boundary)))
        groups = features.indices[inside]
        copies = features.variants[inside] >= 0
        augmented = Rows(
            embeddings=features.embeddings[inside],
            targets=split.train.targets[groups],
            copies=copies,
            weights=_weights(groups, copies, copies_weight),
        )
        originals = features.variants < 0
        features = Features(
            embeddings=features.embeddings[originals],
            indices=features.indices[originals],
            errors=features.errors,
        )
    inner = int(np.searchsorted(features.indices, boundary))
    training = Side(
        embeddings=features.embeddings[:inner],
        targets=split.train.targets[features.indices[:inner]],
        skipped=tuple(error for error in features.errors if error.index < boundary),
    )
    lost = [label for label, count in training.counts(classes).items() if count == 0]
    if lost:
        reasons = "; ".join(str(error) for error in training.skipped[:NAMED_FILES])
        of = "" if len(lost) == len(classes) else f" of {listed(lost)}"
        message = f"no image{of} could be read, so there is nothing to learn from: {reasons}"
        raise DataError(message, source=lost[0], code="no_usable_images")
    if training.multi_label and (everywhere := training.targets.all(axis=0)).any():
        label = classes[int(np.argmax(everywhere))]
        message = (
            f"every image that could be read bears the label {label!r}, so it cannot be learnt; "
            "add images that do not, or take the label out"
        )
        raise DataError(message, source=label, code="no_usable_images")
    if split.validation is None:
        return Sides(training=training, validation=None, augmented=augmented)
    validation = Side(
        embeddings=features.embeddings[inner:],
        targets=split.validation.targets[features.indices[inner:] - boundary],
        skipped=tuple(error for error in features.errors if error.index >= boundary),
    )
    return Sides(
        training=training,
        validation=validation if len(validation.targets) else None,
        augmented=augmented,
    )


def groups_of(sides: Sides) -> NDArray[np.int64] | None:
    """Return the number of the image of each row to fit; None where no two rows show the same.

    Cross-validation must not see a held-out image among the others. Copies of a file, under the
    same label or another, have embeddings that are equal to the last bit; so equal ones are one.
    """
    first = same_rows(sides.training.embeddings)
    if sides.augmented is None:
        return None if np.array_equal(first, np.arange(len(first))) else first
    # The originals stand in the order of the training side, each before its copies.
    image: NDArray[np.int64] = first[np.cumsum(~sides.augmented.copies) - 1]
    return image


def same_rows(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return, for each row, the first row that equals it to the last bit."""
    digests = [hashlib.blake2b(row.data, digest_size=16).hexdigest() for row in embeddings]
    first = np.arange(len(digests))
    for positions in group_by_content(digests).values():
        first[positions] = positions[0]
    return first


def listed(labels: Sequence[str], most: int = 10) -> str:
    """Return the first few labels, quoted, and how many there are more."""
    shown = ", ".join(repr(label) for label in labels[:most])
    return f"{shown} and {len(labels) - most:,} more" if len(labels) > most else shown
