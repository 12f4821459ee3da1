"""``eyespot preview``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import check_writable
from eyespot.options import CropPolicy

__all__ = ["preview"]


def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo.", readable=False)],
    augment: options.Augment = "photos",
    copies: options.Copies = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to save the sheet.")
    ] = Path("sheet.png"),
    tiles: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1000,
            help="Most copies to show; 11 unless given.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(metavar="PX", min=96, max=1024, help="Width and height of a tile.")
    ] = 224,
    crop: Annotated[
        CropPolicy,
        typer.Option(metavar="POLICY", help="How the photo is brought to a square."),
    ] = CropPolicy.CENTER_CROP,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Which copies; those of a training with it.")
    ] = 0,
) -> None:
    """Show what --augment does to PHOTO, as a contact sheet."""
    check_writable(output, "sheet.png")
    plan = options.augmentation(augment, copies)
    assert plan is not None
    sheet = plan.preview(photo, seed=seed, n_copies=tiles, side=size, crop=crop)
    sheet.save(output)
    shown = len(sheet.captions) - 1
    copies_shown = "1 copy" if shown == 1 else f"{shown:,} copies"
    typer.echo(f"Saved {output}: {photo.name} and {copies_shown}.")
