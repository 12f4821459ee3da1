"""An evaluation names the images that were mistaken, the worst first, and shows them on a page."""

from __future__ import annotations

import csv
import json
import re
import urllib.parse

import numpy as np
import pytest
from typer.testing import CliRunner

from eyespot import DataSource, ImageClassifier, ImageError, InvalidOption, ModelParameters
from eyespot.cli import app
from eyespot.metrics import ClassifierMetrics
from eyespot.mistakes import Mistake
from photos import photo_folder, picture, png

RUN = CliRunner()
TABLE = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])


def measured(**options):
    return ClassifierMetrics.from_probabilities(
        ("ant", "bee", "cat"), [0, 1, 2, 2], TABLE, sources=list("wxyz"), **options
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = photo_folder(tmp_path_factory.mktemp("train"), {"blue": 10, "red": 10})
    trained = ImageClassifier.train(
        DataSource.labeled_directories(root), ModelParameters(validation=None)
    )
    return trained.save(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def folder(tmp_path):
    """Four blue and four red pictures, one more of each under the other label."""
    root = photo_folder(tmp_path / "test", {"blue": 4, "red": 4}, first=100)
    (root / "red" / "a <b>&'#.png").write_bytes(png(picture("blue", 200)))
    (root / "blue" / "other.png").write_bytes(png(picture("red", 200)))
    return root


def test_mistakes_are_named_by_ascending_probability_of_the_truth():
    assert measured().mistakes == (
        Mistake(
            source="y",
            true="cat",
            predicted="ant",
            true_probability=0.05,
            predicted_probability=0.9,
        ),
        Mistake(
            source="x", true="bee", predicted="ant", true_probability=0.3, predicted_probability=0.6
        ),
    )


def test_without_sources_there_is_nothing_to_name():
    metrics = ClassifierMetrics.from_probabilities(("ant", "bee", "cat"), [0, 1, 2, 2], TABLE)
    assert metrics.n_correct == 2
    assert metrics.mistakes == ()
    assert metrics != measured()


def test_sources_must_be_as_many_as_images():
    with pytest.raises(InvalidOption, match="must name 4 images, names 1"):
        ClassifierMetrics.from_probabilities(
            ("ant", "bee", "cat"), [0, 1, 2, 2], TABLE, sources=["a"]
        )


def test_they_survive_json_and_older_values_have_none():
    metrics = measured()
    assert ClassifierMetrics.from_dict(json.loads(metrics.to_json())) == metrics
    older = metrics.to_dict()
    del older["mistakes"]
    assert ClassifierMetrics.from_dict(older).mistakes == ()
    with pytest.raises(InvalidOption, match="does not fit"):
        ClassifierMetrics.from_dict(older | {"mistakes": [{"source": "y"}]})


def test_text_and_notebook_show_the_worst():
    many = ClassifierMetrics.from_probabilities(
        ("ant", "bee"),
        np.zeros(8, np.int64),
        np.tile([0.2, 0.8], (8, 1)),
        sources=[f"photos/ant/{i}.jpg" for i in range(8)],
    )
    text = str(many)
    assert "ant/4.jpg" in text
    assert "ant/5.jpg" not in text
    assert "… and 3 more" in text
    assert "8 images were mistaken" in many._repr_html_()
    assert "ant/7.jpg" in many._repr_html_()


def test_an_evaluation_names_files_and_saves_every_form(model, folder, tmp_path):
    metrics = ImageClassifier.load(model).evaluate(DataSource.labeled_directories(folder))
    wrong = {str(folder / "red" / "a <b>&'#.png"), str(folder / "blue" / "other.png")}
    assert {mistake.source for mistake in metrics.mistakes} == wrong
    metrics.save(tmp_path / "all.json")
    assert ClassifierMetrics.from_dict(json.loads((tmp_path / "all.json").read_text())) == metrics
    metrics.save(tmp_path / "mistakes.csv")
    with (tmp_path / "mistakes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [mistake.source for mistake in metrics.mistakes]
    assert rows[0]["true"] == metrics.mistakes[0].true
    page = metrics.save(tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "a <b>&'" not in page
    links = [urllib.parse.unquote(link) for link in re.findall(r'href="([^"]+)"', page)]
    assert {str((tmp_path / link).resolve()) for link in links} == wrong


def test_a_page_stands_a_photo_that_went_away(model, folder, tmp_path):
    metrics = ImageClassifier.load(model).evaluate(DataSource.labeled_directories(folder))
    (folder / "blue" / "other.png").unlink()
    page = metrics.save(tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert '<div class="none">' in page


def test_what_could_not_be_read_stands_on_the_page(tmp_path):
    error = ImageError(index=4, source="gone.jpg", code="io", message="no such file")
    page = measured(skipped=(error,)).save(tmp_path / "page.html").read_text()
    assert "gone.jpg" in page


def test_command(model, folder, tmp_path):
    output = tmp_path / "mistakes.html"
    told = RUN.invoke(app, ["evaluate", str(model), str(folder), "-o", str(output), "-q"])
    assert told.exit_code == 0, told.output
    assert "blue/other.png" in told.stdout
    assert f"Saved {output}" in told.stdout
    assert output.is_file()
    told = RUN.invoke(app, ["evaluate", str(model), str(folder), "-o", "mistakes.txt", "-q"])
    assert told.exit_code == 2
    assert "saved as .html, .csv or .json" in told.stderr


def test_training_metrics_name_no_files(model):
    loaded = ImageClassifier.load(model)
    assert loaded.training_metrics.mistakes == ()
    assert "mistakes" not in loaded.to_json()
