"""Making ONNX nodes with little ink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["GraphPart"]


class GraphPart:
    """Nodes and constants whose names share a prefix, in the order in which they were added.

    Parameters
    ----------
    prefix : str
        What every name begins with.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        Each has the name of its output.
    constants : list of onnx.TensorProto
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant and return its full name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), self.prefix + name))
        return self.prefix + name

    def scalar(self, name: str, value: float) -> str:
        """Add a float32 constant of shape (1,) and return its full name."""
        return self.constant(name, np.array([value], np.float32))

    def add(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the full name of its output."""
        from onnx import helper

        result = self.prefix + name
        self.nodes.append(helper.make_node(operator, inputs, [result], name=result, **attributes))
        return result
