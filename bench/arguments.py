"""What every measurement takes on the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["DATA", "parse", "parser"]

_BESIDE = Path(__file__).parents[2] / "shared" / "data"
DATA = Path(os.environ.get("EYESPOT_TEST_DATA", _BESIDE))


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of ``python -m bench.name``, with the options that all of them have."""
    made = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    made.add_argument("--data", type=Path, default=DATA, help="the folder of photos and backbones")
    made.add_argument("--local", action="store_true", help="keep it out of bench/results")
    return made


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what was chosen; exit with a message where there are no data."""
    chosen = options.parse_args()
    if not chosen.data.is_dir():
        options.error(f"no data at {chosen.data}: name their folder with --data")
    return chosen
