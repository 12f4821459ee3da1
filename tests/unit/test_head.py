"""Softmax regression: optimum, gradient, determinism, resume, refusals."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import Cancelled, DataError, IncompatibleParameters, InvalidOption
from eyespot.head import StopReason, fit_softmax, select_l2, softmax_probabilities
from eyespot.head.rows import stratified_folds


def problem(n=400, d=37, k=5, seed=0, noise=2.0):
    """Correlated, shifted, badly scaled features with overlapping classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    centres = rng.normal(size=(k, d))
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    x = (centres[y] + noise * rng.normal(size=(n, d))) @ mix + 3.0
    return x.astype(np.float32), y


def objective(x, y, weights, bias, l2, u=None):
    u = np.ones(len(y)) if u is None else np.asarray(u, dtype=np.float64)
    z = x.astype(np.float64) @ weights.astype(np.float64).T + bias
    z -= z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return (u * loss).sum() / u.sum() + 0.5 * l2 * (weights.astype(np.float64) ** 2).sum()


@pytest.mark.parametrize(("n", "k"), [(300, 1), (300, 2), (300, 3), (300, 17), (300, 60), (6, 3)])
def test_the_gradient_is_that_of_finite_differences(n, k):
    x, y = problem(n=n, d=21, k=k)
    rng = np.random.default_rng(1)
    weights = rng.normal(scale=0.1, size=(k, 21)).astype(np.float32)
    bias = rng.normal(size=k)
    if k == 2:  # opposite, and one score in the core
        weights[0], bias[0] = -weights[1], -bias[1]
    u = rng.uniform(0.1, 3, size=n).astype(np.float32)
    solver = _core.SoftmaxSolver(
        x, y.astype(np.int32), n_classes=k, l2=0.3, tolerance=1e-4, weights=u
    )
    value, gradient = solver.evaluate(weights, bias)
    assert value == pytest.approx(objective(x, y, weights, bias, 0.3, u), rel=1e-6)
    if k == 2:
        gradient = np.concatenate([-gradient[:21], gradient[:21], -gradient[21:], gradient[21:]])
    # The biases of the core's gradient belong to centred features.
    mean = (u[:, None] * x.astype(np.float64)).sum(axis=0) / u.sum(dtype=np.float64)
    for _ in range(8):
        dw, db = rng.normal(size=weights.shape), rng.normal(size=k)
        h = 1e-5
        w64 = weights.astype(np.float64)
        up = objective(x, y, w64 + h * dw, bias + h * (db - dw @ mean), 0.3, u)
        down = objective(x, y, w64 - h * dw, bias - h * (db - dw @ mean), 0.3, u)
        slope = gradient[: k * 21] @ dw.ravel() + gradient[k * 21 :] @ db
        assert slope == pytest.approx((up - down) / (2 * h), rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("k", [2, 5])
def test_the_optimum_is_that_of_scikit_learn(k, l2):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = problem(k=k)
    fit = fit_softmax(x, y, k, l2=l2, max_iterations=1000, tolerance=1e-7)
    assert fit.stop_reason in {StopReason.converged, StopReason.no_progress}
    x64 = x.astype(np.float64)
    # Two classes there share one row of weights: the same model as two opposite rows of half of it,
    # whose squares sum to half.
    strength = l2 / 2 if k == 2 else l2
    centred = x64 - x64.mean(axis=0)
    other = linear.LogisticRegression(
        C=1 / (strength * len(x)), tol=1e-10, max_iter=10000, solver="newton-cg"
    ).fit(centred, y)
    weights, bias = other.coef_, other.intercept_
    if k == 2:
        weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    bias = bias - weights @ x64.mean(axis=0)
    best = objective(x, y, weights, bias, l2)
    # At the weakest penalty the loss is 0.2 % of its start, and what float32 products leave of it
    # is known to a few parts in a million.
    gap = 1e-5 if l2 < 1e-3 else 1e-6
    assert objective(x, y, fit.weights, fit.bias, l2) <= best * (1 + gap)
    assert fit.loss == pytest.approx(best, rel=2 * gap)


@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (1500, 130, 7),
        (200, 300, 2),
        (2900, 800, 2),
        (2500, 130, 7),
        (900, 60, 30),
        (90, 300, 2),
        (300, 1000, 12),
    ],
)
def test_the_result_is_the_same_bits_for_any_number_of_threads(n, d, k):
    x, y = problem(n=n, d=d, k=k)
    fits = [fit_softmax(x, y, k, max_iterations=12, n_threads=t) for t in (1, 2, 5)]
    for other in fits[1:]:
        assert other.weights.tobytes() == fits[0].weights.tobytes()
        assert other.bias.tobytes() == fits[0].bias.tobytes()
        assert other.path == fits[0].path


