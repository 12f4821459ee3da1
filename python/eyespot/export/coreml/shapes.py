"""Translation of the operators that move, reduce or multiply whole dimensions."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.export.coreml.translator import Lowerings, Rearranged, Translator, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eyespot.export.coreml.source import Node

__all__ = ["LOWERINGS"]

LOWERINGS: Final = Lowerings()

_REDUCTIONS: Final = {
    "ReduceMean": "reduce_mean",
    "ReduceSum": "reduce_sum",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceL2": "reduce_l2_norm",
}
#: The operator set from which on the axes of an operator are an input of its.
_AXES_INPUT: Final = {"Squeeze": 13, "Unsqueeze": 13, "Split": 13, "ReduceSum": 13}


def _axes(t: Translator, node: Node, rank: int) -> list[int] | None:
    """Return the axes that a node names, counted from the front, or None."""
    given: Sequence[int] | None = node.attributes.get("axes")
    if node.opset >= _AXES_INPUT.get(node.kind, 18):
        given = t.constant(node.inputs[1]).reshape(-1).tolist() if node.has_input(1) else None
    return None if given is None else [int(axis) % rank for axis in given]


@LOWERINGS.operator("Reshape")
def reshape(t: Translator, node: Node) -> Any:
    """Another shape; 0 keeps a side, -1 takes the rest."""
    sides = t.shape(node.inputs[0])
    wanted = [int(side) for side in t.constant(node.inputs[1])]
    if not node.attributes.get("allowzero", 0):
        wanted = [sides[axis] if side == 0 else side for axis, side in enumerate(wanted)]
    if -1 in wanted:
        wanted[wanted.index(-1)] = prod(sides) // -prod(wanted)
    return t.reshape(t.value(node.inputs[0]), wanted, node.name)


@LOWERINGS.operator("Flatten")
def flatten(t: Translator, node: Node) -> Any:
    """Two dimensions, cut before `axis`."""
    sides = t.shape(node.inputs[0])
    axis = node.attributes.get("axis", 1)
    axis = axis + len(sides) if axis < 0 else axis
    return t.reshape(t.value(node.inputs[0]), (prod(sides[:axis]), prod(sides[axis:])), node.name)


@LOWERINGS.operator("Squeeze")
def squeeze(t: Translator, node: Node) -> Any:
    """Drop sides of 1."""
    sides = t.shape(node.inputs[0])
    axes = _axes(t, node, len(sides))
    if axes is None:
        axes = [axis for axis, side in enumerate(sides) if side == 1]
    kept = [side for axis, side in enumerate(sides) if axis not in axes]
    return t.reshape(t.value(node.inputs[0]), kept, node.name)


@LOWERINGS.operator("Unsqueeze")
def unsqueeze(t: Translator, node: Node) -> Any:
    """Insert sides of 1."""
    sides = t.shape(node.inputs[0])
    given = node.attributes["axes"] if node.opset < 13 else t.constant(node.inputs[1])
    rank = len(sides) + len(given)
    axes = {int(axis) % rank for axis in given}
    rest = iter(sides)
    shape = [1 if axis in axes else next(rest) for axis in range(rank)]
    return t.reshape(t.value(node.inputs[0]), shape, node.name)


@LOWERINGS.operator("Transpose")
def transpose(t: Translator, node: Node) -> Any:
    """Dimensions in another order."""
    rank = len(t.shape(node.inputs[0]))
    order = node.attributes.get("perm", range(rank)[::-1])
    return t.transpose(t.value(node.inputs[0]), order)


@LOWERINGS.operator("DepthToSpace", "SpaceToDepth")
def depth_to_space(t: Translator, node: Node) -> Any:
    """Channels become pixels, or the reverse: a transposition of six dimensions."""
    batch, channels, height, width = t.shape(node.inputs[0])
    block = node.attributes["blocksize"]
    if node.kind == "SpaceToDepth":
        split: tuple[int, ...] = (batch, channels, height // block, block, width // block, block)
        order: tuple[int, ...] = (0, 3, 5, 1, 2, 4)
        shape = (batch, channels * block**2, height // block, width // block)
    else:
        few = channels // block**2
        column_first = node.attributes.get("mode", "DCR") == "CRD"
        split = (batch, *((few, block, block) if column_first else (block, block, few)))
        split += (height, width)
        order = (0, 1, 4, 2, 5, 3) if column_first else (0, 3, 4, 1, 5, 2)
        shape = (batch, few, height * block, width * block)
    value = t.transpose(t.reshape(t.value(node.inputs[0]), split, node.name), order)
    return t.reshape(value, shape, node.name)


@LOWERINGS.operator("Concat")
def concat(t: Translator, node: Node) -> Any:
    """Join along one axis."""
    if len(node.inputs) == 1:
        return t.value(node.inputs[0])
    axis = node.attributes["axis"] % len(t.shape(node.inputs[0]))
    return t.emit("concat", node.name, values=[t.tensor(name) for name in node.inputs], axis=axis)


@LOWERINGS.operator("Split")
def split(t: Translator, node: Node) -> Any:
    """Cut along one axis, evenly or by given sizes."""
    sides = t.shape(node.inputs[0])
    axis = node.attributes.get("axis", 0) % len(sides)
    if node.opset >= 13:
        sizes = t.constant(node.inputs[1]).tolist() if node.has_input(1) else None
    else:
        sizes = node.attributes.get("split")
    if sizes is None:
        count = len(node.outputs)
        size = -(-sides[axis] // count)
        sizes = [size] * (count - 1) + [sides[axis] - size * (count - 1)]
    if len(sizes) == 1:
        return t.value(node.inputs[0])
    sizes = np.array(sizes, np.int32)
    return t.emit("split", node.name, x=t.tensor(node.inputs[0]), split_sizes=sizes, axis=axis)


@LOWERINGS.operator("Slice")
def slice_(t: Translator, node: Node) -> Any:
    """Cut out a part, forwards or backwards."""
    x = t.tensor(node.inputs[0])
    if node.opset < 10:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (
            t.constant(node.inputs[place]).tolist() if node.has_input(place) else None
            for place in (1, 2, 3, 4)
        )
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cuts: list[tuple[int, int | None, int]] = [(0, None, 1)] * x.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Python's own rules are ONNX's, once the values are whole numbers of Python's.
        first, last, _ = slice(start, end, step).indices(int(x.shape[axis]))
        cuts[axis] = (first, None if last < 0 else last, step)
    return _cut(t, node, x, cuts)


def _cut(t: Translator, node: Node, x: Any, cuts: Sequence[tuple[int, int | None, int]]) -> Any:
    """Slice `x` from, to (None: through the last) and by step, one triple a dimension."""
    sides = [int(side) for side in x.shape]
    starts = [cut[0] for cut in cuts]
    ends = [side if cut[1] is None else cut[1] for cut, side in zip(cuts, sides, strict=True)]
    steps = [cut[2] for cut in cuts]
    whole = [(0, side, 1) for side in sides]
    if list(zip(starts, ends, steps, strict=True)) == whole:
        return x
    if any(len(range(*cut)) == 0 for cut in zip(starts, ends, steps, strict=True) if cut[2] > 0):
        raise Unsupported("it selects nothing")
    return t.emit(
        "slice_by_index",
        node.name,
        x=x,
        begin=np.array(starts, np.int32),
        end=np.array(ends, np.int32),
        stride=np.array(steps, np.int32),
        begin_mask=np.array([start == 0 and step > 0 for start, _, step in cuts]),
        end_mask=np.array([cut[1] in {None, side} for cut, side in zip(cuts, sides, strict=True)]),
    )


@LOWERINGS.operator("Gather")
def gather(t: Translator, node: Node) -> Any:
    """Pick along one axis by constant indices."""
    value = t.value(node.inputs[0])
    sides = t.shape(node.inputs[0])
    axis = node.attributes.get("axis", 0) % len(sides)
    indices = t.constant(node.inputs[1]).astype(np.int64)
    indices = np.where(indices < 0, indices + sides[axis], indices).astype(np.int32)
    if (
        isinstance(value, Rearranged)
        and value.shape == tuple(value.source.shape)
        and indices.ndim == 1
    ):  # the colours of the pixels, in another order
        own = value.permutation[axis]
        picked = t.emit("gather", node.name, x=value.source, indices=indices, axis=own)
        return Rearranged(source=picked, shape=tuple(picked.shape), permutation=value.permutation)
    x = t.tensor(node.inputs[0])
    if indices.ndim == 0:
        # Core ML's neural networks have no scalars, so a gather by one would keep the dimension.
        cuts: list[tuple[int, int | None, int]] = [(0, None, 1)] * x.rank
        cuts[axis] = (int(indices), int(indices) + 1, 1)
        kept = [side for place, side in enumerate(sides) if place != axis]
        return t.reshape(_cut(t, node, x, cuts), kept, node.name)
    return t.emit("gather", node.name, x=x, indices=indices, axis=axis)


@LOWERINGS.operator("Expand")
def expand(t: Translator, node: Node) -> Any:
    """Repeat sides of 1."""
    sides = t.shape(node.inputs[0])
    wanted = tuple(int(side) for side in t.constant(node.inputs[1]))
    shape = np.broadcast_shapes(sides, wanted)
    padded = (1,) * (len(shape) - len(sides)) + sides
    repeats = [new // old for new, old in zip(shape, padded, strict=True)]
    value = t.reshape(t.value(node.inputs[0]), padded, node.name)
    if all(count == 1 for count in repeats):
        return value
    if isinstance(value, Rearranged):
        raise Unsupported(f"a tensor of {len(padded)} dimensions outside reshape and transpose")
    return t.emit("tile", node.name, x=value, reps=np.array(repeats, np.int32))


@LOWERINGS.operator("Tile")
def tile(t: Translator, node: Node) -> Any:
    """Repeat whole sides."""
    repeats = t.constant(node.inputs[1]).astype(np.int32)
    return t.emit("tile", node.name, x=t.tensor(node.inputs[0]), reps=repeats)


@LOWERINGS.operator(*_REDUCTIONS)
def reduce(t: Translator, node: Node) -> Any:
    """Mean, sum, extreme or length over some axes."""
    x = t.tensor(node.inputs[0])
    axes = _axes(t, node, x.rank)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.rank))
    keep = bool(node.attributes.get("keepdims", 1))
    return t.emit(_REDUCTIONS[node.kind], node.name, x=x, axes=axes, keep_dims=keep)


@LOWERINGS.operator("Softmax")
def softmax(t: Translator, node: Node) -> Any:
    """Softmax over one axis; before opset 13 over all from `axis` on."""
    sides = t.shape(node.inputs[0])
    if node.opset >= 13:
        x, axis = t.tensor(node.inputs[0]), node.attributes.get("axis", -1) % len(sides)
        return t.emit("softmax", node.name, x=x, axis=axis)
    axis = node.attributes.get("axis", 1) % len(sides)
    flat = t.reshape(t.value(node.inputs[0]), (prod(sides[:axis]), prod(sides[axis:])), node.name)
    return t.reshape(t.emit("softmax", node.name, x=flat, axis=1), sides, node.name)


@LOWERINGS.operator("MatMul")
def matmul(t: Translator, node: Node) -> Any:
    """Matrix product of the last two dimensions."""
    x, y = (t.tensor(name) for name in node.inputs)
    return t.emit("matmul", node.name, x=x, y=y)


@LOWERINGS.operator("Gemm")
def gemm(t: Translator, node: Node) -> Any:
    """``alpha * A' B' + beta * C``; a layer where B and C are constants."""
    alpha = node.attributes.get("alpha", 1.0)
    beta = node.attributes.get("beta", 1.0)
    turned = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))
    x = t.tensor(node.inputs[0])
    added = node.has_input(2)
    known = t.is_constant(node.inputs[1]) and (not added or t.is_constant(node.inputs[2]))
    if known and not turned[0]:
        weight = t.weights(node.inputs[1])
        weight = np.ascontiguousarray(weight if turned[1] else weight.T) * np.float32(alpha)
        bias = np.float32(0) if not added else t.weights(node.inputs[2]) * np.float32(beta)
        row = np.broadcast_to(bias.reshape(-1), weight.shape[:1]).copy()
        return t.emit("linear", node.name, x=x, weight=weight, bias=row)
    result = t.emit(
        "matmul",
        node.name,
        x=x,
        y=t.tensor(node.inputs[1]),
        transpose_x=turned[0],
        transpose_y=turned[1],
    )
    if alpha != 1:
        result = t.emit("mul", node.name, x=result, y=float(alpha))
    if added:
        c = t.tensor(node.inputs[2])
        c = t.emit("mul", node.name, x=c, y=float(beta)) if beta != 1 else c
        result = t.emit("add", node.name, x=result, y=c)
    return result
