"""Intel's extension of scikit-learn: its own lbfgs objective."""

from head_common import HeadPeer

REQUIREMENTS = ("scikit-learn-intelex==2026.2.0", "scikit-learn==1.9.1", "numpy==2.4.6")


class Peer(HeadPeer):
    tolerances = (1e-3, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)

    def fit(self):
        import warnings

        from sklearnex.linear_model import LogisticRegression

        model = LogisticRegression(C=1 / (self.l2 * len(self.x)), tol=self.tolerance, max_iter=3000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(self.x, self.y)
        return model.coef_, model.intercept_, model.n_iter_[0]
