"""What a run leaves behind: one JSON file, by suite, commit and time."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["write_record"]

RESULTS = Path(__file__).parent / "results"


def write_record(
    suite: str,
    results: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    *,
    repeat: int,
    local: bool,
) -> Path:
    """Write a run's results, and say where.

    Parameters
    ----------
    suite : str
        What was measured.
    results : sequence of mapping
        As `bench.report` reads them.
    facts : mapping
        Of the machine, by `environment.describe` before the run.
    repeat : int
        Rounds.
    local : bool
        Whether to keep the file out of what is published.
    """
    now = dt.datetime.now(dt.UTC)
    folder = RESULTS / ("local" if local else "")
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "schema": 1,
        "suite": suite,
        "date": now.isoformat(timespec="seconds"),
        "repeat": repeat,
        "environment": facts,
        "results": results,
    }
    path = folder / f"{suite}-{facts['commit']}-{now:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
