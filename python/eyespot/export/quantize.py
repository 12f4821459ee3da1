"""Eight-bit weights and activations, calibrated on photos."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import DataError, ExportError, ImageError
from eyespot.export.graph import evaluate
from eyespot.export.onnx import opset_of
from eyespot.export.pixels import INPUT_NAME
from eyespot.light_model import operators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx
    from numpy.typing import NDArray

    from eyespot.export.samples import Samples

__all__ = ["CALIBRATION_IMAGES", "computes_with_eight_bits", "quantized"]

#: Photos that the ranges of the activations are measured on; more changes little.
CALIBRATION_IMAGES: Final = 128

_PER_CHANNEL_OPSET: Final = 13  # the first whose DequantizeLinear has an axis
_NEW_OPSET: Final = 17
# How operators that round activations, or take rounded ones, begin. A `DequantizeLinear` alone is
# only the way in which weights are stored.
_EIGHT_BITS: Final = ("QuantizeLinear", "DynamicQuantize", "QLinear", "QGemm", "ConvInteger",
    "MatMulInteger")  # fmt: skip
# Operators whose products dominate; the rest stays in floats between them.
_OPERATORS: Final = ("Conv", "MatMul", "Gemm", "Add", "Mul", "MaxPool", "AveragePool", "Concat",
    "GlobalAveragePool", "Relu", "Clip", "Resize", "Transpose", "Reshape")  # fmt: skip


def computes_with_eight_bits(data: bytes) -> bool:
    """Whether the backbone of a saved model is quantised, its activations included."""
    return any(name.startswith(_EIGHT_BITS) for name in operators(data))


def quantized(data: bytes, samples: Samples) -> bytes:
    """Return a saved model whose backbone computes with eight bits.

    Parameters
    ----------
    data : bytes
        A model as `save` writes it, which does not compute with eight bits yet.
    samples : Samples
        Photos like those that the model will see; the ranges of the activations are theirs.

    Returns
    -------
    bytes
        The same input and outputs. Preprocessing and head stay in float32: they are small, and
        most of the accuracy would be lost there.

    Raises
    ------
    ExportError
        If ONNX Runtime cannot quantise the backbone.
    DataError
        If no photo could be read.

    Notes
    -----
    Static quantisation in the QDQ form, symmetric weights a channel, with the least and the largest
    value as the range of an activation. Weights use 7 of the 8 bits, as ONNX Runtime advises for
    x86-64: without VNNI, sums of 8-bit products can overflow there, and a model must give the same
    answers on every machine.
    """
    import onnx

    pixels = [
        sample.pixels for sample in samples.read(whole=False) if not isinstance(sample, ImageError)
    ]
    if not pixels:
        message = f"none of the {len(samples):,} photos to calibrate on could be read"
        raise DataError(message, source="photos", code="no_usable_images")
    plain = _with_plain_weights(onnx.load_model_from_string(data))
    if opset_of(plain) < _PER_CHANNEL_OPSET:
        plain = _modernised(plain)
    metadata = list(plain.metadata_props)
    try:
        with _silenced(), tempfile.TemporaryDirectory(prefix="eyespot-int8-") as folder:
            result = _quantize(plain, pixels, Path(folder))
    except Exception as error:  # ONNX Runtime's tools raise anything
        message = f"the backbone cannot be quantised: {error}"
        raise ExportError(message, source="backbone", code="unsupported_model") from error
    del result.metadata_props[:]
    result.metadata_props.extend(metadata)
    result.producer_name, result.producer_version = plain.producer_name, plain.producer_version
    del result.graph.value_info[:]
    return bytes(result.SerializeToString(deterministic=True))


def _quantize(plain: onnx.ModelProto, pixels: list[NDArray[Any]], folder: Path) -> onnx.ModelProto:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batch = plain.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(pixels)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self._rest, None)
            return None if image is None else {INPUT_NAME: image.repeat(batch, axis=0)}

    prepared, made = folder / "prepared.onnx", folder / "int8.onnx"
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    if _own_nodes(onnx.load(prepared)) != _own_nodes(plain):  # the optimiser went too far
        quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
    quantization.quantize_static(
        prepared,
        made,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=[name for _, name in _own_nodes(plain)],
    )
    result = onnx.load(made)
    used = {"", *(node.domain for node in result.graph.node)}
    for entry in [entry for entry in result.opset_import if entry.domain not in used]:
        result.opset_import.remove(entry)  # the optimiser names all that it knows
    return result


def _own_nodes(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Return operator and name of the nodes of preprocessing and head, which must stay."""
    nodes = ((node.op_type, node.name) for node in model.graph.node)
    return [node for node in nodes if node[1].startswith(("preprocessing/", "head/"))]


def _with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn weights that are stored in fewer bits, and widened in the graph, into float32."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        values = _widened(node, constants, opset_of(model))
        if values is None:
            kept.append(node)
        else:
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    copies = []
    for node in kept:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        if not _used_inside(graph, tensor.name):
            graph.initializer.remove(tensor)
    return model


def _widened(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], opset: int
) -> NDArray[np.float32] | None:
    """Return the float32 weights that a node makes of stored ones, None if it does not."""
    import onnx
    from onnx import numpy_helper

    to = next((a.i for a in node.attribute if a.name == "to"), 0)
    to_float = node.op_type == "Cast" and to == onnx.TensorProto.FLOAT
    if not (to_float or node.op_type == "DequantizeLinear"):
        return None
    if not all(name in constants for name in node.input if name):
        return None
    stored = [numpy_helper.to_array(constants[name]) for name in node.input if name]
    (values,) = evaluate(node, opset, stored)
    return values if values.dtype == np.float32 else None


def _used_inside(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a branch or the body of a loop uses a tensor of the outer graph."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                inside = any(name in part.input for part in inner.node)
                if inside or any(name == out.name for out in inner.output):
                    return True
                if _used_inside(inner, name):
                    return True
    return False


def _modernised(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, _NEW_OPSET)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        message = (
            f"int8 needs opset {_PER_CHANNEL_OPSET}, and the backbone, of opset "
            f"{opset_of(model)}, cannot be brought there: {error}"
        )
        raise ExportError(message, source="backbone", code="unsupported_model") from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the tool's remarks, which go to the root logger, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
