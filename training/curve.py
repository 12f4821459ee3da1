"""The curve of accuracy against cost: ``python -m training.curve RUN --photos DIR...``.

Probes each snapshot of a run that `curve.csv` does not have yet, adds a line for it, and draws
`curve.svg`: mean accuracy over the sets against images seen, with a dashed line for each network
given with --beside NAME=ACCURACY.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["draw", "main"]

WIDTH: Final = 640
HEIGHT: Final = 400
LEFT: Final = 60
RIGHT: Final = 150
TOP: Final = 20
BOTTOM: Final = 50


def draw(points: Sequence[tuple[float, float]], beside: Mapping[str, float]) -> str:
    """Return a curve as an SVG picture.

    Parameters
    ----------
    points : sequence of (images seen, accuracy in percent)
        At least one; images are drawn on a logarithmic axis.
    beside : mapping of str to float
        Accuracies of other networks, by name.
    """
    x = np.log10([max(one, 1.0) for one, _ in points])
    heights = [value for _, value in points] + list(beside.values())
    low, high = np.floor(min(heights) - 0.5), np.ceil(max(heights) + 0.5)
    first, last = float(x.min()), float(x.max())
    if last - first < 0.1:
        first, last = first - 0.5, last + 0.5

    def across(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
    ]
    step = max(1, int((high - low) / 6))
    for tick in range(int(low), int(high) + 1, step):
        y = up(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick} %</text>')
    for power in range(int(np.ceil(first)), int(np.floor(last)) + 1):
        place = across(power)
        parts.append(f'<path d="M{place:.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        label = f"{10**power:,}"
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">images seen</text>')
    for name, value in beside.items():
        y = up(value)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#888" stroke-dasharray="5 4"/>'
            f'<text x="{right + 6}" y="{y + 4:.1f}" fill="#555">{escape(name)} {value:.1f}</text>'
        )
    corners = [f"{across(a):.1f},{up(b):.1f}" for a, (_, b) in zip(x, points, strict=True)]
    parts.append(
        f'<polyline points="{" ".join(corners)}" fill="none" stroke="#0b62a4" stroke-width="2"/>'
    )
    parts += [
        f'<circle cx="{corner.split(",")[0]}" cy="{corner.split(",")[1]}" r="3" fill="#0b62a4"/>'
        for corner in corners
    ]
    return "\n".join([*parts, "</svg>\n"])


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.curve", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=ACCURACY")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--side", type=int, default=0, help="pixels of the input")
    chosen = parser.parse_args(arguments)
    rows = _read(chosen.run / "curve.csv")
    have = {row["snapshot"] for row in rows}
    for snapshot in sorted((chosen.run / "snapshots").glob("*.pt")):
        if snapshot.stem in have:
            continue
        rows.append(_probe(snapshot, chosen))
        _write(chosen.run / "curve.csv", rows)
        print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    if not rows:
        print(f"{chosen.run} has no snapshots", file=sys.stderr)
        return 2
    beside = {
        name: float(value) for name, _, value in (one.partition("=") for one in chosen.beside)
    }
    points = [(float(row["images"]), float(row["mean"])) for row in rows]
    (chosen.run / "curve.svg").write_text(draw(points, beside), encoding="utf-8")
    return 0


def _probe(snapshot: Path, chosen: argparse.Namespace) -> dict[str, str]:
    """Judge one snapshot: over the seeds, and on the sets' own splits."""
    import onnx
    import torch

    from training.export import to_onnx
    from training.probe import embed, judge, open_network
    from training.student import read_snapshot

    facts = torch.load(snapshot, map_location="cpu", weights_only=True)
    row = {
        "snapshot": snapshot.stem,
        "images": str(facts["images"]),
        "seconds": f"{facts['seconds']:.0f}",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{snapshot.stem}.onnx"
        onnx.save(to_onnx(read_snapshot(snapshot), name="s", revision=0, side=chosen.side), path)
        extractor = open_network(str(path))
        means, owns = [], []
        for photos in chosen.photos:
            probe = judge(embed(extractor, photos, chosen.threads), chosen.seeds)
            row[photos.name] = f"{probe.mean:.2f}"
            means.append(probe.mean)
            if probe.own is not None:
                row[f"{photos.name}_own"] = f"{probe.own:.2f}"
                owns.append(probe.own)
    row["mean"] = f"{np.mean(means):.2f}"
    row["mean_own"] = f"{np.mean(owns):.2f}" if owns else ""
    return row


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