@pytest.mark.parametrize(("n", "d", "k"), [(400, 37, 2), (400, 37, 5), (60, 200, 2), (60, 200, 5)])
def test_a_resumed_fit_is_the_same_bits_as_one_without_a_pause(n, d, k):
    x, y = problem(n=n, d=d, k=k)
    whole = fit_softmax(x, y, k, l2=1e-3, max_iterations=14)
    for pause in (0, 1, 5, 13):
        first = fit_softmax(x, y, k, l2=1e-3, max_iterations=pause)
        assert first.n_iterations == pause
        assert first.stop_reason is StopReason.max_iterations
        # Through bytes, as a checkpoint does it.
        state = {
            key: np.frombuffer(value.tobytes(), value.dtype)
            if isinstance(value, np.ndarray)
            else value
            for key, value in first.state.items()
        }
        second = fit_softmax(x, y, k, l2=1e-3, max_iterations=14, state=state)
        assert second.weights.tobytes() == whole.weights.tobytes()
        assert second.loss == whole.loss
        assert second.n_evaluations == whole.n_evaluations


@pytest.mark.parametrize("k", [2, 6])
def test_a_fit_with_active_rows_is_the_same_bits_for_any_threads_and_pauses(k):
    x, y = problem(n=900, d=500, k=k, noise=0.8)
    options = {"l2": 1e-4, "tolerance": 1e-6}
    whole = fit_softmax(x, y, k, **options, max_iterations=30)
    # Beyond half as many features as rows there is no other metric at a point.
    assert whole.state["metric_x"].size > 0
    for pause in (11, 20, 29):
        first = fit_softmax(x, y, k, **options, max_iterations=pause, n_threads=2)
        second = fit_softmax(x, y, k, **options, max_iterations=30, n_threads=5, state=first.state)
        assert second.weights.tobytes() == whole.weights.tobytes()
        assert second.bias.tobytes() == whole.bias.tobytes()
        assert second.n_evaluations == whole.n_evaluations


@pytest.mark.parametrize(("n", "d"), [(400, 37), (100, 310)])
def test_a_resumed_fit_has_the_predictions_to_calibrate_by(n, d):
    x, y = problem(n=n, d=d)
    states = []
    options = {"l2": "auto", "held_out": True, "tolerance": 1e-7}
    whole = fit_softmax(
        x, y, 5, **options, callback=lambda step: states.append(step.state()), max_iterations=9
    )
    assert len(states) == whole.n_iterations > 2
    for state in states[::3]:
        again = fit_softmax(x, y, 5, **options, state=state, max_iterations=9)
        assert again.weights.tobytes() == whole.weights.tobytes()
        assert again.held_out.rows.tolist() == whole.held_out.rows.tolist()
        predicted = again.held_out.log_probabilities
        assert predicted.tobytes() == whole.held_out.log_probabilities.tobytes()
        assert again.l2 == whole.l2


def test_a_state_of_another_problem_is_refused():
    x, y = problem()
    state = fit_softmax(x, y, 5, l2=1e-3, max_iterations=2).state
    with pytest.raises(IncompatibleParameters, match="state"):
        fit_softmax(x[:300], y[:300], 5, l2=1e-3, state=state)
    with pytest.raises(IncompatibleParameters, match="l2"):
        fit_softmax(x, y, 5, l2=1e-2, state=state)


def test_the_loss_never_rises():
    x, y = problem(n=200, d=60, k=4)
    losses = []
    fit_softmax(
        x,
        y,
        4,
        l2=1e-5,
        max_iterations=200,
        tolerance=0,
        callback=lambda it: losses.append(it.loss),
    )
    assert len(losses) > 10
    assert all(b <= a * (1 + 1e-7) for a, b in itertools.pairwise(losses))


