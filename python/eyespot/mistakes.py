"""The images that a classifier mistook: as values, as text, on a page."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.measuring import folded
from eyespot.pages import MOST_SHOWN, Pictures, cards, document, escaped, section
from eyespot.rendering import html_table, percent, short_path, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "MISTAKE_COLUMNS",
    "Mistake",
    "mistakes_html",
    "mistakes_of",
    "mistakes_page",
    "mistakes_text",
]

_TEXT_MOST: Final = 5
_HTML_MOST: Final = 1000
_HEADER: Final = ["mistaken image", "is", "taken for", "p", "p taken for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An image that was taken for something else.

    Attributes
    ----------
    source : str
        The file.
    true, predicted : str
        What it is, and what it was taken for.
    true_probability, predicted_probability : float
        What the classifier made of both, 0 to 1.
    """

    source: str
    true: str
    predicted: str
    true_probability: float
    predicted_probability: float


MISTAKE_COLUMNS: Final = [field.name for field in fields(Mistake)]


def mistakes_of(
    classes: Sequence[str],
    truth: NDArray[Any],
    table: NDArray[Any],
    sources: Sequence[str],
) -> tuple[Mistake, ...]:
    """Return the rows whose most probable class is not the true one, the worst first.

    Parameters
    ----------
    classes : sequence of str
    truth : int ndarray of shape (n_images,)
    table : float ndarray of shape (n_images, n_classes)
        Probabilities.
    sources : sequence of str
        What each image is called.
    """
    rows = np.arange(len(truth))
    predicted = table.argmax(axis=1)
    wrong = rows[predicted != truth]
    wrong = wrong[np.argsort(table[wrong, truth[wrong]], kind="stable")]
    return tuple(
        Mistake(
            source=sources[row],
            true=classes[truth[row]],
            predicted=classes[predicted[row]],
            true_probability=float(table[row, truth[row]]),
            predicted_probability=float(table[row, predicted[row]]),
        )
        for row in wrong.tolist()
    )


def mistakes_text(mistakes: Sequence[Mistake]) -> list[str]:
    """Return the lines of text that name the first mistakes; none if there are none.

    The first line is blank.
    """
    if not mistakes:
        return []
    lines = ["", text_table(_HEADER, _rows(mistakes[:_TEXT_MOST]), left=3)]
    if (more := len(mistakes) - _TEXT_MOST) > 0:
        lines.append(f"… and {more:,} more")
    return lines


def mistakes_html(mistakes: Sequence[Mistake]) -> str:
    """Return a table of the mistakes, folded away; empty if there are none."""
    if not mistakes:
        return ""
    table = html_table("Mistakes, the worst first", _HEADER, _rows(mistakes[:_HTML_MOST]), left=3)
    return folded(f"{len(mistakes):,} images were mistaken", table)


def mistakes_page(figures: str, mistakes: Sequence[Mistake], folder: Path) -> str:
    """Return a page that will lie in `folder`: figures, as HTML, and the mistaken images."""
    shown = mistakes[:MOST_SHOWN]
    pictures = Pictures([Path(one.source) for one in shown], folder)
    mistaken = section(
        "Mistakes",
        "The worst first: those whose true label seemed least probable. Look for wrong labels "
        "among them, and for kinds that the training photos lack.",
        cards(_figure(one, pictures) for one in shown),
        len(mistakes),
    )
    return document("Evaluation", {}, [figures, mistaken])


def _figure(one: Mistake, pictures: Pictures) -> str:
    truth = f"is {escaped(one.true)}, {percent(one.true_probability)}"
    taken = f"taken for {escaped(one.predicted)}, {percent(one.predicted_probability)}"
    lines = (f'<span class="soft">{truth}</span>', f'<span class="rather">{taken}</span>')
    return pictures.figure(Path(one.source), *lines)


def _rows(mistakes: Sequence[Mistake]) -> list[list[str]]:
    return [
        [
            short_path(mistake.source),
            mistake.true,
            mistake.predicted,
            percent(mistake.true_probability),
            percent(mistake.predicted_probability),
        ]
        for mistake in mistakes
    ]
