"""Image files made by hand, for tests that must run without Pillow."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return an 8-bit PNG of grey (height, width), RGB or RGBA (height, width, 3 | 4) pixels."""
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    color_type = {1: 0, 3: 2, 4: 6}[channels]
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # filter 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 1))
        + _chunk(b"IEND", b"")
    )


def bmp_bytes(pixels: np.ndarray) -> bytes:
    """Return a 24-bit BMP of RGB (height, width, 3) pixels."""
    height, width = pixels.shape[:2]
    padding = b"\0" * (-3 * width % 4)
    rows = b"".join(row[:, ::-1].tobytes() + padding for row in pixels[::-1])
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(rows), 0, 0, 54) + info + rows


def gradient(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return smooth RGB pixels that differ from seed to seed."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [
            (x * 255) // max(width - 1, 1),
            (y * 255) // max(height - 1, 1),
            np.full((height, width), (37 * seed) % 256),
        ],
        axis=2,
    ).astype(np.uint8)
