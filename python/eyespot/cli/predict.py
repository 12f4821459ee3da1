"""``eyespot predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eyespot import screen
from eyespot.cli import options
from eyespot.cli.runner import print_json, working
from eyespot.errors import InvalidOption
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
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="How many labels to show for each photo; 1 unless given.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Of a model that gives a photo several labels: the probability from which a label "
            "is shown; 0.5 unless given.",
            show_default=False,
        ),
    ] = None,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    r"""Tell what each of FILES shows.

    Away from a terminal the fields are parted by tabs; a tab or a line end in a name is written as
    \t or \n there. The exit code is 1 if a photo could not be read.
    """
    from eyespot.multi_label_classifier import MultiLabelImageClassifier, load_either

    classifier = load_either(model)
    several = isinstance(classifier, MultiLabelImageClassifier)
    if several and top_k is not None:
        message = f"{model} gives a photo all labels from a threshold on: use --threshold"
        raise InvalidOption(message, source="--top-k", code="invalid_argument")
    if threshold is not None and not several:
        message = f"{model} gives a photo one label: use --top-k"
        raise InvalidOption(message, source="--threshold", code="invalid_argument")
    paths = options.expanded(files)
    with working(quiet=quiet or len(paths) < 50) as display:
        result = classifier.infer(paths, n_threads=threads, progress=display)
    failures = {error.index: error for error in result.errors}
    answers: list[dict[str, Any]] = []
    for index, (path, row) in enumerate(zip(paths, result.probabilities, strict=True)):
        if index in failures:
            answers.append({"file": str(path), "error": failures[index].message})
        else:
            if isinstance(classifier, MultiLabelImageClassifier):
                given = classifier.labels_of(row, threshold=0.5 if threshold is None else threshold)
            else:
                given = classifier.top_k(row, 1 if top_k is None else top_k)
            told = [choice._asdict() for choice in given]
            answers.append({"file": str(path), "predictions": told})
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
    width = max(map(len, rows), default=0)
    rows = [row + [""] * (width - len(row)) for row in rows]
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
