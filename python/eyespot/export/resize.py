"""Crop and antialiased resize as ONNX operators, equal to the core's `preprocess`.

Each axis is one matrix, (target, source), whose rows are the filter around the centre of a target
pixel. The graph computes it from the size of the photo, by the core's own formulas, so crop and
resize are one step, the edges of the crop may lie between pixels, and a target pixel at such an
edge sees what lies beyond it. ONNX's Resize operator knows neither, and asks for opset 18, which
would mean to convert the backbone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from eyespot.options import CropPolicy, Resample

if TYPE_CHECKING:
    from eyespot.export.graph import GraphPart
    from eyespot.options import Preprocessing

__all__ = ["RANGE_OPSET", "resize"]

#: First version of the operators that has all of those used here.
RANGE_OPSET: Final = 11

_AXES_INPUT_OPSET: Final = 13  # from here on ReduceSum takes its axes as an input
_LIGHTEST: Final = 255.0
# Letterbox sides are rounded, halves up. The quotient is good to 1e-5, and what is no half is
# farther than that from one.
_HALF: Final = 0.50002


class _Axis(NamedTuple):
    """Names of tensors: the filter, (target, source), and 1 where the photo is, (target,)."""

    weights: str
    inside: str


def resize(part: GraphPart, photo: str, preprocessing: Preprocessing, *, opset: int) -> str:
    """Add the nodes from photos to levels of the target's size.

    Parameters
    ----------
    part : GraphPart
        Where the nodes go.
    photo : str
        Name of uint8 pixels (N, any height, any width, 3).
    preprocessing : Preprocessing
        Size, crop and filter.
    opset : int
        Version of the graph's operators, `RANGE_OPSET` or later.

    Returns
    -------
    str
        Name of float32 planes (N, 3, height, width) of whole levels, 0 to 255.

    Notes
    -----
    Differs from the core by one level where rounding falls the other way: the core's weights are
    fixed-point numbers of 14 or 15 bits, and it averages neighbours first where a photo shrinks a
    lot.
    """
    import onnx

    targets = {"height": preprocessing.height, "width": preprocessing.width}
    shape = part.add("Shape", "shape", photo)
    sides, steps = {}, {}
    for place, (name, target) in enumerate(targets.items(), start=1):
        which = part.constant(f"{name}/place", np.array([place], np.int64))
        size = part.add("Gather", f"{name}/pixels", shape, which, axis=0)
        sides[name] = part.add("Cast", f"{name}/side", size, to=onnx.TensorProto.FLOAT)
        wanted = part.scalar(f"{name}/target", target)
        steps[name] = part.add("Div", f"{name}/step", sides[name], wanted)
    if preprocessing.crop != CropPolicy.STRETCH:  # both axes shrink alike
        common = "Min" if preprocessing.crop == CropPolicy.CENTER_CROP else "Max"
        steps = dict.fromkeys(targets, part.add(common, "step", steps["height"], steps["width"]))
    rows, columns = (
        _axis(part, name, sides[name], steps[name], targets[name], preprocessing, opset)
        for name in targets
    )

    # Down first, where a row is one long vector of columns and channels: one large product.
    x = part.add("Cast", "levels_of_photo", photo, to=onnx.TensorProto.FLOAT)
    flat = part.constant("flat_shape", np.array([0, 0, -1], np.int64))
    x = part.add("Reshape", "flat", x, flat)
    x = part.add("MatMul", "shrunk_rows", rows.weights, x)
    apart = part.constant("apart_shape", np.array([0, 0, -1, 3], np.int64))
    x = part.add("Reshape", "apart", x, apart)
    x = part.add("Transpose", "columns_last", x, perm=[0, 3, 1, 2])
    across = part.add("Transpose", "width/across", columns.weights, perm=[1, 0])
    x = part.add("MatMul", "shrunk", x, across)
    if preprocessing.crop == CropPolicy.FIT:
        x = _whiten(part, x, rows.inside, columns.inside)
    half = part.scalar("half_level", 0.5)
    x = part.add("Floor", "whole", part.add("Add", "raised", x, half))
    x = part.add("Max", "not_below", x, part.scalar("black", 0.0))
    return part.add("Min", "resized", x, part.scalar("lightest", _LIGHTEST))


def _axis(
    part: GraphPart,
    name: str,
    side: str,
    step: str,
    target: int,
    preprocessing: Preprocessing,
    opset: int,
) -> _Axis:
    """Add the filter of one axis; `step` is how many source pixels one target pixel covers."""

    def scalar(label: str, value: float) -> str:
        return part.scalar(f"{name}/{label}", value)

    def add(operator: str, label: str, *inputs: str, **attributes: object) -> str:
        return part.add(operator, f"{name}/{label}", *inputs, **attributes)

    one, half = scalar("one", 1.0), scalar("half", 0.5)
    index = part.constant(f"{name}/index", np.arange(target, dtype=np.float32)[:, None])
    inside = ""
    if preprocessing.crop == CropPolicy.FIT:
        exact = add("Div", "placed_exact", side, step)
        placed = add("Floor", "placed_whole", add("Add", "placed_up", exact, scalar("up", _HALF)))
        placed = add("Max", "placed", placed, one)
        free = add("Sub", "free", scalar("sides", target), placed)
        offset = add("Floor", "offset", add("Mul", "free_half", free, half))
        index = add("Sub", "from_edge", index, offset)
        step = add("Div", "placed_step", side, placed)
        # Whole numbers: 1 or more where both hold, 0 or less elsewhere.
        before = add("Add", "after_start", index, one)
        within = add("Min", "within", before, add("Sub", "before_end", placed, index))
        inside = add("Min", "inside", add("Max", "not_negative", within, scalar("none", 0.0)), one)
    center = add("Mul", "scaled", add("Add", "middle", index, half), step)
    if preprocessing.crop == CropPolicy.CENTER_CROP:
        kept = add("Mul", "kept", step, scalar("sides", target))
        begin = add("Mul", "begin", add("Sub", "cut", side, kept), half)
        center = add("Add", "center", center, begin)

    scalars = part.constant(f"{name}/no_axis", np.array([], np.int64))
    end = add("Reshape", "end", side, scalars)
    first = part.constant(f"{name}/first", np.float32(0))
    by_one = part.constant(f"{name}/by_one", np.float32(1))
    source = add("Add", "source", add("Range", "range", first, end, by_one), half)
    width = add("Max", "filter_width", step, one)
    distance = add(
        "Abs", "far", add("Div", "away", add("Sub", "offset_from", source, center), width)
    )
    if preprocessing.resample == Resample.BILINEAR:
        weights = add("Max", "filter", add("Sub", "slope", one, distance), scalar("floor", 0.0))
    else:
        weights = _catmull_rom(part, name, distance)
    if opset >= _AXES_INPUT_OPSET:
        axes = part.constant(f"{name}/sources", np.array([1], np.int64))
        total = add("ReduceSum", "total", weights, axes, keepdims=1)
    else:
        total = add("ReduceSum", "total", weights, axes=[1], keepdims=1)
    if inside:  # beyond the photo there may be nothing to sum
        weights = add("Mul", "masked", weights, inside)
        total = add("Max", "total_or_one", total, scalar("least", 1e-6))
    return _Axis(add("Div", "weights", weights, total), inside)


def _catmull_rom(part: GraphPart, name: str, distance: str) -> str:
    """Add Keys' cubic with a = -0.5 of distances from 0 up."""

    def horner(label: str, x: str, *coefficients: float) -> str:
        value = part.scalar(f"{name}/{label}_0", coefficients[0])
        for power, coefficient in enumerate(coefficients[1:], start=1):
            value = part.add("Mul", f"{name}/{label}_times_{power}", value, x)
            if coefficient:
                term = part.scalar(f"{name}/{label}_{power}", coefficient)
                value = part.add("Add", f"{name}/{label}_plus_{power}", value, term)
        return value

    two = part.scalar(f"{name}/two", 2.0)
    near = horner("near", distance, 1.5, -2.5, 0.0, 1.0)
    clipped = part.add("Min", f"{name}/clipped", distance, two)  # where the far piece is 0
    far = horner("far", clipped, -0.5, 2.5, -4.0, 2.0)
    is_near = part.add("Less", f"{name}/is_near", distance, f"{part.prefix}{name}/one")
    return part.add("Where", f"{name}/filter", is_near, near, far)


def _whiten(part: GraphPart, x: str, rows: str, columns: str) -> str:
    """Add white, the background of `images`, to the bars that a photo leaves free."""
    across = part.add("Transpose", "columns_inside", columns, perm=[1, 0])
    inside = part.add("Mul", "inside", rows, across)
    white = part.scalar("white", _LIGHTEST)
    bars = part.add("Sub", "bars", white, part.add("Mul", "lit", inside, white))
    return part.add("Add", "letterboxed", x, bars)
