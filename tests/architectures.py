"""Small random networks in the shapes that exporters of torchvision's models give them.

Each has the operators and the wiring of its model at a fraction of the width and depth: channel
shuffles as reshape-transpose-reshape, squeeze-and-excite gates, attention spelt out, window
partitions of six dimensions, shape arithmetic left to the run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 32
FEATURES = 24


class Net:
    """A graph in the making: `add` appends a node, and most methods return the name of a value."""

    def __init__(self, seed: int, *, opset: int = 17, side: int = SIDE) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.side = side
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: object, dtype: str = "float32") -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, "int64")

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: object):
        start = f"v{len(self.nodes)}"
        names = [start] if outputs == 1 else [f"{start}_{k}" for k in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=f"/{start}", **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int, fan_in: int | None = None) -> str:
        fan_in = fan_in or int(np.prod(shape[1:]))
        return self.constant(self.random.standard_normal(shape) * np.sqrt(2 / fan_in))

    def conv(self, x, c_in, c_out, kernel=3, stride=1, groups=1, *, norm=True, pad=None):
        """A convolution, with batch normalisation left as a node of its own or without."""
        pad = kernel // 2 if pad is None else pad
        weight = self.weight(c_out, c_in // groups, kernel, kernel)
        bias = [] if norm else [self.constant(self.random.normal(0, 0.1, c_out))]
        y = self.add(
            "Conv",
            x,
            weight,
            *bias,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            group=groups,
        )
        return self.batch_norm(y, c_out) if norm else y

    def batch_norm(self, x, channels):
        draw = self.random
        values = (
            draw.uniform(0.7, 1.3, channels),
            draw.normal(0, 0.1, channels),
            draw.normal(0, 0.1, channels),
            draw.uniform(0.7, 1.3, channels),
        )
        return self.add("BatchNormalization", x, *map(self.constant, values), epsilon=1e-3)

    def relu(self, x):
        return self.add("Relu", x)

    def relu6(self, x):
        return self.add("Clip", x, self.constant(0.0), self.constant(6.0))

    def silu(self, x):
        return self.add("Mul", x, self.add("Sigmoid", x))

    def hard_swish(self, x):
        return self.add("HardSwish", x)

    def linear(self, x, n_in, n_out):
        """A layer on tokens, as exporters write it: MatMul and Add."""
        weight = self.constant(self.random.standard_normal((n_in, n_out)) * np.sqrt(1 / n_in))
        bias = self.constant(self.random.normal(0, 0.1, n_out))
        return self.add("Add", bias, self.add("MatMul", x, weight))

    def layer_norm(self, x, channels):
        gamma = self.constant(self.random.uniform(0.7, 1.3, channels))
        beta = self.constant(self.random.normal(0, 0.1, channels))
        return self.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-6)

    def gelu(self, x):
        """The error function's form, which exporters before opset 20 spell out."""
        inner = self.add("Erf", self.add("Div", x, self.constant(np.sqrt(2))))
        sum_ = self.add("Add", inner, self.constant(1.0))
        return self.add("Mul", self.add("Mul", x, sum_), self.constant(0.5))

    def max_pool(self, x, kernel=3, stride=2, pad=0, **options):
        return self.add(
            "MaxPool",
            x,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            **options,
        )

    def gate(self, x, channels, small, last="Sigmoid", inner="Relu"):
        """Squeeze and excite."""
        y = self.add("GlobalAveragePool", x)
        y = self.conv(y, channels, small, 1, norm=False)
        y = self.add(inner, y) if inner == "Relu" else self.silu(y)
        y = self.conv(y, small, channels, 1, norm=False)
        options = {"alpha": 1 / 6} if last == "HardSigmoid" else {}
        return self.add("Mul", x, self.add(last, y, **options))

    def pooled(self, x):
        return self.add("Flatten", self.add("GlobalAveragePool", x))

    def model(self, last: str, features: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [last], ["embedding"])],
            "random",
            [
                helper.make_tensor_value_info(
                    "input", TensorProto.FLOAT, ["N", 3, self.side, self.side]
                )
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", features])],
            self.constants,
        )
        opset = helper.make_opsetid("", self.opset)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def alexnet() -> onnx.ModelProto:
    net = Net(1)
    x = net.relu(net.conv("input", 3, 16, 5, 2, norm=False))
    x = net.max_pool(net.add("LRN", x, size=5, alpha=1e-2, beta=0.75, bias=2.0))
    x = net.max_pool(net.relu(net.conv(x, 16, 32, norm=False)))
    x = net.add("Dropout", net.add("Flatten", x))
    weight = net.weight(FEATURES, 32 * 9)
    bias = net.constant(np.zeros(FEATURES))
    return net.model(net.relu(net.add("Gemm", x, weight, bias, transB=1)), FEATURES)


