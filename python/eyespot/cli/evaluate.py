"""``eyespot evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import check_writable, print_json, working
from eyespot.errors import InvalidOption

__all__ = ["evaluate"]


def evaluate(
    model: options.Model,
    photos: options.Photos,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to save it: .html is a page with the mistaken photos, .csv a table of "
            "them, .json has all figures.",
            show_default=False,
        ),
    ] = None,
    data_format: options.Format = options.DataFormat.AUTO,
    path_column: options.PathColumn = "path",
    label_column: options.LabelColumns = None,
    label_separator: options.LabelSeparator = None,
    on_error: options.Errors = options.OnError.SKIP,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure MODEL on PHOTOS that it has not seen."""
    from eyespot.metrics import ClassifierMetrics
    from eyespot.multi_label_classifier import MultiLabelImageClassifier, load_either
    from eyespot.pages import check_form

    classifier = load_either(model)
    if output is not None:
        check_writable(output, "mistakes.html")
        check_form(output, "an evaluation")
        if isinstance(classifier, MultiLabelImageClassifier):
            message = f"--output: {model} tells several labels an image; use --json > {output}"
            raise InvalidOption(message, source="--output", code="invalid_argument")
    data = options.data_source(
        photos,
        data_format,
        path_column,
        label_column,
        label_separator,
        multi_label=isinstance(classifier, MultiLabelImageClassifier),
    )
    with working(quiet=quiet) as display:
        metrics = classifier.evaluate(
            data, on_error=on_error.value, n_threads=threads, progress=display
        )
    if output is not None:
        assert isinstance(metrics, ClassifierMetrics)
        metrics.save(output)
    if as_json:
        print_json(metrics.to_dict())
    else:
        typer.echo(str(metrics))
        if output is not None:
            typer.echo(f"\nSaved {output}.")
