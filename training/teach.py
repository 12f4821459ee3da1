"""Compute the teachers' targets once: ``python -m training.teach --shards DIR --out FILE``.

For training without a GPU, where the teachers cost more than the student. They are asked for the
whole of each picture and, with --views, for crops of it, which the student then sees as well. Parts
are kept beside the file: a stopped run goes on where it was, and a run for other sources adds to
what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.shards import load_pictures
from training.targets import TEACHERS, StoredTargets, Teacher, view_box, whitening

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


def _inputs(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """Return boxes of pictures, enlarged or shrunk to `side`, as a network takes them."""
    from PIL import Image

    size = pixels.shape[1]
    seen = []
    for picture, (left, top, width, height) in zip(pixels, boxes.tolist(), strict=True):
        # Rounding to float32 may carry an edge over the picture's.
        box = (left, top, min(left + width, 1.0), min(top + height, 1.0))
        image = Image.fromarray(picture)
        corners = tuple(size * one for one in box)
        seen.append(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=corners)))
    normalised = (np.stack(seen).astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _run(
    session: Any, teacher: Teacher, pixels: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> list[NDArray[np.float16]]:
    name = session.get_inputs()[0].name
    found: list[list[NDArray[np.float32]]] = [[] for _ in teacher.outputs]
    for start in range(0, len(pixels), BATCH):
        block = slice(start, start + BATCH)
        inputs = _inputs(pixels[block], boxes[block], teacher.side)
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
    parser.add_argument("--views", type=int, default=1, help="of each picture of 128 px and more")
    parser.add_argument("--small-views", type=int, default=1, help="of each smaller picture")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[one.file for one in TEACHERS],
        help="which of the teachers, by their files",
    )
    parser.add_argument(
        "--axes", type=int, default=0, help="of each embedding; 0: the teacher's own"
    )
    parser.add_argument(
        "--whiten", type=float, default=1.0, help="power of an axis' deviation to divide it by"
    )
    parser.add_argument("--name", default="", help="what to call this process; not used")
    chosen = parser.parse_args()
    groups = load_pictures(
        chosen.shards, sources=chosen.sources, n_threads=chosen.threads, limit=chosen.limit
    )
    teachers = [one for one in TEACHERS if one.file in chosen.only]
    sessions = [_session(chosen.teachers / one.file, chosen.threads) for one in teachers]
    folder = chosen.out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    views = {side: chosen.views if side >= 128 else chosen.small_views for side in groups}
    total = sum(len(group.numbers) * views[side] for side, group in groups.items())
    done, began = 0, time.monotonic()
    for side, group in groups.items():
        for view in range(views[side]):
            for start in range(0, len(group.numbers), PART):
                block = slice(start, start + PART)
                numbers = group.numbers[block]
                path = folder / f"{side}-{view}-{numbers[0]}-{len(numbers)}.npz"
                if not path.exists():
                    boxes = np.array([view_box(int(one), view) for one in numbers], np.float32)
                    arrays: dict[str, NDArray[Any]] = {"boxes": boxes}
                    for i, (session, teacher) in enumerate(zip(sessions, teachers, strict=True)):
                        found = _run(session, teacher, group.pixels[block], boxes)
                        arrays |= {
                            f"{name}_{i}": rows
                            for name, rows in zip(teacher.outputs, found, strict=True)
                        }
                    part = path.with_suffix(".part")
                    with part.open("wb") as file:
                        np.savez(file, numbers=numbers, **arrays)
                    part.replace(path)
                done += len(numbers)
                print(f"{done} of {total}, {time.monotonic() - began:.0f} s", flush=True)
    if chosen.axes:
        teachers = [dataclasses.replace(one, n_axes=chosen.axes) for one in teachers]
    _join(sorted(folder.glob("*.npz")), teachers, chosen.whiten).save(chosen.out)
    return 0


def _join(parts: list[Path], teachers: list[Teacher], power: float) -> StoredTargets:
    columns: dict[str, list[NDArray[Any]]] = {}
    for path in parts:
        with np.load(path) as arrays:
            for name in arrays.files:
                columns.setdefault(name, []).append(arrays[name])
    rows = {name: np.concatenate(column) for name, column in columns.items()}
    # By picture; a view that two runs asked for stands once.
    views = np.column_stack([rows["numbers"], rows["boxes"]])
    order = np.unique(views, axis=0, return_index=True)[1]
    sample = np.random.default_rng(0).permutation(len(order))[:SAMPLE]
    projected = []
    for i, teacher in enumerate(teachers):
        embeddings = rows[f"embedding_{i}"]
        how = whitening(embeddings[sample], teacher.n_axes, power=power)
        blocks = [
            ((embeddings[order[start : start + PART]].astype(np.float32) - how.mean) @ how.axes)
            for start in range(0, len(order), PART)
        ]
        projected.append(np.concatenate(blocks).astype(np.float16))
    scored = [i for i, teacher in enumerate(teachers) if teacher.has_logits]
    return StoredTargets(
        numbers=rows["numbers"][order],
        boxes=rows["boxes"][order],
        projected=tuple(projected),
        logits=rows[f"logits_{scored[-1]}"][order]
        if scored
        else np.empty((len(order), 0), np.float16),
    )


if __name__ == "__main__":
    sys.exit(main())
