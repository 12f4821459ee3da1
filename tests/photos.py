"""Small pictures made on the fly, as PNG files written by hand; the same bytes each time."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

# Mean colour of each label: far enough apart for any network to tell, with much noise on top.
COLOURS = {
    "blue": (40, 60, 200),
    "green": (40, 180, 60),
    "red": (200, 50, 40),
    "yellow": (210, 200, 40),
}


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels of shape (height, width, 3) as the bytes of a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1))
        + chunk(b"IEND", b"")
    )


def picture(label: str, number: int, *, side: int = 40) -> np.ndarray:
    """Return picture `number` of `label`: its colour, stripes and noise; all pictures differ."""
    random = np.random.default_rng([number, *label.encode()])
    height, width = side + int(random.integers(0, 9)), side + int(random.integers(0, 9))
    stripes = 30 * np.sin(np.arange(width) * random.uniform(0.2, 1.5))
    noise = random.normal(0, 35, (height, width, 3))
    colour = np.array(COLOURS.get(label, (128, 128, 128)))
    return np.clip(colour + stripes[None, :, None] + noise, 0, 255).astype(np.uint8)


def photo_folder(
    root: Path, labels: dict[str, int] | None = None, *, first: int = 0, side: int = 40
) -> Path:
    """Write so many pictures of each label below `root`, one folder per label; return `root`."""
    for label, count in (labels or {"blue": 8, "green": 8, "red": 8}).items():
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            data = png(picture(label, number, side=side))
            (folder / f"{label}_{number:04}.png").write_bytes(data)
    return root


def grouped_photo_folder(root: Path, groups: dict[str, int], each: int = 4) -> Path:
    """Write `each` pictures of so many groups of each label, as LABEL/LABELn_0.png and so on."""
    for label, count in groups.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            for shot in range(each):
                pixels = picture(label, 100 * number + shot)
                (root / label / f"{label}{number}_{shot}.png").write_bytes(png(pixels))
    return root
