"""The classifier of several labels an image, from photos to the command line."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from eyespot import (
    ConvergenceWarning,
    DataError,
    DataSource,
    ExportError,
    FeatureExtractor,
    ImageClassifier,
    InvalidOption,
    ModelError,
    ModelParameters,
    MultiLabelImageClassifier,
    Phase,
    SkippedImagesWarning,
    SplitStrategy,
    cli,
)
from onnx_builder import Tiny
from photos import photo_folder, png
from shapes import LABELS, shapes_picture, shapes_table

SPEC = {"size": 32, "layout": "nchw", "dtype": "float32", "resample": "bilinear_antialias"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    metadata = {"eyespot.preprocessing": json.dumps(SPEC)}
    tiny = Tiny(height=32, width=32, features=24, metadata=metadata)
    return tiny.save(tmp_path_factory.mktemp("net") / "tiny.onnx")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return shapes_table(tmp_path_factory.mktemp("shapes"), 90)


@pytest.fixture(scope="module")
def data(table):
    return DataSource.from_table(table, label_separator=";")


@pytest.fixture(scope="module")
def parameters(network):
    return ModelParameters(
        feature_extractor=FeatureExtractor.custom(network), max_iterations=500, tolerance=1e-3
    )


@pytest.fixture(scope="module")
def model(data, parameters):
    return MultiLabelImageClassifier.train(data, parameters)


@pytest.fixture(scope="module")
def one_label(tmp_path_factory, parameters):
    folder = photo_folder(tmp_path_factory.mktemp("photos"), {"blue": 8, "red": 8})
    path = tmp_path_factory.mktemp("model") / "one.onnx"
    data = DataSource.labeled_directories(folder)
    ImageClassifier.train(data, parameters.replace(validation=None)).save(path)
    return path


def test_training_learns_colours_that_come_together(model):
    """The tiny network's features tell colours, not shapes."""
    assert model.classes == LABELS
    rows = {row.label: row for row in model.training_metrics.precision_recall}
    assert rows["blue"].average_precision > 0.9
    assert rows["red"].average_precision > 0.9
    assert model.validation_metrics is not None
    assert model.validation_metrics.n_images == pytest.approx(9, abs=3)
    report = model.training_report
    assert report.n_training + report.n_validation == 90


def test_probabilities_are_of_each_label_on_its_own(model, data):
    probabilities = model.predict_proba(data.paths)
    assert probabilities.shape == (90, 4)
    assert np.ptp(probabilities.sum(axis=1)) > 0.5
    for labels, row in zip(model.predict_many(data.paths), probabilities, strict=True):
        assert labels == tuple(np.array(model.classes)[row >= 0.5])
    assert model.predict(data.paths[0]) == model.predict_many(data.paths)[0]


def test_thresholds_are_for_all_labels_or_for_each(model, data):
    image = data.paths[1]
    (row,) = model.predict_proba([image])
    assert model.predict(image, threshold=0.0) == model.classes
    assert model.predict(image, threshold={"blue": 0.0, "circle": 1.0})[0] == "blue"
    told = model.labels_of(row, threshold=0.0)
    assert [choice.probability for choice in told] == sorted(row.tolist(), reverse=True)
    assert model.labels_of(row, threshold=dict.fromkeys(LABELS, 1.0)) == []
    with pytest.raises(InvalidOption, match=r"threshold is 1\.5"):
        model.predict(image, threshold=1.5)
    with pytest.raises(InvalidOption, match="threshold has 'green'; the model's labels are"):
        model.predict(image, threshold={"green": 0.5})
    with pytest.raises(InvalidOption, match="one row of 4 numbers"):
        model.labels_of(row[:2])


def test_an_unreadable_image_has_no_answer(model, data, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(shapes_picture(0)[0])[:70])
    answers = model.predict_many([data.paths[0], broken], on_error="skip")
    assert answers[1] is None
    assert answers[0] is not None
    (error,) = model.infer([broken]).errors
    assert "broken.png" in str(error)


def test_the_file_is_one_graph_that_ends_in_a_sigmoid(model, tmp_path, data):
    path = model.save(tmp_path / "model.onnx")
    loaded = MultiLabelImageClassifier.load(path)
    assert loaded.predict_proba(data.paths).tobytes() == model.predict_proba(data.paths).tobytes()
    assert loaded.training_metrics == model.training_metrics
    assert loaded.validation_metrics == model.validation_metrics
    assert loaded.facts["multi_label"] is True
    assert onnx.load(path).graph.node[-1].op_type == "Sigmoid"
    assert pickle.loads(pickle.dumps(model)).to_bytes() == model.to_bytes()
    assert "any number of them an image" in loaded.summary()
    assert "micro F1" in loaded.summary()
    assert repr(loaded).startswith("MultiLabelImageClassifier(blue, circle, red, square; backbone")
    assert "<table>" in loaded._repr_html_()


