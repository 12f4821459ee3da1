"""The multilayer perceptron: gradient, determinism, resume, folding, refusals."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import Cancelled, DataError, IncompatibleParameters, InvalidOption
from eyespot.head import Head, StopReason, fit_perceptron, fit_softmax


def rings(n=600, d=9, k=3, seed=0):
    """Classes by the distance to a centre: no straight line tells them apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    radius = (x[:, :3] ** 2).sum(axis=1)
    y = np.searchsorted(np.quantile(radius, np.arange(1, k) / k), radius)
    scale = np.logspace(-3, 3, d).astype(np.float32)
    return np.ascontiguousarray(x * scale + 5 * scale), y


def objective(x, y, v, sizes, k, l2, u):
    """In float64, from the variables of the core: features standardised with the row weights."""
    x = x.astype(np.float64)
    mean = np.average(x, axis=0, weights=u)
    values = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=u))
    at, square = 0, 0.0
    for n in (*sizes, k):
        d = values.shape[1]
        weights, bias = v[at : at + n * d].reshape(n, d), v[at + n * d : at + n * d + n]
        at += n * d + n
        square += (weights**2).sum()
        scores = values @ weights.T + bias
        values = np.maximum(scores, 0)
    top = scores.max(axis=1)
    losses = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(y)), y]
    return np.average(losses, weights=u) + 0.5 * l2 * square


@pytest.mark.parametrize(("sizes", "k"), [((5,), 2), ((50, 17), 4), ((1, 3, 60), 1)])
def test_the_gradient_is_that_of_finite_differences(sizes, k):
    x, y = rings(n=310, k=k)
    rng = np.random.default_rng(1)
    u = rng.uniform(0.1, 3, len(y)).astype(np.float32)
    solver = _core.PerceptronSolver(
        x, y.astype(np.int32), n_classes=k, layer_sizes=sizes, l2=0.05, tolerance=0, weights=u
    )
    widths = (x.shape[1], *sizes, k)
    n = sum(a * b + b for a, b in itertools.pairwise(widths))
    v = rng.normal(scale=0.3, size=n)
    value, gradient = solver.evaluate(v)
    assert value == pytest.approx(objective(x, y, v, sizes, k, 0.05, u), rel=1e-5)
    h = 1e-6
    for _ in range(8):
        step = rng.normal(size=n)
        up = objective(x, y, v + h * step, sizes, k, 0.05, u)
        down = objective(x, y, v - h * step, sizes, k, 0.05, u)
        assert gradient @ step == pytest.approx((up - down) / (2 * h), rel=2e-3, abs=2e-4)


def test_it_learns_what_a_linear_head_cannot():
    x, y = rings(n=1500)
    linear = fit_softmax(x, y, 3, l2=1e-3, max_iterations=100)
    fit = fit_perceptron(x, y, 3, layer_sizes=(32,), l2=1e-3, max_iterations=100)
    assert linear.accuracy < 0.6
    assert fit.accuracy > 0.95
    assert fit.head.layer_sizes == (32,)
    assert fit.accuracy == (fit.head.probabilities(x).argmax(axis=1) == y).mean()


def test_the_standardisation_is_folded_into_the_first_layer():
    x, y = rings(n=200)
    x[:, 4] = 7  # a feature that does not vary says nothing
    fit = fit_perceptron(x, y, 3, layer_sizes=(8,), max_iterations=4)
    assert (fit.head.layers[0][0][:, 4] == 0).all()
    # The same rows in other units: the same network, in other units.
    other = fit_perceptron(4 * x - 8, y, 3, layer_sizes=(8,), max_iterations=4)
    np.testing.assert_allclose(
        other.head.probabilities(4 * x - 8), fit.head.probabilities(x), atol=2e-3
    )
    p = fit.head.probabilities(x)
    loss = -np.log(p[np.arange(len(y)), y].astype(np.float64)).mean()
    assert loss < fit.loss  # which has the penalty beside it


def test_the_result_is_the_same_bits_for_any_number_of_threads():
    x, y = rings(n=1300, d=70)
    fits = [
        fit_perceptron(x, y, 3, layer_sizes=(40, 20), max_iterations=8, n_threads=t, held_out=True)
        for t in (1, 2, 5)
    ]
    for other in fits[1:]:
        for ours, theirs in zip(fits[0].head.layers, other.head.layers, strict=True):
            assert ours[0].tobytes() == theirs[0].tobytes()
            assert ours[1].tobytes() == theirs[1].tobytes()
        held_out = fits[0].held_out.log_probabilities
        assert held_out.tobytes() == other.held_out.log_probabilities.tobytes()


@pytest.mark.parametrize("pause", [0, 1, 5])
def test_a_resumed_fit_is_the_same_bits_as_one_without_a_pause(pause):
    x, y = rings()
    options = {"layer_sizes": (12,), "l2": 1e-3}
    whole = fit_perceptron(x, y, 3, max_iterations=11, **options)
    first = fit_perceptron(x, y, 3, max_iterations=pause, **options)
    second = fit_perceptron(x, y, 3, max_iterations=11, state=first.state, **options)
    assert (second.n_iterations, second.n_evaluations) == (11, whole.n_evaluations)
    assert second.loss == whole.loss
    for ours, theirs in zip(whole.head.layers, second.head.layers, strict=True):
        assert ours[0].tobytes() == theirs[0].tobytes()
    for changed in ({"layer_sizes": (13,)}, {"l2": 1e-2}):
        with pytest.raises(IncompatibleParameters, match=next(iter(changed))):
            fit_perceptron(x, y, 3, state=first.state, **(options | changed))
    with pytest.raises(IncompatibleParameters, match="n_rows"):
        fit_perceptron(x[:300], y[:300], 3, state=first.state, **options)


