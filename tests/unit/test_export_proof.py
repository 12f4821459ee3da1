"""The proof that an export answers as the model does: made, kept, repeated, and failing."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest

from eyespot import DataError, ExportError, ImageClassifier, ModelError, Preprocessing, verify
from eyespot.export.forms import METADATA_PROOF
from eyespot.export.parity import (
    EXACT,
    ParityProof,
    StoredAnswers,
    Tolerance,
    compare,
    versions,
)
from eyespot.export.samples import Samples, spread, synthetic
from photos import photo_folder, picture, png
from small_model import small_model

SPEC = Preprocessing(
    width=24, height=16, layout="nhwc", dtype="uint8", scale=1.0, mean=(0,) * 3, std=(1,) * 3
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, data = small_model(folder)
    model.save(folder / "model.onnx")
    return model, data, folder / "model.onnx"


@pytest.fixture(scope="module")
def model(trained):
    return trained[0]


@pytest.fixture(scope="module")
def data(trained):
    return trained[1]


@pytest.fixture(scope="module")
def saved(trained):
    return trained[2]


def spoil(path, *, scale=1.5):
    """Change the weights of the head inside an exported file, keeping everything else."""
    made = onnx.load(path)
    weights = next(t for t in made.graph.initializer if t.name == "head/weights")
    values = onnx.numpy_helper.to_array(weights) * np.float32(scale)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "head/weights"))
    path.write_bytes(made.SerializeToString())


# -- the images -----------------------------------------------------------------------------------


def test_made_images_are_the_same_everywhere():
    images = synthetic(3, SPEC).inputs
    assert [image.shape for image in images] == [(16, 24, 3)] * 3
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    assert digest == "ac6551f7aaa136661b9b580d6a9c456a3a7281e6dc7b3be0b60a0fc389852b4b"
    assert np.array_equal(synthetic(9, SPEC).inputs[2], images[2])
    assert len({image.shape for image in synthetic(9, SPEC, any_size=True).inputs}) == 5


def test_made_images_are_no_plain_noise():
    image = synthetic(1, Preprocessing(width=96, height=96)).inputs[0].astype(float)
    assert image.std() > 15
    blurred = image.reshape(12, 8, 12, 8, 3).mean(axis=(1, 3))
    assert blurred.std() > 5  # averages differ over the picture, as in photos


def test_photos_are_spread_over_the_list():
    assert spread(5, 9) == [0, 1, 2, 3, 4]
    assert spread(100, 4) == [12, 37, 62, 87]
    assert len(set(spread(1000, 32))) == 32


# -- comparing ------------------------------------------------------------------------------------


def answers(rows):
    rest = iter(np.asarray(rows, np.float32))
    return lambda _: next(rest)


@pytest.mark.parametrize(
    ("found", "passed", "agreement", "difference"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], True, 1.0, 0.0),
        ([[0.9, 0.1], [0.200005, 0.799995]], True, 1.0, 5e-6),
        ([[0.9, 0.1], [0.21, 0.79]], False, 1.0, 0.01),
        ([[0.9, 0.1], [0.8, 0.2]], False, 0.5, 0.6),
        ([[0.9, 0.1], [np.nan, 0.2]], False, 0.5, 1.0),
    ],
)
def test_a_comparison_says_how_far_they_are(found, passed, agreement, difference):
    samples = synthetic(2, SPEC)
    result = compare(answers([[0.9, 0.1], [0.2, 0.8]]), answers(found), samples, EXACT)
    assert result.passed == passed
    assert result.max_difference == pytest.approx(difference, rel=0.1)
    assert result.top1_agreement == agreement


def test_labels_that_the_model_finds_equal_may_change_places():
    loose = Tolerance(max_difference=0.1, agreement=1.0, tie=0.02)
    found = compare(answers([[0.505, 0.495]]), answers([[0.495, 0.505]]), synthetic(1, SPEC), loose)
    assert (found.passed, found.near_ties, found.top1_agreement) == (True, 1, 0.0)
    found = compare(answers([[0.54, 0.46]]), answers([[0.49, 0.51]]), synthetic(1, SPEC), loose)
    assert (found.passed, found.near_ties) == (False, 0)


# -- the proof ------------------------------------------------------------------------------------


def test_a_proof_says_what_was_compared(model, data, saved, tmp_path):
    export = model.export(tmp_path / "a.onnx", photos=data, n_images=7)
    proof = export.proof
    assert (proof.images, proof.n_images, proof.passed) == ("photos", 7, True)
    assert proof.max_difference <= 1e-5
    assert proof.top1_agreement == 1
    assert proof.model_sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert {"eyespot", "onnxruntime", "numpy", "python", "simd"} <= set(proof.versions)
    entries = {entry.key: entry.value for entry in onnx.load(export.path).metadata_props}
    stored = ParityProof.from_json(entries[METADATA_PROOF], source="a.onnx")
    assert stored.to_plain() == proof.to_plain()
    assert json.loads(entries[METADATA_PROOF])["passed"] is True
    assert np.array_equal(stored.photos.rows, model.predict_proba(data.paths)[spread(60, 7)])


def test_the_hash_is_that_of_the_file_without_the_proof(model, tmp_path):
    export = model.export(tmp_path / "a.onnx")
    data = export.path.read_bytes()
    assert export.proof.exported_sha256 in {
        hashlib.sha256(data[:end]).hexdigest() for end in range(len(data) // 2, len(data))
    }


def test_without_photos_made_images_take_their_place(model, tmp_path):
    proof = model.export(tmp_path / "a.onnx", n_images=12).proof
    assert (proof.images, proof.n_images, len(proof.synthetic.rows)) == ("synthetic", 12, 8)
    assert proof.photos is None


def test_unreadable_photos_are_left_out_and_told(model, data, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(picture("red", 0))[:60])
    export = model.export(tmp_path / "a.onnx", photos=[data.paths[0], broken])
    assert export.proof.n_images == 1
    assert [error.source for error in export.errors] == [str(broken)]
    for form in ("uint8_nhwc", "resize"):
        with pytest.raises(DataError, match=r"none of the 1 photos could be read.*broken\.png"):
            model.export(tmp_path / "b.onnx", photos=[broken], input=form)
    with pytest.raises(DataError, match="no photos"):
        model.export(tmp_path / "b.onnx", photos=[])
    assert not (tmp_path / "b.onnx").exists()


def test_many_classes_keep_the_proof_small():
    rows = np.full((32, 20_000), 1 / 20_000, np.float32)
    found = compare(answers(rows), answers(rows), synthetic(32, SPEC), EXACT)
    assert len(StoredAnswers.of(found).rows) == 1


def test_an_export_that_differs_is_not_written_unless_forced(model, data, tmp_path, monkeypatch):
    from eyespot import exporting

    original = exporting.onnx_answerer

    def reversed_answers(*args, **options):
        answer = original(*args, **options)
        return lambda sample: answer(sample)[::-1]

    monkeypatch.setattr(exporting, "onnx_answerer", reversed_answers)
    path = tmp_path / "a.onnx"
    with pytest.raises(ExportError, match="does not answer as the model does") as caught:
        model.export(path, photos=data)
    assert caught.value.code == "parity"
    assert not path.exists()
    export = model.export(path, photos=data, force=True)
    assert not export.proof.passed
    monkeypatch.undo()
    found = verify(path)
    assert not found.passed
    assert [check.name for check in found.checks if not check.passed] == ["export"]


# -- repeating it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["uint8_nhwc", "float_nchw", "resize"])
def test_a_proof_is_repeated_by_the_file_alone(model, data, tmp_path, form):
    path = model.export(tmp_path / "a.onnx", photos=data, n_images=5, input=form).path
    found = verify(path)
    assert found.passed
    assert [check.name for check in found.checks] == ["file", "synthetic"]
    found = verify(path, data)
    assert found.passed
    assert [check.name for check in found.checks] == ["file", "synthetic", "photos"]
    assert found.checks[-1].n_images == 5  # those whose answers the file holds


def test_photos_are_known_by_their_contents(model, data, tmp_path):
    path = model.export(tmp_path / "a.onnx", photos=data).path
    copies = [path_.read_bytes() for path_ in data.paths]
    assert verify(path, copies).passed
    others = photo_folder(tmp_path / "other", {"red": 3}, first=500)
    with pytest.raises(DataError, match=r"none of the 3 photos.*--model"):
        verify(path, sorted(others.rglob("*.png")))


def test_with_the_model_any_photos_do(model, saved, tmp_path):
    path = model.export(tmp_path / "a.onnx").path
    others = sorted(photo_folder(tmp_path / "other", {"red": 3}, first=500).rglob("*.png"))
    found = verify(path, others, model=saved)
    assert found.passed
    assert [check.name for check in found.checks] == ["file", "model", "photos"]
    assert found.to_plain()["checks"][-1]["n_images"] == 3


def test_a_changed_file_is_found_out(model, data, saved, tmp_path):
    path = model.export(tmp_path / "a.onnx", photos=data).path
    spoil(path)
    for found in (verify(path), verify(path, data), verify(path, model=saved)):
        assert not found.passed
        assert "changed after its export" in str(found)
        assert "is NOT proved" in str(found)
    assert not verify(path).checks[1].passed  # the numbers tell, too


def test_another_model_is_found_out(model, data, tmp_path):
    path = model.export(tmp_path / "a.onnx").path
    other, _ = small_model(tmp_path, tiny={"seed": 9})
    other.save(tmp_path / "other.onnx")
    found = verify(path, data, model=tmp_path / "other.onnx")
    assert [check.passed for check in found.checks] == [True, False, False]
    (tmp_path / "two").mkdir()
    fewer, _ = small_model(tmp_path / "two", labels=("blue", "red"))
    fewer.save(tmp_path / "fewer.onnx")
    found = verify(path, data, model=tmp_path / "fewer.onnx")
    assert [check.name for check in found.checks if not check.passed] == ["model", "labels"]


def test_a_saved_model_has_no_proof_but_can_be_compared(saved, model, tmp_path):
    with pytest.raises(ModelError, match="holds no proof"):
        verify(saved)
    assert verify(saved, model=saved).passed


def test_files_that_are_no_exports_are_named(tmp_path, model):
    (tmp_path / "a.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ModelError, match="not an ONNX model"):
        verify(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="No such file"):
        verify(tmp_path / "b.onnx")
    onnx.save(onnx.helper.make_model(onnx.GraphProto(name="g")), tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="eyespot did not make"):
        verify(tmp_path / "c.onnx")


def test_a_damaged_proof_is_named(model, tmp_path):
    path = model.export(tmp_path / "a.onnx").path
    made = onnx.load(path)
    for text in ("{}", "[1]", '{"schema": 1}', "nothing"):
        for entry in made.metadata_props:
            if entry.key == METADATA_PROOF:
                entry.value = text
        path.write_bytes(made.SerializeToString())
        with pytest.raises(ModelError, match="proof"):
            verify(path)


def test_versions_name_the_packages():
    assert versions("pytest")["pytest"]


def test_an_export_can_be_exported_again(model, tmp_path):
    first = ImageClassifier.load(model.export(tmp_path / "a.onnx").path)
    again = first.export(tmp_path / "b.onnx")
    assert again.proof.passed
    assert verify(again.path, model=tmp_path / "a.onnx").passed


def test_samples_of_photos_read_either_way_alike(data):
    samples = Samples(kind="photos", inputs=tuple(data.paths[:3]), spec=SPEC)
    fused = [sample.pixels for sample in samples.read(whole=False)]
    whole = [sample.pixels for sample in samples.read(whole=True)]
    assert all(np.array_equal(a, b) for a, b in zip(fused, whole, strict=True))
