"""Write the newest published results into README.md and docs/benchmarks.md, between their marks.

python -m bench.report [FOLDER]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

HERE = Path(__file__).parent
#: Which augmentations the README tells of; the single operations, won and lost, are in the docs.
HEADLINES = ("chain", "8 variants")
#: In place of the peers that a result replaces, where it was not measured peer by peer.
ALL = "all"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def newest() -> list[dict[str, Any]]:
    """Return the records, by suite and then by date, with only the results that none replaced.

    Times are replaced by those of the same processor alone. With budgets, peers may be measured in
    several runs, and each is beside eyespot's time of its: there it is a peer that a later run of
    it replaces.
    """
    records = [json.loads(path.read_text()) for path in (HERE / "results").glob("*.json")]
    records.sort(key=lambda record: record["date"], reverse=True)
    later: dict[tuple[Any, ...], set[str]] = {}
    kept = []
    for record in records:
        results = []
        for result in record["results"]:
            cpu = record["environment"]["cpu"] if "ratios" in result else None
            key = (record["suite"], cpu, *which(result))
            own = set(result.get("ratios", ()))
            peers = own if result.get("budgets") else {ALL}
            known = later.setdefault(key, set())
            is_replaced = ALL in known or (own and own <= known)
            left = set() if is_replaced else peers - known
            known |= peers
            if left:
                results.append(without(result, peers - left))
        if results:
            kept.append(record | {"results": results})
    return sorted(kept, key=lambda record: (record["suite"], record["date"]))


def which(result: dict[str, Any]) -> tuple[Any, ...]:
    """Return what was measured, so that a later result of the same takes its place."""
    names = ("case", "threads", "backbone", "network", "set", "plan", "groups")
    return tuple(map(result.get, names))


def without(result: dict[str, Any], peers: set[str]) -> dict[str, Any]:
    """Return a result without some of its peers."""
    parts = [part for part in ("peers", "ratios", "budgets") if part in result]
    return result | {
        part: {peer: facts for peer, facts in result[part].items() if peer not in peers}
        for part in parts
    }


def summary(records: list[dict[str, Any]]) -> str:
    """Return what the README tells: the accuracies, and a line for most workloads.

    Of processors, a line tells of the one that was measured last.
    """
    rows: dict[tuple[Any, ...], tuple[str, list[str]]] = {}
    tables = []
    last = {
        line_key(record, result): record["environment"]["cpu"]
        for record in records
        for result in record["results"]
    }
    for record in records:
        if "accuracy" in record["results"][0] and "plan" not in record["results"][0]:
            tables.append("\n".join(accuracy_rows(record["results"])))
        if "ratios" not in record["results"][0]:
            continue
        for result in record["results"]:
            key = line_key(record, result)
            is_last = last[key] == record["environment"]["cpu"]
            if not (is_last and is_headline(record["suite"], result)):
                continue
            figures = result["peers"]["eyespot"]
            words = ", ".join(
                f"{peer.replace('_', ' ')} {ratio_words(result, peer)}"
                for peer in result["peers"]
                if peer in result["ratios"]
            )
            start = (
                f"| {record['suite'].replace('_', ' ')}: {result['case'].replace('_', ' ')} "
                f"| {result['threads']} "
                f"| {figures['units_per_second']:,.0f} {result['unit']}/s | "
            )
            # Where the peers of a case were measured in several runs, the rate is the newest.
            rows[key] = (start, [*rows.get(key, ("", []))[1], words])
    if rows:
        head = [
            "| workload | threads | eyespot | time of others / eyespot's |",
            "|---|---|---|---|",
        ]
        lines = (f"{start}{', '.join(words)} |" for _, (start, words) in sorted(rows.items()))
        tables.append("\n".join([*head, *lines]))
    return "\n\n".join(tables) or "No result is published yet."


def line_key(record: dict[str, Any], result: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a line of the README tells of, in an order to list it by."""
    return record["suite"], by_number(result.get("case", "")), result.get("threads")


