"""What a long call tells while it works: plain values, handed to a callback of the caller's.

The library never prints. It calls the callback from the calling thread only, and it logs to the
logger ``"eyespot"``, which stays silent until the caller gives it a handler.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Phase", "Progress", "ProgressCallback", "ProgressReporter", "duration", "logger"]

logger = logging.getLogger("eyespot")
logger.addHandler(logging.NullHandler())


class Phase(StrEnum):
    """What is being done; the names are those of Create ML's ``MLPhase``."""

    INITIALIZED = "initialized"
    EXTRACTING_FEATURES = "extracting_features"
    TRAINING = "training"
    EVALUATING = "evaluating"
    INFERENCING = "inferencing"

    @property
    def caption(self) -> str:
        """What to call it on a screen."""
        return _CAPTIONS.get(self, self.value.replace("_", " ").capitalize())


_CAPTIONS = {Phase.INITIALIZED: "Reading files", Phase.INFERENCING: "Predicting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one phase has come.

    Attributes
    ----------
    phase : Phase
        What is being done. ``INITIALIZED`` also covers the reading of the files' contents before
        the first image is decoded.
    done : int
        Images, or iterations of the solver, so far.
    total : int or None
        How many there will be: for the solver, the most there can be. ``None`` if not known.
    elapsed_s : float
        Seconds since the phase began.
    metrics : mapping of str to float
        What is known by now, such as ``loss`` and ``accuracy`` of training; often empty.
    reused : int
        How many of `done` were there before the phase began, such as embeddings from a store.
    """

    phase: Phase
    done: int
    total: int | None
    elapsed_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    reused: int = 0

    @property
    def fraction(self) -> float | None:
        """Share of the phase that is done, 0 to 1; ``None`` if the total is not known."""
        if self.total is None:
            return None
        return min(self.done / self.total, 1.0) if self.total > 0 else 1.0

    @property
    def rate(self) -> float | None:
        """New items per second since the phase began; ``None`` before the first."""
        new = self.done - self.reused
        return new / self.elapsed_s if new > 0 and self.elapsed_s > 0 else None

    @property
    def remaining_s(self) -> float | None:
        """Estimate of the seconds left in this phase, at the mean rate so far."""
        if self.total is None or (rate := self.rate) is None:
            return None
        return max(self.total - self.done, 0) / rate

    @property
    def finished(self) -> bool:
        """Whether nothing is left of the phase."""
        return self.total is not None and self.done >= self.total

    def __str__(self) -> str:
        name = self.phase.caption.lower()
        count = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        parts = [f"{name}: {count}"]
        if self.rate is not None:
            parts.append(f"{self.rate:,.{0 if self.rate >= 100 else 1}f}/s")
        if self.finished:
            parts.append(f"{self.elapsed_s:.1f} s")
        elif self.remaining_s is not None:
            parts.append(f"{duration(self.remaining_s)} left")
        parts += [f"{key} {value:.4g}" for key, value in self.metrics.items()]
        return ", ".join(parts)


#: Called from the thread that made the call, never from a worker; what it raises ends the call.
ProgressCallback = Callable[[Progress], None]


class ProgressReporter:
    """Builds `Progress` values for one phase and hands them on, not more often than is useful.

    The first and the last value of a phase are always handed on; between them, at most one each
    `interval_s` seconds, unless the caller of `update` insists.

    Parameters
    ----------
    callback : ProgressCallback or None
        Who is told; ``None`` makes every call free.
    phase : Phase
        The phase, which begins now.
    total : int or None
        How many items there will be.
    reused : int
        Items that were there before.
    interval_s : float
        Least time between two calls, in seconds. The default gives a smooth bar at no cost.
    clock : callable
        Seconds as a float, for tests.
    """

    __slots__ = (
        "_callback",
        "_clock",
        "_interval_s",
        "_last_s",
        "_phase",
        "_reused",
        "_started_s",
        "_total",
    )

    def __init__(
        self,
        callback: ProgressCallback | None,
        phase: Phase,
        total: int | None,
        *,
        reused: int = 0,
        interval_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callback = callback
        self._phase = Phase(phase)
        self._total = total
        self._reused = reused
        self._interval_s = interval_s
        self._clock = clock
        self._started_s = clock()
        self._last_s: float | None = None

    def update(
        self, done: int, metrics: Mapping[str, float] | None = None, *, force: bool = False
    ) -> None:
        """Tell the caller that `done` items are done, unless it was told a moment ago.

        Parameters
        ----------
        done : int
            Items so far, not the step since the last call.
        metrics : mapping of str to float, optional
            What is known by now; copied.
        force : bool
            Hand this value on however soon it comes.
        """
        if self._callback is None:
            return
        now_s = self._clock()
        last = self._total is not None and done >= self._total
        soon = self._last_s is not None and now_s - self._last_s < self._interval_s
        if soon and not (force or last):
            return
        self._last_s = now_s
        self._callback(
            Progress(
                phase=self._phase,
                done=done,
                total=self._total,
                elapsed_s=now_s - self._started_s,
                metrics=dict(metrics or {}),
                reused=self._reused,
            )
        )


def duration(seconds: float) -> str:
    """Return a time in words, to the second."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
