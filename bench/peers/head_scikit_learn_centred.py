"""scikit-learn's LogisticRegression (lbfgs) after subtracting the mean of each feature."""

from head_scikit_learn import REQUIREMENTS
from head_scikit_learn import Peer as Plain


class Peer(Plain):
    def fit(self):
        mean = self.x.mean(axis=0)
        weights, bias, iterations = self.fit_rows(self.x - mean)
        return weights, bias - weights @ mean, iterations


__all__ = ["REQUIREMENTS", "Peer"]
