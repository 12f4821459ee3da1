"""From folders, file names and mappings to (label, path) pairs, with a reason for all passed over.

Nothing is opened here: what is an image shows when it is read. Only what can be told from a name
or a size is passed over, and every such file is listed with the reason.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eyespot.errors import DataError, InvalidOption, printable
from eyespot.options import integer

__all__ = [
    "IgnoredFile",
    "Listing",
    "clean_label",
    "is_missing",
    "list_directories",
    "list_files",
    "list_images",
    "list_mapping",
]

# What systems and programs leave between people's photos; compared in lower case.
_LITTER = {
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
# Endings that no photo has. Any other ending, or none, is given the benefit of the doubt.
_NOT_IMAGES = frozenset(
    """
    .7z .aac .aae .avi .bz2 .c .cfg .conf .cpp .css .csv .db .doc .docx .flac .gz .h .h5
    .hdf5 .htm .html .ini .ipynb .js .json .jsonl .lnk .log .lst .m4a .m4v .mat .md .mkv .mlmodel
    .mov .mp3 .mp4 .mpeg .mpg .npy .npz .ogg .onnx .parquet .pdf .pickle .pkl .ppt .pptx .pt .pth
    .py .pyc .rar .rst .rtf .sh .sha256 .sqlite .srt .svg .tar .tfrecord .tgz .toml .tsv .txt .url
    .wav .webm .wmv .xls .xlsx .xml .xmp .xz .yaml .yml .zip
    """.split()  # noqa: SIM905 - a list would be seventy lines
)
_SPLIT_NAMES = {"dev", "test", "testing", "train", "training", "val", "valid", "validation"}
_MOST_PARTS = 255  # the longest file name there is
_ARCHIVES = {".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"}
_TABLES = {".csv", ".parquet", ".tsv", ".xlsx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredFile:
    """A file or folder that was passed over, and why; usable wherever a path is.

    Attributes
    ----------
    path : Path
        What was passed over. For a row of a table that names no file, the table itself.
    reason : str
        Why, in words.
    """

    path: Path
    reason: str

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.reason}")


@dataclass(slots=True)
class Listing:
    """What was found, in no particular order: (label, path) pairs, and what was passed over.

    In `unlabelled` are the images that bear none of the labels, where an image may bear several;
    `root` is the folder that paths are told from, and `groups` has what a table tells.
    """

    found: list[tuple[str, Path]] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    ignored: list[IgnoredFile] = field(default_factory=list)
    root: Path | None = None
    groups: dict[Path, str] = field(default_factory=dict)

    def ignore(self, path: str | Path, reason: str) -> None:
        """Note that `path` was passed over."""
        self.ignored.append(IgnoredFile(path=Path(path), reason=reason))


def clean_label(name: str, source: str | Path) -> str:
    """Return a label in the one form that eyespot uses: composed (NFC), no space around it.

    Raises
    ------
    DataError
        If nothing is left, or the text is not valid Unicode and so could not be saved.
    """
    label = unicodedata.normalize("NFC", name).strip()
    if not label:
        raise DataError(f"{source}: the label is empty", source=str(source), code="bad_label")
    try:
        label.encode()
    except UnicodeEncodeError:
        message = f"{label}: the name is not valid UTF-8, so it cannot be a label; rename it"
        raise DataError(message, source=printable(label), code="bad_label") from None
    return label


def is_missing(value: object) -> bool:
    """Tell whether a cell is empty: None, NaN, pandas' NA, or blank text."""
    if value is None or (isinstance(value, (str, bytes)) and not value.strip()):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA has no truth value
        return True


def list_directories(root: str | os.PathLike[str]) -> Listing:
    """List the images of a folder that holds one sub-folder per label, at any depth below it."""
    folder = _existing_folder(root, "one sub-folder per label, each with its images")
    listing = Listing(root=folder)
    entries = _entries(folder)
    nested: list[bool] = []
    n_folders = 0
    for entry in entries:
        if reason := _is_litter(entry.name):
            listing.ignore(entry.path, reason)
        elif not _is_folder(entry):
            listing.ignore(entry.path, "lies beside the label folders, not in one")
        else:
            n_folders += 1
            label = clean_label(entry.name, entry.path)
            before = len(listing.found)
            _walk(label, entry.path, _above(folder), listing)
            new = listing.found[before:]
            if new:
                nested.append(all(path.parent != Path(entry.path) for _, path in new))
            else:
                listing.ignore(entry.path, "the folder holds no image")
    labels = {label for label, _ in listing.found}
    if labels and all(nested) and {label.casefold() for label in labels} <= _SPLIT_NAMES:
        names = sorted(labels)
        example = folder / next((name for name in names if name.startswith("train")), names[0])
        message = (
            f"{folder}: the sub-folders {', '.join(names)} hold folders of their own, so they are "
            f"parts of a data set, not labels; pass one of them, such as {example}"
        )
        raise DataError(message, source=str(folder), code="split_folders")
    if not listing.found:
        raise _nothing_found(folder, entries, n_folders, listing)
    return listing


