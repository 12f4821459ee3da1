"""Which images are held out for validation: a function of labels, contents and seed alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["distribute", "group_by_content", "held_out", "held_out_by_labels"]


def group_by_content(digests: Sequence[str | None]) -> dict[str, list[int]]:
    """Return the positions of the files of each content; files that have no digest are left out."""
    groups: dict[str, list[int]] = {}
    for position, digest in enumerate(digests):
        if digest is not None:
            groups.setdefault(digest, []).append(position)
    return groups


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
