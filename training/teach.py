"""Compute the teachers' targets once: ``python -m training.teach --shards DIR --out FILE``.

For training without a GPU, where the teachers cost more than the student. Parts are kept beside the
file, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.shards import load_pictures
from training.targets import TEACHERS, StoredTargets, Teacher, whitening

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
STD: Final = np.array([0.229, 0.224, 0.225], np.float32)
BATCH: Final = 8
PART: Final = 1024  # pictures a part
SAMPLE: Final = 6000  # pictures that the projection is measured on


def _session(path: Path, n_threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    from PIL import Image

    if pixels.shape[1] != side:
        resized = [
            np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR))
            for one in pixels
        ]
        pixels = np.stack(resized)
    normalised = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _run(session: Any, teacher: Teacher, pixels: NDArray[np.uint8]) -> list[NDArray[np.float16]]:
    name = session.get_inputs()[0].name
    found: list[list[NDArray[np.float32]]] = [[] for _ in teacher.outputs]
    for start in range(0, len(pixels), BATCH):
        inputs = _inputs(pixels[start : start + BATCH], teacher.side)
        for rows, output in zip(
            found, session.run(list(teacher.outputs), {name: inputs}), strict=True
        ):
            rows.append(output.reshape(len(inputs), -1))
    return [np.concatenate(rows).astype(np.float16) for rows in found]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.teach", description=__doc__)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True, help="folder of the ONNX files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="at most so many of each source")
    parser.add_argument("--sources", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="", help="what to call this process; not used")
    chosen = parser.parse_args()
    groups = load_pictures(
        chosen.shards, sources=chosen.sources, n_threads=chosen.threads, limit=chosen.limit
    )
    sessions = [_session(chosen.teachers / one.file, chosen.threads) for one in TEACHERS]
    folder = chosen.out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    total = sum(len(group.numbers) for group in groups.values())
    done, began = 0, time.monotonic()
    for side, group in groups.items():
        for start in range(0, len(group.numbers), PART):
            block = slice(start, start + PART)
            numbers = group.numbers[block]
            path = folder / f"{side}-{numbers[0]}-{len(numbers)}.npz"
            if not path.exists():
                arrays = {}
                for i, (session, teacher) in enumerate(zip(sessions, TEACHERS, strict=True)):
                    for name, rows in zip(
                        teacher.outputs, _run(session, teacher, group.pixels[block]), strict=True
                    ):
                        arrays[f"{name}_{i}"] = rows
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    np.savez(file, numbers=numbers, **arrays)
                part.replace(path)
            parts.append(path)
            done += len(numbers)
            print(f"{done} of {total}, {time.monotonic() - began:.0f} s", flush=True)
    _join(parts).save(chosen.out)
    return 0


def _join(parts: list[Path]) -> StoredTargets:
    columns: dict[str, list[NDArray[Any]]] = {}
    for path in parts:
        with np.load(path) as arrays:
            for name in arrays.files:
                columns.setdefault(name, []).append(arrays[name])
    rows = {name: np.concatenate(column) for name, column in columns.items()}
    order = np.argsort(rows["numbers"])
    sample = np.random.default_rng(0).permutation(len(order))[:SAMPLE]
    projected = []
    for i, teacher in enumerate(TEACHERS):
        embeddings = rows[f"embedding_{i}"]
        how = whitening(embeddings[sample], teacher.n_axes)
        blocks = [
            ((embeddings[order[start : start + PART]].astype(np.float32) - how.mean) @ how.axes)
            for start in range(0, len(order), PART)
        ]
        projected.append(np.concatenate(blocks).astype(np.float16))
    last = max(i for i, teacher in enumerate(TEACHERS) if teacher.has_logits)
    return StoredTargets(
        numbers=rows["numbers"][order],
        projected=tuple(projected),
        logits=rows[f"logits_{last}"][order],
    )


if __name__ == "__main__":
    sys.exit(main())
