"""No peer: the two products of an evaluation, as often as eyespot needs them, by the best BLAS."""

from __future__ import annotations

import json
import time

from head_common import notes, with_any_threads

REQUIREMENTS = ("torch==2.13.0", "numpy==2.4.6")


class Peer:
    def __init__(self, options):
        import numpy as np
        import torch

        torch.set_num_threads(options["threads"])
        found = notes(with_any_threads(options), "head_eyespot")
        self.evaluations = json.loads(found.read_text())["evaluations"]
        with np.load(options["data"]) as arrays:
            x, k = arrays["x"], int(arrays["y"].max()) + 1
        rng = np.random.default_rng(0)
        weights = rng.normal(size=(k, x.shape[1])).astype(np.float32)
        residuals = rng.normal(size=(len(x), k)).astype(np.float32)
        scores, gradient = np.empty_like(residuals), np.empty_like(weights)
        tensors = [torch.from_numpy(a) for a in (x, weights, residuals, scores, gradient)]

        def by_numpy():
            np.matmul(x, weights.T, out=scores)
            np.matmul(residuals.T, x, out=gradient)

        def by_torch():
            a, b, c, to, into = tensors
            torch.mm(a, b.T, out=to)
            torch.mm(c.T, a, out=into)

        self.products = {"OpenBLAS of NumPy": by_numpy, "MKL of PyTorch": by_torch}
        seconds = {}
        for name, product in self.products.items():
            product()
            seconds[name] = min(self.once(product) for _ in range(5))
        self.library = min(seconds, key=seconds.__getitem__)
        self.repeat = max(1, min(self.evaluations, int(2 / seconds[self.library])))

    def once(self, product):
        start = time.perf_counter()
        product()
        return time.perf_counter() - start

    def run(self):
        product = self.products[self.library]
        start = time.perf_counter()
        for _ in range(self.repeat):
            product()
        seconds = (time.perf_counter() - start) / self.repeat * self.evaluations
        return {"measured_s": seconds, "evaluations": self.evaluations}

    def outputs(self):
        import numpy as np

        return {"library": np.array(self.library)}
