"""Random networks of well-known shapes: they cost what the real ones cost, and need no file.

The shapes follow the papers (MobileNetV2, MobileNetV3-small, ResNet-18), batch normalisation folded
into the convolutions, up to the global pooling: what a feature extractor runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NETWORKS", "mobilenet_v2", "mobilenet_v3_small", "resnet18"]

_PREPROCESSING = {
    "size": 224,
    "layout": "nchw",
    "dtype": "float32",
    "color": "rgb",
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "resample": "bilinear_antialias",
    "crop": "center_crop",
}


class _Net:
    """A chain of nodes with He-scaled random weights from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def conv(
        self, x: str, c_in: int, c_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> str:
        fan_in = c_in // groups * kernel * kernel
        shape = (c_out, c_in // groups, kernel, kernel)
        weight = self.random.standard_normal(shape) * np.sqrt(2 / fan_in)
        return self.add(
            "Conv",
            x,
            self.constant(weight.astype(np.float32)),
            self.constant(np.zeros(c_out, np.float32)),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def relu6(self, x: str) -> str:
        bounds = (self.constant(np.array(bound, np.float32)) for bound in (0, 6))
        return self.add("Clip", x, *bounds)

    def squeeze_excite(self, x: str, channels: int) -> str:
        small = max(8, (channels // 4 + 4) // 8 * 8)
        pooled = self.add("GlobalAveragePool", x)
        gate = self.add("Relu", self.conv(pooled, channels, small, kernel=1))
        gate = self.add("HardSigmoid", self.conv(gate, small, channels, kernel=1), alpha=1 / 6)
        return self.add("Mul", x, gate)

    def model(self, last: str, channels: int) -> onnx.ModelProto:
        pooled = self.add("GlobalAveragePool", last)
        self.nodes.append(helper.make_node("Flatten", [pooled], ["embedding"]))
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", channels])],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(made, {"eyespot.preprocessing": json.dumps(_PREPROCESSING)})
        return made


def resnet18(seed: int = 0) -> onnx.ModelProto:
    """Return ResNet-18 (1.8 G multiply-adds, 11.2 M weights, 512 features)."""
    net = _Net(seed)
    x = net.add("Relu", net.conv("input", 3, 64, kernel=7, stride=2))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c_in = 64
    for c_out, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            y = net.add("Relu", net.conv(x, c_in, c_out, stride=stride))
            y = net.conv(y, c_out, c_out)
            if stride != 1 or c_in != c_out:
                x = net.conv(x, c_in, c_out, kernel=1, stride=stride)
            x = net.add("Relu", net.add("Add", x, y))
            c_in = c_out
    return net.model(x, 512)


def mobilenet_v2(seed: int = 0) -> onnx.ModelProto:
    """Return MobileNetV2 1.0 (0.3 G multiply-adds, 2.2 M weights, 1280 features)."""
    net = _Net(seed)
    x = net.relu6(net.conv("input", 3, 32, stride=2))
    c_in = 32
    for expand, c_out, repeats, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            wide = c_in * expand
            y = x if expand == 1 else net.relu6(net.conv(x, c_in, wide, kernel=1))
            y = net.relu6(net.conv(y, wide, wide, stride=stride, groups=wide))
            y = net.conv(y, wide, c_out, kernel=1)
            x = net.add("Add", x, y) if stride == 1 and c_in == c_out else y
            c_in = c_out
    return net.model(net.relu6(net.conv(x, c_in, 1280, kernel=1)), 1280)


def mobilenet_v3_small(seed: int = 0) -> onnx.ModelProto:
    """Return MobileNetV3-small 1.0 (0.06 G multiply-adds, 0.9 M weights, 576 features)."""
    net = _Net(seed)

    def hard_swish(x: str) -> str:
        return net.add("HardSwish", x)

    def relu(x: str) -> str:
        return net.add("Relu", x)

    x = hard_swish(net.conv("input", 3, 16, stride=2))
    c_in = 16
    for kernel, wide, c_out, excite, act, stride in (
        (3, 16, 16, True, relu, 2),
        (3, 72, 24, False, relu, 2),
        (3, 88, 24, False, relu, 1),
        (5, 96, 40, True, hard_swish, 2),
        (5, 240, 40, True, hard_swish, 1),
        (5, 240, 40, True, hard_swish, 1),
        (5, 120, 48, True, hard_swish, 1),
        (5, 144, 48, True, hard_swish, 1),
        (5, 288, 96, True, hard_swish, 2),
        (5, 576, 96, True, hard_swish, 1),
        (5, 576, 96, True, hard_swish, 1),
    ):
        y = x if wide == c_in else act(net.conv(x, c_in, wide, kernel=1))
        y = act(net.conv(y, wide, wide, kernel=kernel, stride=stride, groups=wide))
        y = net.squeeze_excite(y, wide) if excite else y
        y = net.conv(y, wide, c_out, kernel=1)
        x = net.add("Add", x, y) if stride == 1 and c_in == c_out else y
        c_in = c_out
    return net.model(hard_swish(net.conv(x, c_in, 576, kernel=1)), 576)


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
}
