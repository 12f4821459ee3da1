"""``eyespot review``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import check_writable, print_json, working

__all__ = ["review"]


def review(
    photos: options.Photos,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to save all of it: .html is a page with the photos, .csv a table, .json.",
            show_default=False,
        ),
    ] = None,
    data_format: options.Format = options.DataFormat.AUTO,
    path_column: options.PathColumn = "path",
    label_column: options.LabelColumns = None,
    label_separator: options.LabelSeparator = None,
    multi_label: options.MultiLabel = False,
    groups: options.Groups = None,
    group_column: options.GroupColumn = None,
    backbone: options.Backbone = "default",
    output_name: options.OutputName = None,
    crop: options.Crop = None,
    on_error: options.Errors = options.OnError.SKIP,
    store: options.Store = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the cross-validation.")] = 0,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find PHOTOS whose label looks wrong, that look alike, or are like no other."""
    from eyespot.pages import check_form
    from eyespot.reviewing import review as look_at
    from eyespot.store import FeatureStore

    if output is not None:
        check_writable(output, "review.html")
        check_form(output, "a review")
    extractor = options.extractor(backbone, output_name)
    data = options.data_source(
        photos,
        data_format,
        path_column,
        label_column,
        label_separator,
        multi_label=multi_label,
        groups=groups,
        group_column=group_column,
    )
    with working(quiet=quiet) as display:
        found = look_at(
            data,
            feature_extractor=extractor,
            crop=crop,
            on_error=on_error.value,
            seed=seed,
            n_threads=threads,
            store=None if store is None else FeatureStore(store),
            progress=display,
        )
    if output is not None:
        found.save(output)
    if as_json:
        print_json(found.to_dict())
        return
    typer.echo(str(found))
    where = f"Saved {output}." if output else "All of it, with the photos: -o review.html"
    typer.echo(f"\n{where}")
