"""Core ML files: what they say of themselves, which forms there are, and how they are written."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from architectures import ARCHITECTURES, Net
from onnx_builder import Tiny
from saved_models import LABELS, pixels, saved

if find_spec("coremltools") is None:
    pytest.skip("needs eyespot[coreml]", allow_module_level=True)

from eyespot.backbones import embedded
from eyespot.errors import ExportError, InvalidOption, ModelError
from eyespot.export.coreml import CoreMLRunner, CoreMLText, convert, export_coreml
from eyespot.export.coreml.package import MANIFEST, MODEL, WEIGHTS
from eyespot.export.coreml.tools import load_coremltools, quiet
from eyespot.export.parity import TRANSLATED_LEVELS
from eyespot.light_model import LightModel

SIDE = 16
FORMS = ("mlpackage", "mlmodel")


def tiny_model(**options):
    return saved(Tiny().model(), 6, side=SIDE, **options)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def probabilities(model, images):
    session = onnxruntime.InferenceSession(model)
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def check_equal(model, made, side=SIDE, tolerance=1e-5):
    images = pixels(3, side)
    got = made.runner().predict_proba(images)
    np.testing.assert_allclose(got, probabilities(model, images), atol=tolerance, rtol=0)


def main_block(spec):
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


# ---- forms -------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["softmax", "glm"])
@pytest.mark.parametrize("names", ["classic", "createml"])
def test_every_form_gives_the_saved_models_probabilities_under_the_names_asked_for(
    model, form, head, names
):
    made = export_coreml(model, form=form, head=head, names=names, precision="float32")
    check_equal(model, made)
    description = made.spec.description
    label, probability = {
        "classic": ("classLabel", "classLabelProbs"),
        "createml": ("target", "targetProbability"),
    }[names]
    assert description.predictedFeatureName == label
    assert description.predictedProbabilitiesName == probability
    kinds = {output.name: output.type.WhichOneof("Type") for output in description.output}
    assert kinds == {label: "stringType", probability: "dictionaryType"}
    (image,) = description.input
    size = image.type.imageType
    assert (image.name, size.width, size.height, size.colorSpace) == ("image", SIDE, SIDE, 20)
    expected = {("mlpackage", "softmax"): 6, ("mlpackage", "glm"): 6}
    assert made.specification_version == expected.get((form, head), 4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("hidden", "output"), [((9, 7), "softmax"), ((), "sigmoid"), ((8,), "sigmoid")]
)
def test_hidden_layers_and_independent_labels_export_too(form, hidden, output):
    model = tiny_model(hidden=hidden, output=output)
    check_equal(model, export_coreml(model, form=form, precision="float32"))


@pytest.mark.parametrize(
    "backbone",
    [
        {"color": "bgr"},
        {"layout": "nhwc"},
        {"layout": "nhwc", "color": "bgr"},
        {"dtype": "float16"},
        {"dtype": "uint8", "layout": "nhwc"},
        {"scale": 1.0, "mean": (100.0, 120.0, 90.0), "std": (58.0, 57.0, 61.0)},
    ],
)
def test_every_kind_of_input_becomes_one_rgb_image(backbone):
    network = Tiny(**{k: v for k, v in backbone.items() if k in {"layout", "dtype"}}).model()
    model = saved(network, 6, side=SIDE, **backbone)
    tolerance = 2e-3 if backbone.get("dtype") == "float16" else 1e-5
    check_equal(model, export_coreml(model, precision="float32"), tolerance=tolerance)


def test_the_pixels_are_normalised_by_one_addition_and_one_multiplication(model):
    made = export_coreml(model, precision="float32")
    types = [op.type for op in main_block(made.spec).operations if op.type != "const"]
    assert types == [
        "add",
        "mul",
        "conv",
        "relu",
        "reduce_mean",
        "reshape",
        "linear",
        "softmax",
        "classify",
    ]


@pytest.mark.parametrize(
    ("revision", "tolerance"), [(2, 1e-5), (None, TRANSLATED_LEVELS.max_difference)]
)
def test_the_embedded_backbone_exports(revision, tolerance):
    backbone = onnx.load(embedded(revision)[1])
    shapes = [
        value.type.tensor_type.shape for value in (*backbone.graph.input, *backbone.graph.output)
    ]
    side, features = shapes[0].dim[2].dim_value, shapes[1].dim[1].dim_value
    model = saved(backbone, features, side=side, scale=3.0)
    check_equal(model, export_coreml(model, precision="float32"), side, tolerance)


def test_dead_ends_of_the_graph_do_not_matter(model):
    assert "ArgMax" in {node.op_type for node in onnx.load_from_string(model).graph.node}
    export_coreml(model)


def test_a_non_square_image_keeps_its_sides():
    network = Tiny(height=12, width=20).model()
    from eyespot.export.onnx import assemble
    from eyespot.head import Head
    from eyespot.options import Preprocessing

    head = Head(layers=((np.eye(3, 6, dtype=np.float32), np.zeros(3, np.float32)),))
    facts = {"schema": 1, "eyespot": "test", "classes": ["a", "b", "c"]}
    spec = Preprocessing(width=20, height=12)
    model = assemble(LightModel(network), spec, head, facts["classes"], facts=facts)
    runner = export_coreml(model, precision="float32").runner()
    assert (runner.width, runner.height) == (20, 12)
    image = np.random.default_rng(0).integers(0, 256, (1, 12, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(runner.predict_proba(image), probabilities(model, image), atol=1e-5)


@pytest.mark.parametrize(
    ("target", "head"), [("iOS16", "softmax"), ("iOS18", "softmax"), ("macOS14", "glm")]
)
def test_newer_systems_can_be_asked_for(model, target, head):
    made = export_coreml(model, minimum_deployment_target=target, head=head)
    expected = {"iOS16": 7, "iOS18": 9, "macOS14": 8}[target]
    assert made.specification_version == expected
    check_equal(model, made, tolerance=0.01)


# ---- precision ---------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_halves_the_file_and_moves_the_probabilities_a_little(form):
    model = saved(ARCHITECTURES["resnet"](), 32)
    small, large = (
        export_coreml(model, form=form, precision=precision) for precision in ("float16", "float32")
    )
    sizes = [sum(map(len, made.files().values())) for made in (small, large)]
    assert sizes[0] < 0.7 * sizes[1]
    images = pixels(4)
    expected = probabilities(model, images)
    drift = np.abs(small.runner().predict_proba(images) - expected).max()
    exact = np.abs(large.runner().predict_proba(images) - expected).max()
    assert exact < 1e-5 < drift < 0.05


def test_the_head_stays_in_single_precision(model):
    made = export_coreml(model, precision="float16")
    block = main_block(made.spec)
    half, single = 10, 11
    types = {
        op.type: op.outputs[0].type.tensorType.dataType
        for op in block.operations
        if op.type in {"conv", "linear", "softmax"}
    }
    assert types == {"conv": half, "linear": single, "softmax": single}
    network = export_coreml(model, form="mlmodel", precision="float16").spec.neuralNetworkClassifier
    stored = {
        layer.name: bool(getattr(layer, layer.WhichOneof("layer")).weights.float16Value)
        for layer in network.layers
        if layer.WhichOneof("layer") in {"convolution", "innerProduct"}
    }
    assert stored == {"backbone_n_conv": True, "head_logits": False}


# ---- what the file says ------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["softmax", "glm"])
def test_texts_and_metadata_are_written(model, form, head):
    text = CoreMLText(
        author="Ann", short_description="Bees", license="MIT", version="2.1", additional={"k": "é"}
    )
    made = export_coreml(model, form=form, head=head, text=text)
    metadata = made.spec.description.metadata
    assert (metadata.author, metadata.shortDescription) == ("Ann", "Bees")
    assert (metadata.license, metadata.versionString) == ("MIT", "2.1")
    entries = made.runner().metadata
    assert entries["k"] == "é"
    assert entries["com.apple.coreml.model.preview.type"] == "imageClassifier"
    assert json.loads(entries["eyespot.model"])["classes"] == list(LABELS)
    assert json.loads(entries["eyespot.preprocessing"])["crop"] == "center_crop"
    assert not any("date" in key for key in entries)
    assert ".centerCrop" in made.spec.description.input[0].shortDescription
    made.describe(CoreMLText(additional={"other": "1"}))
    entries = dict(made.spec.description.metadata.userDefined)
    assert "k" not in entries
    assert entries["other"] == "1"
    assert made.spec.description.metadata.shortDescription == "Image classifier with 5 labels"


@pytest.mark.parametrize("crop", ["center_crop", "fit", "stretch"])
def test_the_crop_is_told_in_visions_words(crop):
    made = export_coreml(tiny_model(crop=crop))
    word = {"center_crop": "centerCrop", "fit": "scaleFit", "stretch": "scaleFill"}[crop]
    assert f".{word}." in made.spec.description.input[0].shortDescription


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_kept_in_order_and_letter_by_letter(model, form):
    assert export_coreml(model, form=form).runner().labels == LABELS


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["softmax", "glm"])
def test_the_same_model_gives_the_same_bytes(model, form, head):
    first = export_coreml(model, form=form, head=head).files()
    export_coreml(saved(ARCHITECTURES["vgg"](), 24), form=form)  # leaves counters of its own behind
    assert export_coreml(model, form=form, head=head).files() == first


def test_another_process_gives_the_same_bytes_and_says_nothing(model, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model)
    program = (
        "import hashlib, pathlib, sys\n"
        "from eyespot.export.coreml import export_coreml\n"
        "files = export_coreml(pathlib.Path(sys.argv[1]).read_bytes()).files()\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.onnx")],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    files = export_coreml(model).files()
    assert done.stdout.strip() == hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    assert done.stderr == ""


# ---- coremltools reads it ----------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["softmax", "glm"])
def test_coremltools_loads_and_saves_the_file_again(form, head, tmp_path):
    model = saved(ARCHITECTURES["swin"](), 16)
    made = export_coreml(model, form=form, head=head, precision="float32")
    path = tmp_path / f"m.{form}"
    made.write(path)
    ct = load_coremltools()
    with quiet():
        loaded = ct.models.MLModel(str(path), skip_model_load=True)
        loaded.save(str(tmp_path / f"again.{form}"))
        del loaded
    images = pixels(2)
    expected = probabilities(model, images)
    for file in (path, tmp_path / f"again.{form}"):
        np.testing.assert_allclose(CoreMLRunner(file).predict_proba(images), expected, atol=1e-4)


# ---- refusals ----------------------------------------------------------------------------------
def test_all_unknown_layers_are_named_in_one_error():
    net = Net(0)
    x = net.conv("input", 3, 6, 3, norm=False)
    x = net.add("Add", net.add("Sin", x), net.add("CumSum", x, net.constant(1, "int64")))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], dilations=[2, 2])
    x = net.add("Cos", net.pooled(x))
    with pytest.raises(ExportError) as caught:
        export_coreml(saved(net.model(x, 6), 6))
    assert caught.value.code == "unsupported_operator"
    text = str(caught.value)
    assert "3 layers have no Core ML form" in text
    assert [kind in text for kind in ("(Sin)", "(CumSum)", "(Cos)")] == [True] * 3
    assert "backbone//v" in text


def test_what_a_known_layer_cannot_do_is_said():
    net = Net(0)
    x = net.conv("input", 3, 6, 3, norm=False)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], dilations=[2, 2])
    with pytest.raises(ExportError, match=r"MaxPool\): a pool with dilations"):
        export_coreml(saved(net.model(net.pooled(x), 6), 6))


@pytest.mark.parametrize(
    ("hidden", "output", "found"),
    [
        ((4,), "softmax", "has hidden layers"),
        ((), "sigmoid", "ends in Sigmoid"),
    ],
)
def test_a_head_that_is_no_linear_model_is_refused_for_glm(hidden, output, found):
    with pytest.raises(ExportError, match=found) as caught:
        export_coreml(tiny_model(hidden=hidden, output=output), head="glm")
    assert caught.value.code == "unsupported_head"


def relabelled(model, labels):
    changed = onnx.load_from_string(model)
    for entry in changed.metadata_props:
        if entry.key == "eyespot.model":
            entry.value = json.dumps({**json.loads(entry.value), "classes": labels})
    return changed.SerializeToString()


@pytest.mark.parametrize("labels", [["a", "b", "a", "c", "d"], ["a", "", "b", "c", "d"], []])
def test_labels_that_core_ml_would_mix_up_are_refused(model, labels):
    with pytest.raises(ExportError, match="differ from each other") as caught:
        export_coreml(relabelled(model, labels))
    assert caught.value.code == "bad_labels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "mlx"}, "form is 'mlx'; it must be one of 'mlpackage', 'mlmodel'"),
        ({"names": "mine"}, "names is 'mine'"),
        ({"head": "linear"}, "head is 'linear'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"minimum_deployment_target": "iOS13"}, "must be one of .*iOS15"),
        ({"form": "mlmodel", "minimum_deployment_target": "iOS15"}, "must be one of .*iOS13"),
    ],
)
def test_options_outside_those_listed_are_refused(model, options, message):
    with pytest.raises(InvalidOption, match=message):
        export_coreml(model, **options)


def test_what_is_no_saved_model_is_refused():
    with pytest.raises(ExportError, match="not ONNX, or damaged"):
        export_coreml(b"\xff\xff nonsense")
    with pytest.raises(ExportError, match="not a model that eyespot saved"):
        export_coreml(Tiny().model().SerializeToString())


def test_a_backbone_for_several_images_at_a_time_is_refused():
    with pytest.raises(ExportError, match="exactly 4 images"):
        export_coreml(saved(Tiny(batch=4).model(), 6, side=SIDE))


def test_without_native_parts_a_package_says_why_not_and_the_other_form_works(model, monkeypatch):
    monkeypatch.setattr(convert, "has_native_parts", lambda: False)
    with pytest.raises(ExportError, match="native parts") as caught:
        export_coreml(model)
    assert caught.value.code == "missing_package"
    check_equal(model, export_coreml(model, form="mlmodel", precision="float32"))


def test_without_coremltools_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ExportError, match=r"eyespot\[coreml\]"):
        export_coreml(model)


# ---- writing -----------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
def test_writing_replaces_the_file_and_leaves_nothing_else(model, form, tmp_path):
    made = export_coreml(model, form=form)
    path = tmp_path / f"m.{form}"
    for _ in range(2):
        made.write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    image = pixels(1, SIDE)[0]
    assert CoreMLRunner(path).predict(image) == made.runner().predict(image)


def test_only_a_package_is_replaced_by_one(model, tmp_path):
    made = export_coreml(model)
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"precious")
    file = tmp_path / "file.mlpackage"
    file.write_bytes(b"precious")
    for path in (folder, file):
        with pytest.raises(ExportError, match=r"is no .mlpackage|no \.mlpackage"):
            made.write(path)
    assert (folder / "a.jpg").read_bytes() == file.read_bytes() == b"precious"
    with pytest.raises(ExportError, match="does not exist"):
        made.write(tmp_path / "nowhere" / "m.mlpackage")


def test_a_failing_write_leaves_the_old_package(model, tmp_path, monkeypatch):
    made = export_coreml(model)
    path = tmp_path / "m.mlpackage"
    made.write(path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    rename = Path.rename

    def fails(self, target):
        if self.suffix == ".tmp":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(ExportError, match=r"No space left.*unchanged"):
        made.write(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.mlpackage"]


def test_no_temporary_files_are_left(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    export_coreml(model)
    export_coreml(model, form="mlmodel")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(model, capfd, caplog):
    export_coreml(model)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_importing_eyespot_imports_no_coremltools():
    program = (
        "import sys, eyespot, eyespot.export.coreml\n"
        "assert not {'coremltools', 'onnx', 'onnxruntime'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- the interpreter ---------------------------------------------------------------------------
def test_a_prediction_is_a_label_and_all_probabilities(model):
    runner = export_coreml(model, precision="float32").runner()
    image = pixels(1, SIDE)[0]
    prediction = runner.predict(image)
    expected = probabilities(model, image[None])[0]
    assert prediction.label == LABELS[expected.argmax()]
    assert tuple(prediction.probabilities) == LABELS
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "image",
    [np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((3, SIDE, SIDE), np.uint8), [[1]]],
)
def test_pixels_of_another_form_are_refused(model, image):
    runner = export_coreml(model).runner()
    with pytest.raises(InvalidOption, match=r"uint8 of shape \(16, 16, 3\)"):
        runner.predict(image)


def damage(files, name, offset, data):
    changed = bytearray(files[name])
    changed[offset : offset + len(data)] = data
    return {**files, name: bytes(changed)}


def test_a_damaged_file_is_an_error_that_says_what(model):
    files = export_coreml(model).files()
    cases = [
        ({**files, MODEL: b"\xff\xff"}, "cannot be read"),
        ({name: files[name] for name in (MANIFEST, MODEL)}, "missing"),
        ({name: files[name] for name in (MODEL, WEIGHTS)}, "no .mlpackage"),
        (damage(files, WEIGHTS, 0, struct.pack("<I", 99)), "99 blobs"),
        (damage(files, WEIGHTS, 4, struct.pack("<I", 7)), "storage version 7"),
        (damage(files, WEIGHTS, 64, b"\0\0\0\0"), "no weights are described"),
        (damage(files, WEIGHTS, 72, struct.pack("<Q", 1 << 40)), "lie outside"),
        ({**files, WEIGHTS: files[WEIGHTS][:30]}, "within their header"),
    ]
    for damaged, message in cases:
        with pytest.raises(ModelError, match=message):
            CoreMLRunner(damaged)


def test_a_wrong_shape_or_an_input_that_is_not_understood_is_an_error(model):
    made = export_coreml(model)
    block = main_block(made.spec)
    conv = next(op for op in block.operations if op.type == "conv")
    sides = conv.outputs[0].type.tensorType.dimensions
    sides[1].constant.size += 1
    with pytest.raises(ModelError, match="declared float16 of shape"):
        made.runner()
    sides[1].constant.size -= 1
    relu = next(op for op in block.operations if op.type == "relu")
    relu.inputs["slope"].CopyFrom(relu.inputs["x"])
    with pytest.raises(ModelError, match="does not know the operation relu with slope"):
        made.runner()
    del relu.inputs["slope"]
    relu.type = "sine"
    with pytest.raises(ModelError, match="does not know the operation sine"):
        made.runner()


def test_a_parameter_of_a_layer_that_is_not_understood_is_an_error(model):
    made = export_coreml(model, form="mlmodel")
    network = made.spec.neuralNetworkClassifier
    conv = next(layer for layer in network.layers if layer.WhichOneof("layer") == "convolution")
    conv.convolution.outputShape.extend([4, 4])
    with pytest.raises(ModelError, match="convolution with outputShape"):
        made.runner()


def test_what_is_no_image_classifier_is_refused(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        CoreMLRunner(tmp_path / "none.mlmodel")
    (tmp_path / "empty.mlmodel").write_bytes(b"")
    with pytest.raises(ModelError, match="not a Core ML model"):
        CoreMLRunner(tmp_path / "empty.mlmodel")
    (tmp_path / "folder.mlpackage").mkdir()
    with pytest.raises(ModelError, match=r"no \.mlpackage"):
        CoreMLRunner(tmp_path / "folder.mlpackage")


def test_an_8_mb_backbone_is_exported_in_5_seconds():
    from bench.networks import mobilenet_v2

    model = saved(mobilenet_v2(), 1280, side=224)
    assert 8e6 < len(model) < 10e6
    export_coreml(tiny_model())  # coremltools is imported
    start = time.process_time()
    export_coreml(model)
    assert time.process_time() - start < 5
