"""What a feature store saves: python -m bench.store [--data DIR] [--set NAME] [--repeat N]

Whole trainings with default parameters, timed in turn in one process: without a store and with one,
the first time, again, after a tenth of the photos came in, and with other labels. Each lists and
reads its files anew; models must have the same bytes with the store as without. Not a race, so it
has no peers.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import eyespot
from bench import arguments, environment
from bench.records import write_record

Source = Callable[[], eyespot.DataSource]


def sources(photos: Path) -> dict[str, Source]:
    """Return ways to list the photos: nine of ten of them, all, and all with other labels."""
    whole = eyespot.DataSource.labeled_directories(photos)

    def some() -> eyespot.DataSource:
        keep = np.flatnonzero(np.arange(len(whole)) % 10 != 0)
        return eyespot.DataSource(
            paths=tuple(whole.paths[i] for i in keep),
            classes=whole.classes,
            targets=whole.targets[keep],
        )

    def relabelled() -> eyespot.DataSource:
        return eyespot.DataSource(
            paths=whole.paths, classes=("one", "two"), targets=whole.targets % 2
        )

    return {
        "nine of ten": some,
        "all": lambda: eyespot.DataSource.labeled_directories(photos),
        "other labels": relabelled,
    }


def measure(photos: Path, repeat: int) -> list[dict[str, object]]:
    listed = sources(photos)
    parameters = eyespot.ModelParameters()
    steps = (
        ("first time", "nine of ten"),
        ("again", "nine of ten"),
        ("a tenth more", "all"),
        ("other labels", "other labels"),
    )
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in steps}
    reused: dict[str, int] = {}
    hashing, size = [], 0
    eyespot.ImageClassifier.train(listed["all"](), parameters)  # files in the page cache
    for _ in range(repeat):
        start = time.perf_counter()
        listed["all"]().hashes()
        hashing.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            store = eyespot.FeatureStore(Path(folder) / "store")
            for name, which in steps:
                pair, models = [], []
                for used in (None, store):
                    data = listed[which]()
                    start = time.perf_counter()
                    models.append(eyespot.ImageClassifier.train(data, parameters, store=used))
                    pair.append(time.perf_counter() - start)
                if models[0].to_bytes() != models[1].to_bytes():
                    raise RuntimeError(f"{name}: the model differs with the store")
                seconds[name].append((pair[0], pair[1]))
                reused[name] = models[1].training_report.n_reused
            size = store.size_bytes
    n_photos = len(listed["all"]())
    results: list[dict[str, object]] = []
    for name, pairs in seconds.items():
        ratios = sorted(without / with_store for without, with_store in pairs)
        results.append(
            {
                "set": photos.parent.name,
                "step": name,
                "n_photos": n_photos,
                "n_reused": reused[name],
                "without_s": float(np.median([pair[0] for pair in pairs])),
                "with_s": float(np.median([pair[1] for pair in pairs])),
                "ratio": float(np.median(ratios)),
                "ratio_low": ratios[0],
                "ratio_high": ratios[-1],
                "hashing_all_s": float(np.median(hashing)),
                "store_bytes": size,
            }
        )
        row = results[-1]
        print(
            f"{row['set']:<10}{name:<13}{reused[name]:6,} reused; without {row['without_s']:.3f} s "
            f"with {row['with_s']:.3f} s  {row['ratio']:.2f} x ({ratios[0]:.2f}-{ratios[-1]:.2f})",
            flush=True,
        )
    print(f"hashing all {n_photos:,}: {np.median(hashing):.3f} s; store {size:,} bytes")
    return results


def main() -> int:
    options = arguments.parser("store", __doc__)
    options.add_argument("--set", default="flowers5", help="a folder of DATA/photos")
    options.add_argument("--repeat", type=int, default=5)
    chosen = arguments.parse(options)
    photos = chosen.data / "photos" / chosen.set / "train"
    if not photos.is_dir():
        print(f"no photos at {photos}: name the folder of the data with --data", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore", UserWarning)
    facts = environment.describe()
    results = measure(photos, chosen.repeat)
    write_record("store", results, facts, repeat=chosen.repeat, local=chosen.local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
