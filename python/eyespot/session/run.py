"""A session, run: from its last checkpoint to the end, with checkpoints on the way."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from eyespot import training
from eyespot.errors import (
    CheckpointError,
    ConvergenceWarning,
    IncompatibleParameters,
    InvalidOption,
)
from eyespot.progress import Phase, Progress, ProgressCallback, logger
from eyespot.session.checkpoints import Checkpoint, write_checkpoint
from eyespot.session.training_session import TrainingSession
from eyespot.training import Resumption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eyespot._core import CancelToken
    from eyespot.training import TrainedHead

__all__ = ["reporting", "run", "trained_to"]

_EXTRACTION_EVERY_S: Final = 5.0


def run(
    session: TrainingSession, progress: ProgressCallback | None, cancel: CancelToken | None
) -> TrainedHead:
    """Go on with a session to its end.

    Raises
    ------
    CheckpointError
        If the folder cannot be read or written, or another process runs the session.
    ModifiedTrainingData
        If files were changed since it was made.
    Cancelled
        If `cancel` was used; what was done by then is kept.
    EyespotError
        As `eyespot.training.train`.
    """
    with session.locked():
        session.check_files(progress=progress, cancel=cancel)
        state = _last_state(session)
        recorder = _Recorder(session, progress)
        try:
            return _train(session, recorder, state, cancel)
        except IncompatibleParameters as error:
            if error.source != "state" or state is None:
                raise
            logger.warning("%s: training begins anew: %s", session.directory, error)
            return _train(session, recorder, None, cancel)


def trained_to(checkpoint: Checkpoint) -> TrainedHead:
    """Return what training with so many iterations as were done at `checkpoint` gives.

    Raises
    ------
    CheckpointError
        If it was not made in the phase of training, or by another version of eyespot.
    """
    if checkpoint.phase is not Phase.TRAINING:
        message = (
            f"{checkpoint.path}: was made in the phase {checkpoint.phase}, before there was a "
            f"model; needed is one of the phase {Phase.TRAINING}"
        )
        raise InvalidOption(message, source="checkpoint", code="invalid_argument")
    if not checkpoint.resumable:
        message = (
            f"{checkpoint.path}: was made by another version of eyespot or ONNX Runtime, or with "
            "another SIMD target; resume the session instead"
        )
        raise CheckpointError(message, source=str(checkpoint.path), code="other_engine")
    session = TrainingSession.of(checkpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return training.train(
            session.data,
            # With none done it had converged where it began.
            session.parameters.replace(max_iterations=max(checkpoint.iteration, 1)),
            store=session.store,
            resumption=Resumption(state=checkpoint.state(), keep=lambda *_: None),
        )


def reporting(progress: ProgressCallback, interval: int) -> ProgressCallback:
    """Return a callback that hands on the first and last of a phase, and one each `interval`."""
    last: Progress | None = None

    def tell(event: Progress) -> None:
        nonlocal last
        same = last is not None and last.phase is event.phase and last.done <= event.done
        if same and last is not None and event.done - last.done < interval and not event.finished:
            return
        last = event
        progress(event)

    return tell


def _train(
    session: TrainingSession,
    recorder: _Recorder,
    state: Mapping[str, Any] | None,
    cancel: CancelToken | None,
) -> TrainedHead:
    return training.train(
        session.data,
        session.parameters,
        store=session.store,
        resumption=Resumption(
            state=state,
            keep=recorder.keep,
            report_interval=session.session_parameters.report_interval,
        ),
        progress=recorder.tell,
        cancel=cancel,
    )


def _last_state(session: TrainingSession) -> dict[str, Any] | None:
    """Return the last state that can be read; damaged checkpoints go."""
    while (checkpoint := session.resumable_checkpoint()) is not None:
        try:
            state = checkpoint.state()
        except CheckpointError as error:
            logger.warning("%s", error)
            checkpoint.path.unlink(missing_ok=True)
            continue
        logger.info("%s: goes on from iteration %d", session.directory, checkpoint.iteration)
        return state
    return None


class _Recorder:
    """Makes checkpoints, and tells the caller how far the training is."""

    def __init__(self, session: TrainingSession, progress: ProgressCallback | None) -> None:
        self._folder = session.session_parameters.checkpoints_directory
        self._interval = session.session_parameters.checkpoint_interval
        self._made = {(made.phase, made.iteration) for made in session.checkpoints}
        self._extracted, self._extracted_s = 0, time.monotonic()
        self._progress: ProgressCallback = lambda _: None
        if progress is not None:
            self._progress = reporting(progress, session.session_parameters.report_interval)

    def tell(self, progress: Progress) -> None:
        """Take what the training tells of itself."""
        if progress.phase is Phase.EXTRACTING_FEATURES:
            now_s = time.monotonic()
            due = (
                now_s - self._extracted_s > _EXTRACTION_EVERY_S
                and progress.done - self._extracted >= self._interval
            )
            if due or progress.finished:
                self._extracted, self._extracted_s = progress.done, now_s
                self._make(progress.phase, progress.done, {}, dict)
        self._progress(progress)

    def keep(
        self,
        iteration: int,
        metrics: Mapping[str, float],
        state: Callable[[], Mapping[str, Any]],
        last: bool,
    ) -> None:
        """Take an iteration of the head's fit."""
        if last or iteration == 1 or iteration % self._interval == 0:
            self._make(Phase.TRAINING, iteration, metrics, state)

    def _make(
        self,
        phase: Phase,
        iteration: int,
        metrics: Mapping[str, float],
        state: Callable[[], Mapping[str, Any]],
    ) -> None:
        if (phase, iteration) in self._made:
            return
        write_checkpoint(self._folder, phase, iteration, metrics, state())
        self._made.add((phase, iteration))
