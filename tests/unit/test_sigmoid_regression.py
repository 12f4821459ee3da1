"""One-vs-rest regression: the optimum, its gradient, weights, folds, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eyespot import CancelToken, DataError, IncompatibleParameters, InvalidOption, StopReason, _core
from eyespot.errors import Cancelled
from eyespot.head import fit_sigmoid, fit_softmax, label_balance, select_sigmoid_l2

L2 = 0.01


def rows(n=300, d=20, k=5, seed=0):
    """Return correlated features off the origin, and labels of which some are rare."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) @ random.normal(size=(d, d)) + 3 * random.normal(size=d)
    x = x.astype(np.float32)
    scores = x @ random.normal(size=(d, k)) * 0.2 + random.normal(size=(n, k))
    return x, scores > np.quantile(scores, np.linspace(0.3, 0.95, k), axis=0).diagonal()


def objective(x, y, weights, bias, *, l2=L2, sample=None, ratio=None):
    """Return the documented objective in float64."""
    z = x.astype(np.float64) @ np.asarray(weights, np.float64).T + bias
    losses = np.logaddexp(0, np.where(y, -z, z))
    total = 0.0
    for c in range(y.shape[1]):
        u = np.ones(len(y)) if sample is None else np.asarray(sample, np.float64)
        if ratio is not None:
            u = u * np.where(y[:, c], ratio[c], 1.0)
        total += (u * losses[:, c]).sum() / u.sum()
    return total + l2 / 2 * (np.asarray(weights, np.float64) ** 2).sum()


def solver(x, y, **options):
    return _core.SigmoidSolver(x, y.astype(np.uint8), l2=L2, tolerance=1e-6, **options)


@pytest.mark.parametrize("k", [1, 3, 17, 50])
def test_value_and_gradient_are_those_of_the_documented_objective(k):
    x, y = rows(n=150, d=7, k=k, seed=k)
    random = np.random.default_rng(1)
    weights = random.normal(size=(k, 7)).astype(np.float32) * 0.3
    bias = random.normal(size=k)
    value, gradient = solver(x, y).evaluate(weights, bias)
    assert value == pytest.approx(objective(x, y, weights, bias), rel=1e-5)
    # The biases of the core's gradient belong to centred features.
    mean = x.mean(axis=0, dtype=np.float64)
    for _ in range(8):
        dw, db = random.normal(size=weights.shape), random.normal(size=k)
        h = 1e-5
        w64 = weights.astype(np.float64)
        up = objective(x, y, w64 + h * dw, bias + h * (db - dw @ mean))
        down = objective(x, y, w64 - h * dw, bias - h * (db - dw @ mean))
        slope = gradient[: k * 7] @ dw.ravel() + gradient[k * 7 :] @ db
        assert slope == pytest.approx((up - down) / (2 * h), rel=2e-4, abs=2e-5)


def test_a_certain_answer_costs_what_it_should_on_either_side():
    """Scores of ±60: the loss of the right side vanishes, that of the wrong side is the score."""
    x = np.array([[-60.0], [60.0]], np.float32)
    y = np.array([[False], [True]])
    unpenalised = _core.SigmoidSolver(x, y.astype(np.uint8), l2=0.0, tolerance=1e-6)
    right, gradient = unpenalised.evaluate(np.ones((1, 1), np.float32), np.zeros(1))
    assert 0 <= right < 1e-20
    assert np.abs(gradient).max() < 1e-20
    wrong, gradient = unpenalised.evaluate(-np.ones((1, 1), np.float32), np.zeros(1))
    assert wrong == pytest.approx(60.0)
    assert np.abs(gradient).max() == pytest.approx(60.0)


