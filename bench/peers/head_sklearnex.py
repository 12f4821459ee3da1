"""Intel's extension of scikit-learn: its own lbfgs objective."""

from head_common import BudgetedPeer

REQUIREMENTS = ("scikit-learn-intelex==2026.2.0", "scikit-learn==1.9.1", "numpy==2.4.6")


class Peer(BudgetedPeer):
    tolerances = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)

    def use(self, threads):
        from daal4py import daalinit

        daalinit(threads)
        super().use(threads)

    def fit(self):
        import warnings

        import numpy as np
        from sklearnex.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        l2 = self.l2 / 2 if self.k == 2 else self.l2  # see head_scikit_learn
        model = LogisticRegression(C=1 / (l2 * len(self.x)), tol=self.tolerance, max_iter=20000)
        with warnings.catch_warnings(), threadpool_limits(self.used_threads):
            warnings.simplefilter("ignore")
            model.fit(self.x, self.y)
        weights, bias = model.coef_, model.intercept_
        if self.k == 2:
            weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
        return weights, bias, model.n_iter_[0]

    def unpack(self, iterate):
        table = iterate.reshape(self.k, -1)  # the bias, then a column for each feature
        return table[:, 1:], table[:, 0]
