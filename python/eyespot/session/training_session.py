"""Training sessions: a folder that a training goes on from, whatever ended it.

The folder holds ``session.json`` (parameters and dates), ``data.json`` and ``validation.json`` (the
images with labels and contents), ``backbone.onnx``, ``store`` (embeddings, see `eyespot.store`) and
``checkpoints``. Each file is written aside and renamed, ``session.json`` last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from eyespot.data import DataSource
from eyespot.errors import CheckpointError, EyespotError, InvalidOption
from eyespot.files import write_atomically
from eyespot.hashing import stamp_of
from eyespot.options import ModelParameters, integer
from eyespot.progress import Phase, ProgressCallback
from eyespot.session.checkpoints import Checkpoint, checkpoints_in
from eyespot.session.files import (
    check_parameters,
    data_from_values,
    data_values,
    matched,
    parameter_values,
    parameters_from_values,
)
from eyespot.session.records import write_values
from eyespot.store import FeatureStore
from eyespot.training import extractor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eyespot._core import CancelToken

__all__ = ["TrainingSession", "TrainingSessionParameters"]

#: Form of the files; a session of a higher one is refused.
VERSION: Final = 1
_FORMAT: Final = "eyespot training session"
_SESSION, _DATA, _VALIDATION = "session.json", "data.json", "validation.json"
_BACKBONE, _STORE, _LOCK = "backbone.onnx", "store", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSessionParameters:
    """Where a training keeps its state, and how often it tells.

    Attributes
    ----------
    session_directory : path or None
        The folder of the session, which is made if it is not there; ``None`` keeps nothing.
    report_interval : int
        Images or iterations between two calls of a progress callback, 1 or more; there are fewer
        calls where more than ten a second would be due.
    checkpoint_interval : int
        Iterations of the solver between two checkpoints, 1 or more. There is also one after the
        first iteration, because the choice of the penalty comes before it, and one after the last.
        Embeddings are kept as they come; a checkpoint tells how many every five seconds, and at
        least so many images apart. A checkpoint of the solver is about 180 bytes large for each
        label and feature.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here.
    """

    session_directory: str | os.PathLike[str] | None = None
    report_interval: int = 5
    checkpoint_interval: int = 10

    def __post_init__(self) -> None:
        put = object.__setattr__
        directory = cast("object", self.session_directory)
        if directory is not None:
            if not isinstance(directory, (str, os.PathLike)):
                message = (
                    f"session_directory is a {type(directory).__name__}; allowed: the path of a "
                    "folder, or None"
                )
                raise InvalidOption(message, source="session_directory", code="invalid_argument")
            put(self, "session_directory", Path(directory))
        for name in ("report_interval", "checkpoint_interval"):
            put(self, name, integer(getattr(self, name), name, low=1))

    @property
    def directory(self) -> Path:
        """The folder.

        Raises
        ------
        InvalidOption
            If there is none.
        """
        if self.session_directory is None:
            message = "session_directory is None; a session needs the path of a folder"
            raise InvalidOption(message, source="session_directory", code="invalid_argument")
        return Path(self.session_directory)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a session."""
        return (self.directory / _SESSION).is_file()

    @property
    def checkpoints_directory(self) -> Path:
        """The folder of its checkpoints."""
        return self.directory / "checkpoints"

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that are there now, in the order of the training."""
        return checkpoints_in(self.checkpoints_directory)


class TrainingSession:
    """A training that can be interrupted at any time and gone on with.

    Make one with `ImageClassifier.make_training_session` or `restore_training_session`, and run it
    with `ImageClassifier.resume`. The model is the same, byte for byte, as without a pause.

    Attributes
    ----------
    session_parameters : TrainingSessionParameters
        Where it is kept.
    parameters : ModelParameters
        How to train.
    data : DataSource
        The images to train on.
    date : datetime
        When the session was made, in UTC.
    """

    def __init__(
        self,
        session_parameters: TrainingSessionParameters,
        parameters: ModelParameters,
        data: DataSource,
        date: datetime,
    ) -> None:
        self.session_parameters = session_parameters
        self.parameters = parameters
        self.data = data
        self.date = date

    def __repr__(self) -> str:
        return (
            f"<TrainingSession {str(self.directory)!r}: {len(self.data):,} images, "
            f"{self.phase} {self.iteration:,}>"
        )

    # -- making and finding -------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        data: DataSource,
        parameters: ModelParameters,
        session_parameters: TrainingSessionParameters,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Self:
        """Make a session, or restore the one that the folder holds; see `ImageClassifier`."""
        where = session_parameters.directory
        sources = [data]
        if isinstance(parameters.validation, DataSource):
            sources.append(parameters.validation)
        for source in sources:
            source.hashes(n_threads=parameters.n_threads, progress=progress, cancel=cancel)
        if not session_parameters.exists:
            return cls._make(data, parameters, session_parameters)
        values = _session_values(where)
        given = json.loads(json.dumps(parameter_values(parameters)))
        check_parameters(_part(values, "parameters", where), given, where)
        stored = cls.restore(session_parameters)
        data = matched(stored.data, data, where)
        if isinstance(parameters.validation, DataSource):
            assert isinstance(stored.parameters.validation, DataSource)
            same = matched(stored.parameters.validation, parameters.validation, where)
            parameters = parameters.replace(validation=same)
        _write_sources(where, data, parameters)
        _write_session(where, given, stored.date)
        return cls(session_parameters, parameters, data, stored.date)

    @classmethod
    def _make(
        cls,
        data: DataSource,
        parameters: ModelParameters,
        session_parameters: TrainingSessionParameters,
    ) -> Self:
        where = session_parameters.directory
        own = (_DATA, _VALIDATION, _BACKBONE, _STORE, _LOCK, "checkpoints")
        try:
            if where.exists():
                others = [entry.name for entry in where.iterdir() if entry.name not in own]
                if any(not name.startswith(".") for name in others):
                    message = (
                        f"{where}: holds other files and no session; give a new or an empty folder"
                    )
                    raise CheckpointError(message, source=str(where), code="io")
            where.mkdir(exist_ok=True)
            write_atomically(where / _BACKBONE, extractor_of(parameters).to_parts()[1])
        except OSError as error:
            message = f"{where}: cannot hold a session ({error.strerror or error})"
            raise CheckpointError(message, source=str(where), code="io") from error
        except EyespotError as error:
            raise CheckpointError(str(error), source=str(where), code="io") from error
        date = datetime.now(UTC).replace(microsecond=0)
        _write_sources(where, data, parameters)
        session = cls(session_parameters, parameters, data, date)
        session.remove_checkpoints(lambda _: True)  # of a session whose session.json is gone
        _write_session(where, parameter_values(parameters), date)
        return session

    @classmethod
    def restore(cls, session_parameters: TrainingSessionParameters) -> Self:
        """Rebuild a session from its folder alone; see `ImageClassifier`."""
        where = session_parameters.directory
        values = _session_values(where)
        try:
            backbone = (where / _BACKBONE).read_bytes()
            data = data_from_values(_read(where / _DATA))
            stored = _part(values, "parameters", where)
            validation = None
            if stored["validation"] == "data":
                validation = data_from_values(_read(where / _VALIDATION))
            parameters = parameters_from_values(stored, backbone, validation)
            date = datetime.fromisoformat(values["created"])
        except OSError as error:
            message = f"{where}: cannot be read ({error.strerror or error})"
            raise CheckpointError(message, source=str(where), code="io") from error
        except (InvalidOption, KeyError, TypeError, ValueError, IndexError) as error:
            message = f"{where}: the session is damaged ({error!r}); give a new session directory"
            raise CheckpointError(message, source=str(where), code="corrupt_session") from error
        return cls(session_parameters, parameters, data, date)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return the session that a checkpoint belongs to."""
        directory = checkpoint.path.absolute().parent.parent
        return cls.restore(TrainingSessionParameters(session_directory=directory))

    # -- what it is ---------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """Its folder."""
        return self.session_parameters.directory

    @property
    def store(self) -> FeatureStore:
        """The embeddings that it has made."""
        return FeatureStore(self.directory / _STORE)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Its checkpoints, in the order of the training, as they are on disk now."""
        return self.session_parameters.checkpoints()

    @property
    def phase(self) -> Phase:
        """What the last checkpoint was made in; ``INITIALIZED`` without any."""
        made = self.checkpoints
        return made[-1].phase if made else Phase.INITIALIZED

    @property
    def iteration(self) -> int:
        """How far that was within the phase: embeddings, or iterations of the solver."""
        made = self.checkpoints
        return made[-1].iteration if made else 0

    def resumable_checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint of the solver that training can go on from, if any."""
        for checkpoint in reversed(self.checkpoints):
            if (
                checkpoint.phase is Phase.TRAINING
                and checkpoint.iteration <= self.parameters.max_iterations
                and checkpoint.resumable
            ):
                return checkpoint
        return None

    # -- changing it --------------------------------------------------------------------------

    def remove_checkpoints(self, predicate: Callable[[Checkpoint], bool]) -> None:
        """Remove the checkpoints for which `predicate` is true; embeddings stay.

        Raises
        ------
        CheckpointError
            If one cannot be removed.
        """
        for checkpoint in self.checkpoints:
            if not predicate(checkpoint):
                continue
            try:
                checkpoint.path.unlink(missing_ok=True)
            except OSError as error:
                message = f"{checkpoint.path}: cannot be removed ({error.strerror or error})"
                raise CheckpointError(message, source=str(checkpoint.path), code="io") from error

    def reuse_extracted_features(self, other: TrainingSession) -> None:
        """Take over the embeddings of another session, such as one with other labels.

        Photos that both have are not embedded again, if the backbone, the crop and, for copies, the
        augmentation are the same.

        Parameters
        ----------
        other : TrainingSession
            One that has extracted all of its features.

        Raises
        ------
        CheckpointError
            If this session has a checkpoint already, or `other` has not finished its extraction.
        StoreError
            If files cannot be read or written.
        """
        if self.checkpoints:
            message = (
                f"{self.directory}: has checkpoints already; remove_checkpoints removes them, or "
                "make a new session"
            )
            raise CheckpointError(message, source=str(self.directory), code="has_checkpoints")
        if other.phase is not Phase.TRAINING:
            message = (
                f"{other.directory}: has not extracted all of its features yet; resume that "
                "session first"
            )
            raise CheckpointError(message, source=str(other.directory), code="unfinished")
        self.store.add_from(other.store)

    def check_files(
        self, *, progress: ProgressCallback | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Read all files and compare their contents with those of the session.

        Raises
        ------
        ModifiedTrainingData
            If one was changed or is gone.
        Cancelled
            If `cancel` was used.
        """
        self.data = self._checked(self.data, progress, cancel)
        if isinstance(validation := self.parameters.validation, DataSource):
            validation = self._checked(validation, progress, cancel)
            self.parameters = self.parameters.replace(validation=validation)

    def _checked(
        self, stored: DataSource, progress: ProgressCallback | None, cancel: CancelToken | None
    ) -> DataSource:
        known = zip(stored.hashes().stamps, stored.paths, strict=True)
        if all(stamp is not None and stamp == stamp_of(path) for stamp, path in known):
            return stored  # this process has read them, and nothing touched them since
        now = replace(stored)  # without what is known of the contents
        now.hashes(n_threads=self.parameters.n_threads, progress=progress, cancel=cancel)
        return matched(stored, now, self.directory)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running the session meanwhile.

        Raises
        ------
        CheckpointError
            If one does, or the folder cannot be written.
        """
        path = self.directory / _LOCK
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("ab"))
            except OSError as error:
                message = f"{path}: cannot be written ({error.strerror or error})"
                raise CheckpointError(message, source=str(path), code="io") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{self.directory}: another training runs in this session just now"
                raise CheckpointError(message, source=str(path), code="in_use") from None
            except OSError:  # a file system without locks
                pass
            yield


