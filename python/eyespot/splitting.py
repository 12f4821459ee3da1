"""Which images are held out for validation: a function of labels, contents and seed alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "GroupCounts",
    "connected",
    "deal_groups",
    "distribute",
    "group_by_content",
    "held_out",
    "held_out_by_labels",
    "held_out_groups",
]

# How much of each of its classes, and of all images, a group may hold that is held out although it
# is larger than their share. A fifth is what five-fold cross-validation holds out.
_MOST_OF_A_CLASS: Final = 1 / 3
_MOST_OF_ALL: Final = 1 / 5
_TIE: Final = 1e-9  # sums of floats that differ by less are equal


def group_by_content(digests: Sequence[str | None]) -> dict[str, list[int]]:
    """Return the positions of the files of each content; files that have no digest are left out."""
    groups: dict[str, list[int]] = {}
    for position, digest in enumerate(digests):
        if digest is not None:
            groups.setdefault(digest, []).append(position)
    return groups


def connected(*labelings: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Return, for each item, the first of those that it must stay together with.

    Parameters
    ----------
    labelings : sequences of hashable or None, each of length n
        Items with the same label in one of them stay together, and so do all that are linked by
        such steps. ``None`` links to nothing.

    Returns
    -------
    int64 ndarray of shape (n,)
        Position of the first item of the set that each belongs to: itself if it is alone.
    """
    above = list(range(len(labelings[0])))

    def root(item: int) -> int:
        while above[item] != item:
            above[item] = above[above[item]]
            item = above[item]
        return item

    for labels in labelings:
        first: dict[Hashable, int] = {}
        for item, label in enumerate(labels):
            if label is not None:
                one, other = sorted((root(item), root(first.setdefault(label, item))))
                above[other] = one
    return np.array([root(item) for item in range(len(above))], dtype=np.int64)


