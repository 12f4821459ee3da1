"""Operators of Core ML in NumPy: what the interpreters of both kinds of file share.

Written from Apple's descriptions of the operators, not from the translator, so that a mistake of
one is not also in the other. All take and return NCHW arrays of float32 unless they say otherwise.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pads = Sequence[tuple[int, int]]

__all__ = [
    "UnknownFormError",
    "batch_norm",
    "bilinear",
    "convolve",
    "erf",
    "gelu",
    "layer_norm",
    "local_response_norm",
    "pad_border",
    "pool",
    "rounded_up",
    "same_pads",
    "sigmoid",
    "softmax",
    "windows",
]


class UnknownFormError(Exception):
    """A file uses a form of an operator that the translator never writes.

    The interpreter refuses it, as a `ModelError` that names the layer, rather than guess.
    """


def same_pads(
    sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int], *, lower: bool = False
) -> list[tuple[int, int]]:
    """Return the padding of type "same": the odd pixel goes to the end, or with `lower` before."""
    pads = []
    for side, size, stride in zip(sides, kernel, strides, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + size - side)
        half = total // 2
        pads.append((total - half, half) if lower else (half, total - half))
    return pads


def rounded_up(
    sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int], pads: Pads
) -> list[tuple[int, int]]:
    """Lengthen the padding so that the number of windows is rounded up, not down.

    A window that would begin behind the image and the padding before it does not count.
    """
    longer = []
    for side, size, stride, (before, after) in zip(sides, kernel, strides, pads, strict=True):
        padded = side + before + after
        count = math.ceil((padded - size) / stride) + 1
        while (count - 1) * stride >= side + before:
            count -= 1
        longer.append((before, after + max(0, (count - 1) * stride + size - padded)))
    return longer


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int]) -> Array:
    """Return a view of the windows of `x`: (N, C, *positions, *kernel)."""
    rank = len(kernel)
    view = sliding_window_view(x, tuple(kernel), axis=tuple(range(2, 2 + rank)))
    steps = tuple(slice(None, None, stride) for stride in strides)
    return view[(slice(None), slice(None), *steps)]


def convolve(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
    groups: int,
) -> Array:
    """Return the grouped convolution; `weight` is (out, in / groups, *kernel)."""
    kernel = weight.shape[2:]
    if any(before or after for before, after in pads):
        x = np.pad(x, [(0, 0), (0, 0), *pads])
    if weight.shape[1] == 1 and groups == x.shape[1] and len(kernel) == 2:
        y = _depthwise(x, weight, strides, dilations)
    else:
        spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
        view = windows(x, spans, strides)
        holes = tuple(slice(None, None, step) for step in dilations)
        view = view[(slice(None),) * (2 + len(kernel)) + holes]
        y = _by_matrix(view, weight, groups)
    if bias is not None:
        y += bias.reshape(-1, *[1] * len(kernel))
    return y


def _by_matrix(view: Array, weight: Array, groups: int) -> Array:
    rank = weight.ndim - 2
    batch, channels = view.shape[:2]
    positions = view.shape[2 : 2 + rank]
    outputs = weight.shape[0]
    grouped = view.reshape(batch, groups, channels // groups, *view.shape[2:])
    last = tuple(range(3, 3 + rank))  # positions go last, so that the product is ready as it is
    columns = np.moveaxis(grouped, last, tuple(range(-rank, 0)))
    columns = columns.reshape(batch, groups, -1, math.prod(positions))
    rows = weight.reshape(groups, outputs // groups, -1)
    return np.reshape(rows @ columns, (batch, outputs, *positions))


def _depthwise(x: Array, weight: Array, strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """One filter (or several) for each channel, one shifted copy for each of its pixels."""
    batch, channels, height, width = x.shape
    filters = weight.reshape(channels, -1, *weight.shape[2:])
    rows = (height - (weight.shape[2] - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (width - (weight.shape[3] - 1) * dilations[1] - 1) // strides[1] + 1
    y = np.zeros((batch, channels, filters.shape[1], rows, columns), np.float32)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            top, left = i * dilations[0], j * dilations[1]
            part = x[
                :,
                :,
                top : top + (rows - 1) * strides[0] + 1 : strides[0],
                left : left + (columns - 1) * strides[1] + 1 : strides[1],
            ]
            y += part[:, :, None] * filters[:, :, i, j][:, :, None, None]
    return y.reshape(batch, -1, rows, columns)


def pool(
    x: Array,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    average: bool,
    count_padding: bool = False,
) -> Array:
    """Return the maximum or the mean of each window."""
    border = [(0, 0), (0, 0), *pads]
    axes = tuple(range(-len(kernel), 0))
    if not average:
        padded = np.pad(x, border, constant_values=-np.inf)
        return np.asarray(windows(padded, kernel, strides).max(axes))
    total = windows(np.pad(x, border), kernel, strides).sum(axes)
    if count_padding:
        return np.asarray(total / np.float32(math.prod(kernel)))
    inside = np.pad(np.ones((1, 1, *x.shape[2:]), np.float32), border)
    return np.asarray(total / windows(inside, kernel, strides).sum(axes))


def batch_norm(
    x: Array, mean: Array, variance: Array, gamma: Array, beta: Array, epsilon: float
) -> Array:
    """Normalise each channel with given moments."""
    shape = (-1, *[1] * (x.ndim - 2))
    factor = gamma / np.sqrt(variance + np.float32(epsilon))
    return np.asarray(x * factor.reshape(shape) + (beta - mean * factor).reshape(shape))


def layer_norm(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    """Normalise over `axes` with their own moments."""
    centred = x - x.mean(tuple(axes), keepdims=True)
    variance = np.square(centred).mean(tuple(axes), keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(epsilon)))


def local_response_norm(x: Array, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """Divide by ``(k + alpha / size * energy) ** beta`` of `size` neighbouring channels."""
    channels = x.shape[1]
    before = (size - 1) // 2
    padded = np.pad(np.square(x), [(0, 0), (before, size - 1 - before), (0, 0), (0, 0)])
    energy = sum(padded[:, i : i + channels] for i in range(size))
    return np.asarray(x / (k + alpha / size * energy) ** beta).astype(np.float32)


def pad_border(x: Array, pads: Pads, mode: str, value: float = 0.0) -> Array:
    """Pad the last dimensions; `mode` is constant, reflect or replicate."""
    border = [(0, 0)] * (x.ndim - len(pads)) + list(pads)
    if mode == "constant":
        return np.pad(x, border, constant_values=value)
    return np.pad(x, border, mode="reflect" if mode == "reflect" else "edge")


def bilinear(x: Array, height: int, width: int, mode: str) -> Array:
    """Resize by Core ML's sampling `mode`."""
    for axis, size in ((2, height), (3, width)):
        low, high, weight = _grid(x.shape[axis], size, mode)
        shape = [1] * 4
        shape[axis] = size
        weight = weight.reshape(shape)
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def _grid(old: int, new: int, mode: str) -> tuple[Array, Array, Array]:
    """Return the neighbours of each new pixel and the weight of the second."""
    place = np.arange(new, dtype=np.float64)
    if mode in {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"}:
        points = place * ((old - 1) / (new - 1)) if new > 1 else place
    elif mode == "UNALIGN_CORNERS":
        points = (place + 0.5) * (old / new) - 0.5
    elif mode == "DEFAULT":
        points = place * ((old - old / new) / (new - 1)) if new > 1 else place
    else:
        raise UnknownFormError(f"the sampling mode {mode}")
    points = np.clip(points, 0, old - 1)
    low = np.floor(points).astype(np.int64)
    return low, np.minimum(low + 1, old - 1), (points - low).astype(np.float32)


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))`` without overflow."""
    half = np.float32(0.5)
    return np.asarray(np.tanh(x * half) * half + half)


def softmax(x: Array, axis: int) -> Array:
    """Softmax over one axis."""
    grown = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(grown / grown.sum(axis, keepdims=True))


def erf(x: Array) -> Array:
    """Error function, interpolated in a table of 1/4096: off by less than 1e-8."""
    table = _erf_table()
    place = np.minimum(np.abs(x.astype(np.float64)), 6.0 - 1e-9) * 4096
    low = place.astype(np.int64)
    part = place - low
    value = table[low] * (1 - part) + table[low + 1] * part
    return np.asarray(np.copysign(value, x)).astype(np.float32)


@functools.cache
def _erf_table() -> Array:
    return np.array([math.erf(i / 4096) for i in range(6 * 4096 + 2)])


def gelu(x: Array, mode: str) -> Array:
    """Gaussian error linear unit, in the three forms that Core ML knows."""
    if mode == "EXACT":
        return np.asarray(0.5 * x * (1 + erf(x * np.float32(math.sqrt(0.5)))))
    if mode == "TANH_APPROXIMATION":
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    if mode == "SIGMOID_APPROXIMATION":
        return np.asarray(x * sigmoid(np.float32(1.702) * x))
    raise UnknownFormError(f"gelu of mode {mode}")
