"""Every file of the corpora is decoded or refused by name, as by Pillow but for the kinds below.

The verdict compared with is the one that Pillow 13 gave when the manifest was made; pixels are
compared with the Pillow that is installed. Both decode JPEG with libjpeg-turbo and WebP with
libwebp, and every transform is defined to the bit, so pixels must be equal unless a kind says not.
"""

from __future__ import annotations

import io
import json
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import DecodeError

CORE_FORMATS = {"jpeg", "png", "webp"}
REFUSALS = {"unsupported_format", "corrupt_image", "limit_exceeded"}

# Kinds of files that we decode where Pillow refuses, or the other way, and why.
VERDICT_KINDS = {
    "lossless JPEG": "libjpeg-turbo below 3 cannot decode SOF3; refused whatever the version",
    "Apple PNG": "CgBI files are not PNG (raw deflate, premultiplied BGRA); decoders that ignore "
    "the unknown critical chunk see rubbish",
    "broken ancillary chunk": "Pillow checks colour profiles and text; we never look at them",
    "unfinished trailer": "all pixels are there, and the segment after them is cut short; Pillow "
    "refuses that, though it accepts a file without any end marker",
}
# Kinds of files whose pixels may differ from Pillow's, and by how much on average.
PIXEL_KINDS = {
    "progressive JPEG": (0.01, "libjpeg-turbo releases smooth missing coefficients differently"),
    "16-bit grey PNG": (
        0.0,
        "Pillow clips 16-bit grey to 255; compared with the high byte instead",
    ),
}


def chunks_of(png: bytes):
    at = 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length], png[at + 8 + length :][:4]
        at += 12 + length


def verdict_kind(row: dict, data: bytes) -> str | None:
    if row["magic"] == "jpeg":
        if row.get("jpeg", {}).get("sof") == 3:
            return "lossless JPEG"
        if data[-2] == 0xFF and 0xC0 <= data[-1] != 0xD9:
            return "unfinished trailer"
    if row["magic"] == "png":
        if data[12:16] == b"CgBI":
            return "Apple PNG"
        for name, payload, crc in chunks_of(data):
            if name[0] & 0x20 and zlib.crc32(name + payload) != int.from_bytes(crc, "big"):
                return "broken ancillary chunk"
    return None


def pixel_kind(row: dict, mode: str) -> str | None:
    if row["magic"] == "jpeg" and row["jpeg"]["sof"] in {2, 10}:
        return "progressive JPEG"
    return "16-bit grey PNG" if mode == "I;16" else None


@pytest.fixture(scope="module")
def corpora(test_data):
    manifest = test_data("corpora/manifest.jsonl")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    present = [row for row in rows if (manifest.parent / row["path"]).exists()]
    assert len(present) > 1000
    return manifest.parent, present


def verdict_of(data: bytes, source: str):
    """Return "ok" and the pixels, or the code of the refusal and the error."""
    try:
        return "ok", _core.decode(data, source=source)
    except DecodeError as error:
        return error.code, error


def pillow_pixels(data: bytes):
    """Return Pillow's mode and its upright pixels on white."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        mode = image.mode
        transparent = image.info.get("transparency")
        if mode == "I;16":
            samples = np.asarray(image).astype(np.uint16)
            grey = (samples >> 8).astype(np.uint8)
            if transparent is not None:
                grey[samples == transparent] = 255
            return mode, np.repeat(grey[..., None], 3, axis=2)
        if mode in {"RGBA", "LA", "PA"} or transparent is not None:
            image = image.convert("RGBA")
            background = Image.new("RGB", image.size, (255, 255, 255))
            background.paste(image, mask=image.getchannel("A"))
            image = background
        return mode, np.asarray(image.convert("RGB"))


def test_every_file_is_decoded_or_refused_with_a_named_error(corpora):
    folder, rows = corpora
    wrong = []
    for row in rows:
        path = row["path"]
        data = (folder / path).read_bytes()
        started = time.perf_counter()
        code, detail = verdict_of(data, path)
        if time.perf_counter() - started > 20:
            wrong.append((path, "slow"))
        name = _core.sniff(data)
        if code == "ok":
            right = detail.dtype == np.uint8 and detail.ndim == 3 and detail.shape[2] == 3
        else:
            said = str(detail).removeprefix(f"{path}: ")
            right = detail.source == path and len(said) > 10
            if name in CORE_FORMATS:
                right = right and code in REFUSALS
            else:
                right = right and code == ("unsupported_format" if data else "corrupt_image")
                right = right and (name == "unknown" or name in said)
        if not right:
            wrong.append((path, code, str(detail)[:200]))
    assert wrong == []


def test_a_format_is_told_as_the_manifest_tells_it(corpora):
    folder, rows = corpora
    known = {"jpeg", "png", "webp", "bmp", "gif", "tiff", "ico"}
    wrong = [
        (row["path"], name, row["magic"])
        for row in rows
        if row["magic"] in known
        and (name := _core.sniff((folder / row["path"]).read_bytes())) != row["magic"]
    ]
    assert wrong == []


def test_the_verdict_is_that_of_pillow_except_for_the_documented_kinds(corpora):
    folder, rows = corpora
    wrong = []
    kinds_seen = set()
    for row in rows:
        if row["magic"] not in CORE_FORMATS:
            continue
        data = (folder / row["path"]).read_bytes()
        code, _ = verdict_of(data, row["path"])
        if (code == "ok") == bool(row["ok"]):
            continue
        kind = verdict_kind(row, data)
        kinds_seen.add(kind)
        if kind is None:
            wrong.append((row["path"], code, row.get("err")))
    assert wrong == []
    assert kinds_seen == set(VERDICT_KINDS), "a documented kind no longer occurs: take it out"


def test_pixels_are_those_of_pillow_except_for_the_documented_kinds(corpora):
    pytest.importorskip("PIL", reason="needs Pillow to compare with")
    folder, rows = corpora
    wrong = []
    compared = 0
    for row in rows:
        if row["magic"] not in CORE_FORMATS or not row["ok"]:
            continue
        data = (folder / row["path"]).read_bytes()
        code, pixels = verdict_of(data, row["path"])
        if code != "ok":
            continue
        try:
            mode, expected = pillow_pixels(data)
        except (OSError, SyntaxError):  # an older Pillow than the manifest's
            continue
        compared += 1
        if pixels.shape != expected.shape:
            wrong.append((row["path"], pixels.shape, expected.shape))
            continue
        difference = float(np.abs(pixels.astype(np.int16) - expected).mean())
        kind = pixel_kind(row, mode)
        allowed = PIXEL_KINDS[kind][0] if kind else 0.0
        if difference > allowed:
            wrong.append((row["path"], kind, difference))
    assert wrong == []
    assert compared > 500


def test_all_orientations_of_a_photo_show_the_same_picture(test_data):
    folder = test_data("corpora/exif_orientation")
    for shape in ("Landscape", "Portrait"):
        upright = _core.decode(Path(folder / f"{shape}_1.jpg").read_bytes()).astype(np.int16)
        for value in range(2, 9):
            data = Path(folder / f"{shape}_{value}.jpg").read_bytes()
            assert _core.probe(data).orientation == value
            turned = _core.decode(data)
            assert turned.shape == upright.shape
            # Each was compressed anew, so they are alike, not equal.
            assert np.abs(turned - upright).mean() < 4