def test_a_file_with_damaged_metrics_is_refused(model):
    network = onnx.load_from_string(model.to_bytes())
    (entry,) = (e for e in network.metadata_props if e.key == "eyespot.model")
    facts = json.loads(entry.value)
    for broken in (None, {}, {**facts["metrics"]["training"], "support": [1]}):
        facts["metrics"]["training"] = broken
        entry.value = json.dumps(facts)
        with pytest.raises(ModelError, match="damaged eyespot model"):
            MultiLabelImageClassifier(network.SerializeToString())


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_model(data, parameters, model, n_threads):
    again = MultiLabelImageClassifier.train(data, parameters.replace(n_threads=n_threads))
    assert again.to_bytes() == model.to_bytes()


def test_class_weights_and_a_strength_reach_the_solver(data, parameters, model):
    balanced = MultiLabelImageClassifier.train(
        data, parameters.replace(class_weights="balanced", l2=0.5)
    )
    assert balanced.facts["solver"]["l2"] == 0.5
    assert balanced.to_bytes() != model.to_bytes()
    with pytest.raises(InvalidOption, match="class_weights has 'green'"):
        MultiLabelImageClassifier.train(data, parameters.replace(class_weights={"green": 2.0}))


def test_evaluate_measures_and_lists_what_it_skipped(model, tmp_path):
    table = shapes_table(tmp_path, 20, first=500)
    with table.open("a") as stream:
        stream.write("broken.png,red\n")
    (tmp_path / "broken.png").write_bytes(png(shapes_picture(0)[0])[:70])
    data = DataSource.from_table(table, label_separator=";")
    phases = set()
    with pytest.warns(SkippedImagesWarning, match=r"1 of 21 images"):
        metrics = model.evaluate(data, progress=lambda told: phases.add(told.phase))
    assert phases == {Phase.EVALUATING}
    assert metrics.n_images == 20
    assert metrics.skipped[0].source.endswith("broken.png")
    with pytest.raises(DataError, match="unknown to the model: green"):
        model.evaluate(DataSource.files_by_label({"green": data.paths}, multi_label=True))


def test_a_held_out_source_is_measured(data, parameters, tmp_path):
    held_out = DataSource.from_table(shapes_table(tmp_path, 15, first=900), label_separator=";")
    model = MultiLabelImageClassifier.train(data, parameters.replace(validation=held_out))
    assert model.validation_metrics.n_images == 15
    single = DataSource.labeled_directories(photo_folder(tmp_path / "p", {"blue": 2, "red": 2}))
    with pytest.raises(InvalidOption, match="validation data have one label an image"):
        MultiLabelImageClassifier.train(data, parameters.replace(validation=single))


def test_each_kind_names_the_other(model, data, one_label, parameters, tmp_path):
    path = model.save(tmp_path / "several.onnx")
    with pytest.raises(ModelError, match=r"several labels; use MultiLabelImageClassifier"):
        ImageClassifier.load(path)
    with pytest.raises(ModelError, match=r"one label; use ImageClassifier"):
        MultiLabelImageClassifier.load(one_label)
    with pytest.raises(InvalidOption, match="use MultiLabelImageClassifier"):
        ImageClassifier.train(data, parameters)
    single = DataSource.labeled_directories(photo_folder(tmp_path / "p", {"blue": 2, "red": 2}))
    with pytest.raises(InvalidOption, match=r"use ImageClassifier, or read .* multi_label=True"):
        MultiLabelImageClassifier.train(single, parameters)
    with pytest.raises(InvalidOption, match="use ImageClassifier"):
        model.evaluate(single)
    with pytest.raises(InvalidOption, match="allowed: a DataSource"):
        MultiLabelImageClassifier.train("photos", parameters)


def test_a_label_without_readable_images_or_with_nothing_else_is_named(parameters, tmp_path):
    table = shapes_table(tmp_path, 20)
    broken = png(shapes_picture(0)[0])[:70]
    lines = table.read_text().splitlines()
    for number in range(2):
        (tmp_path / f"broken{number}.png").write_bytes(broken + bytes([number]))
        lines.append(f"broken{number}.png,green")
    table.write_text("\n".join(lines))
    data = DataSource.from_table(table, label_separator=";")
    with pytest.raises(DataError, match=r"no image of 'green' could be read"):
        MultiLabelImageClassifier.train(data, parameters.replace(validation=None))
    paths = [*data.paths[:6], tmp_path / "broken0.png"]
    targets = np.array([[True]] * 6 + [[False]])
    nearly = DataSource(paths=tuple(paths), classes=("thing",), targets=targets)
    with pytest.raises(DataError, match=r"every image that could be read bears the label 'thing'"):
        MultiLabelImageClassifier.train(nearly, parameters.replace(validation=None))


