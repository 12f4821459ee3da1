"""The ONNX forms of an export: what they take, what they give, what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from eyespot import (
    Cancelled,
    CancelToken,
    DataSource,
    ExportError,
    ImageClassifier,
    InvalidOption,
    ModelError,
)
from eyespot.images import read_image
from photos import picture
from small_model import small_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def model(trained):
    return trained[0]


@pytest.fixture(scope="module")
def data(trained):
    return trained[1]


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def sized(n=6, side=24):
    return [np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8) for i in range(n)]


# -- what they take and give ----------------------------------------------------------------------


def test_the_default_form_takes_pixels_and_gives_the_same_bits(model, tmp_path):
    export = model.export(tmp_path / "a.onnx")
    images = sized()
    got = session(export.path).run(["probabilities"], {"image": np.stack(images)})[0]
    assert np.array_equal(got, model.predict_proba(images))
    assert (export.size, export.format) == (export.path.stat().st_size, "onnx")


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_float_planes_give_the_same_for_every_kind_of_backbone(tmp_path, color, layout, dtype):
    model, _ = small_model(tmp_path, color=color, layout=layout, dtype=dtype)
    path = model.export(tmp_path / "a.onnx", input="float_nchw").path
    images = sized()
    planes = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    got = session(path).run(None, {"image": planes})[0]
    assert np.abs(got - model.predict_proba(images)).max() <= 1e-5


@pytest.mark.parametrize("crop", ["center_crop", "fit", "stretch"])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_any_size_gives_nearly_the_same_for_every_crop_and_filter(tmp_path, crop, resample):
    model, _ = small_model(tmp_path, width=32, height=20, crop=crop, resample=resample)
    run = session(model.export(tmp_path / "a.onnx", input="resize").path)
    random = np.random.default_rng(0)
    for height, width in ((20, 32), (21, 33), (7, 90), (300, 41), (1, 1), (64, 64)):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        got = run.run(None, {"image": image[None]})[0]
        # Levels that round the other way: one in a hundred, by one.
        assert np.abs(got - model.predict_proba([image])).max() <= 0.02, (height, width)


def test_any_size_works_from_opset_11_on_and_is_refused_before(tmp_path):
    model, _ = small_model(tmp_path, tiny={"opset": 11})
    path = model.export(tmp_path / "a.onnx", input="resize").path
    assert onnx.load(path).opset_import[0].version == 11
    image = picture("red", 1, side=60)
    got = session(path).run(None, {"image": image[None]})[0]
    assert np.abs(got - model.predict_proba([image])).max() <= 0.02
    old, _ = small_model(tmp_path, tiny={"opset": 9})
    with pytest.raises(ExportError, match="need opset 11"):
        old.export(tmp_path / "b.onnx", input="resize")
    assert not (tmp_path / "b.onnx").exists()


def test_a_batch_of_equal_photos_of_any_size_works(model, tmp_path):
    run = session(model.export(tmp_path / "a.onnx", input="resize").path)
    images = sized(4, side=37)
    got = run.run(None, {"image": np.stack(images)})[0]
    assert np.abs(got - model.predict_proba(images)).max() <= 0.02


def test_a_fixed_batch_stays_and_is_proved(tmp_path):
    model, _ = small_model(tmp_path, tiny={"batch": 2})
    for form in ("uint8_nhwc", "float_nchw", "resize"):
        export = model.export(tmp_path / "a.onnx", input=form)
        assert export.proof.passed
        assert onnx.load(export.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_the_label_output_is_the_most_probable_label(model, data, tmp_path):
    run = session(model.export(tmp_path / "a.onnx", label_output=True).path)
    images = [read_image(path)[:24, :24] for path in data.paths[::7]]
    label, probabilities = run.run(["label", "probabilities"], {"image": np.stack(images)})
    assert label.tolist() == model.predict_many(images)
    assert np.array_equal(probabilities, model.predict_proba(images))


def test_opset_ir_and_checker(model, tmp_path):
    for form in ("uint8_nhwc", "float_nchw", "resize"):
        path = model.export(tmp_path / "a.onnx", input=form, label_output=True).path
        made = onnx.load(path)
        onnx.checker.check_model(made, full_check=True)
        assert (made.ir_version, [(o.domain, o.version) for o in made.opset_import]) == (
            8,
            [("", 17)],
        )
        prefixes = {node.name.split("/")[0] for node in made.graph.node}
        assert prefixes <= {"preprocessing", "backbone", "head"}


def test_the_reference_evaluator_agrees_in_every_form(model, tmp_path):
    from onnx.reference import ReferenceEvaluator

    images = np.stack(sized(2))
    expected = model.predict_proba(list(images))
    planes = images.transpose(0, 3, 1, 2).astype(np.float32)
    for form, pixels in (("uint8_nhwc", images), ("float_nchw", planes), ("resize", images)):
        path = model.export(tmp_path / "a.onnx", input=form).path
        (got,) = ReferenceEvaluator(onnx.load(path)).run(None, {"image": pixels})
        assert np.abs(got - expected).max() <= 1e-5, form


# -- eight bits -----------------------------------------------------------------------------------


def test_int8_computes_with_eight_bits_and_tells_its_cost(model, data, tmp_path):
    export = model.export(tmp_path / "a.onnx", quantize="int8", photos=data)
    made = onnx.load(export.path)
    operators = [node.op_type for node in made.graph.node]
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(operators)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 17)]
    onnx.checker.check_model(made, full_check=True)
    stored = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert stored["head/weights"] == onnx.TensorProto.FLOAT  # the head is not touched
    assert onnx.TensorProto.INT8 in stored.values()
    accuracy = export.proof.accuracy
    assert accuracy["n_images"] == 60
    assert accuracy["exported"] >= accuracy["model"] - 0.05
    assert "100.0 % before" in str(export)
    again = ImageClassifier.load(export.path)
    assert again.evaluate(data).accuracy == accuracy["exported"]


def test_int8_needs_photos_and_takes_unlabelled_ones(model, data, tmp_path):
    with pytest.raises(InvalidOption, match="needs photos to calibrate on"):
        model.export(tmp_path / "a.onnx", quantize="int8")
    export = model.export(tmp_path / "a.onnx", quantize="int8", photos=iter(data.paths[:9]))
    assert export.proof.accuracy is None
    assert export.proof.n_images == 9
    folders = DataSource.files_by_label({"2024": data.paths[:3], "2025": data.paths[30:33]})
    export = model.export(tmp_path / "a.onnx", quantize="int8", photos=folders)
    assert export.proof.accuracy is None  # for those are no labels of the model
    assert export.proof.n_images == 6


def test_a_model_is_quantised_once(model, data, tmp_path):
    path = model.export(tmp_path / "a.onnx", quantize="int8", photos=data).path
    first = ImageClassifier.load(path)
    again = first.export(tmp_path / "b.onnx", quantize="int8")
    assert "with eight bits already" in again.notes[0]
    assert again.proof.max_difference == 0
    resized = first.export(tmp_path / "c.onnx", input="resize", photos=data)
    for made in (again, resized):
        assert json.loads(metadata(made.path)["eyespot.export"])["quantize"] == "int8"


def test_progress_is_told_and_the_work_can_be_cancelled(model, data, tmp_path):
    seen = []
    options = {"photos": data, "n_images": 10, "sidecars": "huggingface", "quantize": "int8"}
    model.export(tmp_path / "a.onnx", progress=seen.append, **options)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 96, 96)  # 2 * (8 + 10) + 60
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled, match="nothing was written"):
        model.export(tmp_path / "b.onnx", cancel=token)
    assert not (tmp_path / "b.onnx").exists()


def test_weights_in_half_precision_are_quantised_too(data, tmp_path):
    model, _ = small_model(tmp_path)
    graph = onnx.load_from_string(model.to_bytes())
    kernel = next(t for t in graph.graph.initializer if t.name == "backbone/kernel")
    values = onnx.numpy_helper.to_array(kernel)
    graph.graph.initializer.remove(kernel)
    graph.graph.initializer.append(
        onnx.numpy_helper.from_array(values.astype(np.float16), "backbone/half")
    )
    cast = onnx.helper.make_node("Cast", ["backbone/half"], ["backbone/kernel"], to=1)
    graph.graph.node.insert(0, cast)
    halved = ImageClassifier(graph.SerializeToString())
    export = halved.export(tmp_path / "a.onnx", quantize="int8", photos=data)
    stored = [t for t in onnx.load(export.path).graph.initializer if "kernel" in t.name]
    assert onnx.TensorProto.INT8 in {tensor.data_type for tensor in stored}


# -- beside it ------------------------------------------------------------------------------------


def test_sidecars_are_written_where_other_programs_look(model, tmp_path):
    names = ("labels", "huggingface", "triton")
    export = model.export(tmp_path / "pets.onnx", sidecars=names)
    assert [path.name for path in export.sidecars] == [
        "pets.labels.txt",
        "pets-huggingface",
        "pets-triton",
    ]
    assert (tmp_path / "pets.labels.txt").read_text() == "blue\ngreen\nred\n"

    folder = tmp_path / "pets-triton" / "pets"
    config = (folder / "config.pbtxt").read_text()
    assert 'input [ { name: "image" data_type: TYPE_UINT8 dims: [ 24, 24, 3 ] } ]' in config
    assert 'dims: [ 3 ] label_filename: "labels.txt"' in config
    assert (folder / "1" / "model.onnx").read_bytes() == export.path.read_bytes()
    assert (folder / "labels.txt").read_text() == "blue\ngreen\nred\n"


@pytest.mark.parametrize("crop", ["center_crop", "stretch"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_hugging_faces_layout_gives_the_logits_of_normalised_pixels(tmp_path, crop, color):
    model, _ = small_model(tmp_path, crop=crop, color=color, mean=(0.5, 0.4, 0.3))
    model.export(tmp_path / "a.onnx", sidecars="huggingface")
    folder = tmp_path / "a-huggingface"
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    expected_mean = [0.5, 0.4, 0.3] if color == "rgb" else [0.3, 0.4, 0.5]
    assert processor["image_mean"] == expected_mean
    assert ("crop_size" in processor) == (crop == "center_crop")
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "blue", "1": "green", "2": "red"}
    images = sized()
    levels = np.stack(images).astype(np.float64) * processor["rescale_factor"]
    values = (levels - processor["image_mean"]) / processor["image_std"]
    run = session(folder / "model.onnx")
    fed = {"pixel_values": values.transpose(0, 3, 1, 2).astype(np.float32)}
    (logits,) = run.run(["logits"], fed)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    got = powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(got - model.predict_proba(images)).max() <= 1e-5


def test_what_hugging_face_cannot_do_is_refused_and_nothing_is_written(tmp_path):
    model, _ = small_model(tmp_path, crop="fit")
    with pytest.raises(ExportError, match="no image processor of Hugging Face's does fit"):
        model.export(tmp_path / "a.onnx", sidecars=["huggingface"])
    assert not (tmp_path / "a.onnx").exists()


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "uint8"}, "input is 'uint8'; allowed: 'uint8_nhwc'.*did you mean"),
        ({"input": "pixel_values"}, "sidecars"),
        ({"quantize": "int4"}, "quantize is 'int4'; allowed: None, 'int8'"),
        ({"sidecars": ["label"]}, "sidecars is 'label'.*did you mean 'labels'"),
        ({"names": "createml"}, "names is an option of .mlpackage and .mlmodel files"),
        ({"head": "glm"}, "head is an option of .mlpackage"),
        ({"precision": "float32"}, "precision is an option of .mlpackage"),
        ({"metadata": {"author": "me"}}, "metadata is a dict; allowed: ModelMetadata"),
        ({"n_images": 0}, "n_images is 0"),
        ({"photos": "cat.jpg"}, "one image"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, tmp_path, options, words):
    with pytest.raises(InvalidOption, match=words):
        model.export(tmp_path / "a.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_onnx_options_are_refused_for_core_ml(model, tmp_path):
    with pytest.raises(InvalidOption, match=r"input is an option of \.onnx files"):
        model.export(tmp_path / "a.mlpackage", input="resize")


@pytest.mark.parametrize("name", ["model", "model.tflite", "model.onnx.gz"])
def test_an_unknown_ending_is_refused(model, tmp_path, name):
    with pytest.raises(InvalidOption, match=r"allowed: \.onnx, \.mlpackage, \.mlmodel"):
        model.export(tmp_path / name)


def test_places_that_cannot_take_it_are_named(model, tmp_path):
    with pytest.raises(ExportError, match="does not exist"):
        model.export(tmp_path / "no" / "a.onnx")
    (tmp_path / "b.onnx").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        model.export(tmp_path / "b.onnx")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = model.export(tmp_path / "a.onnx").path
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ExportError, match=r"No space left.*unchanged"):
        model.export(path, input="float_nchw")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


def full_disk(descriptor):
    raise OSError(28, "No space left on device")


def test_eyespot_says_of_other_forms_what_they_are(model, tmp_path):
    for options in ({"input": "resize"}, {"input": "float_nchw"}, {"label_output": True}):
        path = model.export(tmp_path / "a.onnx", **options).path
        with pytest.raises(ModelError, match="an export for other programs"):
            ImageClassifier.load(path)


# -- bytes and imports ----------------------------------------------------------------------------


def test_the_same_export_gives_the_same_bytes(model, data, tmp_path):
    for number, options in enumerate(
        (
            {"input": "resize", "label_output": True},
            {"photos": data, "n_images": 5},
            {"quantize": "int8", "photos": data},
        )
    ):
        first = model.export(tmp_path / f"{number}a.onnx", **options).path.read_bytes()
        second = model.export(tmp_path / f"{number}b.onnx", **options).path.read_bytes()
        assert first == second


def test_labels_of_any_unicode_are_exported(tmp_path):
    labels = ("café", "two words", "猫")
    model, _ = small_model(tmp_path, labels=labels)
    path = model.export(tmp_path / "a.onnx", label_output=True, sidecars="labels").path
    (label,) = session(path).run(["label"], {"image": np.stack(sized(3))})
    assert set(label.tolist()) <= set(labels)
    assert (tmp_path / "a.labels.txt").read_text() == "café\ntwo words\n猫\n"
    assert json.loads(metadata(path)["labels"]) == list(labels)


def test_exporting_onnx_imports_nothing_of_the_other_formats(model, tmp_path):
    model.save(tmp_path / "m.onnx")
    program = (
        "import sys, eyespot; m = eyespot.ImageClassifier.load(sys.argv[1]); "
        "m.export(sys.argv[2]); eyespot.verify(sys.argv[2]); "
        "heavy = {'coremltools', 'onnxruntime.quantization', 'torch', 'sympy', 'PIL'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "m.onnx"), str(tmp_path / "e.onnx")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
