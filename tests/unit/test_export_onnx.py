"""The one ONNX file: normalisation, backbone and head joined without changing a number."""

from __future__ import annotations

import ast
import itertools
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot.errors import ExportError
from eyespot.export.onnx import METADATA_FACTS, METADATA_PREPROCESSING, assemble, read_head
from eyespot.head import Head
from eyespot.light_model import LightModel
from eyespot.options import Preprocessing

HEIGHT, WIDTH, FEATURES = 12, 16, 8
CLASSES = ("ant", "bee", 'it\'s a "wasp"')


def backbone(
    *,
    layout="nchw",
    dtype=TensorProto.FLOAT,
    opset=17,
    ir=8,
    batch="N",
    names=("input", "embedding"),
    initializers_as_inputs=False,
    metadata=(),
):
    """A convolution, a ReLU and a mean over the picture; NHWC and uint8 are turned inside."""
    rng = np.random.default_rng(7)
    kernel = rng.normal(0, 0.4, (FEATURES, 3, 3, 3)).astype(np.float32)
    image, embedding = names
    shape = [batch, 3, HEIGHT, WIDTH] if layout == "nchw" else [batch, HEIGHT, WIDTH, 3]
    nodes, x = [], image
    if dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [x], ["cast"], to=TensorProto.FLOAT))
        x = "cast"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [x], ["planes"], perm=[0, 3, 1, 2]))
        x = "planes"
    nodes += [
        helper.make_node("Conv", [x, "kernel"], ["conv"], strides=[2, 2], name="conv"),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], [embedding]),
    ]
    constants = [numpy_helper.from_array(kernel, "kernel")]
    inputs = [helper.make_tensor_value_info(image, dtype, shape)]
    if initializers_as_inputs:
        inputs.append(helper.make_tensor_value_info("kernel", TensorProto.FLOAT, kernel.shape))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info(embedding, TensorProto.FLOAT, [batch, FEATURES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    for key, value in metadata:
        model.metadata_props.add(key=key, value=value)
    return model


def preprocessing(**changes):
    return Preprocessing(width=WIDTH, height=HEIGHT, **changes)


def head():
    rng = np.random.default_rng(3)
    return rng.normal(0, 2, (len(CLASSES), FEATURES)), rng.normal(0, 1, len(CLASSES))


def pixels(n=5):
    return np.random.default_rng(1).integers(0, 256, (n, HEIGHT, WIDTH, 3), np.uint8)


def assembled(model, spec, **changes):
    facts = {"schema": 1, "eyespot": "0.1.0", "classes": list(CLASSES)}
    return assemble(LightModel(model), spec, Head((head(),)), CLASSES, facts=facts | changes)


def session(model):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def network_input(images, spec):
    """What `Preprocessing` documents, in float64."""
    x = images[..., ::-1] if spec.color == "bgr" else images
    if spec.dtype != "uint8":
        x = (x * np.float64(spec.scale) - spec.mean) / spec.std
        x = x.astype(spec.dtype)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if spec.layout == "nchw" else x)


def expected(model, spec, images):
    run = session(model)
    embeddings = run.run(None, {run.get_inputs()[0].name: network_input(images, spec)})[0]
    weights, bias = head()
    logits = embeddings.astype(np.float64) @ weights.T + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


SPECS = [
    ({}, TensorProto.FLOAT),
    ({"layout": "nhwc"}, TensorProto.FLOAT),
    ({"color": "bgr"}, TensorProto.FLOAT),
    ({"color": "bgr", "layout": "nhwc"}, TensorProto.FLOAT),
    ({"scale": 1.0, "mean": (127.0,) * 3, "std": (128.0,) * 3}, TensorProto.FLOAT),
    ({"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3, "layout": "nhwc"}, TensorProto.FLOAT),
    ({"dtype": "float16"}, TensorProto.FLOAT16),
    ({"dtype": "uint8"}, TensorProto.UINT8),
    ({"dtype": "uint8", "layout": "nhwc"}, TensorProto.UINT8),
    ({"dtype": "uint8", "layout": "nhwc", "color": "bgr"}, TensorProto.UINT8),
]


@pytest.mark.parametrize(("changes", "dtype"), SPECS)
def test_the_graph_gives_the_probabilities_of_backbone_and_head(changes, dtype):
    spec = preprocessing(**changes)
    model = backbone(layout=spec.layout, dtype=dtype)
    result = session(assembled(model, spec)).run(None, {"image": pixels()})[0]
    assert result.dtype == np.float32
    assert np.abs(result - expected(model, spec, pixels())).max() <= 1e-5
    assert np.abs(result.sum(axis=1) - 1).max() <= 1e-6


@pytest.mark.parametrize(("opset", "ir"), [(7, 3), (8, 3), (11, 4), (13, 7), (17, 8), (21, 10)])
def test_every_opset_of_a_backbone_stays_as_it_is(opset, ir):
    model = backbone(opset=opset, ir=ir, initializers_as_inputs=ir == 3)
    data = assembled(model, preprocessing())
    result = onnx.load_from_string(data)
    assert {entry.domain: entry.version for entry in result.opset_import} == {"": opset}
    assert result.ir_version == max(8, ir)
    assert [value.name for value in result.graph.input] == ["image"]
    got = session(data).run(None, {"image": pixels()})[0]
    assert np.abs(got - expected(model, preprocessing(), pixels())).max() <= 1e-5


def test_an_opset_before_seven_is_brought_forward():
    model = backbone(opset=6, ir=3, initializers_as_inputs=True)
    result = onnx.load_from_string(assembled(model, preprocessing()))
    assert result.opset_import[0].version == 17


def test_names_of_the_backbone_cannot_clash_with_ours():
    model = backbone(names=("probabilities", "image"))
    data = assembled(model, preprocessing())
    got = session(data).run(["probabilities"], {"image": pixels()})[0]
    assert np.abs(got - expected(model, preprocessing(), pixels())).max() <= 1e-5


def test_a_branch_inside_the_backbone_still_sees_the_outer_values():
    model = backbone()
    flatten = model.graph.node.pop()

    def branch(name):
        return helper.make_graph(
            [helper.make_node("Flatten", ["pool"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )

    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(
        helper.make_node(
            "If", ["always"], flatten.output, then_branch=branch("a"), else_branch=branch("b")
        )
    )
    got = session(assembled(model, preprocessing())).run(None, {"image": pixels()})[0]
    assert np.abs(got - expected(model, preprocessing(), pixels())).max() <= 1e-5


def test_huge_logits_do_not_overflow():
    weights, bias = np.full((2, FEATURES), 1e30), np.array([0.0, 1.0])
    head = Head(((weights, bias),))
    data = assemble(LightModel(backbone()), preprocessing(), head, ("a", "b"), facts={})
    assert np.isfinite(session(data).run(None, {"image": pixels()})[0]).all()


def test_the_batch_is_free_and_the_input_is_declared_as_rgb_pixels():
    model = onnx.load_from_string(assembled(backbone(), preprocessing()))
    image, probabilities = model.graph.input[0], model.graph.output[0]
    shape = image.type.tensor_type.shape.dim
    assert image.type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in shape] == ["N", HEIGHT, WIDTH, 3]
    assert image.type.denotation == "IMAGE"
    shape = probabilities.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["N", len(CLASSES)]
    run = session(model)
    for n in (1, 3, 40):
        assert run.run(None, {"image": pixels(n)})[0].shape == (n, len(CLASSES))


def test_a_fixed_batch_of_the_backbone_is_declared():
    model = onnx.load_from_string(assembled(backbone(batch=2), preprocessing()))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_labels_are_there_for_every_reader_of_them():
    data = assembled(backbone(metadata=[("license", "Apache-2.0")]), preprocessing(crop="fit"))
    metadata = session(data).get_modelmeta().custom_metadata_map
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(CLASSES))
    assert json.loads(metadata["labels"]) == list(CLASSES)
    assert json.loads(metadata["id2label"]) == {str(i): c for i, c in enumerate(CLASSES)}
    assert metadata["task"] == "classify"
    assert json.loads(metadata["imgsz"]) == [HEIGHT, WIDTH]
    assert metadata["Image.BitmapPixelFormat"] == "Rgb8"
    assert json.loads(metadata[METADATA_FACTS])["classes"] == list(CLASSES)
    spec = Preprocessing.from_json(metadata[METADATA_PREPROCESSING])
    assert (spec.dtype, spec.layout, spec.color, spec.crop) == ("uint8", "nhwc", "rgb", "fit")
    assert metadata["backbone.license"] == "Apache-2.0"


def test_labels_of_any_unicode_are_kept():
    labels = ("café", "猫\n", "\udcff")  # a folder name that is not UTF-8 comes as a surrogate
    facts = {"classes": labels}
    data = assemble(LightModel(backbone()), preprocessing(), Head((head(),)), labels, facts=facts)
    metadata = session(data).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == list(labels)
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(labels))


def test_the_same_parts_give_the_same_bytes_and_leave_the_backbone_alone():
    model = backbone()
    before = model.SerializeToString(deterministic=True)
    assert assembled(model, preprocessing()) == assembled(model, preprocessing())
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("opset", [7, 17])
def test_hidden_layers_and_outputs_are_those_of_the_head(output, opset):
    rng = np.random.default_rng(5)
    shapes = ((6, FEATURES), (4, 6), (len(CLASSES), 4))
    layers = tuple((rng.normal(size=s), rng.normal(size=s[0])) for s in shapes)
    deep = Head(layers, output)
    model = backbone(opset=opset)
    data = assemble(LightModel(model), preprocessing(), deep, CLASSES, facts={})
    names = [tensor.name for tensor in onnx.load_from_string(data).graph.initializer]
    assert names[-6:] == [
        f"head/{part}{kind}"
        for part in ("hidden_0/", "hidden_1/", "")
        for kind in ("weights", "bias")
    ]
    run = session(model)
    images = network_input(pixels(), preprocessing())
    embeddings = run.run(None, {run.get_inputs()[0].name: images})[0]
    got = session(data).run(None, {"image": pixels()})[0]
    assert np.abs(got - deep.probabilities(embeddings)).max() <= 1e-6


@pytest.mark.parametrize("widths", [(FEATURES, 3), (FEATURES, 6, 4, 3)])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_head_is_read_back_as_it_was_written(widths, output):
    rng = np.random.default_rng(5)
    pairs = itertools.pairwise(widths)
    layers = tuple((rng.normal(size=(n, d)), rng.normal(size=n)) for d, n in pairs)
    written = Head(layers, output)
    read = read_head(assemble(LightModel(backbone()), preprocessing(), written, CLASSES, facts={}))
    assert read.output == output
    assert len(read.layers) == len(layers)
    for ours, theirs in zip(written.layers, read.layers, strict=True):
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1].tobytes() == theirs[1].tobytes()
    with pytest.raises(ExportError, match="no head as eyespot writes it"):
        read_head(backbone().SerializeToString())


@pytest.mark.parametrize(
    ("n_features", "classes", "words"),
    [
        (8, ("a", "b", "c"), "2 classes, and 3 labels"),
        (8, ("a", "a"), "differ"),
        (8, ("a", ""), "not empty"),
        (7, ("a", "b"), "valid model"),
    ],
)
def test_parts_that_do_not_fit_are_refused(n_features, classes, words):
    linear = Head(((np.zeros((2, n_features)), np.zeros(2)),))
    with pytest.raises(ExportError, match=words):
        assemble(LightModel(backbone()), preprocessing(), linear, classes, facts={})


def test_a_backbone_with_two_outputs_is_refused():
    model = backbone()
    model.graph.output.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, None))
    with pytest.raises(ExportError, match="2 outputs"):
        assembled(model, preprocessing())