def test_a_callback_can_stop():
    x, y = problem()
    fit = fit_softmax(x, y, 5, l2=1e-4, callback=lambda it: it.iteration == 3)
    assert fit.stop_reason is StopReason.stopped
    assert fit.n_iterations == 3
    assert not fit.converged


def test_the_order_of_the_labels_does_not_matter():
    x, y = problem(noise=1.0)
    order = np.array([3, 0, 4, 1, 2])
    a = fit_softmax(x, y, 5, l2=1e-2, max_iterations=300, tolerance=1e-6)
    b = fit_softmax(x, order[y], 5, l2=1e-2, max_iterations=300, tolerance=1e-6)
    np.testing.assert_allclose(b.weights[order], a.weights, atol=2e-4)
    assert b.loss == pytest.approx(a.loss, rel=1e-7)


@pytest.mark.parametrize(("n", "d"), [(400, 37), (80, 250)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_scale_and_shift_of_the_features_do_not_matter(scale, n, d):
    x, y = problem(n=n, d=d)
    a = fit_softmax(x, y, 5, max_iterations=100)
    b = fit_softmax(x * np.float32(scale) + np.float32(100 * scale), y, 5, max_iterations=100)
    assert b.l2 == pytest.approx(a.l2 * scale**2, rel=1e-3)
    assert b.loss == pytest.approx(a.loss, rel=1e-3)
    assert b.n_iterations <= a.n_iterations + 3


@pytest.mark.parametrize("d", [37, 700])  # many of either, or fewer rows than features
def test_weights_of_rows_are_like_repeated_rows(d):
    x, y = problem(n=150, d=d)
    times = np.random.default_rng(0).integers(0, 4, 150)
    options = {"l2": 1e-2, "max_iterations": 300, "tolerance": 1e-6}
    a = fit_softmax(x, y, 5, sample_weight=times * 7.0, **options)
    b = fit_softmax(np.repeat(x, times, axis=0), np.repeat(y, times), 5, **options)
    np.testing.assert_allclose(a.weights, b.weights, atol=2e-3)
    # Class weights are weights of rows, and their common factor means nothing.
    class_weights = np.array([1.0, 2, 3, 0.5, 1])
    c = fit_softmax(x, y, 5, class_weights=class_weights, **options)
    e = fit_softmax(x, y, 5, sample_weight=10 * class_weights[y], **options)
    np.testing.assert_allclose(c.weights, e.weights, atol=2e-3)


def test_degenerate_problems_have_sensible_solutions():
    x, y = problem(n=30, d=8, k=3)
    one = fit_softmax(x, np.zeros(30, dtype=int), 1)
    assert one.loss == pytest.approx(0, abs=1e-6)
    assert one.converged
    constant = fit_softmax(np.ones((30, 8), np.float32), y, 3)
    shares = np.bincount(y, minlength=3) / 30
    p = softmax_probabilities(np.ones((1, 8)), constant.weights, constant.bias)
    np.testing.assert_allclose(p[0], shares, atol=1e-3)
    missing = fit_softmax(x, y, 4, max_iterations=200)
    p = softmax_probabilities(x, missing.weights, missing.bias)
    assert p[:, 3].max() < 0.05
    single = fit_softmax(x[:1], y[:1], 3)
    assert np.isfinite(single.weights).all()


def few_rows(kind, d):
    """Rows that are fewer than the features, or otherwise short of directions."""
    rng = np.random.default_rng(11)
    k = 3 if kind == "one row a class" else 2
    n = {"two rows": 2, "one row a class": 3}.get(kind, 40)
    x = rng.normal(size=(n, d)).astype(np.float32) + 2
    y = np.arange(n) % k
    if kind == "rank 3":
        x = (rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))).astype(np.float32)
    elif kind == "each row twice":
        x[1::2], y = x[::2], np.arange(n) // 2 % k
    elif kind == "rows of both classes":
        x[1::2] = x[::2]
    elif kind == "zero columns":
        x[:, ::2] = 0
    elif kind == "constant columns":
        x[:, ::2] = 5
    elif kind == "more rows than features":
        x = x[:, :5]
    return x, y, k


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [1.0, 1e-2])
@pytest.mark.parametrize("d", [90, 150])  # of 40 rows, more and less than a third
@pytest.mark.parametrize(
    "kind",
    [
        "independent rows",
        "two rows",
        "one row a class",
        "rank 3",
        "each row twice",
        "rows of both classes",
        "zero columns",
        "constant columns",
        "more rows than features",
    ],
)
def test_few_rows_have_the_optimum_of_scikit_learn(kind, d, l2, weighted):
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, k = few_rows(kind, d)
    u = np.random.default_rng(2).uniform(0.2, 3, len(x)) if weighted else np.ones(len(x))
    options = {"sample_weight": u} if weighted else {}
    fit = fit_softmax(x, y, k, l2=l2, max_iterations=1000, tolerance=1e-7, **options)
    x64 = x.astype(np.float64)
    mean = x64.mean(axis=0)
    strength = (l2 / 2 if k == 2 else l2) * u.sum()  # two classes share one row of weights there
    model = linear.LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10000, solver="newton-cg")
    model.fit(x64 - mean, y, sample_weight=u)
    weights, bias = model.coef_, model.intercept_
    if k == 2:
        weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    best = objective(x, y, weights, bias - weights @ mean, l2, u)
    assert objective(x, y, fit.weights, fit.bias, l2, u) <= best * (1 + 1e-6)
    assert fit.loss == pytest.approx(best, rel=2e-6)


