"""What the peers of the head suite share: the data, the sweep over tolerances, the measure."""

from __future__ import annotations

from abc import ABC, abstractmethod


class HeadPeer(ABC):
    tolerances = ()

    def __init__(self, options):
        import numpy as np

        with np.load(options["data"]) as arrays:
            self.x, self.y = arrays["x"], arrays["y"]
            self.l2, self.minimum = float(arrays["l2"]), float(arrays["minimum"])
        self.k = int(self.y.max()) + 1
        self.threads = options["threads"]
        self.set_up()
        for tolerance in self.tolerances:
            self.tolerance = tolerance
            self.weights, self.bias, self.evaluations = self.fit()
            gap, gradient = self.measure()
            if gap <= options["gap"] and gradient <= options["gradient"]:
                break

    def set_up(self):
        """Prepare what is not part of a fit."""
        return

    @abstractmethod
    def fit(self):
        """Return weights, bias and the number of evaluations, or of iterations."""

    def run(self):
        self.weights, self.bias, self.evaluations = self.fit()
        return {"evaluations": int(self.evaluations), "tolerance": self.tolerance}

    def measure(self):
        """Return the relative gap and the gradient's max-norm in float64."""
        import numpy as np

        weights, bias = np.asarray(self.weights, np.float64), np.asarray(self.bias, np.float64)
        n = len(self.y)
        loss = 0.0
        gradient = self.l2 * weights
        slope = np.zeros(self.k)
        for first in range(0, n, 4096):
            x = self.x[first : first + 4096].astype(np.float64)
            y = self.y[first : first + 4096]
            z = x @ weights.T + bias
            z -= z.max(axis=1, keepdims=True)
            p = np.exp(z)
            total = p.sum(axis=1)
            loss += (np.log(total) - z[np.arange(len(y)), y]).sum() / n
            p /= total[:, None]
            p[np.arange(len(y)), y] -= 1
            gradient += p.T @ x / n
            slope += p.sum(axis=0) / n
        value = loss + 0.5 * self.l2 * (weights**2).sum()
        largest = max(np.abs(gradient).max(), np.abs(slope).max())
        return value / self.minimum - 1, largest

    def outputs(self):
        import numpy as np

        gap, gradient = self.measure()
        return {"gap": np.array(gap), "gradient": np.array(gradient)}
