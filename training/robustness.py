"""What disturbs a network: ``python -m training.robustness NETWORK... --photos DIR...``.

On the own split of each set a head is fitted on undisturbed training photos; its accuracy is then
measured on the test photos as they are, and on copies of them changed by one augmentation of
eyespot at a time, over its default range, which is moderate. With --sizes the network is also used,
in training and test, at inputs of other sizes, as shares of its own: it must be a convolutional one
whose embedding is a mean, as all here are. NETWORK is as for `training.probe`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import eyespot
from eyespot.augmentation import Augmentation
from eyespot.head import fit_softmax
from eyespot.options import AUGMENTATION_OPTIONS
from eyespot.variants import Variants
from training.halves import adapt_halves
from training.probe import embed, judge, open_network, write_table

if TYPE_CHECKING:
    from training.probe import Rows

__all__ = ["at_size", "disturbed", "main"]

COPIES: Final = 2  # of each test photo, by each augmentation
SEED: Final = 0


def disturbed(
    extractor: eyespot.FeatureExtractor, folder: Path, rows: Rows, n_threads: int = 0
) -> dict[str, float]:
    """Return the accuracy on the test photos in percent, undisturbed and by each augmentation.

    Parameters
    ----------
    extractor : FeatureExtractor
    folder : path
        A set with `train` and `test`.
    rows : Rows
        Its embeddings, undisturbed.
    n_threads : int

    Raises
    ------
    ValueError
        If the set has no split of its own.
    """
    if not rows.n_train:
        message = f"{folder} has no train and test; robustness is measured on a set's own split"
        raise ValueError(message)
    n = rows.n_train
    fit = fit_softmax(rows.embeddings[:n], rows.targets[:n], rows.n_classes)

    def accuracy(embeddings: np.ndarray, targets: np.ndarray) -> float:
        scores = embeddings @ fit.weights.T + fit.bias
        return 100 * float(np.mean(scores.argmax(axis=1) == targets))

    found = {"as they are": accuracy(rows.embeddings[n:], rows.targets[n:])}
    source = eyespot.DataSource.labeled_directories(folder / "test")
    targets = np.asarray(source.targets)
    for option in AUGMENTATION_OPTIONS:
        plan = Augmentation.of(option, copies_per_image=COPIES)
        variants = Variants(plan, SEED, [source.classes[one] for one in targets])
        features = extractor.extract(
            source.paths, n_threads=n_threads, on_error="raise", variants=variants
        )
        changed = variants.indices() >= 0
        found[option] = accuracy(features.embeddings[changed], targets[variants.images()[changed]])
    return found


def at_size(
    extractor: eyespot.FeatureExtractor, share: float
) -> tuple[eyespot.FeatureExtractor, int]:
    """Return the same network for another size of its input, and that size in pixels."""
    import onnx

    side = round(share * extractor.preprocessing.width)
    model = extractor.onnx_model()
    shape = model.graph.input[0].type.tensor_type.shape.dim
    places = (2, 3) if extractor.preprocessing.layout == "nchw" else (1, 2)
    for place in places:
        shape[place].dim_value = side
    adapt_halves(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{extractor.name}-{side}.onnx"
        onnx.save(model, path)
        wanted = extractor.preprocessing.replace(width=side, height=side)
        return eyespot.FeatureExtractor.custom(path, preprocessing=wanted), side


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.robustness", description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of the sets")
    parser.add_argument("--sizes", type=float, nargs="*", default=[0.75, 1.25])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="also write the figures there")
    chosen = parser.parse_args(arguments)
    records: list[dict[str, Any]] = []
    for text in chosen.networks:
        extractor = open_network(text)
        others = [at_size(extractor, share) for share in chosen.sizes]
        found: dict[str, dict[str, float]] = {}
        for folder in chosen.photos:
            rows = embed(extractor, folder, chosen.threads)
            accuracies = disturbed(extractor, folder, rows, chosen.threads)
            for other, side in others:
                own = judge(embed(other, folder, chosen.threads), n_seeds=0).own
                assert own is not None
                accuracies[f"{side} px"] = own
            for change, accuracy in accuracies.items():
                found.setdefault(change, {})[folder.name] = accuracy
        for change, accuracies in found.items():
            record = {
                "network": extractor.name,
                "change": change,
                **{name: f"{value:.2f}" for name, value in accuracies.items()},
                "mean": f"{np.mean(list(accuracies.values())):.2f}",
            }
            records.append(record)
            print(" ".join(f"{name}={value}" for name, value in record.items()), flush=True)
    if chosen.csv:
        write_table(chosen.csv, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