@pytest.mark.parametrize("kind", ["independent rows", "one row a class", "rows of both classes"])
@pytest.mark.parametrize("l2", [1e3, 1e-4, 1e-8])
def test_few_rows_cope_with_any_penalty(kind, l2):
    x, y, k = few_rows(kind, 150)
    fit = fit_softmax(x, y, k, l2=l2, max_iterations=1000, tolerance=1e-5)
    assert fit.stop_reason in {StopReason.converged, StopReason.no_progress}
    assert fit.loss == pytest.approx(objective(x, y, fit.weights, fit.bias, l2), rel=1e-5, abs=1e-7)
    # A stationary point of the documented objective, whose slopes were up to 0.1 at the start.
    p = softmax_probabilities(x, fit.weights, fit.bias).astype(np.float64)
    p[np.arange(len(y)), y] -= 1
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    slopes = p.T @ centred / len(y) + l2 * fit.weights
    assert np.abs(slopes).max() < 1e-4
    assert np.abs(p.mean(axis=0)).max() < 2e-5


def test_few_rows_start_from_a_solution_of_others():
    x, y = problem(n=120, d=400, k=4)
    cold = fit_softmax(x[:100], y[:100], 4, l2=1e-2, max_iterations=500, tolerance=1e-5)
    # Their weights are not of the space of other rows, and of these rows they are the solution.
    again = fit_softmax(
        x[:100], y[:100], 4, l2=1e-2, start=(cold.weights, cold.bias), tolerance=1e-5
    )
    assert again.n_iterations <= 2
    assert again.loss == pytest.approx(cold.loss, rel=1e-5)
    others = fit_softmax(x[20:], y[20:], 4, l2=1e-2, max_iterations=500, tolerance=1e-5)
    warm = fit_softmax(
        x[20:],
        y[20:],
        4,
        l2=1e-2,
        max_iterations=500,
        tolerance=1e-5,
        start=(cold.weights, cold.bias),
    )
    assert warm.loss == pytest.approx(others.loss, rel=1e-5)


def test_two_classes_have_opposite_weights_and_what_is_told_of_them_is_true():
    x, y = problem(k=2)
    x = x[:60]
    y = y[:60]
    start = (np.random.default_rng(5).normal(size=(2, 37)), np.array([2.0, 7.0]))
    for how in ({}, {"start": start}):
        fit = fit_softmax(x, y, 2, l2=0.02, max_iterations=6, tolerance=1e-7, **how)
        assert fit.weights[0].tobytes() == (-fit.weights[1]).tobytes()
        assert fit.bias[0] == -fit.bias[1]
        assert fit.loss == pytest.approx(objective(x, y, fit.weights, fit.bias, 0.02), rel=1e-6)
        p = softmax_probabilities(x, fit.weights, fit.bias).astype(np.float64)
        assert fit.accuracy == np.mean(p.argmax(axis=1) == y)
        p[np.arange(60), y] -= 1
        centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
        slopes = p.T @ centred / 60 + 0.02 * fit.weights
        largest = max(
            np.abs(slopes).max() / np.sqrt((centred**2).mean()), np.abs(p.mean(axis=0)).max()
        )
        assert fit.gradient_norm == pytest.approx(largest, rel=1e-3)


