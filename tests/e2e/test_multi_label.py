"""Several labels an image with the embedded network: colours and shapes, several at once."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from eyespot import DataSource, ModelParameters, MultiLabelImageClassifier
from shapes import shapes_picture, shapes_table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    table = shapes_table(tmp_path_factory.mktemp("shapes"), 240)
    return DataSource.from_table(table, label_separator=";")


@pytest.fixture(scope="module")
def parameters():
    return ModelParameters(max_iterations=200)


@pytest.fixture(scope="module")
def model(data, parameters):
    return MultiLabelImageClassifier.train(data, parameters)


def test_it_tells_colours_and_shapes_of_pictures_that_it_has_not_seen(model, tmp_path):
    unseen = DataSource.from_table(shapes_table(tmp_path, 100, first=1000), label_separator=";")
    metrics = model.evaluate(unseen)
    average = {row.label: row.average_precision for row in metrics.precision_recall}
    assert min(average["blue"], average["red"]) > 0.9
    assert metrics.mean_average_precision > 0.85
    assert metrics.micro_f1 > 0.8


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bytes(data, parameters, model, n_threads):
    again = MultiLabelImageClassifier.train(data, parameters.replace(n_threads=n_threads))
    assert again.to_bytes() == model.to_bytes()


def test_the_saved_file_runs_in_plain_onnxruntime(model, tmp_path):
    side = model.preprocessing.width  # at the input's own size no resampling comes between
    images = [shapes_picture(number, side=side)[0] for number in range(3)]
    session = onnxruntime.InferenceSession(
        model.save(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (plain,) = session.run(["probabilities"], {"image": np.stack(images)})
    assert np.abs(model.predict_proba(images) - plain).max() <= 1e-5
