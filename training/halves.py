"""The upper and the lower half of a map, as a pooling: its window follows from the map's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["adapt_halves", "half_window"]


def half_window(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the kernel and the strides of a pooling that gives a map's upper and lower half.

    They share the middle row of an odd number of rows.
    """
    half = -(-height // 2)
    return (half, width), (max(height - half, 1), 1)


def adapt_halves(model: onnx.ModelProto) -> None:
    """Fit the poolings of an exported student to its input, whose size was changed, in place."""
    from onnx import helper, shape_inference

    # What was inferred for the old size does not hold.
    del model.graph.value_info[:]
    inferred = shape_inference.infer_shapes(model).graph.value_info
    sizes = {one.name: one.type.tensor_type.shape.dim for one in inferred}
    for node in model.graph.node:
        if node.op_type == "AveragePool" and node.name.endswith(".halves"):
            kernel, strides = half_window(*(one.dim_value for one in sizes[node.input[0]][2:]))
            del node.attribute[:]
            node.attribute.extend(
                [
                    helper.make_attribute("kernel_shape", kernel),
                    helper.make_attribute("strides", strides),
                ]
            )