def list_files(root: str | os.PathLike[str], separator: str, index: int) -> Listing:
    """List the images of one flat folder whose names hold their labels."""
    separator = text(separator, "separator")
    index = integer(index, "index", low=-_MOST_PARTS, high=_MOST_PARTS)
    folder = _existing_folder(root, "images whose names begin with their labels")
    listing = Listing(root=folder)
    entries = _entries(folder)
    n_folders = 0
    for entry in entries:
        if reason := _is_litter(entry.name):
            listing.ignore(entry.path, reason)
        elif _is_folder(entry):
            n_folders += 1
            listing.ignore(entry.path, "a sub-folder: only the folder itself is read")
        elif reason := _not_an_image(entry):
            listing.ignore(entry.path, reason)
        else:
            parts = os.path.splitext(entry.name)[0].split(separator)  # noqa: PTH122 - 100,000 names
            fits = separator in entry.name and -len(parts) <= index < len(parts)
            if fits and parts[index].strip():
                label = clean_label(parts[index], entry.path)
                listing.found.append((label, Path(entry.path)))
            else:
                listing.ignore(
                    entry.path, f"the name has no part {index} between {separator!r} to be a label"
                )
    if not listing.found:
        hint = ""
        if n_folders:
            hint = "; for one sub-folder per label use DataSource.labeled_directories"
        elif entries:
            hint = f"; the first file passed over: {listing.ignored[0]}"
        found = f"holds no image named LABEL{separator}…" if entries else "is empty"
        message = f"{folder} {found}{hint}"
        raise DataError(message, source=str(folder), code="no_images")
    return listing


def list_images(root: str | os.PathLike[str]) -> list[Path]:
    """Return the images of a folder, at any depth below it, sorted; labels do not matter here."""
    folder = _existing_folder(root, "images")
    listing = Listing()
    closed = {_identity(path) for path in folder.resolve().parents}
    _walk("", os.fspath(folder), closed, listing)
    return sorted((path for _, path in listing.found), key=Path.as_posix)


def list_mapping(mapping: object) -> Listing:
    """List the paths of a mapping of label to paths, as they are."""
    if not isinstance(mapping, Mapping):
        message = f"mapping is {type(mapping).__name__}; allowed: a mapping of label to paths"
        raise InvalidOption(message, source="mapping", code="invalid_argument")
    listing = Listing()
    for label, paths in mapping.items():
        source = f"mapping[{label!r}]"
        if not isinstance(label, str):
            message = f"{source}: a label is text, not {type(label).__name__}"
            raise InvalidOption(message, source=source, code="invalid_argument")
        if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
            message = f"{source} is {paths!r}; allowed: a list of paths"
            raise InvalidOption(message, source=source, code="invalid_argument")
        clean = clean_label(label, source)
        listing.found += [(clean, as_path(path, source)) for path in paths]
    check_some_exist(listing, "the mapping", "")
    return listing


def text(value: object, name: str) -> str:
    """Return `value` if it is text and not empty; else `InvalidOption`, naming `name`."""
    if not isinstance(value, str) or not value:
        message = f"{name} is {value!r}; allowed: text of at least one character"
        raise InvalidOption(message, source=name, code="invalid_argument")
    return value


def path_text(value: object, source: str) -> str:
    """Return the text of a path; else `InvalidOption`, naming `source`."""
    if isinstance(value, (str, bytes, os.PathLike)):
        decoded = os.fsdecode(value)
        if decoded and "\0" not in decoded:
            return decoded
    message = f"{source} has {value!r}; allowed: paths"
    raise InvalidOption(message, source=source, code="invalid_argument")