def is_headline(suite: str, result: dict[str, Any]) -> bool:
    """Whether the README tells of it: fits of a millisecond gain nothing by a second thread."""
    if suite == "augment":
        return result["case"].startswith(HEADLINES)
    return suite != "head" or result["threads"] == 1 or result["case"].startswith("synthetic")


def by_number(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key that orders texts by the numbers in them, not by their digits."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def ratio_words(result: dict[str, Any], peer: str, spread: str = "") -> str:
    """Say the ratio, with its spread where it has one, and how the peer got there, if it did."""
    facts = result["peers"][peer]["median_facts"]
    words = f"{result['ratios'][peer]['median']:.2f}"
    is_short = not facts.get("met", 1)
    if facts.get("stopped"):
        words, is_short = f"more than {words}", False
    else:
        words = f"{'never, ends at ' if is_short else ''}{words}{spread}"
    bits = facts.get("bits")
    if bits == 64 or (bits and is_short):
        words += f" in float{bits:.0f}"
    return words


def full_ratio_words(result: dict[str, Any], peer: str) -> str:
    """Say the ratio, its spread, and what the peer's result lacks of the quality of eyespot's."""
    if peer not in result["ratios"]:
        return ""
    ratio = result["ratios"][peer]
    is_repeated = peer not in result.get("budgets", ())
    spread = f" ({ratio['q1']:.2f} to {ratio['q3']:.2f})" if is_repeated else ""
    words = ratio_words(result, peer, spread)
    comparison = result.get("comparison", {})
    if comparison.get(f"{peer}_met") is False:
        gap, gradient = comparison[f"{peer}_gap"], comparison[f"{peer}_gradient"]
        words += f", at gap {gap:.1e} and gradient {gradient:.1e}"
    return words


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
        f"## {record['suite'].replace('_', ' ')}",
        "",
        ", ".join(conditions) + ".",
        "",
    ]
    if record["results"] and "plan" in record["results"][0]:
        return "\n".join([*lines, *few_images_rows(record["results"])])
    if record["results"] and "accuracy" in record["results"][0]:
        return "\n".join([*lines, *accuracy_rows(record["results"])])
    if record["results"] and "fits" in record["results"][0]:
        return "\n".join([*lines, *penalty_rows(record["results"])])
    if record["results"] and "gap" in record["results"][0]:
        return "\n".join([*lines, *groups_rows(record["results"])])
    if record["results"] and "faults" in record["results"][0]:
        return "\n".join([*lines, *review_rows(record["results"])])
    lines += [
        "| workload | threads | | rate | s | CPU s | peak MiB | time / eyespot's (quartiles) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in record["results"]:
        first = f"{result['case']}, {result['units']} {result['unit']}"
        threads = str(result["threads"])
        for peer, figures in result["peers"].items():
            rate = f"{figures['units_per_second']:,.0f} {result['unit']}/s"
            lines.append(
                f"| {first} | {threads} | {peer.replace('_', ' ')} | {rate} "
                f"| {figures['median_seconds']:.2f} | {figures['median_cpu_seconds']:.2f} "
                f"| {figures['peak_rss_mib']:.0f} | {full_ratio_words(result, peer)} |"
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


def few_images_rows(results: list[dict[str, Any]]) -> list[str]:
    """Accuracy with ten photos a class: mean, and what copies change; standard deviations."""
    lines = [
        "| set | augmentation | copies | accuracy | gain | log-loss |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        gain = f"{100 * r['gain_mean']:+.1f} ± {100 * r['gain_sd']:.1f} points"
        lines.append(
            f"| {r['set']} | {r['plan']} | {r['n_copies']} "
            f"| {100 * r['accuracy_mean']:.1f} ± {100 * r['accuracy_sd']:.1f} % "
            f"| {gain if r['n_copies'] else ''} | {r['log_loss_mean']:.3f} |"
        )
    return lines


def groups_rows(results: list[dict[str, Any]]) -> list[str]:
    """What a validation tells with and without groups, beside what is true of new photos."""
    names = "set, groups, validation accuracy, of new photos, flatters by"
    names += ", final l2, final accuracy, log-loss, ECE"
    lines = [f"| {names.replace(', ', ' | ')} |", "|---" * 9 + "|"]
    for r in results:
        gap = f"{100 * mean(r['gap']):+.1f} ± {100 * stdev(r['gap']):.1f} points"
        lines.append(
            f"| {r['set']} | {r['groups']} | {100 * mean(r['validation_accuracy']):.1f} % "
            f"| {100 * mean(r['test_accuracy']):.1f} % | {gap} | {median(r['l2']):.1g} "
            f"| {100 * mean(r['final_accuracy']):.1f} % | {mean(r['final_log_loss']):.3f} "
            f"| {100 * mean(r['final_calibration_error']):.1f} % |"
        )
    return lines


def penalty_rows(results: list[dict[str, Any]]) -> list[str]:
    """Test log-loss and accuracy of each way to fit; the best of the fixed strengths."""
    columns = (
        "network, set | auto, 25 iterations | auto, solved | best fixed, solved | loss ratio "
        "| mean of other splits: auto, best fixed | loss ratio"
    )
    lines = [f"| {columns} |", "|---" * 7 + "|"]

    def words(fit: dict[str, Any]) -> str:
        return f"{fit['log_loss']:.4f}, {100 * fit['accuracy']:.1f} %"

    def ratio_with_error(facts: dict[str, Any]) -> str:
        return f"{facts['loss_over_best']:.3f} ± {facts['loss_over_best_error']:.3f}"

    for result in results:
        fixed = {name: fit for name, fit in result["fits"].items() if name.startswith("l2=")}
        best = min(fixed, key=lambda name: fixed[name]["log_loss"])
        splits = result["other_splits"]
        lines.append(
            f"| {result['network']}, {result['set']} "
            f"| {words(result['fits']['auto, 25 iterations'])} "
            f"| {words(result['fits']['auto, solved'])} "
            f"| {words(fixed[best])} ({best}) "
            f"| {ratio_with_error(result)} "
            f"| {splits['log_loss']['auto, solved']:.4f}, {splits['log_loss'][splits['best']]:.4f} "
            f"({splits['best']}) | {ratio_with_error(splits)} |"
        )
    return lines


def review_rows(results: list[dict[str, Any]]) -> list[str]:
    """What is found of planted faults: means over the sets, and cleanlab's best way of each."""
    lines = [
        "| network | planted | figure | eyespot | cleanlab, at best | its way |",
        "|---|---|---|---|---|---|",
    ]
    for network in dict.fromkeys(result["network"] for result in results):
        faults = [result["faults"] for result in results if result["network"] == network]
        for fault, ways in faults[0].items():
            for figure in ways["eyespot"]:
                if figure == "seconds":
                    continue
                means = {
                    way: sum(one[fault][way][figure] for one in faults) / len(faults)
                    for way, figures in ways.items()
                    if figure in figures
                }
                own = means.pop("eyespot")
                best = max(means, key=lambda way: means[way], default=None)
                other = f"{means[best]:.3f} | {best.removeprefix('cleanlab ')}" if best else " | "
                lines.append(
                    f"| {network} | {fault} | {figure.replace('_', ' ')} | {own:.3f} | {other} |"
                )
    return lines


def fill(path: Path, words: str) -> bool:
    """Put `words` between the marks of a page; say so if it has none."""
    before, mark, rest = path.read_text().partition(BEGIN)
    _, other, after = rest.partition(END)
    if not mark or not other:
        print(f"{path} lacks the marks {BEGIN} and {END}", file=sys.stderr)
        return False
    path.write_text(f"{before}{BEGIN}\n{words}\n{END}{after}")
    return True


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent
    records = newest()
    pages = {
        root / "README.md": summary(records),
        root / "docs" / "benchmarks.md": "\n\n".join(map(section, records)),
    }
    filled = [fill(page, words) for page, words in pages.items()]
    return 0 if all(filled) else 1


if __name__ == "__main__":
    sys.exit(main())
