"""Tiny ONNX networks with seeded random weights, so that tests need no downloaded model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

_ELEMENT = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
}


@dataclasses.dataclass(kw_only=True)
class Tiny:
    """One small network: Conv (stride 4) -> Relu -> what `head` says.

    `height`, `width`, `batch` and `channels` may be an int, a symbolic name, or None (no size).
    `outputs` names graph outputs among ``map`` (4-D feature map after Relu, NCHW), ``map_nhwc``,
    ``pooled`` (N, F, 1, 1), ``embedding`` (N, F), ``logits`` (N, 5), ``tokens`` (N, T, F),
    ``five`` (N, F, h, w, 1), ``scalar`` (N,), ``half`` (N, F) of float16, ``label`` int64 (N,).
    """

    layout: str = "nchw"
    dtype: str = "float32"
    batch: object = "N"
    height: object = 16
    width: object = 16
    features: int = 6
    channels: object = 3
    outputs: tuple[str, ...] = ("embedding",)
    opset: int = 17
    seed: int = 0
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    weight_scale: float = 1.0
    extra_input: bool = False
    rank: int = 4
    hard_batch_one: bool = False
    dead_weights: int = 0

    def model(self) -> onnx.ModelProto:
        random = np.random.default_rng(self.seed)
        nodes, weights = [], []

        def constant(name, values):
            weights.append(numpy_helper.from_array(np.asarray(values), name))
            return name

        def add(op, inputs, output, **attributes):
            nodes.append(helper.make_node(op, inputs, [output], name=f"n_{output}", **attributes))
            return output

        x = "input"
        if self.dtype in {"uint8", "float16"}:
            x = add("Cast", [x], "as_float", to=TensorProto.FLOAT)
        if self.dtype == "uint8":
            x = add("Mul", [x, constant("per_level", np.float32(1 / 255))], "unit")
        if self.layout == "nhwc":
            x = add("Transpose", [x], "as_nchw", perm=[0, 3, 1, 2])
        kernel = random.standard_normal((self.features, 3, 4, 4)) * self.weight_scale
        bias = random.standard_normal(self.features)
        x = add(
            "Conv",
            [
                x,
                constant("kernel", kernel.astype(np.float32)),
                constant("bias", bias.astype(np.float32)),
            ],
            "conv",
            kernel_shape=[4, 4],
            strides=[4, 4],
        )
        feature_map = add("Relu", [x], "map")
        add("Transpose", [feature_map], "map_nhwc", perm=[0, 2, 3, 1])
        add("GlobalAveragePool", [feature_map], "pooled")
        if self.hard_batch_one:
            shape = constant("one_row", np.array([1, self.features], np.int64))
            add("Reshape", ["pooled", shape], "embedding")
        else:
            add("Flatten", ["pooled"], "embedding", axis=1)
        head = random.standard_normal((self.features, 5)).astype(np.float32)
        add("MatMul", ["embedding", constant("head", head)], "logits")
        flat = constant("token_shape", np.array([0, self.features, -1], np.int64))
        add("Transpose", [add("Reshape", [feature_map, flat], "ftok")], "tokens", perm=[0, 2, 1])
        five = constant("five_shape", np.array([0, 0, 0, -1, 1], np.int64))
        add("Reshape", [feature_map, five], "five")
        add("Reshape", ["embedding", constant("flat_shape", np.array([-1], np.int64))], "scalar")
        add("Cast", ["embedding"], "half", to=TensorProto.FLOAT16)
        add("ArgMax", ["logits"], "label", axis=1, keepdims=0)
        for i in range(self.dead_weights):
            add("Add", ["embedding", constant(f"dead_{i}", np.ones(self.features, "f4"))], f"d{i}")

        image = [self.batch, self.channels, self.height, self.width]
        if self.layout == "nhwc":
            image = [self.batch, self.height, self.width, self.channels]
        elements = {"half": TensorProto.FLOAT16, "label": TensorProto.INT64}
        ranks = {"map": 4, "map_nhwc": 4, "pooled": 4, "tokens": 3, "five": 5, "scalar": 1}
        ranks |= {"label": 1}
        inputs = [helper.make_tensor_value_info("input", _ELEMENT[self.dtype], image[: self.rank])]
        if self.extra_input:
            inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 1]))
        graph = helper.make_graph(
            nodes,
            "tiny",
            inputs,
            [
                helper.make_tensor_value_info(
                    name,
                    elements.get(name, TensorProto.FLOAT),
                    [None] * ranks.get(name, 2),
                )
                for name in self.outputs
            ],
            weights,
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )
        helper.set_model_props(made, dict(self.metadata))
        return made

    def save(self, path: Path) -> Path:
        path.write_bytes(self.model().SerializeToString())
        return path


def tiny(path: Path, **options: object) -> Path:
    """Write one `Tiny` network to `path` and return the path."""
    return Tiny(**options).save(path)
