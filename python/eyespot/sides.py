"""The rows of one extraction, handed out to the two sides of the split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from eyespot.errors import DataError
from eyespot.features import Features
from eyespot.splitting import connected, group_by_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from eyespot.data import Split
    from eyespot.errors import ImageError

__all__ = [
    "NAMED_FILES",
    "Rows",
    "Side",
    "Sides",
    "Together",
    "groups_of",
    "held_together",
    "listed",
    "same_rows",
    "sides_of",
]

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
    groups : tuple of (str or None)
        As in `DataSource`, of the usable images; empty where none has one.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[Any]
    skipped: tuple[ImageError, ...]
    groups: tuple[str | None, ...] = ()

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

    @property
    def n_groups(self) -> int:
        """Number of groups; an image without one is its own."""
        named = [name for name in self.groups if name is not None]
        return len(self.targets) - len(named) + len(set(named))


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
    there = features.indices.tolist()
    training = Side(
        embeddings=features.embeddings[:inner],
        targets=split.train.targets[features.indices[:inner]],
        skipped=tuple(error for error in features.errors if error.index < boundary),
        groups=tuple(split.train.groups[i] for i in there[:inner]),
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
        groups=tuple(split.validation.groups[i - boundary] for i in there[inner:]),
    )
    return Sides(
        training=training,
        validation=validation if len(validation.targets) else None,
        augmented=augmented,
    )


class Together(NamedTuple):
    """Which rows cross-validation holds out together; None where that is each on its own.

    Attributes
    ----------
    groups : int64 ndarray of shape (n_rows,)
        A number that rows share which are held out together.
    copies : bool ndarray of shape (n_rows,)
        Rows that show what another of their group shows, and are not scored.
    """

    groups: NDArray[np.int64] | None
    copies: NDArray[np.bool_] | None


def groups_of(sides: Sides) -> Together:
    """Return what belongs together of the rows to fit.

    An image of a group must not be held out while another is fitted to, nor an image while a copy
    of it is.
    """
    of_images = held_together(sides.training.embeddings, sides.training.groups)
    if sides.augmented is None:
        return of_images
    # The originals stand in the order of the training side, each before its copies.
    image = np.cumsum(~sides.augmented.copies) - 1
    groups, copies = of_images
    return Together(
        groups=image if groups is None else groups[image],
        copies=sides.augmented.copies if copies is None else sides.augmented.copies | copies[image],
    )


def held_together(embeddings: NDArray[np.float32], names: Sequence[str | None]) -> Together:
    """Return which images belong together: those of a group, and copies of one file.

    Parameters
    ----------
    embeddings : float32 ndarray of shape (n_images, n_features)
        Copies of a file, under the same label or another, have embeddings that are equal to the
        last bit; so equal ones are copies of the first.
    names : sequence of (str or None), of length n_images
        Their groups. A group and the copies of its images are one, and so are two that share some.
    """
    first = same_rows(embeddings)
    copies = first != np.arange(len(first))
    units = connected(first.tolist(), names)
    if np.array_equal(units, np.arange(len(units))):
        return Together(groups=None, copies=None)
    return Together(groups=units, copies=copies if copies.any() else None)


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
