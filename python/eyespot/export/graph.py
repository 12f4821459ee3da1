"""Making ONNX nodes with little ink, and running one on constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

__all__ = ["GraphPart", "evaluate"]

# The first version of DequantizeLinear that onnx's reference evaluator has. Earlier ones do the
# same with what they allow.
_DEQUANTIZE_OPSET: Final = 19


def evaluate(
    node: onnx.NodeProto, opset: int, values: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """Run one node on constants.

    Parameters
    ----------
    node : onnx.NodeProto
        An operator of ONNX's.
    opset : int
        Version of its operator set.
    values : sequence of ndarray
        Its inputs, without those that are left out.

    Returns
    -------
    list of ndarray
        Its outputs, without those that are left out.

    Raises
    ------
    Exception
        Whatever onnx's reference evaluator raises: it has no class for it.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    feeds = dict(zip(filter(None, node.input), values, strict=True))
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    if node.op_type == "DequantizeLinear":
        opset = max(opset, _DEQUANTIZE_OPSET)
    imports = [helper.make_opsetid(node.domain, opset)]
    results = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports)).run(None, feeds)
    return [np.asarray(result) for result in results]


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
