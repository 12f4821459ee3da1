"""Tables as text for a terminal and as HTML for a notebook, whatever the labels hold."""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = [
    "STYLE",
    "display_width",
    "heat_map",
    "html_table",
    "percent",
    "short_path",
    "shorten",
    "text_table",
]

#: Colours are the reader's own, with a transparent blue on top, so light and dark both work.
STYLE = """
<style>
.eyespot { font: 13px/1.45 system-ui, sans-serif; color: inherit; max-width: 100%; }
.eyespot .facts { display: flex; flex-wrap: wrap; gap: 2px 28px; margin: 4px 0 12px; }
.eyespot .facts b { display: block; font-size: 19px; font-weight: 600; }
.eyespot .facts span { opacity: .75; }
.eyespot .scroll { overflow-x: auto; margin: 0 0 12px; }
.eyespot table { border-collapse: collapse; font-variant-numeric: tabular-nums; color: inherit;
  background: transparent; margin: 0; font-size: inherit; }
.eyespot caption { caption-side: top; text-align: left; font-weight: 600; padding: 0 0 4px;
  color: inherit; white-space: nowrap; }
.eyespot th, .eyespot td { padding: 2px 9px; text-align: right; color: inherit; border: 0;
  background: transparent; border-bottom: 1px solid rgba(128, 128, 128, .28); white-space: nowrap; }
.eyespot th { font-weight: 600; }
.eyespot th.label, .eyespot td.label { text-align: left; max-width: 22em; overflow: hidden;
  text-overflow: ellipsis; }
.eyespot .heat td { text-align: center; min-width: 2.2em; padding: 2px 5px; }
.eyespot .heat thead th { max-width: 7em; overflow: hidden; text-overflow: ellipsis;
  text-align: center; font-weight: 400; }
.eyespot details { margin: 0 0 12px; }
.eyespot summary { cursor: pointer; padding: 2px 0; }
</style>
""".strip()


def percent(value: float, digits: int = 1) -> str:
    """Return a share as per cent, or "n/a" where it is not defined."""
    return "n/a" if value != value else f"{100 * value:.{digits}f} %"


def on_one_line(text: str) -> str:
    """Return text on one line: control characters and line ends become visible."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Cf" else ascii(c)[1:-1] for c in text
    )


def short_path(path: str | os.PathLike[str]) -> str:
    """Return the name of a file and of its folder, which tell it from its like."""
    return str(Path(*Path(path).parts[-2:]))


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian characters take two."""
    width = 0
    for c in text:
        if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(c) in "WF" else 1
    return width


def shorten(text: str, columns: int) -> str:
    """Return text on one line of at most `columns` columns; the middle gives way to an ellipsis."""
    text = on_one_line(text)
    if display_width(text) <= columns:
        return text
    tail_columns = (columns - 1) // 3
    head_columns = columns - 1 - tail_columns
    head = _fitting(text, head_columns)
    tail = _fitting(text[::-1], tail_columns)[::-1]
    while tail and unicodedata.combining(tail[0]):  # an accent parted from its letter
        tail = tail[1:]
    return f"{head}…{tail}"


def _fitting(text: str, columns: int) -> str:
    end = 0
    while end < len(text) and display_width(text[: end + 1]) <= columns:
        end += 1
    return text[:end]


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, columns: int = 80
) -> str:
    """Return a table with aligned columns, not wider than a terminal.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        The cells.
    left : int
        How many columns, from the first, hold labels: these are aligned left and shortened where
        the table would be too wide. The others are aligned right and kept whole.
    columns : int
        Width to keep to.
    """
    cells = [[on_one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    room = columns - sum(widths[left:]) - 2 * (len(widths) - 1)
    spare = max(room, 4 * left)
    for n_before, i in enumerate(sorted(range(left), key=lambda i: widths[i])):
        widths[i] = min(widths[i], spare // (left - n_before))
        spare -= widths[i]
    lines = []
    for row in cells:
        parts = []
        for i, cell in enumerate(row):
            shown = shorten(cell, widths[i]) if i < left else cell
            padding = " " * (widths[i] - display_width(shown))
            parts.append(shown + padding if i < left else padding + shown)
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def html_table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> str:
    """Return a table whose first `left` columns are labels, with everything escaped."""

    def line(tag: str, row: Sequence[str]) -> str:
        cells = []
        for i, cell in enumerate(row):
            kind = f' class="label" title="{html.escape(cell)}"' if i < left else ""
            cells.append(f"<{tag}{kind}>{html.escape(on_one_line(cell))}</{tag}>")
        return "".join(cells)

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{line('th', header)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def heat_map(
    caption: str, labels: Sequence[str], counts: Sequence[Sequence[int]], row_totals: Sequence[int]
) -> str:
    """Return a square table of counts, each shaded by its share of its row."""
    head = "".join(
        f'<th title="{html.escape(label)}">{html.escape(on_one_line(label))}</th>'
        for label in labels
    )
    lines = []
    for label, row, total in zip(labels, counts, row_totals, strict=True):
        cells = []
        for predicted, count in zip(labels, row, strict=True):
            share = count / total if total else 0.0
            shade = f"rgba(60, 130, 246, {0.1 + 0.5 * share:.2f})" if count else "transparent"
            title = html.escape(f"{label} taken for {predicted}: {count:,} ({percent(share)})")
            text = f"{count:,}" if count else "·"
            cells.append(f'<td style="background: {shade}" title="{title}">{text}</td>')
        shown = html.escape(on_one_line(label))
        lines.append(
            f'<tr><th class="label" title="{html.escape(label)}">{shown}</th>{"".join(cells)}</tr>'
        )
    return (
        f'<div class="scroll"><table class="heat"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
