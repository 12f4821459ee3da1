"""The measured process: loads one peer file and obeys one JSON command a line.

Run by the interpreter of the peer's own environment, so it needs nothing but the standard library
(and numpy, to write outputs). What the peer prints goes to stderr.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
import traceback
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def load_peer(path: Path) -> Any:
    """Return the module in the file `path`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # what several peers share lies beside them
    spec.loader.exec_module(module)
    return module


def distribution_versions(requirements: Any) -> dict[str, str]:
    names = [line.partition("==")[0].partition("[")[0] for line in requirements or ()]
    return {name: metadata.version(name) for name in names}


def peak_rss_mib() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def cpu_seconds() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime


def obey(command: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    match command["do"]:
        case "setup":
            if command["cpus"] and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, command["cpus"])
            module = load_peer(Path(command["peer"]))
            versions = distribution_versions(module.REQUIREMENTS)
            state["peer"] = module.Peer(command["options"])
            return {"versions": versions | getattr(state["peer"], "versions", {})}
        case "run":
            return timed(state["peer"].run)
        case "run_for":
            return timed(partial(state["peer"].run_for, command["seconds"]))
        case "outputs":
            import numpy as np

            with Path(command["path"]).open("wb") as file:
                np.savez(file, **state["peer"].outputs())
            return {}
        case other:
            raise ValueError(f"unknown command {other!r}")


def timed(run: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    before = cpu_seconds()
    start = time.perf_counter()
    facts = run() or {}
    seconds = time.perf_counter() - start
    used = cpu_seconds() - before
    # A peer may know its time better: of a part of the work, or up to where it was stopped.
    return {
        "seconds": facts.get("measured_s", seconds),
        "cpu_seconds": facts.get("measured_cpu_s", used),
        "peak_rss_mib": peak_rss_mib(),
        "facts": facts,
    }


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    state: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            reply = obey(json.loads(line), state)
        except Exception:  # noqa: BLE001 - the harness shows it
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