def as_path(value: object, source: str) -> Path:
    """Return `value` as a `Path`; else `InvalidOption`, naming `source`."""
    return value if isinstance(value, Path) else Path(path_text(value, source))


def with_home(path: Path) -> Path:
    """Return the path with a leading ``~`` replaced, if there is such a home folder."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that one raises for an unknown user


def check_some_exist(listing: Listing, source: str, hint: str) -> None:
    """Raise `DataError` if there is no path, or none of the paths is there."""
    if not listing.found:
        why = f"; the first thing passed over: {listing.ignored[0]}" if listing.ignored else ""
        raise DataError(f"{source} names no image{why}", source=source, code="no_images")
    if not any(path.exists() for _, path in listing.found):
        count = len(listing.found)
        which = f"none of the {count:,} files" if count > 1 else "the only file"
        there = "is there" if count > 1 else "is not there"
        message = f"{which} that {source} names {there}; the first is {listing.found[0][1]}{hint}"
        raise DataError(message, source=source, code="not_found")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest of `known`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _existing_folder(root: str | os.PathLike[str], wanted: str) -> Path:
    folder = with_home(as_path(root, "path"))
    if folder.is_dir():
        return folder
    if not folder.exists():
        hint = ""
        if folder.parent.is_dir():
            try:
                hint = did_you_mean(folder.name, (path.name for path in folder.parent.iterdir()))
            except OSError:
                hint = ""
        message = f"{folder}: there is no such folder{hint}"
        raise DataError(message, source=str(folder), code="not_found")
    suffix = folder.suffix.lower()
    hint = ""
    if suffix in _ARCHIVES:
        hint = "; unpack the archive first"
    elif suffix in _TABLES:
        hint = "; DataSource.from_table reads tables"
    message = f"{folder} is a file; expected a folder that holds {wanted}{hint}"
    raise DataError(message, source=str(folder), code="not_a_folder")


def _nothing_found(
    folder: Path, entries: list[os.DirEntry[str]], n_folders: int, listing: Listing
) -> DataError:
    wanted = "it must hold one sub-folder per label, each with its images"
    if not entries:
        found = "is empty"
    elif n_folders:
        folders = "its only sub-folder" if n_folders == 1 else f"its {n_folders} sub-folders"
        reason = listing.ignored[0]
        found = f"holds no image in {folders}; the first thing passed over: {reason}"
    else:
        count = len(entries)
        files = "1 file" if count == 1 else f"{count:,} files"
        found = f"holds {files} but no sub-folder"
        wanted += "; DataSource.labeled_files takes labels from file names"
    return DataError(f"{folder} {found}; {wanted}", source=str(folder), code="no_images")


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        message = f"{folder}: the folder cannot be listed: {error.strerror or error}"
        raise DataError(message, source=str(folder), code="io") from error


def _is_litter(name: str) -> str:
    if name.startswith("."):
        return "hidden"
    return "left there by the system or a program" if name.lower() in _LITTER else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _not_an_image(entry: os.DirEntry[str]) -> str:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - 100,000 names
    if suffix in _NOT_IMAGES:
        return f"a {suffix} file is no image"
    try:
        if not entry.is_file():
            return "a broken symbolic link" if entry.is_symlink() else "not a regular file"
        if entry.stat().st_size == 0:
            return "the file is empty"
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"
    return ""


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - also takes text
    return status.st_dev, status.st_ino


def _above(folder: Path) -> set[tuple[int, int]]:
    """Return the identities of a folder and all above it, none of which a walk may enter."""
    real = folder.resolve()
    return {_identity(path) for path in (real, *real.parents)}


def _walk(label: str, top: str, closed: set[tuple[int, int]], listing: Listing) -> None:
    """Add every image below `top`, through links too, but no folder twice and none of `closed`."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            identity = _identity(folder)
        except OSError as error:
            message = f"{folder}: the folder cannot be read: {error.strerror or error}"
            raise DataError(message, source=folder, code="io") from error
        if identity in closed:
            listing.ignore(folder, "a link to a folder above it or one already read")
            continue
        closed.add(identity)
        for entry in _entries(folder):
            if reason := _is_litter(entry.name):
                listing.ignore(entry.path, reason)
            elif _is_folder(entry):
                waiting.append(entry.path)
            elif reason := _not_an_image(entry):
                listing.ignore(entry.path, reason)
            else:
                listing.found.append((label, Path(entry.path)))
