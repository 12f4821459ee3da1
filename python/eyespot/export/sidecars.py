"""Files beside an ONNX export, in the layouts that other programs look for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from eyespot.errors import ExportError, printable
from eyespot.export.forms import LABEL_NAME, reformed, serialized, sign
from eyespot.export.onnx import METADATA_FACTS, OUTPUT_NAME
from eyespot.export.parity import rgb_statistics
from eyespot.export.pixels import INPUT_NAME, InputForm
from eyespot.options import CropPolicy, Resample
from eyespot.rendering import on_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eyespot.model_metadata import ModelMetadata
    from eyespot.options import Preprocessing

__all__ = ["huggingface_files", "label_lines", "triton_files"]

_TRITON_BATCH: Final = 32  # requests that the server may put together
_PILLOW_FILTER: Final = {Resample.BILINEAR: 2, Resample.BICUBIC: 3}  # Pillow's numbers


def label_lines(classes: Sequence[str]) -> bytes:
    """Return a label a line; a line end inside a label becomes visible."""
    return "".join(f"{on_one_line(printable(label))}\n" for label in classes).encode()


def huggingface_files(
    model: bytes,
    spec: Preprocessing,
    metadata: ModelMetadata,
    *,
    facts: Mapping[str, Any],
    quantize: str | None,
) -> dict[str, bytes]:
    """Return the files of a folder in Hugging Face's layout, by name.

    Parameters
    ----------
    model : bytes
        A model as `save` writes it, or quantised.
    spec : Preprocessing
        What the backbone takes.
    metadata : ModelMetadata
        What the maker says.
    facts : mapping
        What the model's file tells about it.
    quantize : str or None
        How the weights are stored, for the metadata.

    Returns
    -------
    dict of str to bytes
        ``model.onnx``, from ``pixel_values`` to ``logits``; ``config.json`` with the labels; and
        ``preprocessor_config.json``.

    Raises
    ------
    ExportError
        If no image processor of Hugging Face's does what `spec` asks for.
    """
    processor = _processor(spec)
    network = reformed(model, form=InputForm.PIXEL_VALUES, logits_output=True, quantize=quantize)
    sign(network, metadata)
    classes = [printable(label) for label in facts["classes"]]
    several = bool(facts.get("multi_label"))
    config = {
        # transformers' AutoConfig asks for a family that it knows; nothing else reads this.
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "problem_type": f"{'multi' if several else 'single'}_label_classification",
        "id2label": {str(index): label for index, label in enumerate(classes)},
        "label2id": {label: index for index, label in enumerate(classes)},
        "num_channels": 3,
    }
    return {
        "model.onnx": serialized(network),
        "config.json": _json(config),
        "preprocessor_config.json": _json(processor),
    }


def _processor(spec: Preprocessing) -> dict[str, Any]:
    sides = {"height": spec.height, "width": spec.width}
    common = {
        "do_convert_rgb": True,
        "resample": _PILLOW_FILTER[spec.resample],
        "do_rescale": spec.dtype != "uint8",
        "do_normalize": spec.dtype != "uint8",
        "rescale_factor": spec.scale,
        "image_mean": list(rgb_statistics(spec)[0]),
        "image_std": list(rgb_statistics(spec)[1]),
    }
    if spec.crop == CropPolicy.STRETCH:
        resizing = {"do_resize": True, "size": sides}
        return {"image_processor_type": "ViTImageProcessor", **resizing, **common}
    if spec.crop == CropPolicy.CENTER_CROP and spec.width == spec.height:
        cropping = {
            "do_resize": True,
            "size": {"shortest_edge": spec.width},
            "do_center_crop": True,
            "crop_size": sides,
        }
        return {"image_processor_type": "CLIPImageProcessor", **cropping, **common}
    shape = "" if spec.width == spec.height else f" to {spec.width} x {spec.height} px"
    message = (
        f"no image processor of Hugging Face's does {spec.crop}{shape}; it has center_crop to a "
        "square, and stretch"
    )
    raise ExportError(message, source="sidecars", code="unsupported_model")


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def triton_files(name: str, data: bytes) -> dict[str, bytes]:
    """Return the files of a model folder for NVIDIA's Triton server, by relative name.

    Parameters
    ----------
    name : str
        What the server is to call the model.
    data : bytes
        The exported ONNX file.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    facts = next(entry.value for entry in model.metadata_props if entry.key == METADATA_FACTS)
    classes = json.loads(facts)["classes"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    batched = not shape[0].dim_value
    first = "" if batched else f"{shape[0].dim_value}, "
    dims = ", ".join(str(side.dim_value or -1) for side in shape[1:])
    kind = model.graph.input[0].type.tensor_type.elem_type
    element = "TYPE_UINT8" if kind == onnx.TensorProto.UINT8 else "TYPE_FP32"
    probabilities = f'name: "{OUTPUT_NAME}" data_type: TYPE_FP32 dims: [ {first}{len(classes)} ]'
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {_TRITON_BATCH if batched else 0}",
        f'input [ {{ name: "{INPUT_NAME}" data_type: {element} dims: [ {first}{dims} ] }} ]',
        f'output [ {{ {probabilities} label_filename: "labels.txt" }} ]',
    ]
    if any(output.name == LABEL_NAME for output in model.graph.output):
        one = "dims: [ 1 ] reshape: { shape: [ ] }" if batched else f"dims: [ {first[:-2]} ]"
        lines.append(f'output [ {{ name: "{LABEL_NAME}" data_type: TYPE_STRING {one} }} ]')
    if batched:
        lines.append("dynamic_batching { }")
    return {
        "config.pbtxt": ("\n".join(lines) + "\n").encode(),
        "labels.txt": label_lines(classes),
        "1/model.onnx": data,
    }