def vgg() -> onnx.ModelProto:
    net = Net(2)
    x, c_in = "input", 3
    for c_out in (8, 16, 32):
        x = net.relu(net.conv(x, c_in, c_out))
        x = net.max_pool(net.relu(net.conv(x, c_out, c_out, norm=False)), 2)
        c_in = c_out
    # Adaptive pooling to the same size, and a reshape whose size is computed when it runs.
    batch = net.add("Gather", net.add("Shape", x), net.constant(0, "int64"), axis=0)
    batch = net.add("Unsqueeze", batch, net.integers(0))
    x = net.add("Reshape", x, net.add("Concat", batch, net.integers(-1), axis=0))
    weight, bias = net.weight(FEATURES, 32 * 16), net.constant(np.zeros(FEATURES))
    return net.model(net.relu(net.add("Gemm", x, weight, bias, transB=1)), FEATURES)


def googlenet() -> onnx.ModelProto:
    net = Net(3)
    x = net.relu(net.conv("input", 3, 16, 7, 2))
    x = net.max_pool(x, ceil_mode=1)
    for c_in in (16, 32):
        branches = [
            net.relu(net.conv(x, c_in, 8, 1)),
            net.relu(net.conv(net.relu(net.conv(x, c_in, 8, 1)), 8, 8)),
            net.relu(net.conv(net.relu(net.conv(x, c_in, 4, 1)), 4, 8, 5)),
            net.relu(net.conv(net.max_pool(x, 3, 1, 1, ceil_mode=1), c_in, 8, 1)),
        ]
        x = net.add("Concat", *branches, axis=1)
        x = net.max_pool(x, ceil_mode=1)
    return net.model(net.pooled(x), 32)


def squeezenet() -> onnx.ModelProto:
    net = Net(4)
    x = net.max_pool(net.relu(net.conv("input", 3, 16, 3, 2, norm=False, pad=0)), ceil_mode=1)
    for c_in, small, wide in ((16, 8, 16), (32, 8, 16)):
        s = net.relu(net.conv(x, c_in, small, 1, norm=False))
        left = net.relu(net.conv(s, small, wide, 1, norm=False))
        right = net.relu(net.conv(s, small, wide, 3, norm=False))
        x = net.add("Concat", left, right, axis=1)
    x = net.relu(net.conv(net.max_pool(x, ceil_mode=1), 32, FEATURES, 1, norm=False))
    return net.model(net.pooled(x), FEATURES)


def _bottlenecks(seed: int, *, groups: int, wide: int, excite: bool = False) -> onnx.ModelProto:
    net = Net(seed)
    x = net.max_pool(net.relu(net.conv("input", 3, 16, 7, 2)), 3, 2, 1)
    c_in = 16
    for c_out, stride in ((32, 1), (48, 2)):
        y = net.relu(net.conv(x, c_in, wide, 1))
        y = net.relu(net.conv(y, wide, wide, 3, stride, groups))
        y = net.gate(y, wide, 8) if excite else y
        y = net.conv(y, wide, c_out, 1)
        x = net.relu(net.add("Add", y, net.conv(x, c_in, c_out, 1, stride)))
        c_in = c_out
    return net.model(net.pooled(x), 48)


def resnet() -> onnx.ModelProto:
    net = Net(5)
    x = net.max_pool(net.relu(net.conv("input", 3, 16, 7, 2)), 3, 2, 1)
    for c_in, c_out, stride in ((16, 16, 1), (16, 32, 2), (32, 32, 1)):
        y = net.conv(net.relu(net.conv(x, c_in, c_out, 3, stride)), c_out, c_out)
        x = x if c_in == c_out else net.conv(x, c_in, c_out, 1, stride)
        x = net.relu(net.add("Add", y, x))
    mean = net.add("ReduceMean", x, axes=[-1, -2], keepdims=0)
    return net.model(mean, 32)


def wide_resnet() -> onnx.ModelProto:
    return _bottlenecks(6, groups=1, wide=48)


def resnext() -> onnx.ModelProto:
    return _bottlenecks(7, groups=8, wide=32)


def regnet() -> onnx.ModelProto:
    return _bottlenecks(8, groups=4, wide=32, excite=True)


