"""Checkpoints of a training: how far it was, and what to go on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from eyespot import _core
from eyespot.errors import CheckpointError
from eyespot.progress import Phase, logger
from eyespot.session.records import read_header, read_record, write_record

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["Checkpoint", "checkpoints_in", "write_checkpoint"]

_ENDING: Final = ".checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A point of a training that it can go on from.

    Attributes
    ----------
    phase : Phase
        ``EXTRACTING_FEATURES`` or ``TRAINING``.
    iteration : int
        Embeddings that were there, or iterations of the solver that were done.
    date : datetime
        When it was made, in UTC.
    path : Path
        Its file, in the folder ``checkpoints`` of the session.
    metrics : mapping of str to float
        ``loss`` and ``accuracy`` on the images that are trained on; empty before ``TRAINING``.
    """

    phase: Phase
    iteration: int
    date: datetime
    path: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    _engine: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a checkpoint from its file.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, or of a later version.
        """
        file = Path(path)
        header = read_header(file)
        try:
            return cls(
                phase=Phase(header["phase"]),
                iteration=int(header["iteration"]),
                date=datetime.fromisoformat(header["date"]),
                path=file,
                metrics=dict(header["metrics"]),
                _engine=dict(header["engine"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"{file}: is damaged ({error!r}); remove it"
            raise CheckpointError(message, source=str(file), code="corrupt_checkpoint") from error

    @property
    def resumable(self) -> bool:
        """Whether this eyespot, on this machine, goes on from it as if there had been no pause.

        Numbers may differ in their last bits between versions and between SIMD targets.
        """
        return dict(self._engine) == _engine()

    def state(self) -> dict[str, Any]:
        """Return the solver's state; empty before ``TRAINING``.

        Raises
        ------
        CheckpointError
            If the file is missing or damaged.
        """
        return read_record(self.path)


def write_checkpoint(
    folder: Path,
    phase: Phase,
    iteration: int,
    metrics: Mapping[str, float],
    state: Mapping[str, Any],
) -> Checkpoint:
    """Write a checkpoint, in one step, in the place of an earlier one of the same iteration.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    path = folder / f"{phase}-{iteration:08d}{_ENDING}"
    header = {
        "phase": str(phase),
        "iteration": iteration,
        "date": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "metrics": dict(metrics),
        "engine": _engine(),
    }
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be made ({error.strerror or error})"
        raise CheckpointError(message, source=str(folder), code="io") from error
    write_record(path, header, state)
    return Checkpoint.load(path)


def checkpoints_in(folder: Path) -> tuple[Checkpoint, ...]:
    """Return the checkpoints in a folder in the order of the training, without damaged ones."""
    found = []
    for path in sorted(folder.glob(f"*{_ENDING}")):  # extracting_features before training
        try:
            found.append(Checkpoint.load(path))
        except CheckpointError as error:
            logger.warning("%s", error)
    return tuple(found)


def _engine() -> dict[str, str]:
    import onnxruntime

    return {
        "eyespot": _core.__version__,
        "onnxruntime": onnxruntime.__version__,
        "simd": _core.simd_target(),
    }
