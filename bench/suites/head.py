"""Softmax regression to one quality: gradient max-norm <= 1e-4 and relative gap <= 1e-5.

Every peer minimises the same objective, mean log-loss + l2 / 2 * sum(weights ** 2) with
scikit-learn's C = 1. While it is set up, untimed, each peer goes down its own tolerances to the
loosest that meets both bounds; only that one is timed. A peer that meets them at none takes its
tightest, and the comparison says so; one that is slower than the limit of the case is stopped, and
its time is then a lower bound. Peers use one thread or all that they may, whichever is faster. The
minimum is that of SciPy's L-BFGS in float64; it starts where eyespot ends, which spares hours on
the largest shape, and its distance to the true minimum is bounded by the last gradient, wherever it
began. `gemm_limit` is no peer but the bare products of as many evaluations as eyespot used, by the
fastest BLAS that is to hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Rows = tuple[NDArray[np.float32], NDArray[np.int32]]

FOLDER = Path(__file__).parents[2] / "build" / "bench" / "head"
# Rows, features, classes; seconds that one fit of a peer may take.
SHAPES = (
    (2000, 512, 10, 60),
    (20000, 1024, 100, 120),
    (100000, 768, 100, 600),
    (50000, 1280, 1000, 1800),
)
NETWORKS = {
    "squeezenet": "squeezenet1.1_onnxzoo.onnx",
    "mobilenet": "mobilenet_v2_1.0_224_onnxzoo_features.onnx",
}
PHOTOS = ("flowers5", "hymenoptera", "trashnet", "weather4")
PHOTO_LIMIT = 60
GRADIENT = 1e-4
GAP = 1e-5
# How far the stored minimum may be above the true one, relative.
CERTAINTY = 1e-6
LIMIT = "gemm_limit"


class Suite:
    # scikit_learn_scaled: on features whose means are subtracted and that are divided by one number
    # first, which leaves the problem as it is but is far kinder to its solver.
    peers = ("eyespot", "scikit_learn", "scikit_learn_scaled", "torch", "sklearnex", LIMIT)
    fresh_process = False

    def __init__(self, data: Path) -> None:
        self._data = data

    def cases(self) -> Iterator[Case]:
        for n, d, k, limit in SHAPES:
            name = f"synthetic-{n}x{d}x{k}"
            yield case(name, n, limit, partial(synthetic, n, d, k))
        for network, file in NETWORKS.items():
            for photos in PHOTOS:
                folder = self._data / "photos" / photos / "train"
                if not folder.is_dir():
                    continue
                n = sum(1 for path in folder.glob("*/*") if path.is_file())
                make = partial(embeddings, self._data / "backbones" / file, folder)
                yield case(f"{network}-{photos}", n, PHOTO_LIMIT, make)

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for peer, arrays in outputs.items():
            if peer == LIMIT:
                facts[peer] = str(arrays["library"])
                continue
            gap, gradient = float(arrays["gap"]), float(arrays["gradient"])
            facts[f"{peer}_gap"], facts[f"{peer}_gradient"] = gap, gradient
            facts[f"{peer}_met"] = gap <= GAP and gradient <= GRADIENT
            if arrays["stopped"]:
                facts[f"{peer}_met"] = f"not within {case.options['limit_s']} s"
            else:
                assert gap < 0.05, f"{peer} is {gap:.2g} above the minimum of {case.name}"
        assert facts.get("eyespot_met", True) is True, facts
        return facts


def case(name: str, n_rows: int, limit_s: int, make: Callable[[], Rows]) -> Case:
    path = FOLDER / f"{name}.npz"
    return Case(
        name=name,
        options={"data": str(path), "gradient": GRADIENT, "gap": GAP, "limit_s": limit_s},
        units=n_rows,
        unit="rows",
        prepare=partial(store, path, make),
    )


def store(path: Path, make: Callable[[], Rows]) -> None:
    """Write data and minimum once; both are the same for ever after."""
    if path.exists():
        return
    x, y = make()
    l2 = 1 / len(x)
    least, certainty = minimum(x, y, l2)
    if certainty > CERTAINTY:
        raise RuntimeError(f"{path.stem}: the minimum is known to {certainty:.2g} only")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=x, y=y, l2=l2, minimum=least)


def synthetic(n: int, d: int, k: int) -> Rows:
    """Correlated features of rank 64 behind a ReLU, with classes that overlap."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(64, d)).astype(np.float32) / 8
    y = rng.integers(0, k, n)
    hidden = 0.6 * rng.normal(size=(k, 64))[y] + rng.normal(size=(n, 64))
    x = hidden.astype(np.float32) @ mix + 0.3 * rng.normal(size=(n, d)).astype(np.float32) + 0.2
    return np.maximum(x, 0).astype(np.float32), y.astype(np.int32)


