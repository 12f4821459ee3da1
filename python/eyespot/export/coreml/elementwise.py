"""Translation of the operators that work on each element by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.export.coreml.translator import (
    Levels,
    Lowerings,
    Rearranged,
    Translator,
    Unsupported,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot.export.coreml.source import Node

__all__ = ["LOWERINGS"]

LOWERINGS: Final = Lowerings()

_UNARY: Final = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Erf": "erf",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Abs": "abs",
    "Floor": "floor",
    "Ceil": "ceil",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
_BINARY: Final = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "real_div",
    "Pow": "pow",
    "Max": "maximum",
    "Min": "minimum",
    "Sum": "add",
}
# The levels of the types that activations may be quantised to. Half precision holds them exactly.
_RANGES: Final = {"uint8": (0, 255), "int8": (-128, 127)}
# ONNX's numbers of the same, and of float32.
_FLOAT, _UINT8, _INT8 = 1, 2, 3
_LEVEL_TYPES: Final = {_UINT8: "uint8", _INT8: "int8"}
# ONNX's numbers of the types that a Cast may name.
_FLOATS: Final = {1, 10, 11, 16}
_CASTS: Final = {6: "int32", 7: "int32", 9: "bool"}


@LOWERINGS.operator(*_UNARY)
def unary(t: Translator, node: Node) -> Any:
    """One input, one operation."""
    return t.emit(_UNARY[node.kind], node.name, x=t.tensor(node.inputs[0]))


@LOWERINGS.operator(*_BINARY)
def binary(t: Translator, node: Node) -> Any:
    """Two inputs; ``Max``, ``Min`` and ``Sum`` take any number."""
    result = t.tensor(node.inputs[0])
    if len(node.inputs) == 1:
        return result
    for name in node.inputs[1:]:
        result = t.emit(_BINARY[node.kind], node.name, x=result, y=t.tensor(name))
    return result


@LOWERINGS.operator("Mean")
def mean(t: Translator, node: Node) -> Any:
    """Mean of several tensors."""
    result = t.tensor(node.inputs[0])
    for name in node.inputs[1:]:
        result = t.emit("add", node.name, x=result, y=t.tensor(name))
    return t.emit("mul", node.name, x=result, y=1 / len(node.inputs))


@LOWERINGS.operator("Neg")
def neg(t: Translator, node: Node) -> Any:
    """Minus x."""
    return t.emit("mul", node.name, x=t.tensor(node.inputs[0]), y=-1.0)


@LOWERINGS.operator("Log")
def log(t: Translator, node: Node) -> Any:
    """Natural logarithm; the smallest float stands for the epsilon that Core ML insists on."""
    return t.emit("log", node.name, x=t.tensor(node.inputs[0]), epsilon=1e-45)


@LOWERINGS.operator("Reciprocal")
def reciprocal(t: Translator, node: Node) -> Any:
    """One over x, by division: Core ML's own ``inverse`` adds an epsilon."""
    return t.emit("real_div", node.name, x=1.0, y=t.tensor(node.inputs[0]))


@LOWERINGS.operator("LeakyRelu")
def leaky_relu(t: Translator, node: Node) -> Any:
    """Slope `alpha` below 0."""
    alpha = float(node.attributes.get("alpha", 0.01))
    return t.emit("leaky_relu", node.name, x=t.tensor(node.inputs[0]), alpha=alpha)


@LOWERINGS.operator("PRelu")
def prelu(t: Translator, node: Node) -> Any:
    """Apply a learnt slope below 0: for all, or for each channel."""
    x, slope = t.tensor(node.inputs[0]), t.weights(node.inputs[1])
    if slope.size == 1:
        return t.emit("leaky_relu", node.name, x=x, alpha=float(slope.reshape(())))
    if x.rank < 3 or slope.ndim < x.rank - 1 or slope.size != slope.shape[1 - x.rank]:
        raise Unsupported(f"slopes of shape {slope.shape} are not one for each channel")
    return t.emit("prelu", node.name, x=x, alpha=slope.reshape(-1))


@LOWERINGS.operator("Elu")
def elu(t: Translator, node: Node) -> Any:
    """``alpha * (exp(x) - 1)`` below 0."""
    alpha = float(node.attributes.get("alpha", 1.0))
    return t.emit("elu", node.name, x=t.tensor(node.inputs[0]), alpha=alpha)


@LOWERINGS.operator("HardSigmoid")
def hard_sigmoid(t: Translator, node: Node) -> Any:
    """``alpha * x + beta`` held between 0 and 1."""
    return t.emit(
        "sigmoid_hard",
        node.name,
        x=t.tensor(node.inputs[0]),
        alpha=float(node.attributes.get("alpha", 0.2)),
        beta=float(node.attributes.get("beta", 0.5)),
    )


@LOWERINGS.operator("HardSwish")
def hard_swish(t: Translator, node: Node) -> Any:
    """X times its hard sigmoid of slope 1/6."""
    x = t.tensor(node.inputs[0])
    gate = t.emit("sigmoid_hard", node.name, x=x, alpha=1 / 6, beta=0.5)
    return t.emit("mul", node.name, x=x, y=gate)


@LOWERINGS.operator("Mish")
def mish(t: Translator, node: Node) -> Any:
    """X times the hyperbolic tangent of its softplus."""
    x = t.tensor(node.inputs[0])
    gate = t.emit("tanh", node.name, x=t.emit("softplus", node.name, x=x))
    return t.emit("mul", node.name, x=x, y=gate)


