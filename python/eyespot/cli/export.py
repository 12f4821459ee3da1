"""``eyespot export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from eyespot import screen
from eyespot.cli import options
from eyespot.cli.runner import count, print_json, working
from eyespot.errors import InvalidOption

if TYPE_CHECKING:
    from eyespot.model_metadata import ModelMetadata

__all__ = ["export"]

_ONNX_PANEL = "ONNX"
_COREML_PANEL = "Core ML"
_PROOF_PANEL = "Proof"
_TEXT_PANEL = "Texts in the file"


def export(
    model: options.Model,
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="What to write: OUT.onnx, OUT.mlpackage or OUT.mlmodel."
        ),
    ],
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTOS",
            help="Photos to compare on, and to calibrate int8 on: a folder with one folder per "
            "label, any folder, or a CSV file. Without them, made images.",
            rich_help_panel=_PROOF_PANEL,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="How many images to compare on, at most: 32; 8 for Core ML.",
            rich_help_panel=_PROOF_PANEL,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Write the file even if it does not answer as MODEL does.",
            rich_help_panel=_PROOF_PANEL,
        ),
    ] = False,
    input_form: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="FORM",
            help="What it takes: uint8_nhwc (pixels of the network's size), float_nchw (the same "
            "as float planes, 0 to 255), resize (pixels of any size).",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = "uint8_nhwc",
    label_output: Annotated[
        bool,
        typer.Option(
            "--label-output",
            help="Add an output with the most probable label as text.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            help="Compute with eight bits: a quarter of the size; needs --photos. A backbone that "
            "does so already is left as it is.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = None,
    sidecar: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="What to write beside it: labels, huggingface, triton; may be given again.",
            rich_help_panel=_ONNX_PANEL,
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            metavar="classic|createml",
            help="Outputs classLabel, classLabelProbs or target, targetProbability.",
            rich_help_panel=_COREML_PANEL,
        ),
    ] = "classic",
    head: Annotated[
        str,
        typer.Option(
            metavar="softmax|glm",
            help="One network, or Create ML's pipeline of extractor and linear model.",
            rich_help_panel=_COREML_PANEL,
        ),
    ] = "softmax",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="float16|float32",
            help="Of the backbone; float16 unless given.",
            rich_help_panel=_COREML_PANEL,
        ),
    ] = None,
    deployment_target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Oldest system, such as iOS16 or macOS13; the oldest possible unless given.",
            rich_help_panel=_COREML_PANEL,
        ),
    ] = None,
    author: Annotated[
        str | None, typer.Option(metavar="TEXT", rich_help_panel=_TEXT_PANEL, help="Its author.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", rich_help_panel=_TEXT_PANEL, help="What it does.")
    ] = None,
    license_text: Annotated[
        str | None,
        typer.Option("--license", metavar="TEXT", rich_help_panel=_TEXT_PANEL, help="Its licence."),
    ] = None,
    model_version: Annotated[
        str | None,
        typer.Option(metavar="TEXT", rich_help_panel=_TEXT_PANEL, help="Its version; 1 at first."),
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            rich_help_panel=_TEXT_PANEL,
            help="Whatever else; may be given again.",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write MODEL for other programs, and prove that the file answers as MODEL does.

    The exit code is 1, and nothing is written, if it does not.
    """
    from eyespot.multi_label_classifier import load_either

    classifier = load_either(model)
    said = {
        "author": author,
        "short_description": description,
        "license": license_text,
        "version": model_version,
    }
    with working(quiet=quiet) as display:
        result = classifier.export(
            output,
            input=cast("Any", input_form),  # the library says what is allowed
            label_output=label_output,
            quantize=cast("Any", quantize),
            names=cast("Any", names),
            head=cast("Any", head),
            precision=cast("Any", precision),
            minimum_deployment_target=deployment_target,
            metadata=_metadata(classifier.metadata, said, meta or []),
            photos=None if photos is None else options.any_photos(photos),
            n_images=images,
            sidecars=cast("Any", tuple(sidecar or ())),
            force=force,
            progress=display,
        )
    if result.errors and not quiet:
        first = result.errors[0]
        screen.note(
            f"{count(len(result.errors), 'photo')} could not be read: {first}", kind="warning"
        )
    if not result.proof.passed:
        screen.note("written though it does not answer as the model does", kind="warning")
    elif result.proof.images == "synthetic" and not quiet:
        screen.note("compared on made images; --photos PHOTOS compares on yours")
    if as_json:
        print_json(
            {
                "path": str(result.path),
                "format": str(result.format),
                "size": result.size,
                "sidecars": [str(path) for path in result.sidecars],
                "notes": list(result.notes),
                "proof": result.proof.to_plain(answers=False),
            }
        )
    else:
        typer.echo(str(result))


def _metadata(known: ModelMetadata, said: dict[str, str | None], more: list[str]) -> ModelMetadata:
    """Return what the model says of itself with what the command line says in its place."""
    additional = dict(known.additional)
    for text in more:
        name, equals, value = text.partition("=")
        if not equals:
            message = f"--meta is {text!r}; allowed: NAME=TEXT"
            raise InvalidOption(message, source="--meta", code="invalid_argument")
        additional[name] = value
    changes = {name: value for name, value in said.items() if value is not None}
    return replace(known, additional=additional, **changes)
