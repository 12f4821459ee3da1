"""scikit-learn's LogisticRegression (lbfgs) on the features as they are."""

from head_common import HeadPeer

REQUIREMENTS = ("scikit-learn==1.9.1", "numpy==2.4.6", "threadpoolctl==3.8.0")


class Peer(HeadPeer):
    tolerances = (1e-3, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)

    def fit(self):
        return self.fit_rows(self.x)

    def fit_rows(self, x):
        import warnings

        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        model = LogisticRegression(C=1 / (self.l2 * len(x)), tol=self.tolerance, max_iter=3000)
        with warnings.catch_warnings(), threadpool_limits(self.threads):
            warnings.simplefilter("ignore")
            model.fit(x, self.y)
        weights, bias = model.coef_, model.intercept_
        return weights, bias, model.n_iter_[0]