def test_each_label_gets_what_it_gets_alone():
    """The loss is a sum over the labels, so l2 means the same for one label as for many."""
    x, y = rows()
    together = fit_sigmoid(x, y, l2=L2, max_iterations=500, tolerance=1e-6)
    assert together.converged
    for c in range(y.shape[1]):
        alone = fit_sigmoid(x, y[:, c : c + 1], l2=L2, max_iterations=500, tolerance=1e-6)
        assert np.abs(together.weights[c] - alone.weights[0]).max() < 1e-3


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200)])
def test_no_step_from_the_optimum_lowers_the_objective(n, d):
    x, y = rows(n=n, d=d)
    fit = fit_sigmoid(x, y, l2=L2, max_iterations=500, tolerance=1e-6)
    best = objective(x, y, fit.weights, fit.bias)
    assert fit.loss == pytest.approx(best, rel=1e-5)
    random = np.random.default_rng(3)
    for _ in range(20):
        weights = fit.weights + 0.01 * random.normal(size=fit.weights.shape)
        assert objective(x, y, weights, fit.bias + 0.01 * random.normal(size=5)) > best


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200)])
def test_weights_of_rows_and_of_positives_are_those_of_the_documented_objective(n, d):
    x, y = rows(n=n, d=d)
    random = np.random.default_rng(4)
    sample = random.uniform(0, 3, len(x))
    ratio = np.array([1.0, 2.0, 0.5, 4.0, 9.0])
    fit = fit_sigmoid(
        x, y, l2=L2, sample_weight=sample, positive_weights=ratio, max_iterations=500,
        tolerance=1e-6,
    )  # fmt: skip
    best = objective(x, y, fit.weights, fit.bias, sample=sample, ratio=ratio)
    assert fit.loss == pytest.approx(best, rel=1e-5)
    for _ in range(10):
        weights = fit.weights + 0.01 * random.normal(size=fit.weights.shape)
        assert objective(x, y, weights, fit.bias, sample=sample, ratio=ratio) > best


def test_a_row_of_weight_two_is_two_rows():
    x, y = rows(n=100)
    twice = fit_sigmoid(
        np.concatenate([x, x[:20]]), np.concatenate([y, y[:20]]), l2=L2, max_iterations=500
    )
    weights = np.ones(100)
    weights[:20] = 2
    once = fit_sigmoid(x, y, l2=L2, sample_weight=weights, max_iterations=500)
    assert np.abs(once.weights - twice.weights).max() < 2e-3


def test_balanced_labels_start_even():
    _, y = rows()
    ratio = label_balance("balanced", y, list("abcde"))
    assert ratio * y.sum(axis=0) == pytest.approx(len(y) - y.sum(axis=0))
    assert label_balance(0.5, y, list("abcde")) == pytest.approx(np.sqrt(ratio))
    assert label_balance({"b": 3.0}, y, list("abcde")).tolist() == [1, 3, 1, 1, 1]
    assert label_balance(None, y, list("abcde")) is None
    with pytest.raises(InvalidOption, match=r"class_weights has 'zebra'.*their labels are 'a'"):
        label_balance({"zebra": 2.0}, y, list("abcde"))


def test_one_label_is_a_softmax_of_two():
    """Softmax of two classes has weights w/2 and -w/2: so l2 of one is l2/2 of the other."""
    x, y = rows(k=1)
    one = fit_sigmoid(x, y, l2=L2, max_iterations=500, tolerance=1e-6)
    two = fit_softmax(x, y[:, 0].astype(int), 2, l2=2 * L2, max_iterations=500, tolerance=1e-6)
    assert np.abs(one.weights[0] - (two.weights[1] - two.weights[0])).max() < 1e-3


@pytest.mark.parametrize(("n", "d"), [(900, 30), (200, 700)])
@pytest.mark.parametrize("l2", ["auto", 0.1])
def test_any_number_of_threads_gives_the_same_bits(l2, n, d):
    x, y = rows(n=n, d=d)
    fits = [fit_sigmoid(x, y, l2=l2, n_threads=n) for n in (1, 2, 5)]
    assert len({fit.weights.tobytes() + fit.bias.tobytes() for fit in fits}) == 1
    assert len({fit.path for fit in fits}) == 1


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200)])
def test_a_pause_changes_no_bit(n, d):
    x, y = rows(n=n, d=d)
    through = fit_sigmoid(x, y, l2=L2, max_iterations=9, tolerance=0)
    first = fit_sigmoid(x, y, l2=L2, max_iterations=4, tolerance=0)
    rest = fit_sigmoid(x, y, l2=L2, max_iterations=9, tolerance=0, state=first.state)
    assert rest.weights.tobytes() == through.weights.tobytes()
    assert rest.n_evaluations == through.n_evaluations


