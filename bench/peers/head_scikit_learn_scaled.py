"""scikit-learn's LogisticRegression (lbfgs) on features of mean 0 and mean variance 1."""

from head_scikit_learn import REQUIREMENTS
from head_scikit_learn import Peer as Plain


class Peer(Plain):
    def fit(self):
        # One scale for all features, so that the penalty can follow it: the same problem. A scale
        # for each would be another one.
        self.mean = self.x.mean(axis=0)
        x = self.x - self.mean
        self.scale = float((x**2).mean() ** 0.5)
        x /= self.scale
        weights, bias, iterations = self.fit_rows(x, self.l2 / self.scale**2)
        return *self.plain(weights, bias), iterations

    def plain(self, weights, bias):
        """Return the weights and the bias for the features as they were."""
        weights = weights / self.scale
        return weights, bias - weights @ self.mean

    def unpack(self, iterate):
        return self.plain(*super().unpack(iterate))


__all__ = ["REQUIREMENTS", "Peer"]
