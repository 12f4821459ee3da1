"""scikit-learn's LogisticRegression (lbfgs) on the features as they are."""

from head_common import BudgetedPeer

REQUIREMENTS = ("scikit-learn==1.9.1", "numpy==2.4.6", "threadpoolctl==3.8.0")


class Peer(BudgetedPeer):
    tolerances = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)

    def fit(self):
        return self.fit_rows(self.x, self.l2)

    def fit_rows(self, x, l2):
        import warnings

        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        if self.k == 2:  # one row of weights there, whose square is twice that of its two halves
            l2 /= 2
        model = LogisticRegression(C=1 / (l2 * len(x)), tol=self.tolerance, max_iter=20000)
        with warnings.catch_warnings(), threadpool_limits(self.used_threads):
            warnings.simplefilter("ignore")
            model.fit(x, self.y)
        weights, bias = model.coef_, model.intercept_
        if self.k == 2:
            weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
        return weights, bias, model.n_iter_[0]

    def unpack(self, iterate):
        table = iterate.reshape(self.k, -1, order="F")  # a column for each feature, then the bias
        return table[:, :-1], table[:, -1]
