"""Iterations of a solver, one at a time: what is told after each, and why they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LEAST_LOSS", "HeadIteration", "StopReason", "iterate"]

#: What a decrease is measured against when the loss is smaller: LbfgsOptions::least_value.
LEAST_LOSS: Final = 0.01


class StopReason(StrEnum):
    """Why a fit ended."""

    converged = "converged"
    """Gradient and predicted decrease are both within the tolerance."""
    max_iterations = "max_iterations"
    """The budget of iterations was spent first."""
    no_progress = "no_progress"
    """No step lowers the loss any more: the limit of the arithmetic was reached before the
    tolerance."""
    stopped = "stopped"
    """The callback asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadIteration:
    """What a callback learns after each iteration.

    Attributes
    ----------
    iteration : int
        Iterations done, counted from the very start of a resumed fit.
    n_evaluations : int
        Passes over the data so far.
    loss : float
        The objective: weighted mean log-loss plus penalty, in nats.
    gradient_norm : float
        As in `HeadFit`.
    accuracy : float
        Fraction of the training rows classified rightly, unweighted.
    state : callable
        Returns what to resume from after this iteration, as `HeadFit.state`; only during the call.
    """

    iteration: int
    n_evaluations: int
    loss: float
    gradient_norm: float
    accuracy: float
    state: Callable[[], dict[str, Any]] = field(default=dict, repr=False, compare=False)


class Stepper(Protocol):
    """A solver of the core."""

    @property
    def iteration(self) -> int:
        """Iterations done."""

    @property
    def n_evaluations(self) -> int:
        """Passes over the data."""

    @property
    def loss(self) -> float:
        """The objective."""

    @property
    def gradient_norm(self) -> float:
        """In the objective's norm."""

    @property
    def n_correct(self) -> int:
        """Rows classified rightly."""

    def step(self) -> str:
        """Take a step; return why none is due any more, or ``"running"``."""

    def test(self) -> bool:
        """Whether the tolerance is reached."""

    def get_state(self) -> dict[str, Any]:
        """Return plain arrays and numbers to go on from."""


def iterate(
    solver: Stepper,
    n_rows: int,
    max_iterations: int,
    callback: Callable[[HeadIteration], bool | None] | None,
    key: Mapping[str, Any] | None = None,
) -> StopReason:
    """Step until the solver ends, `max_iterations` are done, or the callback says True.

    `key` belongs to the state beside the solver's own.
    """
    while True:
        before = solver.iteration
        if before >= max_iterations:
            # A step would test for convergence first; do that much without moving.
            return StopReason.converged if solver.test() else StopReason.max_iterations
        name = solver.step()
        if name != "running":
            return StopReason(name)
        if callback is not None and callback(
            HeadIteration(
                iteration=solver.iteration,
                n_evaluations=solver.n_evaluations,
                loss=solver.loss,
                gradient_norm=solver.gradient_norm,
                accuracy=solver.n_correct / n_rows,
                state=lambda: solver.get_state() | dict(key or {}),
            )
        ):
            return StopReason.stopped
