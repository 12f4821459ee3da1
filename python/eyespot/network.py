"""Reading an ONNX image network: what it takes, and how to cut it down to one embedding.

Nothing here runs a network; `eyespot.inference` does.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from eyespot.errors import InvalidOption, ModelError
from eyespot.light_model import take_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import onnx

__all__ = [
    "METADATA_KEY",
    "InputContract",
    "NetworkFile",
    "append_pooling",
    "cut",
    "cut_classifier",
    "input_contract",
    "metadata",
    "output_names",
    "pick_output",
    "read_network",
    "set_input_shape",
    "set_output_shape",
    "spatial_layout",
]

#: Metadata entry of a model that says what its input is (see `Preprocessing.from_json`).
METADATA_KEY: Final = "eyespot.preprocessing"

_PREFIX: Final = "eyespot/"  # of the tensors that we add
_LAYOUT_OF_OP: Final = {  # operators whose result has its channels in second place, always
    "Conv": "nchw",
    "ConvInteger": "nchw",
    "QLinearConv": "nchw",
    "MaxPool": "nchw",
    "AveragePool": "nchw",
    "GlobalAveragePool": "nchw",
    "GlobalMaxPool": "nchw",
    "BatchNormalization": "nchw",
    "InstanceNormalization": "nchw",
    "GroupNormalization": "nchw",
    "DepthToSpace": "nchw",
    "SpaceToDepth": "nchw",
    "LRN": "nchw",
}
# Layers that a classifier may be, and which of their inputs holds the weights.
_WEIGHT_PLACE: Final = {
    "Gemm": 1,
    "MatMul": 1,
    "Conv": 1,
    "MatMulInteger": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
}
_QUANTISED: Final = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
# Operators that keep the order of dimensions.
# fmt: off
_ELEMENTWISE: Final = frozenset({
    "Abs", "Add", "Cast", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu",
    "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "Min",
    "Mish", "Mul", "Neg", "PRelu", "Pad", "Pow", "QLinearAdd", "QuantizeLinear", "Relu",
    "Selu", "Sigmoid", "Slice", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where",
})
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFile:
    """An ONNX file as read.

    Attributes
    ----------
    model : onnx.ModelProto
        The model, but for its large weights.
    weights : mapping of str to memoryview
        These, as in `LightModel`.
    sha256 : str
        Of the file, as if it held its external data itself.
    """

    model: onnx.ModelProto
    weights: Mapping[str, memoryview]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputContract:
    """What the only input of a network takes.

    Attributes
    ----------
    name : str
        The input's name in the graph.
    dtype : {"float32", "float16", "uint8"}
        Its element type.
    layout : {"nchw", "nhwc"}
        Its order of dimensions.
    layout_assumed : bool
        Whether the shape left the layout open.
    batch, height, width : int or None
        Fixed sizes; ``None`` where any size is accepted.
    """

    name: str
    dtype: Literal["float32", "float16", "uint8"]
    layout: Literal["nchw", "nhwc"]
    layout_assumed: bool
    batch: int | None
    height: int | None
    width: int | None


def read_network(path: Path) -> NetworkFile:
    """Read an ONNX file and the external data that it names.

    Raises
    ------
    ModelError
        If the file cannot be read or is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import external_data_helper

    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise ModelError(message, source=str(path), code="io") from error
    try:
        light = take_apart(data)
        if not light.proto.graph.node and not light.proto.graph.output:
            raise ValueError("it holds no graph")
        own_size = light.proto.ByteSize()
        external_data_helper.load_external_data_for_model(light.proto, str(path.parent))
    except (DecodeError, ValueError, TypeError, OSError, onnx.checker.ValidationError) as error:
        message = f"{path}: not a usable ONNX model: {error}"
        raise ModelError(message, source=str(path), code="corrupt_model") from error
    if light.proto.ByteSize() > own_size:  # weights lay in files of their own: as if they did not
        for tensor in light.proto.graph.initializer:
            tensor.ClearField("data_location")
        data = light.to_bytes()
        light = take_apart(data)
    digest = hashlib.sha256(data).hexdigest()
    return NetworkFile(model=light.proto, weights=light.weights, sha256=digest)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Return the model's metadata entries."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _sizes(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Return the dimensions of a graph's input or output; None where open; None if no shape."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]


