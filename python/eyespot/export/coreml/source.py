"""A saved eyespot model, read as a graph that is ready to be translated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eyespot.errors import ExportError
from eyespot.export.onnx import INPUT_NAME, METADATA_FACTS, METADATA_PREPROCESSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["LinearHead", "Node", "Source", "check_labels", "read_source"]

_HEAD: Final = "head/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator of the graph.

    Attributes
    ----------
    kind : str
        The operator, with its domain when that is not ONNX's own.
    name : str
        What messages and Core ML's layers call it: its own name, or that of its first output.
    inputs, outputs : tuple of str
        Names of values; ``""`` stands for one that is left out.
    attributes : mapping
        Numbers, text, lists and arrays.
    opset : int
        Version of the operator set.
    proto : onnx.NodeProto
        The node itself.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    proto: onnx.NodeProto

    def has_input(self, position: int) -> bool:
        """Whether the optional input at `position` is given."""
        return position < len(self.inputs) and self.inputs[position] != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """The softmax regression at the end of a model.

    Attributes
    ----------
    features : str
        Name of the value that it takes.
    weights : float32 ndarray of shape (n_classes, n_features)
        One row a class.
    bias : float32 ndarray of shape (n_classes,)
        One number a class.
    """

    features: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A saved model: one image in, a probability for each class out.

    Attributes
    ----------
    nodes : tuple of Node
        In the order of execution.
    constants : dict of ndarray
        Initialisers by name.
    image, output : str
        Names of the input (uint8, 1 x height x width x 3) and of the output (1 x n_classes).
    height, width : int
        Of the input, in pixels.
    classes : tuple of str
        The labels in the order of the output.
    facts : mapping
        What the metadata tell about the model.
    preprocessing : str
        JSON: which pixels the input takes.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, NDArray[Any]]
    image: str
    output: str
    height: int
    width: int
    classes: tuple[str, ...]
    facts: Mapping[str, Any]
    preprocessing: str

    def linear_head(self) -> LinearHead:
        """Return the head, where it is one linear layer and a softmax.

        Raises
        ------
        ExportError
            If the head is anything else.
        """
        made_by = {name: node for node in self.nodes for name in node.outputs}
        last = made_by[self.output]
        found = f"ends in {last.kind}"
        if last.kind == "Softmax":
            linear = made_by[last.inputs[0]]
            before = made_by.get(linear.inputs[0])
            if before is not None and before.name.startswith(_HEAD):
                found = "has hidden layers"
            elif self._is_linear(linear):
                weights, bias = (self.constants[name] for name in linear.inputs[1:])
                return LinearHead(features=linear.inputs[0], weights=weights, bias=bias)
        message = (
            'head="glm" writes a generalised linear model, which is one linear layer and a '
            f'softmax; the head of this model {found}. Use head="softmax"'
        )
        raise ExportError(message, source="head", code="unsupported_head")

    def _is_linear(self, node: Node) -> bool:
        plain = {key: value for key, value in node.attributes.items() if key != "transB"}
        return (
            node.kind == "Gemm"
            and node.attributes.get("transB") == 1
            and all(value == (0 if key == "transA" else 1) for key, value in plain.items())
            and len(node.inputs) == 3
            and all(name in self.constants for name in node.inputs[1:])
        )


def read_source(model: bytes) -> Source:
    """Read a model that eyespot saved.

    Parameters
    ----------
    model : bytes
        The ONNX file.

    Raises
    ------
    ExportError
        If `model` is no ONNX model, is not of eyespot's form, its labels are empty or not distinct,
        or it takes several images at a time only.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import inliner, numpy_helper

    try:
        loaded = onnx.load_model_from_string(model)
    except DecodeError as error:
        message = f"the model is not ONNX, or damaged ({error})"
        raise ExportError(message, source="model", code="corrupt_model") from error
    if loaded.functions:
        loaded = inliner.inline_local_functions(loaded)
    graph = loaded.graph
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    facts, classes = _facts(metadata)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    images = [value for value in graph.input if value.name not in constants]
    if [image.name for image in images] != [INPUT_NAME] or len(graph.output) != 1:
        raise _foreign(f"its inputs are {[image.name for image in images]}")
    if graph.sparse_initializer:
        message = "the model has sparse weights, which Core ML files made here do not hold"
        raise ExportError(message, source="model", code="unsupported_operator")
    height, width = _image_size(images[0])
    opsets = {entry.domain: entry.version for entry in loaded.opset_import}
    return Source(
        nodes=_needed([_node(node, opsets) for node in graph.node], graph.output[0].name),
        constants=constants,
        image=INPUT_NAME,
        output=graph.output[0].name,
        height=height,
        width=width,
        classes=classes,
        facts=facts,
        preprocessing=metadata[METADATA_PREPROCESSING],
    )


def _needed(nodes: Sequence[Node], output: str) -> tuple[Node, ...]:
    """Return the nodes that `output` depends on; exporters leave others behind."""
    wanted = {output}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def _facts(metadata: Mapping[str, str]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    if not metadata.keys() >= {METADATA_FACTS, METADATA_PREPROCESSING}:
        raise _foreign(f"it has no {METADATA_FACTS} in its metadata")
    try:
        facts = json.loads(metadata[METADATA_FACTS])
        classes = tuple(facts["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign(f"{METADATA_FACTS} cannot be read: {error!r}") from error
    check_labels(classes)
    return facts, classes


def check_labels(classes: tuple[Any, ...]) -> None:
    """Refuse labels that Core ML would take in silence and mix up.

    Raises
    ------
    ExportError
        If a label is not text, is empty, or comes twice; if there is none.
    """
    doubles = sorted({str(label) for label in classes if classes.count(label) > 1})
    if not classes or not all(isinstance(label, str) and label for label in classes):
        found = "a label is empty or not text" if classes else "there is none"
    elif doubles:
        found = f"{', '.join(map(repr, doubles[:5]))} come more than once"
    else:
        return
    message = f"labels must be there, not empty, and differ from each other: {found}"
    raise ExportError(message, source="classes", code="bad_labels")


def _image_size(image: onnx.ValueInfoProto) -> tuple[int, int]:
    import onnx

    tensor = image.type.tensor_type
    batch, *sides = (int(dimension.dim_value) for dimension in tensor.shape.dim)
    if tensor.elem_type != onnx.TensorProto.UINT8 or sides[-1:] != [3] or len(sides) != 3:
        raise _foreign(f"its input is not uint8 pixels but {[batch, *sides]}")
    if batch > 1:
        message = (
            f"the backbone takes exactly {batch} images at a time; a Core ML classifier takes one"
        )
        raise ExportError(message, source="backbone", code="unsupported_shape")
    return sides[0], sides[1]


def _foreign(found: str) -> ExportError:
    message = f"not a model that eyespot saved: {found}"
    return ExportError(message, source="model", code="unsupported_model")


def _node(proto: onnx.NodeProto, opsets: Mapping[str, int]) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return Node(
        kind=f"{domain}::{proto.op_type}" if domain else proto.op_type,
        name=proto.name or next(iter(proto.output), proto.op_type),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={entry.name: _attribute(entry) for entry in proto.attribute},
        opset=opsets.get(domain, opsets.get("ai.onnx", 1)),
        proto=proto,
    )


def _attribute(attribute: onnx.AttributeProto) -> Any:
    import onnx
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value
