"""Predictions of a saved Core ML file on any machine, for verification and not for speed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eyespot.errors import InvalidOption, ModelError
from eyespot.export.coreml.kernels import softmax
from eyespot.export.coreml.neural import NeuralInterpreter
from eyespot.export.coreml.program import ProgramInterpreter
from eyespot.export.coreml.reading import corrupt, parse, read_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot.export.coreml.reading import StoredModel

__all__ = ["CoreMLPrediction", "CoreMLRunner"]


class _Interpreter(Protocol):
    """What both interpreters can do."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLPrediction:
    """What a classifier says of one image.

    Attributes
    ----------
    label : str
        The likeliest label.
    probabilities : dict of str to float
        The probability of each label, in the file's order.
    """

    label: str
    probabilities: dict[str, float]


class CoreMLRunner:
    """Runs an image classifier from an ``.mlpackage`` or ``.mlmodel``, in NumPy.

    Parameters
    ----------
    model : path or mapping of str to bytes
        The file or folder; or its contents by relative name, as `CoreMLExport.files` gives them.

    Attributes
    ----------
    labels : tuple of str
        In the order of `predict_proba`.
    width, height : int
        Of the image that the model takes, in pixels.
    metadata : dict of str to str
        User-defined entries of the file.
    source : str
        The path, or ``"<memory>"``.

    Raises
    ------
    ModelError
        If it is no Core ML image classifier, is damaged, or uses an operation that the interpreter
        does not know.
    ExportError
        If coremltools is not installed; its protobuf classes are all that is used of it.

    Notes
    -----
    The interpreter reads the saved bytes and shares no code with the translator. What is float16
    in the file is rounded to float16 after each operation, so its results show the drift of half
    precision; Apple's hardware rounds elsewhere and gives slightly other numbers.
    """

    def __init__(self, model: str | os.PathLike[str] | Mapping[str, bytes]) -> None:
        self.source = "<memory>" if isinstance(model, Mapping) else os.fspath(model)
        files = model if isinstance(model, Mapping) else read_files(model)
        self._stored = parse(files, self.source)
        description = self._stored.spec.description
        self._label = description.predictedFeatureName
        self._probabilities = description.predictedProbabilitiesName
        if len(description.input) != 1 or not self._label or not self._probabilities:
            message = f"{self.source}: a Core ML model, but no classifier of one input"
            raise ModelError(message, source=self.source, code="unsupported_model")
        self._image = description.input[0]
        if self._image.type.WhichOneof("Type") != "imageType":
            message = f"{self.source}: its input {self._image.name} is no image"
            raise ModelError(message, source=self.source, code="unsupported_model")
        image = self._image.type.imageType
        self.width, self.height = int(image.width), int(image.height)
        self._colors = image.ColorSpace.Name(image.colorSpace)
        if self._colors not in {"RGB", "BGR"}:
            raise corrupt(f"its image is {self._colors}", self.source)
        self.metadata = dict(description.metadata.userDefined)
        self._steps = [_interpreter(self._stored, spec) for spec in _steps(self._stored.spec)]
        self.labels = tuple(self._run(np.zeros((self.height, self.width, 3), np.uint8))[1])

    def predict(self, pixels: NDArray[np.uint8]) -> CoreMLPrediction:
        """Classify one image.

        Parameters
        ----------
        pixels : uint8 ndarray of shape (height, width, 3)
            RGB, of the model's size.

        Raises
        ------
        InvalidOption
            If `pixels` are of another shape or type.
        """
        label, probabilities = self._run(pixels)
        return CoreMLPrediction(label=label, probabilities=probabilities)

    def predict_proba(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of several images.

        Parameters
        ----------
        pixels : uint8 ndarray of shape (n_images, height, width, 3)
            RGB, of the model's size.

        Returns
        -------
        float32 ndarray of shape (n_images, n_classes)
            In the order of `labels`.
        """
        rows = [[*self._run(image)[1].values()] for image in pixels]
        return np.array(rows, np.float32).reshape(len(rows), len(self.labels))

    def _run(self, pixels: NDArray[np.uint8]) -> tuple[str, dict[str, float]]:
        expected = (self.height, self.width, 3)
        if getattr(pixels, "dtype", None) != np.uint8 or pixels.shape != expected:
            message = (
                f"pixels of shape {np.shape(pixels)} and type {getattr(pixels, 'dtype', '?')}; the "
                f"model takes uint8 of shape {expected}"
            )
            raise InvalidOption(message, source="pixels", code="invalid_argument")
        colors = pixels if self._colors == "RGB" else pixels[:, :, ::-1]
        planes = np.ascontiguousarray(colors.transpose(2, 0, 1)[None], np.float32)
        values: dict[str, Any] = {self._image.name: planes}
        for step in self._steps:
            values = step.run(values)
        try:
            return values[self._label], values[self._probabilities]
        except KeyError as error:
            raise corrupt(f"it does not compute its output {error}", self.source) from error


class _LinearClassifier:
    """A generalised linear model with labels: the end of Create ML's pipelines."""

    def __init__(self, model: StoredModel, spec: Any) -> None:
        regression = spec.glmClassifier
        self._source = model.source
        self._weights = np.array([row.value for row in regression.weights], np.float64)
        self._offset = np.array(regression.offset, np.float64)
        self._classes = list(regression.stringClassLabels.vector)
        self._reference = regression.classEncoding == regression.ReferenceClass
        description = spec.description
        self._features = description.input[0].name
        self._outputs = description.predictedFeatureName, description.predictedProbabilitiesName
        rows = len(self._classes) - self._reference
        if self._weights.shape[:1] != (rows,) or self._offset.shape != (rows,):
            raise corrupt(f"{len(self._weights)} rows of weights for {rows}", self._source)
        if not self._reference or regression.postEvaluationTransform != regression.Logit:
            message = f"{self._source}: a linear model of another kind than Create ML writes"
            raise ModelError(message, source=self._source, code="unsupported_operator")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return label and probabilities for one row of features."""
        features = feeds[self._features].reshape(-1).astype(np.float64)
        scores = np.concatenate([[0.0], self._weights @ features + self._offset])
        probabilities = softmax(scores, 0)
        pairs = dict(zip(self._classes, probabilities.tolist(), strict=True))
        label, all_of_them = self._outputs
        return {label: self._classes[int(np.argmax(scores))], all_of_them: pairs}


def _steps(spec: Any) -> list[Any]:
    """Return the models to run one after the other."""
    kind = spec.WhichOneof("Type")
    return list(spec.pipelineClassifier.pipeline.models) if kind == "pipelineClassifier" else [spec]


def _interpreter(model: StoredModel, spec: Any) -> _Interpreter:
    kind = spec.WhichOneof("Type")
    if kind == "mlProgram":
        return ProgramInterpreter(model, spec)
    if kind == "glmClassifier":
        return _LinearClassifier(model, spec)
    if kind in {"neuralNetwork", "neuralNetworkClassifier"}:
        return NeuralInterpreter(model, spec)
    message = f"{model.source}: the interpreter does not know models of type {kind}"
    raise ModelError(message, source=model.source, code="unsupported_operator")
