"""Which images belong together: what people say of it, as the name of a group for each image."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from eyespot.errors import InvalidOption
from eyespot.listing import is_missing
from eyespot.splitting import connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["GroupRule", "as_group", "groups_by_rule", "joined"]

#: How the group of an image follows from its path; see `DataSource.labeled_directories`.
GroupRule: TypeAlias = str | re.Pattern[str] | Callable[[Path], str | int | None]


def as_group(value: object) -> str | None:
    """Return the name of a group as text (NFC, no space around it); None for an empty value."""
    if is_missing(value):
        return None
    name = os.fsdecode(value) if isinstance(value, bytes) else str(value)
    return unicodedata.normalize("NFC", name).strip()


def groups_by_rule(
    rule: GroupRule, paths: Iterable[Path], root: Path | None
) -> tuple[str | None, ...]:
    """Return the group of each image by its path; see `DataSource.labeled_directories`.

    Parameters
    ----------
    rule : str, pattern or callable
        As there.
    paths : iterable of Path
        One or more.
    root : Path or None
        Where the part of a path begins that is looked at; a path that is not below it is looked
        at as it is.

    Raises
    ------
    InvalidOption
        If the rule is none, fails, or finds a group in none of the paths.
    """
    parts = [_below(path, root) for path in paths]
    if isinstance(rule, (str, re.Pattern)):
        find = _finder(rule)
        names = [find(unicodedata.normalize("NFC", part.as_posix())) for part in parts]
        if not any(names):
            pattern = rule if isinstance(rule, str) else rule.pattern
            raise _bad_rule(f"{pattern!r}, which matches no path; the first is {str(parts[0])!r}")
        return tuple(as_group(name) for name in names)
    if not callable(rule):
        raise _bad_rule(
            f"{rule!r}; allowed: a regular expression, a callable that takes a path, or None"
        )
    found = [rule(part) for part in parts]
    for part, value in zip(parts, found, strict=True):
        if not isinstance(value, (str, int)) and not is_missing(value):
            raise _bad_rule(
                f"a callable that gives {value!r} for {str(part)!r}; allowed: text, None"
            )
    return tuple(as_group(value) for value in found)


def joined(
    *namings: Sequence[str | None], links: Sequence[str | None] | None = None
) -> tuple[str | None, ...]:
    """Return groups that share an image, or a link, as one, under the first of their names."""
    units = connected(*namings, *([] if links is None else [links])).tolist()
    called: dict[int, str] = {}
    taken: set[str] = set()
    for names in namings:
        for unit, name in zip(units, names, strict=True):
            if name is not None and unit not in called:
                number, free = 1, name
                while free in taken:
                    number += 1
                    free = f"{name} ({number})"
                taken.add(free)
                called[unit] = free
    return tuple(called.get(unit) for unit in units)


def _below(path: Path, root: Path | None) -> Path:
    return path.relative_to(root) if root is not None and path.is_relative_to(root) else path


def _finder(rule: str | re.Pattern[str]) -> Callable[[str], str | None]:
    """Return what finds the group in a path, by the one way that the pattern leaves open."""
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise _bad_rule(f"{rule!r}, which is no regular expression: {error}") from error
    if not isinstance(cast("object", pattern.pattern), str):
        raise _bad_rule(f"{pattern.pattern!r}; a pattern for text is needed")
    if pattern.groups > 1 and "group" not in pattern.groupindex:
        raise _bad_rule(
            f"{pattern.pattern!r}, which has {pattern.groups} parts in parentheses; "
            "call the one that tells the group (?P<group>...)"
        )
    which: str | int = "group" if "group" in pattern.groupindex else pattern.groups

    def find(text: str) -> str | None:
        match = pattern.search(text)
        return None if match is None else match[which]

    return find


def _bad_rule(what: str) -> InvalidOption:
    return InvalidOption(f"groups is {what}", source="groups", code="invalid_argument")
