"""The commands export and verify, and inspect of what they made: results, codes, messages."""

from __future__ import annotations

import json

import onnx
import pytest
from typer.testing import CliRunner

from eyespot import ImageClassifier, cli
from photos import photo_folder
from small_model import small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, _ = small_model(folder)
    model.save(folder / "model.onnx")
    return folder


@pytest.fixture
def saved(folder):
    return folder / "model.onnx"


@pytest.fixture
def photos(folder):
    return folder / "photos"


def run(*arguments):
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def test_export_writes_and_says_what_was_proved(saved, tmp_path):
    result = run("export", saved, tmp_path / "a.onnx")
    assert result.exit_code == 0, result.output
    assert "MB of ONNX\npassed on 32 made images: largest difference" in result.stdout
    assert "--photos PHOTOS compares on yours" in result.stderr
    assert ImageClassifier.load(tmp_path / "a.onnx").classes == ("blue", "green", "red")


def test_export_takes_photos_texts_and_forms(saved, photos, tmp_path):
    path = tmp_path / "a.onnx"
    texts = ["--author", "Ada", "--license", "MIT", "--model-version", "3", "--meta", "a=b=c"]
    texts += ["--description", "Colours"]
    form = ["--input", "resize", "--label-output", "--sidecar", "labels", "--sidecar", "triton"]
    result = run("export", saved, path, "--photos", photos, "--images", 6, *texts, *form, "-q")
    assert result.exit_code == 0, result.output
    assert "passed on 6 photos" in result.stdout
    assert f"beside it: {tmp_path / 'a.labels.txt'}" in result.stdout
    assert result.stderr == ""
    made = onnx.load(path)
    assert [output.name for output in made.graph.output] == ["probabilities", "label"]
    result = run("inspect", path)
    assert result.exit_code == 0
    for words in ("Exported image classifier", "Ada", "Colours", "MIT", "b=c", "input resize"):
        assert words in result.stdout
    told = json.loads(run("inspect", path, "--json").stdout)
    assert told["metadata"]["additional"] == {"a": "b=c"}
    assert told["proof"]["n_images"] == 6
    assert "photos_answers" not in told["proof"]


def test_export_and_verify_json(saved, photos, tmp_path):
    path = tmp_path / "a.onnx"
    result = run("export", saved, path, "--photos", photos, "--json", "-q")
    told = json.loads(result.stdout)
    assert (told["path"], told["format"], told["size"]) == (str(path), "onnx", path.stat().st_size)
    assert told["proof"]["passed"] is True
    result = run("verify", path, photos, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["passed"] is True
    assert [check["name"] for check in told["checks"]] == ["file", "synthetic", "photos"]


def test_verify_repeats_the_proof_and_fails_with_1(saved, photos, tmp_path):
    path = tmp_path / "a.onnx"
    assert run("export", saved, path, "--photos", photos).exit_code == 0
    for arguments in ([path], [path, photos], [path, photos, "--model", saved]):
        result = run("verify", *arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith(f"{path} answers as the model does\n")
    made = onnx.load(path)
    made.metadata_props.add(key="note", value="changed")
    path.write_bytes(made.SerializeToString())
    result = run("verify", path)
    assert result.exit_code == 1
    assert "FAILED file       was changed after its export" in result.stdout


def test_int8_tells_its_cost(saved, photos, tmp_path):
    result = run("export", saved, tmp_path / "a.onnx", "--quantize", "int8", "--photos", photos)
    assert result.exit_code == 0, result.output
    assert "accuracy on 60 photos: 100.0 % before, " in result.stdout


def test_a_folder_without_labels_and_one_photo_will_do(saved, photos, tmp_path):
    for given in (photos / "red", photos / "red" / "red_0000.png"):
        result = run("export", saved, tmp_path / "a.onnx", "--photos", given)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.tflite"], 2, "allowed: .onnx, .mlpackage, .mlmodel"),
        (["no/a.onnx"], 1, "does not exist"),
        (["a.onnx", "--input", "bgr"], 2, "--input is 'bgr'; allowed: 'uint8_nhwc'"),
        (["a.onnx", "--quantize", "int8"], 2, "--quantize int8 needs photos to calibrate on"),
        (["a.onnx", "--head", "glm"], 2, "--head is an option of .mlpackage"),
        (["a.onnx", "--meta", "x"], 2, "--meta is 'x'; allowed: NAME=TEXT"),
        (["a.onnx", "--sidecar", "hf"], 2, "--sidecar is 'hf'"),
        (["a.onnx", "--photos", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_said(saved, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    result = run("export", saved, *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_verify_says_what_it_cannot_do(saved, tmp_path):
    result = run("verify", saved)
    assert result.exit_code == 1
    assert "holds no proof" in result.stderr
    result = run("verify", tmp_path / "none.onnx")
    assert result.exit_code == 1
    assert "No such file" in result.stderr
    assert run("export", saved, tmp_path / "a.onnx").exit_code == 0
    others = photo_folder(tmp_path / "others", {"red": 2, "blue": 2}, first=700)
    result = run("verify", tmp_path / "a.onnx", others)
    assert result.exit_code == 1
    assert "--model" in result.stderr
