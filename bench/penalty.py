"""Test loss and accuracy by how strong the penalty is and how long one solves.

python -m bench.penalty [--data DIR]

For each network and each set of photos: the head with ``l2="auto"``, at the default 25 iterations
and solved to its optimum, beside five fixed strengths, each solved. The ratio of the test losses
has a standard error, from the differences photo by photo: the best fixed strength is picked by
these same photos.

As a test set of some hundred photos has few mistakes, which may decide the ratio, the same is done
with twenty other splits of all photos, as large and by class, and the mean losses compared. The
splits share photos, so the error of that ratio is the corrected one of Nadeau and Bengio (Machine
Learning 52 (2003) 239). Rows that are equal count once there, lest a photo be on both sides.

Not a race, so it has no peers; the seconds are of one run each, without the embeddings.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import arguments, environment
from bench.records import write_record
from bench.suites.head import NETWORKS, PHOTOS, embeddings
from eyespot.head import HeadFit, fit_softmax, softmax_probabilities

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.suites.head import Rows

FIXED = {f"l2={l2:g}": l2 for l2 in (1.0, 1e-1, 1e-2, 1e-3, 1e-4)}
SOLVED = 2000
N_SPLITS = 20


def score(fit: HeadFit, x: NDArray[np.float32], y: NDArray[np.int32]) -> dict[str, Any]:
    p = softmax_probabilities(x, fit.weights, fit.bias)
    own = np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).tiny)
    losses = -np.log(own, dtype=np.float64)
    return {
        "l2": fit.l2,
        "losses": losses,
        "log_loss": float(losses.mean()),
        "accuracy": float((p.argmax(axis=1) == y).mean()),
        "iterations": fit.n_iterations,
        "evaluations": fit.n_evaluations,
        "converged": fit.converged,
    }


def measure(model: Path, photos: Path) -> dict[str, Any]:
    train = embeddings(model, photos / "train")
    test = embeddings(model, photos / "test")
    fit_softmax(*train, int(train[1].max()) + 1, l2=1.0)  # warms up
    fits = {"auto, 25 iterations": fitted(train, test)} | solved_fits(train, test)
    best = min((fits[name] for name in FIXED), key=lambda facts: float(facts["log_loss"]))
    ratio, deviation = compared(fits["auto, solved"]["losses"], best["losses"])
    for facts in fits.values():
        del facts["losses"]
    return {
        "n": len(train[1]),
        "n_test": len(test[1]),
        "fits": fits,
        "loss_over_best": ratio,
        "loss_over_best_error": deviation / len(test[1]) ** 0.5,
        "other_splits": other_splits(train, test),
    }


def fitted(train: Rows, test: Rows, **options: Any) -> dict[str, Any]:
    """Return what `score` says on `test` of a fit to `train`, and what the fit took."""
    start = time.perf_counter()
    found = fit_softmax(*train, int(train[1].max()) + 1, **options)
    seconds = time.perf_counter() - start
    path = found.path.n_evaluations if found.path is not None else 0
    facts = {"seconds": round(seconds, 4), "path_evaluations": path}
    return score(found, *test) | facts


def solved_fits(train: Rows, test: Rows) -> dict[str, dict[str, Any]]:
    strengths = {"auto, solved": "auto"} | FIXED
    return {
        name: fitted(train, test, l2=l2, max_iterations=SOLVED) for name, l2 in strengths.items()
    }


def compared(losses: NDArray[np.float64], best: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ratio of the mean losses, and its standard deviation if there were one pair."""
    ratio = float(losses.mean() / best.mean())
    # The mean of these differences is 0, so their spread is that of the ratio.
    return ratio, float(np.std(losses - ratio * best) / best.mean())


def other_splits(train: Rows, test: Rows) -> dict[str, Any]:
    """Return the mean losses over `N_SPLITS` splits of all rows, and how they compare."""
    x, y = distinct(*(np.concatenate(parts) for parts in zip(train, test, strict=True)))
    share = len(test[1]) / (len(train[1]) + len(test[1]))
    losses: dict[str, list[float]] = {}
    for seed in range(N_SPLITS):
        is_test = drawn(y, share, np.random.default_rng(seed))
        fits = solved_fits((x[~is_test], y[~is_test]), (x[is_test], y[is_test]))
        for name, facts in fits.items():
            losses.setdefault(name, []).append(facts["log_loss"])
    means = {name: float(np.mean(found)) for name, found in losses.items()}
    best = min(FIXED, key=means.__getitem__)
    ratio, deviation = compared(np.array(losses["auto, solved"]), np.array(losses[best]))
    return {
        "n_splits": N_SPLITS,
        "log_loss": means,
        "best": best,
        "loss_over_best": ratio,
        "loss_over_best_error": deviation * (1 / N_SPLITS + share / (1 - share)) ** 0.5,
    }


def distinct(x: NDArray[np.float32], y: NDArray[np.int32]) -> Rows:
    """Return the rows without those that equal one before them, and their labels."""
    _, first = np.unique(x, axis=0, return_index=True)
    first.sort()
    return x[first], y[first]


def drawn(y: NDArray[np.int32], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask that has this share of each class, drawn at random."""
    mask = np.zeros(len(y), bool)
    for label in range(int(y.max()) + 1):
        own = rng.permutation(np.flatnonzero(y == label))
        mask[own[: round(share * len(own))]] = True
    return mask


def main() -> int:
    options = arguments.parser("penalty", __doc__)
    chosen = arguments.parse(options)
    facts = environment.describe()
    results = []
    for network, file in NETWORKS.items():
        for photos in PHOTOS:
            result = measure(chosen.data / "backbones" / file, chosen.data / "photos" / photos)
            results.append({"network": network, "set": photos} | result)
            print(
                f"{network}, {photos}: auto/best = {result['loss_over_best']:.3f} "
                f"± {result['loss_over_best_error']:.3f}, of other splits "
                f"{result['other_splits']['loss_over_best']:.3f} "
                f"± {result['other_splits']['loss_over_best_error']:.3f}",
                flush=True,
            )
            for name, one in result["fits"].items():
                print(
                    f"  {name:<20} l2 {one['l2']:8.2g}  loss {one['log_loss']:.4f}  "
                    f"accuracy {100 * one['accuracy']:5.1f} %  {one['iterations']:4d} iterations  "
                    f"{one['seconds']:.3f} s{'' if one['converged'] else '  not converged'}"
                )
    write_record("penalty", results, facts, repeat=1, local=chosen.local)
    return 0


if __name__ == "__main__":
    sys.exit(main())
