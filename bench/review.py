"""What a review finds of faults that were planted: python -m bench.review [--data DIR]

Real photos, in which a share of the labels is changed at random, or to which photos of the other
sets are added, or slightly changed copies. cleanlab does the first two on the same embeddings and
predictions, in each of its ways. What was wrong before counts as right, for want of better
knowledge, so no figure can reach 1.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import eyespot
from bench import arguments, environment, venvs
from bench.peers import review_cleanlab
from bench.records import write_record
from bench.suites.head import PHOTOS
from eyespot.head import select_l2
from eyespot.progress import Phase, ProgressReporter
from eyespot.reviewing.labels import doubts_of
from eyespot.reviewing.likeness import compare, copy_similarity, upper_fence

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKBONES = {"embedded default": None, "SqueezeNet 1.1": "squeezenet1.1_onnxzoo.onnx"}
SHARES = (0.03, 0.1)
N_FOREIGN = 0.02
N_COPIED = 60


def average_precision(score: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    found = wrong[np.argsort(-score, kind="stable")]
    precision = np.cumsum(found) / np.arange(1, len(found) + 1)
    return float(precision[found].mean())


def area_under_curve(score: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    ranks = np.argsort(np.argsort(score, kind="stable"), kind="stable") + 1.0
    n = int(wrong.sum())
    return float((ranks[wrong].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def f1(flagged: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> float:
    return float(2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()))


def peer(python: Path, values: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what cleanlab makes of the arrays."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        np.savez(given, **values)
        told = subprocess.run(
            [str(python), review_cleanlab.__file__, str(given)],
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(told.stdout.splitlines()[-1])


def changed_labels(
    python: Path, x: NDArray[np.float32], y: NDArray[np.int64], share: float, seed: int
) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    k = int(y.max()) + 1
    wrong = np.zeros(len(y), np.bool_)
    wrong[rng.choice(len(y), round(share * len(y)), replace=False)] = True
    given = y.copy()
    given[wrong] = (y[wrong] + rng.integers(1, k, wrong.sum())) % k
    start = time.perf_counter()
    held_out = select_l2(x, given, k, predict=True).held_out
    assert held_out is not None
    doubts = doubts_of(held_out.log_probabilities, given)
    seconds = time.perf_counter() - start
    flagged = np.zeros(len(y), np.bool_)
    flagged[doubts.issues] = True
    figures = {
        "eyespot": {
            "average_precision": average_precision(doubts.odds, wrong),
            "f1": f1(flagged, wrong),
            "seconds": seconds,
        }
    }
    told = peer(python, {"targets": given, "log_probabilities": held_out.log_probabilities})
    for way, score in told["quality"].items():
        precision = average_precision(-np.array(score), wrong)
        figures[f"cleanlab {way}"] = {"average_precision": precision}
    for way, mask in told["issues"].items():
        figures[f"cleanlab {way}"] = {"f1": f1(np.array(mask), wrong)}
    return figures


def foreign_photos(
    python: Path, x: NDArray[np.float32], others: NDArray[np.float32], seed: int
) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    n = max(4, round(N_FOREIGN * len(x)))
    rows = np.concatenate([x, others[rng.choice(len(others), n, replace=False)]])
    foreign = np.arange(len(rows)) >= len(x)
    start = time.perf_counter()
    likeness = compare(rows, 1.0, ProgressReporter(None, Phase.EVALUATING, len(rows)))
    seconds = time.perf_counter() - start
    flagged = likeness.distance > upper_fence(likeness.distance)
    told = np.array(peer(python, {"embeddings": rows})["outlier"])
    return {
        "eyespot": {
            "area_under_curve": area_under_curve(likeness.distance, foreign),
            "average_precision": average_precision(likeness.distance, foreign),
            "found": float(flagged[foreign].mean()),
            "false": float(flagged[~foreign].mean()),
            "seconds": seconds,
        },
        "cleanlab": {
            "area_under_curve": area_under_curve(-told, foreign),
            "average_precision": average_precision(-told, foreign),
        },
    }


def changed_copies(path: Path) -> dict[str, bytes]:
    from PIL import Image, ImageOps

    photo = Image.open(path).convert("RGB")
    width, height = photo.size
    inner = (width // 20, height // 20, width - width // 20, height - height // 20)
    copies = {
        "compressed": (photo, 50),
        "half the size": (photo.resize((width // 2, height // 2), Image.Resampling.BICUBIC), 85),
        "cropped": (photo.crop(inner), 85),
        "lighter": (photo.point(lambda level: min(255, round(1.2 * level))), 85),
        "mirrored": (ImageOps.mirror(photo), 85),
    }
    files = {}
    for name, (image, quality) in copies.items():
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        files[name] = buffer.getvalue()
    return files


def copied_photos(
    extractor: eyespot.FeatureExtractor, data: eyespot.DataSource, x: NDArray[np.float32]
) -> dict[str, float]:
    """Return the share of the copies of each kind that come into the group of their photo."""
    threshold = copy_similarity(extractor, data.paths)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(x), min(N_COPIED, len(x)), replace=False))
    copies = [changed_copies(data.paths[i]) for i in chosen]
    found = {"threshold": threshold}
    for kind in copies[0]:
        rows = np.concatenate([x, extractor.extract([one[kind] for one in copies]).embeddings])
        reporter = ProgressReporter(None, Phase.EVALUATING, len(rows))
        group = compare(rows, threshold, reporter).group
        found[kind] = float((group[len(x) :] == group[chosen]).mean())
    return found


def main() -> int:
    options = arguments.parser("review", __doc__)
    options.add_argument("--seeds", type=int, default=3)
    chosen = arguments.parse(options)
    facts = environment.describe()
    python = venvs.interpreter(review_cleanlab)
    results = []
    for network, file in BACKBONES.items():
        extractor = eyespot.FeatureExtractor.default()
        if file is not None:
            path = chosen.data / "backbones" / file
            extractor = eyespot.FeatureExtractor.custom(path, output_name="embedding")
        seen = {}
        for name in PHOTOS:
            data = eyespot.DataSource.labeled_directories(chosen.data / "photos" / name / "train")
            seen[name] = (data, extractor.extract(data.paths, on_error="raise").embeddings)
        for name, (data, x) in seen.items():
            others = np.concatenate([rows for other, (_, rows) in seen.items() if other != name])
            faults = {
                f"{100 * share:.0f} % of the labels": mean(
                    [changed_labels(python, x, data.targets, share, i) for i in range(chosen.seeds)]
                )
                for share in SHARES
            }
            faults["foreign photos"] = mean(
                [foreign_photos(python, x, others, i) for i in range(chosen.seeds)]
            )
            faults["changed copies"] = {"eyespot": copied_photos(extractor, data, x)}
            results.append({"network": network, "set": name, "n": len(x), "faults": faults})
            print(f"{network} {name}: {json.dumps(faults)}", flush=True)
    write_record("review", results, facts, repeat=chosen.seeds, local=chosen.local)
    return 0


def mean(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the mean of each figure of several runs."""
    return {
        who: {name: float(np.mean([run[who][name] for run in runs])) for name in figures}
        for who, figures in runs[0].items()
    }


if __name__ == "__main__":
    sys.exit(main())
