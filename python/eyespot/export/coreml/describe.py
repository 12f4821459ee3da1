"""What a Core ML file says of itself: names, texts, labels, metadata; and Create ML's pipeline."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.export.onnx import METADATA_FACTS, METADATA_PREPROCESSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eyespot.export.coreml.source import LinearHead, Source

__all__ = ["FEATURES", "IMAGE", "NAMES", "CoreMLText", "OutputNames", "describe", "glm_pipeline"]

#: Name of the image input of every file.
IMAGE: Final = "image"
#: Name of what the extractor of a pipeline hands to its classifier.
FEATURES: Final = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputNames:
    """How a classifier calls its outputs: the likeliest label, and all probabilities by label."""

    label: str
    probabilities: str


#: The output names on offer. "classic" is what coremltools and older Create ML write, "createml"
#: what Create ML writes since macOS 13.
NAMES: Final = {
    "classic": OutputNames(label="classLabel", probabilities="classLabelProbs"),
    "createml": OutputNames(label="target", probabilities="targetProbability"),
}

_PREVIEW: Final = "com.apple.coreml.model.preview.type"
_CONVERTER: Final = "com.github.apple.coremltools.version"
# The crop policies, and Vision's names for the same (`VNImageCropAndScaleOption`).
_CROPS: Final = {
    "center_crop": ("the largest centred part of this shape", "centerCrop"),
    "fit": ("the whole photo, centred on white", "scaleFit"),
    "stretch": ("the whole photo, each side scaled on its own", "scaleFill"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLText:
    """The texts that Xcode and Finder show for a model.

    Attributes
    ----------
    author, short_description, license, version : str
        Free text; empty ones are left out.
    additional : mapping of str to str
        User-defined entries, besides those that eyespot writes itself (labels, preprocessing).
    """

    author: str = ""
    short_description: str = ""
    license: str = ""
    version: str = ""
    additional: Mapping[str, str] = field(default_factory=dict)


def describe(
    spec: Any, source: Source, names: OutputNames, text: CoreMLText, *, converter: str
) -> None:
    """Write texts and metadata into a finished specification, in place.

    Parameters
    ----------
    spec : Model_pb2.Model
        A classifier with an image input.
    source : Source
        What it was made from.
    names : OutputNames
        Of its outputs.
    text : CoreMLText
        What the caller says.
    converter : str
        Version of coremltools.
    """
    description = spec.description
    preprocessing = json.loads(source.preprocessing)
    shown, vision = _CROPS[preprocessing["crop"]]
    count = len(source.classes)
    texts = {
        IMAGE: (
            f"RGB image of {source.width} x {source.height} pixels: {shown}. With Vision, set "
            f"imageCropAndScaleOption to .{vision}."
        ),
        names.label: "The likeliest label",
        names.probabilities: f"Probability of each of the {count} labels",
    }
    for feature in (*description.input, *description.output):
        feature.shortDescription = texts[feature.name]
    metadata = description.metadata
    metadata.Clear()
    metadata.author = text.author
    metadata.license = text.license
    metadata.versionString = text.version
    metadata.shortDescription = text.short_description or f"Image classifier with {count} labels"
    metadata.userDefined.update(
        {
            **text.additional,
            _PREVIEW: "imageClassifier",
            _CONVERTER: converter,
            METADATA_PREPROCESSING: source.preprocessing,
            METADATA_FACTS: json.dumps(source.facts, separators=(",", ":")),
        }
    )


def rename_outputs(spec: Any, names: OutputNames) -> None:
    """Give the outputs of a classifier the names that were asked for, wherever they are told.

    coremltools derives the name of the probabilities from that of the label and has no option.
    """
    description = spec.description
    old = {
        description.predictedFeatureName: names.label,
        description.predictedProbabilitiesName: names.probabilities,
    }
    for feature in description.output:
        feature.name = old[feature.name]
    description.predictedFeatureName = names.label
    description.predictedProbabilitiesName = names.probabilities
    if spec.WhichOneof("Type") != "mlProgram":
        return
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    block.outputs[:] = [old[name] for name in block.outputs]
    for output in block.operations[-1].outputs:
        output.name = old[output.name]


def glm_pipeline(extractor: Any, head: LinearHead, source: Source, names: OutputNames) -> Any:
    """Return ``pipelineClassifier`` = [`extractor`, generalised linear model], Create ML's shape.

    Create ML writes a softmax regression with the first class as reference: its score is 0, and
    each other class has the difference of its weights to those of the first, in double precision.

    Parameters
    ----------
    extractor : Model_pb2.Model
        Takes ``image``, gives ``features``.
    head : LinearHead
        The softmax regression.
    source : Source
        For its labels.
    names : OutputNames
        Of the outputs.

    Returns
    -------
    Model_pb2.Model
        The pipeline.
    """
    from coremltools.proto import FeatureTypes_pb2, Model_pb2

    linear = Model_pb2.Model(specificationVersion=1)
    taken = linear.description.input.add(name=FEATURES)
    array = taken.type.multiArrayType
    array.shape.append(head.weights.shape[1])
    array.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    extractor.description.output[0].type.multiArrayType.CopyFrom(array)  # may be without its length
    linear.description.output.add(name=names.label).type.stringType.SetInParent()
    probabilities = linear.description.output.add(name=names.probabilities)
    probabilities.type.dictionaryType.stringKeyType.SetInParent()
    weights, bias = head.weights.astype(np.float64), head.bias.astype(np.float64)
    regression = linear.glmClassifier
    for row in weights[1:] - weights[0]:
        regression.weights.add().value.extend(row.tolist())
    regression.offset.extend((bias[1:] - bias[0]).tolist())
    regression.classEncoding = regression.ReferenceClass
    regression.postEvaluationTransform = regression.Logit
    regression.stringClassLabels.vector.extend(source.classes)

    whole = Model_pb2.Model(specificationVersion=max(3, extractor.specificationVersion))
    whole.description.input.add().CopyFrom(extractor.description.input[0])
    whole.description.output.extend(linear.description.output)
    for spec in (linear, whole):
        spec.description.predictedFeatureName = names.label
        spec.description.predictedProbabilitiesName = names.probabilities
    pipeline = whole.pipelineClassifier.pipeline
    pipeline.models.extend([extractor, linear])
    pipeline.names.extend([FEATURES, "classifier"])
    return whole
