"""Which variants each image of a list gets: what a loader needs to make them."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from eyespot.augmentation import ORIGINAL, Augmentation
from eyespot.errors import InvalidOption
from eyespot.options import integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from eyespot import _core

__all__ = ["Item", "Variants", "epoch_items", "stream_plan"]

#: What is decoded at once for one image, so that memory does not grow with the copies.
_MOST_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Some variants of one image, made from one decoding of it.

    Attributes
    ----------
    image : int
        Position of the image in the list.
    plan : int
        Position of its plan in `Variants.plans`; -1 for the plain image.
    indices : tuple of int
        The variants, -1 being the original.
    row : int
        Position of the first of them among the rows of all images.
    """

    image: int
    plan: int
    indices: tuple[int, ...]
    row: int


class Variants:
    """Which variants each image of a list gets.

    Parameters
    ----------
    plan : Augmentation
        What may be done to the images.
    seed : int
        0 to 2**64 - 1.
    labels : sequence of str or None
        For each image the class that its number of copies goes by; None for an image that is not
        augmented, such as one for validation.

    Attributes
    ----------
    counts : int64 ndarray of shape (n_images,)
        Rows of each image: the original and its copies.
    """

    def __init__(self, plan: Augmentation, seed: int, labels: Sequence[str | None]) -> None:
        self.plan = plan
        self.seed = integer(seed, "seed", low=0, high=2**64 - 1)
        own = sorted(set(plan.copies_per_class) & {label for label in labels if label is not None})
        self.plans: list[_core.AugmentPlan] = [plan.core_plan(), *map(plan.core_plan, own)]
        place = {label: 1 + i for i, label in enumerate(own)}
        copies = [each.n_variants for each in self.plans]
        # A class may be left without copies; then its plan is not used.
        copies[1:] = [plan.variant_count(label) for label in own]
        self.plan_of = [-1 if label is None else place.get(label, 0) for label in labels]
        self.counts: NDArray[np.int64] = np.array(
            [1 + (copies[i] if i >= 0 else 0) for i in self.plan_of], np.int64
        )
        starts = np.cumsum(self.counts) - self.counts
        self._indices = np.arange(self.n_rows, dtype=np.int64) + ORIGINAL
        self._indices -= np.repeat(starts, self.counts)

    @property
    def n_rows(self) -> int:
        """Originals and copies of all images."""
        return int(self.counts.sum())

    def images(self) -> NDArray[np.int64]:
        """Return the position of the image of each row, ascending."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int64), self.counts)

    def indices(self) -> NDArray[np.int64]:
        """Return the variant of each row, -1 being the original, which comes first."""
        return self._indices

    def take(self, rows: NDArray[np.bool_]) -> Self:
        """Return some of the rows, of the images that have any of them.

        Parameters
        ----------
        rows : bool ndarray of shape (n_rows,)
            Which.
        """
        part = copy.copy(self)
        images, part.counts = np.unique(self.images()[rows], return_counts=True)
        part.plan_of = [self.plan_of[image] for image in images.tolist()]
        part._indices = self._indices[rows]
        return part

    def key(self, plan: int, index: int) -> bytes:
        """Return what, beside the image, tells a row apart from others: as bytes, or empty.

        Parameters
        ----------
        plan : int
            Of the image, as in `plan_of`.
        index : int
            Which variant; -1 is the original.
        """
        if plan < 0:
            return b""
        values = self.plan.to_dict()
        for name in ("copies_per_class", "copies_weight"):  # which change no pixel
            del values[name]
        if plan > 0 or self.plan.copies_per_image is not None:  # each draws from the whole ranges
            values["copies_per_image"] = "any"
            del values["max_copies"]
        if index == ORIGINAL:  # no draw, but read at the scale that the smallest crop needs
            values = {"crop": values["crop"]}
        return json.dumps([values, self.seed if index >= 0 else 0, index]).encode()

    def items(self) -> list[Item]:
        """Return the rows in portions that are decoded at once, in order."""
        items = []
        row = 0
        for image, (plan, count) in enumerate(zip(self.plan_of, self.counts.tolist(), strict=True)):
            end = row + count
            for first in range(row, end, _MOST_AT_ONCE):
                indices = tuple(self._indices[first : min(end, first + _MOST_AT_ONCE)].tolist())
                items.append(Item(image=image, plan=plan, indices=indices, row=first))
            row = end
        return items


def epoch_items(n_images: int, epoch: int) -> list[Item]:
    """Return one item an image: its variant for this pass over the data."""
    epoch = integer(epoch, "epoch", low=0, high=2**32 - 1)
    return [Item(image=i, plan=0, indices=(epoch,), row=i) for i in range(n_images)]


def stream_plan(plan: object) -> Augmentation:
    """Return the plan of an endless stream: each variant draws from the whole ranges."""
    if not isinstance(plan, Augmentation):
        message = (
            f"augmentation is a {type(plan).__name__}; allowed: an Augmentation, such as "
            "Augmentation.photos()"
        )
        raise InvalidOption(message, source="augmentation", code="invalid_argument")
    return dataclasses.replace(plan, copies_per_image=1, copies_per_class={})
