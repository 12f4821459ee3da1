"""``eyespot verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import print_json, working

__all__ = ["verify"]


def verify(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What 'export' wrote.", readable=False),
    ],
    photos: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PHOTOS]",
            help="Photos to compare on; without --model, those that it was exported with.",
            readable=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The trained model. Without it, its answers in FILE take its place.",
            readable=False,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many images to compare on, at most: 32; 8 for Core ML."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Repeat the proof that FILE answers as the trained model does.

    The exit code is 1 if it does not.
    """
    from eyespot import verifying

    with working(quiet=True):
        found = verifying.verify(
            file,
            None if photos is None else options.any_photos(photos),
            model=model,
            n_images=images,
        )
    if as_json:
        print_json(found.to_plain())
    else:
        typer.echo(str(found))
    if not found.passed:
        raise typer.Exit(1)
