"""Images a second of student shapes beside other networks: ``python -m training.speed FILE...``.

Weights are random: only the shape matters. Each network runs one image at a time on one thread of
ONNX Runtime, float32 and int8, in turns; the figure is the median over the turns. FILEs are other
ONNX networks to measure beside, as they are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from training.export import quantise, to_onnx
from training.student import SHAPES, Shape, Student


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _seconds(session: Any, inputs: dict[str, np.ndarray], at_least_s: float) -> float:
    """Return the seconds of one call, over as many calls as fill the time."""
    session.run(None, inputs)
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < at_least_s:
        session.run(None, inputs)
        calls += 1
    return spent / calls


def multiply_adds(shape: Shape) -> int:
    """Return the multiply-adds of one image."""
    side, total, n_in = shape.side // 2, 0, shape.stem
    total += side * side * 27 * shape.stem
    for width, depth in zip(shape.widths, shape.depths, strict=True):
        side = -(-side // 2)
        for i in range(depth):
            total += side * side * (9 * n_in * width + 9 * width * width)
            total += side * side * n_in * width if i == 0 else 0
            n_in = width
    return total


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.speed", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--shapes", nargs="*", default=[name for name in SHAPES if name != "tiny"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--turn-s", type=float, default=0.4)
    chosen = parser.parse_args()
    random = np.random.default_rng(0)
    networks: dict[str, tuple[Any, dict[str, np.ndarray]]] = {}
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.shapes:
            shape = SHAPES[name]
            torch.manual_seed(0)
            path, small = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}-int8.onnx"
            onnx.save(to_onnx(Student(shape), name=name, revision=0), path)
            image = random.standard_normal((1, 3, shape.side, shape.side)).astype(np.float32)
            quantise(path, small, iter([image]))
            for label, file in ((name, path), (f"{name} int8", small)):
                networks[label] = (_session(file), {"input": image})
                facts[label] = (
                    f"{shape.side} px, {multiply_adds(shape) / 1e6:.0f} M multiply-adds, "
                    f"{file.stat().st_size / (1e6 if file is small else 2e6):.1f} MB stored"
                )
        for file in chosen.files:
            session = _session(file)
            one = session.get_inputs()[0]
            size = [dim if isinstance(dim, int) else 1 for dim in one.shape]
            size[2:] = [dim if dim > 1 else 224 for dim in size[2:]]
            image = random.standard_normal([1, *size[1:]]).astype(np.float32)
            networks[file.stem] = (session, {one.name: image})
            facts[file.stem] = f"{size[2]} px"
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(chosen.turns):
        for name, (session, inputs) in networks.items():
            times[name].append(_seconds(session, inputs, chosen.turn_s))
    for name, seconds in times.items():
        print(f"{name:<45}{1 / float(np.median(seconds)):8.1f} images/s   {facts[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
