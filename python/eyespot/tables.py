"""From a CSV file or any data frame to (label, path) pairs."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from eyespot.errors import DataError, InvalidOption
from eyespot.grouping import as_group
from eyespot.listing import (
    Listing,
    as_path,
    check_some_exist,
    clean_label,
    did_you_mean,
    is_missing,
    path_text,
    text,
    with_home,
)

__all__ = ["Table", "list_table"]

# Spreadsheets write the separator of the reader's country.
_DELIMITERS = (",", ";", "\t", "|")
_ANSWERS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}
_ANSWERS |= {"0.0": False, "1.0": True}  # whole numbers beside an empty cell become these
_OTHER_TABLES = {".feather", ".json", ".jsonl", ".ods", ".parquet", ".xls", ".xlsx"}


@runtime_checkable
class Table(Protocol):
    """Whatever gives a column for a column's name: a data frame, a dict of lists."""

    def __getitem__(self, name: str, /) -> Iterable[object]:
        """Return the values of a column, in the order of the rows."""


def list_table(
    table: Table | str | os.PathLike[str],
    path_column: str,
    label_columns: Sequence[str],
    base_dir: str | os.PathLike[str] | None,
    *,
    separator: str | None = None,
    several: bool = False,
    group_column: str | None = None,
) -> Listing:
    """List the rows of a table; a row without a path or a label is passed over, with the reason.

    With `several`, an image may bear any number of labels, and one without a label bears none.
    """
    path_column = text(path_column, "path_column")
    if not label_columns:
        message = "label_column names no column; allowed: one name or several"
        raise InvalidOption(message, source="label_column", code="invalid_argument")
    label_columns = [text(name, "label_column") for name in label_columns]
    if separator is not None:
        separator = text(separator, "label_separator")
    own = () if group_column is None else (text(group_column, "group_column"),)
    base = None if base_dir is None else with_home(as_path(base_dir, "base_dir"))
    columns: list[Sequence[object]]
    numbers: Sequence[int]
    names = (path_column, *label_columns, *own)
    if isinstance(table, (str, os.PathLike)):
        file = with_home(as_path(table, "table"))
        source, row_source = str(file), file
        columns, numbers = _read_csv(file, names)
        base = file.parent if base is None else base
        unit = "line"
    else:
        source, row_source = "the table", Path("table")
        columns = [_column(table, name) for name in names]
        numbers, unit = range(len(columns[0])), "row"
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            message = (
                f"{source}: column {path_column!r} has {len(columns[0]):,} rows but {name!r} has "
                f"{len(column):,}"
            )
            raise DataError(message, source=source, code="bad_table")
    groups = columns.pop() if own else [None] * len(columns[0])
    if len(label_columns) > 1:
        columns[1:] = _named_by_column(label_columns, columns[1:])

    listing = Listing(root=base)
    for number, group, value, *cells in zip(numbers, groups, *columns, strict=True):
        row = f"{source}, {unit} {number}"
        if is_missing(value):
            listing.ignore(row_source, f"{unit} {number} has no path")
            continue
        path = _locate(value, base, row)
        if (name := as_group(group)) is not None and listing.groups.setdefault(path, name) != name:
            message = (
                f"{row}: {path} is of the group {name!r} here, and of {listing.groups[path]!r} in "
                "a row before; an image is of one group"
            )
            raise DataError(message, source=source, code="bad_table")
        labels = [label for cell in cells for label in _labels(cell, separator)]
        listing.found += [(clean_label(label, row), path) for label in labels]
        if not labels and several:
            listing.unlabelled.append(path)
        elif not labels:
            listing.ignore(path, f"{unit} {number} of {source} has no label")
    where = "the current folder" if base is None else str(base)
    hint = f" (paths are taken from {where}; base_dir names another folder)"
    check_some_exist(listing, source, hint)
    return listing


def _labels(cell: object, separator: str | None) -> list[str]:
    """Return the labels that a cell names; parts that are blank are none."""
    if is_missing(cell):
        return []
    name = os.fsdecode(cell) if isinstance(cell, bytes) else str(cell)
    if separator is None:
        return [name]
    return [part for part in name.split(separator) if part.strip()]


def _named_by_column(
    names: Sequence[str], columns: Sequence[Sequence[object]]
) -> list[Sequence[object]]:
    """Turn columns of yes and no into columns of their names; other columns stay as they are."""
    answers = [[_yes_or_no(cell) for cell in column] for column in columns]
    if any(answer is None for column in answers for answer in column):
        return list(columns)
    return [
        [name if answer else None for answer in column]
        for name, column in zip(names, answers, strict=True)
    ]


