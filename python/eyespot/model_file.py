"""The file of a trained model: ONNX, with what eyespot knows of it in the metadata."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eyespot.augmentation import Augmentation
from eyespot.calibration import Calibration
from eyespot.errors import IncompatibleParameters, InvalidOption, ModelError
from eyespot.export.forms import METADATA_EXPORT
from eyespot.export.onnx import METADATA_FACTS, METADATA_PREPROCESSING, assemble, read_head
from eyespot.inference import NetworkRunner
from eyespot.options import Preprocessing
from eyespot.training import extractor_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eyespot.head import Head
    from eyespot.options import ModelParameters
    from eyespot.training import TrainedHead

__all__ = [
    "SCHEMA",
    "OpenModel",
    "damaged",
    "describe",
    "describe_html",
    "headline",
    "model_of",
    "open_model",
    "read_model",
    "sentence",
    "starting_head",
]

#: Form of the facts; a file of a higher one is refused.
SCHEMA: Final = 1

_FACTS: Final = {"backbone", "classes", "images", "metrics", "parameters", "solver"}
# How files that are often mistaken for an ONNX model begin.
_OTHER_FORMATS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK\x03\x04", "a zip archive (PyTorch, Keras and zipped Core ML models look like this)"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"<", "an HTML or XML page, as a failed download leaves it"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """A model that is ready to run.

    Attributes
    ----------
    data : bytes
        The ONNX model.
    runner : NetworkRunner
        Runs it.
    facts : dict
        What its metadata tell about it, as plain values.
    preprocessing : Preprocessing
        What its input takes: uint8 RGB pixels, NHWC.
    """

    data: bytes
    runner: NetworkRunner
    facts: dict[str, Any]
    preprocessing: Preprocessing

    @property
    def multi_label(self) -> bool:
        """Whether it gives an image any number of labels, not just one."""
        return bool(self.facts.get("multi_label", False))  # not in models of before it


def model_of(trained: TrainedHead) -> bytes:
    """Return the ONNX model of a backbone and the head that was trained on it.

    Raises
    ------
    ExportError
        If the backbone cannot become part of one ONNX file.
    """
    from eyespot import _core

    extractor = trained.extractor
    facts = {
        "schema": SCHEMA,
        "eyespot": _core.__version__,
        "simd": _core.simd_target(),
        "classes": list(trained.classes),
        "backbone": {
            "name": extractor.name,
            "fingerprint": extractor.fingerprint,
            "output_name": extractor.output_name,
            "n_features": extractor.n_features,
            "preprocessing": json.loads(extractor.preprocessing.to_json()),
            "assumptions": list(extractor.assumptions),
        },
        **trained.facts,
    }
    return assemble(
        extractor.light_model(),
        extractor.preprocessing,
        trained.head,
        trained.classes,
        facts=facts,
    )


def read_model(path: str) -> bytes:
    """Return the bytes of a model's file.

    Raises
    ------
    ModelError
        If there is no such file, or it cannot be read.
    """
    if Path(path).suffix.lower() in (".mlpackage", ".mlmodel"):
        message = (
            f"{path}: a Core ML file, which eyespot writes and verifies but does not predict with; "
            "load the .onnx model that it was made from"
        )
        raise ModelError(message, source=path, code="unsupported_model")
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        message = f"{path}: is a folder; an eyespot model is one .onnx file"
        raise ModelError(message, source=path, code="io") from None
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        raise ModelError(message, source=path, code="io") from error


def open_model(data: bytes, source: str) -> OpenModel:
    """Make a model ready to run.

    Parameters
    ----------
    data : bytes
        An ONNX model that eyespot saved.
    source : str
        What to call it in messages.

    Raises
    ------
    ModelError
        If `data` are no ONNX model, or not one that eyespot made, or of a later version.
    """
    runner = _runner(data, source)
    facts = _facts(runner, source)
    preprocessing = _preprocessing(runner, source)
    _check_shapes(runner, preprocessing, facts, source)
    return OpenModel(data=data, runner=runner, facts=facts, preprocessing=preprocessing)


def describe(model: OpenModel) -> str:
    """Return a few lines of text: what the model tells apart, and how it was made."""
    facts, spec = model.facts, model.preprocessing
    classes = facts["classes"]
    backbone, solver, images = facts["backbone"], facts["solver"], facts["images"]
    size = f"{spec.width} x {spec.height} px"
    rows = [
        ("labels", sentence(classes)),
        ("backbone", f"{backbone['name']}, {backbone['n_features']:,} features"),
        ("input", f"{size}, {spec.crop}, {spec.resample}"),
        ("training", _side_text(images["training"], facts["metrics"]["training"])),
        ("validation", _side_text(images["validation"], facts["metrics"]["validation"])),
        ("classifier", _kind(_layer_sizes(facts["parameters"]))),
        ("solver", _solver_text(solver, facts["parameters"])),
    ]
    if facts.get("calibration"):  # not in models of before it
        rows.append(("calibration", str(Calibration.from_dict(facts["calibration"]))))
    if facts.get("augmentation"):  # not in models of before it
        rows.append(("augmented", _augmentation_text(facts["augmentation"])))
    if groups := images.get("groups"):
        held_out = "" if groups["validation"] is None else f", {groups['validation']:,} held out"
        rows.append(("groups", f"{groups['training']:,} trained on{held_out}"))
    if images["skipped"]:
        rows.append(("skipped", f"{images['skipped']:,} unreadable images"))
    rows += [("assumed", text) for text in backbone["assumptions"]]
    rows.append(("file", f"{len(model.data) / 1e6:.1f} MB of ONNX, eyespot {facts['eyespot']}"))
    width = max(len(name) for name, _ in rows)
    several = ", any number of them an image" if model.multi_label else ""
    title = f"Image classifier with {len(classes):,} labels{several}"
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in rows)])


def starting_head(model: OpenModel, parameters: ModelParameters, classes: Sequence[str]) -> Head:
    """Return a model's head as it was before its calibration, to start a training from.

    Parameters
    ----------
    model : OpenModel
        The earlier model.
    parameters : ModelParameters
        Of the training that is to start.
    classes : sequence of str
        The labels to train; those that are new start from nothing.

    Raises
    ------
    IncompatibleParameters
        If the model is of another backbone, or of other layers.
    """
    extractor = extractor_of(parameters)
    preprocessing = json.loads(extractor.preprocessing.to_json())
    backbone = model.facts["backbone"]
    found = tuple(backbone[name] for name in ("fingerprint", "output_name", "preprocessing"))
    if found != (extractor.fingerprint, extractor.output_name, preprocessing):
        message = (
            f"start was trained on the backbone {backbone['name']} with "
            f"{backbone['n_features']} features, not on {extractor.name} as it is used here; "
            "train from nothing, or with the feature extractor and crop of start"
        )
        raise IncompatibleParameters(message, source="start")
    head = read_head(model.data)
    wanted = parameters.classifier.layer_sizes
    if head.layer_sizes != wanted:
        message = (
            f"start is a {_kind(head.layer_sizes)}, and a {_kind(wanted)} is to be trained; "
            "ask for the same classifier and layer sizes, or start from nothing"
        )
        raise IncompatibleParameters(message, source="start")
    if calibration := model.facts.get("calibration"):
        head = head.with_temperature(1 / calibration["temperature"])
    return head.for_classes(model.facts["classes"], classes)


def describe_html(model: OpenModel) -> str:
    """Return `describe` as a table for a notebook."""
    from html import escape

    title, *lines = describe(model).split("\n")
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in (line.strip().split("  ", 1) for line in lines)
    )
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def _runner(model: bytes, source: str) -> NetworkRunner:
    if not model:
        raise ModelError(f"{source}: the file is empty", source=source, code="corrupt_model")
    for start, what in _OTHER_FORMATS:
        if model.startswith(start):
            message = f"{source}: not an ONNX model but {what}"
            raise ModelError(message, source=source, code="unsupported_model")
    try:
        return NetworkRunner(model, source=source)
    except ModelError as error:
        if METADATA_EXPORT.encode() in model:
            raise _exported(source) from error
        if error.code == "unsupported_shape":  # sound, but of another shape than ours
            raise _foreign(source) from error
        reason = str(error).removeprefix(f"{source}: ")
        message = f"{source}: not an ONNX model, or a damaged one ({reason})"
        raise ModelError(message, source=source, code="corrupt_model") from error


def _facts(runner: NetworkRunner, source: str) -> dict[str, Any]:
    """Return what the model's metadata tell about it."""
    text = runner.metadata.get(METADATA_FACTS)
    if text is None:
        raise _foreign(source)
    try:
        facts = json.loads(text)
        schema, maker = facts["schema"], facts["eyespot"]
        current = int(schema) == SCHEMA
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(source, f"{METADATA_FACTS} cannot be read: {error!r}") from error
    if not current:
        message = (
            f"{source}: made by eyespot {maker} in a newer form ({schema}) than this version "
            f"reads ({SCHEMA}); upgrade eyespot"
        )
        raise ModelError(message, source=source, code="unsupported_model")
    if not (isinstance(facts, dict) and facts.keys() >= _FACTS):
        raise damaged(source, f"{METADATA_FACTS} is incomplete")
    classes = facts["classes"]
    if (
        not (isinstance(classes, list) and all(isinstance(label, str) for label in classes))
        or len(set(classes)) != len(classes)
        or not all(isinstance(facts[name], dict) for name in _FACTS - {"classes"})
    ):
        raise damaged(source, f"{METADATA_FACTS} has entries of the wrong kind")
    return facts


