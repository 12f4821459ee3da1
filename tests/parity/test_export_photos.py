"""Exports on real photos, read by other people's tools, against `predict_proba`."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest

from eyespot import (
    ConvergenceWarning,
    DataSource,
    FeatureExtractor,
    ImageClassifier,
    Loader,
    ModelParameters,
    verify,
)
from eyespot.export.parity import RESIZED_LEVELS, TRANSLATED_LEVELS
from eyespot.images import read_image

SETS = {"flowers5": 150, "hymenoptera": 100, "trashnet": 150, "weather4": 100}


def mixed(test_data, part, share=1.0):
    """Return photos of four sets, evenly spread over each, and the set that each is from."""
    paths, labels = [], []
    for name, most in SETS.items():
        found = DataSource.labeled_directories(test_data(f"photos/{name}/{part}")).paths
        count = int(most * share)
        paths += [found[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]
        labels += [name] * count
    return paths, labels


def trained(test_data, extractor):
    """Train on a fifth of the photos of all sets; the labels are the sets."""
    paths, labels = mixed(test_data, "train", 0.2)
    by_label = {name: [p for p, q in zip(paths, labels, strict=True) if q == name] for name in SETS}
    parameters = ModelParameters(feature_extractor=extractor, l2=0.01, calibration=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ImageClassifier.train(DataSource.files_by_label(by_label), parameters)


@pytest.fixture(scope="module")
def model(test_data):
    """Return a model that computes in float32, so that others' arithmetic can be held to it."""
    return trained(test_data, FeatureExtractor.default(revision=2))


@pytest.fixture(scope="module")
def default_model(test_data):
    """Return a model of the default backbone, which computes with eight bits."""
    return trained(test_data, FeatureExtractor.default())


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def model_inputs(model, paths):
    with Loader(paths, model.preprocessing, batch_size=50) as loader:
        return [batch.pixels for batch in loader]


@pytest.mark.parametrize("kind", ["model", "default_model"])
def test_500_photos_get_the_same_answer_from_onnx_runtime(kind, request, test_data, tmp_path):
    model = request.getfixturevalue(kind)
    paths, _ = mixed(test_data, "test")
    assert len(paths) == 500
    expected = model.predict_proba(paths)
    batches = model_inputs(model, paths)
    run = session(model.export(tmp_path / "a.onnx", n_images=2).path)
    got = np.concatenate([run.run(None, {"image": batch})[0] for batch in batches])
    assert np.abs(got - expected).max() <= 1e-5
    assert np.array_equal(got.argmax(axis=1), expected.argmax(axis=1))
    run = session(model.export(tmp_path / "b.onnx", input="float_nchw", n_images=2).path)
    for number in (0, 5, 9):
        again = run.run(None, {"image": feed(batches[number], "float_nchw")})[0]
        assert np.abs(again - expected[50 * number :][:50]).max() <= 1e-5


def test_photos_of_any_size_get_the_same_label(model, test_data, tmp_path):
    """Camera photos of up to 12 megapixels, and photos from the web, as whole files and as pixels.

    Of large JPEG files `predict` decodes a smaller version, so its pixels differ, too. A label
    that the model rates within a thousandth of its best counts as the same: one photo of the 108
    from cameras and the web is such a tie, 0.3605 to 0.3609.
    """
    folders = [test_data("decode/camera"), test_data("decode/web")]
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    assert len(paths) == 108
    paths += mixed(test_data, "test", 0.2)[0]
    expected = model.predict_proba(paths)
    run = session(model.export(tmp_path / "a.onnx", input="resize", n_images=2).path)
    got = np.concatenate([run.run(None, {"image": read_image(p)[None]})[0] for p in paths])
    chosen = expected[np.arange(len(got)), got.argmax(axis=1)]
    same = expected.max(axis=1) - chosen <= 1e-3
    assert same[:108].mean() >= 0.995
    assert same.mean() >= 0.995
    assert np.abs(got - expected).max() <= 0.1
    assert np.abs(got - expected).mean() <= 1e-3


def test_the_default_gives_photos_of_any_size_what_levels_that_move_allow(
    default_model, test_data, tmp_path
):
    folders = [test_data("decode/camera"), test_data("decode/web")]
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    paths += mixed(test_data, "test", 0.2)[0]
    expected = default_model.predict_proba(paths)
    run = session(default_model.export(tmp_path / "a.onnx", input="resize", n_images=2).path)
    got = np.concatenate([run.run(None, {"image": read_image(p)[None]})[0] for p in paths])
    chosen = expected[np.arange(len(got)), got.argmax(axis=1)]
    same = expected.max(axis=1) - chosen <= RESIZED_LEVELS.tie
    assert same.mean() >= 0.995
    assert np.abs(got - expected).max() <= RESIZED_LEVELS.max_difference
    assert np.abs(got - expected).mean() <= 5e-3


