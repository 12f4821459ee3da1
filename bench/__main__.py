"""python -m bench SUITE --peers a,b --repeat 15 --threads 1,2"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from functools import partial
from pathlib import Path

from bench import budgeted, environment, harness
from bench.arguments import DATA
from bench.records import write_record

HERE = Path(__file__).parent


def suites() -> list[str]:
    return sorted(p.stem for p in (HERE / "suites").glob("*.py") if p.stem != "__init__")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure eyespot and peers."
    )
    parser.add_argument("suite", nargs="?", help=f"one of: {', '.join(suites())}")
    parser.add_argument("--peers", help="comma-separated; default: all of the suite's")
    parser.add_argument("--cases", help="comma-separated; default: all of the suite's")
    parser.add_argument(
        "--repeat", type=int, default=15, help="rounds (15); cases with budgets have one"
    )
    parser.add_argument("--threads", default="1,2", help="thread counts, comma-separated (1,2)")
    parser.add_argument("--data", type=Path, default=DATA, help="photos, backbones, decode sets")
    parser.add_argument("--no-pin", action="store_true", help="do not bind peers to that many CPUs")
    parser.add_argument(
        "--local",
        action="store_true",
        help="keep the result out of bench/results, for a try on a busy machine",
    )
    return parser.parse_args()


def main() -> int:
    chosen = options()
    if chosen.suite not in suites():
        print(f"name a suite: {', '.join(suites())}", file=sys.stderr)
        return 2
    if not chosen.data.is_dir():
        print(f"no data at {chosen.data}: name their folder with --data", file=sys.stderr)
        return 2
    facts = environment.describe()
    print(json.dumps(facts, indent=2))
    local = chosen.local
    for name in environment.UNSET:
        if name in os.environ:
            print(f"note: {name} is set here; measured processes run without it")
    if facts["busy_cpus"] > environment.MAX_BUSY and not local:
        print(
            f"warning: other work keeps {facts['busy_cpus']} processors busy (more than "
            f"{environment.MAX_BUSY}): not for publishing, so the result goes to results/local"
        )
        local = True
    suite = importlib.import_module(f"bench.suites.{chosen.suite}").Suite(chosen.data)
    peers = chosen.peers.split(",") if chosen.peers else list(suite.peers)
    wanted = chosen.cases.split(",") if chosen.cases else None
    results = []
    for case in suite.cases():
        if wanted is not None and case.name not in wanted:
            continue
        for threads in (int(word) for word in chosen.threads.split(",")):
            measure = (
                budgeted.measure if case.budgets else partial(harness.measure, repeat=chosen.repeat)
            )
            result = measure(
                chosen.suite, suite, case, peers=peers, threads=threads, pin=not chosen.no_pin
            )
            print(harness.table(result), flush=True)
            results.append(result)
    if not results:
        print("no case was measured: look at --cases", file=sys.stderr)
        return 2
    write_record(chosen.suite, results, facts, repeat=chosen.repeat, local=local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