def test_the_order_of_the_classes_does_not_matter():
    x, y = rings()
    order = np.array([2, 0, 1])
    a = fit_perceptron(x, y, 3, layer_sizes=(16,), max_iterations=10)
    b = fit_perceptron(x, order[y], 3, layer_sizes=(16,), max_iterations=10)
    np.testing.assert_allclose(
        b.head.probabilities(x)[:, order], a.head.probabilities(x), atol=2e-3
    )


def test_the_seed_chooses_the_first_weights():
    x, y = rings(n=200)
    options = {"layer_sizes": (8,), "max_iterations": 0}
    one, same, other = (fit_perceptron(x, y, 3, seed=s, **options) for s in (0, 0, 1))
    assert one.head.layers[0][0].tobytes() == same.head.layers[0][0].tobytes()
    assert one.head.layers[0][0].tobytes() != other.head.layers[0][0].tobytes()
    # On standardised features: uniform up to sqrt(6 / n_in).
    spread = np.std(x.astype(np.float64), axis=0)
    weights = one.head.layers[0][0] * spread
    assert np.abs(weights).max() <= np.sqrt(6 / x.shape[1]) * 1.001
    assert np.std(weights) == pytest.approx(np.sqrt(2 / x.shape[1]), rel=0.2)
    assert (one.head.layers[1][0] == 0).all()


def test_it_starts_from_a_head_of_the_same_widths():
    x, y = rings()
    options = {"layer_sizes": (16,), "l2": 1e-3}
    first = fit_perceptron(x, y, 3, max_iterations=30, **options)
    again = fit_perceptron(x, y, 3, max_iterations=0, start=first.head, **options)
    assert again.loss == pytest.approx(first.loss, rel=1e-4)
    with pytest.raises(IncompatibleParameters, match=r"9 -> 16 -> 3 .* layer_sizes \(8,\)"):
        fit_perceptron(x, y, 3, layer_sizes=(8,), start=first.head)


def test_weights_count_as_repetitions_and_a_missing_class_is_improbable():
    x, y = rings(n=120)
    times = np.arange(120) % 3
    options = {"layer_sizes": (6,), "max_iterations": 6}
    a = fit_perceptron(x, y, 4, sample_weight=times * 2.0, **options)
    b = fit_perceptron(np.repeat(x, times, axis=0), np.repeat(y, times), 4, **options)
    np.testing.assert_allclose(a.head.probabilities(x), b.head.probabilities(x), atol=2e-3)
    assert a.head.probabilities(x)[:, 3].max() < 0.2


def test_callbacks_stop_it_and_tell_the_way():
    x, y = rings()
    told = []
    fit = fit_perceptron(
        x, y, 3, layer_sizes=(8,), callback=lambda it: told.append(it) or it.iteration == 4
    )
    assert fit.stop_reason is StopReason.stopped
    assert [it.iteration for it in told] == [1, 2, 3, 4]
    assert told[-1].loss == fit.loss < told[0].loss
    assert told[-1].accuracy == fit.accuracy


def test_too_few_rows_hold_nothing_out():
    x, y = rings(n=6)
    assert fit_perceptron(x, y, 3, layer_sizes=(4,), held_out=True).held_out is None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layer_sizes": ()}, InvalidOption, "layer_sizes"),
        ({"layer_sizes": (4, 0)}, InvalidOption, "layer_sizes"),
        ({"l2": -1.0}, InvalidOption, "l2"),
        ({"l2": "auto"}, InvalidOption, "l2: 'auto' given; allowed are numbers from 0"),
        ({"n_classes": 2}, InvalidOption, "targets"),
        ({"max_iterations": -1}, InvalidOption, "max_iterations"),
        ({"tolerance": np.nan}, InvalidOption, "tolerance"),
        ({"sample_weight": np.zeros(60)}, InvalidOption, "zero weight"),
    ],
)
def test_what_it_cannot_take_is_refused(changes, error, words):
    x, y = rings(n=60)
    arguments = {"embeddings": x, "targets": y, "n_classes": 3} | changes
    with pytest.raises(error, match=words):
        fit_perceptron(**arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(bad):
    x, y = rings(n=60)
    x[41, 3] = bad
    with pytest.raises(DataError, match=r"embeddings\[41\]"):
        fit_perceptron(x, y, 3)


def test_cancel_stops_soon():
    x, y = rings(n=6000, d=300)
    token = _core.CancelToken()
    timer = threading.Timer(0.2, token.cancel)
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(Cancelled):
        fit_perceptron(x, y, 3, layer_sizes=(256,), max_iterations=10**6, tolerance=0, cancel=token)
    assert time.perf_counter() - begin < 2
    timer.join()


def test_a_head_predicts_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    layers = tuple((rng.normal(size=(n, d)), rng.normal(size=n)) for d, n in ((70, 90), (90, 130)))
    x = rng.normal(size=(700, 70)).astype(np.float32)
    head = Head(layers)
    expected = head.probabilities(x).tobytes()
    for threads in (2, 5):
        assert head.probabilities(x, pool=_core.ThreadPool(threads)).tobytes() == expected
