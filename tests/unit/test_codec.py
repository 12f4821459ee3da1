"""sniff, probe and decode as Python sees them, on images made on the spot."""

from __future__ import annotations

import struct
import threading
import zlib

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import DecodeError


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *extra: bytes) -> bytes:
    """Return an 8-bit PNG of (height, width, channels) pixels, extra chunks after its header."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *extra,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def exif(orientation: int) -> bytes:
    return chunk(
        b"eXIf",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + bytes(6),
    )


def ramp(height: int, width: int, channels: int) -> np.ndarray:
    return (
        (np.arange(height * width * channels) * 7 % 251)
        .astype(np.uint8)
        .reshape(height, width, channels)
    )


def test_pixels_come_back_as_an_array_that_owns_them():
    pixels = ramp(5, 9, 3)
    decoded = _core.decode(png(pixels))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)]
)
def test_any_contiguous_buffer_is_read(wrap):
    data = png(ramp(3, 4, 3))
    assert _core.sniff(wrap(data)) == "png"
    assert _core.probe(wrap(data)).width == 4
    assert _core.decode(wrap(data)).shape == (3, 4, 3)


def test_what_is_not_a_contiguous_buffer_is_refused():
    data = np.frombuffer(png(ramp(3, 4, 3)), np.uint8)
    with pytest.raises((BufferError, ValueError)):
        _core.decode(np.repeat(data, 2)[::2])
    with pytest.raises(TypeError):
        _core.decode("cat.jpg")
    with pytest.raises(TypeError):
        _core.sniff(None)


def test_probe_tells_the_header():
    info = _core.probe(png(ramp(6, 8, 4), exif(6)))
    assert (info.format, info.channels, info.bit_depth, info.has_alpha) == ("png", 4, 8, True)
    assert (info.width, info.height) == (6, 8)
    assert (info.stored_width, info.stored_height) == (8, 6)
    assert info.orientation == 6
    assert not info.animated


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_unless_told_otherwise(orientation):
    pixels = ramp(6, 8, 3)
    data = png(pixels, exif(orientation))
    flipped = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    np.testing.assert_array_equal(_core.decode(data), flipped[orientation])
    np.testing.assert_array_equal(_core.decode(data, apply_orientation=False), pixels)


def test_alpha_lies_on_white_unless_told_otherwise():
    pixels = np.array([[[10, 20, 30, 0], [200, 100, 50, 128]]], np.uint8)
    on_white = _core.decode(png(pixels))
    assert on_white[0, 0].tolist() == [255, 255, 255]
    assert on_white[0, 1].tolist() == [227, 177, 152]
    on_green = _core.decode(png(pixels), background=(0, 255, 0))
    assert on_green[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "corrupt_image", "empty"),
        (b"GIF89a" + bytes(20), "unsupported_format", "gif"),
        (b"II*\0" + bytes(20), "unsupported_format", "tiff"),
        (b"BM" + bytes(60), "unsupported_format", "bmp"),
        (b"hello, world", "unsupported_format", "known format"),
        (b"\xff\xd8\xff\xe0", "corrupt_image", "ends after 4 bytes"),
        (b"RIFF\xff\xff\0\0WEBPVP8 ", "corrupt_image", "ends after 16 bytes"),
        (png(ramp(9, 9, 3))[:60], "corrupt_image", "PNG"),
    ],
)
def test_a_refusal_names_the_file_and_the_cause(data, code, said):
    with pytest.raises(DecodeError, match="cat") as caught:
        _core.decode(data, source="cat")
    assert caught.value.code == code
    assert caught.value.source == "cat"
    assert said in str(caught.value)


def test_limits_are_read_off_the_header():
    bomb = png(ramp(1, 1, 3)).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 60_000, 60_000), 1
    )
    with pytest.raises(
        DecodeError, match=r"60000 x 60000 px exceeds max_pixels 89478485"
    ) as caught:
        _core.decode(bomb)
    assert caught.value.code == "limit_exceeded"
    data = png(ramp(10, 10, 3))
    with pytest.raises(DecodeError, match="max_pixels 99"):
        _core.decode(data, max_pixels=99)
    with pytest.raises(DecodeError, match="max_bytes 299"):
        _core.decode(data, max_bytes=299)
    assert _core.decode(data, max_pixels=100, max_bytes=2000).shape == (10, 10, 3)


def test_a_png_cut_anywhere_is_refused():
    data = png(ramp(8, 8, 3))
    for cut in range(len(data) - 24):
        with pytest.raises(DecodeError):
            _core.decode(data[:cut])


def test_many_threads_decode_at_once():
    data = png(ramp(64, 64, 3))
    expected = _core.decode(data)
    results = []

    def work():
        results.extend(np.array_equal(_core.decode(data), expected) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    assert all(results)
