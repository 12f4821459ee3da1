"""A multilayer perceptron on embeddings: Create ML's other classifier, with the same stepper."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

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
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from eyespot.head.stepping import HeadIteration

__all__ = ["PerceptronFit", "fit_perceptron"]

_STATE_VERSION = 2
_N_FOLDS = 5
_DEFAULT_L2 = 0.03


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerceptronFit:
    """The result of `fit_perceptron`.

    Attributes
    ----------
    head : Head
        The layers, for the features as given.
    l2 : float
        Strength of the penalty.
    n_iterations : int
        Iterations done, those before a resume included.
    n_evaluations : int
        Passes over the data.
    loss : float
        The objective at the end: weighted mean log-loss plus penalty, in nats.
    accuracy : float
        Fraction of the training rows classified rightly, unweighted.
    gradient_norm : float
        Largest component of the gradient, features standardised.
    relative_gap : float
        As in `HeadFit`.
    tolerance : float
        What was asked for.
    stop_reason : StopReason
        Why the fit ended.
    state : dict
        Plain arrays and numbers to resume from.
    held_out : HeldOut or None
        Predictions to calibrate by; None when not asked for, or with too few rows.
    """

    head: Head
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
    held_out: HeldOut | None = field(default=None, repr=False)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was reached."""
        return self.stop_reason is StopReason.converged


def fit_perceptron(
    embeddings: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    layer_sizes: Sequence[int] = (100,),
    l2: float = _DEFAULT_L2,
    class_weights: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    max_iterations: int = 25,
    tolerance: float = 1e-4,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
    seed: int = 0,
    callback: Callable[[HeadIteration], bool | None] | None = None,
    state: Mapping[str, Any] | None = None,
    start: Head | None = None,
    cancel: _core.CancelToken | None = None,
    held_out: bool = False,
    groups: ArrayLike | None = None,
    copies: ArrayLike | None = None,
) -> PerceptronFit:
    """Fit fully connected layers with ReLU between them and softmax at the end.

    Minimises ``sum(u * logloss) / sum(u) + l2 / 2 * sum(weights ** 2)`` on standardised features,
    where ``u`` is the product of class and sample weight and biases are free of penalty. The
    standardisation is folded into the first layer of the result.

    Parameters
    ----------
    embeddings : float32 array of shape (n, n_features)
        C-contiguous float32 is used in place; anything else is converted first.
    targets : integer array of shape (n,)
        Class of each row, in ``[0, n_classes)``.
    n_classes : int
        At least 1. A class without rows is allowed.
    layer_sizes : sequence of int, default (100,)
        Widths of the hidden layers, the one next to the features first; at least one.
    l2 : float, default 0.03
        Strength of the penalty, of weights for standardised features. There is no ``"auto"``: this
        one was near the best of {1e-4 ... 0.1} on the embeddings of three photo sets, and so strong
        that the held-out loss hardly rises as the fit goes on, so that nothing need be held out to
        stop it early. Features that are few and clean want less.
    class_weights, sample_weight, n_threads, pool, cancel
        As in `fit_softmax`.
    max_iterations : int, default 25
        Iterations, counted from the start of a resumed fit. 25 is Create ML's default.
    tolerance : float, default 1e-4
        The fit has converged when the gradient norm and the relative gap are at most this.
    seed : int, default 0
        Of the hidden layers' first weights, and of the assignment of rows to folds.
    callback : callable, optional
        Called with a `HeadIteration` after each iteration; stops the fit by returning True.
    state : mapping, optional
        The `PerceptronFit.state` of an earlier fit to the same data with the same options:
        iterations continue from there, and the result is the same, bit for bit, as without the
        pause.
    start : Head, optional
        Layers to start from, of the same sizes. Ignored with a state.
    held_out : bool, default False
        Whether to predict every row by a network that was fitted without it, to calibrate by: five
        further fits of as many iterations.
    groups : integer array of shape (n,), optional
    copies : bool array of shape (n,), optional
        As in `fit_softmax`.

    Returns
    -------
    PerceptronFit
        The network with how it was reached.

    Raises
    ------
    InvalidOption
        An argument is out of range or of the wrong shape.
    DataError
        A row of the embeddings holds NaN or infinity; the message names the row.
    IncompatibleParameters
        The state or the start belongs to another network.
    Cancelled
        `cancel` was set.

    Notes
    -----
    L-BFGS with a strong-Wolfe line search. Hidden weights start uniform in
    ``+-sqrt(6 / n_in)`` (He), by a counter-based generator, and the last layer at 0, so that the
    network does not depend on the order of the classes. The result is the same, bit for bit, for
    any number of threads.

    References
    ----------
    K. He and others, Delving Deep into Rectifiers, ICCV 2015, equation 10.
    """
    x, y = check_rows(embeddings, targets)
    check_options(n_classes, max_iterations, tolerance)
    sizes = _check_sizes(layer_sizes)
    strength = number(l2, "l2")
    workers = pool if pool is not None else _core.ThreadPool(n_threads)
    weights = row_weights(y, n_classes, class_weights, sample_weight)
    key = {
        "version": _STATE_VERSION,
        "n_rows": len(y),
        "n_features": x.shape[1],
        "n_classes": n_classes,
        "layer_sizes": list(sizes),
        "l2": strength,
    }
    options: dict[str, Any] = {
        "n_classes": n_classes,
        "layer_sizes": list(sizes),
        "l2": strength,
        "tolerance": tolerance,
        "pool": workers,
        "cancel": cancel,
    }
    solver = _core.PerceptronSolver(x, y, weights=weights, **options)
    if state is not None:
        _check_state(state, key)
        solver.set_state(dict(state))
    elif start is not None:
        if (start.n_features, start.layer_sizes, start.n_classes) != (x.shape[1], sizes, n_classes):
            shapes = " -> ".join(map(str, (start.n_features, *start.layer_sizes, start.n_classes)))
            msg = f"start: a head of widths {shapes} does not start one of layer_sizes {sizes}"
            raise IncompatibleParameters(msg, source="start")
        solver.start_at(list(start.layers))
    else:
        solver.start(seed % 2**64)
    reason = iterate(solver, len(y), max_iterations, callback, key)
    fit = PerceptronFit(
        head=Head(tuple(solver.solution())),
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
    )
    if not held_out:
        return fit
    folds, n_folds = grouped_folds(
        y, n_classes, _N_FOLDS, seed, *check_groups(groups, copies, len(y))
    )
    if not enough_to_hold_out(folds, n_folds):
        return fit
    probabilities = np.full((len(y), n_classes), np.nan, np.float32)
    for fold in range(n_folds):
        inside = folds == fold
        outside = ~inside & (folds != -2 - fold)
        part = None if weights is None else weights[outside]
        solver = _core.PerceptronSolver(x[outside], y[outside], weights=part, **options)
        solver.start(seed % 2**64)
        iterate(solver, int(outside.sum()), fit.n_iterations, None)
        head = Head(tuple(solver.solution()))
        probabilities[inside] = head.probabilities(x[inside], pool=workers)
    return replace(fit, held_out=HeldOut.gather(probabilities, folds, n_folds))


def _check_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in layer_sizes)
    if not sizes or min(sizes) < 1:
        msg = f"layer_sizes: {layer_sizes!r} given; allowed are one or more whole numbers from 1"
        raise InvalidOption(msg, source="layer_sizes", code="invalid_argument")
    return sizes


def _check_state(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if state.get(name) != value:
            msg = f"state: made with {name}={state.get(name)!r}, not with {value!r}"
            raise IncompatibleParameters(msg, source="state")