def test_separable_classes_without_a_penalty_end():
    x, y = problem(n=40, d=60, k=2, noise=0.1)
    fit = fit_softmax(x, y, 2, l2=0.0, max_iterations=500)
    assert fit.stop_reason in {StopReason.converged, StopReason.no_progress}
    assert fit.accuracy == 1.0
    assert np.isfinite(fit.weights).all()


def test_automatic_strength_is_near_the_best_by_test_loss():
    x, y = problem(n=3000, d=40, k=4, noise=3.0)
    train, test = slice(0, 300), slice(300, None)
    fit = fit_softmax(x[train], y[train], 4, max_iterations=200)
    assert fit.path is not None
    assert fit.l2 == fit.path.selected
    assert len(fit.path.l2) == len(fit.path.log_loss) >= 3

    def test_loss(fit):
        return objective(x[test], y[test], fit.weights, fit.bias, 0.0)

    fixed = [
        test_loss(fit_softmax(x[train], y[train], 4, l2=l2, max_iterations=200))
        for l2 in (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
    ]
    assert test_loss(fit) <= min(fixed) * 1.03


@pytest.mark.parametrize(("n", "d", "noise"), [(600, 60, 3.0), (150, 500, 20.0)])
def test_the_fit_starts_from_what_the_folds_found(n, d, noise):
    x, y = problem(n=n, d=d, k=4, noise=noise)
    fit = fit_softmax(x, y, 4, max_iterations=200)
    assert fit.path is not None
    assert fit.path.start is not None
    weights, bias = fit.path.start
    assert weights.shape == (4, d)
    near = objective(x, y, weights, bias, fit.l2)
    assert near <= fit.loss * 1.01
    cold = fit_softmax(x, y, 4, l2=fit.l2, max_iterations=200)
    assert fit.n_iterations < cold.n_iterations
    assert fit.loss == pytest.approx(cold.loss, rel=1e-4)


@pytest.mark.parametrize(("n", "d", "k"), [(60, 300, 2), (400, 37, 5), (900, 200, 8)])
def test_few_rows_and_many_reach_the_same_optimum_as_a_long_fit_from_elsewhere(n, d, k):
    # The first is small enough to do without a Gram matrix, the others are not.
    x, y = problem(n=n, d=d, k=k)
    a = fit_softmax(x, y, k, l2=1e-2, max_iterations=1000, tolerance=1e-6)
    rng = np.random.default_rng(3)
    start = (rng.normal(size=(k, d)).astype(np.float32), np.zeros(k))
    b = fit_softmax(x, y, k, l2=1e-2, max_iterations=1000, tolerance=1e-6, start=start)
    assert a.converged
    assert b.converged
    assert objective(x, y, a.weights, a.bias, 1e-2) == pytest.approx(
        objective(x, y, b.weights, b.bias, 1e-2), rel=1e-6
    )


@pytest.mark.parametrize(("d", "k"), [(37, 5), (60, 4)])
def test_a_way_from_far_off_ends_where_the_gradient_does(d, k):
    # Near its end the loss of 400 rows scatters by more than it still falls; the slopes do not.
    x, y = problem(n=400, d=d, k=k)
    for seed in range(20):
        start = np.random.default_rng(seed).normal(size=(k, d)).astype(np.float32), np.zeros(k)
        fit = fit_softmax(x, y, k, l2=1e-2, max_iterations=1000, tolerance=1e-6, start=start)
        assert fit.converged, seed


@pytest.mark.parametrize(
    ("n", "d", "k", "noise"),
    [(150, 200, 3, 3.0), (600, 40, 4, 3.0), (300, 30, 14, 3.0), (90, 300, 2, 20.0)],
)
def test_the_path_finds_what_fits_of_their_own_find(n, d, k, noise):
    # From strength to strength the folds take their curvature along; the loss is, well within its
    # own error, that of a fit that knows nothing of the others.
    x, y = problem(n=n, d=d, k=k, noise=noise)
    path = select_l2(x, y, k, seed=4)
    folds = stratified_folds(y.astype(np.int32), k, 5, 4)
    for strength, found in list(zip(path.l2, path.log_loss, strict=True))[::3]:
        total = 0.0
        for fold in range(5):
            out = folds == fold
            fit = fit_softmax(x[~out], y[~out], k, l2=strength, max_iterations=500)
            p = softmax_probabilities(x[out], fit.weights, fit.bias)
            total -= np.log(p[np.arange(out.sum()), y[out]], dtype=np.float64).sum()
        assert found == pytest.approx(total / np.count_nonzero(folds >= 0), rel=0.015)


def test_the_gap_that_is_told_is_the_gap_that_is_left():
    # Few rows for their features, and hardly a penalty: the loss falls slowly for long.
    x, y = problem(n=300, d=150, k=4, noise=1.5)
    fit = fit_softmax(x, y, 4, l2=1e-4, max_iterations=500, tolerance=1e-3)
    least = fit_softmax(x, y, 4, l2=1e-4, max_iterations=5000, tolerance=1e-7).loss
    assert fit.converged
    assert fit.relative_gap <= 1e-3
    assert (fit.loss - least) / max(fit.loss, 0.01) < 5 * 1e-3


def test_automatic_strength_copes_with_few_rows():
    x, y = problem(n=30, d=8, k=3)
    assert select_l2(x[:3], np.array([0, 1, 2]), 3).l2 == ()
    y[0] = 3  # a class of one row
    path = select_l2(x, y, 4)
    assert path.selected > 0
    assert path == select_l2(x, y, 4, n_threads=1)


def test_rows_with_nan_or_infinity_are_named():
    x, y = problem()
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[123, 36] = value
        with pytest.raises(DataError, match=r"embeddings\[123\]"):
            fit_softmax(bad, y, 5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"targets": np.full(400, 5)}, "allowed are 0 to 4"),
        ({"targets": np.full(400, -1)}, "targets"),
        ({"targets": np.zeros(399, int)}, "400 integers"),
        ({"targets": np.zeros(400)}, "integers"),
        ({"embeddings": np.zeros(400)}, "two dimensions"),
        ({"embeddings": np.zeros((400, 0))}, "empty"),
        ({"n_classes": 0}, "n_classes"),
        ({"l2": -1.0}, "l2"),
        ({"l2": "best"}, "auto"),
        ({"tolerance": np.nan}, "tolerance"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"class_weights": [1, 2]}, "class_weights"),
        ({"class_weights": [1, 1, 1, 1, -1]}, "class_weights"),
        ({"sample_weight": np.zeros(400)}, "zero weight"),
    ],
)
def test_wrong_arguments_are_refused_by_name(change, match):
    x, y = problem()
    arguments = {"embeddings": x, "targets": y, "n_classes": 5, "l2": 0.1} | change
    with pytest.raises(InvalidOption, match=match):
        fit_softmax(**arguments)


def test_cancel_stops_soon():
    x, y = problem(n=6000, d=400, k=50)
    token = _core.CancelToken()
    timer = threading.Timer(0.2, token.cancel)
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(Cancelled):
        fit_softmax(x, y, 50, l2=1e-6, max_iterations=100000, tolerance=0, cancel=token)
    assert time.perf_counter() - begin < 2
    timer.join()


def test_probabilities_are_those_of_numpy():
    x, _ = problem(n=333, d=29)
    rng = np.random.default_rng(0)
    for k in (1, 2, 16, 17, 49, 200):
        weights = rng.normal(size=(k, 29)).astype(np.float32)
        bias = rng.normal(size=k)
        z = x.astype(np.float64) @ weights.T + bias
        z = np.exp(z - z.max(axis=1, keepdims=True))
        p = softmax_probabilities(x, weights, bias)
        np.testing.assert_allclose(p, z / z.sum(axis=1, keepdims=True), atol=2e-5)
        again = softmax_probabilities(x, weights, bias, n_threads=3)
        assert again.tobytes() == p.tobytes()
    assert softmax_probabilities(x[:0], weights, bias).shape == (0, 200)
    with pytest.raises(InvalidOption, match="weights"):
        softmax_probabilities(x, weights[:, :5], bias)
