"""The same photos and parameters give the same bytes: threads, order and place are free."""

from __future__ import annotations

import os
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from eyespot import DataSource, FeatureExtractor, ImageClassifier, ModelParameters, Preprocessing
from onnx_builder import Tiny
from photos import photo_folder, picture

LABELS = dict.fromkeys(("blue", "green", "red", "yellow"), 18)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"), LABELS, side=60)


@pytest.fixture(scope="module", params=["tiny", "embedded"])
def parameters(request, tmp_path_factory):
    extractor = FeatureExtractor.default()
    if request.param == "tiny":
        path = Tiny(height=32, width=32, features=16).save(tmp_path_factory.mktemp("n") / "n.onnx")
        spec = Preprocessing(width=32, height=32)
        extractor = FeatureExtractor.custom(path, preprocessing=spec)
    return ModelParameters(feature_extractor=extractor, max_iterations=1000, tolerance=1e-3)


@pytest.fixture(scope="module")
def model(photos, parameters):
    return ImageClassifier.train(DataSource.labeled_directories(photos), parameters)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_model(photos, parameters, model, n_threads):
    data = DataSource.labeled_directories(photos)
    again = ImageClassifier.train(data, parameters.replace(n_threads=n_threads))
    assert again.to_bytes() == model.to_bytes()


def test_any_listing_order_gives_the_same_model(photos, parameters, model, monkeypatch):
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = list(entries)
            np.random.default_rng(5).shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(os, "scandir", Shuffled)
    again = ImageClassifier.train(DataSource.labeled_directories(photos), parameters)
    assert again.to_bytes() == model.to_bytes()
    monkeypatch.undo()
    images = DataSource.labeled_directories(photos).labeled_images()
    backwards = {label: paths[::-1] for label, paths in reversed(images.items())}
    again = ImageClassifier.train(DataSource.files_by_label(backwards), parameters)
    assert again.to_bytes() == model.to_bytes()


def test_any_folder_gives_the_same_model(photos, parameters, model, tmp_path):
    elsewhere = shutil.copytree(photos, tmp_path / "deeper" / "elsewhere")
    again = ImageClassifier.train(DataSource.labeled_directories(elsewhere), parameters)
    assert again.to_bytes() == model.to_bytes()


def test_the_graph_gives_what_embeddings_and_head_give(photos, parameters, model):
    """Assembly changes no number: pixels through the one file equal the parts, one by one."""
    paths = DataSource.labeled_directories(photos).paths
    graph = onnx.load_from_string(model.to_bytes()).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    embeddings = parameters.feature_extractor.extract(paths).embeddings.astype(np.float64)
    logits = embeddings @ tensors["head/weights"].T + tensors["head/bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(model.predict_proba(paths) - expected).max() <= 1e-5


def test_the_saved_file_runs_in_plain_onnxruntime(model, tmp_path):
    path = model.save(tmp_path / "model.onnx")
    loaded = ImageClassifier.load(path)
    side = model.preprocessing.width  # at the input's own size no resampling comes between
    images = [picture(label, 900, side=side)[:side, :side] for label in ("red", "blue")]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (plain,) = session.run(["probabilities"], {"image": np.stack(images)})
    assert np.abs(model.predict_proba(images) - plain).max() <= 1e-5
    assert loaded.predict_proba(images).tobytes() == model.predict_proba(images).tobytes()
