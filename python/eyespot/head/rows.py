"""The rows that a head is fitted to: checks, weights, folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from eyespot.errors import InvalidOption
from eyespot.splitting import GroupCounts, deal_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "HeldOut",
    "balance_power",
    "check_groups",
    "check_known",
    "check_options",
    "check_rows",
    "class_balance",
    "dealt_folds",
    "enough_to_hold_out",
    "grouped_folds",
    "number",
    "row_weights",
    "shuffled",
    "stratified_folds",
    "with_copies",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Predictions of rows by models that were fitted without them.

    Attributes
    ----------
    rows : int64 ndarray of shape (n_held_out,)
        Which rows, ascending: all but those of a class with one row or group, and copies (see
        ``groups`` and ``copies`` of `fit_softmax`).
    log_probabilities : float32 ndarray of shape (n_held_out, n_classes)
        Natural logarithms, at least that of the smallest float32, about -87.
    n_folds : int
        Number of models; each row was left out of one of them.
    """

    rows: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]
    n_folds: int

    def to_state(self) -> dict[str, Any]:
        """Return the arguments that make it anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def gather(
        cls, probabilities: NDArray[np.float32] | None, folds: NDArray[np.int32], n_folds: int
    ) -> Self | None:
        """Return the rows that have a fold; None when there are no probabilities."""
        if probabilities is None:
            return None
        rows = np.flatnonzero(folds >= 0)
        least = np.finfo(np.float32).tiny
        return cls(
            rows=rows,
            log_probabilities=np.log(np.maximum(probabilities[rows], least)),
            n_folds=n_folds,
        )


def class_balance(
    spec: Literal["balanced"] | float | Mapping[Any, float] | None,
    targets: NDArray[np.integer[Any]],
    classes: Sequence[Any] | NDArray[Any],
) -> NDArray[np.float64] | None:
    """Return the weight of each class.

    Parameters
    ----------
    spec : None, "balanced", float or mapping
        ``"balanced"`` gives a class of n_c rows ``n / (n_classes * n_c)``, a float ``p`` that to
        the power of ``p``; a mapping gives each label its own weight, and 1 to labels that it
        leaves out.
    targets : integer ndarray of shape (n,)
        Class of each row.
    classes : sequence
        Label of each class.

    Returns
    -------
    float64 ndarray of shape (n_classes,) or None
        None for no weights. A class without rows has weight 1.

    Raises
    ------
    InvalidOption
        Neither of these, or a label that is not among the classes.
    """
    if spec is None:
        return None
    if isinstance(spec, Mapping):
        labels = list(classes)
        check_known(spec, labels)
        return np.array([float(spec.get(label, 1.0)) for label in labels])
    power = balance_power(spec)
    counts = np.bincount(targets, minlength=len(classes)).astype(np.float64)
    weights = np.ones(len(classes))
    some = counts > 0
    weights[some] = (len(targets) / (len(classes) * counts[some])) ** power
    return weights


def check_known(weights: Mapping[Any, float], classes: Sequence[Any]) -> None:
    """Refuse weights of labels that are not among the classes, by name."""
    if unknown := [label for label in weights if label not in classes]:
        msg = (
            f"class_weights has {_listed(unknown)}, which the data do not; "
            f"their labels are {_listed(classes)}"
        )
        raise InvalidOption(msg, source="class_weights", code="invalid_argument")


def balance_power(spec: object) -> float:
    """Return the power that ``"balanced"`` or a number stands for."""
    if isinstance(spec, str) and spec == "balanced":
        return 1.0
    if isinstance(spec, (int, float)) and not isinstance(spec, bool) and np.isfinite(spec):
        return float(spec)
    msg = f'class_weights: {spec!r} given; allowed are None, "balanced", a number and a mapping'
    raise InvalidOption(msg, source="class_weights", code="invalid_argument")


def _listed(labels: Sequence[Any], most: int = 10) -> str:
    shown = ", ".join(repr(label) for label in labels[:most])
    return f"{shown} and {len(labels) - most:,} more" if len(labels) > most else shown


def check_rows(
    embeddings: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return embeddings as C-contiguous float32 and targets as int32, or refuse them by name."""
    x = np.ascontiguousarray(embeddings, dtype=np.float32)
    y = np.asarray(targets)
    if x.ndim != 2 or 0 in x.shape:
        msg = f"embeddings: shape {x.shape} given; two dimensions are needed, none of them empty"
        raise InvalidOption(msg, source="embeddings", code="invalid_argument")
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        msg = f"targets: {y.dtype} of shape {y.shape} given; needed are {len(x)} integers"
        raise InvalidOption(msg, source="targets", code="invalid_argument")
    if y.min() < 0 or y.max() > np.iinfo(np.int32).max:
        msg = f"targets: {y.min()} to {y.max()} given; allowed are classes from 0"
        raise InvalidOption(msg, source="targets", code="invalid_argument")
    return x, np.ascontiguousarray(y, dtype=np.int32)


