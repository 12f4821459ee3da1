"""Core ML files of networks that compute with eight bits: rounding, zero points, refusals."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantFormat, QuantType

from architectures import ARCHITECTURES, Net
from eight_bits import ACTIVATIONS, FEATURES, eight_bit, residual, small
from saved_models import pixels, saved

if find_spec("coremltools") is None:
    pytest.skip("needs eyespot[coreml]", allow_module_level=True)

from eyespot.errors import ExportError
from eyespot.export.coreml import export_coreml
from eyespot.export.coreml.reading import parse
from eyespot.export.quantize import _OPERATORS

SIDE = 24
FORMS = ("mlpackage", "mlmodel")


def probabilities(model, images, *, fused=True):
    """Return what ONNX Runtime gives: with whole numbers, or in floats as the file says it."""
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def kinds(made):
    """Return how many operations of each kind a file has."""
    spec = parse(made.files(), "test").spec
    if spec.WhichOneof("Type") != "mlProgram":
        return Counter(layer.WhichOneof("layer") for layer in spec.neuralNetworkClassifier.layers)
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    return Counter(operation.type for operation in block.operations)


def differences(model, made, images, **options):
    got = made.runner().predict_proba(images)
    return np.abs(got - probabilities(model, images, **options)).max(axis=1)


# -- whole networks ---------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(small, id="unsigned"),
        pytest.param(
            lambda side: eight_bit(residual(side), activation_type=QuantType.QInt8),
            id="signed",
        ),
        pytest.param(
            lambda side: eight_bit(
                residual(side, last="Tanh"), op_types_to_quantize=["Conv", "Add", "Relu", "Tanh"]
            ),
            id="zero points inside the range",
        ),
        pytest.param(lambda side: eight_bit(residual(side), per_channel=False), id="one scale"),
    ],
)
def test_a_quantised_network_gives_what_onnx_runtime_gives(network, form):
    model = saved(network(SIDE), FEATURES, side=SIDE)
    made = export_coreml(model, form=form, precision="float32")
    images = pixels(12, SIDE)
    for fused in (True, False):
        off = differences(model, made, images, fused=fused)
        assert np.median(off) < 1e-5  # but for an activation between two levels it is the same
        assert off.max() < 0.01
    half = export_coreml(model, form=form)
    assert differences(model, half, images).max() < 0.03


@pytest.mark.parametrize("name", ["mobilenet_v3", "vit"])
def test_architectures_whose_every_operator_is_quantised_are_translated(name):
    network = eight_bit(ARCHITECTURES[name](), op_types_to_quantize=list(_OPERATORS))
    features = network.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model = saved(network, features)
    made = export_coreml(model, precision="float32")
    assert differences(model, made, pixels(4), fused=False).max() < 0.01


def test_rounding_is_part_of_the_file():
    """Without it the float network would come out, which is something else."""
    model = saved(small(SIDE), FEATURES, side=SIDE)
    images = pixels(12, SIDE)
    plain = probabilities(saved(residual(SIDE), FEATURES, side=SIDE), images)
    rounded = probabilities(model, images)
    got = export_coreml(model, precision="float32").runner().predict_proba(images)
    assert np.abs(got - rounded).mean() < 0.1 * np.abs(got - plain).mean()


@pytest.mark.parametrize("form", FORMS)
def test_weights_become_floats_and_each_activation_is_rounded_once(form):
    made = export_coreml(saved(small(SIDE), FEATURES, side=SIDE), form=form, precision="float32")
    found = kinds(made)
    assert found["round"] == found["clip"] == ACTIVATIONS
    assert not any("quant" in kind for kind in found)
    # Of the zero points, only that of the input is not 0; the pixels' own shift comes before it.
    assert found["sub"] + found["add"] + found["addBroadcastable"] + found["bias"] == 2


# -- one pair ---------------------------------------------------------------------------------
def pair_of(net, x, scale, zero_point, *, axis=None, between=None, other=None):
    """Quantise, do something `between`, and take the levels for those of `other` numbers."""
    options = {} if axis is None else {"axis": axis}
    x = net.add("QuantizeLinear", x, scale, *zero_point, **options)
    if between is not None:
        x = between(x)
    return net.add("DequantizeLinear", x, *(other or (scale, *zero_point)), **options)


def levels(net):
    """Return the ways to quantise 8 channels, and what was meant."""
    one, some = net.constant(0.05), net.constant(np.linspace(0.02, 0.3, 8))
    unsigned = net.constant(np.arange(20, 28), "uint8")
    return {
        "unsigned": lambda x: pair_of(net, x, one, [net.constant(119, "uint8")]),
        "signed": lambda x: pair_of(net, x, one, [net.constant(-7, "int8")]),
        "of one number": lambda x: pair_of(net, x, net.constant([0.05]), []),
        "without a zero point": lambda x: pair_of(net, x, one, []),
        "a channel": lambda x: pair_of(net, x, some, [unsigned], axis=1),
        "of the last axis": lambda x: pair_of(
            net, x, net.constant(np.linspace(0.02, 0.3, SIDE)), [], axis=-1
        ),
        "used between": lambda x: pair_of(
            net,
            x,
            one,
            [net.constant(9, "uint8")],
            between=lambda x: net.add("Transpose", x, perm=[0, 1, 3, 2]),
        ),
        "taken for others": lambda x: pair_of(
            net,
            x,
            one,
            [net.constant(9, "uint8")],
            other=(net.constant(0.1), net.constant(2, "uint8")),
        ),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", levels(Net(0)))
def test_a_pair_computes_what_the_operators_are_defined_to_do(name, form):
    net = Net(0, side=SIDE)
    x = net.conv("input", 3, 8, 3, norm=False)
    model = saved(net.model(net.pooled(levels(net)[name](x)), 8), 8, side=SIDE)
    made = export_coreml(model, form=form, precision="float32")
    assert differences(model, made, pixels(4, SIDE), fused=False).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_halves_are_rounded_to_even_levels(form):
    """Every second of the pixels' levels lies in the middle between two of the network's."""
    net = Net(0, side=SIDE)
    x = net.add("Cast", "input", to=TensorProto.FLOAT)
    x = pair_of(net, x, net.constant(2.0), [net.constant(3, "uint8")])
    network = net.model(net.pooled(net.conv(x, 3, 8, 3, norm=False)), 8)
    network.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model = saved(network, 8, side=SIDE, scale=0.01, dtype="uint8")
    made = export_coreml(model, form=form, precision="float32")
    assert differences(model, made, pixels(4, SIDE), fused=False).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_what_is_beyond_the_range_stops_at_its_end(form):
    net = Net(0, side=SIDE)
    x = net.conv("input", 3, 8, 3, norm=False)
    x = pair_of(net, x, net.constant(0.002), [net.constant(100, "uint8")])
    model = saved(net.model(net.pooled(x), 8), 8, side=SIDE)
    made = export_coreml(model, form=form, precision="float32")
    assert differences(model, made, pixels(4, SIDE), fused=False).max() < 1e-5


# -- refusals ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "opset", "numbers", "words"),
    [
        ("QuantizeLinear", 21, (0.1, (3, "uint16")), "activations of uint16"),
        ("QuantizeLinear", 17, (0.0, (3, "uint8")), "a scale that is not above 0"),
        ("QuantizeLinear", 17, ("pixels", None), "depends on the image"),
    ],
)
def test_what_core_ml_cannot_round_is_named(kind, opset, numbers, words):
    net = Net(0, opset=opset, side=SIDE)
    x = net.conv("input", 3, 8, 3, norm=False)
    scale, zero_point = numbers
    if scale == "pixels":
        scale = net.add("ReduceMax", net.add("Abs", x), keepdims=0)
    else:
        scale = net.constant(scale)
    inputs = [scale] if zero_point is None else [scale, net.constant(*zero_point)]
    x = net.add(kind, x, *inputs)
    x = net.add("DequantizeLinear", x, *inputs)
    with pytest.raises(ExportError, match=words) as caught:
        export_coreml(saved(net.model(net.pooled(x), 8), 8, side=SIDE))
    assert caught.value.code == "unsupported_operator"


def test_operators_on_whole_numbers_are_refused_with_the_way_out():
    network = eight_bit(residual(SIDE), quant_format=QuantFormat.QOperator)
    with pytest.raises(ExportError, match=r"QLinearConv.*use the network's QDQ form"):
        export_coreml(saved(network, FEATURES, side=SIDE))