@LOWERINGS.operator("Gelu")
def gelu(t: Translator, node: Node) -> Any:
    """Gaussian error linear unit, exact or by tanh."""
    tanh = node.attributes.get("approximate", "none") == "tanh"
    mode = "TANH_APPROXIMATION" if tanh else "EXACT"
    return t.emit("gelu", node.name, x=t.tensor(node.inputs[0]), mode=mode)


@LOWERINGS.operator("Clip")
def clip(t: Translator, node: Node) -> Any:
    """Hold between two constants, either of which may be missing."""
    low, high = node.attributes.get("min"), node.attributes.get("max")
    if node.opset >= 11:
        low, high = (
            t.constant(node.inputs[place]).item() if node.has_input(place) else None
            for place in (1, 2)
        )
    x = t.tensor(node.inputs[0])
    limit = float(np.finfo(np.float32).max)  # what exporters write for "no limit"
    low = None if low is None or low <= -limit else low
    high = None if high is None or high >= limit else high
    if low is None or high is None:
        if low == 0:
            return t.emit("relu", node.name, x=x)
        if low is not None:
            return t.emit("maximum", node.name, x=x, y=float(low))
        if high is not None:
            return t.emit("minimum", node.name, x=x, y=float(high))
        return x
    if (low, high) == (0, 6) and not t.neural_network:  # there it would become four layers
        return t.emit("relu6", node.name, x=x)
    return t.emit("clip", node.name, x=x, alpha=float(low), beta=float(high))


@LOWERINGS.operator("Cast")
def cast(t: Translator, node: Node) -> Any:
    """Change the type. Core ML chooses its floating type by itself, and pixels come as floats."""
    to = node.attributes["to"]
    value = t.value(node.inputs[0])
    held = value.source if isinstance(value, Rearranged) else value
    if to in _FLOATS and _is_float(held):
        return value
    if to in _FLOATS:
        return t.emit("cast", node.name, x=t.tensor(node.inputs[0]), dtype="fp32")
    if to not in _CASTS:
        raise Unsupported(f"a conversion to ONNX's type {to}")
    return t.emit("cast", node.name, x=t.tensor(node.inputs[0]), dtype=_CASTS[to])


def _is_float(value: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return bool(types.is_float(value.dtype))


@LOWERINGS.operator("Identity", "Dropout")
def identity(t: Translator, node: Node) -> Any:
    """Nothing, when a model only predicts."""
    return t.value(node.inputs[0])


@LOWERINGS.operator("QuantizeLinear")
def quantize_linear(t: Translator, node: Node) -> Any:
    """Count in steps of the scale, rounded half to even, within the range of the type."""
    x = t.tensor(node.inputs[0])
    scale, zero_point = _grid(t, node, x.rank)
    low, high = (limit - zero_point for limit in _RANGES[_level_type(t, node)])
    # Not a division: a factor goes into the weights of the convolution before it.
    y = t.emit("mul", node.name, x=x, y=_number(1 / scale.astype(np.float64)))
    y = t.emit("round", node.name, x=y)
    if low.size == 1:
        y = t.emit("clip", node.name, x=y, alpha=low.item(), beta=high.item())
    else:
        y = t.emit("maximum", node.name, x=y, y=low)
        y = t.emit("minimum", node.name, x=y, y=high)
    return Levels(centred=y, zero_point=zero_point)


@LOWERINGS.operator("DequantizeLinear")
def dequantize_linear(t: Translator, node: Node) -> Any:
    """``(x - zero_point) * scale`` of what depends on the image."""
    name = node.inputs[0]
    scale, zero_point = _grid(t, node, len(t.shape(name)))
    levels = t.levels(name)
    if levels is not None and np.array_equal(levels.zero_point, zero_point):
        x = levels.centred
    else:
        x = t.tensor(name)
        if zero_point.any():
            x = t.emit("sub", node.name, x=x, y=_number(zero_point))
    return t.emit("mul", node.name, x=x, y=_number(scale))


def _grid(t: Translator, node: Node, rank: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return scale and zero point in a form that broadcasts: one number, or one for each channel.

    Raises
    ------
    Unsupported
        If the numbers are no constants, are for blocks, or make no grid.
    """
    scale = t.constant(node.inputs[1])
    zero_point = t.constant(node.inputs[2]) if node.has_input(2) else np.zeros_like(scale)
    if node.attributes.get("block_size", 0):
        raise Unsupported("a scale for each block of an activation")
    if node.attributes.get("precision", 0) not in (0, _FLOAT):
        raise Unsupported("another precision than that of float32")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise Unsupported("a scale that is not above 0")
    shape = [1] * rank
    if scale.size > 1:
        shape[node.attributes.get("axis", 1)] = scale.size
    if zero_point.size == 1:
        return scale.reshape(shape), zero_point.astype(np.float32).reshape([1] * rank)
    return scale.reshape(shape), zero_point.astype(np.float32).reshape(shape)


def _level_type(t: Translator, node: Node) -> str:
    if node.has_input(2):
        kind = t.constant(node.inputs[2]).dtype.name
    else:
        number = node.attributes.get("output_dtype", 0) or _UINT8
        kind = _LEVEL_TYPES.get(number, f"ONNX's type {number}")
    if kind not in _RANGES:
        raise Unsupported(f"activations of {kind}; those of 8 bits have a Core ML form")
    return kind


def _number(values: NDArray[Any]) -> Any:
    """Return what all elements are multiplied by alike as one number: Core ML has layers for it."""
    return values.item() if values.size == 1 else values.astype(np.float32)
