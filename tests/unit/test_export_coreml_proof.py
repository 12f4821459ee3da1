"""Core ML exports by the public interface: proved, described, repeated, the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from eyespot import ImageClassifier, ModelError, ModelMetadata, cli, verify
from small_model import small_model

pytest.importorskip("coremltools", reason="needs: pip install 'eyespot[coreml]'")

SAID = ModelMetadata(
    author="Zoë", short_description="Colours", license="MIT", version="4", additional={"a": "b"}
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, data = small_model(folder)
    model.save(folder / "model.onnx")
    return model, data, folder / "model.onnx"


@pytest.fixture(scope="module", params=["mlpackage", "mlmodel"])
def exported(request, trained, tmp_path_factory):
    """An export of each kind, with the photos that it was proved on."""
    model, data, _ = trained
    path = tmp_path_factory.mktemp("out") / f"Colours.{request.param}"
    return model.export(path, metadata=SAID, photos=data, n_images=4)


def contents(path):
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [(file.relative_to(path).as_posix(), file.read_bytes()) for file in files]


def test_the_proof_is_made_kept_and_repeated(exported, trained):
    _, data, saved = trained
    proof = exported.proof
    assert (proof.images, proof.n_images, proof.passed) == ("photos", 4, True)
    assert "coremltools" in proof.versions
    assert exported.size == sum(len(content) for _, content in contents(exported.path))
    names = []
    for found in (verify(exported.path), verify(exported.path, data)):
        assert found.passed, str(found)
        names.append([check.name for check in found.checks])
    assert names == [["file", "synthetic"], ["file", "synthetic", "photos"]]
    found = verify(exported.path, data.paths[:2], model=saved)
    assert found.passed, str(found)
    assert [check.name for check in found.checks] == ["file", "model", "photos"]


def test_what_the_maker_says_is_in_the_file_and_comes_back(exported):
    result = CliRunner().invoke(cli.app, ["inspect", str(exported.path), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["metadata"] == json.loads(SAID.to_json())
    assert told["proof"]["passed"] is True
    assert told["model"]["classes"] == ["blue", "green", "red"]
    from eyespot.export.coreml.reading import parse, read_files

    spec = parse(read_files(exported.path), "x").spec
    metadata = spec.description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("Zoë", "MIT", "4")
    assert metadata.shortDescription == "Colours"
    assert metadata.userDefined["a"] == "b"
    assert "antialiased" in metadata.userDefined["eyespot.preprocessing.words"]


def test_the_same_export_gives_the_same_bytes(exported, trained, tmp_path):
    model, data, _ = trained
    again = model.export(tmp_path / exported.path.name, metadata=SAID, photos=data, n_images=4)
    assert contents(again.path) == contents(exported.path)


def test_the_drift_of_half_precision_is_told(trained, tmp_path):
    model, _, _ = trained
    drift = {
        precision: model.export(tmp_path / "a.mlpackage", precision=precision).proof.max_difference
        for precision in ("float16", "float32")
    }
    assert drift["float32"] <= 1e-5
    assert drift["float32"] < drift["float16"] <= 0.1


def test_a_changed_weight_is_found_out(trained, tmp_path):
    model, data, _ = trained
    path = model.export(tmp_path / "a.mlpackage", photos=data, n_images=4).path
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    content[-64:] = np.full(16, 3.5, np.float32).tobytes()
    weights.write_bytes(content)
    found = verify(path)
    assert not found.passed
    assert "was changed after its export" in str(found)


def test_create_mls_shape_and_names_are_proved_too(trained, tmp_path):
    model, _, _ = trained
    export = model.export(tmp_path / "a.mlmodel", names="createml", head="glm", precision="float32")
    assert export.proof.passed
    assert export.proof.images == "synthetic"
    assert export.proof.n_images == 8
    assert verify(export.path).passed


def test_eyespot_says_that_it_does_not_predict_with_core_ml(exported):
    with pytest.raises(ModelError, match=r"load the \.onnx model"):
        ImageClassifier.load(exported.path)