def _shown(value: onnx.ValueInfoProto) -> str:
    sizes = _sizes(value)
    return f"{value.name} {sizes}".replace("None", "?") if sizes is not None else value.name


def input_contract(model: onnx.ModelProto, source: str) -> InputContract:
    """Read off the graph what its input takes.

    Raises
    ------
    ModelError
        If the graph does not have exactly one input that could hold colour images.
    """
    from onnx import TensorProto

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        found = ", ".join(map(_shown, inputs)) or "none"
        message = f"{source}: an image network has one input; this one has {len(inputs)}: {found}"
        raise ModelError(message, source=source, code="unsupported_model")
    (value,) = inputs
    dtypes: dict[int, Literal["float32", "float16", "uint8"]] = {
        TensorProto.FLOAT: "float32",
        TensorProto.FLOAT16: "float16",
        TensorProto.UINT8: "uint8",
    }
    element = value.type.tensor_type.elem_type
    sizes = _sizes(value)
    dtype = dtypes.get(element)
    if dtype is None or (sizes is not None and len(sizes) != 4):
        kind = TensorProto.DataType.Name(element).lower()
        message = (
            f"{source}: the input {_shown(value)} ({kind}) cannot hold a batch of images; "
            "needed: 4 dimensions of float32, float16 or uint8"
        )
        raise ModelError(message, source=source, code="unsupported_model")
    batch, *rest = sizes or [None] * 4
    layout, assumed = _input_layout(model, value, rest, source)
    height, width = rest[1:] if layout == "nchw" else rest[:2]
    return InputContract(
        name=value.name,
        dtype=dtype,
        layout=layout,
        layout_assumed=assumed,
        batch=batch,
        height=height,
        width=width,
    )


def _input_layout(
    model: onnx.ModelProto, value: onnx.ValueInfoProto, sizes: list[int | None], source: str
) -> tuple[Literal["nchw", "nhwc"], bool]:
    """Return the order of the input's dimensions and whether that is a guess."""
    first, last = sizes[0] == 3, sizes[2] == 3
    if first != last:
        return ("nchw", False) if first else ("nhwc", False)
    if not first and sizes[0] is not None and sizes[2] is not None:
        message = (
            f"{source}: the input {_shown(value)} has no dimension of 3 colour channels, "
            "neither second (NCHW) nor last (NHWC)"
        )
        raise ModelError(message, source=source, code="unsupported_model")
    if sizes[0] is None and sizes[2] is not None and not last:
        return "nchw", False  # (N, ?, H, W): the last is a width
    if sizes[2] is None and sizes[0] is not None and not first:
        return "nhwc", False
    names = {value.name}  # of the pixels, as they are and quantised, scaled ...
    for node in model.graph.node:  # the shape does not say: a convolution that reads them does
        if not names.intersection(node.input[:1]):
            continue
        if _LAYOUT_OF_OP.get(node.op_type) == "nchw":
            return "nchw", False
        if node.op_type == "Transpose" and _permutation(node) == [0, 3, 1, 2]:
            return "nhwc", False
        if node.op_type in _ELEMENTWISE:
            names.update(node.output[:1])
    return "nchw", True


def _permutation(node: onnx.NodeProto) -> list[int]:
    (perm,) = [a for a in node.attribute if a.name == "perm"] or [None]
    return list(perm.ints) if perm is not None else []


def output_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the graph's outputs."""
    return tuple(value.name for value in model.graph.output)


