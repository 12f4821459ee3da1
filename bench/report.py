"""Write the newest published results into the README, between its two marks.

python -m bench.report [FILE]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def newest() -> list[dict[str, Any]]:
    """Return the latest result of each suite, in the order of their names."""
    latest: dict[str, dict[str, Any]] = {}
    for path in (HERE / "results").glob("*.json"):
        record = json.loads(path.read_text())
        known = latest.get(record["suite"])
        if known is None or record["date"] > known["date"]:
            latest[record["suite"]] = record
    return [latest[name] for name in sorted(latest)]


def section(record: dict[str, Any]) -> str:
    facts = record["environment"]
    changed = ", modified" if facts["modified"] else ""
    conditions = [
        facts["cpu"],
        f"{facts['cpus']} CPUs",
        facts["system"],
        f"SIMD {facts['simd_target']}",
        busy_words(facts),
        record["date"][:10],
        f"commit {facts['commit']}{changed}",
        f"{record['repeat']} rounds",
    ]
    lines = [
        f"### {record['suite']}",
        "",
        ", ".join(conditions) + ".",
        "",
    ]
    if record["results"] and "accuracy" in record["results"][0]:
        return "\n".join([*lines, *accuracy_rows(record["results"])])
    if record["results"] and "fits" in record["results"][0]:
        return "\n".join([*lines, *penalty_rows(record["results"])])
    lines += [
        "| workload | threads | | rate | s | CPU s | peak MiB | time / eyespot's (quartiles) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in record["results"]:
        first = f"{result['case']}, {result['units']} {result['unit']}"
        threads = str(result["threads"])
        for peer, figures in result["peers"].items():
            ratio = result["ratios"].get(peer)
            words = (
                f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f})" if ratio else ""
            )
            if ratio and figures["median_facts"].get("stopped"):
                words = f"more than {ratio['median']:.2f}"
            rate = f"{figures['units_per_second']:,.0f} {result['unit']}/s"
            lines.append(
                f"| {first} | {threads} | {peer.replace('_', ' ')} | {rate} "
                f"| {figures['median_seconds']:.2f} | {figures['median_cpu_seconds']:.2f} "
                f"| {figures['peak_rss_mib']:.0f} | {words} |"
            )
            first = threads = ""
    return "\n".join(lines)


def busy_words(facts: dict[str, Any]) -> str:
    if "busy_cpus" in facts:
        return f"{facts['busy_cpus']} processors busy before the start"
    return f"load {facts['load_1_min']} before the start"


def accuracy_rows(results: list[dict[str, Any]]) -> list[str]:
    sets = list(dict.fromkeys(result["set"] for result in results))
    lines = [
        "| backbone | " + " | ".join(sets) + " |",
        "|---" * (len(sets) + 1) + "|",
    ]
    for backbone in dict.fromkeys(result["backbone"] for result in results):
        cells = {r["set"]: r for r in results if r["backbone"] == backbone}
        words = [f"{100 * cells[name]['accuracy']:.1f} %" if name in cells else "" for name in sets]
        lines.append(f"| {backbone} | " + " | ".join(words) + " |")
    return lines


def penalty_rows(results: list[dict[str, Any]]) -> list[str]:
    """Test log-loss and accuracy of each way to fit; the best of the fixed strengths."""
    lines = [
        "| network, set | auto, 25 iterations | auto, solved | best fixed, solved | loss ratio |",
        "|---|---|---|---|---|",
    ]

    def words(fit: dict[str, Any]) -> str:
        return f"{fit['log_loss']:.4f}, {100 * fit['accuracy']:.1f} %"

    for result in results:
        fixed = {name: fit for name, fit in result["fits"].items() if name.startswith("l2=")}
        best = min(fixed, key=lambda name: fixed[name]["log_loss"])
        lines.append(
            f"| {result['network']}, {result['set']} "
            f"| {words(result['fits']['auto, 25 iterations'])} "
            f"| {words(result['fits']['auto, solved'])} "
            f"| {words(fixed[best])} ({best}) | {result['loss_over_best']:.3f} |"
        )
    return lines


def main() -> int:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "README.md")
    text = path.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not mark or not other:
        print(f"{path} lacks the marks {BEGIN} and {END}", file=sys.stderr)
        return 1
    sections = [section(record) for record in newest()] or ["No result is published yet."]
    path.write_text(f"{before}{BEGIN}\n" + "\n\n".join(sections) + f"\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