def _write_sources(where: Path, data: DataSource, parameters: ModelParameters) -> None:
    write_values(where / _DATA, data_values(data))
    if isinstance(parameters.validation, DataSource):
        write_values(where / _VALIDATION, data_values(parameters.validation))


def _write_session(where: Path, parameters: Mapping[str, Any], date: datetime) -> None:
    values = {
        "format": _FORMAT,
        "version": VERSION,
        "created": date.isoformat(),
        "parameters": parameters,
    }
    write_values(where / _SESSION, values)


def _session_values(where: Path) -> dict[str, Any]:
    file = where / _SESSION
    if not file.is_file():
        message = f"{where}: holds no training session"
        raise CheckpointError(message, source=str(where), code="no_session")
    values = _read(file)
    version = values.get("version")
    if values.get("format") != _FORMAT or not isinstance(version, int):
        message = f"{file}: is damaged; give a new session directory"
        raise CheckpointError(message, source=str(file), code="corrupt_session")
    if version > VERSION:
        message = (
            f"{where}: a session of version {version}, and this eyespot knows version {VERSION}; "
            "update eyespot, or give a new session directory"
        )
        raise CheckpointError(message, source=str(where), code="unsupported_version")
    return values


def _part(values: Mapping[str, Any], name: str, where: Path) -> dict[str, Any]:
    part = values.get(name)
    if not isinstance(part, dict):
        message = f"{where / _SESSION}: is damaged (no {name}); give a new session directory"
        raise CheckpointError(message, source=str(where), code="corrupt_session")
    return part


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except OSError as error:
        message = f"{file}: cannot be read ({error.strerror or error})"
        raise CheckpointError(message, source=str(file), code="io") from error
    except ValueError as error:
        message = f"{file}: is damaged ({error}); give a new session directory"
        raise CheckpointError(message, source=str(file), code="corrupt_session") from error
    return values if isinstance(values, dict) else {}
