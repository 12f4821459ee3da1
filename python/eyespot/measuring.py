"""What the metrics of all kinds of classifiers share: plain values, and lists of skipped files."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

from eyespot.errors import ImageError, InvalidOption, printable
from eyespot.rendering import html_table, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "LEAST_PROBABILITY",
    "as_csv",
    "as_json",
    "folded",
    "form",
    "number",
    "pandas",
    "plain",
    "skipped_html",
    "skipped_text",
    "unfit",
]

#: Probabilities count as at least this in a log-loss: the smallest step of float64 at 1.
LEAST_PROBABILITY = 2.0**-52
_TEXT_SKIPPED = 5
_HTML_SKIPPED = 1000


def plain(value: Any) -> Any:
    """Return `value`, or None where it is not defined: what JSON can hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> float:
    """Return the number that `plain` was given: NaN for None."""
    return math.nan if value is None else value


def as_json(values: Mapping[str, Any], indent: int | None) -> str:
    """Return plain values as JSON text."""
    text = json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False)
    return printable(text)  # in JSON, too, that is how such a character is written


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows of plain values as the text of a CSV file."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def skipped_text(skipped: Sequence[ImageError]) -> list[str]:
    """Return the lines of text that name the first of the skipped images; none if there are none.

    The first line is blank.
    """
    if not skipped:
        return []
    rows = [[error.source, error.message] for error in skipped[:_TEXT_SKIPPED]]
    lines = ["", text_table(["skipped image", "why"], rows, left=2)]
    if len(skipped) > _TEXT_SKIPPED:
        lines.append(f"… and {len(skipped) - _TEXT_SKIPPED:,} more")
    return lines


def skipped_html(skipped: Sequence[ImageError]) -> str:
    """Return a table of the skipped images, folded away; empty if there are none."""
    if not skipped:
        return ""
    rows = [[error.source, error.code, error.message] for error in skipped[:_HTML_SKIPPED]]
    table = html_table("Skipped", ["image", "code", "why"], rows, left=3)
    return folded(f"{len(skipped):,} images were skipped", table)


def folded(title: str, content: str) -> str:
    """Return HTML that shows its content on a click."""
    return f"<details><summary>{title}</summary>{content}</details>"


def form(array: NDArray[Any]) -> str:
    """Return type and shape of an array, for a message."""
    return f"{array.dtype} of shape {array.shape}"


def pandas() -> Any:
    """Return the module pandas, or raise `ImportError` with the remedy."""
    try:
        import pandas as pd
    except ImportError as error:
        message = "data frames need pandas: pip install pandas"
        raise ImportError(message) from error
    return pd


def unfit(name: str, what: str) -> InvalidOption:
    """Return the error for an argument `name` that `what` is wrong with."""
    return InvalidOption(f"{name} {what}", source=name, code="invalid_argument")
