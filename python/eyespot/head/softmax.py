"""Softmax regression on embeddings, solved to its optimum by the core."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eyespot import _core
from eyespot.errors import IncompatibleParameters, InvalidOption
from eyespot.head.rows import (
    HeldOut,
    check_groups,
    check_options,
    check_rows,
    enough_to_hold_out,
    grouped_folds,
    number,
    row_weights,
)
from eyespot.head.stepping import LEAST_LOSS, StopReason, iterate
from eyespot.head.value import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from eyespot.head.stepping import HeadIteration

__all__ = [
    "HeadFit",
    "L2Path",
    "fit_softmax",
    "predict_held_out",
    "select_l2",
    "softmax_probabilities",
]

_LOGGER = logging.getLogger("eyespot")

# Strengths that l2="auto" tries, from strong to weak, per unit of mean feature variance.
RELATIVE_PATH = 10.0 ** np.arange(1.0, -5.01, -0.5)
# Where there are too few rows to hold some out.
RELATIVE_FALLBACK = 0.1
PATH_TOLERANCE = 1e-4
_STATE_VERSION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Path:
    """How ``l2="auto"`` chose: the held-out loss of each strength of the penalty.

    Attributes
    ----------
    l2 : tuple of float
        Strengths tried, descending.
    log_loss : tuple of float
        Mean log-loss in nats over all rows, each predicted by a model that was fitted without it.
    standard_error : tuple of float
        Of `log_loss`, from the spread between the folds.
    n_folds : int
        Number of folds.
    selected : float
        Minimum of the parabola through the best strength and its neighbours, in ``log(l2)``.
    n_evaluations : int
        Passes over the training part of one fold, summed over folds and strengths.
    start : pair of ndarray or None
        Weights and bias to start the fit to all rows from: the mean of the folds' solutions at the
        best strength. None where no strength was tried.
    pairs : dict or None
        What one of the folds learnt of the curvature there.
    held_out : HeldOut or None
        What the folds' models say of the other rows, at the best of the strengths that were tried;
        None unless asked for.
    """

    l2: tuple[float, ...]
    log_loss: tuple[float, ...]
    standard_error: tuple[float, ...]
    n_folds: int
    selected: float
    n_evaluations: int
    start: tuple[NDArray[np.float32], NDArray[np.float64]] | None = field(
        default=None, repr=False, compare=False
    )
    pairs: dict[str, Any] | None = field(default=None, repr=False, compare=False)
    held_out: HeldOut | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadFit:
    """The result of `fit_softmax`.

    Attributes
    ----------
    weights : float32 ndarray of shape (n_classes, n_features)
        Coefficients for the features as given.
    bias : float64 ndarray of shape (n_classes,)
        Intercepts; they sum to 0.
    l2 : float
        Strength of the penalty that was used.
    n_iterations : int
        Iterations done, those before a resume included.
    n_evaluations : int
        Passes over the data.
    loss : float
        The objective at the end: weighted mean log-loss plus penalty, in nats.
    accuracy : float
        Fraction of the training rows classified rightly, unweighted.
    gradient_norm : float
        Largest component of the gradient: with respect to a bias, or to a weight in units of one
        over the root-mean-square standard deviation of the features. Scaling all features by one
        number does not change it. With fewer rows than a third of the features, weights and
        deviations are those along orthonormal directions that the rows span (see the notes of
        `fit_softmax`).
    relative_gap : float
        Estimate of how far above its minimum the loss is: what the quadratic model still promises
        or, when more, the decrease over the last 8 iterations; divided by the loss, or by 0.01
        nats where the loss is smaller (data that are well separated).
    tolerance : float
        What was asked for.
    stop_reason : StopReason
        Why the fit ended.
    state : dict
        Plain arrays and numbers to resume from, see `fit_softmax`.
    path : L2Path or None
        How the penalty was chosen; None when it was given.
    held_out : HeldOut or None
        Predictions to calibrate by, see `fit_softmax`; None when not asked for, or when there are
        too few rows to hold some out.
    output : {"softmax", "sigmoid"}
        What makes probabilities of the scores: the fit is one of `fit_softmax` or `fit_sigmoid`.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float64]
    l2: float
    n_iterations: int
    n_evaluations: int
    loss: float
    accuracy: float
    gradient_norm: float
    relative_gap: float
    tolerance: float
    stop_reason: StopReason
    state: dict[str, Any] = field(repr=False)
    path: L2Path | None = field(default=None, repr=False)
    held_out: HeldOut | None = field(default=None, repr=False)
    output: Literal["softmax", "sigmoid"] = "softmax"

    @property
    def head(self) -> Head:
        """The solution as a `Head`."""
        return Head(((self.weights, self.bias.astype(np.float32)),), self.output)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was reached."""
        return self.stop_reason is StopReason.converged


def fit_softmax(
    embeddings: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    l2: float | Literal["auto"] = "auto",
    class_weights: ArrayLike | None = None,
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
    held_out: bool = False,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> HeadFit:
    """Fit softmax regression.

    Minimises ``sum(u * logloss) / sum(u) + l2 / 2 * sum(weights ** 2)`` over weights and biases,
    where ``u`` is the product of class and sample weight. All classes have a row of weights, and
    biases are free of penalty, so the model does not depend on the order of the labels.

    Parameters
    ----------
    embeddings : float32 array of shape (n, n_features)
        C-contiguous float32 is used in place; anything else is converted first.
    targets : integer array of shape (n,)
        Class of each row, in ``[0, n_classes)``.
    n_classes : int
        At least 1. A class without rows is allowed.
    l2 : float or "auto", default "auto"
        Strength of the penalty, in the units of the features. ``"auto"`` chooses it by 5-fold
        cross-validated log-loss (see `select_l2`), and starts from what the folds found.
    class_weights : array of shape (n_classes,), optional
        Not negative. Only their ratios matter: the loss is a weighted mean.
    sample_weight : array of shape (n,), optional
        Not negative. Only their ratios matter.
    max_iterations : int, default 25
        Iterations, counted from the start of a resumed fit. 25 is Create ML's default.
    tolerance : float, default 1e-4
        The fit has converged when the gradient norm and the relative gap are at most this.
    n_threads : int, default 0
        Threads when no pool is given; 0 takes what the process may use.
    pool : ThreadPool, optional
        Threads to use.
    seed : int, default 0
        Of the assignment of rows to folds; used by ``l2="auto"`` only.
    callback : callable, optional
        Called with a `HeadIteration` after each iteration; stops the fit by returning True.
    state : mapping, optional
        The `HeadFit.state` of an earlier fit to the same data with the same options: iterations
        continue from there, and the result is the same, bit for bit, as without the pause.
    start : pair of arrays, optional
        Weights and bias to start from, of the shapes in `HeadFit`: the solution for similar data.
        The optimum does not depend on it, the way there does. Ignored with a state.
    cancel : CancelToken, optional
        Stops the work with `Cancelled` when set, within 50 ms.
    held_out : bool, default False
        Whether to predict every row by a model that was fitted without it, to calibrate by. With
        ``l2="auto"`` these come from the cross-validation, without further fits; else from one of
        their own.
    groups : integer array of shape (n,), optional
        Rows of the same number belong together (as in scikit-learn): cross-validation holds them
        out together, so that no row is scored by a model that has seen another of its group.
    copies : bool array of shape (n,), optional
        Rows that are copies of another row of their group: they are held out with it, and not
        scored.

    Returns
    -------
    HeadFit
        The solution with how it was reached.

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
    L-BFGS with a strong-Wolfe line search, whose first guess of the Hessian is the Gram matrix of
    the centred features. Once about as much time was spent on evaluations as such a matrix costs,
    and the loss has fallen by a quarter, a new one is taken in which each row counts by the
    curvature of its loss, and each class's bias is its score where the rows that bend its loss lie;
    what earlier steps told is forgotten: the curvature of a log-loss falls about as the loss does,
    so by then both mislead. Where rows or classes are so few that a Gram matrix would cost more
    than it saves, one scale takes its place until the way has been as long as that. Where the
    classes are told apart so well that a few hundred rows have most of the curvature, these are
    known to the guess one by one, with what they say of several classes at once (a matrix of low
    rank beside the other, inverted by Woodbury's identity), and a step is nearly Newton's. With
    fewer rows than a third of the features, the
    steps are taken in the space that the centred rows span, in which the solution lies: a Cholesky
    factor of the rows' products has the coordinates of the rows for features, and the problem is
    the same. Where rows that are not equal are so nearly dependent that float32 hardly tells, the
    steps stay in the space of the features. Two classes are fitted by the difference of their
    scores alone, since the penalty makes their weights opposite. Data and products are float32,
    sums over rows float64. The result is the same, bit for bit, for any number of threads. Beside
    the embeddings, memory is about ``32 * n_features ** 2 + 350 * n_classes * n_features`` bytes
    (10 MB more for small problems, up to 30 MB for rows that are known one by one), with
    ``l2="auto"`` 600 times ``n_classes * n_features`` more, and up to 32 MB a thread that make
    small problems faster.

    References
    ----------
    J. Nocedal and S. Wright, Numerical Optimization, 2nd ed. (2006), chapters 3 and 7.
    T. Hastie and R. Tibshirani, Efficient quadratic regularization for expression arrays,
    Biostatistics 5 (2004) 329, on the space of the rows.
    H. Harbrecht, M. Peters and R. Schneider, On the low-rank approximation by the pivoted Cholesky
    decomposition, Applied Numerical Mathematics 62 (2012) 428, on what is taken of single rows.
    """
    x, y = check_rows(embeddings, targets)
    check_options(n_classes, max_iterations, tolerance)
    weights = row_weights(y, n_classes, class_weights, sample_weight)
    workers = pool if pool is not None else _core.ThreadPool(n_threads)
    path = None
    if state is not None:
        strength = _state_l2(state, x.shape, n_classes, l2)
    elif l2 == "auto":
        path = select_l2(
            x,
            y,
            n_classes,
            class_weights=class_weights,
            sample_weight=sample_weight,
            pool=workers,
            seed=seed,
            cancel=cancel,
            predict=held_out,
            groups=groups,
            copies=copies,
        )
        strength = path.selected
    else:
        strength = number(l2, "l2", word="auto")
    predictions = path.held_out if path is not None else None
    if held_out and state is not None and state.get("held_out"):
        predictions = HeldOut(**state["held_out"])
    elif held_out and path is None:
        predictions = predict_held_out(
            x,
            y,
            n_classes,
            l2=strength,
            class_weights=class_weights,
            sample_weight=sample_weight,
            pool=workers,
            seed=seed,
            cancel=cancel,
            groups=groups,
            copies=copies,
        )

    solver = _core.SoftmaxSolver(
        x,
        y,
        n_classes=n_classes,
        l2=strength,
        tolerance=tolerance,
        weights=weights,
        pool=workers,
        cancel=cancel,
    )
    begin(solver, state, start, path)
    key = {
        "version": _STATE_VERSION,
        "n_rows": len(y),
        "n_features": x.shape[1],
        "n_classes": n_classes,
        "l2": strength,
        "held_out": predictions and predictions.to_state(),
    }
    reason = iterate(solver, len(y), max_iterations, callback, key)
    coefficients, bias = solver.solution()
    return HeadFit(
        weights=coefficients,
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
        held_out=predictions,
    )


def begin(
    solver: _core.LinearSolver,
    state: Mapping[str, Any] | None,
    start: tuple[ArrayLike, ArrayLike] | None,
    path: L2Path | None,
) -> None:
    """Begin where a state, the caller's start, or the folds of a path ended, in this order."""
    if state is not None:
        solver.set_state(dict(state))
    elif start is not None:
        solver.start(
            np.ascontiguousarray(start[0], dtype=np.float32),
            np.ascontiguousarray(start[1], dtype=np.float64),
        )
    elif path is not None and path.start is not None:
        solver.start(*path.start, path.pairs)
    else:
        solver.start()


def select_l2(
    embeddings: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    class_weights: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_folds: int = 5,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
    seed: int = 0,
    cancel: _core.CancelToken | None = None,
    predict: bool = False,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> L2Path:
    """Choose the strength of the penalty by stratified cross-validation.

    Parameters
    ----------
    embeddings, targets, n_classes, class_weights, sample_weight, groups, copies
        As in `fit_softmax`.
    n_folds : int, default 5
        At least 2. A class with fewer rows is missing from some held-out parts; a class with one
        row, or one group of rows, is never held out. With fewer groups there are fewer folds.
    n_threads, pool, seed, cancel
        As in `fit_softmax`.
    predict : bool, default False
        Whether to keep what the folds' models say of the rows that they were not fitted to.

    Returns
    -------
    L2Path
        The strengths that were tried, their held-out loss, and the choice.

    Raises
    ------
    InvalidOption, DataError, Cancelled
        As in `fit_softmax`.

    Notes
    -----
    The strengths are powers of ten in half steps, from 10 down to 1e-5 times the mean variance of
    the features, so multiplying all features by one number changes nothing. Each fold goes down the
    path along the line through its last two solutions, and takes along what it learnt of the
    curvature, to which the penalty adds a known part; the path ends when the loss has risen twice
    in a row. With fewer than two held-out rows a fold there is nothing to choose by, and 0.1 times
    the mean variance is taken. Folds depend on `seed` and the order of the rows, never on the
    number of threads. Groups are dealt out to them by the greedy algorithm of scikit-learn's
    ``StratifiedGroupKFold``; see `eyespot.splitting.deal_groups`.
    """
    x, y = check_rows(embeddings, targets)
    check_options(n_classes, 1, 1.0)
    if n_folds < 2:
        msg = f"n_folds: {n_folds} given; allowed are whole numbers from 2"
        raise InvalidOption(msg, source="n_folds", code="invalid_argument")
    weights = row_weights(y, n_classes, class_weights, sample_weight)
    workers = pool if pool is not None else _core.ThreadPool(n_threads)
    folds, n_folds = grouped_folds(
        y, n_classes, n_folds, seed, *check_groups(groups, copies, len(y))
    )
    enough = enough_to_hold_out(folds, n_folds)
    path = RELATIVE_PATH if enough else RELATIVE_PATH[:0]
    variance, points, start, predictions = _core.softmax_path(
        x,
        y,
        n_classes=n_classes,
        fold=folds if enough else np.full_like(folds, -1),
        n_folds=n_folds if enough else 0,
        path=path,
        predict=predict,
        tolerance=PATH_TOLERANCE,
        weights=weights,
        pool=workers,
        cancel=cancel,
    )
    scale = variance if variance > 0 else 1.0
    strengths = [point[0] for point in points]
    losses = [point[1] for point in points]
    selected = lowest_point(strengths, losses) if points else RELATIVE_FALLBACK * scale
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
        held_out=HeldOut.gather(predictions, folds, n_folds) if enough else None,
    )


def predict_held_out(
    embeddings: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    l2: float,
    class_weights: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_folds: int = 5,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
    seed: int = 0,
    cancel: _core.CancelToken | None = None,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> HeldOut | None:
    """Predict every row by a model that was fitted without it, at one strength of the penalty.

    Parameters
    ----------
    embeddings, targets, n_classes, class_weights, sample_weight, n_threads, pool, seed, cancel
        As in `fit_softmax`; the folds are those of `select_l2`.
    l2 : float
        Strength of the penalty.
    n_folds : int, default 5
        At least 2.
    groups : integer array of shape (n,), optional
    copies : bool array of shape (n,), optional
        As in `fit_softmax`.

    Returns
    -------
    HeldOut or None
        None with fewer than two rows a fold to hold out.

    Raises
    ------
    InvalidOption, DataError, Cancelled
        As in `fit_softmax`.
    """
    x, y = check_rows(embeddings, targets)
    folds, n_folds = grouped_folds(
        y, n_classes, n_folds, seed, *check_groups(groups, copies, len(y))
    )
    if not enough_to_hold_out(folds, n_folds):
        return None
    _, _, _, predictions = _core.softmax_path(
        x,
        y,
        n_classes=n_classes,
        fold=folds,
        n_folds=n_folds,
        path=np.array([l2], dtype=np.float64),
        relative=False,
        predict=True,
        tolerance=PATH_TOLERANCE,
        weights=row_weights(y, n_classes, class_weights, sample_weight),
        pool=pool if pool is not None else _core.ThreadPool(n_threads),
        cancel=cancel,
    )
    return HeldOut.gather(predictions, folds, n_folds)


def lowest_point(strengths: list[float], losses: list[float]) -> float:
    """Minimum of the parabola, in log(l2), through the lowest point and its neighbours."""
    best = int(np.argmin(losses))
    if best in (0, len(losses) - 1):
        return strengths[best]
    left, middle, right = losses[best - 1], losses[best], losses[best + 1]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    step = np.log(strengths[best + 1] / strengths[best])
    return float(strengths[best] * np.exp(step * shift))


def softmax_probabilities(
    embeddings: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike,
    *,
    n_threads: int = 1,
    pool: _core.ThreadPool | None = None,
) -> NDArray[np.float32]:
    """Return the probability of each class for each row.

    Parameters
    ----------
    embeddings : float32 array of shape (n, n_features)
        Features.
    weights : float32 array of shape (n_classes, n_features)
        As in `HeadFit`.
    bias : float64 array of shape (n_classes,)
        As in `HeadFit`.
    n_threads : int, default 1
        Threads when no pool is given; 0 takes what the process may use.
    pool : ThreadPool, optional
        Threads to use.

    Returns
    -------
    float32 ndarray of shape (n, n_classes)
        Rows sum to 1.

    Raises
    ------
    InvalidOption
        The shapes do not agree.
    """
    x = np.ascontiguousarray(embeddings, dtype=np.float32)
    w = np.ascontiguousarray(weights, dtype=np.float32)
    b = np.ascontiguousarray(bias, dtype=np.float64)
    if pool is None and n_threads != 1:
        pool = _core.ThreadPool(n_threads)
    return _core.softmax_probabilities(x, w, b, pool=pool)


def _state_l2(
    state: Mapping[str, Any],
    shape: tuple[int, ...],
    n_classes: int,
    l2: float | Literal["auto"],
) -> float:
    found = tuple(state.get(n) for n in ("version", "n_rows", "n_features", "n_classes"))
    wanted = (_STATE_VERSION, *shape, n_classes)
    if found != wanted:
        msg = f"state: made for (version, rows, features, classes) {found}, not for {wanted}"
        raise IncompatibleParameters(msg, source="state")
    strength = float(state["l2"])
    if l2 != "auto" and float(l2) != strength:
        msg = f"state: made with l2={strength}, not with l2={l2}"
        raise IncompatibleParameters(msg, source="state")
    return strength
