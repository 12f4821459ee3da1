"""How well a classifier does, in numbers with one definition each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from eyespot.calibration import expected_calibration_error
from eyespot.errors import DataError, ImageError, printable
from eyespot.measuring import (
    LEAST_PROBABILITY,
    as_csv,
    as_json,
    folded,
    form,
    number,
    pandas,
    plain,
    skipped_html,
    skipped_text,
    unfit,
)
from eyespot.mistakes import (
    MISTAKE_COLUMNS,
    Mistake,
    mistakes_html,
    mistakes_of,
    mistakes_page,
    mistakes_text,
)
from eyespot.options import integer
from eyespot.pages import save_as
from eyespot.rendering import STYLE, heat_map, html_table, percent, text_table

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ClassMetrics", "ClassifierMetrics", "Confusion"]

_ROWS_AT_A_TIME = 4096
_SUM_TOLERANCE = 1e-3
_TEXT_MATRIX_CLASSES = 12  # a larger confusion matrix is told as its largest entries
_TEXT_MATRIX_COLUMNS = 60  # what is left of 80 is for the labels
_HTML_MATRIX_CLASSES = 40
_TEXT_ROWS = 30  # of more classes, text shows the weakest
_TOP_K = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics:
    """How well one class is told from the others.

    Attributes
    ----------
    label : str
        The class.
    precision : float
        Of the images that were given this label, the share that bear it. 0 for a class with
        images that was never predicted; NaN for a class without images, never predicted.
    recall : float
        Of the images that bear this label, the share that were given it; NaN without images.
    f1 : float
        Harmonic mean of the two, as ``2 * correct / (support + predicted)``; NaN where precision
        is.
    support : int
        Images that bear this label.
    predicted : int
        Images that were given this label.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """One way of being wrong.

    Attributes
    ----------
    true, predicted : str
        What the images are, and what they were taken for.
    count : int
        How many.
    share : float
        What part of the images of the class `true` that is.
    """

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassifierMetrics:
    """How well a classifier does on a set of labelled images.

    Make one with `from_probabilities`.

    Attributes
    ----------
    classes : tuple of str
        The labels that the classifier knows.
    confusion : int64 ndarray of shape (n_classes, n_classes)
        Number of images by true class (rows) and predicted class (columns); read-only.
    rank_counts : int64 ndarray of shape (n_classes,)
        Number of images whose true class came first, second, … by probability; read-only. Of
        equally probable classes, the one that stands first in `classes` comes first.
    log_loss : float
        Mean of ``-log(probability of the true class)``, natural logarithm. Probabilities count as
        at least 2.2e-16 (the smallest step of float64 at 1), so that one image adds at most 36.04.
    skipped : tuple of ImageError
        The images that could not be read; no other number here includes them.
    expected_calibration_error : float
        How far the probability of the predicted class and the accuracy are apart, 0 to 1: the mean
        distance over 15 bins of equal width of that probability. NaN when it is not known, as in
        models that were saved before it was measured.
    mistakes : tuple of Mistake
        The images that were taken for something else, the least probable truth first: those that
        cost the log-loss most. Only an evaluation names them; see `save`.

    Examples
    --------
    >>> probabilities = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.1, 0.4]]
    >>> metrics = ClassifierMetrics.from_probabilities(
    ...     ["ant", "bee", "cat"], [0, 1, 2], probabilities
    ... )
    >>> metrics.n_correct, metrics.top_k_accuracy(2)
    (2, 1.0)
    >>> metrics.most_confused(1)
    (Confusion(true='cat', predicted='ant', count=1, share=1.0),)
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    rank_counts: NDArray[np.int64]
    log_loss: float
    skipped: tuple[ImageError, ...] = ()
    expected_calibration_error: float = math.nan
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(self.classes))
        put(self, "skipped", tuple(self.skipped))
        put(self, "mistakes", tuple(self.mistakes))
        put(self, "log_loss", float(self.log_loss))
        put(self, "expected_calibration_error", float(self.expected_calibration_error))
        n_classes = len(self.classes)
        for name, shape in (("confusion", (n_classes, n_classes)), ("rank_counts", (n_classes,))):
            array = np.array(getattr(self, name), dtype=np.int64)
            if array.shape != shape or (array < 0).any():
                raise unfit(name, f"must be {shape} counts, is of shape {array.shape}")
            array.setflags(write=False)
            put(self, name, array)
        if self.confusion.sum() != self.rank_counts.sum():
            raise unfit("rank_counts", "counts other images than confusion")

    @classmethod
    def from_probabilities(
        cls,
        classes: Sequence[str],
        targets: ArrayLike,
        probabilities: ArrayLike,
        *,
        skipped: Sequence[ImageError] = (),
        sources: Sequence[str] | None = None,
    ) -> Self:
        """Compare predictions with the truth.

        Parameters
        ----------
        classes : sequence of str
            The labels, one for each column of `probabilities`.
        targets : int ndarray of shape (n_images,)
            The true class of each image, 0 to n_classes - 1.
        probabilities : float ndarray of shape (n_images, n_classes)
            What the classifier made of each image. The predicted class is the most probable one,
            the first of them if there are several.
        skipped : sequence of ImageError
            Images that could not be read and are in neither array.
        sources : sequence of str, optional
            What each image is called; without it, mistakes are not named.

        Raises
        ------
        DataError
            If there is no image.
        InvalidOption
            If the shapes do not fit, a target is out of range, or a row of `probabilities` holds
            something other than probabilities that add up to 1 (within 0.001).
        """
        truth, table = np.asarray(targets), np.asarray(probabilities)
        n_images, n_classes = len(truth), len(classes)
        if len(set(classes)) != n_classes:
            raise unfit("classes", "has the same label twice")
        if truth.ndim != 1 or (n_images and truth.dtype.kind not in "iu"):
            raise unfit("targets", f"must be whole numbers in one row, is {form(truth)}")
        if table.shape != (n_images, n_classes) or table.dtype.kind != "f":
            wanted = f"floats of shape ({n_images}, {n_classes})"
            raise unfit("probabilities", f"must be {wanted}, is {form(table)}")
        if n_images == 0:
            hint = f"; {len(skipped):,} could not be read, such as {skipped[0]}" if skipped else ""
            raise DataError(f"there is no image to evaluate{hint}", code="no_images")
        if truth.min() < 0 or truth.max() >= n_classes:
            raise unfit("targets", f"must be from 0 to {n_classes - 1}")
        if sources is not None and len(sources) != n_images:
            raise unfit("sources", f"must name {n_images} images, names {len(sources)}")

        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        rank_counts = np.zeros(n_classes, dtype=np.int64)
        losses = np.empty(n_images, dtype=np.float64)
        for start in range(0, n_images, _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            true, block = truth[rows].astype(np.int64), table[rows].astype(np.float64)
            _check_rows(block, start)
            of_true = block[np.arange(len(true)), true][:, None]
            before = (block == of_true) & (np.arange(n_classes) < true[:, None])
            ranks = ((block > of_true) | before).sum(axis=1)
            np.add.at(confusion, (true, block.argmax(axis=1)), 1)
            rank_counts += np.bincount(ranks, minlength=n_classes)
            losses[rows] = -np.log(np.clip(of_true[:, 0], LEAST_PROBABILITY, 1.0))
        return cls(
            classes=tuple(classes),
            confusion=confusion,
            rank_counts=rank_counts,
            log_loss=math.fsum(losses.tolist()) / n_images,
            skipped=tuple(skipped),
            expected_calibration_error=expected_calibration_error(table, truth),
            mistakes=() if sources is None else mistakes_of(classes, truth, table, sources),
        )

    @property
    def n_images(self) -> int:
        """Number of images that were evaluated."""
        return int(self.rank_counts.sum())

    @property
    def n_correct(self) -> int:
        """Number of images whose most probable class is the true one."""
        return int(self.rank_counts[0]) if len(self.classes) else 0

    @property
    def accuracy(self) -> float:
        """Share of the images that were classified rightly, 0 to 1; every image counts alike."""
        return self.top_k_accuracy(1)

    @property
    def classification_error(self) -> float:
        """Share of the images that were classified wrongly, 0 to 1."""
        n_images = self.n_images
        return (n_images - self.n_correct) / n_images if n_images else math.nan

    def top_k_accuracy(self, k: int) -> float:
        """Return the share of the images whose true class is among the `k` most probable.

        Parameters
        ----------
        k : int
            1 or more; from the number of classes on, the answer is 1.

        Raises
        ------
        InvalidOption
            If `k` is not a whole number above 0.
        """
        k = integer(k, "k", low=1)
        n_images = self.n_images
        return int(self.rank_counts[:k].sum()) / n_images if n_images else math.nan

    @property
    def precision_recall(self) -> tuple[ClassMetrics, ...]:
        """Precision, recall and F1 of each class, in the order of `classes`."""
        correct = self.confusion.diagonal().tolist()
        supports = self.confusion.sum(axis=1).tolist()
        predictions = self.confusion.sum(axis=0).tolist()
        table = []
        for label, right, support, predicted in zip(
            self.classes, correct, supports, predictions, strict=True
        ):
            undefined = 0.0 if support else math.nan
            both = support + predicted
            table.append(
                ClassMetrics(
                    label=label,
                    precision=right / predicted if predicted else undefined,
                    recall=right / support if support else math.nan,
                    f1=2 * right / both if both else math.nan,
                    support=support,
                    predicted=predicted,
                )
            )
        return tuple(table)

    @property
    def macro_precision(self) -> float:
        """Mean precision of the classes that have images; every class counts alike."""
        return self._macro("precision")

    @property
    def macro_recall(self) -> float:
        """Mean recall of the classes that have images, also called balanced accuracy."""
        return self._macro("recall")

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have images."""
        return self._macro("f1")

    def _macro(self, name: str) -> float:
        values = [getattr(row, name) for row in self.precision_recall if row.support]
        return math.fsum(values) / len(values) if values else math.nan

    def most_confused(self, n: int | None = None) -> tuple[Confusion, ...]:
        """Return the `n` most frequent mistakes (default: all), the most frequent first.

        Mistakes of equal count come in the order of the true class, then of the predicted one.
        """
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.nonzero(wrong)
        counts = wrong[rows, columns]
        order = np.argsort(-counts, kind="stable")[: len(counts) if n is None else max(n, 0)]
        supports = self.confusion.sum(axis=1)
        return tuple(
            Confusion(
                true=self.classes[rows[i]],
                predicted=self.classes[columns[i]],
                count=int(counts[i]),
                share=float(counts[i] / supports[rows[i]]),
            )
            for i in order
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values that JSON can hold; what is undefined is None.

        Shares are from 0 to 1. `from_dict` reads the first seven entries; the others follow from
        those and are there for the reader.
        """
        ks = [k for k in (1, 2, 3, _TOP_K, 10) if k < len(self.classes) or k == 1]
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "rank_counts": self.rank_counts.tolist(),
            "log_loss": plain(self.log_loss),
            "expected_calibration_error": plain(self.expected_calibration_error),
            "skipped": [asdict(error) for error in self.skipped],
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
            "n_images": self.n_images,
            "accuracy": plain(self.accuracy),
            "classification_error": plain(self.classification_error),
            "top_k_accuracy": {str(k): plain(self.top_k_accuracy(k)) for k in ks},
            "macro_precision": plain(self.macro_precision),
            "macro_recall": plain(self.macro_recall),
            "macro_f1": plain(self.macro_f1),
            "precision_recall": [
                {key: plain(value) for key, value in asdict(row).items()}
                for row in self.precision_recall
            ],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as JSON text."""
        return as_json(self.to_dict(), indent)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned.

        Raises
        ------
        InvalidOption
            If an entry is missing or does not fit.
        """
        try:
            return cls(
                classes=tuple(values["classes"]),
                confusion=np.array(values["confusion"]).reshape(len(values["classes"]), -1),
                rank_counts=values["rank_counts"],
                log_loss=number(values["log_loss"]),
                expected_calibration_error=number(values.get("expected_calibration_error")),
                skipped=tuple(ImageError(**error) for error in values["skipped"]),
                mistakes=tuple(Mistake(**mistake) for mistake in values.get("mistakes", ())),
            )
        except KeyError as error:
            raise unfit("values", f"has no entry {error.args[0]!r}") from None
        except (TypeError, ValueError) as error:
            raise unfit("values", f"does not fit: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the metrics in one step, in the form that the name asks for.

        Parameters
        ----------
        path : path
            ``.html`` is a page with the mistaken images, complete in itself; ``.csv`` a table of
            the mistakes; ``.json`` has `to_dict`.

        Raises
        ------
        InvalidOption
            If the name ends otherwise, or Pillow, which a page needs, is not installed.
        ExportError
            If the file cannot be written.
        """
        figures = replace(self, mistakes=())
        return save_as(
            path,
            "an evaluation",
            page=lambda folder: mistakes_page(figures._repr_html_(), self.mistakes, folder),
            table=lambda: as_csv([asdict(one) for one in self.mistakes], MISTAKE_COLUMNS),
            json=lambda: self.to_json(indent=2),
        )

    def confusion_frame(self) -> pd.DataFrame:
        """Return `confusion` as a data frame, true classes down and predicted ones across.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frame = pandas().DataFrame(self.confusion, index=self.classes, columns=self.classes)
        return frame.rename_axis(index="true", columns="predicted")

    def precision_recall_frame(self) -> pd.DataFrame:
        """Return `precision_recall` as a data frame with one row per class.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        rows = [asdict(row) for row in self.precision_recall]
        return pandas().DataFrame(rows).set_index("label")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClassifierMetrics):
            return NotImplemented
        return (
            (self.classes, plain(self.log_loss), self.skipped, self.mistakes)
            == (other.classes, plain(other.log_loss), other.skipped, other.mistakes)
            and plain(self.expected_calibration_error) == plain(other.expected_calibration_error)
            and np.array_equal(self.rank_counts, other.rank_counts)
            and np.array_equal(self.confusion, other.confusion)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<ClassifierMetrics: accuracy {percent(self.accuracy)} on {self.n_images:,} images "
            f"of {len(self.classes)} classes, {len(self.skipped):,} skipped>"
        )

    def _facts(self) -> dict[str, str]:
        facts = {
            "accuracy": percent(self.accuracy),
            "classification error": percent(self.classification_error),
        }
        if len(self.classes) > _TOP_K:
            facts[f"top-{_TOP_K} accuracy"] = percent(self.top_k_accuracy(_TOP_K))
        facts["log-loss"] = f"{self.log_loss:.4f}"
        if not math.isnan(self.expected_calibration_error):
            facts["calibration error"] = percent(self.expected_calibration_error)
        return facts | {
            "macro precision": percent(self.macro_precision),
            "macro recall": percent(self.macro_recall),
            "macro F1": percent(self.macro_f1),
            "images": f"{self.n_images:,}",
            "skipped": f"{len(self.skipped):,}",
        }

    def _class_rows(self, rows: Sequence[ClassMetrics]) -> list[list[str]]:
        return [
            [
                row.label,
                f"{row.support:,}",
                f"{row.predicted:,}",
                percent(row.precision),
                percent(row.recall),
                percent(row.f1),
            ]
            for row in rows
        ]

    def __str__(self) -> str:
        facts = self._facts()
        n_images, n_skipped = facts.pop("images"), facts.pop("skipped")
        lines = [f"{n_images} images, {len(self.classes)} classes, {n_skipped} skipped"]
        shares = [f"{name} {value}" for name, value in facts.items()]
        cut = list(facts).index("log-loss")
        parts = (shares[:cut], shares[cut:-3], shares[-3:])
        lines += ["  ".join(part) for part in parts]
        rows = self.precision_recall
        hidden = ""
        if len(rows) > _TEXT_ROWS:
            weakest = sorted(rows, key=lambda row: (row.f1 if row.f1 == row.f1 else 2.0, row.label))
            hidden = f"… and {len(rows) - _TEXT_ROWS} classes more, none with a lower F1"
            rows = tuple(weakest[:_TEXT_ROWS])
        lines += ["", text_table(_CLASS_HEADER, self._class_rows(rows))]
        if hidden:
            lines.append(hidden)
        matrix = self._text_matrix()
        if matrix is not None:
            lines += ["", "confusion (true classes down, predicted ones across)", matrix]
        elif confusions := self.most_confused(10):
            table = [[m.true, m.predicted, f"{m.count:,}", percent(m.share)] for m in confusions]
            lines += ["", "most frequent mistakes", text_table(_MISTAKE_HEADER, table, left=2)]
        lines += mistakes_text(self.mistakes)
        lines += skipped_text(self.skipped)
        return "\n".join(lines)

    def _text_matrix(self) -> str | None:
        """Return the confusion matrix with numbered columns, if it fits a terminal."""
        n_classes = len(self.classes)
        if n_classes > _TEXT_MATRIX_CLASSES:
            return None
        digits = len(str(n_classes))
        header = ["", *(str(i + 1) for i in range(n_classes))]
        rows = [
            [f"{i + 1:>{digits}} {label}", *(f"{n:,}" if n else "·" for n in counts)]
            for i, (label, counts) in enumerate(
                zip(self.classes, self.confusion.tolist(), strict=True)
            )
        ]
        columns = list(zip(header, *rows, strict=True))[1:]
        width = sum(2 + max(map(len, column)) for column in columns)
        return text_table(header, rows) if width <= _TEXT_MATRIX_COLUMNS else None

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<div><b>{value}</b><span>{name}</span></div>" for name, value in self._facts().items()
        )
        parts = [f'<div class="facts">{facts}</div>']
        classes = html_table("Classes", _CLASS_HEADER, self._class_rows(self.precision_recall))
        if len(self.classes) > _HTML_MATRIX_CLASSES:
            parts.append(folded(f"{len(self.classes)} classes", classes))
        else:
            counts = self.confusion
            parts.append(classes)
            parts.append(
                heat_map(
                    "Confusion: true classes down, predicted ones across",
                    self.classes,
                    counts.tolist(),
                    counts.sum(axis=1).tolist(),
                )
            )
        if confusions := self.most_confused(10):
            table = [[m.true, m.predicted, f"{m.count:,}", percent(m.share)] for m in confusions]
            parts.append(html_table("Most frequent mistakes", _MISTAKE_HEADER, table, left=2))
        parts.append(mistakes_html(self.mistakes))
        parts.append(skipped_html(self.skipped))
        return printable(f'<div class="eyespot">{STYLE}{"".join(parts)}</div>')


_CLASS_HEADER = ["class", "images", "predicted", "precision", "recall", "F1"]
_MISTAKE_HEADER = ["true class", "predicted class", "images", "of the class"]


def _check_rows(block: NDArray[np.float64], start: int) -> None:
    sums = block.sum(axis=1)
    good = (block >= 0).all(axis=1) & (np.abs(sums - 1) <= _SUM_TOLERANCE)  # NaN compares false
    if not good.all():
        row = int(np.argmin(good))
        raise unfit(
            "probabilities",
            f"row {start + row} must be numbers from 0 up that add up to 1; they add up to "
            f"{sums[row]:.6g}, the least is {block[row].min():.6g}",
        )
