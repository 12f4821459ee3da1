"""``eyespot evaluate``."""

from __future__ import annotations

import typer

from eyespot.cli import options
from eyespot.cli.runner import print_json, working

__all__ = ["evaluate"]


def evaluate(
    model: options.Model,
    photos: options.Photos,
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
    from eyespot.multi_label_classifier import MultiLabelImageClassifier, load_either

    classifier = load_either(model)
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
    if as_json:
        print_json(metrics.to_dict())
    else:
        typer.echo(str(metrics))