def _preprocessing(runner: NetworkRunner, source: str) -> Preprocessing:
    try:
        return Preprocessing.from_json(runner.metadata[METADATA_PREPROCESSING])
    except (KeyError, InvalidOption) as error:
        raise damaged(source, f"{METADATA_PREPROCESSING} cannot be read: {error!r}") from error


def _check_shapes(
    runner: NetworkRunner, preprocessing: Preprocessing, facts: Mapping[str, Any], source: str
) -> None:
    """Refuse a graph that does not take and give what the metadata say."""
    form = json.loads(runner.metadata.get(METADATA_EXPORT, "{}")).get("input", "uint8_nhwc")
    if form != "uint8_nhwc":
        raise _exported(source)
    expected = [preprocessing.height, preprocessing.width, 3]
    if runner.input_shape[1:] != expected or preprocessing.dtype != "uint8":
        raise damaged(source, f"its input is {runner.input_shape}, expected [N, *{expected}]")
    if runner.output_shape[1:] != [len(facts["classes"])]:
        found = f"its output is {runner.output_shape} for {len(facts['classes'])} labels"
        raise damaged(source, found)


def _exported(source: str) -> ModelError:
    message = (
        f"{source}: an export for other programs, whose input or outputs eyespot does not take; "
        "load the model that it was made from ('eyespot inspect' shows what it is)"
    )
    return ModelError(message, source=source, code="unsupported_model")


