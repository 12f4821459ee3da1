"""The review itself: embeddings, cross-validation, comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from eyespot.errors import DataError
from eyespot.features import FeatureExtractor
from eyespot.head import HeldOut, select_l2
from eyespot.metrics import ClassifierMetrics
from eyespot.progress import Phase, ProgressReporter
from eyespot.reviewing.findings import DataReview, LabelIssue, LookAlikes, Outlier
from eyespot.reviewing.labels import doubts_of
from eyespot.reviewing.likeness import Likeness, compare, copy_similarity, upper_fence
from eyespot.sides import Together, held_together, listed, same_rows
from eyespot.training import warn_of_skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.data import DataSource
    from eyespot.options import CropPolicy
    from eyespot.progress import ProgressCallback
    from eyespot.store import FeatureStore

__all__ = ["review"]


def review(
    data: DataSource,
    *,
    feature_extractor: FeatureExtractor | None = None,
    crop: CropPolicy | Literal["center_crop", "fit", "stretch"] | None = None,
    on_error: Literal["skip", "raise"] = "skip",
    seed: int = 0,
    n_threads: int = 0,
    store: FeatureStore | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> DataReview:
    """Find the images that a person should look at again.

    That is: labels that are probably wrong, images that look alike (so that a split may put them on
    both sides, or that go by two labels), images that are like no other, and unreadable ones.
    Nothing is changed on disk.

    Parameters
    ----------
    data : DataSource
        The images. With several labels an image, labels are not weighed.
    feature_extractor : FeatureExtractor, optional
        The network that sees; the embedded default unless given.
    crop : CropPolicy, optional
        How a photo is brought to the network's shape; its own way unless given.
    on_error : {"skip", "raise"}
        What an unreadable image does: it is listed, or its error is raised.
    seed : int
        Of the folds of the cross-validation, 0 to 2**64 - 1.
    n_threads : int
        Threads to work with; 0 means as many as the process may use.
    store : FeatureStore, optional
        Where embeddings are looked for first, and kept: a training with it embeds nothing anew.
    progress : callable, optional
        Told about each phase, from this thread.
    cancel : CancelToken, optional
        Ends the work with `Cancelled`.

    Returns
    -------
    DataReview

    Raises
    ------
    DataError
        If no image could be read.
    DecodeError
        With ``on_error="raise"``, for a bad image.
    Cancelled
        If `cancel` was used.
    StoreError
        If the store cannot be read or written.

    Warns
    -----
    SkippedImagesWarning
        If images were left out.

    Notes
    -----
    Labels are weighed by five models, each fitted without a fifth of the images (copies and groups
    together), with the penalty that ``l2="auto"`` would choose; see `eyespot.reviewing.labels`. The
    comparison takes time with the square of the number of images: seconds for some thousands.

    Examples
    --------
    >>> from eyespot import DataSource, review
    >>> found = review(DataSource.labeled_directories("photos"))  # doctest: +SKIP
    >>> found.save("review.html")  # doctest: +SKIP
    """
    extractor = feature_extractor or FeatureExtractor.default()
    if crop is not None:
        extractor = extractor.with_crop(crop)
    features = extractor.extract(
        data.paths,
        n_threads=n_threads,
        on_error=on_error,
        progress=progress,
        cancel=cancel,
        store=store,
    )
    if len(features.indices) == 0:
        message = f"none of the {len(data):,} images could be read"
        if features.errors:
            message += f"; the first: {features.errors[0]}"
        raise DataError(message, source="data", code="no_usable_images")
    warn_of_skipped(features.errors, len(data))
    readable = data.take(features.indices)
    seen = _Seen(
        data=readable,
        labels=tuple(" + ".join(names) or "no label" for names in readable.label_sets),
        embeddings=features.embeddings,
        first=same_rows(features.embeddings),
        together=held_together(features.embeddings, readable.groups),
    )

    issues, metrics, notes = _weigh_labels(seen, seed, n_threads, progress, cancel)
    threshold = copy_similarity(extractor, seen.data.paths, n_threads=n_threads, cancel=cancel)
    reporter = ProgressReporter(progress, Phase.EVALUATING, len(seen.data))
    likeness = compare(seen.embeddings, threshold, reporter, cancel)
    fence = upper_fence(likeness.distance)
    return DataReview(
        classes=data.classes,
        n_images=len(seen.data),
        label_issues=issues,
        look_alikes=_look_alikes(seen, likeness),
        outliers=_outliers(seen, likeness, fence),
        skipped=features.errors,
        metrics=metrics,
        look_alike_similarity=threshold,
        outlier_distance=fence,
        notes=notes,
    )


class _Seen(NamedTuple):
    """The images that could be read.

    `first` is the first of those that are equal to each, `together` what is held out together.
    """

    data: DataSource
    labels: tuple[str, ...]
    embeddings: NDArray[np.float32]
    first: NDArray[np.int64]
    together: Together


def _weigh_labels(
    seen: _Seen,
    seed: int,
    n_threads: int,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> tuple[tuple[LabelIssue, ...], ClassifierMetrics | None, tuple[str, ...]]:
    """Return the labels that are probably wrong, the accuracy that tells, or why there is none."""
    if seen.data.multi_label:
        return (), None, ("labels were not weighed: these images may bear several",)
    classes, targets = seen.data.classes, seen.data.targets
    reporter = ProgressReporter(progress, Phase.TRAINING, 1)
    reporter.update(0)
    held_out: HeldOut | None = None
    if len(np.unique(targets)) > 1:
        held_out = select_l2(
            seen.embeddings,
            targets,
            len(classes),
            n_threads=n_threads,
            seed=seed,
            cancel=cancel,
            predict=True,
            **seen.together._asdict(),
        ).held_out
    reporter.update(1)
    if held_out is None:
        return (), None, ("labels were not weighed: that takes ten images, and two labels",)
    # Copies of an image were held out with it, and what its models say goes for them, too.
    place = np.full(len(targets), -1)
    place[held_out.rows] = np.arange(len(held_out.rows))
    rows = np.flatnonzero(place[seen.first] >= 0)
    log_probabilities = held_out.log_probabilities[place[seen.first[rows]]]
    doubts = doubts_of(log_probabilities, targets[rows])
    probabilities = np.exp(log_probabilities.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    issues = tuple(
        LabelIssue(
            path=seen.data.paths[rows[i]],
            label=classes[targets[rows[i]]],
            suggested=classes[doubts.suggested[i]],
            label_probability=float(probabilities[i, targets[rows[i]]]),
            suggested_probability=float(probabilities[i, doubts.suggested[i]]),
        )
        for i in doubts.issues.tolist()
    )
    alone = [classes[target] for target in np.delete(targets, rows).tolist()]
    one = "one image or group" if seen.data.group_sizes() else "one image"
    notes = (f"not weighed: {listed(sorted(set(alone)))}, with {one} only",) if alone else ()
    return (
        issues,
        ClassifierMetrics.from_probabilities(classes, targets[rows], probabilities),
        notes,
    )


def _look_alikes(seen: _Seen, likeness: Likeness) -> tuple[LookAlikes, ...]:
    members: dict[int, list[int]] = {}
    for row, group in enumerate(likeness.group.tolist()):
        members.setdefault(group, []).append(row)
    found = [
        LookAlikes(
            paths=tuple(seen.data.paths[row] for row in rows),
            labels=tuple(seen.labels[row] for row in rows),
            similarity=float(likeness.similarity[rows].min()),
            identical=len(set(seen.first[rows].tolist())) == 1,
        )
        for rows in members.values()
        if len(rows) > 1
    ]
    return tuple(sorted(found, key=lambda one: (not one.conflicting, -one.similarity)))


def _outliers(seen: _Seen, likeness: Likeness, fence: float) -> tuple[Outlier, ...]:
    rows = np.flatnonzero(likeness.distance > fence)
    rows = rows[np.argsort(-likeness.distance[rows], kind="stable")]
    return tuple(
        Outlier(
            path=seen.data.paths[row],
            label=seen.labels[row],
            distance=float(likeness.distance[row]),
        )
        for row in rows.tolist()
    )
