"""One self-contained ONNX file: pixels in, probabilities out.

The file is ``image`` (uint8 RGB pixels) -> normalisation -> backbone -> dense layers -> softmax or
sigmoid -> ``probabilities``. It needs no operator outside plain ``ai.onnx`` but those of the
backbone, so any ONNX Runtime runs it without eyespot, and eyespot predicts with nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from eyespot.errors import ExportError, InvalidOption
from eyespot.export.pixels import INPUT_NAME, InputForm, input_value, pixel_stage
from eyespot.head import Head
from eyespot.light_model import LightModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from eyespot.options import Preprocessing

__all__ = [
    "INPUT_NAME",
    "METADATA_FACTS",
    "METADATA_PREPROCESSING",
    "METADATA_WORDS",
    "OUTPUT_NAME",
    "assemble",
    "check_model",
    "opset_of",
    "read_head",
]

#: Name of the only output: float32 of shape (N, n_classes); of a softmax, each row sums to 1.
OUTPUT_NAME: Final = "probabilities"
#: Metadata key: what the pixels of the input must be (the text of `Preprocessing.to_json`).
METADATA_PREPROCESSING: Final = "eyespot.preprocessing"
#: Metadata key: the same for people, with what the graph does to the pixels.
METADATA_WORDS: Final = "eyespot.preprocessing.words"
#: Metadata key: a JSON object with classes, backbone, parameters and training facts.
METADATA_FACTS: Final = "eyespot.model"

_PREFIX: Final = "backbone/"
_MIN_OPSET: Final = 7  # the first whose Mul, Sub, Div, Gemm and Softmax mean what they mean today
_NEW_OPSET: Final = 17
_MIN_IR: Final = 8
_MAX_BYTES: Final = 2**31 - 1  # protobuf's


def assemble(
    backbone: LightModel,
    preprocessing: Preprocessing,
    head: Head,
    classes: Sequence[str],
    *,
    facts: Mapping[str, Any],
) -> bytes:
    """Join normalisation, backbone and head into one ONNX model.

    Parameters
    ----------
    backbone : LightModel
        One input of images as `preprocessing` describes it and one float output of shape
        (N, n_features). It is not changed.
    preprocessing : Preprocessing
        What the backbone's input takes. Its normalisation moves into the graph; size, filter and
        crop are recorded for whoever fills the input.
    head : Head
        Its last layer is written as ``head/weights`` and ``head/bias``, the hidden ones before it
        as ``head/hidden_0/weights`` and so on.
    classes : sequence of str
        The labels, in the order of the head's classes.
    facts : mapping
        What is known of the model, put as JSON under `METADATA_FACTS`.

    Returns
    -------
    bytes
        The serialised model; the same arguments give the same bytes.

    Raises
    ------
    ExportError
        If the parts do not fit together, or the result would pass 2 GiB.

    Notes
    -----
    The backbone's nodes keep their order and attributes, and its opset stays as it is (from 7 on),
    so its numbers do not change; only names get a prefix.
    """
    import onnx
    from onnx import helper

    _check_classes(head, classes)
    modern = _modern(backbone)
    inner = modern.proto
    image = _only_input(inner.graph)
    batch = _batch_dimension(image)
    _prefix_names(inner.graph)
    weights = {_PREFIX + name: data for name, data in modern.weights.items()}

    nodes, constants = pixel_stage(preprocessing, image.name, opset=opset_of(inner))
    nodes += inner.graph.node
    head_nodes, head_constants = _dense_layers(inner.graph.output[0].name, head)
    graph = helper.make_graph(
        [*nodes, *head_nodes],
        "eyespot_classifier",
        [input_value(preprocessing, InputForm.UINT8_NHWC, batch)],
        [helper.make_tensor_value_info(OUTPUT_NAME, onnx.TensorProto.FLOAT, [batch, len(classes)])],
        [*constants, *inner.graph.initializer, *head_constants],
        sparse_initializer=inner.graph.sparse_initializer,
    )
    graph.quantization_annotation.extend(inner.graph.quantization_annotation)
    model = helper.make_model(
        graph,
        opset_imports=sorted(inner.opset_import, key=lambda entry: entry.domain),
        functions=inner.functions,
        ir_version=max(_MIN_IR, inner.ir_version),
        producer_name="eyespot",
        producer_version=str(facts.get("eyespot", "")),
        doc_string=f"Image classifier with {len(classes)} classes",
    )
    metadata = _metadata(preprocessing, classes, facts)
    metadata |= {f"backbone.{p.key}": p.value for p in backbone.proto.metadata_props}
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    result = LightModel(model, weights)
    check_model(result)
    return result.to_bytes()


def read_head(data: bytes) -> Head:
    """Return the head of a model that `assemble` made.

    Parameters
    ----------
    data : bytes
        The serialised model.

    Returns
    -------
    Head
        With the weights as they are in the file: a temperature is still folded in.

    Raises
    ------
    ExportError
        If the model has no such head.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(data).graph
    found = {t.name: t for t in graph.initializer if t.name.startswith("head/")}
    hidden = (f"head/hidden_{number}/" for number in range(len(found) // 2 - 1))

    def pair(prefix: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weights, bias = (numpy_helper.to_array(found[prefix + n]) for n in ("weights", "bias"))
        return weights, bias

    try:
        layers = tuple(pair(prefix) for prefix in (*hidden, "head/"))
        return Head(layers, "sigmoid" if graph.node[-1].op_type == "Sigmoid" else "softmax")
    except (KeyError, InvalidOption) as error:
        message = f"the model has no head as eyespot writes it: {error}"
        raise ExportError(message, source="head") from error


def _check_classes(head: Head, classes: Sequence[str]) -> None:
    count = len(classes)
    if head.n_classes != count:
        message = f"the head has {head.n_classes} classes, and {count} labels are given"
        raise ExportError(message, source="head")
    if len(set(classes)) != count or not all(classes):
        message = "labels must be there, not empty, and differ from each other"
        raise ExportError(message, source="classes")


def _modern(backbone: LightModel) -> LightModel:
    """Return a copy of `backbone` whose plain operators are of opset 7 or later."""
    import onnx
    from onnx import version_converter

    model = onnx.ModelProto()
    model.CopyFrom(backbone.proto)
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    opset = opset_of(model)
    light = LightModel(model, backbone.weights)
    if opset >= _MIN_OPSET:
        return light
    whole = onnx.load_model_from_string(light.to_bytes())
    try:
        return LightModel(version_converter.convert_version(whole, _NEW_OPSET))
    except (RuntimeError, onnx.checker.ValidationError) as error:
        message = (
            f"the backbone has opset {opset} and cannot be brought to opset {_NEW_OPSET}: {error}"
        )
        raise ExportError(message, source="backbone") from error


def _only_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in graph.initializer}
    images = [value for value in graph.input if value.name not in constants]
    if len(images) != 1 or len(graph.output) != 1:
        message = (
            f"the backbone has {len(images)} inputs and {len(graph.output)} outputs; "
            "a classifier needs one of each"
        )
        raise ExportError(message, source="backbone")
    return images[0]


def _batch_dimension(image: onnx.ValueInfoProto) -> int | str:
    """Return the batch size that the backbone insists on, or the symbol ``"N"``."""
    dimensions = image.type.tensor_type.shape.dim
    fixed = dimensions[0].dim_value if dimensions else 0
    return int(fixed) if fixed > 0 else "N"


def _prefix_names(graph: onnx.GraphProto) -> None:
    """Put `_PREFIX` before every name in `graph` and its sub-graphs, in place."""

    def renamed(names: Iterable[str]) -> list[str]:
        return [_PREFIX + name if name else "" for name in names]

    for node in graph.node:
        node.name = _PREFIX + node.name if node.name else ""
        node.input[:] = renamed(node.input)
        node.output[:] = renamed(node.output)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _prefix_names(attribute.g)
            for subgraph in attribute.graphs:
                _prefix_names(subgraph)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = _PREFIX + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _PREFIX + sparse.values.name
        sparse.indices.name = _PREFIX + sparse.indices.name
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = _PREFIX + annotation.tensor_name
        for entry in annotation.quant_parameter_tensor_names:
            entry.value = _PREFIX + entry.value
    del graph.value_info[:]  # hints only, and those of a fixed batch would contradict ours


def _dense_layers(features: str, head: Head) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes from the embedding to the probabilities, and their constants."""
    from onnx import helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def dense(source: str, layer: int, name: str, result: str) -> None:
        weights, bias = head.layers[layer]
        names = [f"{name}/weights", f"{name}/bias"]
        constants.append(numpy_helper.from_array(weights, names[0]))
        constants.append(numpy_helper.from_array(bias, names[1]))
        nodes.append(helper.make_node("Gemm", [source, *names], [result], name=result, transB=1))

    for number in range(len(head.layers) - 1):
        name = f"head/hidden_{number}"
        dense(features, number, name, f"{name}/sums")
        features = f"{name}/relu"
        nodes.append(helper.make_node("Relu", [f"{name}/sums"], [features], name=features))
    dense(features, -1, "head", "head/logits")
    # Of two dimensions, axis 1 means the same before opset 13 and since.
    attributes = {"axis": 1} if head.output == "softmax" else {}
    nodes.append(
        helper.make_node(
            head.output.capitalize(),
            ["head/logits"],
            [OUTPUT_NAME],
            name=f"head/{head.output}",
            **attributes,
        )
    )
    return nodes, constants


def _metadata(
    preprocessing: Preprocessing, classes: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, str]:
    """Return the metadata entries: ours, and the labels as other tools look for them."""
    by_number = dict(enumerate(classes))
    pixels = preprocessing.replace(
        layout="nhwc", dtype="uint8", color="rgb", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    return {
        METADATA_PREPROCESSING: pixels.to_json(),
        METADATA_WORDS: preprocessing.describe(),
        METADATA_FACTS: json.dumps(facts, separators=(",", ":"), allow_nan=False),
        "names": repr(by_number),  # Ultralytics reads a Python literal
        "labels": json.dumps(list(classes)),
        "id2label": json.dumps(by_number),  # Hugging Face
        "task": "classify",
        "imgsz": str([preprocessing.height, preprocessing.width]),
        # The ONNX specification's own words for what an image input holds.
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of a model's plain operators, 0 if it names none."""
    return next((int(entry.version) for entry in model.opset_import if not entry.domain), 0)


def check_model(model: LightModel) -> None:
    """Refuse a model that is larger than a file may be, or not valid.

    Raises
    ------
    ExportError
        With what ONNX's checker says of it.
    """
    import onnx

    if (size := model.n_bytes) > _MAX_BYTES:
        message = f"the model would take {size / 2**30:.1f} GiB; one ONNX file holds up to 2 GiB"
        raise ExportError(message, source="backbone")
    try:
        checked = _weights_as_inputs(model) if model.weights else model.proto
        onnx.checker.check_model(checked, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        message = f"backbone and head do not make a valid model: {error}"
        raise ExportError(message, source="backbone") from error


def _weights_as_inputs(model: LightModel) -> onnx.ModelProto:
    """Return a model of the same nodes that takes its large weights as inputs.

    Nothing is lost to the checker, which looks at their types and shapes, and into small ones only.
    """
    import onnx
    from onnx import helper

    result = onnx.ModelProto()
    result.CopyFrom(model.proto)
    graph = result.graph
    apart = [tensor for tensor in model.proto.graph.initializer if tensor.name in model.weights]
    kept = [tensor for tensor in model.proto.graph.initializer if tensor.name not in model.weights]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for tensor in apart:
        graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return result