def densenet() -> onnx.ModelProto:
    net = Net(9)
    x = net.max_pool(net.relu(net.conv("input", 3, 16, 7, 2)), 3, 2, 1)
    parts, channels = [x], 16
    for _ in range(2):
        for _ in range(2):
            joined = net.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
            y = net.conv(net.relu(net.batch_norm(joined, channels)), channels, 16, 1)
            y = net.add("Conv", net.relu(y), net.weight(8, 16, 3, 3), pads=[1] * 4)
            parts.append(y)
            channels += 8
        x = net.add("Concat", *parts, axis=1)
        y = net.add("Conv", net.relu(net.batch_norm(x, channels)), net.weight(16, channels, 1, 1))
        x = net.add("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
        parts, channels = [x], 16
    return net.model(net.pooled(net.relu(net.batch_norm(x, 16))), 16)


def _inverted(net: Net, x, c_in, wide, c_out, stride, act, *, kernel=3, gate=None):
    y = act(net.conv(x, c_in, wide, 1)) if wide != c_in else x
    y = act(net.conv(y, wide, wide, kernel, stride, wide))
    y = gate(y, wide) if gate else y
    y = net.conv(y, wide, c_out, 1)
    return net.add("Add", x, y) if stride == 1 and c_in == c_out else y


def mobilenet_v2() -> onnx.ModelProto:
    net = Net(10)
    x = net.relu6(net.conv("input", 3, 16, 3, 2))
    for c_in, c_out, stride in ((16, 16, 1), (16, 24, 2), (24, 24, 1)):
        x = _inverted(net, x, c_in, c_in * 3, c_out, stride, net.relu6)
    return net.model(net.pooled(net.relu6(net.conv(x, 24, 48, 1))), 48)


def mobilenet_v3() -> onnx.ModelProto:
    net = Net(11)

    def gate(y, channels):
        return net.gate(y, channels, 8, "HardSigmoid")

    x = net.hard_swish(net.conv("input", 3, 16, 3, 2))
    x = _inverted(net, x, 16, 16, 16, 2, net.relu, gate=gate)
    x = _inverted(net, x, 16, 48, 24, 1, net.hard_swish, kernel=5, gate=gate)
    x = _inverted(net, x, 24, 48, 24, 1, net.hard_swish, kernel=5, gate=gate)
    return net.model(net.pooled(net.hard_swish(net.conv(x, 24, 48, 1))), 48)


def mnasnet() -> onnx.ModelProto:
    net = Net(12)
    x = net.relu(net.conv("input", 3, 16, 3, 2))
    x = net.conv(net.relu(net.conv(x, 16, 16, 3, 1, 16)), 16, 8, 1)
    for c_in, c_out, kernel, stride in ((8, 16, 3, 2), (16, 16, 5, 1)):
        x = _inverted(net, x, c_in, c_in * 3, c_out, stride, net.relu, kernel=kernel)
    mean = net.add("ReduceMean", net.relu(net.conv(x, 16, 32, 1)), axes=[2, 3], keepdims=0)
    return net.model(mean, 32)


def efficientnet() -> onnx.ModelProto:
    net = Net(13)

    def gate(y, channels):
        return net.gate(y, channels, 4, inner="silu")

    x = net.silu(net.conv("input", 3, 16, 3, 2))
    x = _inverted(net, x, 16, 16, 8, 1, net.silu, gate=gate)
    x = _inverted(net, x, 8, 32, 16, 2, net.silu, kernel=5, gate=gate)
    x = _inverted(net, x, 16, 48, 16, 1, net.silu, gate=gate)
    return net.model(net.pooled(net.silu(net.conv(x, 16, 48, 1))), 48)


def shufflenet_v2() -> onnx.ModelProto:
    net = Net(14)

    def branch(y, c_in, stride):
        y = net.relu(net.conv(y, c_in, 12, 1))
        return net.relu(net.conv(net.conv(y, 12, 12, 3, stride, 12), 12, 12, 1))

    def shuffle(y):
        y = net.add("Reshape", y, net.integers(0, 2, 12, 8, 8))
        y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
        return net.add("Reshape", y, net.integers(0, -1, 8, 8))

    x = net.relu(net.conv("input", 3, 12, 3, 2))
    left = net.relu(net.conv(net.conv(x, 12, 12, 3, 2, 12), 12, 12, 1))
    x = shuffle(net.add("Concat", left, branch(x, 12, 2), axis=1))
    left, right = net.add("Split", x, net.integers(12, 12), outputs=2, axis=1)
    x = shuffle(net.add("Concat", left, branch(right, 12, 1), axis=1))
    mean = net.add("ReduceMean", net.relu(net.conv(x, 24, 32, 1)), axes=[2, 3], keepdims=0)
    return net.model(mean, 32)


def convnext() -> onnx.ModelProto:
    net = Net(15)
    x = net.conv("input", 3, 16, 4, 4, norm=False, pad=0)
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    x = net.add("Transpose", net.layer_norm(x, 16), perm=[0, 3, 1, 2])
    for _ in range(2):
        y = net.conv(x, 16, 16, 7, 1, 16, norm=False)
        y = net.layer_norm(net.add("Transpose", y, perm=[0, 2, 3, 1]), 16)
        y = net.linear(net.gelu(net.linear(y, 16, 48)), 48, 16)
        y = net.add("Transpose", y, perm=[0, 3, 1, 2])
        scale = net.constant(net.random.uniform(0.2, 1, (16, 1, 1)))
        x = net.add("Add", net.add("Mul", y, scale), x)
    x = net.add("GlobalAveragePool", x)
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    return net.model(net.add("Flatten", net.layer_norm(x, 16)), 16)


def _attention(net: Net, x, width, heads, tokens, *, windows=1):
    """Self-attention spelt out: one projection to three, split by Gather, scaled, softmax."""
    qkv = net.linear(x, width, 3 * width)
    shape = net.integers(windows, tokens, 3, heads, width // heads)
    qkv = net.add("Transpose", net.add("Reshape", qkv, shape), perm=[2, 0, 3, 1, 4])
    query, key, value = (
        net.add("Gather", qkv, net.constant(part, "int64"), axis=0) for part in range(3)
    )
    query = net.add("Mul", query, net.constant((width // heads) ** -0.5))
    scores = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 1, 3, 2]))
    mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), value)
    mixed = net.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = net.add("Reshape", mixed, net.integers(windows, tokens, width))
    return net.linear(mixed, width, width)


