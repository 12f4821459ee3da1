"""scikit-learn's LogisticRegression (lbfgs) on features of mean 0 and mean variance 1."""

from head_scikit_learn import REQUIREMENTS
from head_scikit_learn import Peer as Plain


class Peer(Plain):
    def fit(self):
        # One scale for all features, so that the penalty can follow it: the same problem. A scale
        # for each would be another one.
        mean = self.x.mean(axis=0)
        x = self.x - mean
        scale = float((x**2).mean() ** 0.5)
        x /= scale
        weights, bias, iterations = self.fit_rows(x, self.l2 / scale**2)
        weights = weights / scale
        return weights, bias - weights @ mean, iterations


__all__ = ["REQUIREMENTS", "Peer"]