def pick_output(model: onnx.ModelProto, output_name: str | None, source: str) -> str:
    """Return the name of the tensor that is the embedding.

    Any tensor that a node of the graph computes may be asked for. Unasked, it is the only output,
    or the one that is named ``embedding`` if the model's metadata follow our convention.

    Raises
    ------
    InvalidOption
        If the name is unknown, or none was given and there are several outputs.
    """
    outputs = output_names(model)
    listed = ", ".join(map(repr, outputs))
    if output_name is None:
        if len(outputs) == 1:
            return outputs[0]
        if "embedding" in outputs and METADATA_KEY in metadata(model):
            return "embedding"
        message = f"{source}: the model has several outputs; choose output_name from {listed}"
        raise InvalidOption(message, source="output_name", code="invalid_argument")
    tensors = {name for node in model.graph.node for name in node.output if name}
    if output_name in tensors:
        return output_name
    message = f"{source}: the model computes no tensor named {output_name!r}; its outputs: {listed}"
    close = difflib.get_close_matches(output_name, tensors - set(outputs), n=3, cutoff=0.5)
    if close:
        message += f"; tensors inside with a similar name: {', '.join(map(repr, close))}"
    raise InvalidOption(message, source="output_name", code="invalid_argument")


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node may read, those of its branches and bodies included."""
    yield from node.input
    for graph in _subgraphs(node):
        yield from (value.name for value in graph.output)
        for inner in graph.node:
            yield from _reads(inner)


def _needed(
    nodes: Iterable[onnx.NodeProto], output_name: str
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return, in order, the nodes that `output_name` depends on, and the tensors they read."""
    wanted = {output_name}
    kept: list[onnx.NodeProto] = []
    for node in reversed(list(nodes)):  # a graph is sorted: what a node reads, earlier ones write
        if wanted.intersection(node.output):
            wanted.update(_reads(node))
            kept.append(node)
    return kept[::-1], wanted


