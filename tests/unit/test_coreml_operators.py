"""Each operator of the translation on its own, against ONNX Runtime, in both kinds of file.

A case is a branch of a graph; all branches of one operator set share a model, so that a conversion
serves many. What a branch makes is a stretch of the features that a pipeline's extractor gives.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from architectures import Net
from saved_models import pixels, saved

if find_spec("coremltools") is None:
    pytest.skip("needs eyespot[coreml]", allow_module_level=True)

from eyespot.export.coreml import export_coreml
from eyespot.export.coreml.reading import parse
from eyespot.export.coreml.runner import _interpreter

SIDE = 12
FORMS = ("mlpackage", "mlmodel")


def draw(*shape, seed=5):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


# What a case may start from: images of 6 channels and 9 x 11 pixels, or of 10 x 12; 8 channels of
# 3 x 4; a row of 7; positive numbers.
STEMS = ("x", "even", "deep", "row", "positive")
X = (1, 6, 9, 11)

# name: (operator, constants after the first input (None is left out), attributes, opset[, stem])
CASES = {
    "abs": ("Abs", [], {}, 13),
    "add": ("Add", [draw(6, 1, 1)], {}, 14),
    "average_pool": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1] * 4}, 17),
    "average_pool_ceil": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        17,
        "even",
    ),
    "average_pool_ceil_counting_its_padding": (
        "AveragePool",
        [],
        {
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "ceil_mode": 1,
            "pads": [1] * 4,
            "count_include_pad": 1,
        },
        19,
        "even",
    ),
    "average_pool_counting_its_padding": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
        17,
    ),
    "average_pool_same_upper": (
        "AveragePool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        17,
        "even",
    ),
    "batch_norm": (
        "BatchNormalization",
        [draw(6), draw(6), draw(6), np.abs(draw(6)) + 0.5],
        {"epsilon": 1e-3},
        17,
    ),
    "batch_norm_of_a_row": (
        "BatchNormalization",
        [draw(7), draw(7), draw(7), np.abs(draw(7)) + 0.5],
        {"epsilon": 1e-3},
        17,
        "row",
    ),
    "ceil": ("Ceil", [], {}, 13),
    "clip_between": ("Clip", [np.float32(-0.5), np.float32(0.7)], {}, 13),
    "clip_from_below": ("Clip", [np.float32(-0.5)], {}, 13),
    "clip_from_above": ("Clip", [None, np.float32(0.5)], {}, 13),
    "clip_six_by_attributes": ("Clip", [], {"min": 0.0, "max": 6.0}, 9),
    "conv_asymmetric": ("Conv", [draw(8, 6, 3, 3), draw(8)], {"pads": [0, 1, 2, 1]}, 17),
    "conv_depthwise": ("Conv", [draw(12, 1, 3, 3), draw(12)], {"group": 6, "pads": [1] * 4}, 17),
    "conv_dilated_in_groups": (
        "Conv",
        [draw(6, 2, 3, 3)],
        {"group": 3, "dilations": [2, 2], "pads": [2] * 4},
        17,
    ),
    "conv_same_lower": (
        "Conv",
        [draw(8, 6, 4, 4)],
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        17,
    ),
    "conv_same_upper": (
        "Conv",
        [draw(8, 6, 3, 3)],
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        17,
    ),
    "depth_to_space": ("DepthToSpace", [], {"blocksize": 2, "mode": "DCR"}, 13, "deep"),
    "depth_to_space_crd": ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}, 13, "deep"),
    "div": ("Div", [np.abs(draw(6, 1, 1)) + 3], {}, 14),
    "dropout": ("Dropout", [], {}, 13),
    "elu": ("Elu", [], {"alpha": 0.7}, 9),
    "erf": ("Erf", [], {}, 13),
    "exp": ("Exp", [], {}, 13),
    "expand": ("Expand", [whole(2, 1, 6, 9, 11)], {}, 13),
    "flatten": ("Flatten", [], {"axis": 2}, 13),
    "flatten_from_the_end": ("Flatten", [], {"axis": -1}, 13),
    "floor": ("Floor", [], {}, 13),
    "gather": ("Gather", [whole(-1, 0, 2)], {"axis": 1}, 13),
    "gather_one": ("Gather", [np.int64(-2)], {"axis": 1}, 13),
    "gelu": ("Gelu", [], {}, 20),
    "gelu_by_tanh": ("Gelu", [], {"approximate": "tanh"}, 20),
    "gemm": ("Gemm", [draw(7, 5), draw(5)], {"alpha": 0.5, "beta": 2.0}, 13, "row"),
    "gemm_without_bias": ("Gemm", [draw(5, 7)], {"transB": 1}, 13, "row"),
    "global_average_pool": ("GlobalAveragePool", [], {}, 17),
    "global_max_pool": ("GlobalMaxPool", [], {}, 17),
    "hard_sigmoid": ("HardSigmoid", [], {"alpha": 0.25, "beta": 0.4}, 9),
    "hard_swish": ("HardSwish", [], {}, 17),
    "identity": ("Identity", [], {}, 13),
    "instance_norm": ("InstanceNormalization", [draw(6), draw(6)], {}, 17),
    "layer_norm_of_two_sides": (
        "LayerNormalization",
        [draw(9, 11), draw(9, 11)],
        {"axis": 2},
        17,
    ),
    "layer_norm": ("LayerNormalization", [draw(11)], {"axis": -1, "epsilon": 1e-3}, 17),
    "leaky_relu": ("LeakyRelu", [], {"alpha": 0.3}, 17),
    "log": ("Log", [], {}, 13, "positive"),
    "lrn": ("LRN", [], {"size": 5, "alpha": 1e-2, "beta": 0.75, "bias": 2.0}, 13),
    "matmul": ("MatMul", [draw(11, 4)], {}, 13),
    "max_broadcast": ("Max", [draw(1), draw(6, 1, 1)], {}, 13),
    "max_pool_asymmetric": (
        "MaxPool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
        17,
    ),
    "max_pool_ceil": (
        "MaxPool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        17,
        "even",
    ),
    "max_pool_ceil_padded": (
        "MaxPool",
        [],
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1] * 4},
        17,
    ),
    "mean_of_three": ("Mean", [draw(*X), draw(6, 1, 1)], {}, 13),
    "min": ("Min", [draw(6, 1, 1)], {}, 13),
    "mish": ("Mish", [], {}, 18),
    "mul": ("Mul", [draw(11)], {}, 14),
    "neg": ("Neg", [], {}, 13),
    "pad_constant": ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5)], {}, 13),
    "pad_edge": ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 1)], {"mode": "edge"}, 13),
    "pad_reflect": ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 1)], {"mode": "reflect"}, 13),
    "pad_of_named_axes": ("Pad", [whole(1, 2, 3, 4), None, whole(-1, 2)], {}, 18),
    "pad_by_attributes": ("Pad", [], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}, 9),
    "pow": ("Pow", [np.float32(2)], {}, 15),
    "prelu": ("PRelu", [draw(6, 1, 1)], {}, 16),
    "prelu_of_one_slope": ("PRelu", [draw(1)], {}, 16),
    "reciprocal": ("Reciprocal", [], {}, 13, "positive"),
    "reduce_l2": ("ReduceL2", [whole(1)], {"keepdims": 1}, 18),
    "reduce_max": ("ReduceMax", [whole(2, 3)], {"keepdims": 0}, 18),
    "reduce_mean": ("ReduceMean", [whole(-1, -2)], {"keepdims": 0}, 18),
    "reduce_mean_by_attributes": ("ReduceMean", [], {"axes": [-1, -2], "keepdims": 0}, 13),
    "reduce_min": ("ReduceMin", [whole(1)], {"keepdims": 1}, 18),
    "reduce_sum": ("ReduceSum", [whole(1, 3)], {"keepdims": 1}, 13),
    "reduce_sum_of_all": ("ReduceSum", [], {"keepdims": 1}, 13),
    "relu": ("Relu", [], {}, 14),
    "reshape": ("Reshape", [whole(0, 2, 3, -1)], {}, 13),
    "resize_bilinear": ("Resize", [None, None, whole(1, 6, 20, 15)], {"mode": "linear"}, 13),
    "resize_bilinear_aligned": (
        "Resize",
        [None, None, whole(1, 6, 20, 15)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        13,
    ),
    "resize_bilinear_asymmetric": (
        "Resize",
        [None, None, whole(1, 6, 18, 22)],
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        13,
    ),
    "resize_nearest": (
        "Resize",
        [None, np.float32([1, 1, 2, 3])],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
        13,
    ),
    "resize_nearest_half_pixel": (
        "Resize",
        [None, np.float32([1, 1, 2, 2])],
        {"mode": "nearest"},
        13,
    ),
    "upsample": ("Upsample", [np.float32([1, 1, 2, 2])], {"mode": "nearest"}, 9),
    "sigmoid": ("Sigmoid", [], {}, 13),
    "slice_backwards": (
        "Slice",
        [whole(-1, 8), whole(-100, 1), whole(3, 2), whole(-2, -3)],
        {},
        13,
    ),
    "slice_to_the_end": ("Slice", [whole(2), whole(2**63 - 1), whole(-1)], {}, 13),
    "slice_in_steps": ("Slice", [whole(0, 1), whole(9, 10), whole(2, 3), whole(2, 3)], {}, 13),
    "slice_by_attributes": ("Slice", [], {"starts": [1], "ends": [-1], "axes": [3]}, 9),
    "softmax": ("Softmax", [], {"axis": 1}, 13),
    "softmax_of_the_last": ("Softmax", [], {"axis": -1}, 13),
    "softmax_of_old": ("Softmax", [], {"axis": 2}, 9),
    "softplus": ("Softplus", [], {}, 17),
    "softsign": ("Softsign", [], {}, 17),
    "space_to_depth": ("SpaceToDepth", [], {"blocksize": 2}, 13, "even"),
    "split": ("Split", [whole(1, 3, 2)], {"axis": 1}, 13),
    "split_evenly": ("Split", [], {"axis": 2}, 13),
    "sqrt": ("Sqrt", [], {}, 13, "positive"),
    "squeeze": ("Squeeze", [whole(0)], {}, 13),
    "squeeze_all": ("Squeeze", [], {}, 13),
    "sub": ("Sub", [draw(9, 1)], {}, 14),
    "sum_of_three": ("Sum", [draw(*X), draw(6, 1, 1)], {}, 13),
    "tanh": ("Tanh", [], {}, 13),
    "tile": ("Tile", [whole(1, 2, 1, 3)], {}, 13),
    "transpose": ("Transpose", [], {"perm": [0, 3, 1, 2]}, 13),
    "transpose_back": ("Transpose", [], {}, 13),
    "unsqueeze": ("Unsqueeze", [whole(0)], {}, 13),
}
OUTPUTS = {"split": 3, "split_evenly": 3}


def opset_of(name):
    """Return the operator set of the model that holds a case: one a generation of operators."""
    return next(group for group in (9, 13, 17, 20) if group >= CASES[name][3])


def add_case(net, stems, name):
    operator, constants, attributes, _, *stem = CASES[name]
    inputs = [
        "" if values is None else net.constant(values, np.asarray(values).dtype.name)
        for values in constants
    ]
    start = stems[stem[0] if stem else "x"]
    count = OUTPUTS.get(name, 1)
    made = net.add(operator, start, *inputs, outputs=count, **attributes)
    if count > 1:  # in another order, so that a mix-up is seen
        flat = [net.add("Flatten", part, axis=0) for part in made[::-1]]
        return net.add("Concat", *flat, axis=1)
    return net.add("Flatten", made, axis=0)


def network(opset, names):
    net = Net(8, opset=opset, side=SIDE)
    x = net.conv("input", 3, 6, 3, norm=False, pad=0)  # 10 x 10
    even = net.add("Conv", x, net.weight(6, 6, 1, 1), pads=[0, 1, 0, 1])  # 10 x 12
    part = net.add("Conv", even, net.weight(6, 6, 2, 2))
    stems = {"x": part, "even": even}
    stems["deep"] = net.add("Conv", even, net.weight(8, 6, 8, 9))
    stems["row"] = net.add("Flatten", net.add("Conv", even, net.weight(7, 6, 10, 12)))
    stems["positive"] = net.add("Add", net.add("Abs", part), net.constant(0.1))
    parts = [add_case(net, stems, name) for name in names]
    return net, net.add("Concat", *parts, axis=1), parts


@functools.cache
def results(opset, form):
    """Return for each case of an operator set what ONNX Runtime and the Core ML file give."""
    names = [name for name in CASES if opset_of(name) == opset]
    net, features, parts = network(opset, names)
    probe = net.model(features, 1)
    del probe.graph.output[:]
    for name in (features, *parts):
        probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    image = pixels(1, SIDE)
    normal = (image.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    session = onnxruntime.InferenceSession(probe.SerializeToString())
    every, *expected = session.run(None, {"input": normal})
    model = saved(
        net.model(features, every.shape[1]), every.shape[1], side=SIDE, mean=(0,) * 3, std=(1,) * 3
    )
    made = export_coreml(model, form=form, head="glm", precision="float32")
    stored = parse(made.files(), "test")
    extractor = _interpreter(stored, stored.spec.pipelineClassifier.pipeline.models[0])
    planes = image.transpose(0, 3, 1, 2).astype(np.float32)
    got = extractor.run({"image": planes})["features"]
    ends = np.cumsum([part.size for part in expected])[:-1]
    return dict(zip(names, zip(expected, np.split(got, ends), strict=True), strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name, form):
    expected, got = results(opset_of(name), form)[name]
    expected = expected.reshape(-1)
    assert np.ptp(expected) > 0 or expected.size == 1
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
