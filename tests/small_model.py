"""A classifier of three colours, trained in a moment, for tests of what is done with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eyespot import DataSource, FeatureExtractor, ImageClassifier, ModelParameters, Preprocessing
from onnx_builder import Tiny
from photos import photo_folder

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

LABELS = ("blue", "green", "red")


def small_model(
    folder: Path,
    *,
    labels: tuple[str, ...] = LABELS,
    tiny: dict[str, object] | None = None,
    network: onnx.ModelProto | None = None,
    **preprocessing: object,
) -> tuple[ImageClassifier, DataSource]:
    """Train on 20 pictures a label, written below `folder`; return classifier and pictures.

    The backbone is `network`, or a tiny one of the options `tiny`.
    """
    spec = Preprocessing(**{"width": 24, "height": 24, **preprocessing})
    options = {"layout": spec.layout, "dtype": spec.dtype, **(tiny or {})}
    if network is None:
        network = Tiny(height=spec.height, width=spec.width, features=12, **options).model()
    path = folder / "network.onnx"
    path.write_bytes(network.SerializeToString())
    extractor = FeatureExtractor.custom(path, preprocessing=spec)
    data = DataSource.labeled_directories(
        photo_folder(folder / "photos", dict.fromkeys(labels, 20))
    )
    parameters = ModelParameters(
        feature_extractor=extractor, max_iterations=500, tolerance=1e-3, l2=0.01
    )
    return ImageClassifier.train(data, parameters), data
