"""Accuracy on photos at default settings: python -m bench.accuracy [--data DIR]

Not a race, so it has no peers: each backbone, each set, trained and tested once.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING

import eyespot
from bench import arguments, environment
from bench.records import write_record

if TYPE_CHECKING:
    from pathlib import Path

SETS = ("flowers5", "hymenoptera", "trashnet", "weather4")
BACKBONES = {
    "embedded default": None,
    "SqueezeNet 1.1": ("squeezenet1.1_onnxzoo.onnx", "embedding"),
    "MobileNetV2 1.0": ("mobilenet_v2_1.0_224_onnxzoo_features.onnx", "embedding"),
}


def measure(photos: Path, extractor: eyespot.FeatureExtractor) -> dict[str, object]:
    data = eyespot.DataSource.labeled_directories(photos / "train")
    test = eyespot.DataSource.labeled_directories(photos / "test")
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = eyespot.ImageClassifier.train(
            data, eyespot.ModelParameters(feature_extractor=extractor)
        )
    seconds = time.perf_counter() - start
    metrics = model.evaluate(test)
    return {
        "accuracy": metrics.accuracy,
        "log_loss": metrics.log_loss,
        "n_test": len(test),
        "train_seconds": seconds,
        "solver": model.facts["solver"],
        "warnings": sorted({w.category.__name__ for w in caught}),
    }


def main() -> int:
    options = arguments.parser("accuracy", __doc__)
    chosen = arguments.parse(options)
    facts = environment.describe()
    results = []
    for name, file in BACKBONES.items():
        if file is None:
            extractor = eyespot.FeatureExtractor.default()
        else:
            extractor = eyespot.FeatureExtractor.custom(
                chosen.data / "backbones" / file[0],
                output_name=file[1],
                preprocessing=eyespot.Preprocessing(width=224, height=224),
            )
        for photos in SETS:
            result = measure(chosen.data / "photos" / photos, extractor)
            results.append({"backbone": name, "set": photos} | result)
            print(
                f"{name:<18}{photos:<13}{100 * float(str(result['accuracy'])):6.2f} %", flush=True
            )
    write_record("accuracy", results, facts, repeat=1, local=chosen.local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