def cut(model: onnx.ModelProto, contract: InputContract, output_name: str) -> onnx.ModelProto:
    """Return the part of `model` that computes `output_name`, as its only, untyped output.

    Everything that this tensor does not depend on is left out. The opset, the functions and the
    metadata stay.
    """
    import onnx
    from onnx import helper

    graph = model.graph
    nodes, wanted = _needed(graph.node, output_name)
    inputs = [value for value in graph.input if value.name == contract.name]
    if contract.name not in wanted:
        message = f"the tensor {output_name!r} does not depend on the input {contract.name!r}"
        raise InvalidOption(message, source="output_name", code="invalid_argument")
    part = helper.make_graph(
        nodes,
        graph.name or "network",
        inputs,
        [value for value in graph.output if value.name == output_name]
        or [onnx.ValueInfoProto(name=output_name)],
        [tensor for tensor in graph.initializer if tensor.name in wanted],
        sparse_initializer=[t for t in graph.sparse_initializer if t.values.name in wanted],
    )
    part.quantization_annotation.extend(graph.quantization_annotation)
    made = helper.make_model(
        part,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    made.metadata_props.extend(model.metadata_props)
    return made


def spatial_layout(model: onnx.ModelProto, tensor: str) -> Literal["nchw", "nhwc"] | None:
    """Return where a 4-D tensor has its channels, by the operator it comes from, or None.

    Convolutions and pools of ONNX keep channels second, whatever the input's layout; a transpose
    may move them.
    """
    writers = {name: node for node in model.graph.node for name in node.output}
    seen: set[str] = set()
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        node = writers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _LAYOUT_OF_OP:
            return "nchw"
        if node.op_type == "Transpose":
            permutation = _permutation(node)
            if permutation == [0, 2, 3, 1]:
                return "nhwc"
            return "nchw" if permutation == [0, 3, 1, 2] else None
        if node.op_type in _ELEMENTWISE:
            waiting.extend(reversed(node.input))
    return None


def append_pooling(
    model: onnx.ModelProto,
    shape: tuple[int, ...],
    element: str,
    layout: Literal["nchw", "nhwc"],
) -> tuple[bool, str]:
    """Append to `model`, in place, what turns its output into float32 rows of features.

    A feature map is averaged over its positions, a list of tokens over its tokens, and anything
    else is flattened.

    Parameters
    ----------
    model : onnx.ModelProto
        A network with one output.
    shape : tuple of int
        The output's shape for one batch, batch first; at least 2 dimensions.
    element : str
        The output's element type in NumPy's words.
    layout : {"nchw", "nhwc"}
        Where a 4-D output has its channels.

    Returns
    -------
    changed : bool
        Whether anything had to be appended.
    note : str
        What was done that the caller should know, in words; may be empty.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    name = graph.output[0].name
    note = ""

    def add(op: str, **attributes: object) -> None:
        nonlocal name
        result = f"{_PREFIX}{op.lower()}_{len(graph.node)}"
        graph.node.append(helper.make_node(op, [name], [result], name=result, **attributes))
        name = result

    if element != "float32":
        add("Cast", to=TensorProto.FLOAT)
    if len(shape) == 4 and max(shape[2:] if layout == "nchw" else shape[1:3]) > 1:
        if layout == "nhwc":
            add("Transpose", perm=[0, 3, 1, 2])
        rows, columns = shape[2:] if layout == "nchw" else shape[1:3]
        note = f"the output is a {rows}x{columns} feature map: averaged over its positions"
        add("GlobalAveragePool")
    elif len(shape) == 3 and shape[1] > 1:
        note = f"the output is a list of {shape[1]} tokens: averaged over the tokens"
        add("Transpose", perm=[0, 2, 1])
        add("GlobalAveragePool")
    elif len(shape) > 4:
        note = f"the output has {len(shape)} dimensions {shape[1:]}: flattened"
    if len(shape) != 2:
        add("Flatten", axis=1)
    changed = name != graph.output[0].name
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return changed, note


def set_input_shape(model: onnx.ModelProto, batch: int | None, image: list[int]) -> None:
    """Write the sizes of the only input into `model`; a batch of None stays open."""
    _set_shape(model.graph.input[0], batch, image)


def set_output_shape(model: onnx.ModelProto, batch: int | None, n_features: int) -> None:
    """Write the sizes of the only output into `model`; a batch of None stays open."""
    _set_shape(model.graph.output[0], batch, [n_features])


def _set_shape(value: onnx.ValueInfoProto, batch: int | None, rest: list[int]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    first = shape.dim.add()
    if batch is None:
        first.dim_param = "N"
    else:
        first.dim_value = batch
    for size in rest:
        shape.dim.add(dim_value=size)


def cut_classifier(model: onnx.ModelProto, source: str) -> str:
    """Return the tensor that the classifier of an ImageNet network reads.

    The classifier is the last fully connected or 1x1 convolution layer with stored weights before
    the only output. If it is quantised, a node that gives its input as real numbers is appended
    to `model`.

    Raises
    ------
    ModelError
        If there is no such layer.
    """
    from onnx import helper

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {n.output[0] for n in graph.node if n.op_type in {"Constant", "DequantizeLinear"}}
    writers = {name: node for node in graph.node for name in node.output}
    nodes, _ = _needed(graph.node, graph.output[0].name)
    for node in reversed(nodes):
        place = _WEIGHT_PLACE.get(node.op_type)
        if place is None or node.input[place] not in weights:
            continue
        tensor = node.input[0]
        writer = writers.get(tensor)
        if writer is not None and writer.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"}:
            return str(writer.input[0])
        if node.op_type not in _QUANTISED:
            return str(tensor)
        name = f"{_PREFIX}classifier_input"
        graph.node.append(helper.make_node("DequantizeLinear", node.input[:3], [name], name=name))
        return name
    message = f"{source}: found no classifier layer to cut off"
    raise ModelError(message, source=source, code="unsupported_model")
