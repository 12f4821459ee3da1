"""How to give a network several threads: what `eyespot.inference` does, and what else one could do.

Each case runs one network of random weights over prepared inputs, alone or beside a process that
keeps one processor busy (the "busy" cases): a rule must hold on both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from bench.harness import Case, Outputs
from bench.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parents[2] / "build" / "bench"
IMAGES = {"mobilenet_v3_small": 128, "mobilenet_v2": 64, "resnet18": 32}


class Suite:
    # eyespot: T callers, one image a call, operators of one thread; callers_4: the same by four
    # images; intra_op: one caller, operators of T threads that sleep when idle; spinning: ONNX
    # Runtime's defaults with T threads.
    peers = ("eyespot", "callers_4", "intra_op", "spinning")
    fresh_process = False

    def __init__(self, data: Path) -> None:  # noqa: ARG002 - a suite of its own networks
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in IMAGES:
            onnx.save(NETWORKS[name](0), FOLDER / f"{name}.onnx")

    def cases(self) -> Sequence[Case]:
        return [
            Case(
                name=f"{name}{' busy' if busy else ''}",
                options={"model": str(FOLDER / f"{name}.onnx"), "images": count, "busy": busy},
                units=count,
            )
            for name, count in IMAGES.items()
            for busy in (False, True)
        ]

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]:  # noqa: ARG002
        ours = outputs["eyespot"]["embeddings"]
        worst = 0.0
        for peer, arrays in outputs.items():
            difference = float(np.abs(arrays["embeddings"] - ours).max() / np.abs(ours).max())
            assert difference < 1e-4, f"{peer} differs by {difference} of the largest value"
            worst = max(worst, difference)
        return {"largest_relative_difference": worst}
