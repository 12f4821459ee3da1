"""ONNX models whose large weights stay out of protobuf.

Protobuf copies a model whole each time it is read, copied, measured or written, and nearly all of
it is weights. So a model is taken apart once, into a small ``ModelProto`` that is cheap to work on
and views of the weights in the file's bytes, and put together once. Both walk protobuf's wire
format: records of a key (field number and wire type) and a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx

__all__ = ["LightModel", "operators", "take_apart"]

#: Weights of at least this many bytes are kept apart. Shapes and axes, which shape inference wants
#: to know the values of, are smaller.
_LARGE: Final = 4096

# Field numbers of onnx.proto.
_MODEL_GRAPH: Final = 7
_MODEL_FUNCTIONS: Final = 25
_GRAPH_NODE: Final = 1
_GRAPH_INITIALIZER: Final = 5
_TENSOR_NAME: Final = 8
_TENSOR_RAW_DATA: Final = 9
_FUNCTION_NODE: Final = 7
_NODE_OP_TYPE: Final = 4
_NODE_ATTRIBUTE: Final = 5
_ATTRIBUTE_GRAPHS: Final = (6, 11)  # one, and a list

_LENGTH_DELIMITED: Final = 2  # of protobuf's wire types


_Bytes: TypeAlias = bytes | memoryview


class _Record(NamedTuple):
    """One field of a message: its number, all its bytes, and where among them its value starts."""

    field: int
    data: memoryview
    start: int

    @property
    def value(self) -> memoryview:
        return self.data[self.start :]


@dataclass(frozen=True, slots=True)
class LightModel:
    """A model and, apart from it, its large weights.

    Attributes
    ----------
    proto : onnx.ModelProto
        The model, but that the initialisers named in `weights` have no data.
    weights : mapping of str to memoryview
        The ``raw_data`` of large initialisers of the graph, by name. Names that `proto` does not
        have are of no account.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, memoryview] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Bytes that the model takes in a file, to within a few for each of the weights."""
        return int(self.proto.ByteSize()) + sum(map(len, self.weights.values()))

    def to_bytes(self) -> bytes:
        """Return the model as one file holds it; equal ones give equal bytes.

        They are those of protobuf's own deterministic writer, but that the data of an initialiser
        are its last field.
        """
        pieces: list[_Bytes] = []
        model = memoryview(self.proto.SerializeToString(deterministic=True))
        for record in _records(model):
            if record.field == _MODEL_GRAPH:
                _put(pieces, _MODEL_GRAPH, self._graph(record.value))
            else:
                pieces.append(record.data)
        return b"".join(pieces)

    def _graph(self, graph: memoryview) -> list[_Bytes]:
        pieces: list[_Bytes] = []
        for record in _records(graph):
            data = None
            if record.field == _GRAPH_INITIALIZER:
                data = self.weights.get(_name(record.value))
            if data is None:
                pieces.append(record.data)
                continue
            tensor: list[_Bytes] = [record.value]
            _put(tensor, _TENSOR_RAW_DATA, [data])
            _put(pieces, _GRAPH_INITIALIZER, tensor)
        return pieces


def take_apart(data: bytes) -> LightModel:
    """Read a model without its large weights, which stay where they are in `data`.

    Raises
    ------
    ValueError, google.protobuf.message.DecodeError
        If `data` are no ONNX model.
    """
    import onnx

    weights: dict[str, memoryview] = {}
    pieces: list[_Bytes] = []
    for record in _records(memoryview(data)):
        if record.field == _MODEL_GRAPH:
            _put(pieces, _MODEL_GRAPH, _without_weights(record.value, weights))
        else:
            pieces.append(record.data)
    return LightModel(onnx.load_model_from_string(b"".join(pieces)), weights)


def _without_weights(graph: memoryview, weights: dict[str, memoryview]) -> list[_Bytes]:
    """Return the bytes of a graph without its large weights; put these into `weights`."""
    pieces: list[_Bytes] = []
    for record in _records(graph):
        if record.field != _GRAPH_INITIALIZER or len(record.data) < _LARGE:
            pieces.append(record.data)
            continue
        tensor = list(_records(record.value))
        raw = [part for part in tensor if part.field == _TENSOR_RAW_DATA]
        name = _name(record.value)
        if len(raw) != 1 or len(raw[0].value) < _LARGE or name in weights:
            pieces.append(record.data)
            continue
        weights[name] = raw[0].value
        rest = [part.data for part in tensor if part.field != _TENSOR_RAW_DATA]
        _put(pieces, _GRAPH_INITIALIZER, rest)
    return pieces


def operators(data: bytes) -> set[str]:
    """Return the types of all operators of a model, those inside branches and functions included.

    Raises
    ------
    ValueError
        If `data` are no ONNX model.
    """
    found: set[str] = set()
    for record in _records(memoryview(data)):
        if record.field == _MODEL_GRAPH:
            _add_operators(record.value, _GRAPH_NODE, found)
        elif record.field == _MODEL_FUNCTIONS:
            _add_operators(record.value, _FUNCTION_NODE, found)
    return found


def _add_operators(message: memoryview, node_field: int, found: set[str]) -> None:
    for node in _records(message):
        if node.field != node_field:
            continue
        for record in _records(node.value):
            if record.field == _NODE_OP_TYPE:
                found.add(str(record.value, "utf-8"))
            elif record.field == _NODE_ATTRIBUTE:
                for inner in _records(record.value):
                    if inner.field in _ATTRIBUTE_GRAPHS:
                        _add_operators(inner.value, _GRAPH_NODE, found)


def _name(tensor: memoryview) -> str:
    return next((str(r.value, "utf-8") for r in _records(tensor) if r.field == _TENSOR_NAME), "")


def _records(message: memoryview) -> Iterator[_Record]:
    """Yield the fields of a message in their order."""
    position = 0
    while position < len(message):
        first = position
        key, position = _read_varint(message, position)
        match key & 7:
            case 2:  # a length, and as many bytes
                length, position = _read_varint(message, position)
                end = position + length
            case 0:  # one number
                _, end = _read_varint(message, position)
            case 1:
                end = position + 8
            case 5:
                end = position + 4
            case other:
                raise ValueError(f"wire type {other} is not one of protobuf's")
        if end > len(message):
            raise ValueError("the data end early")
        yield _Record(key >> 3, message[first:end], position - first)
        position = end


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position, seven bits a byte, and the position after it."""
    value = shift = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise ValueError("the data end early")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 64 bits")


def _put(pieces: list[_Bytes], number: int, value: Sequence[_Bytes]) -> None:
    """Append a field whose value is made of pieces."""
    pieces.append(_varint(number << 3 | _LENGTH_DELIMITED))
    pieces.append(_varint(sum(map(len, value))))
    pieces.extend(value)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
