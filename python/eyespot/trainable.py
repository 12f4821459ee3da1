"""The ways to a trained classifier: at once, in a job, in a session, from a checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self, cast

from eyespot import training
from eyespot.data import DataSource
from eyespot.errors import InvalidOption
from eyespot.options import ModelParameters
from eyespot.session import Checkpoint, Job, TrainingSession, TrainingSessionParameters
from eyespot.session import run as session_run

if TYPE_CHECKING:
    from eyespot._core import CancelToken
    from eyespot.head import Head
    from eyespot.progress import ProgressCallback
    from eyespot.store import FeatureStore
    from eyespot.training import TrainedHead

__all__ = ["Trainable"]


class Trainable(ABC):
    """What the classifiers share of their making; see `ImageClassifier`."""

    #: Whether an image may bear several labels.
    _multi_label: ClassVar[bool]
    #: The class of the other kind, for messages.
    _other_kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def _of(cls, trained: TrainedHead) -> Self: ...

    @abstractmethod
    def _starting_head(self, parameters: ModelParameters, data: DataSource) -> Head: ...

    @classmethod
    def train(
        cls,
        data: DataSource,
        parameters: ModelParameters | None = None,
        session_parameters: TrainingSessionParameters | None = None,
        *,
        start: Self | None = None,
        store: FeatureStore | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Self:
        """Train a classifier.

        Parameters
        ----------
        data : DataSource
            Images with their labels: at least two labels, and two images of each.
        parameters : ModelParameters, optional
            How to train; the defaults are Create ML's.
        session_parameters : TrainingSessionParameters, optional
            A folder to keep the state of the training in. If it holds a session of these data and
            parameters, training goes on where that was; see `make_training_session`.
        start : classifier of this kind, optional
            An earlier classifier on the same backbone, of the same kind and layer sizes, whose
            weights the solver starts from: labels may have come or gone, and images too. A
            logistic regressor ends at the same optimum, sooner; a multilayer perceptron goes on
            from where it was. Not in a session.
        store : FeatureStore, optional
            Keeps embeddings, so that a later training, with other labels or more photos, need not
            make them again. A session has its own.
        progress : callable, optional
            Called from this thread with a `Progress`, several times a second.
        cancel : CancelToken, optional
            Its ``cancel()``, from another thread or from `progress`, ends the work.

        Returns
        -------
        ImageClassifier

        Raises
        ------
        DataError
            If the data cannot train a classifier, or all images of a label are unreadable.
        DecodeError
            If an image is unreadable and ``parameters.on_error`` is ``"raise"``.
        InvalidOption
            If an argument is of the wrong type, or the parameters name an unknown label.
        IncompatibleParameters
            If `start` is of another backbone or of other layers, or the session was made with
            other parameters.
        ModifiedTrainingData
            If the session was made with other images, labels or groups.
        CheckpointError
            If the session's folder cannot be read or written.
        ExportError
            If the backbone cannot become part of one ONNX file.
        StoreError
            If the store cannot be read or written.
        Cancelled
            If `cancel` was used.

        Warns
        -----
        SkippedImagesWarning
            If images could not be read and were left out.
        ConvergenceWarning
            If the solver used up its iterations and the loss may yet fall by more than 0.1 %.
        GroupsWarning
            If all images of a label are of one group, or validation data of yours are of groups
            that training data are of, too.

        Notes
        -----
        The model's bytes follow from the images' contents, their labels and the parameters: not
        from the number of threads, the order or the place of the files, the store, pauses, or the
        time.
        """
        used = cls._parameters(data, parameters)
        session_parameters = _session_parameters(session_parameters)
        if session_parameters.session_directory is None:
            head = cls._head(start, used, data)
            trained = training.train(
                data, used, start=head, store=store, progress=progress, cancel=cancel
            )
            return cls._of(trained)
        for name, value in (("start", start), ("store", store)):
            if value is not None:
                message = f"{name} is given together with a session_directory; give one of them"
                raise InvalidOption(message, source=name, code="invalid_argument")
        session = TrainingSession.open(
            data, used, session_parameters, progress=progress, cancel=cancel
        )
        return cls._of(session_run.run(session, progress, cancel))

    @classmethod
    def train_async(
        cls,
        data: DataSource,
        parameters: ModelParameters | None = None,
        session_parameters: TrainingSessionParameters | None = None,
        *,
        start: Self | None = None,
        store: FeatureStore | None = None,
    ) -> Job[Self]:
        """Start to train a classifier in a thread of its own.

        Parameters
        ----------
        data, parameters, session_parameters, start, store
            As in `train`. Progress is told each ``session_parameters.report_interval`` images or
            iterations.

        Returns
        -------
        Job
            Running; its ``result()`` is the classifier, or raises what `train` would.

        Raises
        ------
        InvalidOption
            If an argument is of the wrong type.
        """
        used = cls._parameters(data, parameters)
        how = _session_parameters(session_parameters)
        cls._checked_start(start)

        if how.session_directory is None:
            return Job(
                lambda progress, cancel: cls.train(
                    data,
                    used,
                    start=start,
                    store=store,
                    progress=session_run.reporting(progress, how.report_interval),
                    cancel=cancel,
                )
            )
        return Job(
            lambda progress, cancel: cls.train(
                data, used, how, start=start, store=store, progress=progress, cancel=cancel
            ),
            how.checkpoints,
        )

    @classmethod
    def make_training_session(
        cls,
        data: DataSource,
        parameters: ModelParameters | None = None,
        session_parameters: TrainingSessionParameters | None = None,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> TrainingSession:
        """Make a training session, or restore the one that the folder holds; do not run it.

        Parameters
        ----------
        data : DataSource
            As in `train`. All files are read, to know their contents.
        parameters : ModelParameters, optional
            As in `train`. In a session that is there, ``max_iterations`` and ``n_threads`` may be
            others; it goes on with the new ones.
        session_parameters : TrainingSessionParameters
            With the folder.
        progress : callable, optional
            Told how many files were read.
        cancel : CancelToken, optional
            Its ``cancel()`` ends the work.

        Raises
        ------
        IncompatibleParameters
            If the session was made with other parameters: ``source`` names the first, and
            ``original_value`` and ``new_value`` tell.
        ModifiedTrainingData
            If the session was made with other images, labels or groups. Files may have moved.
        CheckpointError
            If the folder holds other files, or cannot be read or written.
        InvalidOption
            If an argument is of the wrong type, or there is no folder.
        Cancelled
            If `cancel` was used.
        """
        used = cls._parameters(data, parameters)
        how = _session_parameters(session_parameters)
        return TrainingSession.open(data, used, how, progress=progress, cancel=cancel)

    @classmethod
    def restore_training_session(
        cls, session_parameters: TrainingSessionParameters
    ) -> TrainingSession:
        """Rebuild a session from its folder alone.

        Parameters
        ----------
        session_parameters : TrainingSessionParameters
            With the folder.

        Raises
        ------
        CheckpointError
            If the folder holds no session, or a damaged one, or one of a later version.
        InvalidOption
            If there is no folder, or the session is one for the other kind of classifier.
        """
        session = TrainingSession.restore(_session_parameters(session_parameters))
        cls._data(session.data)
        return session

    @classmethod
    def resume(cls, session: TrainingSession) -> Job[Self]:
        """Begin or go on with a session, in a thread of its own.

        It goes on from the last checkpoint; where none can be used, it begins anew, with the
        embeddings that there are. Of training, the choice of the penalty (``l2="auto"``) is made
        again if it was interrupted; after it, at most ``checkpoint_interval`` iterations are.

        Parameters
        ----------
        session : TrainingSession
            From `make_training_session` or `restore_training_session`.

        Returns
        -------
        Job
            Running. Its result is the classifier that an uninterrupted training gives, byte for
            byte; it raises what `train` would.

        Raises
        ------
        InvalidOption
            If `session` is none, or one for the other kind of classifier.
        """
        if not isinstance(cast("object", session), TrainingSession):
            message = f"session is a {type(session).__name__}; allowed: a TrainingSession"
            raise InvalidOption(message, source="session", code="invalid_argument")
        cls._data(session.data)

        return Job(
            lambda progress, cancel: cls._of(session_run.run(session, progress, cancel)),
            session.session_parameters.checkpoints,
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Make the classifier that training with so many iterations gives.

        Parameters
        ----------
        checkpoint : Checkpoint
            Of the phase ``TRAINING``, in the folder of its session. The photos need not be there.

        Raises
        ------
        InvalidOption
            If it is of another phase, or of a session for the other kind of classifier.
        CheckpointError
            If it or its session is missing or damaged, or of another version of eyespot.
        """
        if not isinstance(cast("object", checkpoint), Checkpoint):
            message = f"checkpoint is a {type(checkpoint).__name__}; allowed: a Checkpoint"
            raise InvalidOption(message, source="checkpoint", code="invalid_argument")
        cls._data(TrainingSession.of(checkpoint).data)
        return cls._of(session_run.trained_to(checkpoint))

    @classmethod
    def _parameters(cls, data: DataSource, parameters: ModelParameters | None) -> ModelParameters:
        cls._data(data)
        if parameters is None:
            return ModelParameters()
        if not isinstance(cast("object", parameters), ModelParameters):
            message = f"parameters is a {type(parameters).__name__}; allowed: ModelParameters"
            raise InvalidOption(message, source="parameters", code="invalid_argument")
        return parameters

    @classmethod
    def _checked_start(cls, start: object) -> None:
        if not isinstance(start, cls | None):
            article = "a" if cls._multi_label else "an"
            message = (
                f"start is a {type(start).__name__}; allowed: {article} {cls.__name__}, or None"
            )
            raise InvalidOption(message, source="start", code="invalid_argument")

    @classmethod
    def _head(
        cls, start: Self | None, parameters: ModelParameters, data: DataSource
    ) -> Head | None:
        cls._checked_start(start)
        return None if start is None else start._starting_head(parameters, data)

    @classmethod
    def _data(cls, data: object) -> DataSource:
        if not isinstance(data, DataSource):
            message = (
                f"data is a {type(data).__name__}; allowed: a DataSource, such as "
                "DataSource.labeled_directories('photos')"
            )
            raise InvalidOption(message, source="data", code="invalid_argument")
        if data.multi_label is not cls._multi_label:
            found = "several labels" if data.multi_label else "one label"
            read = "" if data.multi_label else ", or read the data with multi_label=True"
            message = f"the data have {found} an image; use {cls._other_kind}{read}"
            raise InvalidOption(message, source="data", code="invalid_argument")
        return data


def _session_parameters(given: TrainingSessionParameters | None) -> TrainingSessionParameters:
    if given is None:
        return TrainingSessionParameters()
    if not isinstance(cast("object", given), TrainingSessionParameters):
        message = (
            f"session_parameters is a {type(given).__name__}; allowed: TrainingSessionParameters"
        )
        raise InvalidOption(message, source="session_parameters", code="invalid_argument")
    return given