def _foreign(source: str) -> ModelError:
    message = (
        f"{source}: an ONNX model, but not one that eyespot made, so it has no labels to "
        "predict; to train on what it sees, use FeatureExtractor.custom (--backbone)"
    )
    return ModelError(message, source=source, code="unsupported_model")


def damaged(source: str, found: str) -> ModelError:
    """Return the error for an eyespot model whose inside does not fit."""
    message = f"{source}: a damaged eyespot model: {found}"
    return ModelError(message, source=source, code="corrupt_model")


def sentence(labels: Sequence[str], most: int = 8) -> str:
    """Return the first labels, and how many more there are."""
    shown = ", ".join(labels[:most])
    return f"{shown} and {len(labels) - most:,} more" if len(labels) > most else shown


def _side_text(counts: Mapping[str, int] | None, metrics: Mapping[str, Any] | None) -> str:
    if counts is None or metrics is None:
        return "none"
    parts = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:8])
    more = f" and {len(counts) - 8:,} more labels" if len(counts) > 8 else ""
    name, share = headline(metrics)
    return f"{metrics['n_images']:,} images ({parts}{more}), {name} {100 * share:.1f} %"


def headline(metrics: Mapping[str, Any]) -> tuple[str, float]:
    """Return the one number that tells most of how well a model does, and its name."""
    name = "micro_f1" if "micro_f1" in metrics else "accuracy"
    value = metrics.get(name)
    return name.replace("_f1", " F1"), math.nan if value is None else value


def _augmentation_text(facts: Mapping[str, Any]) -> str:
    plan = Augmentation.from_dict(facts["plan"])
    total = sum(facts["copies"].values())
    accuracy = "" if facts["accuracy"] is None else f", accuracy {100 * facts['accuracy']:.1f} %"
    return (
        f"{total:,} copies of training images ({plan.describe()}; seed {facts['seed']}){accuracy}"
    )


def _layer_sizes(parameters: Mapping[str, Any]) -> Sequence[int]:
    sizes: Sequence[int] = parameters.get("classifier", {}).get("layer_sizes", ())
    return sizes  # none in models of before there was a choice


def _kind(layer_sizes: Sequence[int]) -> str:
    if not layer_sizes:
        return "logistic regression"
    return f"multilayer perceptron, hidden layers of {', '.join(map(str, layer_sizes))} units"


def _solver_text(solver: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    count = solver["iterations"]
    iterations = "1 iteration" if count == 1 else f"{count} iterations"
    if _layer_sizes(parameters) and not solver["converged"]:  # it is not meant to
        return f"{iterations} to a loss of {solver['loss']:.3g}, l2 {solver['l2']:.2g}"
    if solver["converged"]:
        return f"converged after {iterations}, l2 {solver['l2']:.2g}"
    reason, tolerance = solver["stop_reason"], solver["tolerance"]
    reached = f"gradient {solver['gradient_norm']:.2g} of {tolerance:g}"
    if solver["gradient_norm"] <= tolerance:  # then it is the loss that has some way to go
        reached = f"loss may fall by {100 * solver['relative_gap']:.2g} %"
    return f"not converged: {iterations} ({reason}), {reached}, l2 {solver['l2']:.2g}"
