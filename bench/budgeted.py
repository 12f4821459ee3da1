"""Races in which a peer would take too long: it gets so many times eyespot's time, and no more.

Eyespot runs before each peer, and its time, times the case's figure for the peer, is the peer's
budget. A peer that did the work within it has its ratio; one that did not is stopped, and its ratio
is a lower bound. Nothing is repeated, for a run that lasts long enough to be budgeted has little
spread; it starts with cold caches, which is to eyespot's disadvantage alone.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench import harness
from bench.harness import OURS, Case, Child, Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["measure"]


def measure(
    suite_name: str,
    suite: Suite,
    case: Case,
    *,
    peers: Sequence[str],
    threads: int,
    pin: bool,
) -> dict[str, Any]:
    """Return the measurements of one case at one thread count, as `harness.measure` does.

    Of a peer with a budget, ``run_for(seconds)`` is called instead of ``run()``, and the options
    have ``budgeted``, set.
    """
    others = [p for p in peers if p != OURS and (case.peers is None or p in case.peers)]
    if case.prepare is not None:
        case.prepare()
    allowed = replace(case, options=case.options | {"budgeted": True})
    mine: list[dict[str, Any]] = []
    runs: dict[str, dict[str, Any]] = {}
    outputs: dict[str, dict[str, np.ndarray]] = {}
    versions: dict[str, dict[str, str]] = {}
    pairs: dict[str, dict[str, float]] = {}
    try:
        with Child(suite_name, OURS, case, threads, pin) as ours:
            versions[OURS] = ours.versions
            for peer in others or [None]:
                own = ours.ask(do="run")
                if not mine:
                    outputs[OURS] = ours.outputs()
                    suite.compare(case, outputs)
                mine.append(own)
                say(f"  {case.name}, {threads} threads: {OURS} {own['seconds']:.3f} s")
                if peer is None:
                    break
                budget = case.budgets.get(peer)
                with Child(suite_name, peer, allowed if budget else case, threads, pin) as child:
                    if budget:
                        run = child.ask(do="run_for", seconds=budget * own["seconds"])
                    else:
                        child.ask(do="run")
                        run = child.ask(do="run")
                    found = child.outputs()
                    versions[peer], runs[peer], outputs[peer] = child.versions, run, found
                pairs[peer] = harness.paired([run], [own])
                say(f"    {peer} {run['seconds']:.3f} s")
    except (KeyboardInterrupt, harness.PeerFailed) as error:
        # Hours may have gone into those that are finished.
        if not runs:
            raise
        say(f"ended early, with {', '.join(runs)} alone: {error!r}")
    every = {OURS: mine} | {peer: [run] for peer, run in runs.items()}
    return {
        "case": case.name,
        "threads": threads,
        "pinned": pin,
        "units": case.units,
        "unit": case.unit,
        "budgets": {peer: case.budgets[peer] for peer in runs if peer in case.budgets},
        "comparison": suite.compare(case, outputs),
        "peers": {
            peer: harness.summary(found, case.units) | {"versions": versions[peer]}
            for peer, found in every.items()
        },
        "ratios": pairs,
    }


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