def test_a_state_of_another_problem_is_refused():
    x, y = rows()
    state = fit_sigmoid(x, y, l2=L2, max_iterations=2).state
    with pytest.raises(IncompatibleParameters, match="n_classes"):
        fit_sigmoid(x, y[:, :4], l2=L2, state=state)
    with pytest.raises(IncompatibleParameters, match=r"made with l2=0\.01"):
        fit_sigmoid(x, y, l2=0.5, state=state)
    softmax = fit_softmax(x, y[:, 0].astype(int), 2, l2=L2, max_iterations=2).state
    with pytest.raises(IncompatibleParameters, match="sigmoid"):
        fit_sigmoid(x, y[:, :2], l2=L2, state=softmax)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 200)])
def test_a_start_at_the_optimum_is_soon_there(n, d):
    x, y = rows(n=n, d=d)
    cold = fit_sigmoid(x, y, l2=L2, max_iterations=500)
    warm = fit_sigmoid(x, y, l2=L2, max_iterations=500, start=(cold.weights, cold.bias))
    assert warm.n_iterations < cold.n_iterations / 2


def test_the_callback_is_told_of_each_iteration_and_can_stop():
    x, y = rows()
    told = []

    def stop(step):
        told.append(step)
        return step.iteration == 3

    fit = fit_sigmoid(x, y, l2=L2, callback=stop)
    assert fit.stop_reason is StopReason.stopped
    assert [step.iteration for step in told] == [1, 2, 3]
    assert told[0].loss > told[2].loss
    given = x @ fit.weights.T + fit.bias >= 0
    assert fit.accuracy == pytest.approx((given == y).all(axis=1).mean(), abs=0.011)


def test_cancel_ends_the_fit():
    x, y = rows()
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        fit_sigmoid(x, y, cancel=token)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (100, 310)])
def test_the_chosen_strength_is_near_the_best_of_its_path(n, d):
    x, y = rows(n=n, d=d, seed=2)
    path = select_sigmoid_l2(x, y)
    assert path.n_folds == 5
    assert min(path.l2) <= path.selected <= max(path.l2)
    best = path.l2[int(np.argmin(path.log_loss))]
    assert abs(math.log10(path.selected / best)) <= 0.5
    test_x, test_y = rows(n=n, d=d, seed=2)
    assert fit_sigmoid(test_x, test_y, max_iterations=200).l2 == path.selected


def test_too_few_rows_to_hold_out_take_the_fallback():
    x, y = rows(n=8)
    path = select_sigmoid_l2(x, y)
    assert path.l2 == ()
    assert path.selected == pytest.approx(0.1 * x.var(axis=0, dtype=np.float64).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": np.zeros(300, bool)}, "targets: bool of shape .300,. given"),
        ({"targets": np.zeros((300, 0), bool)}, "a column for each label"),
        ({"targets": np.full((300, 2), 2)}, "targets: 2 to 2 given; allowed are 0"),
        ({"targets": np.zeros((300, 2))}, "targets: float64"),
        ({"embeddings": np.zeros((300, 0), np.float32)}, "none of them empty"),
        ({"l2": "often"}, "allowed are \"auto\" and numbers"),
        ({"l2": -1.0}, r"l2: -1\.0 given; allowed are"),
        ({"positive_weights": [0, 1, 1, 1, 1]}, "5 finite numbers above 0"),
        ({"sample_weight": np.zeros(300)}, "every row has zero weight"),
        ({"sample_weight": np.full(300, -1.0)}, "sample_weight: needed are 300"),
        ({"tolerance": -1}, "tolerance: -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused_by_name(change, words):
    x, y = rows()
    arguments = {"embeddings": x, "targets": y, **change}
    with pytest.raises(InvalidOption, match=words):
        fit_sigmoid(**arguments)


def test_a_row_with_a_nan_is_refused_by_number():
    x, y = rows()
    x[7, 3] = np.nan
    with pytest.raises(DataError, match=r"embeddings\[7\]"):
        fit_sigmoid(x, y)
