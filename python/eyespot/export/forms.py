"""A saved model in other forms: another input, labels as text, logits, quantised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from eyespot.errors import ExportError, printable
from eyespot.export.graph import GraphPart
from eyespot.export.onnx import (
    METADATA_FACTS,
    METADATA_PREPROCESSING,
    METADATA_WORDS,
    OUTPUT_NAME,
    check_model,
    opset_of,
)
from eyespot.export.pixels import PREFIX, InputForm, input_value, pixel_stage
from eyespot.light_model import LightModel
from eyespot.model_metadata import METADATA_KEY
from eyespot.options import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from eyespot.model_metadata import ModelMetadata

__all__ = [
    "LABEL_NAME",
    "LOGITS_NAME",
    "METADATA_EXPORT",
    "METADATA_PROOF",
    "QUANTIZED_BEFORE",
    "backbone_preprocessing",
    "reformed",
    "serialized",
    "set_metadata",
    "sign",
]

#: Name of the optional output of label texts, of shape (N,).
LABEL_NAME: Final = "label"
#: Name of the output that takes the place of the probabilities in Hugging Face's layout.
LOGITS_NAME: Final = "logits"
#: Metadata key: a JSON object with the form of an export.
METADATA_EXPORT: Final = "eyespot.export"
#: What an export says of int8 that was asked for where the backbone computes so already: its
#: network is that of the saved model, and so are its answers.
QUANTIZED_BEFORE: Final = "backbone"
#: Metadata key of the proof that an export answers as the model does.
METADATA_PROOF: Final = "eyespot.proof"


def backbone_preprocessing(metadata: Mapping[str, str]) -> Preprocessing:
    """Return what the backbone inside a saved model takes, by the model's metadata."""
    facts = json.loads(metadata[METADATA_FACTS])
    return Preprocessing.from_json(json.dumps(facts["backbone"]["preprocessing"]))