def check_options(n_classes: int, max_iterations: int, tolerance: float) -> None:
    """Refuse numbers that are out of range, by name."""
    for name, value, low in (("n_classes", n_classes, 1), ("max_iterations", max_iterations, 0)):
        if value < low:
            msg = f"{name}: {value} given; allowed are whole numbers from {low}"
            raise InvalidOption(msg, source=name, code="invalid_argument")
    if not (tolerance >= 0 and np.isfinite(tolerance)):
        msg = f"tolerance: {tolerance} given; allowed are finite numbers from 0"
        raise InvalidOption(msg, source="tolerance", code="invalid_argument")


def row_weights(
    targets: NDArray[np.int32],
    n_classes: int,
    class_weights: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> NDArray[np.float32] | None:
    """Return the weight of each row, the largest being 1; None when all are alike."""
    if class_weights is None and sample_weight is None:
        return None
    if targets.max() >= n_classes:
        msg = f"targets: {targets.max()} given; allowed are 0 to {n_classes - 1}"
        raise InvalidOption(msg, source="targets", code="invalid_argument")
    total = np.ones(len(targets), dtype=np.float64)
    given = (
        ("class_weights", class_weights, n_classes),
        ("sample_weight", sample_weight, len(targets)),
    )
    for name, value, length in given:
        if value is None:
            continue
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (length,) or not np.all(np.isfinite(array)) or np.any(array < 0):
            msg = f"{name}: needed are {length} finite numbers from 0, got shape {array.shape}"
            raise InvalidOption(msg, source=name, code="invalid_argument")
        total *= array[targets] if name == "class_weights" else array
    if not total.any():
        msg = "class_weights, sample_weight: every row has zero weight"
        raise InvalidOption(msg, source="sample_weight", code="invalid_argument")
    # A common factor means nothing, but float32 must hold the numbers.
    return np.ascontiguousarray(total / total.max(), dtype=np.float32)


def number(value: object, name: str, *, word: str = "") -> float:
    """Return `value` as a float from 0 up, or refuse it by name; `word` is allowed beside it."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        real = float(value)
        if np.isfinite(real) and real >= 0:
            return real
    allowed = f'"{word}" and numbers from 0' if word else "numbers from 0"
    msg = f"{name}: {value!r} given; allowed are {allowed}"
    raise InvalidOption(msg, source=name, code="invalid_argument")


def enough_to_hold_out(folds: NDArray[np.int32], n_folds: int) -> bool:
    """Whether there are two rows a fold to hold out; with fewer there is nothing to measure by."""
    return n_folds > 1 and int(np.count_nonzero(folds >= 0)) >= 2 * n_folds


def check_groups(
    groups: ArrayLike | None, copies: ArrayLike | None, n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the group of each row and whether it is scored, or refuse them by name.

    Groups are numbered from 0; without any, each row is its own.
    """
    given = np.arange(n_rows) if groups is None else np.asarray(groups)
    if given.shape != (n_rows,) or not np.issubdtype(given.dtype, np.integer):
        msg = f"groups: {given.dtype} of shape {given.shape} given; needed are {n_rows} integers"
        raise InvalidOption(msg, source="groups", code="invalid_argument")
    _, group = np.unique(given, return_inverse=True)
    if copies is None:
        return group, np.ones(n_rows, np.bool_)
    marks = np.asarray(copies)
    if marks.shape != (n_rows,) or marks.dtype != np.bool_:
        msg = f"copies: {marks.dtype} of shape {marks.shape} given; needed are {n_rows} bool"
        raise InvalidOption(msg, source="copies", code="invalid_argument")
    if (np.bincount(group, weights=~marks) == 0).any():
        row = int(np.flatnonzero(np.bincount(group, weights=~marks)[group] == 0)[0])
        msg = f"copies: all rows of the group of row {row} are copies; one must be the original"
        raise InvalidOption(msg, source="copies", code="invalid_argument")
    return group, ~marks


def grouped_folds(
    targets: NDArray[np.int32],
    n_classes: int,
    n_folds: int,
    seed: int,
    group: NDArray[np.int64],
    scored: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], int]:
    """Deal out rows with one class each to folds, groups as a whole.

    Parameters
    ----------
    targets : int32 ndarray of shape (n,)
        Class of each row.
    n_classes, n_folds, seed
        As in `select_l2`.
    group, scored
        As `check_groups` returns them.

    Returns
    -------
    int32 ndarray of shape (n,)
        The fold that a row is held out and scored in; -2 - f of a copy that is left out of fold f
        and not scored; -1 of a row that is never held out.
    int
        Number of folds: fewer than asked for with fewer groups, and 1 where there is nothing to
        hold out.

    Notes
    -----
    With one row to score a group, as in `stratified_folds`; else as in `dealt_folds`.
    """
    rows = np.flatnonzero(scored)
    if len(rows) > group.max() + 1:
        return dealt_folds(targets, n_classes, n_folds, seed, group, scored)
    row_of = rows[np.argsort(group[rows])]
    return (
        with_copies(stratified_folds(targets[row_of], n_classes, n_folds, seed), group, scored),
        n_folds,
    )


