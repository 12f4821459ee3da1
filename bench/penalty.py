"""Test loss and accuracy by how strong the penalty is and how long one solves.

python -m bench.penalty [--data DIR]

For each network and each set of photos: the head with ``l2="auto"``, at the default 25 iterations
and solved to its optimum, beside five fixed strengths, each solved. The ratio of the test losses
has a standard error, from the differences photo by photo: the best fixed strength is picked by
these same photos. Not a race, so it has no peers; the seconds are of one run each, without the
embeddings.
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

FIXED = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
SOLVED = 2000


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
    x, y = embeddings(model, photos / "train")
    test_x, test_y = embeddings(model, photos / "test")
    k = int(y.max()) + 1

    def fit(**options: Any) -> dict[str, Any]:
        start = time.perf_counter()
        found = fit_softmax(x, y, k, **options)
        seconds = time.perf_counter() - start
        path = found.path.n_evaluations if found.path is not None else 0
        facts = {"seconds": round(seconds, 4), "path_evaluations": path}
        return score(found, test_x, test_y) | facts

    fit(l2=1.0)  # warms up
    automatic = {"auto, 25 iterations": fit(), "auto, solved": fit(max_iterations=SOLVED)}
    fixed = {f"l2={l2:g}": fit(l2=l2, max_iterations=SOLVED) for l2 in FIXED}
    best = min(fixed.values(), key=lambda facts: float(facts["log_loss"]))
    solved = automatic["auto, solved"]
    ratio = solved["log_loss"] / best["log_loss"]
    # The mean of these differences is 0, so their spread is that of the ratio.
    spread = float(np.std(solved["losses"] - ratio * best["losses"]) / best["log_loss"])
    fits = automatic | fixed
    for facts in fits.values():
        del facts["losses"]
    return {
        "n": len(y),
        "n_test": len(test_y),
        "fits": fits,
        "loss_over_best": ratio,
        "loss_over_best_error": spread / len(test_y) ** 0.5,
    }


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
                f"± {result['loss_over_best_error']:.3f}",
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
