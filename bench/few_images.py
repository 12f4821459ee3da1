"""What augmentation is worth with few photos: python -m bench.few_images [--data DIR]

Ten photos a class, drawn anew by each of five seeds; the same photos with and without augmented
copies, tested on the whole test set. Not a race, so it has no peers.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

import eyespot
from bench import arguments, environment
from bench.records import write_record
from eyespot import training

if TYPE_CHECKING:
    from pathlib import Path

SETS = ("flowers5", "trashnet")
PLANS = ("none", "flip", "light", "photos", "createml")
N_PHOTOS = 10
N_SEEDS = 5


def few(data: eyespot.DataSource, seed: int) -> eyespot.DataSource:
    """Return ten photos of each class."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(data.targets == label))[:N_PHOTOS]
        for label in range(len(data.classes))
    ]
    return data.take(np.sort(np.concatenate(chosen)))


def measure(
    photos: Path, plans: list[str], extractor: eyespot.FeatureExtractor, n_seeds: int
) -> list[dict[str, object]]:
    data = eyespot.DataSource.labeled_directories(photos / "train")
    test = eyespot.DataSource.labeled_directories(photos / "test").with_classes(data.classes)
    seen = extractor.extract(test.paths)
    truth = test.targets[seen.indices]
    results = []
    for plan in plans:
        accuracy, log_loss, seconds, n_copies = [], [], [], 0
        for seed in range(n_seeds):
            parameters = eyespot.ModelParameters(
                validation=None,
                feature_extractor=extractor,
                max_iterations=200,
                seed=seed,
                augmentation=None if plan == "none" else plan,
            )
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", eyespot.ConvergenceWarning)
                trained = training.train(few(data, seed), parameters)
            seconds.append(time.perf_counter() - start)
            n_copies = trained.report.n_copies
            probabilities = trained.head.probabilities(seen.embeddings)
            metrics = eyespot.ClassifierMetrics.from_probabilities(
                data.classes, truth, probabilities
            )
            accuracy.append(metrics.accuracy)
            log_loss.append(metrics.log_loss)
        results.append(
            {
                "set": photos.name,
                "plan": plan,
                "n_copies": n_copies,
                "accuracy": accuracy,
                "accuracy_mean": float(np.mean(accuracy)),
                "accuracy_sd": float(np.std(accuracy, ddof=1)) if n_seeds > 1 else 0.0,
                "log_loss": log_loss,
                "log_loss_mean": float(np.mean(log_loss)),
                "train_seconds": float(np.mean(seconds)),
            }
        )
        gain = np.array(accuracy) - np.array(results[0]["accuracy"])
        results[-1]["gain_mean"] = float(gain.mean())
        results[-1]["gain_sd"] = float(gain.std(ddof=1)) if n_seeds > 1 else 0.0
        print(
            f"{photos.name:<10}{plan:<10}{n_copies:6,} copies  "
            f"{100 * np.mean(accuracy):6.2f} % (sd {100 * results[-1]['accuracy_sd']:.2f}), "
            f"gain {100 * gain.mean():+.2f} (sd {100 * results[-1]['gain_sd']:.2f}), "
            f"log-loss {np.mean(log_loss):.4f}, {np.mean(seconds):.1f} s",
            flush=True,
        )
    return results


def main() -> int:
    options = arguments.parser("few_images", __doc__)
    options.add_argument("--plans", nargs="+", default=list(PLANS), help="'none' comes first")
    options.add_argument("--seeds", type=int, default=N_SEEDS)
    chosen = arguments.parse(options)
    facts = environment.describe()
    extractor = eyespot.FeatureExtractor.default()
    results = []
    for name in SETS:
        results += measure(chosen.data / "photos" / name, chosen.plans, extractor, chosen.seeds)
    write_record("few_images", results, facts, repeat=chosen.seeds, local=chosen.local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