def held_out(
    targets: NDArray[np.int64],
    digests: Sequence[str | None],
    n_classes: int,
    count: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose about `count` images to hold out, each class in proportion to its size.

    Parameters
    ----------
    targets : int64 ndarray of shape (n_images,)
        Class of each image, 0 to `n_classes` - 1.
    digests : sequence of str or None
        Digest of each file's content; an image without one is never held out.
    n_classes : int
        Number of classes.
    count : int
        How many images to hold out.
    seed : int
        Which choice of that size, 0 to 2**64 - 1.

    Returns
    -------
    bool ndarray of shape (n_images,)
        True for the images held out.

    Notes
    -----
    Files of equal content move together. Each class gets its share of `count` by the method of
    largest remainders; within a class the contents come in the order of a keyed hash, so neither
    the order of the images nor their names matter. At least one content of each class stays
    behind, and contents that occur under several labels always do. What a class cannot give
    (because too few contents are left, or groups are larger than its share) others make up for in
    the order of the hash. So the result has `count` images whenever single files can fill it.
    """
    labels: list[int] = targets.tolist()
    own: list[list[tuple[bytes, list[int]]]] = [[] for _ in range(n_classes)]
    key = b"eyespot.split" + seed.to_bytes(8, "little")
    n_known = [0] * n_classes
    for digest, group in group_by_content(digests).items():
        classes = {labels[position] for position in group}
        for position in group:
            n_known[labels[position]] += 1
        if len(classes) == 1:
            order = hashlib.sha256(key + digest.encode()).digest()
            own[classes.pop()].append((order, group))

    room = [max(sum(len(group) for _, group in groups) - 1, 0) for groups in own]
    shares = _largest_remainders(n_known, count)
    chosen: list[int] = []
    left_over: list[tuple[bytes, int, list[int]]] = []
    for label, groups in enumerate(own):
        share = min(shares[label], room[label])
        for order, group in sorted(groups):
            if len(group) <= share:
                share -= len(group)
                room[label] -= len(group)
                chosen += group
            else:
                left_over.append((order, label, group))
    missing = count - len(chosen)
    for _, label, group in sorted(left_over):
        if len(group) <= min(missing, room[label]):
            missing -= len(group)
            room[label] -= len(group)
            chosen += group

    mask = np.zeros(len(targets), dtype=np.bool_)
    mask[chosen] = True
    return mask


def held_out_by_labels(
    targets: NDArray[np.bool_], digests: Sequence[str | None], count: int, seed: int
) -> NDArray[np.bool_]:
    """Choose about `count` images of several labels each to hold out, some of each label.

    Parameters
    ----------
    targets : bool ndarray of shape (n_images, n_classes)
        Which labels each image bears.
    digests, count, seed
        As in `held_out`.

    Returns
    -------
    bool ndarray of shape (n_images,)
        True for the images held out.

    Notes
    -----
    Files of equal content move together, and stay behind where their labels differ. The contents
    come in the order of a keyed hash and are dealt out by `distribute`; then, where all images that
    bear a label, or all that do not, were held out, the first of them goes back. The number that
    is held out can differ from `count` by a few: images are not taken apart to meet the share of
    every label at once.
    """
    key = b"eyespot.split" + seed.to_bytes(8, "little")
    groups: list[tuple[bytes, list[int]]] = []
    n_known = 0
    for digest, group in group_by_content(digests).items():
        n_known += len(group)
        if (targets[group] == targets[group[0]]).all():
            groups.append((hashlib.sha256(key + digest.encode()).digest(), group))
    mask = np.zeros(len(targets), dtype=np.bool_)
    if not groups or count == 0:
        return mask
    groups.sort()
    firsts = np.array([group[0] for _, group in groups])
    parts = distribute(targets[firsts], [n_known - count, count])
    for part, (_, group) in zip(parts.tolist(), groups, strict=True):
        mask[group] = part == 1
    for bearing in (targets, ~targets):
        for label in np.flatnonzero(bearing.any(axis=0) & ~bearing[~mask].any(axis=0)).tolist():
            if bearing[~mask, label].any():  # another label has brought one back
                continue
            back = next(group for _, group in groups if mask[group[0]] and bearing[group[0], label])
            mask[back] = False
    return mask


def held_out_groups(
    targets: NDArray[Any],
    digests: Sequence[str | None],
    units: NDArray[np.int64],
    n_classes: int,
    count: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose about `count` images to hold out, whole groups of them.

    Parameters
    ----------
    targets : int64 ndarray of shape (n_images,) or bool ndarray of shape (n_images, n_classes)
        Class of each image, or which labels it bears.
    digests, n_classes, count, seed
        As in `held_out`.
    units : int64 ndarray of shape (n_images,)
        What images share that must stay together, those of equal content among them; see
        `connected`.

    Returns
    -------
    bool ndarray of shape (n_images,)
        True for the images held out.

    Notes
    -----
    The groups are dealt out to the two sides as `deal_groups` does, in the order of a keyed hash
    of their contents, so neither the order of the images nor the names of files and groups
    matter. Then groups change sides, those first that disturb the shares of the classes least, as
    long as that brings the number nearer to `count`. A group stays behind if a content of it occurs
    under several labels, or if no image of a class would be left without it; of several labels an
    image, none that bears a label or none that does not. Where all groups of a class are larger
    than its share, the smallest is held out all the same, as long as at most a third of the images
    of each of its classes and a fifth of all images are; so more than `count` can be.
    """
    known = np.array([digest is not None for digest in digests], dtype=np.bool_)
    mask = np.zeros(len(targets), dtype=np.bool_)
    n_known = int(known.sum())
    if count == 0 or n_known == 0:
        return mask
    names, unit = np.unique(units, return_inverse=True)
    n_units = len(names)
    contents: list[list[str]] = [[] for _ in range(n_units)]
    may_go = np.bincount(unit[known], minlength=n_units) > 0
    for digest, positions in group_by_content(digests).items():
        contents[unit[positions[0]]].append(digest)
        if (targets[positions] != targets[positions[0]]).any():
            may_go[unit[positions[0]]] = False
    key = b"eyespot.split" + seed.to_bytes(8, "little")
    hashes = [hashlib.sha256(key + "".join(sorted(own)).encode()).digest() for own in contents]
    order = np.array(sorted(range(n_units), key=hashes.__getitem__))

    counts = GroupCounts.of(unit[known], targets[known], n_units, n_classes)
    both = [counts]
    if targets.ndim == 2:  # images that do not bear a label are needed, too
        both.append(GroupCounts.of(unit[known], ~targets[known], n_units, n_classes))
    choice = _HeldOut(both, may_go, count / n_known)
    dealer = _Dealer(counts, [max(n_known - count, 0.5), count])
    for group in counts.by_spread(order).tolist():
        goes = choice.spared(group) and dealer.best(group) == 1
        dealer.put(group, int(goes))
        if goes:
            choice.move(group)
    choice.bring_to(count, order)
    choice.add_large(max(count, int(n_known * _MOST_OF_ALL)), order)
    out = choice.out
    mask[known & out[unit]] = True
    return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupCounts:
    """How many images of each class each group has; most pairs have none, and take no room.

    Attributes
    ----------
    starts : int64 ndarray of shape (n_groups + 1,)
        Where in `pairs` and `images` the classes of a group begin.
    pairs : int64 ndarray of shape (n_pairs,)
        The classes of the groups, those of the first group first.
    images : int64 ndarray of shape (n_pairs,)
        Images of that class in that group, 1 or more.
    totals : int64 ndarray of shape (n_classes,)
        Images of each class.
    sizes : int64 ndarray of shape (n_groups,)
        Images of each group, whatever their labels.
    """

    starts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    images: NDArray[np.int64]
    totals: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(
        cls, group: NDArray[np.intp], targets: NDArray[Any], n_groups: int, n_classes: int
    ) -> Self:
        """Count images by group and class; `targets` as in `held_out_groups`."""
        if targets.ndim == 2:
            rows, labels = np.nonzero(targets)
        else:
            rows, labels = np.arange(len(targets)), targets
        keys, images = np.unique(group[rows] * n_classes + labels, return_counts=True)
        return cls(
            starts=np.searchsorted(keys, np.arange(n_groups + 1) * n_classes),
            pairs=keys % n_classes,
            images=images,
            totals=np.bincount(labels, minlength=n_classes),
            sizes=np.bincount(group, minlength=n_groups),
        )

    def classes(self, group: int) -> NDArray[np.int64]:
        """Return the classes of a group."""
        return self.pairs[self.starts[group] : self.starts[group + 1]]

    def numbers(self, group: int) -> NDArray[np.int64]:
        """Return the number of images of each of them."""
        return self.images[self.starts[group] : self.starts[group + 1]]

    def by_spread(self, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return groups by how unevenly they hold the classes, uneven ones first; else as given."""
        of = np.repeat(np.arange(len(self.sizes)), np.diff(self.starts))
        n = len(self.totals)
        mean = np.bincount(of, weights=self.images, minlength=len(self.sizes)) / n
        square = np.bincount(of, weights=self.images**2, minlength=len(self.sizes)) / n
        return order[np.argsort(-(square - mean**2)[order], kind="stable")]


class _Dealer:
    """Parts that fill up with groups, and which of them needs a group most."""

    def __init__(self, counts: GroupCounts, shares: Sequence[float]) -> None:
        self._counts = counts
        self._portions = np.asarray(shares, dtype=np.float64) / float(np.sum(shares))
        self._filled = np.zeros((len(counts.totals), len(shares)))  # 1: as much as is due
        self._images = np.zeros(len(shares))
        self._each = np.eye(len(shares))

    def _steps(self, group: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        classes = self._counts.classes(group)
        due = self._portions * self._counts.totals[classes][:, None]
        return classes, self._counts.numbers(group)[:, None] / due

    def best(self, group: int) -> int:
        """Return the part with which the classes are spread most evenly over the parts."""
        classes, steps = self._steps(group)
        trials = self._filled[classes] + self._each[:, None, :] * steps
        uneven = trials.std(axis=2).sum(axis=1)
        equal = uneven <= uneven.min() + _TIE
        return int(np.argmin(np.where(equal, self._images, np.inf)))

    def put(self, group: int, part: int) -> None:
        """Put a group into a part."""
        classes, steps = self._steps(group)
        self._filled[classes, part] += steps[:, part]
        self._images[part] += self._counts.sizes[group] / self._portions[part]


class _HeldOut:
    """Groups that are held out, and what is left without them.

    Parameters
    ----------
    counts : list of GroupCounts
        Of the classes; with several labels an image, also of the images that do not bear each.
    may_go : bool ndarray of shape (n_groups,)
        Which groups may be held out at all.
    ratio : float
        What is to be held out of each class, above 0.
    """

    def __init__(self, counts: list[GroupCounts], may_go: NDArray[np.bool_], ratio: float) -> None:
        self._all, self._counts, self._may_go = counts, counts[0], may_go
        self._left = [side.totals.copy() for side in counts]
        self._due = np.maximum(self._counts.totals, 1) * ratio
        self.out = np.zeros(len(may_go), dtype=np.bool_)
        self.n = 0

    def spared(self, group: int) -> bool:
        """Whether something of each of its classes is left without a group."""
        return bool(self._may_go[group]) and all(
            bool((left[side.classes(group)] > side.numbers(group)).all())
            for left, side in zip(self._left, self._all, strict=True)
        )

    def move(self, group: int) -> None:
        """Hold a group out, or bring it back."""
        sign = -1 if self.out[group] else 1
        self.out[group] = sign > 0
        self.n += sign * int(self._counts.sizes[group])
        for left, side in zip(self._left, self._all, strict=True):
            left[side.classes(group)] -= sign * side.numbers(group)

    def bring_to(self, count: int, order: NDArray[np.intp]) -> None:
        """Move groups one way, as long as that brings the number nearer to `count`."""
        way = int(np.sign(count - self.n))
        sizes, stuck = self._counts.sizes, ~self._may_go
        while way * (count - self.n) > 0:
            fits = ~stuck & (self.out == (way < 0)) & (sizes < 2 * way * (count - self.n))
            harm = np.where(fits, self._harm(way), np.inf)
            if not fits.any():
                return
            touched = np.zeros(len(self._due), dtype=np.bool_)  # where the harm has changed
            for group in order[harm[order] == harm.min()].tolist():
                classes = self._counts.classes(group)
                if touched[classes].any() or sizes[group] >= 2 * way * (count - self.n):
                    continue
                if way < 0 or self.spared(group):
                    self.move(group)
                    touched[classes] = True
                else:
                    stuck[group] = True

    def _harm(self, way: int) -> NDArray[np.float64]:
        """Return by how much the shares of the classes would be less even after each move."""
        counts = self._counts
        due = self._due[counts.pairs]
        gap = (counts.totals - self._left[0])[counts.pairs] / due - 1
        change = (gap + way * counts.images / due) ** 2 - gap**2
        of = np.repeat(np.arange(len(counts.sizes)), np.diff(counts.starts))
        harm = np.zeros(len(counts.sizes))
        np.add.at(harm, of, change)
        return harm.round(9)  # so that equal ones are equal

    def add_large(self, most: int, order: NDArray[np.intp]) -> None:
        """Hold out the smallest group of classes that an image is due of, and none held out."""
        counts, left = self._counts, self._left[0]
        for group in order[np.argsort(counts.sizes[order], kind="stable")].tolist():
            classes = counts.classes(group)
            totals = counts.totals[classes]
            lacking = (self._due[classes] >= 1) & (left[classes] == totals)
            part = (totals - left[classes] + counts.numbers(group)) / totals
            small = self.n + counts.sizes[group] <= most and (part <= _MOST_OF_A_CLASS).all()
            if lacking.any() and small and self.spared(group):
                self.move(group)


def deal_groups(counts: GroupCounts, n_parts: int, order: NDArray[np.intp]) -> NDArray[np.int32]:
    """Deal out whole groups so that every part has its share of every class.

    Parameters
    ----------
    counts : GroupCounts
        What is in the groups.
    n_parts : int
        Number of equal parts, 2 or more.
    order : int ndarray of shape (n_groups,)
        The groups in the order of the caller's seed.

    Returns
    -------
    int32 ndarray of shape (n_groups,)
        The part of each group. With at least as many groups as parts, no part is empty.

    Notes
    -----
    The greedy algorithm of scikit-learn's ``StratifiedGroupKFold``: groups come by the standard
    deviation of their numbers of images of each class, the largest first, and each goes to the
    part with which the standard deviation over the parts of the share of a class, averaged over the
    classes, is least; of equals, to the part with the fewest images, then the first.

    References
    ----------
    scikit-learn, ``sklearn/model_selection/_split.py``, ``StratifiedGroupKFold``, after J.
    Wójcik's "Stratified Group k-Fold Cross-Validation" (2019).
    """
    dealer = _Dealer(counts, [1.0] * n_parts)
    parts = np.zeros(len(counts.sizes), dtype=np.int32)
    for group in counts.by_spread(order).tolist():
        parts[group] = dealer.best(group)
        dealer.put(group, int(parts[group]))
    return parts


def distribute(targets: NDArray[np.bool_], shares: Sequence[float]) -> NDArray[np.int32]:
    """Deal out rows of several labels each so that every part has its share of every label.

    Parameters
    ----------
    targets : bool ndarray of shape (n_rows, n_classes)
        Which labels each row bears.
    shares : sequence of float
        How large each part is to be, in any unit.

    Returns
    -------
    int32 ndarray of shape (n_rows,)
        The part of each row.

    Notes
    -----
    Iterative stratification: the label with the fewest rows left comes first, and each of its rows,
    in their order, goes to the part that still wants most of that label; of equals, the one that
    wants most rows, then the first. Rows without a label go where most rows are wanted. The seed
    of the caller is in the order of the rows.

    References
    ----------
    K. Sechidis, G. Tsoumakas and I. Vlahavas, On the stratification of multi-label data, ECML PKDD
    (2011), algorithm 1.
    """
    n_rows = len(targets)
    portions = np.asarray(shares, dtype=np.float64) / float(np.sum(shares))
    left = targets.sum(axis=0).astype(np.int64)
    wanted = (portions[:, None] * left).tolist()
    room = (portions * n_rows).tolist()
    result = np.full(n_rows, -1, dtype=np.int32)

    def place(row: int, wish: Sequence[float]) -> int:
        part = max(range(len(room)), key=lambda p: (wish[p], room[p], -p))
        result[row] = part
        room[part] -= 1
        return part

    while (left > 0).any():
        label = int(np.argmin(np.where(left > 0, left, n_rows + 1)))
        for row in np.flatnonzero(targets[:, label] & (result < 0)).tolist():
            part = place(row, [of_part[label] for of_part in wanted])
            own = np.flatnonzero(targets[row])
            left[own] -= 1
            for other in own.tolist():
                wanted[part][other] -= 1
    for row in np.flatnonzero(result < 0).tolist():
        place(row, room)
    return result


def _largest_remainders(sizes: Iterable[int], count: int) -> list[int]:
    """Divide `count` in proportion to `sizes`, in whole numbers that add up to it."""
    sizes = list(sizes)
    total = sum(sizes)
    if total == 0:
        return [0] * len(sizes)
    shares = [count * size // total for size in sizes]
    by_remainder = sorted(
        range(len(sizes)), key=lambda i: (-(count * sizes[i] % total), -sizes[i], i)
    )
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    return shares