def dealt_folds(
    targets: NDArray[Any],
    n_classes: int,
    n_folds: int,
    seed: int,
    group: NDArray[np.int64],
    scored: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], int]:
    """Deal out groups of several rows to folds, so that each fold has its share of each class.

    Parameters
    ----------
    targets : integer ndarray of shape (n,) or bool ndarray of shape (n, n_classes)
        Class of each row, or which labels it bears.
    n_classes, n_folds, seed, group, scored
        As in `grouped_folds`.

    Returns
    -------
    int32 ndarray of shape (n,)
    int
        As from `grouped_folds`.

    Notes
    -----
    By `eyespot.splitting.deal_groups`, the greedy algorithm of scikit-learn's
    ``StratifiedGroupKFold``. A group that has all rows of a class (or all that do not bear a label)
    is never held out: a model that was fitted without it could not know the class.
    """
    n_groups = int(group.max()) + 1
    always = np.zeros(n_groups, np.bool_)
    for bearing in (targets,) if targets.ndim == 1 else (targets, ~targets):
        counts = GroupCounts.of(group[scored], bearing[scored], n_groups, n_classes)
        whole = counts.images == counts.totals[counts.pairs]
        always[np.repeat(np.arange(n_groups), np.diff(counts.starts))[whole]] = True
    of_group = np.full(n_groups, -1, np.int32)
    n_folds = min(n_folds, int((~always).sum()))
    if n_folds < 2:
        return of_group[group], 1
    number = np.cumsum(~always) - 1
    inside = scored & ~always[group]
    counts = GroupCounts.of(number[group[inside]], targets[inside], int((~always).sum()), n_classes)
    order = shuffled(len(counts.sizes), seed)
    of_group[~always] = deal_groups(counts, n_folds, order)
    return with_copies(of_group, group, scored), n_folds


def with_copies(
    of_group: NDArray[np.int32], group: NDArray[np.int64], scored: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return the fold of each row by that of its group: that of a copy is -2 less it."""
    folds = of_group[group]
    copies = ~scored & (folds >= 0)
    folds[copies] = -2 - folds[copies]
    return folds


def stratified_folds(
    targets: NDArray[np.int32], n_classes: int, n_folds: int, seed: int
) -> NDArray[np.int32]:
    """Fold of each row: random within a class, even over all rows; -1 for a class of one row."""
    order = shuffled(len(targets), seed)
    order = order[np.argsort(targets[order], kind="stable")]
    counts = np.bincount(targets, minlength=n_classes)
    order = order[counts[targets[order]] > 1]
    folds = np.full(len(targets), -1, dtype=np.int32)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def shuffled(n: int, seed: int) -> NDArray[np.intp]:
    """Return the numbers below `n` in an order that the seed gives, anywhere and always."""
    key = _mix(np.arange(n, dtype=np.uint64) ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))
    return np.argsort(key, kind="stable")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the output function of SplitMix64, a well-mixing bijection of 64-bit numbers."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