@pytest.mark.parametrize("kind", ["model", "default_model"])
def test_a_proof_on_photos_is_repeated_from_the_file(kind, request, test_data, tmp_path):
    model = request.getfixturevalue(kind)
    paths, _ = mixed(test_data, "test", 0.1)
    export = model.export(tmp_path / "a.onnx", input="resize", photos=paths, n_images=8)
    assert export.proof.passed
    found = verify(export.path, paths)
    assert found.passed
    assert found.checks[-1].n_images == 8


def test_int8_costs_little_on_real_photos(model, test_data, tmp_path):
    paths, labels = mixed(test_data, "train", 0.1)
    by_label = {name: [p for p, q in zip(paths, labels, strict=True) if q == name] for name in SETS}
    photos = DataSource.files_by_label(by_label)
    export = model.export(tmp_path / "a.onnx", quantize="int8", photos=photos)
    assert export.size < 1.1 * len(model.to_bytes())  # whose kernels have 8 bits, too
    held_out, labels = mixed(test_data, "test", 0.2)
    exported = ImageClassifier.load(export.path)
    agreed = [
        a == b
        for a, b in zip(exported.predict_many(held_out), model.predict_many(held_out), strict=True)
    ]
    assert np.mean(agreed) >= 0.95


# -- other people's tools -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(model, test_data):
    """Some photos as model inputs, and the answers."""
    paths, _ = mixed(test_data, "test", 0.04)
    return np.concatenate(model_inputs(model, paths)), model.predict_proba(paths)


def feed(pixels, form):
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) if form == "float_nchw" else pixels


@pytest.mark.parametrize("form", ["uint8_nhwc", "float_nchw"])
def test_the_reference_evaluator_agrees_on_photos(model, few, tmp_path, form):
    from onnx.reference import ReferenceEvaluator

    pixels, expected = few
    path = model.export(tmp_path / "a.onnx", input=form, n_images=2).path
    (got,) = ReferenceEvaluator(onnx.load(path)).run(None, {"image": feed(pixels[:1], form)})
    assert np.abs(got - expected[:1]).max() <= 1e-5


def test_the_reference_evaluator_agrees_with_the_default_to_single_levels(
    default_model, test_data, tmp_path
):
    from onnx.reference import ReferenceEvaluator

    paths = mixed(test_data, "test", 0.04)[0][:2]
    (pixels,) = model_inputs(default_model, paths)
    path = default_model.export(tmp_path / "a.onnx", n_images=2).path
    (got,) = ReferenceEvaluator(onnx.load(path)).run(None, {"image": pixels})
    difference = np.abs(got - default_model.predict_proba(paths)).max()
    assert difference <= TRANSLATED_LEVELS.max_difference


@pytest.mark.parametrize("form", ["uint8_nhwc", "float_nchw", "resize"])
def test_opencv_agrees(model, few, tmp_path, form):
    cv2 = pytest.importorskip("cv2", reason="needs: pip install opencv-python-headless")
    if form == "resize" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV reads graphs of any size from version 5 on")
    pixels, expected = few
    network = cv2.dnn.readNetFromONNX(
        str(model.export(tmp_path / "a.onnx", input=form, n_images=2).path)
    )
    for number in range(len(pixels)):
        network.setInput(np.ascontiguousarray(feed(pixels[number : number + 1], form)))
        assert np.abs(network.forward() - expected[number]).max() <= 1e-5


@pytest.mark.parametrize("form", ["uint8_nhwc", "float_nchw", "resize"])
def test_openvino_agrees(model, few, tmp_path, form):
    openvino = pytest.importorskip("openvino", reason="needs: pip install openvino")
    pixels, expected = few
    path = model.export(tmp_path / "a.onnx", input=form, label_output=True, n_images=2).path
    # Its default is bfloat16 where the processor can.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled({compiled.inputs[0]: feed(pixels, form)})
    got = result[compiled.output("probabilities")]
    assert np.abs(got - expected).max() <= 1e-5
    label = result[compiled.output("label")]
    assert label.tolist() == [model.classes[index] for index in expected.argmax(axis=1)]
