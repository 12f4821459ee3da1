"""What a review finds, as plain values: for a terminal, a notebook, a table, a page, a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from eyespot.errors import printable
from eyespot.measuring import as_csv, as_json, pandas, skipped_text
from eyespot.pages import save_as
from eyespot.rendering import percent, short_path, text_table
from eyespot.reviewing.page import page

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

    from eyespot.errors import ImageError
    from eyespot.metrics import ClassifierMetrics

__all__ = ["DataReview", "LabelIssue", "LookAlikes", "Outlier"]

_TEXT_ROWS: Final = 10
_COLUMNS: Final = ("finding", "group", "path", "label", "suggested", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelIssue:
    """An image whose label is probably wrong.

    Attributes
    ----------
    path : Path
    label : str
        As given.
    suggested : str
        The likeliest other label.
    label_probability, suggested_probability : float
        0 to 1, of a model that was fitted without this image and its copies.
    """

    path: Path
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlikes:
    """Images that look like one: copies, other sizes or crops of a photo, shots of one scene.

    Attributes
    ----------
    paths : tuple of Path
        Two or more, in the order of the data.
    labels : tuple of str
        The label of each; several of an image are joined by " + ".
    similarity : float
        The least cosine by which one of them came to the others, up to 1.
    identical : bool
        Whether all of them are the same to the network, to the last bit: most often byte-identical
        files.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    similarity: float
    identical: bool

    @property
    def conflicting(self) -> bool:
        """Whether they go by several labels."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """An image that is like no other: a wrong photo, a broken one, or a kind of its own.

    Attributes
    ----------
    path : Path
    label : str
    distance : float
        1 less the mean cosine to the 10 images nearest to it.
    """

    path: Path
    label: str
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataReview:
    """What a person should look at again; see `eyespot.review`.

    Attributes
    ----------
    classes : tuple of str
    n_images : int
        Images that could be read.
    label_issues : tuple of LabelIssue
        The most evident first.
    look_alikes : tuple of LookAlikes
        Those with several labels first, then the most alike.
    outliers : tuple of Outlier
        The most distant first.
    skipped : tuple of ImageError
        Images that could not be read.
    metrics : ClassifierMetrics or None
        Of models on images that they were not fitted to: what a classifier of these data is worth
        as they are. None where labels could not be weighed.
    look_alike_similarity : float
        The cosine from which on two images look alike: what this network makes of a photo and a
        slightly changed copy.
    outlier_distance : float
        The distance above which an image is an outlier.
    notes : tuple of str
        What could not be looked at, and why, in sentences.
    """

    classes: tuple[str, ...]
    n_images: int
    label_issues: tuple[LabelIssue, ...]
    look_alikes: tuple[LookAlikes, ...]
    outliers: tuple[Outlier, ...]
    skipped: tuple[ImageError, ...]
    metrics: ClassifierMetrics | None
    look_alike_similarity: float
    outlier_distance: float
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row an image and finding, in the order in which a person would look at them.

        Returns
        -------
        list of dict
            With ``finding`` (``label_issue``, ``look_alike``, ``outlier`` or ``unreadable``),
            ``group`` (a number that look-alikes share, else None), ``path``, ``label``,
            ``suggested`` (another label, or None) and ``score`` (probability of the suggested
            label, cosine or distance, or None).
        """
        rows: list[tuple[Any, ...]] = [
            ("label_issue", None, one.path, one.label, one.suggested, one.suggested_probability)
            for one in self.label_issues
        ]
        rows += [
            ("look_alike", number, path, label, None, group.similarity)
            for number, group in enumerate(self.look_alikes, start=1)
            for path, label in zip(group.paths, group.labels, strict=True)
        ]
        rows += [
            ("outlier", None, one.path, one.label, None, one.distance) for one in self.outliers
        ]
        rows += [("unreadable", None, error.source, None, None, None) for error in self.skipped]
        named = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        return [row | {"path": str(row["path"])} for row in named]

    def groups(self) -> dict[Path, str]:
        """Return the group of each image that looks like another, for `DataSource.with_groups`.

        Returns
        -------
        dict of Path to str
            ``"look-alikes 1"`` for the images of the first of `look_alikes`, and so on; images that
            look like no other are left out.

        Examples
        --------
        >>> found = eyespot.review(photos)  # doctest: +SKIP
        >>> photos = photos.with_groups(found.groups(), join=True)  # doctest: +SKIP
        """
        return {
            path: f"look-alikes {number}"
            for number, group in enumerate(self.look_alikes, start=1)
            for path in group.paths
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON can hold them."""

        def plain(one: LabelIssue | LookAlikes | Outlier) -> dict[str, Any]:
            values = asdict(one)
            if isinstance(one, LookAlikes):
                lists = {"paths": list(map(str, one.paths)), "labels": list(one.labels)}
                return values | lists | {"conflicting": one.conflicting}
            return values | {"path": str(one.path)}

        return {
            "classes": list(self.classes),
            "n_images": self.n_images,
            "label_issues": [plain(one) for one in self.label_issues],
            "look_alikes": [plain(one) for one in self.look_alikes],
            "outliers": [plain(one) for one in self.outliers],
            "skipped": [
                {"file": error.source, "code": error.code, "message": error.message}
                for error in self.skipped
            ],
            "metrics": self.metrics and self.metrics.to_dict(),
            "look_alike_similarity": self.look_alike_similarity,
            "outlier_distance": self.outlier_distance,
            "notes": list(self.notes),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as JSON text."""
        return as_json(self.to_dict(), indent)

    def to_frame(self) -> pd.DataFrame:
        """Return `rows` as a data frame; needs pandas."""
        return pandas().DataFrame(self.rows(), columns=list(_COLUMNS))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the findings in one step, in the form that the name asks for.

        Parameters
        ----------
        path : path
            ``.html`` is a page with the images, complete in itself; ``.csv`` has `rows`; ``.json``
            has `to_dict`.

        Raises
        ------
        InvalidOption
            If the name ends otherwise, or Pillow, which a page needs, is not installed.
        ExportError
            If the file cannot be written.
        """
        return save_as(
            path,
            "a review",
            page=lambda folder: page(self, folder),
            table=lambda: as_csv(self.rows(), _COLUMNS),
            json=lambda: self.to_json(indent=2),
        )

    def __repr__(self) -> str:
        return f"<DataReview of {self.n_images:,} images: {self.counts}>"

    @property
    def counts(self) -> str:
        """How many findings there are of each kind, in words."""
        counts = (
            (len(self.label_issues), "label issue", "label issues"),
            (len(self.look_alikes), "group of look-alikes", "groups of look-alikes"),
            (len(self.outliers), "outlier", "outliers"),
            (len(self.skipped), "unreadable", "unreadable"),
        )
        return ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in counts)

    def __str__(self) -> str:
        lines = [f"{self.n_images:,} images, {len(self.classes)} classes: {self.counts}"]
        if self.metrics is not None:
            lines.append(
                f"cross-validated accuracy of a classifier of these data as they are: "
                f"{percent(self.metrics.accuracy)}"
            )
        lines += self.notes
        issues = [
            [
                short_path(one.path),
                one.label,
                one.suggested,
                percent(one.label_probability),
                percent(one.suggested_probability),
            ]
            for one in self.label_issues
        ]
        lines += _section(["the label looks wrong", "label", "rather", "p", "p rather"], issues, 3)
        alike = [
            [
                ", ".join(map(short_path, group.paths)),
                " / ".join(dict.fromkeys(group.labels)),
                "identical" if group.identical else f"{group.similarity:.3f}",
            ]
            for group in self.look_alikes
        ]
        lines += _section(["look alike", "label", "cosine"], alike, 2)
        outliers = [
            [short_path(one.path), one.label, f"{one.distance:.3f}"] for one in self.outliers
        ]
        lines += _section(["like no other", "label", "distance"], outliers, 2)
        lines += skipped_text(self.skipped)
        return printable("\n".join(lines))


def _section(header: list[str], rows: list[list[str]], left: int) -> list[str]:
    """Return the lines of a table of the first rows, below a blank one; none without rows."""
    if not rows:
        return []
    lines = ["", text_table(header, rows[:_TEXT_ROWS], left=left)]
    more = len(rows) - _TEXT_ROWS
    return [*lines, f"… and {more:,} more"] if more > 0 else lines