def embeddings(model: Path, folder: Path) -> Rows:
    from eyespot import DataSource, FeatureExtractor, Preprocessing

    preprocessing = Preprocessing(
        width=224, height=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    extractor = FeatureExtractor.custom(model, output_name="embedding", preprocessing=preprocessing)
    data = DataSource.labeled_directories(folder)
    features = extractor.extract(data.paths)
    return features.embeddings, data.targets[features.indices].astype(np.int32)


class Whitened:
    """The objective in float64, in variables in which its Hessian is nearly round.

    ``white`` is the centred rows times the inverse of the transposed Cholesky factor ``lower`` of
    the penalised Gram matrix; the weights are the variables times its inverse.
    """

    def __init__(self, x: NDArray[np.float32], y: NDArray[np.int32], l2: float) -> None:
        from scipy.linalg import cholesky, solve_triangular

        self.n, self.d = x.shape
        self.k = int(y.max()) + 1
        self.y, self.l2 = y, l2
        self.white = x - x.mean(axis=0, dtype=np.float64)
        gram = self.white.T @ self.white / (2 * self.k * self.n)
        self.lower = cholesky(gram + l2 * np.eye(self.d), lower=True)
        inverse = solve_triangular(self.lower, np.eye(self.d), lower=True)
        for first in range(0, self.n, 8192):
            rows = slice(first, first + 8192)
            self.white[rows] = self.white[rows] @ inverse.T
        self.inverse = inverse
        self.slack = np.inf

    def __call__(self, v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        split = self.k * self.d
        variables, bias = v[:split].reshape(self.k, self.d), v[split:]
        weights = variables @ self.inverse
        gradient = np.zeros((self.k, self.d))
        slope = np.zeros(self.k)
        loss = 0.0
        for first in range(0, self.n, 8192):
            rows = self.white[first : first + 8192]
            y = self.y[first : first + 8192]
            z = rows @ variables.T + bias
            z -= z.max(axis=1, keepdims=True)
            own = z[np.arange(len(y)), y]
            p = np.exp(z, out=z)
            total = p.sum(axis=1)
            loss += (np.log(total) - own).sum() / self.n
            p /= total[:, None]
            p[np.arange(len(y)), y] -= 1
            gradient += p.T @ rows / self.n
            slope += p.sum(axis=0) / self.n
        value = loss + 0.5 * self.l2 * float((weights**2).sum())
        gradient += self.l2 * weights @ self.inverse.T
        # The objective is l2-strongly convex in the weights, so it is at most this above its
        # minimum; the slopes of the biases, which have no penalty, vanish beside it.
        plain = gradient @ self.lower.T
        self.slack = float((plain**2).sum() / (2 * self.l2) / value)
        return value, np.concatenate([gradient.ravel(), slope])


def minimum(x: NDArray[np.float32], y: NDArray[np.int32], l2: float) -> tuple[float, float]:
    """Return the least value of the objective, and how far above the true one it may be."""
    from scipy.optimize import minimize

    from eyespot import fit_softmax

    objective = Whitened(x, y, l2)
    near = fit_softmax(x, y, objective.k, l2=l2, max_iterations=2000, tolerance=1e-5)
    bias = near.bias + near.weights @ x.mean(axis=0, dtype=np.float64)
    start = np.concatenate([(near.weights @ objective.lower).ravel(), bias])
    options = {"maxcor": 20, "gtol": 1e-10, "ftol": 0.0, "maxiter": 2000, "maxfun": 4000}

    def enough(*_: NDArray[np.float64]) -> None:
        if objective.slack < 0.1 * CERTAINTY:
            raise StopIteration

    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options=options, callback=enough
    )
    value, _ = objective(found.x)
    return float(value), objective.slack
