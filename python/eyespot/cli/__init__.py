"""The command line: ``eyespot train | evaluate | predict | inspect | export | verify ...``.

Results go to standard output, everything else (progress, notes, errors) to standard error. The exit
code is 0 for success, 1 for a failure, 2 for a command that makes no sense, 130 for Ctrl-C.
Everything heavy is imported inside the commands, so that ``--help`` comes at once.
"""

from __future__ import annotations

import os
import sys

from eyespot.cli import (
    demo,
    evaluate,
    export,
    extract,
    inspect,
    predict,
    preview,
    review,
    train,
    verify,
)
from eyespot.cli.runner import app, guarded

__all__ = ["main"]

for _command in (  # the order of --help
    review.review,
    train.train,
    evaluate.evaluate,
    predict.predict,
    inspect.inspect,
    export.export,
    verify.verify,
    extract.extract,
    preview.preview,
    demo.demo,
):
    app.command()(guarded(_command))


def main() -> None:
    """Run the command line."""
    for name in ("stdout", "stderr"):  # None where the caller closed them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    try:
        app()
    except KeyboardInterrupt:  # while the command was being found or imported
        sys.exit(130)
