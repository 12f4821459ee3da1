"""Pictures of coloured shapes, several at once, for tests of several labels an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from photos import png

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("blue", "circle", "red", "square")
_COLOURS = {"blue": (30, 60, 220), "red": (220, 40, 30)}


def shapes_picture(number: int, *, side: int = 64) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return picture `number` and its labels: nothing, one shape, or two in opposite corners."""
    random = np.random.default_rng([7, number])
    pixels = random.normal(170, 12, (side, side, 3))
    y, x = np.mgrid[:side, :side]
    labels: set[str] = set()
    corners = random.permutation([(0.28, 0.28), (0.28, 0.72), (0.72, 0.28), (0.72, 0.72)])
    for row, column in corners[: int(random.choice([0, 1, 2], p=[0.1, 0.5, 0.4]))]:
        colour = str(random.choice(["blue", "red"]))
        shape = str(random.choice(["circle", "square"]))
        radius = side * random.uniform(0.16, 0.2)
        dy, dx = np.abs(y - row * side), np.abs(x - column * side)
        inside = np.hypot(dy, dx) < radius if shape == "circle" else np.maximum(dy, dx) < radius
        pixels[inside] = np.array(_COLOURS[colour]) + random.normal(0, 12, (int(inside.sum()), 3))
        labels |= {colour, shape}
    return np.clip(pixels, 0, 255).astype(np.uint8), tuple(sorted(labels))


def shapes_table(folder: Path, count: int, *, first: int = 0, name: str = "labels.csv") -> Path:
    """Write pictures and a table of their labels, parted by semicolons; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,label"]
    for number in range(first, first + count):
        pixels, labels = shapes_picture(number)
        (folder / f"{number:04}.png").write_bytes(png(pixels))
        lines.append(f"{number:04}.png,{';'.join(labels)}")
    table = folder / name
    table.write_text("\n".join(lines) + "\n")
    return table
