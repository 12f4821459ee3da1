"""The first nodes of a graph: from the pixels that a caller gives to the input of a backbone.

This is the one place where crop, resize, order of colours and normalisation become ONNX operators,
for the saved model and for every export. What they mean is written down in `Preprocessing`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from eyespot.errors import ExportError
from eyespot.export.graph import GraphPart
from eyespot.export.resize import RANGE_OPSET, resize

if TYPE_CHECKING:
    import onnx

    from eyespot.options import Preprocessing

__all__ = ["INPUT_NAME", "InputForm", "input_value", "pixel_stage"]

#: Name of the input of a model, whatever its form.
INPUT_NAME: Final = "image"
#: What the names of all nodes and constants of this stage begin with.
PREFIX: Final = "preprocessing/"


class InputForm(StrEnum):
    """What a caller puts in.

    ``UINT8_NHWC`` is decoded RGB pixels of the network's size, (N, height, width, 3), as `save`
    writes it. ``FLOAT_NCHW`` is the same levels, 0 to 255, as float32 planes (N, 3, height, width).
    ``RESIZE`` is uint8 pixels of any size, (N, any height, any width, 3): crop and resize are in
    the graph. ``PIXEL_VALUES`` is normalised float32 planes, as Hugging Face's image processors
    make them.
    """

    UINT8_NHWC = "uint8_nhwc"
    FLOAT_NCHW = "float_nchw"
    RESIZE = "resize"
    PIXEL_VALUES = "pixel_values"


def input_value(
    preprocessing: Preprocessing, form: InputForm, batch: int | str
) -> onnx.ValueInfoProto:
    """Return the declaration of a graph's input in a form.

    Parameters
    ----------
    preprocessing : Preprocessing
        What the backbone takes.
    form : InputForm
        What the caller puts in.
    batch : int or str
        The fixed number of images, or the name of a free one.
    """
    from onnx import TensorProto, helper

    height, width = preprocessing.height, preprocessing.width
    if form == InputForm.UINT8_NHWC:
        shape, element = [batch, height, width, 3], TensorProto.UINT8
    elif form == InputForm.RESIZE:
        shape, element = [batch, "height", "width", 3], TensorProto.UINT8
    else:
        shape, element = [batch, 3, height, width], TensorProto.FLOAT
    name = "pixel_values" if form == InputForm.PIXEL_VALUES else INPUT_NAME
    value = helper.make_tensor_value_info(name, element, shape)
    if form != InputForm.PIXEL_VALUES:
        value.type.denotation = "IMAGE"  # the ONNX specification's word for an image input
    return value


def pixel_stage(
    preprocessing: Preprocessing,
    target: str,
    *,
    form: InputForm = InputForm.UINT8_NHWC,
    opset: int,
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes from the input to `target`, and their constants.

    Parameters
    ----------
    preprocessing : Preprocessing
        What the backbone takes.
    target : str
        Name of the backbone's input.
    form : InputForm
        What the caller puts in.
    opset : int
        Version of the operators of the graph that these nodes become part of.

    Raises
    ------
    ExportError
        If `opset` is too old for the form ``RESIZE``.

    Notes
    -----
    Order of the steps: resize, order of the channels, order of the dimensions, ``* scale``,
    ``- mean``, ``/ std``, each left out where it would change nothing.
    """
    import onnx

    part = GraphPart(PREFIX)
    x, layout, is_float = INPUT_NAME, "nhwc", False
    if form == InputForm.PIXEL_VALUES:
        x, layout, is_float = "pixel_values", "nchw", True
    elif form == InputForm.FLOAT_NCHW:
        layout, is_float = "nchw", True
    elif form == InputForm.RESIZE:
        if opset < RANGE_OPSET:
            message = (
                f"pixels of any size need opset {RANGE_OPSET}, and the backbone has {opset}; "
                "export input='uint8_nhwc'"
            )
            raise ExportError(message, source="backbone", code="unsupported_model")
        x, layout, is_float = resize(part, INPUT_NAME, preprocessing, opset=opset), "nchw", True

    if preprocessing.color == "bgr":
        order = part.constant("bgr_value", np.array([2, 1, 0], np.int64))
        x = part.add("Gather", "bgr", x, order, axis=3 if layout == "nhwc" else 1)
    planar = preprocessing.layout == "nchw"
    if planar != (layout == "nchw"):
        name, order_of = ("planes", [0, 3, 1, 2]) if planar else ("pixels_last", [0, 2, 3, 1])
        x = part.add("Transpose", name, x, perm=order_of)
    if preprocessing.dtype == "uint8":
        if is_float:  # levels, so that only their type is to be changed
            half = part.constant("half_value", np.float32(0.5))
            x = part.add("Floor", "levels", part.add("Add", "raised", x, half))
            x = part.add("Cast", "bytes", x, to=onnx.TensorProto.UINT8)
    else:
        if not is_float:
            x = part.add("Cast", "float", x, to=onnx.TensorProto.FLOAT)
        if form != InputForm.PIXEL_VALUES:
            x = _normalise(part, x, preprocessing, (1, 3, 1, 1) if planar else (1, 1, 1, 3))
        if preprocessing.dtype == "float16":
            x = part.add("Cast", "half", x, to=onnx.TensorProto.FLOAT16)
    if not part.nodes:
        part.add("Identity", "pixels", x)
    part.nodes[-1].output[0] = target
    return part.nodes, part.constants


def _normalise(
    part: GraphPart, x: str, preprocessing: Preprocessing, shape: tuple[int, ...]
) -> str:
    if preprocessing.scale != 1:
        scale = part.constant("scaled_value", np.float32(preprocessing.scale).reshape(1))
        x = part.add("Mul", "scaled", x, scale)
    if any(preprocessing.mean):
        mean = part.constant(
            "centred_value", np.array(preprocessing.mean, np.float32).reshape(shape)
        )
        x = part.add("Sub", "centred", x, mean)
    if preprocessing.std != (1, 1, 1):
        std = part.constant(
            "normalised_value", np.array(preprocessing.std, np.float32).reshape(shape)
        )
        x = part.add("Div", "normalised", x, std)
    return x