def _yes_or_no(cell: object) -> bool | None:
    """Return what a cell of a column of yes and no says; an empty one says no."""
    if is_missing(cell):
        return False
    return _ANSWERS.get(str(cell).strip().lower())


def _locate(value: object, base: Path | None, source: str) -> Path:
    """Return the path that a cell names, allowing for where tables come from.

    Where no file of the very name is there, the name is tried without the spaces around it, with
    backslashes as slashes (Windows), and with accents composed or taken apart (macOS).
    """
    given = path_text(value, source)
    names = [given, given.strip()]
    if os.sep == "/":
        names.append(names[-1].replace("\\", "/"))
    names += [unicodedata.normalize("NFC", names[-1]), unicodedata.normalize("NFD", names[-1])]
    folder = "" if base is None else os.fspath(base)
    paths = [Path(os.path.join(folder, name)) for name in dict.fromkeys(names)]  # noqa: PTH118 - fast
    if len(paths) == 1:
        return paths[0]
    return next((path for path in paths if path.exists()), paths[0])


def _read_csv(file: Path, wanted: Sequence[str]) -> tuple[list[Sequence[object]], list[int]]:
    if file.suffix.lower() in _OTHER_TABLES:
        message = f"{file} is no CSV file; read it with pandas or polars and pass the data frame"
        raise DataError(message, source=str(file), code="bad_table")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            delimiter = _delimiter(file, header, wanted)
            stream.seek(0)
            return _read_columns(stream, delimiter, wanted)
    except FileNotFoundError:
        raise DataError(
            f"{file}: there is no such file", source=str(file), code="not_found"
        ) from None
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror or error}"
        raise DataError(message, source=str(file), code="io") from error
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8"
        raise DataError(message, source=str(file), code="bad_table") from error
    except csv.Error as error:
        raise DataError(f"{file}: {error}", source=str(file), code="bad_table") from error


def _header(line: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _delimiter(file: Path, line: str, wanted: Sequence[str]) -> str:
    for delimiter in _DELIMITERS:
        if set(wanted) <= set(_header(line, delimiter)):
            return delimiter
    names = max((_header(line, delimiter) for delimiter in _DELIMITERS), key=len)
    if not any(names):
        raise DataError(f"{file} is empty", source=str(file), code="bad_table")
    missing = next(name for name in wanted if name not in names)
    raise _no_column(str(file), missing, names, "; the first line must name the columns")


def _read_columns(
    stream: Iterable[str], delimiter: str, wanted: Sequence[str]
) -> tuple[list[Sequence[object]], list[int]]:
    """Return the wanted columns, and the number of the line that each row ends on."""
    rows = csv.reader(stream, delimiter=delimiter)
    names = [name.strip() for name in next(rows)]
    places = [names.index(name) for name in wanted]
    columns: list[list[str]] = [[] for _ in wanted]
    numbers = []
    for row in rows:
        if row:  # a blank line is no row
            for column, place in zip(columns, places, strict=True):
                column.append(row[place] if place < len(row) else "")
            numbers.append(rows.line_num)
    return list(columns), numbers


def _column(table: object, name: str) -> list[object]:
    if isinstance(table, (bytes, Sequence)) or not isinstance(table, Table):
        message = (
            f"table is {type(table).__name__}; allowed: the path of a CSV file, a data frame, or "
            "a dict of columns"
        )
        raise InvalidOption(message, source="table", code="invalid_argument")
    names = _column_names(table)
    if names is not None and name not in names:
        raise _no_column("the table", name, names, "")
    try:
        column = table[name]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _no_column("the table", name, names or [], "") from error
    to_list = getattr(column, "to_pylist", None)  # Arrow's own values are no Python values
    return list(column if to_list is None else to_list())


def _column_names(table: Table) -> list[str] | None:
    if isinstance(table, Mapping):
        return [str(name) for name in table]
    dtype_names = getattr(getattr(table, "dtype", None), "names", None)  # a structured array
    for names in (
        getattr(table, "column_names", None),
        dtype_names,
        getattr(table, "columns", None),
    ):
        if names is not None:
            return [str(name) for name in names]
    return None


def _no_column(source: str, name: str, names: Sequence[str], hint: str) -> DataError:
    there = ", ".join(map(repr, names)) if names else "none that could be listed"
    message = (
        f"{source} has no column {name!r}; its columns are {there}{did_you_mean(name, names)}{hint}"
    )
    return DataError(message, source=source, code="no_such_column")
