"""ONNX image networks as PyTorch modules: teachers that run where the training does.

Only what convolutional classifiers are made of; another operator is refused by name. The weights
become parameters, so a network may also be trained further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["OnnxNetwork", "stored_weights"]

Tensors = list["torch.Tensor | None"]


def _pads(attributes: dict[str, Any]) -> tuple[int, ...]:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return left, right, top, bottom


def _conv(x: Tensors, attributes: dict[str, Any]) -> torch.Tensor:
    data, weight, bias = x[0], x[1], x[2] if len(x) > 2 else None
    assert data is not None
    assert weight is not None
    left, right, top, bottom = _pads(attributes)
    if left == right and top == bottom:
        padding = (top, left)
    else:
        data, padding = functional.pad(data, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(
        data,
        weight,
        bias,
        stride=attributes.get("strides", 1),
        padding=padding,
        dilation=attributes.get("dilations", 1),
        groups=attributes.get("group", 1),
    )


def _pool(x: Tensors, attributes: dict[str, Any], *, largest: bool) -> torch.Tensor:
    data = x[0]
    assert data is not None
    pads = _pads(attributes)
    kernel, stride = attributes["kernel_shape"], attributes.get("strides", 1)
    if largest:
        padded = functional.pad(data, pads, value=float("-inf")) if any(pads) else data
        return functional.max_pool2d(padded, kernel, stride, ceil_mode=_ceil(attributes))
    if any(pads):
        message = "an average pooling with padding is not supported"
        raise ValueError(message)
    return functional.avg_pool2d(data, kernel, stride, ceil_mode=_ceil(attributes))


def _ceil(attributes: dict[str, Any]) -> bool:
    return bool(attributes.get("ceil_mode", 0))


def _clip(x: Tensors, attributes: dict[str, Any]) -> torch.Tensor:
    assert x[0] is not None
    low = x[1] if len(x) > 1 else attributes.get("min")
    high = x[2] if len(x) > 2 else attributes.get("max")
    return torch.clamp(x[0], *(float(one) if one is not None else None for one in (low, high)))


def _gemm(x: Tensors, attributes: dict[str, Any]) -> torch.Tensor:
    a, b = x[0], x[1]
    assert a is not None
    assert b is not None
    a = a.T if attributes.get("transA") else a
    b = b if attributes.get("transB") else b.T
    return functional.linear(a, b * attributes.get("alpha", 1.0), x[2] if len(x) > 2 else None)


def _mean(x: Tensors, attributes: dict[str, Any]) -> torch.Tensor:
    axes = attributes.get("axes")
    if axes is None:
        assert x[1] is not None
        axes = x[1].tolist()
    assert x[0] is not None
    return x[0].mean(dim=axes, keepdim=bool(attributes.get("keepdims", 1)))


def _reshape(x: Tensors, attributes: dict[str, Any]) -> torch.Tensor:  # noqa: ARG001
    assert x[0] is not None
    assert x[1] is not None
    shape = [x[0].shape[i] if size == 0 else size for i, size in enumerate(x[1].tolist())]
    return x[0].reshape(shape)


_OPERATORS: Final[dict[str, Callable[[Any, dict[str, Any]], torch.Tensor]]] = {
    "Add": lambda x, _: x[0] + x[1],
    "AveragePool": lambda x, a: _pool(x, a, largest=False),
    "BatchNormalization": lambda x, a: functional.batch_norm(
        x[0], x[3], x[4], x[1], x[2], eps=a.get("epsilon", 1e-5)
    ),
    "Cast": lambda x, _: x[0],  # of weights stored as float16, which are read as float32
    "Clip": _clip,
    "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    "Conv": _conv,
    "Dropout": lambda x, _: x[0],
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, _: x[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda x, _: x[0],
    "MaxPool": lambda x, a: _pool(x, a, largest=True),
    "ReduceMean": _mean,
    "Relu": lambda x, _: functional.relu(x[0]),
    "Reshape": _reshape,
    "Softmax": lambda x, a: x[0].softmax(dim=a.get("axis", 1)),
}


class OnnxNetwork(nn.Module):
    """An ONNX network of one input, as a module.

    Parameters
    ----------
    path : path
        The ONNX file.
    outputs : sequence of str
        The tensors to compute, in the order in which they are returned.

    Raises
    ------
    ValueError
        If the network has an operator that is not known here; the message names it.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        needed = _needed(graph, outputs)
        unknown = sorted({node.op_type for node in needed} - set(_OPERATORS) - {"Constant"})
        if unknown:
            message = f"{path}: cannot run the operators {', '.join(unknown)}"
            raise ValueError(message)
        constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._input = next(one.name for one in graph.input if one.name not in constants)
        self._outputs = tuple(outputs)
        self._steps: list[tuple[str, dict[str, Any], list[str], str]] = []
        self._names: dict[str, str] = {}
        for node in needed:
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            self._steps.append((node.op_type, attributes, list(node.input), node.output[0]))
        used = {name for _, _, inputs, _ in self._steps for name in inputs}
        for index, (name, values) in enumerate(constants.items()):
            if name not in used:
                continue
            tensor = torch.from_numpy(values.copy())
            self._names[name] = f"w{index}"
            if tensor.is_floating_point():
                self.register_parameter(f"w{index}", nn.Parameter(tensor.float()))
            else:
                self.register_buffer(f"w{index}", tensor)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the wanted tensors for float images of shape (n, 3, height, width)."""
        values = {name: getattr(self, place) for name, place in self._names.items()}
        values[self._input] = images
        for operator, attributes, inputs, output in self._steps:
            operands = [values[name] if name else None for name in inputs]
            values[output] = _OPERATORS[operator](operands, attributes)
        return tuple(values[name].flatten(1) for name in self._outputs)


def stored_weights(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a graph as float32, by the names under which its layers use them.

    Weights that are stored as float16, or in 8 bits with a scale, are what casts and products of
    constants, or dequantisations, make of them.
    """
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if not all(name in values for name in node.input):
            continue
        operands = [values[name] for name in node.input]
        if node.op_type == "Cast":
            values[node.output[0]] = operands[0].astype("float32")
        elif node.op_type == "Mul":
            values[node.output[0]] = operands[0] * operands[1]
        elif node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            array, scale, *zero = operands
            axis = (-1,) + (1,) * (array.ndim - 1)  # of the channels that scales belong to
            scale = scale.reshape(axis)
            zero_point = zero[0].astype("float32").reshape(axis) if zero else 0
            values[node.output[0]] = (
                np.rint(array / scale) + zero_point
                if node.op_type == "QuantizeLinear"
                else (array.astype("float32") - zero_point) * scale
            )
    return {name: one.astype("float32") for name, one in values.items()}


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs depend on, in the graph's order."""
    wanted, nodes = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    missing = wanted - {one for node in nodes for one in node.output}
    missing -= {one.name for one in graph.input} | {one.name for one in graph.initializer} | {""}
    if missing:
        message = f"the network has no tensor {', '.join(sorted(missing))}"
        raise ValueError(message)
    return nodes[::-1]
