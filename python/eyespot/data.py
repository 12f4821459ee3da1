"""Labelled images: where they lie, what they are called, and how some are held out.

A `DataSource` is a plain list of paths with a label for each. It opens no file when it is made.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from eyespot.data_checks import check_for_training, count_of, several_hint, some_of, split_notes
from eyespot.errors import DataError, InvalidOption
from eyespot.grouping import GroupRule, as_group, groups_by_rule, joined
from eyespot.hashing import CancelSign, ContentHashes, DuplicateGroup, hash_files
from eyespot.listing import (
    IgnoredFile,
    Listing,
    as_path,
    did_you_mean,
    list_directories,
    list_files,
    list_mapping,
)
from eyespot.options import SplitStrategy
from eyespot.progress import ProgressCallback, logger
from eyespot.splitting import (
    connected,
    group_by_content,
    held_out,
    held_out_by_labels,
    held_out_groups,
)
from eyespot.tables import Table, list_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["ContentHashes", "DataSource", "DuplicateGroup", "IgnoredFile", "Split"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSource:
    """Labelled images on disk, in an order that depends on their names and labels alone.

    Make one with `labeled_directories`, `labeled_files`, `files_by_label` or `from_table`.

    Attributes
    ----------
    paths : tuple of Path
        The images, sorted by label and then by path.
    classes : tuple of str
        The labels, sorted by code point. Labels are composed (Unicode NFC), with no space around
        them, so that a folder copied between systems keeps its labels.
    targets : int64 ndarray of shape (n_images,) or bool ndarray of shape (n_images, n_classes)
        Position in `classes` of the label of each image, or, of a source with several labels an
        image, which of `classes` it bears; read-only.
    ignored : tuple of IgnoredFile
        What was passed over, each with its reason: hidden files, what systems leave behind
        (``Thumbs.db``), empty files, files whose ending no image has (``.txt``), folders without
        images. Every other file counts as an image until its content says otherwise.
    groups : tuple of (str or None)
        The group of each image, such as a patient, a specimen or a film. Images of a group are
        never on both sides of a split or of a fold. ``None``: the image is a group of its own.

    Raises
    ------
    InvalidOption
        If the attributes do not fit together.

    Examples
    --------
    >>> from eyespot import DataSource, SplitStrategy
    >>> data = DataSource.labeled_directories("photos")  # doctest: +SKIP
    >>> data.counts()  # doctest: +SKIP
    {'cat': 120, 'dog': 131}
    >>> split = data.split(SplitStrategy.fixed(0.2, seed=1))  # doctest: +SKIP
    >>> len(split.train), len(split.validation)  # doctest: +SKIP
    (201, 50)
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    targets: NDArray[Any]
    ignored: tuple[IgnoredFile, ...] = ()
    groups: tuple[str | None, ...] = ()
    _cache: dict[str, ContentHashes] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        paths: Iterable[object] = self.paths
        put(self, "paths", tuple(p if isinstance(p, Path) else as_path(p, "paths") for p in paths))
        put(self, "classes", tuple(self.classes))
        given = np.asarray(self.targets)
        several = given.ndim == 2 and given.dtype.kind == "b"
        if given.size and given.dtype.kind not in "iu" and not several:
            _refuse("targets", f"are {given.dtype}; allowed: whole numbers, or a table of bool")
        targets = np.array(given, dtype=np.bool_ if several else np.int64)
        targets.setflags(write=False)
        put(self, "targets", targets)
        put(self, "ignored", tuple(self.ignored))
        groups = tuple(map(as_group, self.groups)) or (None,) * len(self.paths)
        if len(groups) != len(self.paths):
            _refuse("groups", f"{len(groups):,} given for {len(self.paths):,} paths")
        put(self, "groups", groups)
        if list(self.classes) != sorted(set(self.classes)):
            _refuse("classes", f"{self.classes!r} are not sorted and distinct")
        if several:
            if targets.shape != (len(self.paths), len(self.classes)):
                wanted = f"{len(self.paths)} paths and {len(self.classes)} classes"
                _refuse("targets", f"shape {targets.shape} does not fit {wanted}")
            return
        if targets.shape != (len(self.paths),):
            _refuse("targets", f"shape {targets.shape} does not fit {len(self.paths)} paths")
        if len(targets) and not 0 <= targets.min() <= targets.max() < len(self.classes):
            _refuse("targets", f"values must be from 0 to {len(self.classes) - 1}")

    @classmethod
    def labeled_directories(
        cls,
        path: str | os.PathLike[str],
        *,
        multi_label: bool = False,
        groups: GroupRule | None = None,
    ) -> Self:
        r"""Read a folder that holds one sub-folder per label.

        Parameters
        ----------
        path : str or os.PathLike
            The folder. The name of each sub-folder is a label; folders below a sub-folder belong
            to its label, at any depth, through symbolic links too. No folder is read twice for a
            label. Files beside the sub-folders are passed over.
        multi_label : bool
            Whether an image that lies in several of the sub-folders, as copies or links, bears all
            of their labels; see `multi_label`. To find the copies, all files are read.
        groups : str, pattern or callable, optional
            Which images belong together, by their paths below the folder
            (``cat/tom_1.jpg``): a regular expression that is searched for in each, with slashes
            between the folders, or a callable that takes each as a `Path` and gives the group, or
            None. Of an expression, the part named ``group`` tells the group, else the only part in
            parentheses, else all that it matches. ``r"(?P<group>.+)_\d+\.jpg"`` makes a group of
            ``cat/tom_1.jpg`` and ``cat/tom_2.jpg``, ``r"patient\d+"`` one of all images of a
            patient, whatever their labels. An image without a group is its own.

        Raises
        ------
        DataError
            If the folder is not there, is a file, cannot be listed, holds no image, or holds the
            parts of a data set (``train``, ``test``) where labels are expected.
        InvalidOption
            If `groups` is none of these, or an expression that matches no image.
        """
        listing = list_directories(path)
        source = cls._from_listing(listing, multi_label=multi_label, groups=groups)
        return source._with_copies_joined() if multi_label else source

    @classmethod
    def labeled_files(
        cls,
        path: str | os.PathLike[str],
        separator: str = ".",
        index: int = 0,
        *,
        groups: GroupRule | None = None,
    ) -> Self:
        """Read one flat folder of images whose names hold their labels.

        Parameters
        ----------
        path : str or os.PathLike
            The folder. Sub-folders are passed over.
        separator : str
            What parts the names. With the default, Create ML's, the label of ``cheetah.2.jpg``
            is what stands before the first period: ``cheetah``.
        index : int
            Which part is the label, from 0; negative numbers count from the end. The last ending
            (``.jpg``) is cut off first. Names without that part are passed over.
        groups : str, pattern or callable, optional
            Which images belong together, by their names; as in `labeled_directories`.

        Raises
        ------
        DataError
            If the folder is not there, is a file, cannot be listed, or holds no such image.
        InvalidOption
            If `separator` is empty, `index` is no integer, or `groups` is wrong.
        """
        return cls._from_listing(list_files(path, separator, index), groups=groups)

    @classmethod
    def files_by_label(
        cls,
        mapping: Mapping[str, Iterable[str | os.PathLike[str]]],
        *,
        multi_label: bool = False,
        groups: GroupRule | None = None,
    ) -> Self:
        """Take the paths of a mapping of label to paths.

        Paths are taken as they are: one that is not there is an unreadable image later.

        Parameters
        ----------
        mapping : mapping of str to paths
            The images of each label.
        multi_label : bool
            Whether an image that is listed under several labels, itself or a copy of it, bears all
            of them; see `multi_label`. To find the copies, all files are read.
        groups : str, pattern or callable, optional
            Which images belong together, by their paths as they are given; as in
            `labeled_directories`.

        Raises
        ------
        DataError
            If there is no path, or none of the files is there.
        InvalidOption
            If `mapping` is not of this form, or `groups` is wrong.
        """
        listing = list_mapping(mapping)
        source = cls._from_listing(listing, multi_label=multi_label, groups=groups)
        return source._with_copies_joined() if multi_label else source

    @classmethod
    def from_table(
        cls,
        table: Table | str | os.PathLike[str],
        path_column: str = "path",
        label_column: str | Sequence[str] = "label",
        base_dir: str | os.PathLike[str] | None = None,
        *,
        label_separator: str | None = None,
        multi_label: bool = False,
        group_column: str | None = None,
        groups: GroupRule | None = None,
    ) -> Self:
        """Take the rows of a table: a CSV file, or any data frame or dict of columns.

        Parameters
        ----------
        table : str, os.PathLike or data frame
            A CSV file in UTF-8 (commas, semicolons, tabs or bars between the columns), or an
            object that gives a column for ``table[name]``: pandas, polars, pyarrow, a dict of
            lists.
        path_column : str
            Name of the column of the paths. Rows without one are passed over.
        label_column : str or sequence of str
            Name of the column of the labels. Labels that are no text are written as text. Rows
            without a label are passed over. Several names give a source with several labels an
            image: each cell holds a label or nothing, or, where the columns hold nothing but yes
            and no (1 and 0, true and false), the names of the columns are the labels.
        base_dir : str or os.PathLike, optional
            Where relative paths begin. Default: the folder of the CSV file, or the current folder.
            Backslashes part folders where no file with a backslash in its name is there.
        label_separator : str, optional
            What parts the labels in a cell, such as ``";"``; gives a source with several labels an
            image.
        multi_label : bool
            Whether the rows of one path add up to the labels of one image; see `multi_label`. So
            in any case where there is a separator or several columns. An image whose cells are
            empty then bears none of the labels, which a classifier learns from, too.
        group_column : str, optional
            Name of the column of the groups, such as ``"patient"``: what the images of rows have
            in common that say the same. Names that are no text are written as text; an image whose
            cell is empty is its own group.
        groups : str, pattern or callable, optional
            Instead: which images belong together, by their paths below `base_dir`; as in
            `labeled_directories`.

        Raises
        ------
        DataError
            If the file cannot be read, a column is not there (the message names those that are),
            there is no usable row, an image has two groups, or none of the files is there.
        InvalidOption
            If an argument is of the wrong kind, or both `group_column` and `groups` are given.
        """
        if group_column is not None and groups is not None:
            _refuse("groups", "is given together with group_column; give one of them")
        columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
        several = multi_label or label_separator is not None or len(columns) > 1
        listing = list_table(
            table,
            path_column,
            columns,
            base_dir,
            separator=label_separator,
            several=several,
            group_column=group_column,
        )
        return cls._from_listing(listing, multi_label=several, groups=groups)

    @classmethod
    def _from_listing(
        cls, listing: Listing, *, multi_label: bool = False, groups: GroupRule | None = None
    ) -> Self:
        times: dict[tuple[str, Path], int] = {}
        for pair in listing.found:
            times[pair] = times.get(pair, 0) + 1
        for (label, path), count in times.items():
            if count > 1:
                listing.ignore(path, f"listed {count} times as {label!r}, used once")
        ordered = sorted(times, key=lambda pair: (pair[0], *_path_key(pair[1])))
        classes = sorted({label for label, _ in ordered})
        position = {label: i for i, label in enumerate(classes)}
        ignored = sorted(listing.ignored, key=lambda entry: _path_key(entry.path))
        if ignored:
            logger.info("passed over %d files or folders that are no images", len(ignored))

        def groups_of(paths: Sequence[Path]) -> tuple[str | None, ...]:
            if groups is not None:
                return groups_by_rule(groups, paths, listing.root)
            return tuple(listing.groups.get(path) for path in paths)

        if multi_label:
            every = {path for _, path in ordered} | set(listing.unlabelled)
            paths = sorted(every, key=_path_key)
            row = {path: i for i, path in enumerate(paths)}
            table = np.zeros((len(paths), len(classes)), dtype=np.bool_)
            for label, path in ordered:
                table[row[path], position[label]] = True
            return cls(
                paths=tuple(paths),
                classes=tuple(classes),
                targets=table,
                ignored=tuple(ignored),
                groups=groups_of(paths),
            )
        paths = [path for _, path in ordered]
        return cls(
            paths=tuple(paths),
            classes=tuple(classes),
            targets=np.array([position[label] for label, _ in ordered], dtype=np.int64),
            ignored=tuple(ignored),
            groups=groups_of(paths),
        )

    def _with_copies_joined(self) -> Self:
        """Return the source with each content once, under all labels of its copies.

        Where copies are of several groups, these become one.
        """
        groups = group_by_content(self.hashes().digests)
        first_of = {i: group[0] for group in groups.values() for i in group}
        names = joined(self.groups, links=self.hashes().digests)
        keep = [i for i in range(len(self)) if first_of.get(i, i) == i]
        targets = self.targets.copy()
        ignored = list(self.ignored)
        for group in groups.values():
            targets[group[0]] = self.targets[group].any(axis=0)
            reason = f"a copy of {self.paths[group[0]]}, which has its labels too"
            ignored += [IgnoredFile(path=self.paths[i], reason=reason) for i in group[1:]]
        twin = type(self)(
            paths=tuple(self.paths[i] for i in keep),
            classes=self.classes,
            targets=targets[keep],
            ignored=tuple(sorted(ignored, key=lambda entry: _path_key(entry.path))),
            groups=tuple(names[i] for i in keep),
        )
        twin._cache.update(self.take(keep)._cache)
        return twin

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        groups = f", {count_of(n, 'group')}" if (n := len(self.group_sizes())) else ""
        ignored = f", {len(self.ignored)} ignored" if self.ignored else ""
        what = f"{count_of(len(self), 'image')} of {_classes(self.classes)}"
        return f"<DataSource: {what}{groups}{ignored}>"

    @property
    def multi_label(self) -> bool:
        """Whether each image bears any number of labels, not just one.

        Such a source trains a `MultiLabelImageClassifier`, and its `targets` are a table of yes and
        no. Its images are sorted by path.
        """
        return self.targets.ndim == 2

    @property
    def label_sets(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each image, sorted, in the order of `paths`."""
        if not self.multi_label:
            return tuple((label,) for label in self.labels)
        return tuple(
            tuple(self.classes[i] for i in np.flatnonzero(row).tolist()) for row in self.targets
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each image, in the order of `paths`; see `label_sets` for several each.

        Raises
        ------
        InvalidOption
            If images of this source bear several labels.
        """
        if self.multi_label:
            _refuse("labels", "the images bear several labels each; label_sets has them")
        return tuple(self.classes[target] for target in self.targets.tolist())

    def labeled_images(self) -> dict[str, list[Path]]:
        """Return the images of each label, both sorted."""
        images: dict[str, list[Path]] = {label: [] for label in self.classes}
        for labels, path in zip(self.label_sets, self.paths, strict=True):
            for label in labels:
                images[label].append(path)
        return images

    def counts(self) -> dict[str, int]:
        """Return the number of images of each label."""
        numbers = (
            self.targets.sum(axis=0)
            if self.multi_label
            else np.bincount(self.targets, minlength=len(self.classes))
        )
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def take(self, indices: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Self:
        """Return the images at some positions, with all of the classes kept.

        Parameters
        ----------
        indices : int or bool ndarray of shape (n,) or (n_images,)
            Positions in `paths`, or a mask over them.
        """
        where = np.asarray(indices) if len(indices) else np.arange(0)
        chosen = np.arange(len(self))[where].tolist()
        part = type(self)(
            paths=tuple(self.paths[i] for i in chosen),
            classes=self.classes,
            targets=self.targets[chosen],
            groups=tuple(self.groups[i] for i in chosen),
        )
        if (known := self._cache.get("hashes")) is not None:
            part._cache["hashes"] = known.take(chosen)
        return part

    def with_classes(self, classes: Sequence[str]) -> Self:
        """Return the same images with targets that count in `classes`, such as a model's.

        Raises
        ------
        DataError
            If an image has a label that is not among `classes`.
        InvalidOption
            If `classes` are not sorted and distinct.
        """
        known = tuple(classes)
        unknown = [label for label, n in self.counts().items() if n and label not in known]
        if unknown:
            hint = several_hint(unknown, known) or did_you_mean(unknown[0], known)
            message = (
                f"{count_of(len(unknown), 'label')} of the data unknown to the model: "
                f"{some_of(unknown)}{hint}; the model knows {some_of(known)}"
            )
            raise DataError(message, source=unknown[0], code="unknown_label")
        position = {label: i for i, label in enumerate(known)}
        if self.multi_label:
            table = np.zeros((len(self), len(known)), dtype=np.bool_)
            for column, label in zip(self.targets.T, self.classes, strict=True):
                if label in position:  # else no image bears it
                    table[:, position[label]] = column
            return self._with_targets(known, table)
        translated = np.array([position.get(label, 0) for label in self.classes], dtype=np.int64)
        return self._with_targets(known, translated[self.targets] if len(self) else self.targets)

    def _with_targets(self, classes: tuple[str, ...], targets: NDArray[Any]) -> Self:
        twin = replace(self, classes=classes, targets=targets)
        twin._cache.update(self._cache)
        return twin

    def with_groups(
        self,
        groups: Sequence[object] | NDArray[Any] | Mapping[Path, object] | None,
        *,
        join: bool = False,
    ) -> Self:
        """Return the same images in other groups.

        Parameters
        ----------
        groups : sequence of length n_images, mapping of path to group, or None
            The group of each image, in the order of `paths`, or of those that a mapping names;
            an image without one, or with an empty one (None, NaN, blank text), is its own. Names
            that are no text are written as text. None takes all groups away.
        join : bool
            Whether images of a group stay together as before, too: groups that share an image
            become one.

        Raises
        ------
        InvalidOption
            If there is not one group an image, or a mapping names none of the images.

        Examples
        --------
        >>> found = eyespot.review(data)  # doctest: +SKIP
        >>> data = data.with_groups(found.groups(), join=True)  # doctest: +SKIP
        """
        given: Sequence[object] | NDArray[Any] | Mapping[Path, object]
        given = () if groups is None else groups
        if isinstance(given, (str, bytes)):
            hint = "a pattern goes with labeled_directories(..., groups=) and the like"
            _refuse("groups", f"is {given!r}; allowed: one group an image, or a mapping; {hint}")
        if isinstance(given, Mapping):
            if given and not any(path in given for path in self.paths):
                _refuse("groups", "names none of the images; its keys must be in `paths`")
            given = [given.get(path) for path in self.paths]
        elif groups is not None and len(given) != len(self):
            _refuse("groups", f"{len(given):,} given for {len(self):,} paths")
        names: Sequence[str | None] = tuple(map(as_group, given))
        if join and names:
            names = joined(self.groups, names)
        twin = replace(self, groups=tuple(names))
        twin._cache.update(self._cache)
        return twin

    def group_sizes(self) -> dict[str, int]:
        """Return the number of images of each group that has a name, sorted."""
        return dict(sorted(Counter(name for name in self.groups if name is not None).items()))

    def check_for_training(self) -> tuple[str, ...]:
        """Refuse what no classifier can be trained on; return what the user should know.

        Returns
        -------
        tuple of str
            Sentences about classes of one image or of few, labels that look alike, groups of one
            image each, and images without a group beside others; often empty.

        Raises
        ------
        DataError
            If there are fewer than two classes with images; of a source with several labels an
            image, if all or none of the images bear a label; if all images of each class are one
            group.

        Warns
        -----
        GroupsWarning
            If all images of some class are one group.
        """
        return check_for_training(self)

    def hashes(
        self,
        *,
        n_threads: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelSign | None = None,
    ) -> ContentHashes:
        """Read every file once and return the digests of the contents.

        The answer is kept, so later calls read nothing.

        Parameters
        ----------
        n_threads : int
            Threads that read; 0 means as many as the process may use. The answer is the same.
        progress : ProgressCallback, optional
            Told how many files were read, in the phase ``initialized``.
        cancel : CancelToken, optional
            Looked at every 50 ms.

        Raises
        ------
        Cancelled
            If `cancel` asked for it.
        InvalidOption
            If `n_threads` is negative.

        Notes
        -----
        A file that is missing or unreadable is an error in the answer, not an exception. Memory
        stays small: a large file is read in pieces.
        """
        if (known := self._cache.get("hashes")) is None:
            known = hash_files(self.paths, n_threads, progress, cancel)
            self._cache["hashes"] = known
        return known

    def duplicates(self) -> tuple[DuplicateGroup, ...]:
        """Return the groups of files that are equal to the last byte, in the order of `paths`."""
        labels = [" + ".join(names) or "no label" for names in self.label_sets]
        return tuple(
            DuplicateGroup(
                digest=digest,
                paths=tuple(self.paths[i] for i in group),
                labels=tuple(labels[i] for i in group),
            )
            for digest, group in group_by_content(self.hashes().digests).items()
            if len(group) > 1
        )

    def shared_with(self, other: DataSource) -> tuple[tuple[Path, Path], ...]:
        """Return the pairs (here, in `other`) of files that are equal to the last byte."""
        there = group_by_content(other.hashes().digests)
        return tuple(
            (path, other.paths[there[digest][0]])
            for path, digest in zip(self.paths, self.hashes().digests, strict=True)
            if digest in there
        )

    def split(self, strategy: SplitStrategy) -> Split:
        """Hold out some of the images for validation.

        Parameters
        ----------
        strategy : SplitStrategy
            How many images, and the seed.

        Returns
        -------
        Split
            Both parts keep all classes of this source.

        Raises
        ------
        InvalidOption
            If `strategy` is no `SplitStrategy`.

        Notes
        -----
        Each class gives in proportion to its size (largest remainders), and keeps at least one
        image. The choice follows from the seed and the contents of the files: the order of the
        listing, the names and the place of the folder do not matter. Byte-identical files stay
        together, and in training if their labels differ. Unreadable files stay in training, where
        they are reported; they do not count as images here. Where images bear several labels,
        the number and the shares of the classes are met as nearly as iterative stratification can
        (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011).

        Images of a group stay together, too, and with those that a byte-identical file links them
        to. They are dealt out as by scikit-learn's ``StratifiedGroupKFold``, and a class whose
        images are all of one group stays in training; see
        `eyespot.splitting.held_out_groups`. Groups of one image each change nothing.
        """
        if not isinstance(cast("object", strategy), SplitStrategy):
            _refuse("strategy", f"{strategy!r}; allowed: a SplitStrategy")
        digests = self.hashes().digests
        n_read = sum(digest is not None for digest in digests)
        count = strategy.validation_count(n_read)
        units = connected(digests, self.groups)
        if not np.array_equal(units, connected(digests)):
            mask = held_out_groups(
                self.targets, digests, units, len(self.classes), count, strategy.seed
            )
        elif self.multi_label:
            mask = held_out_by_labels(self.targets, digests, count, strategy.seed)
        else:
            mask = held_out(self.targets, digests, len(self.classes), count, strategy.seed)
        train = self.take(~mask)
        validation = self.take(mask) if mask.any() else None
        conflicts = tuple(group for group in self.duplicates() if group.conflicting)
        return Split(
            train=train,
            validation=validation,
            conflicts=conflicts,
            notes=split_notes(strategy, n_read, count, train, validation, conflicts),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Images to train on and images held out; no byte-identical file or group is on both sides.

    Attributes
    ----------
    train : DataSource
        What is left to train on.
    validation : DataSource or None
        What is held out; ``None`` if nothing is.
    conflicts : tuple of DuplicateGroup
        Byte-identical files that go by several labels; all of them are in `train`.
    notes : tuple of str
        What the user should know about this split, in sentences; often empty.
    """

    train: DataSource
    validation: DataSource | None
    conflicts: tuple[DuplicateGroup, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        n_validation = len(self.validation) if self.validation is not None else 0
        return f"<Split: {len(self.train):,} to train on, {n_validation:,} held out>"


def _path_key(path: Path) -> tuple[str, str]:
    """Order paths alike on systems that compose accents and on those that take them apart."""
    text = path.as_posix()
    return unicodedata.normalize("NFC", text), text


def _refuse(name: str, what: str) -> None:
    message = f"{name}: {what}"
    raise InvalidOption(message, source=name, code="invalid_argument")


def _classes(classes: Sequence[str]) -> str:
    return f"{count_of(len(classes), 'class', 'classes')} ({some_of(classes)})"
