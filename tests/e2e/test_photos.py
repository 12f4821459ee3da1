"""Real photos, default settings: the accuracy that eyespot promises, and the whole way round."""

from __future__ import annotations

import warnings

import pytest

from eyespot import (
    ConvergenceWarning,
    DataSource,
    FeatureExtractor,
    ImageClassifier,
    ModelParameters,
    Preprocessing,
)

SQUEEZENET = "backbones/squeezenet1.1_onnxzoo.onnx"
MOBILENET = "backbones/mobilenet_v2_1.0_224_onnxzoo_features.onnx"
EMBEDDED = "embedded"

# Floors on the test accuracy at default settings. hymenoptera is the exception: the aim is 0.91
# with SqueezeNet and 0.94 with MobileNetV2; 0.902 and 0.928 are reached, two of its 153 test photos
# short (one photo is 0.65 points), and those floors only guard against getting worse. Those of the
# embedded backbone are what it gave when it came in, less two points.
FLOORS = [
    pytest.param(SQUEEZENET, "hymenoptera", 0.895, id="squeezenet-hymenoptera"),
    pytest.param(EMBEDDED, "hymenoptera", 0.83, id="embedded-hymenoptera"),
    pytest.param(EMBEDDED, "weather4", 0.96, id="embedded-weather4"),
]
SLOW_FLOORS = [
    pytest.param(EMBEDDED, "flowers5", 0.80, id="embedded-flowers5"),
    pytest.param(EMBEDDED, "trashnet", 0.79, id="embedded-trashnet"),
    pytest.param(SQUEEZENET, "flowers5", 0.85, id="squeezenet-flowers5"),
    pytest.param(SQUEEZENET, "trashnet", 0.81, id="squeezenet-trashnet"),
    pytest.param(SQUEEZENET, "weather4", 0.95, id="squeezenet-weather4"),
    pytest.param(MOBILENET, "flowers5", 0.87, id="mobilenet-flowers5"),
    pytest.param(MOBILENET, "hymenoptera", 0.92, id="mobilenet-hymenoptera"),
    pytest.param(MOBILENET, "trashnet", 0.84, id="mobilenet-trashnet"),
    pytest.param(MOBILENET, "weather4", 0.96, id="mobilenet-weather4"),
]


def extractor(test_data, backbone):
    if backbone == EMBEDDED:
        return FeatureExtractor.default()
    return FeatureExtractor.custom(
        test_data(backbone),
        output_name="embedding",
        preprocessing=Preprocessing(width=224, height=224),
    )


def train(test_data, backbone, photos):
    source = DataSource.labeled_directories(test_data(f"photos/{photos}/train"))
    parameters = ModelParameters(feature_extractor=extractor(test_data, backbone))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # Create ML's 25 iterations are few
        return ImageClassifier.train(source, parameters)


def check_accuracy(test_data, backbone, photos, floor):
    model = train(test_data, backbone, photos)
    held_out = DataSource.labeled_directories(test_data(f"photos/{photos}/test"))
    assert model.evaluate(held_out).accuracy >= floor


@pytest.mark.parametrize(("backbone", "photos", "floor"), FLOORS)
def test_accuracy_at_default_settings(test_data, backbone, photos, floor):
    check_accuracy(test_data, backbone, photos, floor)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("backbone", "photos", "floor"), SLOW_FLOORS)
def test_accuracy_at_default_settings_of_all_sets(test_data, backbone, photos, floor):
    check_accuracy(test_data, backbone, photos, floor)


def test_a_saved_model_answers_the_same_on_real_photos(test_data, tmp_path):
    model = train(test_data, EMBEDDED, "hymenoptera")
    loaded = ImageClassifier.load(model.save(tmp_path / "model.onnx"))
    data = DataSource.labeled_directories(test_data("photos/hymenoptera/test"))
    paths = data.paths[::7]
    assert loaded.predict_proba(paths).tobytes() == model.predict_proba(paths).tobytes()
    assert loaded.predict_many(paths) == [model.predict(path) for path in paths]
