"""What a user should know of data and splits, in sentences; and data that cannot be trained on."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eyespot.errors import DataError, GroupsWarning
from eyespot.splitting import connected

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from eyespot.hashing import DuplicateGroup
    from eyespot.options import SplitStrategy

__all__ = ["check_for_training", "count_of", "several_hint", "some_of", "split_notes"]

_FEW_IMAGES = 10  # Apple's guide asks for at least this many images of each label
_NAMES_SHOWN = 5


class LabelledImages(Protocol):
    """What is looked at here of a `DataSource`."""

    @property
    def paths(self) -> tuple[Path, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def targets(self) -> NDArray[Any]: ...
    @property
    def groups(self) -> tuple[str | None, ...]: ...
    @property
    def multi_label(self) -> bool: ...
    def __len__(self) -> int: ...
    def counts(self) -> dict[str, int]: ...
    def group_sizes(self) -> dict[str, int]: ...


def check_for_training(data: LabelledImages) -> tuple[str, ...]:
    """Refuse what no classifier can be trained on; see `DataSource.check_for_training`."""
    counts = {label: n for label, n in data.counts().items() if n}
    if not counts:
        raise DataError("there are no images to train on", code="no_images")
    if data.multi_label:
        _check_every_label(data)
    elif len(counts) == 1:
        label, n = next(iter(counts.items()))
        message = f"{count_of(n, 'image')}, all of the label {label!r}; training needs two labels"
        folders = {path.parent for path in data.paths}
        if (above := _common_folder(folders)) is not None:
            message += f"; if the folders in {above} are the labels, pass that folder"
        raise DataError(message, source=label, code="one_class")
    notes = []
    twins: dict[str, list[str]] = {}
    for label in counts:
        twins.setdefault(label.casefold(), []).append(label)
    alike = [" and ".join(labels) for labels in twins.values() if len(labels) > 1]
    if alike:
        notes.append(f"labels that differ in upper and lower case only: {some_of(alike)}")
    if hint := several_hint(tuple(counts), tuple(counts)):
        notes.append(f"labels such as {some_of(list(counts)[:2])}{hint}")
    single = [label for label, n in counts.items() if n == 1]
    few = [label for label, n in counts.items() if 1 < n < _FEW_IMAGES]
    if single:
        notes.append(
            f"{count_of(len(single), 'class has', 'classes have')} a single image, which is "
            f"trained on and so cannot be validated: {some_of(single)}"
        )
        if len(single) == len(counts):
            notes.append("no label has a second image: is that part of the name the label?")
    if few:
        notes.append(
            f"{count_of(len(few), 'class has', 'classes have')} fewer than {_FEW_IMAGES} images: "
            f"{some_of(few)}"
        )
    return (*notes, *_check_groups(data))


def _check_groups(data: LabelledImages) -> tuple[str, ...]:
    """Refuse groups that leave nothing to hold out, warn of classes that are one group."""
    sizes = data.group_sizes()
    if not sizes:
        return ()
    if max(sizes.values()) == 1:
        return ("no two images are of one group: is that part of the path, or column, right?",)
    notes = []
    without = [path for path, name in zip(data.paths, data.groups, strict=True) if name is None]
    if without:
        words = count_of(len(without), "image is", "images are")
        notes.append(f"{words} of no group, and so each on its own; the first: {without[0]}")
    units = connected(data.groups)
    alone = {}
    for label, images in zip(data.classes, _members(data), strict=True):
        if len(images) > 1 and (units[images] == units[images[0]]).all():
            alone[label] = data.groups[images[0]]
    if not alone:
        return tuple(notes)
    label, name = next(iter(alone.items()))
    if len(alone) == sum(n > 0 for n in data.counts().values()):
        message = (
            f"the images of each label are all of one group (those of {label!r} of {name!r}), "
            "so none could be held out to validate or to choose the penalty by; make groups "
            "smaller than labels, or leave them out"
        )
        raise DataError(message, source="groups", code="one_group")
    told = some_of([f"{label!r} ({name!r})" for label, name in alone.items()])
    message = (
        f"all images of {told} are of one group: they are trained on, but never held out, so "
        "nothing tells how well new ones are recognised; add images of other groups"
    )
    warnings.warn(message, GroupsWarning, stacklevel=4)
    return tuple(notes)


def _members(data: LabelledImages) -> list[NDArray[np.intp]]:
    """Return the positions of the images of each class."""
    if data.multi_label:
        return [np.flatnonzero(column) for column in data.targets.T]
    return [np.flatnonzero(data.targets == i) for i in range(len(data.classes))]


def _check_every_label(data: LabelledImages) -> None:
    """Refuse labels that all or none of the images bear; with one image, that is any label."""
    for label, n in data.counts().items():
        if 0 < n < len(data):
            continue
        which = "no image bears" if n == 0 else "every image bears"
        missing = "one that does" if n == 0 else "some that do not"
        message = (
            f"{which} the label {label!r}, so it cannot be learnt; add images ({missing}), or "
            "take the label out"
        )
        raise DataError(message, source=label, code="one_class")


def split_notes(
    strategy: SplitStrategy,
    n_read: int,
    count: int,
    train: LabelledImages,
    validation: LabelledImages | None,
    conflicts: Sequence[DuplicateGroup],
) -> tuple[str, ...]:
    """Return what the user should know about a split; see `Split.notes`."""
    notes = []
    if validation is None and strategy.ratio is None and not count:
        notes.append(
            f"no validation set: {count_of(n_read, 'image')}, and it takes 50 to hold some out"
        )
    elif validation is None and count:
        spare = "a group" if train.group_sizes() else "an image"
        notes.append(f"no validation set: no class has {spare} to spare")
    elif validation is not None:
        absent = [label for label, n in validation.counts().items() if not n]
        if absent:
            notes.append(
                f"{count_of(len(absent), 'class has', 'classes have')} no image in the validation "
                f"set: {some_of(absent)}"
            )
        given = validation.counts()
        thin = [label for label, n in train.counts().items() if n == 1 and given[label]]
        if thin:
            notes.append(
                f"the validation set leaves one image to train on of "
                f"{count_of(len(thin), 'class', 'classes')}: {some_of(thin)}; hold out less"
            )
    notes += _group_notes(n_read, count, train, validation)
    if conflicts:
        first = dict(zip(conflicts[0].labels, conflicts[0].paths, strict=True))
        twins = ", ".join(f"{path} ({label})" for label, path in first.items())
        notes.append(
            f"{count_of(len(conflicts), 'image goes', 'images go')} by several labels "
            f"(byte-identical files); the first: {twins}"
        )
    return tuple(notes)


def _group_notes(
    n_read: int, count: int, train: LabelledImages, validation: LabelledImages | None
) -> list[str]:
    """Tell how many groups were kept together, and whether that changed how much is held out."""
    sizes = [side.group_sizes() if side is not None else {} for side in (train, validation)]
    kept = [sum(n > 1 for n in of_side.values()) for of_side in sizes]
    if not sum(kept):
        return []
    told = f"{count_of(sum(kept), 'group')} of two or more images kept together"
    notes = [f"{told}: {kept[0]:,} to train on, {kept[1]:,} held out"]
    n_out = 0 if validation is None else len(validation)
    if n_out and abs(n_out - count) > max(0.2 * count, 1):
        notes.append(
            f"{count_of(n_out, 'image is', 'images are')} held out instead of {count:,} of "
            f"{n_read:,}, because groups are not taken apart"
        )
    return notes


def _common_folder(folders: Collection[Path]) -> Path | None:
    """Return the folder that holds all of several folders, unless that is one of them."""
    if len(folders) < 2:
        return None
    try:
        above = Path(os.path.commonpath(folders))
    except ValueError:  # relative and absolute ones, or on several drives
        return None
    return None if above in folders else above


def several_hint(labels: Sequence[str], known: Collection[str]) -> str:
    """Return what to do about labels that are several of the known ones in one cell, if any is."""
    for separator in (";", "|", ","):
        for label in labels:
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and set(parts) <= set(known):
                return f"; {label!r} looks like several labels: name their label_separator"
    return ""


def count_of(n: int, one: str, many: str | None = None) -> str:
    """Return a number and its noun, in the plural where that is due."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def some_of(names: Sequence[str]) -> str:
    """Name a few of `names`, and say how many there are besides."""
    if len(names) <= _NAMES_SHOWN + 1:  # the last one takes no more room than "1 more"
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES_SHOWN])} and {len(names) - _NAMES_SHOWN:,} more"
