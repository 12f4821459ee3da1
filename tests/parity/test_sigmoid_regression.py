"""One-vs-rest regression against scikit-learn's logistic regression, label by label."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.head import fit_sigmoid, label_balance

linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.mark.parametrize("balance", [None, "balanced"])
@pytest.mark.parametrize("l2", [0.3, 0.003])
def test_the_optimum_is_scikit_learns(balance, l2):
    """1e-6 of the objective, that of float32 data: both minimise the same sum in other units."""
    random = np.random.default_rng(5)
    n, d, k = 400, 25, 6
    x = random.normal(size=(n, d)) @ random.normal(size=(d, d)) + 2 * random.normal(size=d)
    x = x.astype(np.float32)
    y = x @ random.normal(size=(d, k)) * 0.2 + random.normal(size=(n, k)) > np.linspace(-1, 3, k)
    ours = fit_sigmoid(
        x,
        y,
        l2=l2,
        positive_weights=label_balance(balance, y, [str(c) for c in range(k)]),
        max_iterations=1000,
        tolerance=1e-6,
    )
    assert ours.converged
    for c in range(k):
        own = y[:, c]
        # Balanced weights average 1 in both, so C = 1 / (l2 * n) holds with and without them.
        model = linear_model.LogisticRegression(
            C=1 / (l2 * n), class_weight=balance, solver="newton-cholesky", tol=1e-10
        )
        model.fit(x.astype(np.float64), own)
        weight = np.ones(n)
        if balance is not None:
            weight = np.where(own, n / (2 * own.sum()), n / (2 * (n - own.sum())))

        def objective(w, b, own=own, weight=weight):
            z = x.astype(np.float64) @ w + b
            losses = weight * np.logaddexp(0, np.where(own, -z, z))
            return losses.mean() + l2 / 2 * (w**2).sum()

        theirs = objective(model.coef_[0], model.intercept_[0])
        assert objective(ours.weights[c].astype(np.float64), ours.bias[c]) <= theirs * (1 + 1e-6)
