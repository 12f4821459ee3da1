"""The image classifier that tells which one of its labels an image shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from eyespot import training
from eyespot.classifier import ImageModel
from eyespot.errors import ImageError, InvalidOption
from eyespot.metrics import ClassifierMetrics
from eyespot.options import integer
from eyespot.predictions import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from eyespot.data import DataSource
    from eyespot.images import ImageInput

__all__ = ["ImageClassifier"]


class ImageClassifier(ImageModel[ClassifierMetrics]):
    """Tells which of the labels that it was trained on an image shows.

    Make one with `train` or `load`. It never changes afterwards, and it may be used from several
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
    metadata : ModelMetadata
        What its maker says of it: author, description, licence, version.
    parameters : mapping
        The parameters of the training, as plain values.
    training_metrics : ClassifierMetrics
        On the images that the head was trained on: a bound from above, not an estimate.
    validation_metrics : ClassifierMetrics or None
        On the images that were held out; ``None`` when none were.
    training_report : TrainingReport or None
        Times and skipped files of the training; ``None`` for a loaded model, because they are not
        saved with it.

    Raises
    ------
    ModelError
        If `model` is no ONNX model, or not one that eyespot made, or of a later version.

    Examples
    --------
    >>> from eyespot import DataSource, ImageClassifier  # doctest: +SKIP
    >>> model = ImageClassifier.train(DataSource.labeled_directories("photos"))  # doctest: +SKIP
    >>> model.predict("a.jpg")  # doctest: +SKIP
    'ants'
    """

    _multi_label = False
    _other_kind = "MultiLabelImageClassifier"

    def predict(self, image: ImageInput) -> str:
        """Return the most probable label of one image.

        Parameters
        ----------
        image : path, bytes, ndarray or PIL.Image
            A file's path, a file's contents, decoded uint8 pixels of shape (height, width, 3) in
            RGB, or a Pillow image.

        Raises
        ------
        DecodeError
            If the image cannot be read.
        """
        return self.predict_many([image])[0]

    @overload
    def predict_many(
        self,
        images: Iterable[ImageInput],
        *,
        on_error: Literal["raise"] = ...,
        n_threads: int = ...,
    ) -> list[str]: ...
    @overload
    def predict_many(
        self, images: Iterable[ImageInput], *, on_error: Literal["skip"], n_threads: int = ...
    ) -> list[str | None]: ...
    def predict_many(
        self,
        images: Iterable[ImageInput],
        *,
        on_error: Literal["raise", "skip"] = "raise",
        n_threads: int = 0,
    ) -> list[str] | list[str | None]:
        """Return the most probable label of each image, in their order.

        Parameters
        ----------
        images : iterable of path, bytes, ndarray or PIL.Image
            See `predict`.
        on_error : {"raise", "skip"}
            What an unreadable image does: it raises, or its label is ``None``.
        n_threads : int
            Threads to work with; 0 means as many as the process may use.

        Raises
        ------
        DecodeError
            If an image cannot be read and `on_error` is ``"raise"``; the message names it.
        """
        probabilities = self.predict_proba(images, on_error=on_error, n_threads=n_threads)
        readable = ~np.isnan(probabilities[:, 0])
        best = probabilities.argmax(axis=1)
        return [
            self.classes[index] if good else None
            for index, good in zip(best.tolist(), readable.tolist(), strict=True)
        ]

    def predict_top_k(self, image: ImageInput, k: int = 3) -> list[Prediction]:
        """Return the `k` most probable labels of one image, the most probable first.

        Parameters
        ----------
        image : path, bytes, ndarray or PIL.Image
            See `predict`.
        k : int
            How many, 1 or more; no more than there are labels come back. The default, 3, is Turi
            Create's.

        Raises
        ------
        DecodeError
            If the image cannot be read.
        """
        return self.top_k(self.predict_proba([image])[0], k)

    def top_k(self, probabilities: NDArray[np.floating[Any]], k: int = 3) -> list[Prediction]:
        """Return the `k` most probable labels by one row of `predict_proba`.

        Parameters
        ----------
        probabilities : float ndarray of shape (n_classes,)
            One row; an unreadable image's, all NaN, has no order.
        k : int
            How many, 1 or more; no more than there are labels come back.

        Returns
        -------
        list of Prediction
            Labels of equal probability come in the order of `classes`.

        Raises
        ------
        InvalidOption
            If `k` is no integer from 1 up, or the row has another length.
        """
        k = integer(k, "k", low=1)
        probabilities = np.asarray(probabilities)
        if probabilities.shape != (len(self.classes),):
            message = (
                f"probabilities has the shape {probabilities.shape}; "
                f"allowed: one row of {len(self.classes)} numbers"
            )
            raise InvalidOption(message, source="probabilities", code="invalid_argument")
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [Prediction(self.classes[index], float(probabilities[index])) for index in order]

    def _measure(
        self,
        data: DataSource,
        probabilities: NDArray[np.float32],
        skipped: tuple[ImageError, ...],
    ) -> ClassifierMetrics:
        return ClassifierMetrics.from_probabilities(
            self.classes,
            data.targets,
            probabilities,
            skipped=skipped,
            sources=list(map(str, data.paths)),
        )

    @classmethod
    def _read_metrics(cls, classes: Sequence[str], facts: Mapping[str, Any]) -> ClassifierMetrics:
        return training.metrics_from_facts(classes, facts)
