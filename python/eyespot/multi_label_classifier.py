"""The image classifier that gives an image any number of labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from eyespot import training
from eyespot.classifier import ImageModel
from eyespot.errors import ImageError, InvalidOption
from eyespot.image_classifier import ImageClassifier
from eyespot.model_file import open_model, read_model
from eyespot.multi_label_metrics import MultiLabelMetrics
from eyespot.options import real
from eyespot.predictions import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot.data import DataSource
    from eyespot.images import ImageInput

__all__ = ["MultiLabelImageClassifier", "load_either"]


class MultiLabelImageClassifier(ImageModel[MultiLabelMetrics]):
    """Tells which of the labels that it was trained on an image bears: none, some or all.

    Each label is told on its own (one-vs-rest), so the probabilities of an image do not add up to
    1. Make one with `train` or `load`. It never changes afterwards, and it may be used from several
    threads and pickled.

    Parameters
    ----------
    model : bytes
        An ONNX model that eyespot saved.
    source : str, optional
        What to call the model in error messages, such as its path.

    Attributes
    ----------
    classes : tuple of str
        The labels, sorted; the order of the columns of every probability array.
    preprocessing : Preprocessing
        What the model's input takes: the size, the crop and the filter; uint8 RGB pixels, NHWC.
    parameters : mapping
        The parameters of the training, as plain values.
    training_metrics : MultiLabelMetrics
        On the images that the head was trained on: a bound from above, not an estimate.
    validation_metrics : MultiLabelMetrics or None
        On the images that were held out; ``None`` when none were.
    training_report : TrainingReport or None
        Times and skipped files of the training; ``None`` for a loaded model, because they are not
        saved with it.

    Raises
    ------
    ModelError
        If `model` is no ONNX model, or not one that eyespot made, or of a later version, or one
        that gives an image just one label.

    Notes
    -----
    ``class_weights`` of the parameters tell how much more the images that bear a label weigh than
    those that do not: ``"balanced"`` as much, all together; a power of that; or a mapping. Each
    label's loss is a weighted mean, so ``l2`` keeps its meaning; one ``l2`` serves all labels.
    ``calibration`` has no effect here.

    Examples
    --------
    >>> from eyespot import DataSource, MultiLabelImageClassifier  # doctest: +SKIP
    >>> data = DataSource.from_table("photos.csv", label_separator=";")  # doctest: +SKIP
    >>> model = MultiLabelImageClassifier.train(data)  # doctest: +SKIP
    >>> model.predict("a.jpg")  # doctest: +SKIP
    ('beach', 'people')
    """

    _multi_label = True
    _other_kind = "ImageClassifier"

    def predict(
        self, image: ImageInput, *, threshold: float | Mapping[str, float] = 0.5
    ) -> tuple[str, ...]:
        """Return the labels of one image, in the order of `classes`; perhaps none.

        Parameters
        ----------
        image : path, bytes, ndarray or PIL.Image
            A file's path, a file's contents, decoded uint8 pixels of shape (height, width, 3) in
            RGB, or a Pillow image.
        threshold : float or mapping of str to float
            Probability from which a label is given, 0 to 1: one for all labels, or one for each,
            0.5 for those that the mapping leaves out. At 0.5 a label is given where it is more
            probable than not.

        Raises
        ------
        DecodeError
            If the image cannot be read.
        InvalidOption
            If a threshold is out of range, or its label is unknown.
        """
        return self.predict_many([image], threshold=threshold)[0]

    @overload
    def predict_many(
        self,
        images: Iterable[ImageInput],
        *,
        threshold: float | Mapping[str, float] = ...,
        on_error: Literal["raise"] = ...,
        n_threads: int = ...,
    ) -> list[tuple[str, ...]]: ...
    @overload
    def predict_many(
        self,
        images: Iterable[ImageInput],
        *,
        threshold: float | Mapping[str, float] = ...,
        on_error: Literal["skip"],
        n_threads: int = ...,
    ) -> list[tuple[str, ...] | None]: ...
    def predict_many(
        self,
        images: Iterable[ImageInput],
        *,
        threshold: float | Mapping[str, float] = 0.5,
        on_error: Literal["raise", "skip"] = "raise",
        n_threads: int = 0,
    ) -> list[tuple[str, ...]] | list[tuple[str, ...] | None]:
        """Return the labels of each image, in their order.

        Parameters
        ----------
        images : iterable of path, bytes, ndarray or PIL.Image
            See `predict`.
        threshold : float or mapping of str to float
            See `predict`.
        on_error : {"raise", "skip"}
            What an unreadable image does: it raises, or ``None`` stands for its labels.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.

        Raises
        ------
        DecodeError
            If an image cannot be read and `on_error` is ``"raise"``; the message names it.
        InvalidOption
            If a threshold is out of range, or its label is unknown.
        """
        least = self._thresholds(threshold)
        probabilities = self.predict_proba(images, on_error=on_error, n_threads=n_threads)
        return [
            None
            if np.isnan(row[0])
            else tuple(self.classes[i] for i in np.flatnonzero(row >= least).tolist())
            for row in probabilities
        ]

    def labels_of(
        self,
        probabilities: NDArray[np.floating[Any]],
        *,
        threshold: float | Mapping[str, float] = 0.5,
    ) -> list[Prediction]:
        """Return the labels by one row of `predict_proba`, the most probable first.

        Parameters
        ----------
        probabilities : float ndarray of shape (n_classes,)
            One row.
        threshold : float or mapping of str to float
            See `predict`.

        Raises
        ------
        InvalidOption
            If the row has another length, or a threshold is not allowed.
        """
        row = np.asarray(probabilities)
        if row.shape != (len(self.classes),):
            message = (
                f"probabilities has the shape {row.shape}; "
                f"allowed: one row of {len(self.classes)} numbers"
            )
            raise InvalidOption(message, source="probabilities", code="invalid_argument")
        least = self._thresholds(threshold)
        order = np.argsort(-row, kind="stable").tolist()
        return [Prediction(self.classes[i], float(row[i])) for i in order if row[i] >= least[i]]

    def _thresholds(self, threshold: float | Mapping[str, float]) -> NDArray[np.float32]:
        if not isinstance(threshold, Mapping):
            value = real(threshold, "threshold", low=0.0, high=1.0)
            return np.full(len(self.classes), value, dtype=np.float32)
        if unknown := [label for label in threshold if label not in self.classes]:
            message = f"threshold has {unknown[0]!r}; the model's labels are {self.classes}"
            raise InvalidOption(message, source="threshold", code="unknown_label")
        values = [
            real(threshold.get(label, 0.5), f"threshold[{label!r}]", low=0.0, high=1.0)
            for label in self.classes
        ]
        return np.array(values, dtype=np.float32)

    def _measure(
        self,
        data: DataSource,
        probabilities: NDArray[np.float32],
        skipped: tuple[ImageError, ...],
    ) -> MultiLabelMetrics:
        return MultiLabelMetrics.from_probabilities(
            self.classes, data.targets, probabilities, skipped=skipped
        )

    @classmethod
    def _read_metrics(cls, classes: Sequence[str], facts: Mapping[str, Any]) -> MultiLabelMetrics:
        return training.label_metrics_from_facts(classes, facts)


def load_either(path: str | os.PathLike[str]) -> ImageClassifier | MultiLabelImageClassifier:
    """Read a classifier of the kind that the file holds.

    Raises
    ------
    ModelError
        As `ImageClassifier.load`.
    """
    source = os.fspath(path)
    data = read_model(source)
    if open_model(data, source).multi_label:
        return MultiLabelImageClassifier(data, source=source)
    return ImageClassifier(data, source=source)
