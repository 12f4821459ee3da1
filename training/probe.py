"""Judge networks by a linear probe: ``python -m training.probe NETWORK... --photos DIR...``.

A set is a folder of `train` and `test` with a folder a label, or of the labels themselves. Each
network's embeddings are computed once by eyespot; its own head is fitted on them at its default
settings. A set that has a split is also judged on five others of the same sizes, the same for all
networks, which shows how much of a difference is chance. Beside its ONNX file a NETWORK may name a
tensor: FILE:TENSOR; `default` is the embedded network.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import eyespot
from eyespot.head import fit_softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Probe", "Rows", "embed", "judge", "main", "open_network", "resplit", "write_table"]

SEEDS: Final = 5
TEST_SHARE: Final = 0.25  # of a set that has no split


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The embeddings of a set: training rows first.

    Attributes
    ----------
    embeddings : float32 ndarray of shape (n, n_features)
    targets : int64 ndarray of shape (n,)
    n_train : int
        Rows of the set's own training side; 0 if it has no split.
    n_classes : int
    seconds : float
        Time that reading and embedding took.
    """

    embeddings: NDArray[np.float32]
    targets: NDArray[np.int64]
    n_train: int
    n_classes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Test accuracies in percent: on the set's own split, and on one a seed."""

    own: float | None
    seeds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.seeds))


def open_network(text: str) -> eyespot.FeatureExtractor:
    """Return the network of a command line's words.

    One that does not say what it wants to see gets ImageNet's 224 pixels.
    """
    if text == "default":
        return eyespot.FeatureExtractor.default()
    file, _, tensor = text.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eyespot.AssumptionWarning)
        return eyespot.FeatureExtractor.custom(file, output_name=tensor or None)


def embed(extractor: eyespot.FeatureExtractor, folder: Path, n_threads: int = 0) -> Rows:
    """Compute the embeddings of a set; an unreadable picture is an error."""
    sides = [folder / "train", folder / "test"] if (folder / "train").is_dir() else [folder]
    sources = [eyespot.DataSource.labeled_directories(side) for side in sides]
    if len({source.classes for source in sources}) > 1:
        message = f"{folder}: train and test have different labels"
        raise ValueError(message)
    paths = [path for source in sources for path in source.paths]
    began = time.perf_counter()
    features = extractor.extract(paths, n_threads=n_threads, on_error="raise")
    return Rows(
        embeddings=features.embeddings,
        targets=np.concatenate([np.asarray(source.targets) for source in sources]),
        n_train=len(sources[0]) if len(sources) > 1 else 0,
        n_classes=len(sources[0].classes),
        seconds=time.perf_counter() - began,
    )


def resplit(targets: NDArray[np.int64], test_share: float, seed: int) -> NDArray[np.bool_]:
    """Choose test rows at random, the same share of each class."""
    random = np.random.default_rng(seed)
    test = np.zeros(len(targets), np.bool_)
    for one in np.unique(targets):
        rows = random.permutation(np.flatnonzero(targets == one))
        test[rows[: max(1, round(test_share * len(rows)))]] = True
    return test


def judge(rows: Rows, n_seeds: int = SEEDS) -> Probe:
    """Fit heads on the embeddings of a set and return their test accuracies."""
    own = None
    share = TEST_SHARE
    if rows.n_train:
        test = np.arange(len(rows.targets)) >= rows.n_train
        own = _accuracy(rows, test)
        share = float(test.mean())
    splits = (resplit(rows.targets, share, seed) for seed in range(n_seeds))
    return Probe(own=own, seeds=tuple(_accuracy(rows, test) for test in splits))


def _accuracy(rows: Rows, test: NDArray[np.bool_]) -> float:
    fit = fit_softmax(rows.embeddings[~test], rows.targets[~test], rows.n_classes)
    scores = rows.embeddings[test] @ fit.weights.T + fit.bias
    return 100 * float(np.mean(scores.argmax(axis=1) == rows.targets[test]))


def write_table(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write records of the same fields as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.probe", description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of the sets")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="also write the figures there")
    chosen = parser.parse_args(arguments)
    records: list[dict[str, object]] = []
    for text in chosen.networks:
        extractor = open_network(text)
        probes = []
        for folder in chosen.photos:
            rows = embed(extractor, folder, chosen.threads)
            probe = judge(rows, chosen.seeds)
            probes.append(probe)
            record: dict[str, object] = {
                "network": text if text == "default" else Path(text).name,
                "set": folder.name,
                "own_split": "" if probe.own is None else f"{probe.own:.2f}",
                "mean": f"{probe.mean:.2f}",
                "deviation": f"{np.std(probe.seeds, ddof=1):.2f}" if chosen.seeds > 1 else "",
                "seeds": " ".join(f"{one:.2f}" for one in probe.seeds),
                "seconds": f"{rows.seconds:.1f}",
            }
            records.append(record)
            print(" ".join(f"{name}={value}" for name, value in record.items()), flush=True)
        own = [probe.own for probe in probes if probe.own is not None]
        means = f"{np.mean([probe.mean for probe in probes]):.2f}"
        if own:
            means = f"{np.mean(own):.2f} on their own splits, {means} over the seeds"
        print(f"{extractor.name}: mean {means}", flush=True)
    if chosen.csv:
        write_table(chosen.csv, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
