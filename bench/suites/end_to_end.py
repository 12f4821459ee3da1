"""From a folder of photos to a trained classifier, the whole way, against plain Python.

1,000 photos of flowers (short side up to 224 px, so decoding is light), and 1,100 files of ImageNet
size (100 photos, each under eleven names: their labels mean nothing, their decoding does), with a
small and a large network of random weights. ``pure_inference`` is no pipeline but a limit: ONNX
Runtime's time alone for as many images.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from bench import networks
from bench.harness import Case, Outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

WORK = Path(__file__).parents[2] / "build" / "bench"
COPIES = 11
LABELS = 10
L2 = 1e-3
MAX_ITERATIONS = 25
NETWORKS = ("mobilenet_v3_small", "resnet18")


class Suite:
    peers = ("eyespot", "simplejpeg", "pillow_simd", "pure_inference")
    fresh_process = True

    def __init__(self, data: Path) -> None:
        self._data = data

    def cases(self) -> Sequence[Case]:
        flowers = self._data / "photos" / "flowers5" / "train"
        folders = {"flowers5": flowers, f"web_x{COPIES}": self._web()}
        found = []
        for name, folder in folders.items():
            count = sum(1 for path in folder.rglob("*") if path.is_file())
            for network in NETWORKS:
                options = {
                    "photos": str(folder),
                    "n_photos": count,
                    "network": str(self._network(network)),
                    "l2": L2,
                    "max_iterations": MAX_ITERATIONS,
                    "compare_every": max(1, count // 64),
                }
                # One BLAS thread: more of them slow scikit-learn down on matrices of this size.
                blas = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
                found.append(
                    Case(name=f"{name}-{network}", options=options, units=count, environment=blas)
                )
        return found

    def _network(self, name: str) -> Path:
        path = WORK / f"{name}.onnx"
        WORK.mkdir(parents=True, exist_ok=True)
        onnx.save(networks.NETWORKS[name](0), path)
        return path

    def _web(self) -> Path:
        """Return a folder of eleven names for each of the 100 photos of decode/web."""
        folder = WORK / f"web_x{COPIES}"
        photos = sorted((self._data / "decode" / "web").iterdir())
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            for photo in photos:
                content = photo.read_bytes()
                label = hashlib.sha256(content).digest()[0] % LABELS
                target = partial / f"label_{label}"
                target.mkdir(parents=True, exist_ok=True)
                for copy in range(COPIES):
                    (target / f"{photo.stem}_{copy}.jpg").write_bytes(content)
            partial.rename(folder)
        return folder

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]:
        found: dict[str, Any] = {}
        ours = outputs.get("eyespot")
        for peer, arrays in outputs.items():
            if "training_accuracy" in arrays:
                found[f"training accuracy of {peer}"] = round(float(arrays["training_accuracy"]), 4)
            if ours is None or peer == "eyespot" or "embeddings" not in arrays:
                continue
            cosine = cosines(centred(ours["embeddings"]), centred(arrays["embeddings"]))
            found[f"median cosine of embeddings, {peer}"] = round(float(np.median(cosine)), 5)
            # Random weights magnify small differences of pixels; other photos are far below this.
            assert np.median(cosine) > 0.98, f"{case.name}: {peer} embeds other pixels"
        return found


def centred(embeddings: np.ndarray) -> np.ndarray:
    """Take away what all images share, so that the cosine tells images apart."""
    return embeddings - embeddings.mean(axis=0)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / norms
