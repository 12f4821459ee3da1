"""Translation of the operators of images: convolution, pooling, normalisation, resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.export.coreml.translator import Lowerings, Translator, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eyespot.export.coreml.source import Node

__all__ = ["LOWERINGS"]

LOWERINGS: Final = Lowerings()


# ---- padding -----------------------------------------------------------------------------------
def _explicit_pads(
    node: Node, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (before, after) for each spatial side; the shapes are known, so `auto_pad` goes.

    `kernel` counts the dilation in. Core ML knows no ``SAME_LOWER`` before iOS 16.
    """
    rank = len(kernel)
    automatic = node.attributes.get("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        pads = []
        for side, size, stride in zip(sides, kernel, strides, strict=True):
            total = max(0, (-(-side // stride) - 1) * stride + size - side)
            less = total // 2
            more = total - less
            pads.append((less, more) if automatic == "SAME_UPPER" else (more, less))
        return pads
    given = list(node.attributes.get("pads", [0] * 2 * rank))
    return list(zip(given[:rank], given[rank:], strict=True))


def _pad_inputs(pads: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if not any(before or after for before, after in pads):
        return {"pad_type": "valid"}
    return {"pad_type": "custom", "pad": np.array(pads, np.int32).reshape(-1)}


# ---- convolution -------------------------------------------------------------------------------
@LOWERINGS.operator("Conv")
def conv(t: Translator, node: Node) -> Any:
    """Convolution of one or two dimensions, grouped, dilated or padded unevenly."""
    x, weight = t.tensor(node.inputs[0]), t.weights(node.inputs[1])
    rank = weight.ndim - 2
    strides = list(node.attributes.get("strides", [1] * rank))
    dilations = list(node.attributes.get("dilations", [1] * rank))
    kernel = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    bias = {"bias": t.weights(node.inputs[2])} if node.has_input(2) else {}
    return t.emit(
        "conv",
        node.name,
        x=x,
        weight=weight,
        strides=strides,
        dilations=dilations,
        groups=int(node.attributes.get("group", 1)),
        **_pad_inputs(_explicit_pads(node, x.shape[2:], kernel, strides)),
        **bias,
    )


# ---- pooling -----------------------------------------------------------------------------------
@LOWERINGS.operator("MaxPool")
def max_pool(t: Translator, node: Node) -> Any:
    """Maximum over windows."""
    return _pool(t, node, "max_pool", {})


@LOWERINGS.operator("AveragePool")
def average_pool(t: Translator, node: Node) -> Any:
    """Mean over windows; what `ceil_mode` adds at the end never counts."""
    count_pad = bool(node.attributes.get("count_include_pad", 0))
    return _pool(t, node, "avg_pool", {"exclude_padding_from_average": not count_pad})


def _pool(t: Translator, node: Node, operation: str, options: dict[str, Any]) -> Any:
    kernel = list(node.attributes["kernel_shape"])
    if any(step != 1 for step in node.attributes.get("dilations", [])):
        raise Unsupported("a pool with dilations")
    x = t.tensor(node.inputs[0])
    strides = list(node.attributes.get("strides", [1] * len(kernel)))
    sides = [int(side) for side in x.shape[2:]]
    pads = _explicit_pads(node, sides, kernel, strides)
    extra = [0] * len(kernel)
    if node.attributes.get("ceil_mode", 0):
        extra = [
            _overhang(side, size, stride, pad)
            for side, size, stride, pad in zip(sides, kernel, strides, pads, strict=True)
        ]
    if any(extra) and options.get("exclude_padding_from_average") is False:
        # The declared padding counts, the overhang does not: the first is written as zeros.
        amounts = np.array(pads, np.int32).reshape(-1)
        x = t.emit("pad", node.name, x=x, pad=amounts, mode="constant", constant_val=0.0)
        pads = [(0, 0)] * len(kernel)
        options = {"exclude_padding_from_average": True}
    pads = [(before, after + more) for (before, after), more in zip(pads, extra, strict=True)]
    return t.emit(
        operation,
        node.name,
        x=x,
        kernel_sizes=kernel,
        strides=strides,
        **_pad_inputs(pads),
        **options,
    )


def _overhang(side: int, size: int, stride: int, pad: tuple[int, int]) -> int:
    """Return how far the last window of a pool in ceil mode reaches past the padding.

    As ONNX Runtime and PyTorch have it: a window that would begin in the padding at the end is
    left out.
    """
    padded = side + pad[0] + pad[1]
    windows = -(-(padded - size) // stride) + 1
    if (windows - 1) * stride >= side + pad[0]:
        windows -= 1
    return max(0, (windows - 1) * stride + size - padded)


@LOWERINGS.operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(t: Translator, node: Node) -> Any:
    """Mean or maximum of each channel."""
    x = t.tensor(node.inputs[0])
    operation = "reduce_mean" if node.kind == "GlobalAveragePool" else "reduce_max"
    return t.emit(operation, node.name, x=x, axes=list(range(2, x.rank)), keep_dims=True)


# ---- normalisation -----------------------------------------------------------------------------
@LOWERINGS.operator("BatchNormalization")
def batch_normalization(t: Translator, node: Node) -> Any:
    """Normalise each channel with stored moments."""
    if node.attributes.get("training_mode", 0):
        raise Unsupported("it is in training mode")
    gamma, beta, mean, variance = (t.weights(name) for name in node.inputs[1:5])
    epsilon = node.attributes.get("epsilon", 1e-5)
    x = t.tensor(node.inputs[0])
    if x.rank < 3:  # Core ML's own takes images only
        factor = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
        offset = beta - mean * factor
        scaled = t.emit("mul", node.name, x=x, y=factor.astype(np.float32))
        return t.emit("add", node.name, x=scaled, y=offset.astype(np.float32))
    return t.emit(
        "batch_norm",
        node.name,
        x=x,
        mean=mean,
        variance=variance,
        gamma=gamma,
        beta=beta,
        epsilon=float(epsilon),
    )


@LOWERINGS.operator("InstanceNormalization")
def instance_normalization(t: Translator, node: Node) -> Any:
    """Normalise each channel with its own moments."""
    return t.emit(
        "instance_norm",
        node.name,
        x=t.tensor(node.inputs[0]),
        gamma=t.weights(node.inputs[1]),
        beta=t.weights(node.inputs[2]),
        epsilon=float(node.attributes.get("epsilon", 1e-5)),
    )


@LOWERINGS.operator("LayerNormalization")
def layer_normalization(t: Translator, node: Node) -> Any:
    """Normalise over the last dimensions."""
    x = t.tensor(node.inputs[0])
    axis = node.attributes.get("axis", -1) % x.rank
    sides = tuple(int(side) for side in x.shape[axis:])
    beta = {}
    if node.has_input(2):
        beta = {"beta": np.broadcast_to(t.weights(node.inputs[2]), sides).copy()}
    return t.emit(
        "layer_norm",
        node.name,
        x=x,
        axes=list(range(axis, x.rank)),
        gamma=np.broadcast_to(t.weights(node.inputs[1]), sides).copy(),
        epsilon=float(node.attributes.get("epsilon", 1e-5)),
        **beta,
    )


@LOWERINGS.operator("LRN")
def local_response_normalization(t: Translator, node: Node) -> Any:
    """Divide by the energy of neighbouring channels; ONNX and Core ML define it alike."""
    if node.attributes["size"] % 2 == 0:
        raise Unsupported("an even number of channels has no middle")
    return t.emit(
        "local_response_norm",
        node.name,
        x=t.tensor(node.inputs[0]),
        size=int(node.attributes["size"]),
        alpha=float(node.attributes.get("alpha", 1e-4)),
        beta=float(node.attributes.get("beta", 0.75)),
        k=float(node.attributes.get("bias", 1.0)),
    )


# ---- size --------------------------------------------------------------------------------------
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS",
    "pytorch_half_pixel": "UNALIGN_CORNERS",
    "align_corners": "STRICT_ALIGN_CORNERS",
    "asymmetric": "DEFAULT",
}
# Coordinates and rounding under which a whole factor repeats each pixel.
_REPEATING = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
}


@LOWERINGS.operator("Resize", "Upsample")
def resize(t: Translator, node: Node) -> Any:
    """Bilinear in three sampling modes, and the nearest pixel for whole factors."""
    x = t.tensor(node.inputs[0])
    sides = [int(side) for side in x.shape]
    wanted = _resized(t, node, sides)
    modern = node.kind == "Resize" and node.opset >= 11
    mode = node.attributes.get("mode", "nearest")
    coordinates = node.attributes.get(
        "coordinate_transformation_mode", "half_pixel" if modern else "asymmetric"
    )
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor" if modern else "floor")
    if x.rank != 4 or wanted[:2] != sides[:2]:
        raise Unsupported(f"a resize from {sides} to {wanted}; only height and width may change")
    if wanted == sides:
        return x
    if node.attributes.get("antialias", 0):
        raise Unsupported("an antialiased resize")
    factors = [new // old for new, old in zip(wanted[2:], sides[2:], strict=True)]
    whole = [new % old for new, old in zip(wanted[2:], sides[2:], strict=True)] == [0, 0]
    if mode == "nearest" and whole and (coordinates, rounding) in _REPEATING:
        return t.emit(
            "upsample_nearest_neighbor",
            node.name,
            x=x,
            scale_factor_height=factors[0],
            scale_factor_width=factors[1],
        )
    if mode in {"linear", "bilinear"} and coordinates in _SAMPLING:
        if t.neural_network and _SAMPLING[coordinates] == "UNALIGN_CORNERS":
            return _upsampled(t, node, x, wanted)
        return t.emit(
            "resize_bilinear",
            node.name,
            x=x,
            target_size_height=wanted[2],
            target_size_width=wanted[3],
            sampling_mode=_SAMPLING[coordinates],
        )
    raise Unsupported(f"a resize from {sides} to {wanted} by {mode}, {coordinates}, {rounding}")


def _upsampled(t: Translator, node: Node, x: Any, wanted: Sequence[int]) -> Any:
    """Resize by factor: a neural network's resize by size knows no half pixels.

    Core ML rounds side times factor down, so a broken factor is a little larger than it is.
    """
    height, width = (
        new // int(old) if new % old == 0 else (new + 1e-4) / int(old)
        for new, old in zip(wanted[2:], x.shape[2:], strict=True)
    )
    return t.emit(
        "upsample_bilinear",
        node.name,
        x=x,
        scale_factor_height=height,
        scale_factor_width=width,
        align_corners=False,
    )


def _resized(t: Translator, node: Node, sides: Sequence[int]) -> list[int]:
    """Return the shape that a resize asks for, by size or by factor."""
    if node.kind == "Resize" and node.has_input(3):
        sizes = [int(side) for side in t.constant(node.inputs[3])]
        axes = node.attributes.get("axes", range(len(sides)))
        wanted = list(sides)
        for axis, size in zip(axes, sizes, strict=True):
            wanted[axis] = size
        return wanted
    place = 2 if node.kind == "Resize" and node.opset >= 11 else 1
    scales = node.attributes.get("scales")
    factors = [float(f) for f in (t.constant(node.inputs[place]) if scales is None else scales)]
    axes = node.attributes.get("axes", range(len(sides)))
    wanted = list(sides)
    for axis, factor in zip(axes, factors, strict=True):
        exact = sides[axis] * factor
        wanted[axis] = int(exact + 1e-4)
        if abs(exact - wanted[axis]) > 1e-3:
            raise Unsupported(f"a resize of {sides[axis]} pixels by {factor:g}: no whole number")
    return wanted


@LOWERINGS.operator("Pad")
def pad(t: Translator, node: Node) -> Any:
    """Add a border: constant, mirrored, or the edge repeated."""
    x = t.tensor(node.inputs[0])
    modern = node.opset >= 11
    given = t.constant(node.inputs[1]) if modern else node.attributes["pads"]
    amounts = [int(amount) for amount in given]
    half = len(amounts) // 2
    axes = [int(a) for a in t.constant(node.inputs[3])] if node.has_input(3) else range(x.rank)
    pads = [(0, 0)] * x.rank
    for place, axis in enumerate(axes):
        pads[axis] = (amounts[place], amounts[half + place])
    value = node.attributes.get("value", 0.0)
    if modern and node.has_input(2):
        value = t.constant(node.inputs[2]).item()
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    mode = modes.get(node.attributes.get("mode", "constant"))
    if mode is None or any(amount < 0 for amount in amounts):
        raise Unsupported(f"padding {node.attributes.get('mode')} by {amounts}")
    if not any(amounts):
        return x
    while pads[0] == (0, 0):  # Core ML counts from the last dimension
        pads.pop(0)
    return t.emit(
        "pad",
        node.name,
        x=x,
        pad=np.array(pads, np.int32).reshape(-1),
        mode=mode,
        constant_val=float(value),
    )
