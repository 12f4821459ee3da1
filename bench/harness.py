"""Runs the peers of a suite beside each other and says how they compare.

For each case and thread count: start every peer as a child process with a clean environment, set it
up, run it once to warm up, compare what they made, and only then time them in turn, A B C, B C A,
and so on, so that drift of the machine meets all alike. The result is the median over rounds of the
paired ratio (peer's time / eyespot's time) with its inter-quartile range, beside absolute figures.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from bench.child import load_peer
from bench.environment import clean_environment
from bench.venvs import interpreter

PEERS = Path(__file__).parent / "peers"
OURS = "eyespot"

Outputs = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One workload: what the peers are given, and how many units of work a run is."""

    name: str
    options: dict[str, Any]
    units: int
    unit: str = "images"
    peers: tuple[str, ...] | None = None  # None: all of the suite's
    # Peers that may take only so many times eyespot's time: see bench.budgeted.
    budgets: dict[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None  # makes what the options name, before any peer starts


class Suite(Protocol):
    """What a module in bench/suites offers: a class named Suite, made with the data folder.

    ``compare`` gets the outputs by peer, raises AssertionError if some peer did other work than the
    rest, and returns what is worth keeping (differences, accuracies). ``fresh_process`` starts
    a new process for every run, so that peak memory is that of one run.
    """

    peers: tuple[str, ...]
    fresh_process: bool

    def cases(self) -> Iterable[Case]: ...

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]: ...


class PeerFailed(RuntimeError):
    """A peer's process raised or died."""


class Child:
    """One peer's process."""

    def __init__(self, suite: str, peer: str, case: Case, threads: int, pin: bool) -> None:
        path = PEERS / f"{suite}_{peer}.py"
        module = load_peer(path)
        environment = clean_environment(case.environment)
        if module.REQUIREMENTS is None and "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self._name = f"{suite}_{peer}"
        self._process = subprocess.Popen(
            [str(interpreter(module)), str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        cpus = cpus_for(threads) if pin else []
        self.versions = self.ask(
            do="setup", peer=str(path), options=case.options | {"threads": threads}, cpus=cpus
        )["versions"]

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self._name} ended with status {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            self.close()
            raise PeerFailed(f"{self._name}:\n{reply['error']}")
        return reply

    def outputs(self) -> dict[str, np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "outputs.npz")
            self.ask(do="outputs", path=str(path))
            with np.load(path) as arrays:
                return dict(arrays)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cpus_for(threads: int) -> list[int]:
    """Return the processors a peer may use with this many threads: no helper thread is for free."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[:threads]


def measure(
    suite_name: str,
    suite: Suite,
    case: Case,
    *,
    peers: Sequence[str],
    threads: int,
    repeat: int,
    pin: bool,
) -> dict[str, Any]:
    """Return the measurements of one case at one thread count."""
    peers = [p for p in peers if case.peers is None or p in case.peers]
    if case.prepare is not None:
        case.prepare()

    def start(peer: str) -> Child:
        return Child(suite_name, peer, case, threads, pin)

    runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    versions: dict[str, dict[str, str]] = {}
    outputs: dict[str, dict[str, np.ndarray]] = {}
    children: dict[str, Child] = {}
    try:
        for peer in peers:
            child = start(peer)
            children[peer] = child
            child.ask(do="run")  # warms caches, thread pools, lazy imports
            versions[peer] = child.versions
            outputs[peer] = child.outputs()
            if suite.fresh_process:
                child.close()
        comparison = suite.compare(case, outputs)
        outputs.clear()
        for round_index in range(repeat):
            shift = round_index % len(peers)
            for peer in [*peers[shift:], *peers[:shift]]:
                if suite.fresh_process:
                    with start(peer) as fresh:
                        runs[peer].append(fresh.ask(do="run"))
                else:
                    runs[peer].append(children[peer].ask(do="run"))
            progress = ", ".join(f"{p} {runs[p][-1]['seconds']:.3f} s" for p in peers)
            print(
                f"  {case.name}, {threads} threads, round {round_index + 1}: {progress}",
                file=sys.stderr,
                flush=True,
            )
    finally:
        for child in children.values():
            child.close()
    return {
        "case": case.name,
        "threads": threads,
        "pinned": pin,
        "units": case.units,
        "unit": case.unit,
        "comparison": comparison,
        "peers": {
            peer: summary(runs[peer], case.units) | {"versions": versions[peer]} for peer in peers
        },
        "ratios": ratios(runs),
    }


def summary(runs: Sequence[Mapping[str, Any]], units: int) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs]
    facts = {
        name: statistics.median(run["facts"][name] for run in runs)
        for name in runs[0]["facts"]
        if isinstance(runs[0]["facts"][name], int | float)
    }
    return {
        "seconds": [round(s, 6) for s in seconds],
        "median_seconds": statistics.median(seconds),
        "units_per_second": units / statistics.median(seconds),
        "median_cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "peak_rss_mib": round(max(run["peak_rss_mib"] for run in runs), 1),
        "median_facts": facts,
    }


def ratios(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return peer's time / our time, paired by round: above 1, eyespot is faster.

    A lower bound where the peer was stopped, which its facts tell.
    """
    if OURS not in runs:
        return {}
    return {peer: paired(theirs, runs[OURS]) for peer, theirs in runs.items() if peer != OURS}


def paired(
    theirs: Sequence[Mapping[str, Any]], mine: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the median and the quartiles of the ratios of two peers' times, run by run."""
    ratio = [their["seconds"] / my["seconds"] for their, my in zip(theirs, mine, strict=True)]
    low, middle, high = np.percentile(ratio, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high)}


def table(result: Mapping[str, Any]) -> str:
    """Return one case's figures as aligned text."""
    head = f"{result['case']}, {result['threads']} threads, {result['units']} {result['unit']}"
    lines = [
        head,
        f"  {'peer':<22}{result['unit'] + '/s':>12}{'s':>10}{'cpu s':>9}{'MiB':>8}  ratio (IQR)",
    ]
    for peer, facts in result["peers"].items():
        ratio = result["ratios"].get(peer)
        words = f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})" if ratio else ""
        if facts["median_facts"].get("stopped"):
            words = f"more than {ratio['median']:.2f}" if ratio else "stopped"
        lines.append(
            f"  {peer:<22}{facts['units_per_second']:>12.1f}{facts['median_seconds']:>10.3f}"
            f"{facts['median_cpu_seconds']:>9.3f}{facts['peak_rss_mib']:>8.0f}  {words}"
        )
    lines += [f"  {name}: {value}" for name, value in result["comparison"].items()]
    return "\n".join(lines)