def test_training_goes_on_from_an_earlier_model(data, parameters, model):
    one_step = parameters.replace(max_iterations=1, l2=model.facts["solver"]["l2"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        cold = MultiLabelImageClassifier.train(data, one_step)
        warm = MultiLabelImageClassifier.train(data, one_step, start=model)
    losses = [each.facts["solver"]["loss"] for each in (model, warm, cold)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] > 1.05 * losses[0]
    with pytest.raises(InvalidOption, match="allowed: a MultiLabelImageClassifier, or None"):
        MultiLabelImageClassifier.train(data, parameters, start=b"model")


def test_hidden_layers_are_refused_before_any_work(data, parameters):
    hidden = parameters.replace(classifier="multilayer_perceptron")
    with pytest.raises(InvalidOption, match=r"allowed with several labels an image: Classifier"):
        MultiLabelImageClassifier.train(data, hidden)


def test_one_label_alone_can_be_learnt(data, parameters):
    """Is there something red, or not? With several labels an image, one label is enough."""
    index = data.classes.index("red")
    one = DataSource(paths=data.paths, classes=("red",), targets=data.targets[:, index : index + 1])
    model = MultiLabelImageClassifier.train(one, parameters)
    assert model.training_metrics.precision_recall[0].average_precision > 0.9
    assert set(model.predict_many(data.paths)) == {(), ("red",)}


def test_the_split_holds_out_some_of_each_label(data):
    split = data.split(SplitStrategy.fixed(0.3))
    counts = split.validation.counts()
    for label, number in data.counts().items():
        assert counts[label] == pytest.approx(0.3 * number, abs=2)


# -- the command line -----------------------------------------------------------------------------


def run(*arguments):
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def options(network):
    return ["--backbone", network, "--max-iterations", 500, "--tolerance", 1e-3]


@pytest.fixture(scope="module")
def saved(table, network, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.onnx"
    result = run(
        "train", "--multi-label", table, "--label-separator", ";", "-o", path, *options(network)
    )
    assert result.exit_code == 0, result.output
    assert "mean average precision" in result.stdout
    assert "90 images of 4 labels" in result.stderr
    return path


def test_train_saves_the_same_model_as_the_library(saved, model):
    assert saved.read_bytes() == model.to_bytes()


def test_evaluate_and_inspect_follow_the_model(saved, table):
    result = run("evaluate", saved, table, "--label-separator", ";")
    assert result.exit_code == 0, result.output
    assert "mean of labels (macro)" in result.stdout
    told = json.loads(run("evaluate", saved, table, "--label-separator", ";", "--json").stdout)
    assert told["n_images"] == 90
    assert "any number of them an image" in run("inspect", saved).stdout


def test_predict_prints_the_labels_above_the_threshold(saved, table, model):
    files = sorted(table.parent.glob("*.png"))[:5]
    result = run("predict", saved, *files)
    assert result.exit_code == 0, result.output
    for line, labels in zip(result.stdout.splitlines(), model.predict_many(files), strict=True):
        assert sorted(line.split("\t")[1::2]) == list(labels)
    told = json.loads(run("predict", saved, *files, "--threshold", 0, "--json").stdout)
    assert [len(answer["predictions"]) for answer in told] == [4] * 5


def test_folders_and_columns_train_too(network, tmp_path):
    table = shapes_table(tmp_path / "p", 40)
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    wide = tmp_path / "p" / "wide.csv"
    wide.write_text(
        "path,red,blue\n" + "".join(f"{p},{'red' in s:d},{'blue' in s:d}\n" for p, s in rows)
    )
    output = tmp_path / "model.onnx"
    columns = ["--label-column", "red", "--label-column", "blue"]
    common = ["-o", output, "--validation", "none", *options(network)]
    result = run("train", "--multi-label", wide, *columns, *common)
    assert result.exit_code == 0, result.output
    assert "40 images of 2 labels" in result.stderr
    for path, labels in rows:
        for label in filter(None, labels.split(";")):
            folder = tmp_path / "folders" / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((tmp_path / "p" / path).read_bytes())
    result = run("train", "--multi-label", tmp_path / "folders", *common)
    assert result.exit_code == 0, result.output
    assert "of 4 labels" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "{table}", "--label-separator", ";"], "train with --multi-label"),
        (["train", "{table}", "--label-column", "a", "--label-column", "b"], "--multi-label"),
        (["train", "{folder}", "--multi-label", "--label-separator", ";"], "goes with a table"),
        (["train", "{folder}", "--multi-label", "--data-format", "labeled_files"], "one label"),
        (["predict", "{several}", "{image}", "--top-k", "2"], "use --threshold"),
        (["predict", "{one}", "{image}", "--threshold", "0.2"], "use --top-k"),
        (["evaluate", "{one}", "{table}", "--label-separator", ";"], "one label an image"),
    ],
)
def test_options_of_the_other_kind_are_usage_errors(saved, one_label, table, arguments, words):
    places = {
        "table": table,
        "folder": table.parent,
        "several": saved,
        "one": one_label,
        "image": table.parent / "0000.png",
    }
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_an_export_has_no_output_with_one_label(model, tmp_path):
    with pytest.raises(ExportError, match="several labels"):
        model.export(tmp_path / "a.onnx", label_output=True)
    export = model.export(tmp_path / "a.onnx", input="resize", sidecars="huggingface")
    assert export.proof.passed
    config = json.loads((tmp_path / "a-huggingface" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
