"""``eyespot predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eyespot import screen
from eyespot.cli import options
from eyespot.cli.runner import print_json, working
from eyespot.rendering import percent

__all__ = ["predict"]

# Characters in names that would break the lines and fields of the output.
_ESCAPED = {code: ascii(chr(code))[1:-1] for code in (*range(32), 127)}


def predict(
    model: options.Model,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Photos, or folders of photos.", readable=False),
    ],
    top_k: Annotated[
        int, typer.Option(metavar="K", min=1, help="How many labels to show for each photo.")
    ] = 1,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    r"""Tell what each of FILES shows.

    Away from a terminal the fields are parted by tabs; a tab or a line end in a name is written as
    \t or \n there. The exit code is 1 if a photo could not be read.
    """
    from eyespot.classifier import ImageClassifier

    classifier = ImageClassifier.load(model)
    paths = options.expanded(files)
    with working(quiet=quiet or len(paths) < 50) as display:
        result = classifier.infer(paths, n_threads=threads, progress=display)
    failures = {error.index: error for error in result.errors}
    answers: list[dict[str, Any]] = []
    for index, (path, row) in enumerate(zip(paths, result.probabilities, strict=True)):
        if index in failures:
            answers.append({"file": str(path), "error": failures[index].message})
        else:
            top = [choice._asdict() for choice in classifier.top_k(row, top_k)]
            answers.append({"file": str(path), "predictions": top})
    if as_json:
        print_json(answers)
    else:
        _print_predictions(answers)
    if failures:
        raise typer.Exit(1)


def _print_predictions(answers: list[dict[str, Any]]) -> None:
    """Print a line a photo: aligned on a terminal, with tabs between the fields elsewhere."""
    rows = []
    for answer in answers:
        if "error" in answer:
            screen.note(f"{answer['file']}: {answer['error']}", kind="error")
            continue
        row = [answer["file"]]
        for choice in answer["predictions"]:
            row += [choice["label"], percent(choice["probability"])]
        rows.append(row)
    if not rows:
        return
    if sys.stdout.isatty():
        typer.echo(screen.table(rows, left=2))
        return
    for answer in answers:
        if "predictions" in answer:
            fields = [answer["file"].translate(_ESCAPED)]
            for choice in answer["predictions"]:
                fields += [choice["label"].translate(_ESCAPED), f"{choice['probability']:.6f}"]
            typer.echo("\t".join(fields))
