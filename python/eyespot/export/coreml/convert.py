"""A Core ML file from a saved model: translation, naming, metadata, bytes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from eyespot.errors import ExportError, InvalidOption
from eyespot.export.coreml import elementwise, shapes, spatial
from eyespot.export.coreml.describe import (
    FEATURES,
    IMAGE,
    NAMES,
    CoreMLText,
    describe,
    glm_pipeline,
    rename_outputs,
)
from eyespot.export.coreml.package import MODEL, WEIGHTS, package_files, write_package
from eyespot.export.coreml.pixels import fold_normalisation
from eyespot.export.coreml.source import LinearHead, Source, read_source
from eyespot.export.coreml.tools import has_native_parts, load_coremltools, quiet
from eyespot.export.coreml.translator import Rearranged, Translator
from eyespot.files import write_atomically

if TYPE_CHECKING:
    import os

    from eyespot.export.coreml.runner import CoreMLRunner

__all__ = ["CoreMLExport", "export_coreml"]

# Turns our (pixel + offset) * factor into a batch normalisation whose variance is 1 and whose
# epsilon is 1e-5: a gain that is wrong by 5e-6.
_PERTURBING: Final = {"common::fuse_elementwise_to_batchnorm"}
_LOWERINGS: Final = elementwise.LOWERINGS | shapes.LOWERINGS | spatial.LOWERINGS
_HEAD: Final = "head_"
_PROGRAM_SPEC: Final = 6  # the first specification version of ML programs: iOS 15, macOS 12
_HALF_MAX: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLExport:
    """A Core ML classifier in memory, ready to be tried and written.

    Attributes
    ----------
    spec : coremltools.proto.Model_pb2.Model
        The model without the weights of an ML program.
    weights : bytes or None
        Those weights (``weight.bin``); None for an ``.mlmodel``, which holds all in one file.
    source : Source
        What it was made from.
    names : OutputNames
        Of its outputs.
    precision : {"float16", "float32"}
        Of the backbone; the head is always float32.
    """

    spec: Any
    weights: bytes | None
    source: Source
    names: Any
    precision: str

    @property
    def specification_version(self) -> int:
        """Core ML's number for the oldest system that reads the file (6: iOS 15, macOS 12)."""
        return int(self.spec.specificationVersion)

    def describe(self, text: CoreMLText) -> None:
        """Replace author, description, licence, version and user-defined entries.

        To be called again when more is known, such as the result of the parity proof.
        """
        converter = str(load_coremltools().__version__)
        describe(self.spec, self.source, self.names, text, converter=converter)

    def files(self) -> dict[str, bytes]:
        """Return the contents by relative name; for an ``.mlmodel`` the only name is ``""``.

        The same model and texts give the same bytes.
        """
        data = bytes(self.spec.SerializeToString(deterministic=True))
        return {"": data} if self.weights is None else package_files(data, self.weights)

    def runner(self) -> CoreMLRunner:
        """Return the interpreter that verifies Core ML files, on what `write` would write."""
        from eyespot.export.coreml.runner import CoreMLRunner

        return CoreMLRunner(self.files())

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, or the folder of an ``.mlpackage``: aside, then renamed.

        Raises
        ------
        ExportError
            If it cannot be written. What was there is then unchanged.
        """
        if self.weights is None:
            write_atomically(path, self.files()[""])
        else:
            write_package(path, self.files())


def export_coreml(
    model: bytes,
    *,
    form: Literal["mlpackage", "mlmodel"] = "mlpackage",
    names: Literal["classic", "createml"] = "classic",
    head: Literal["softmax", "glm"] = "softmax",
    precision: Literal["float16", "float32"] = "float16",
    minimum_deployment_target: str | None = None,
    text: CoreMLText | None = None,
) -> CoreMLExport:
    """Translate a saved model to Core ML.

    Parameters
    ----------
    model : bytes
        The ONNX file that eyespot saved. Nothing else is looked at: graph and metadata say it all.
    form : {"mlpackage", "mlmodel"}
        An ML program, or one file with a neural network for systems from iOS 13, macOS 10.15 on.
    names : {"classic", "createml"}
        Outputs ``classLabel`` and ``classLabelProbs``, or ``target`` and ``targetProbability`` as
        Create ML has them.
    head : {"softmax", "glm"}
        One model, or Create ML's pipeline of a feature extractor and a generalised linear model in
        double precision.
    precision : {"float16", "float32"}
        In which the backbone computes (``.mlpackage``) or is stored (``.mlmodel``). Half is what
        Core ML uses by default and what the Neural Engine knows; it changes probabilities by a
        percent or so. The head stays in float32.
    minimum_deployment_target : str, optional
        A member of coremltools' `target`, such as ``"iOS16"`` or ``"macOS13"``. Default: the
        oldest that can read the file.
    text : CoreMLText, optional
        Author, description and so on; can be given later by `CoreMLExport.describe`.

    Returns
    -------
    CoreMLExport
        Not written yet.

    Raises
    ------
    InvalidOption
        If an option is not one of those listed.
    ExportError
        If coremltools is missing or cannot write this form here (code ``"missing_package"``), the
        model is not of eyespot's (``"unsupported_model"``), a layer has no Core ML form
        (``"unsupported_operator"``; the message names all of them), the head does not fit `head`
        (``"unsupported_head"``), or the labels cannot be used (``"bad_labels"``).

    Notes
    -----
    The input is an RGB image of fixed size named ``image``; its normalisation is in the graph, each
    channel with its own factors. Batch size is 1.
    """
    for option, value, allowed in (
        ("form", form, ("mlpackage", "mlmodel")),
        ("names", names, tuple(NAMES)),
        ("head", head, ("softmax", "glm")),
        ("precision", precision, ("float16", "float32")),
    ):
        if value not in allowed:
            message = f"{option} is {value!r}; it must be one of {', '.join(map(repr, allowed))}"
            raise InvalidOption(message, source=option, code="invalid_argument")
    source = read_source(model)
    linear = source.linear_head() if head == "glm" else None
    ct = load_coremltools()
    target = _target(ct, form, minimum_deployment_target)
    if form == "mlpackage" and not has_native_parts():
        message = (
            f"coremltools {ct.__version__} came without its native parts here, which the weights "
            "of an .mlpackage need: there are wheels for Linux x86-64 and macOS only, and not yet "
            "for every Python. Write an .mlmodel, or export there"
        )
        raise ExportError(message, source="coremltools", code="missing_package")
    spec, weights = _converted(ct, source, linear, form, precision, target)
    chosen = NAMES[names]
    if linear is not None:
        spec = glm_pipeline(spec, linear, source, chosen)
    else:
        rename_outputs(spec, chosen)
    if weights is None and precision == "float16":
        _halve(spec)
    export = CoreMLExport(
        spec=spec, weights=weights, source=source, names=chosen, precision=precision
    )
    export.describe(text or CoreMLText())
    return export


def _target(ct: Any, form: str, wanted: str | None) -> Any:
    if wanted is None:
        return ct.target.iOS15 if form == "mlpackage" else None
    targets = {
        member: value
        for member, value in ct.target.__members__.items()
        if (value.value >= _PROGRAM_SPEC) == (form == "mlpackage") and value.value >= 4
    }
    if wanted not in targets:
        message = (
            f"minimum_deployment_target is {wanted!r}; for an .{form} it must be one of "
            f"{', '.join(targets)}"
        )
        raise InvalidOption(message, source="minimum_deployment_target", code="invalid_argument")
    return targets[wanted]


def _converted(
    ct: Any, source: Source, head: LinearHead | None, form: str, precision: str, target: Any
) -> tuple[Any, bytes | None]:
    """Return the specification as coremltools makes it, and the weights of an ML program."""
    package = form == "mlpackage"
    pipeline = ct.PassPipeline()
    pipeline.remove_passes(_PERTURBING)
    shape = (1, 3, source.height, source.width)
    options: dict[str, Any] = {
        "source": "milinternal",
        "convert_to": "mlprogram" if package else "neuralnetwork",
        "inputs": [ct.ImageType(name=IMAGE, shape=shape, color_layout=ct.colorlayout.RGB)],
        "minimum_deployment_target": target,
        "pass_pipeline": pipeline,
        "skip_model_load": True,
    }
    if head is None:
        options["classifier_config"] = ct.ClassifierConfig(list(source.classes))
    elif package:  # from iOS 16 on an output would be float16 otherwise
        options["outputs"] = [ct.TensorType(name=FEATURES, dtype=np.float32)]
    if package and precision == "float32":
        options["compute_precision"] = ct.precision.FLOAT32
    elif package:
        options["compute_precision"] = ct.transform.FP16ComputePrecision(op_selector=_not_head)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        if package:
            options["package_dir"] = str(Path(folder) / "model.mlpackage")
        program = _program(source, head, target if package else None, neural_network=not package)
        try:
            made = ct.convert(program, **options)
        except (ValueError, RuntimeError, TypeError) as error:  # coremltools has no class for it
            message = f"coremltools {ct.__version__} refuses the model: {error}"
            raise ExportError(message, source="coremltools", code="unsupported_operator") from error
        spec = made.get_spec()
        if not package:
            network = getattr(spec, spec.WhichOneof("Type"))
            del network.preprocessing[:]  # times 1, plus 0
            return spec, None
        root = Path(options["package_dir"])
        spec.ParseFromString((root / MODEL).read_bytes())
        return spec, (root / WEIGHTS).read_bytes()


def _not_head(operation: Any) -> bool:
    """Whether an operation may compute in half precision."""
    return not operation.name.startswith(_HEAD)


def _program(source: Source, head: LinearHead | None, target: Any, *, neural_network: bool) -> Any:
    """Return coremltools' program of the graph, or of all of it but the head."""
    from coremltools.converters.mil.mil import Builder

    Builder.name_count.clear()  # an earlier error may have left some; names are part of the bytes
    nodes, constants = fold_normalisation(source.nodes, source.constants, source.image)
    if head is not None:
        skipped = {source.output, _made_from(source, source.output)}
        nodes = [node for node in nodes if not skipped.intersection(node.outputs)]
    height, width = source.height, source.width

    def main(image: Any) -> Any:
        known = {**source.constants, **constants}
        t = Translator(Builder, known, _LOWERINGS, neural_network=neural_network)
        pixels = Rearranged(source=image, shape=(1, 3, height, width), permutation=(0, 2, 3, 1))
        t.set(source.image, pixels)
        t.run(nodes)
        if head is None:
            return t.tensor(source.output)
        return Builder.reshape(
            x=t.tensor(head.features), shape=[head.weights.shape[1]], name=FEATURES
        )

    specs = [Builder.TensorSpec(shape=(1, 3, height, width))]
    return Builder.program(input_specs=specs, opset_version=target)(main)


def _made_from(source: Source, name: str) -> str:
    return next(node.inputs[0] for node in source.nodes if name in node.outputs)


def _halve(spec: Any) -> None:
    """Store the weights of a neural network as float16, those of the head and biases excepted."""
    kind = spec.WhichOneof("Type")
    if kind == "pipelineClassifier":
        _halve(spec.pipelineClassifier.pipeline.models[0])
        return
    for layer in getattr(spec, kind).layers:
        if layer.name.startswith(_HEAD):
            continue
        parameters = getattr(layer, layer.WhichOneof("layer"))
        if "weights" not in parameters.DESCRIPTOR.fields_by_name:
            continue
        weights = parameters.weights
        if not hasattr(weights, "floatValue") or not weights.floatValue:
            continue
        values = np.array(weights.floatValue, np.float32)
        if np.abs(values).max() <= _HALF_MAX:
            weights.ClearField("floatValue")
            weights.float16Value = values.astype("<f2").tobytes()
