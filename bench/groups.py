"""What it is worth to say which photos belong together: python -m bench.groups [--data DIR]

Thirty photos a class, drawn anew by each of five seeds, and of each photo four variants, as of a
burst or a film; the photo itself is left out. A classifier is trained on them twice, with a fifth
held out: knowing which variants are of one photo, and not. What its validation tells is held
against its accuracy on new photos, a variant of each of the test set. Another is trained on all of
them, so that only the penalty and the calibration differ: the final one. Not a race, so it has no
peers.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import eyespot
from bench import arguments, environment
from bench.records import write_record
from eyespot import training

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS = ("flowers5", "hymenoptera", "trashnet", "weather4")
WAYS = {"none": None, "of a photo": r"(.+)_\d+\.png"}
N_PHOTOS = 30
N_SEEDS = 5
VARIANTS = eyespot.Augmentation.light(copies_per_image=4)
SIDE = 224
FIGURES = (
    "validation_accuracy",
    "test_accuracy",
    "l2",
    "final_accuracy",
    "final_log_loss",
    "final_calibration_error",
)


def variants_of(path: Path, seed: int) -> NDArray[np.uint8]:
    """Return the variants of a photo."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return eyespot.augment(pixels, VARIANTS, seed, width=SIDE, height=SIDE)


def write_variants(data: eyespot.DataSource, folder: Path, seed: int) -> None:
    """Write the variants of some photos of each class as LABEL/PHOTO_0.png and so on."""
    rng = np.random.default_rng(seed)
    for label in range(len(data.classes)):
        chosen = rng.permutation(np.flatnonzero(data.targets == label))[:N_PHOTOS]
        (folder / data.classes[label]).mkdir(parents=True)
        for photo in chosen.tolist():
            for number, variant in enumerate(variants_of(data.paths[photo], seed)):
                path = folder / data.classes[label] / f"{photo}_{number}.png"
                Image.fromarray(variant).save(path, compress_level=1)


def measure(
    photos: Path, extractor: eyespot.FeatureExtractor, n_seeds: int
) -> list[dict[str, Any]]:
    data = eyespot.DataSource.labeled_directories(photos / "train")
    test = eyespot.DataSource.labeled_directories(photos / "test").with_classes(data.classes)
    seen = extractor.extract([variants_of(path, 0)[0] for path in test.paths])
    truth = test.targets[seen.indices]
    found: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    for seed in range(n_seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "photos"
            write_variants(data, folder, seed)
            store = eyespot.FeatureStore(Path(name) / "store")
            for way, pattern in WAYS.items():
                parameters = eyespot.ModelParameters(
                    validation=eyespot.SplitStrategy.fixed(0.2, seed=seed),
                    feature_extractor=extractor,
                    max_iterations=200,
                    seed=seed,
                )
                source = eyespot.DataSource.labeled_directories(folder, groups=pattern)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", eyespot.ConvergenceWarning)
                    split = training.train(source, parameters, store=store)
                    final = training.train(source, parameters.replace(validation=None), store=store)
                assert isinstance(split.validation_metrics, eyespot.ClassifierMetrics)
                on_new, on_new_final = (
                    eyespot.ClassifierMetrics.from_probabilities(
                        data.classes, truth, trained.head.probabilities(seen.embeddings)
                    )
                    for trained in (split, final)
                )
                found[way].append(
                    (
                        split.validation_metrics.accuracy,
                        on_new.accuracy,
                        final.facts["solver"]["l2"],
                        on_new_final.accuracy,
                        on_new_final.log_loss,
                        on_new_final.expected_calibration_error,
                    )
                )
    results = []
    for way, figures in found.items():
        columns = dict(zip(FIGURES, map(list, zip(*figures, strict=True)), strict=True))
        gap = np.subtract(columns["validation_accuracy"], columns["test_accuracy"])
        results.append({"set": photos.name, "groups": way, **columns, "gap": gap.tolist()})
        print(
            f"{photos.name:<12} groups {way:<11} validation "
            f"{100 * np.mean(columns['validation_accuracy']):5.1f} %, test "
            f"{100 * np.mean(columns['test_accuracy']):5.1f} %, gap {100 * gap.mean():+5.1f} "
            f"(sd {100 * gap.std(ddof=1) if n_seeds > 1 else 0:.1f}); trained on all: l2 "
            f"{np.median(columns['l2']):.2g}, {100 * np.mean(columns['final_accuracy']):.1f} %, "
            f"log-loss {np.mean(columns['final_log_loss']):.3f}, calibration error "
            f"{100 * np.mean(columns['final_calibration_error']):.1f} %",
            flush=True,
        )
    return results


def main() -> int:
    options = arguments.parser("groups", __doc__)
    options.add_argument("--seeds", type=int, default=N_SEEDS)
    chosen = arguments.parse(options)
    facts = environment.describe()
    extractor = eyespot.FeatureExtractor.default()
    results = []
    for name in SETS:
        results += measure(chosen.data / "photos" / name, extractor, chosen.seeds)
    write_record("groups", results, facts, repeat=chosen.seeds, local=chosen.local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
