"""What the image classifiers share: train one, ask it, keep it in one ONNX file.

A classifier *is* one ONNX model. Training makes the model's bytes, saving writes them, loading
reads them, and every prediction runs them, so a model answers the same before it is saved and
after, in eyespot and in any other ONNX Runtime.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast

import numpy as np

from eyespot import training
from eyespot.errors import DataError, ImageError, InvalidOption, ModelError
from eyespot.export.onnx import METADATA_FACTS
from eyespot.files import write_atomically
from eyespot.image_rows import run_images
from eyespot.metrics import ClassifierMetrics
from eyespot.model_file import (
    damaged,
    describe,
    describe_html,
    headline,
    model_of,
    open_model,
    read_model,
    sentence,
    starting_head,
)
from eyespot.multi_label_metrics import MultiLabelMetrics
from eyespot.predictions import Inference
from eyespot.progress import Phase, ProgressCallback
from eyespot.trainable import Trainable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.data import DataSource
    from eyespot.exporting import Export, InputForm, Sidecar
    from eyespot.head import Head
    from eyespot.images import ImageInput
    from eyespot.model_metadata import ModelMetadata
    from eyespot.options import ModelParameters, Preprocessing
    from eyespot.training import TrainedHead, TrainingReport

__all__ = ["ImageModel"]

MetricsT = TypeVar("MetricsT", ClassifierMetrics, MultiLabelMetrics)


class ImageModel(Trainable, Generic[MetricsT]):
    """What the classifiers share: one ONNX model that is trained, asked and kept.

    See `ImageClassifier` and `MultiLabelImageClassifier`.
    """

    def __init__(self, model: bytes, *, source: str = "<bytes>") -> None:
        if not isinstance(cast("object", model), (bytes, bytearray, memoryview)):
            message = (
                f"model is a {type(model).__name__}; allowed: the bytes of a model; "
                f"{type(self).__name__}.load reads a file"
            )
            raise InvalidOption(message, source="model", code="invalid_argument")
        self._opened = open_model(bytes(model), source)
        if self._opened.multi_label is not self._multi_label:
            several = "several labels" if self._opened.multi_label else "one label"
            message = f"{source}: a model that gives an image {several}; use {self._other_kind}"
            raise ModelError(message, source=source, code="unsupported_model")
        facts = self._opened.facts
        told = facts["metrics"]
        held_out = told.get("validation")
        try:
            self._training_metrics: MetricsT = self._read_metrics(
                facts["classes"], told.get("training")
            )
            self._validation_metrics: MetricsT | None = (
                None if held_out is None else self._read_metrics(facts["classes"], held_out)
            )
        except InvalidOption as error:
            raise damaged(source, str(error)) from error
        self.training_report: TrainingReport | None = None
        try:
            self.summary()  # reads every fact that is told later
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(source, f"{METADATA_FACTS} is incomplete: {error!r}") from error

    # -- making one; the ways to train are in Trainable ---------------------------------------

    @classmethod
    def _of(cls, trained: TrainedHead) -> Self:
        classifier = cls(model_of(trained), source="<trained>")
        classifier.training_report = trained.report
        # These list the skipped files.
        classifier._training_metrics = cast("MetricsT", trained.training_metrics)
        classifier._validation_metrics = cast("MetricsT | None", trained.validation_metrics)
        return classifier

    def _starting_head(self, parameters: ModelParameters, data: DataSource) -> Head:
        return starting_head(self._opened, parameters, data.classes)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a classifier that `save` wrote.

        Raises
        ------
        ModelError
            If the file is missing, unreadable, no ONNX model, or not one that eyespot made.
        """
        source = os.fspath(path)
        return cls(read_model(source), source=source)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model as one ONNX file, which any ONNX Runtime can run.

        Parameters
        ----------
        path : str or path
            Where to; ``.onnx`` is the usual ending. A file that is there is replaced in one step:
            whoever looks sees the old file or the new one, and a failure leaves the old one.

        Returns
        -------
        Path
            `path`.

        Raises
        ------
        ExportError
            If the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() in (".mlmodel", ".mlpackage"):
            message = (
                f"{target}: save writes ONNX files; name it {target.with_suffix('.onnx').name}, "
                "or use export"
            )
            raise InvalidOption(message, source=str(target), code="invalid_argument")
        write_atomically(target, self._opened.data)
        return target

    def write(self, path: str | os.PathLike[str], metadata: ModelMetadata | None = None) -> Export:
        """Write the model for an app to load, as Create ML's ``write(to:metadata:)`` does.

        Parameters
        ----------
        path : str or path
            Where to; the ending says what: ``.mlpackage``, ``.mlmodel`` or ``.onnx``.
        metadata : ModelMetadata, optional
            What to say of it. The default is Create ML's: the full name of the operating system's
            user as the author, and version ``"1"``.

        Returns
        -------
        Export
            The file, and the proof that it answers as this model does; see `export`.
        """
        from eyespot.model_metadata import ModelMetadata

        return self.export(path, metadata=ModelMetadata() if metadata is None else metadata)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        input: Literal["uint8_nhwc", "float_nchw", "resize"] = "uint8_nhwc",  # noqa: A002
        label_output: bool = False,
        quantize: Literal["int8"] | None = None,
        names: Literal["classic", "createml"] = "classic",
        head: Literal["softmax", "glm"] = "softmax",
        precision: Literal["float16", "float32"] | None = None,
        minimum_deployment_target: str | None = None,
        metadata: ModelMetadata | None = None,
        photos: DataSource | Iterable[ImageInput] | None = None,
        n_images: int | None = None,
        sidecars: Sequence[Literal["labels", "huggingface", "triton"]] = (),
        force: bool = False,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Export:
        """Write the model for other programs, and prove that the file answers as the model does.

        Parameters
        ----------
        path : str or path
            Where to; the ending says what: ``.onnx``, ``.mlpackage`` or ``.mlmodel``. What is
            there of the same kind is replaced in one step.
        input : {"uint8_nhwc", "float_nchw", "resize"}
            ONNX only. What the input ``image`` takes: uint8 pixels of the network's size, as
            `save` writes it; float32 planes of the levels 0 to 255; or uint8 pixels of any size,
            crop and resize being in the graph.
        label_output : bool
            ONNX only. Add an output ``label``, the text of the most probable label.
        quantize : {"int8"}, optional
            ONNX only. Compute with eight bits, calibrated on `photos`; a quarter of the size. A
            backbone that does so already is left as it is, which needs no photos, and
            `Export.notes` says so.
        names : {"classic", "createml"}
            Core ML only. Outputs ``classLabel`` and ``classLabelProbs``, or Create ML's ``target``
            and ``targetProbability``.
        head : {"softmax", "glm"}
            Core ML only. One network, or Create ML's pipeline of extractor and linear model.
        precision : {"float16", "float32"}, optional
            Core ML only. Of the backbone; the default is half, as usual there.
        minimum_deployment_target : str, optional
            Core ML only. Such as ``"iOS16"``; the default is the oldest that can read the file.
        metadata : ModelMetadata, optional
            What to say of it; the default is what this model says already, or nothing but
            ``version="1"``, so that the bytes do not depend on who exports.
        photos : DataSource or iterable of path, bytes, ndarray or PIL.Image, optional
            Photos to compare on, training or validation ones for instance. Without them made
            images are used, and the proof says so.
        n_images : int, optional
            How many images to compare on at most, evenly spread over `photos`: 32; 8 for Core ML,
            whose files are interpreted in NumPy, slowly.
        sidecars : sequence of {"labels", "huggingface", "triton"}
            ONNX only. What to write beside it: ``NAME.labels.txt``, the folder
            ``NAME-huggingface``, the folder ``NAME-triton``.
        force : bool
            Write the file even if it does not answer as the model does; the proof tells.
        progress : callable, optional
            Called from this thread with a `Progress`.
        cancel : CancelToken, optional
            Ends the work with `Cancelled`.

        Returns
        -------
        Export
            The file, and the proof, which its metadata hold too.

        Raises
        ------
        InvalidOption
            If an option is not allowed, or not for this format.
        ExportError
            If the comparison fails (code ``"parity"``), the model cannot have this form, or the
            file cannot be written. What was there is then unchanged.
        DataError
            If none of the photos can be read.

        Notes
        -----
        The same model, options and photos give the same bytes.
        """
        from eyespot.exporting import ExportOptions, export_model

        options = ExportOptions(
            input=cast("InputForm", input),
            label_output=label_output,
            quantize=quantize,
            names=names,
            head=head,
            precision=precision,
            minimum_deployment_target=minimum_deployment_target,
            metadata=metadata,
            photos=photos,
            n_images=n_images,
            sidecars=cast("tuple[Sidecar, ...]", sidecars),
            force=force,
        )
        return export_model(self._opened, path, options, progress=progress, cancel=cancel)

    # -- asking it ----------------------------------------------------------------------------

    def predict_proba(
        self,
        images: Iterable[ImageInput],
        *,
        on_error: Literal["raise", "skip"] = "raise",
        n_threads: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> NDArray[np.float32]:
        """Return the probability of each label for each image.

        Parameters
        ----------
        images : iterable of path, bytes, ndarray or PIL.Image
            See `predict`.
        on_error : {"raise", "skip"}
            What an unreadable image does: it raises, or its row is NaN.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.
        progress : callable, optional
            Called from this thread with a `Progress`.
        cancel : CancelToken, optional
            Ends the work with `Cancelled`.

        Returns
        -------
        float32 ndarray of shape (n_images, n_classes)
            Rows in the order of `images`, columns in the order of `classes`; with one label
            an image, each row sums to 1.

        Raises
        ------
        DecodeError
            If an image cannot be read and `on_error` is ``"raise"``; the message names it.
        """
        result = self._run(
            _images(images),
            Phase.INFERENCING,
            on_error=on_error,
            n_threads=n_threads,
            progress=progress,
            cancel=cancel,
        )
        return result.probabilities

    def infer(
        self,
        images: Iterable[ImageInput],
        *,
        n_threads: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> Inference:
        """Return the probabilities, and what was wrong with each image that could not be read.

        Like `predict_proba` with ``on_error="skip"``, but the reasons come with it.

        Parameters
        ----------
        images : iterable of paths, bytes, ndarrays or PIL.Images
            See `predict`.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.
        progress : callable, optional
            Called from this thread with a `Progress`.
        cancel : CancelToken, optional
            Ends the work with `Cancelled`.

        Returns
        -------
        Inference
            A row of probabilities for each image, and the errors.
        """
        return self._run(
            _images(images),
            Phase.INFERENCING,
            on_error="skip",
            n_threads=n_threads,
            progress=progress,
            cancel=cancel,
        )

    def evaluate(
        self,
        data: DataSource,
        *,
        on_error: Literal["raise", "skip"] = "skip",
        n_threads: int = 0,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> MetricsT:
        """Measure the classifier on images that it has not seen.

        Parameters
        ----------
        data : DataSource
            Images with labels, all of which the classifier knows; some may be absent.
        on_error : {"raise", "skip"}
            What an unreadable image does: it raises, or it is left out and listed in
            the ``skipped`` of the metrics.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.
        progress : callable, optional
            Called from this thread with a `Progress`.
        cancel : CancelToken, optional
            Ends the work with `Cancelled`.

        Raises
        ------
        DataError
            If there are no images, none can be read, or a label is unknown to the classifier.
        DecodeError
            If an image cannot be read and `on_error` is ``"raise"``.
        Cancelled
            If `cancel` was used.

        Warns
        -----
        SkippedImagesWarning
            If images were left out.
        GroupsWarning
            If images are of a group that the classifier was trained on, and this is the object
            that was trained: a loaded one does not know the groups.
        """
        data = self._data(data)
        data = data.with_classes(self.classes)
        if len(data) == 0:
            message = "there are no images to evaluate on"
            raise DataError(message, source="data", code="no_images")
        if self.training_report is not None:
            training.warn_of_shared_groups(self.training_report.groups, data, "test")
        result = self._run(
            data.paths,
            Phase.EVALUATING,
            on_error=on_error,
            n_threads=n_threads,
            progress=progress,
            cancel=cancel,
        )
        readable = np.ones(len(data), dtype=bool)
        readable[[error.index for error in result.errors]] = False
        if not readable.any():
            message = f"none of the {len(data):,} images could be read: {result.errors[0]}"
            raise DataError(message, source=result.errors[0].source, code="no_usable_images")
        training.warn_of_skipped(result.errors, len(data))
        return self._measure(data.take(readable), result.probabilities[readable], result.errors)

    @abstractmethod
    def _measure(
        self,
        data: DataSource,
        probabilities: NDArray[np.float32],
        skipped: tuple[ImageError, ...],
    ) -> MetricsT: ...

    @classmethod
    @abstractmethod
    def _read_metrics(cls, classes: Sequence[str], facts: Mapping[str, Any]) -> MetricsT: ...

    def _run(
        self,
        images: Sequence[ImageInput],
        phase: Phase,
        *,
        on_error: Literal["raise", "skip"],
        n_threads: int,
        progress: ProgressCallback | None,
        cancel: CancelToken | None,
    ) -> Inference:
        rows = run_images(
            self._opened.runner,
            images,
            self._opened.preprocessing,
            len(self.classes),
            phase=phase,
            n_threads=n_threads,
            on_error=on_error,
            progress=progress,
            cancel=cancel,
        )
        probabilities = np.full((len(images), len(self.classes)), np.nan, np.float32)
        probabilities[rows.indices] = rows.values
        return Inference(probabilities=probabilities, errors=rows.errors)

    # -- what it knows of itself --------------------------------------------------------------

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted; the order of the columns of every probability array."""
        return tuple(self._opened.facts["classes"])

    @property
    def preprocessing(self) -> Preprocessing:
        """What the model's input takes: uint8 RGB pixels, NHWC, of this size, crop and filter."""
        return self._opened.preprocessing

    @property
    def metadata(self) -> ModelMetadata:
        """What the maker of the model says of it; a model that was only saved is unsigned."""
        from eyespot.exporting import metadata_of

        return metadata_of(self._opened)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the training, as plain values."""
        return MappingProxyType(self._opened.facts["parameters"])

    @property
    def training_metrics(self) -> MetricsT:
        """How well the model does on the images that it was trained on."""
        return self._training_metrics

    @property
    def validation_metrics(self) -> MetricsT | None:
        """How well the model does on the images that were held out; ``None`` if none were."""
        return self._validation_metrics

    @property
    def facts(self) -> Mapping[str, Any]:
        """All that the model's file tells about it, as plain values: what `to_json` writes."""
        return MappingProxyType(self._opened.facts)

    def to_json(self) -> str:
        """Return classes, backbone, parameters, solver, counts and metrics as a JSON object."""
        return json.dumps(self._opened.facts, indent=2, ensure_ascii=False)

    def to_bytes(self) -> bytes:
        """Return the ONNX model, as `save` writes it."""
        return self._opened.data

    def summary(self) -> str:
        """Return a few lines of text: what the model tells apart, and how it was made."""
        return describe(self._opened)

    def __repr__(self) -> str:
        validation = self._opened.facts["metrics"]["validation"]
        name, value = headline(validation or {})
        shown = "none" if validation is None else f"{name} {value:.3f}"
        return (
            f"{type(self).__name__}({sentence(self.classes)}; "
            f"backbone {self._opened.facts['backbone']['name']}; validation {shown})"
        )

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return describe_html(self._opened)

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._opened.data,)


def _images(images: Iterable[ImageInput]) -> Sequence[ImageInput]:
    """Return `images` as a sequence; refuse one image where a list is due."""
    given = cast("object", images)
    single = isinstance(given, (str, os.PathLike, bytes, bytearray, memoryview)) or (
        isinstance(given, np.ndarray) and given.ndim in (2, 3)
    )
    if single or not isinstance(given, Iterable):
        message = f"images is one {type(images).__name__}; put it in a list: [image]"
        raise InvalidOption(message, source="images", code="invalid_argument")
    return list(images)