def reformed(
    model: bytes,
    *,
    form: InputForm,
    label_output: bool = False,
    logits_output: bool = False,
    quantize: str | None = None,
) -> onnx.ModelProto:
    """Return a saved model with another input or other outputs.

    Parameters
    ----------
    model : bytes
        A model as `save` writes it, or one that was quantised after.
    form : InputForm
        What the caller puts in.
    label_output : bool
        Whether to add the output ``label``, the text of the most probable label of each image.
    logits_output : bool
        Whether to give ``logits``, the numbers before softmax, instead of the probabilities.
    quantize : str or None
        What is noted in the metadata: ``"int8"`` if `model` was quantised for this export,
        `QUANTIZED_BEFORE`. What an earlier export noted stays.

    Returns
    -------
    onnx.ModelProto
        Checked. Backbone and head are those of `model`, untouched, so their numbers are the same.

    Raises
    ------
    ExportError
        If the model cannot have this form.
    """
    import onnx

    result = onnx.load_model_from_string(model)
    graph = result.graph
    metadata = {entry.key: entry.value for entry in result.metadata_props}
    before = json.loads(metadata.get(METADATA_EXPORT, "{}")).get("quantize")
    for entry in [e for e in result.metadata_props if e.key == METADATA_PROOF]:
        result.metadata_props.remove(entry)  # of the export that this one is made from
    spec = backbone_preprocessing(metadata)
    if form != InputForm.UINT8_NHWC:
        _replace_input(result, spec, form)
    if logits_output:
        _give_logits(graph)
    classes = json.loads(metadata[METADATA_FACTS])["classes"]
    if label_output:
        if json.loads(metadata[METADATA_FACTS]).get("multi_label"):
            message = "a photo may have several labels here: there is no one label to give out"
            raise ExportError(message, source="label_output", code="invalid_argument")
        _add_label(graph, classes)
    pixels = Preprocessing.from_json(metadata[METADATA_PREPROCESSING])
    if form in (InputForm.FLOAT_NCHW, InputForm.PIXEL_VALUES):
        pixels = spec.replace(layout="nchw", dtype="float32", color="rgb")
        if form == InputForm.FLOAT_NCHW:
            pixels = pixels.replace(scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    entries = {
        METADATA_PREPROCESSING: pixels.to_json(),
        METADATA_WORDS: f"{_INPUT_WORDS[form]} The definition: {spec.describe()}.",
        METADATA_EXPORT: json.dumps(
            {
                "input": str(form),
                "outputs": [output.name for output in graph.output],
                "quantize": before or quantize,
            }
        ),
    }
    set_metadata(result, entries)
    check_model(LightModel(result))
    return result


_INPUT_WORDS: Final = {
    InputForm.UINT8_NHWC: "The input is the photo after crop and resize, before normalisation.",
    InputForm.FLOAT_NCHW: "The input is the photo after crop and resize, before normalisation, "
    "as float32 planes of the levels 0 to 255, RGB.",
    InputForm.RESIZE: "The input is the decoded photo, upright, RGB, of any size; crop, resize and "
    "normalisation are in the graph.",
    InputForm.PIXEL_VALUES: "The input is the photo after crop, resize and normalisation, as "
    "float32 planes, RGB.",
}


def serialized(model: onnx.ModelProto) -> bytes:
    """Return a model's bytes; equal models give equal bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def set_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Put entries into a model's metadata, in place of those of the same name."""
    for key, value in entries.items():
        for entry in model.metadata_props:
            if entry.key == key:
                entry.value = value
                break
        else:
            model.metadata_props.add(key=key, value=value)


def sign(model: onnx.ModelProto, metadata: ModelMetadata) -> None:
    """Write what the maker says, in our entry and where other tools look for it."""
    entries = {METADATA_KEY: metadata.to_json(), **metadata.additional}
    if metadata.author:
        entries["model_author"] = metadata.author
    if metadata.license:
        entries["model_license"] = metadata.license
    set_metadata(model, entries)
    model.doc_string = metadata.short_description
    if metadata.version.isdecimal() and int(metadata.version) < 2**63:
        model.model_version = int(metadata.version)


def _replace_input(model: onnx.ModelProto, spec: Preprocessing, form: InputForm) -> None:
    graph = model.graph
    old = [node for node in graph.node if node.name.startswith(PREFIX)]
    target = old[-1].output[0]
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    nodes, constants = pixel_stage(spec, target, form=form, opset=opset_of(model))
    kept_nodes = [node for node in graph.node if not node.name.startswith(PREFIX)]
    kept = [tensor for tensor in graph.initializer if not tensor.name.startswith(PREFIX)]
    value = input_value(spec, form, batch.dim_value or batch.dim_param)
    for field, values in (
        (graph.node, [*nodes, *kept_nodes]),
        (graph.initializer, [*constants, *kept]),
        (graph.input, [value]),
    ):
        copies = [_copy(item) for item in values]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]


def _copy(message: onnx.NodeProto) -> onnx.NodeProto:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _give_logits(graph: onnx.GraphProto) -> None:
    """Leave out the last step, softmax or sigmoid."""
    last = next(node for node in graph.node if OUTPUT_NAME in node.output)
    if last.op_type not in ("Softmax", "Sigmoid"):
        message = f"the model ends in {last.op_type}, so that it has no logits to give out"
        raise ExportError(message, source="head", code="unsupported_model")
    logits = last.input[0]
    graph.node.remove(last)
    for node in graph.node:
        node.output[:] = [LOGITS_NAME if name == logits else name for name in node.output]
        node.input[:] = [LOGITS_NAME if name == logits else name for name in node.input]
    graph.output[0].name = LOGITS_NAME


def _add_label(graph: onnx.GraphProto, classes: Sequence[str]) -> None:
    from onnx import TensorProto, helper

    batch = graph.input[0].type.tensor_type.shape.dim[0]
    texts = [printable(label).encode() for label in classes]
    part = GraphPart("head/")
    graph.initializer.append(
        helper.make_tensor("head/labels", TensorProto.STRING, [len(texts)], texts)
    )
    best = part.add("ArgMax", "best", graph.output[0].name, axis=1, keepdims=0)
    part.add("Gather", LABEL_NAME, "head/labels", best, axis=0)
    part.nodes[-1].output[0] = LABEL_NAME
    graph.node.extend(part.nodes)
    shape = [batch.dim_value or batch.dim_param]
    graph.output.append(helper.make_tensor_value_info(LABEL_NAME, TensorProto.STRING, shape))