def vit() -> onnx.ModelProto:
    net = Net(16)
    x = net.conv("input", 3, 24, 8, 8, norm=False, pad=0)
    shape = net.add("Shape", x)
    head = net.add("Slice", shape, net.integers(0), net.integers(2), net.integers(0))
    x = net.add("Reshape", x, net.add("Concat", head, net.integers(-1), axis=0))
    x = net.add("Transpose", x, perm=[0, 2, 1])
    batch = net.add("Gather", shape, net.integers(0), axis=0)
    size = net.add("Concat", batch, net.integers(-1, -1), axis=0)
    size = net.add(
        "Where",
        net.add("Equal", size, net.integers(-1, -1, -1)),
        net.add(
            "ConstantOfShape",
            net.integers(3),
            value=numpy_helper.from_array(np.ones(1, np.int64)),
        ),
        size,
    )
    token = net.add("Expand", net.constant(net.random.normal(0, 1, (1, 1, 24))), size)
    x = net.add("Concat", token, x, axis=1)
    x = net.add("Add", x, net.constant(net.random.normal(0, 0.3, (1, 17, 24))))
    for _ in range(2):
        x = net.add("Add", _attention(net, net.layer_norm(x, 24), 24, 3, 17), x)
        y = net.linear(net.gelu(net.linear(net.layer_norm(x, 24), 24, 48)), 48, 24)
        x = net.add("Add", x, y)
    x = net.add("Gather", net.layer_norm(x, 24), net.constant(0, "int64"), axis=1)
    return net.model(x, 24)


def swin() -> onnx.ModelProto:
    """Shifted windows: rolled by slices, cut and joined again by tensors of six dimensions."""
    net = Net(17)
    x = net.conv("input", 3, 16, 4, 4, norm=False, pad=0)
    x = net.layer_norm(net.add("Transpose", x, perm=[0, 2, 3, 1]), 16)
    ends = net.integers(2**63 - 1)
    for shift in (0, 2):
        y = net.layer_norm(x, 16)
        for axis in (1, 2) if shift else ():
            last = net.add("Slice", y, net.integers(shift), ends, net.integers(axis))
            first = net.add("Slice", y, net.integers(0), net.integers(shift), net.integers(axis))
            y = net.add("Concat", last, first, axis=axis)
        y = net.add("Reshape", y, net.integers(1, 2, 4, 2, 4, 16))
        y = net.add("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
        y = net.add("Reshape", y, net.integers(4, 16, 16))
        y = _attention(net, y, 16, 2, 16, windows=4)
        y = net.add("Reshape", y, net.integers(1, 2, 2, 4, 4, 16))
        y = net.add("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
        y = net.add("Reshape", y, net.integers(1, 8, 8, 16))
        x = net.add("Add", x, y)
    x = net.add("Transpose", net.layer_norm(x, 16), perm=[0, 3, 1, 2])
    return net.model(net.pooled(x), 16)


ARCHITECTURES: dict[str, Callable[[], onnx.ModelProto]] = {
    make.__name__: make
    for make in (
        alexnet,
        convnext,
        densenet,
        efficientnet,
        googlenet,
        mnasnet,
        mobilenet_v2,
        mobilenet_v3,
        regnet,
        resnet,
        resnext,
        shufflenet_v2,
        squeezenet,
        swin,
        vgg,
        vit,
        wide_resnet,
    )
}
