"""How well a classifier does that gives an image any number of labels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from eyespot.errors import DataError, ImageError, printable
from eyespot.measuring import (
    LEAST_PROBABILITY,
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
from eyespot.rendering import STYLE, html_table, percent, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LabelMetrics", "MultiLabelMetrics"]

_TEXT_ROWS = 30  # of more labels, text shows the weakest
_HTML_ROWS = 40  # a longer table is folded away


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMetrics:
    """How well one label is told from its absence.

    Attributes
    ----------
    label : str
        The label.
    precision : float
        Of the images that were given this label, the share that bear it. 0 for a label with images
        that was never given; NaN for one without images that was never given.
    recall : float
        Of the images that bear this label, the share that were given it; NaN without images.
    f1 : float
        Harmonic mean of the two, as ``2 * correct / (support + predicted)``; NaN where precision
        is.
    average_precision : float
        Precision where each image that bears the label is found, averaged over them, the images
        being sorted by probability: what the threshold has no part in. NaN without images.
    support : int
        Images that bear this label.
    predicted : int
        Images that were given this label.
    """

    label: str
    precision: float
    recall: float
    f1: float
    average_precision: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiLabelMetrics:
    """How well a classifier does that gives an image any number of labels.

    Make one with `from_probabilities`. An image is given the labels whose probability reaches the
    threshold.

    Attributes
    ----------
    classes : tuple of str
        The labels that the classifier knows.
    n_images : int
        Number of images that were evaluated.
    n_exact : int
        Images that were given just the labels that they bear.
    support, predicted, correct : int64 ndarrays of shape (n_classes,)
        For each label, the images that bear it, that were given it, and both; read-only.
    average_precision : float64 ndarray of shape (n_classes,)
        See `LabelMetrics`; read-only.
    log_loss : float
        Mean over images and labels of ``-log(probability of the truth)``, natural logarithm:
        binary cross-entropy. Probabilities count as at least 2.2e-16.
    threshold : float
        Probability from which a label was given.
    skipped : tuple of ImageError
        The images that could not be read; no other number here includes them.

    Examples
    --------
    >>> metrics = MultiLabelMetrics.from_probabilities(
    ...     ["cat", "dog"], [[True, False], [True, True]], [[0.9, 0.2], [0.8, 0.4]]
    ... )
    >>> metrics.subset_accuracy, metrics.hamming_loss
    (0.5, 0.25)
    """

    classes: tuple[str, ...]
    n_images: int
    n_exact: int
    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    correct: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    log_loss: float
    threshold: float = 0.5
    skipped: tuple[ImageError, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(self.classes))
        put(self, "skipped", tuple(self.skipped))
        put(self, "log_loss", float(self.log_loss))
        put(self, "threshold", float(self.threshold))
        for name in ("support", "predicted", "correct", "average_precision"):
            kind = np.float64 if name == "average_precision" else np.int64
            array = np.array(getattr(self, name), dtype=kind)
            if array.shape != (len(self.classes),):
                raise unfit(name, f"must hold {len(self.classes)} numbers, is {form(array)}")
            array.setflags(write=False)
            put(self, name, array)
        most = np.minimum(self.support, self.predicted)
        if (self.correct < 0).any() or (self.correct > most).any():
            raise unfit("correct", "counts more images than bear the label and were given it")
        if (np.maximum(self.support, self.predicted) > self.n_images).any() or not (
            0 <= self.n_exact <= self.n_images
        ):
            raise unfit("n_images", f"is {self.n_images}, less than other entries count")

    @classmethod
    def from_probabilities(
        cls,
        classes: Sequence[str],
        targets: ArrayLike,
        probabilities: ArrayLike,
        *,
        threshold: float = 0.5,
        skipped: Sequence[ImageError] = (),
    ) -> Self:
        """Compare predictions with the truth.

        Parameters
        ----------
        classes : sequence of str
            The labels, one for each column of both arrays.
        targets : bool ndarray of shape (n_images, n_classes)
            Which labels each image bears.
        probabilities : float ndarray of shape (n_images, n_classes)
            Of each label, 0 to 1; rows need not add up to anything.
        threshold : float
            Probability from which a label is given.
        skipped : sequence of ImageError
            Images that could not be read and are in neither array.

        Raises
        ------
        DataError
            If there is no image.
        InvalidOption
            If the shapes do not fit, or `probabilities` holds something else.
        """
        truth, table = np.asarray(targets), np.asarray(probabilities)
        n_images, n_classes = len(truth), len(classes)
        if len(set(classes)) != n_classes:
            raise unfit("classes", "has the same label twice")
        shape = (n_images, n_classes)
        if n_images == 0:
            hint = f"; {len(skipped):,} could not be read, such as {skipped[0]}" if skipped else ""
            raise DataError(f"there is no image to evaluate{hint}", code="no_images")
        if truth.shape != shape or truth.dtype.kind != "b":
            raise unfit("targets", f"must be bool of shape {shape}, is {form(truth)}")
        if table.shape != shape or table.dtype.kind != "f":
            raise unfit("probabilities", f"must be floats of shape {shape}, is {form(table)}")
        good = ((table >= 0) & (table <= 1)).all(axis=1)  # NaN compares false
        if not good.all():
            row = int(np.argmin(good))
            raise unfit("probabilities", f"row {row} holds {table[row]}; allowed: 0 to 1")
        given = table >= threshold
        losses = np.empty(n_images)
        for row in range(n_images):
            of_truth = np.where(truth[row], table[row], 1.0 - table[row].astype(np.float64))
            losses[row] = -np.log(np.clip(of_truth, LEAST_PROBABILITY, 1.0)).mean()
        return cls(
            classes=tuple(classes),
            n_images=n_images,
            n_exact=int((given == truth).all(axis=1).sum()),
            support=truth.sum(axis=0),
            predicted=given.sum(axis=0),
            correct=(given & truth).sum(axis=0),
            average_precision=np.array(
                [_average_precision(truth[:, c], table[:, c]) for c in range(n_classes)]
            ),
            log_loss=math.fsum(losses.tolist()) / n_images,
            threshold=threshold,
            skipped=tuple(skipped),
        )

    @property
    def subset_accuracy(self) -> float:
        """Share of the images that were given just the labels that they bear, 0 to 1."""
        return self.n_exact / self.n_images if self.n_images else math.nan

    @property
    def hamming_loss(self) -> float:
        """Share of the answers, one for each image and label, that are wrong, 0 to 1."""
        answers = self.n_images * len(self.classes)
        wrong = int((self.support + self.predicted - 2 * self.correct).sum())
        return wrong / answers if answers else math.nan

    @property
    def precision_recall(self) -> tuple[LabelMetrics, ...]:
        """Precision, recall and F1 of each label, in the order of `classes`."""
        columns = (self.correct, self.support, self.predicted, self.average_precision)
        table = []
        for label, right, support, predicted, average in zip(
            self.classes, *(column.tolist() for column in columns), strict=True
        ):
            precision, recall, f1 = _shares(right, support, predicted)
            table.append(
                LabelMetrics(
                    label=label,
                    precision=precision,
                    recall=recall,
                    f1=f1,
                    average_precision=average,
                    support=support,
                    predicted=predicted,
                )
            )
        return tuple(table)

    @property
    def micro_precision(self) -> float:
        """Of the labels that were given, all images together, the share that is right."""
        return self._micro()[0]

    @property
    def micro_recall(self) -> float:
        """Of the labels that the images bear, all together, the share that was given."""
        return self._micro()[1]

    @property
    def micro_f1(self) -> float:
        """F1 of all answers together; every answer counts alike."""
        return self._micro()[2]

    def _micro(self) -> tuple[float, float, float]:
        sums = (int(column.sum()) for column in (self.correct, self.support, self.predicted))
        return _shares(*sums)

    @property
    def macro_precision(self) -> float:
        """Mean precision of the labels that have images; every label counts alike."""
        return self._macro("precision")

    @property
    def macro_recall(self) -> float:
        """Mean recall of the labels that have images."""
        return self._macro("recall")

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels that have images."""
        return self._macro("f1")

    @property
    def mean_average_precision(self) -> float:
        """Mean average precision of the labels that have images, often called mAP."""
        return self._macro("average_precision")

    def _macro(self, name: str) -> float:
        values = [getattr(row, name) for row in self.precision_recall if row.support]
        return math.fsum(values) / len(values) if values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values that JSON can hold; what is undefined is None.

        Shares are from 0 to 1. `from_dict` reads the first ten entries; the others follow from
        those and are there for the reader.
        """
        shares = (
            "subset_accuracy",
            "hamming_loss",
            "micro_precision",
            "micro_recall",
            "micro_f1",
            "macro_precision",
            "macro_recall",
            "macro_f1",
            "mean_average_precision",
        )
        return {
            "classes": list(self.classes),
            "n_images": self.n_images,
            "n_exact": self.n_exact,
            "support": self.support.tolist(),
            "predicted": self.predicted.tolist(),
            "correct": self.correct.tolist(),
            "average_precision": [plain(value) for value in self.average_precision.tolist()],
            "log_loss": plain(self.log_loss),
            "threshold": self.threshold,
            "skipped": [asdict(error) for error in self.skipped],
            **{name: plain(getattr(self, name)) for name in shares},
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
                n_images=int(values["n_images"]),
                n_exact=int(values["n_exact"]),
                support=values["support"],
                predicted=values["predicted"],
                correct=values["correct"],
                average_precision=np.array(
                    [number(value) for value in values["average_precision"]], dtype=np.float64
                ),
                log_loss=number(values["log_loss"]),
                threshold=values["threshold"],
                skipped=tuple(ImageError(**error) for error in values["skipped"]),
            )
        except KeyError as error:
            raise unfit("values", f"has no entry {error.args[0]!r}") from None
        except (TypeError, ValueError) as error:
            raise unfit("values", f"does not fit: {error}") from error

    def precision_recall_frame(self) -> pd.DataFrame:
        """Return `precision_recall` as a data frame with one row per label.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return pandas().DataFrame([asdict(row) for row in self.precision_recall]).set_index("label")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiLabelMetrics):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<MultiLabelMetrics: micro F1 {percent(self.micro_f1)} on {self.n_images:,} images "
            f"and {len(self.classes)} labels, {len(self.skipped):,} skipped>"
        )

    def _facts(self) -> dict[str, str]:
        return {
            "all labels right": percent(self.subset_accuracy),
            "Hamming loss": percent(self.hamming_loss),
            "log-loss": f"{self.log_loss:.4f}",
            "micro F1": percent(self.micro_f1),
            "macro F1": percent(self.macro_f1),
            "mean average precision": percent(self.mean_average_precision),
        }

    def _label_rows(self, rows: Sequence[LabelMetrics]) -> list[list[str]]:
        return [
            [
                row.label,
                f"{row.support:,}",
                f"{row.predicted:,}",
                *(percent(v) for v in (row.precision, row.recall, row.f1, row.average_precision)),
            ]
            for row in rows
        ]

    def _mean_rows(self) -> list[list[str]]:
        micro = (self.micro_precision, self.micro_recall, self.micro_f1)
        macro = (self.macro_precision, self.macro_recall, self.macro_f1)
        total = [f"{int(column.sum()):,}" for column in (self.support, self.predicted)]
        return [
            ["all answers (micro)", *total, *map(percent, micro), ""],
            [
                "mean of labels (macro)",
                "",
                "",
                *map(percent, (*macro, self.mean_average_precision)),
            ],
        ]

    def __str__(self) -> str:
        shares = [f"{name} {value}" for name, value in self._facts().items()]
        counts = (
            f"{self.n_images:,} images, {len(self.classes)} labels, {len(self.skipped):,} skipped"
        )
        lines = [
            f"{counts}; a label is given from a probability of {self.threshold:g} on",
            "  ".join(shares[:3]),
            "  ".join(shares[3:]),
        ]
        rows = self.precision_recall
        hidden = len(rows) - _TEXT_ROWS
        if hidden > 0:
            weakest = sorted(rows, key=lambda row: (row.f1 if row.f1 == row.f1 else 2.0, row.label))
            rows = tuple(weakest[:_TEXT_ROWS])
        lines += ["", text_table(_HEADER, [*self._label_rows(rows), *self._mean_rows()])]
        if hidden > 0:
            lines.append(f"… and {hidden} labels more, none with a lower F1")
        return "\n".join([*lines, *skipped_text(self.skipped)])

    def _repr_html_(self) -> str:
        told = self._facts() | {
            "images": f"{self.n_images:,}",
            "skipped": f"{len(self.skipped):,}",
            "threshold": f"{self.threshold:g}",
        }
        facts = "".join(
            f"<div><b>{value}</b><span>{name}</span></div>" for name, value in told.items()
        )
        rows = [*self._mean_rows(), *self._label_rows(self.precision_recall)]
        table = html_table("Labels", _HEADER, rows)
        if len(self.classes) > _HTML_ROWS:
            table = folded(f"{len(self.classes)} labels", table)
        parts = [f'<div class="facts">{facts}</div>', table, skipped_html(self.skipped)]
        return printable(f'<div class="eyespot">{STYLE}{"".join(parts)}</div>')


_HEADER = ["label", "images", "given", "precision", "recall", "F1", "AP"]


def _shares(correct: int, support: int, predicted: int) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    undefined = 0.0 if support else math.nan
    both = support + predicted
    return (
        correct / predicted if predicted else undefined,
        correct / support if support else math.nan,
        2 * correct / both if both else math.nan,
    )


def _average_precision(truth: NDArray[np.bool_], scores: NDArray[np.floating[Any]]) -> float:
    """Return the area under the steps of precision over recall; equal scores are one step."""
    support = int(truth.sum())
    if support == 0:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    found = np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    steps = np.diff(found[ends], prepend=0)
    return float((steps * found[ends] / (ends + 1)).sum() / support)
