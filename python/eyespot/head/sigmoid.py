"""One-vs-rest regression: any number of labels a row, each told on its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eyespot import _core
from eyespot.errors import IncompatibleParameters, InvalidOption
from eyespot.head.rows import (
    balance_power,
    check_groups,
    check_known,
    check_options,
    dealt_folds,
    enough_to_hold_out,
    number,
    shuffled,
    with_copies,
)
from eyespot.head.softmax import (
    PATH_TOLERANCE,
    RELATIVE_FALLBACK,
    RELATIVE_PATH,
    HeadFit,
    L2Path,
    begin,
    lowest_point,
)
from eyespot.head.stepping import LEAST_LOSS, iterate
from eyespot.splitting import distribute

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from eyespot.head.stepping import HeadIteration

__all__ = ["fit_sigmoid", "label_balance", "select_sigmoid_l2"]

_LOGGER = logging.getLogger("eyespot")
_STATE_VERSION = 4


def fit_sigmoid(
    embeddings: ArrayLike,
    targets: ArrayLike,
    *,
    l2: float | Literal["auto"] = "auto",
    positive_weights: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    max_iterations: int = 25,
    tolerance: float = 1e-4,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
    seed: int = 0,
    callback: Callable[[HeadIteration], bool | None] | None = None,
    state: Mapping[str, Any] | None = None,
    start: tuple[ArrayLike, ArrayLike] | None = None,
    cancel: _core.CancelToken | None = None,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> HeadFit:
    """Fit one logistic regression for each label, all in the same passes over the rows.

    Minimises the sum over the labels of ``sum(u * s * logloss) / sum(u * s) + l2 / 2 * sum(w **
    2)``, where ``u`` is the weight of the row and ``s`` is ``positive_weights`` where the row bears
    the label and 1 where it does not. Biases are free of penalty. A sum over the labels, not a
    mean: each label gets what it would get alone, whatever other labels there are, so `l2` means
    the same for one label as for a thousand, and the same as in `fit_softmax`.

    Parameters
    ----------
    embeddings : float32 array of shape (n, n_features)
        C-contiguous float32 is used in place; anything else is converted first.
    targets : bool array of shape (n, n_classes)
        Which labels each row bears: none, some or all.
    l2 : float or "auto", default "auto"
        Strength of the penalty, in the units of the features, one for all labels. ``"auto"``
        chooses it by 5-fold cross-validated log-loss (see `select_sigmoid_l2`).
    positive_weights : array of shape (n_classes,), optional
        How much more a row that bears the label weighs than one that does not, above 0. Scaled so
        that the mean weight of the rows stays 1, so that `l2` keeps its meaning.
    sample_weight : array of shape (n,), optional
        Not negative. Only their ratios matter.
    max_iterations, tolerance, n_threads, pool, seed, callback, state, start, cancel, groups, copies
        As in `fit_softmax`. In a callback, ``accuracy`` is the share of the rows of which all
        labels are told rightly.

    Returns
    -------
    HeadFit
        The solution; the biases are as they are, and do not sum to 0.

    Raises
    ------
    InvalidOption
        An argument is out of range or of the wrong shape.
    DataError
        A row of the embeddings holds NaN or infinity; the message names the row.
    IncompatibleParameters
        The state belongs to another problem.
    Cancelled
        `cancel` was set.

    Notes
    -----
    The method is that of `fit_softmax`, and so is what it promises: the same bits for any number
    of threads, and after a pause.
    """
    x, y = _check_rows(embeddings, targets)
    check_options(y.shape[1], max_iterations, tolerance)
    rows, positive, negative = _weights(y, positive_weights, sample_weight)
    workers = pool if pool is not None else _core.ThreadPool(n_threads)
    path = None
    if state is not None:
        strength = _state_l2(state, x.shape, y.shape[1], l2)
    elif l2 == "auto":
        path = select_sigmoid_l2(
            x,
            y,
            positive_weights=positive_weights,
            sample_weight=sample_weight,
            pool=workers,
            seed=seed,
            cancel=cancel,
            groups=groups,
            copies=copies,
        )
        strength = path.selected
    else:
        strength = number(l2, "l2", word="auto")
    solver = _core.SigmoidSolver(
        x,
        y,
        l2=strength,
        tolerance=tolerance,
        weights=rows,
        positive=positive,
        negative=negative,
        pool=workers,
        cancel=cancel,
    )
    begin(solver, state, start, path)
    key = {
        "version": _STATE_VERSION,
        "output": "sigmoid",
        "n_rows": len(y),
        "n_features": x.shape[1],
        "n_classes": y.shape[1],
        "l2": strength,
    }
    reason = iterate(solver, len(y), max_iterations, callback, key)
    weights, bias = solver.solution()
    return HeadFit(
        weights=weights,
        bias=bias,
        l2=strength,
        n_iterations=solver.iteration,
        n_evaluations=solver.n_evaluations,
        loss=solver.loss,
        accuracy=solver.n_correct / len(y),
        gradient_norm=solver.gradient_norm,
        relative_gap=solver.excess / max(solver.loss, LEAST_LOSS),
        tolerance=tolerance,
        stop_reason=reason,
        state=solver.get_state() | key,
        path=path,
        output="sigmoid",
    )


def select_sigmoid_l2(
    embeddings: ArrayLike,
    targets: ArrayLike,
    *,
    positive_weights: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_folds: int = 5,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
    seed: int = 0,
    cancel: _core.CancelToken | None = None,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> L2Path:
    """Choose the strength of the penalty by cross-validation, with every label in every fold.

    Parameters
    ----------
    embeddings, targets, positive_weights, sample_weight
        As in `fit_sigmoid`.
    n_folds : int, default 5
        At least 2.
    n_threads, pool, seed, cancel, groups, copies
        As in `fit_sigmoid`.

    Returns
    -------
    L2Path
        The strengths that were tried, their held-out loss (the sum over the labels), and the
        choice.

    Raises
    ------
    InvalidOption, DataError, Cancelled
        As in `fit_sigmoid`.

    Notes
    -----
    The strengths are those of `select_l2`. The folds are made by iterative stratification: the
    label with the fewest rows left is dealt out first, each of its rows to the fold that still
    wants most of that label. Groups of several rows are dealt out as in `select_l2`.

    References
    ----------
    K. Sechidis, G. Tsoumakas and I. Vlahavas, On the stratification of multi-label data, ECML PKDD
    (2011), algorithm 1.
    """
    x, y = _check_rows(embeddings, targets)
    if n_folds < 2:
        message = f"n_folds: {n_folds} given; allowed are whole numbers from 2"
        raise InvalidOption(message, source="n_folds", code="invalid_argument")
    rows, positive, negative = _weights(y, positive_weights, sample_weight)
    workers = pool if pool is not None else _core.ThreadPool(n_threads)
    group, scored = check_groups(groups, copies, len(y))
    originals = np.flatnonzero(scored)
    if len(originals) > group.max() + 1:
        folds, n_folds = dealt_folds(y != 0, y.shape[1], n_folds, seed, group, scored)
    else:
        row_of = originals[np.argsort(group[originals])]
        order = shuffled(len(row_of), seed)
        of_group = np.zeros(len(row_of), dtype=np.int32)
        of_group[order] = distribute(y[row_of[order]] != 0, [1.0] * n_folds)
        folds = with_copies(of_group, group, scored)
    enough = enough_to_hold_out(folds, n_folds)
    variance, points, start = _core.sigmoid_path(
        x,
        y,
        fold=folds if enough else np.full_like(folds, -1),
        n_folds=n_folds if enough else 0,
        relative_path=RELATIVE_PATH if enough else RELATIVE_PATH[:0],
        tolerance=PATH_TOLERANCE,
        weights=rows,
        positive=positive,
        negative=negative,
        pool=workers,
        cancel=cancel,
    )
    strengths = [point[0] for point in points]
    losses = [point[1] for point in points]
    fallback = RELATIVE_FALLBACK * (variance if variance > 0 else 1.0)
    selected = lowest_point(strengths, losses) if points else fallback
    _LOGGER.info("l2=%.3g chosen among %d strengths", selected, len(points))
    return L2Path(
        l2=tuple(strengths),
        log_loss=tuple(losses),
        standard_error=tuple(point[2] for point in points),
        n_folds=n_folds,
        selected=selected,
        n_evaluations=sum(point[3] for point in points),
        start=start[:2] if start is not None else None,
        pairs=start[2] if start is not None else None,
    )


def label_balance(
    spec: Literal["balanced"] | float | Mapping[str, float] | None,
    targets: NDArray[np.bool_],
    classes: Sequence[str],
) -> NDArray[np.float64] | None:
    """Return how much more a row that bears a label weighs than one that does not.

    Parameters
    ----------
    spec : None, "balanced", float or mapping
        ``"balanced"`` gives the rows that bear a label as much weight, all together, as those that
        do not; a float ``p`` that ratio to the power of ``p``; a mapping gives each label its own,
        and 1 to labels that it leaves out.
    targets : bool ndarray of shape (n, n_classes)
        Which labels each row bears.
    classes : sequence of str
        The labels.

    Returns
    -------
    float64 ndarray of shape (n_classes,) or None
        None for no weights.

    Raises
    ------
    InvalidOption
        Neither of these, or a label that is not among the classes.
    """
    if spec is None:
        return None
    if isinstance(spec, Mapping):
        check_known(spec, classes)
        return np.array([float(spec.get(label, 1.0)) for label in classes])
    power = balance_power(spec)
    bearing = targets.sum(axis=0).astype(np.float64)
    ratio: NDArray[np.float64] = np.maximum(len(targets) - bearing, 0.5) / np.maximum(bearing, 0.5)
    return ratio**power


def _check_rows(
    embeddings: ArrayLike, targets: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    x = np.ascontiguousarray(embeddings, dtype=np.float32)
    y = np.asarray(targets)
    if x.ndim != 2 or 0 in x.shape:
        message = (
            f"embeddings: shape {x.shape} given; two dimensions are needed, none of them empty"
        )
        raise InvalidOption(message, source="embeddings", code="invalid_argument")
    if y.ndim != 2 or len(y) != len(x) or y.shape[1] == 0 or y.dtype.kind not in "biu":
        message = (
            f"targets: {y.dtype} of shape {y.shape} given; needed is a table of yes and no with "
            f"{len(x)} rows and a column for each label"
        )
        raise InvalidOption(message, source="targets", code="invalid_argument")
    if y.dtype.kind != "b" and (y.min() < 0 or y.max() > 1):
        message = f"targets: {y.min()} to {y.max()} given; allowed are 0 (no) and 1 (yes)"
        raise InvalidOption(message, source="targets", code="invalid_argument")
    return x, np.ascontiguousarray(y, dtype=np.uint8)


def _weights(
    targets: NDArray[np.uint8], positive_weights: ArrayLike | None, sample_weight: ArrayLike | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return the weights of the rows, and those of the rows that bear each label, and do not."""
    rows = None
    if sample_weight is not None:
        rows = np.asarray(sample_weight, dtype=np.float64)
        if rows.shape != (len(targets),) or not np.isfinite(rows).all() or (rows < 0).any():
            message = (
                f"sample_weight: needed are {len(targets)} finite numbers from 0, "
                f"got shape {rows.shape}"
            )
            raise InvalidOption(message, source="sample_weight", code="invalid_argument")
        if not rows.any():
            message = "sample_weight: every row has zero weight"
            raise InvalidOption(message, source="sample_weight", code="invalid_argument")
        # A common factor means nothing, but float32 must hold the numbers.
        rows = rows / rows.max()
    weights = None if rows is None else np.ascontiguousarray(rows, dtype=np.float32)
    if positive_weights is None:
        return weights, None, None
    ratio = np.asarray(positive_weights, dtype=np.float64)
    n_classes = targets.shape[1]
    if ratio.shape != (n_classes,) or not np.isfinite(ratio).all() or (ratio <= 0).any():
        message = (
            f"positive_weights: needed are {n_classes} finite numbers above 0, "
            f"got shape {ratio.shape}"
        )
        raise InvalidOption(message, source="positive_weights", code="invalid_argument")
    share = np.average(targets, axis=0, weights=rows)
    negative = 1.0 / (ratio * share + 1.0 - share)  # the mean weight is 1
    return weights, (ratio * negative).astype(np.float32), negative.astype(np.float32)


def _state_l2(
    state: Mapping[str, Any],
    shape: tuple[int, ...],
    n_classes: int,
    l2: float | Literal["auto"],
) -> float:
    keys = ("output", "version", "n_rows", "n_features", "n_classes")
    found = tuple(state.get(key) for key in keys)
    wanted = ("sigmoid", _STATE_VERSION, *shape, n_classes)
    if found != wanted:
        message = f"state: made for {dict(zip(keys, found, strict=True))}, not for {wanted}"
        raise IncompatibleParameters(message, source="state")
    strength = float(state["l2"])
    if l2 != "auto" and float(l2) != strength:
        message = f"state: made with l2={strength}, not with l2={l2}"
        raise IncompatibleParameters(message, source="state")
    return strength
