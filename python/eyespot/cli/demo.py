"""``eyespot demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import check_writable, working

__all__ = ["demo"]


def demo(
    photos: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PHOTOS]",
            help="One folder of photos per label; a quarter is kept for the test. "
            "Without it, a small set of real photos is made.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the model here."),
    ] = None,
    threads: options.Threads = 0,
    quiet: options.Quiet = False,
) -> None:
    """Show all of it on real photos, with the times."""
    from eyespot import demo as demonstration

    if output is not None:
        check_writable(output)
    with working(quiet=quiet) as display:
        demonstration.run(
            photos, output=output, n_threads=threads, say=display.say, progress=display
        )
