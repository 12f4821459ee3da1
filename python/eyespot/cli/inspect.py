"""``eyespot inspect``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from eyespot.cli import options
from eyespot.cli.runner import print_json
from eyespot.errors import InvalidOption

__all__ = ["inspect"]

_CARDS = Path(__file__).parents[1] / "backbones"


def inspect(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[MODEL]", help="A model that 'train' saved or 'export' wrote."),
    ] = None,
    backbone: Annotated[
        bool, typer.Option("--backbone", help="Show the card of the built-in backbone.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Tell what MODEL is and how it was made."""
    from eyespot import verifying
    from eyespot.multi_label_classifier import load_either

    if backbone == (model is not None):
        message = "give either a MODEL or --backbone"
        raise InvalidOption(message, source="MODEL", code="invalid_argument")
    if model is None:
        _inspect_backbone(as_json=as_json)
        return
    if verifying.is_export(model):
        exported = verifying.read_export(model)
        if as_json:
            print_json(exported.to_plain())
        else:
            typer.echo(exported.summary())
        return
    classifier = load_either(model)
    typer.echo(classifier.to_json() if as_json else classifier.summary())


def _inspect_backbone(*, as_json: bool) -> None:
    from eyespot.features import FeatureExtractor

    extractor = FeatureExtractor.default()
    if as_json:
        print_json(
            {
                "name": extractor.name,
                "n_features": extractor.n_features,
                "output_name": extractor.output_name,
                "fingerprint": extractor.fingerprint,
                "preprocessing": json.loads(extractor.preprocessing.to_json()),
            }
        )
    else:
        card = (_CARDS / f"{extractor.name}.md").read_text(encoding="utf-8")
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.markdown import Markdown

            Console().print(Markdown(card))
        else:
            typer.echo(card.rstrip())
