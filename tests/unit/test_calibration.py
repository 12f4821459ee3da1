"""Temperature and calibration error: definitions, optimum, invariances, and where they are told."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.calibration import Calibration, expected_calibration_error, fit_temperature
from eyespot.errors import InvalidOption
from eyespot.head import fit_softmax, select_l2


def predictions(n=600, k=4, sharpness=3.0, seed=0):
    """Logits whose labels were drawn at temperature 1, told `sharpness` times too surely."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(n, k))
    powers = np.exp(logits)
    shares = powers / powers.sum(axis=1, keepdims=True)
    targets = (shares.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    return sharpness * logits, targets


def log_loss(logits, targets, weights=None):
    z = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), targets]
    return np.average(losses, weights=weights)


def test_the_error_is_that_of_the_definition():
    probabilities = np.array([[0.95, 0.05], [0.94, 0.06], [0.3, 0.7], [0.5, 0.5]])
    targets = [0, 1, 1, 1]
    # Bins of 0.95 and 0.94 (right 1 of 2), of 0.7 (right) and of 0.5 (the first class, wrong).
    expected = (abs(1.89 - 1) + abs(0.7 - 1) + 0.5) / 4
    assert expected_calibration_error(probabilities, targets) == pytest.approx(expected)
    weights = [1, 1, 2, 0]
    expected = (abs(1.89 - 1) + 2 * abs(0.7 - 1)) / 4
    assert expected_calibration_error(probabilities, targets, weights) == pytest.approx(expected)
    assert expected_calibration_error([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == 0
    assert expected_calibration_error([[1.0, 0.0], [0.0, 1.0]], [1, 0]) == 1


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_temperature_minimises_the_log_loss(sharpness, weighted):
    logits, targets = predictions(sharpness=sharpness)
    weights = np.random.default_rng(1).uniform(0, 3, len(targets)) if weighted else None
    found = fit_temperature(logits, targets, weights)
    assert found.temperature == pytest.approx(sharpness, rel=0.25)

    def objective(t):
        return log_loss(logits / np.exp(t), targets, weights) + (t / 0.25) ** 2 / (2 * len(targets))

    best = np.log(found.temperature)
    assert objective(best) <= min(objective(best + d) for d in (-0.5, -1e-3, 1e-3, 0.5))
    assert found.log_loss_before == pytest.approx(log_loss(logits, targets, weights))
    after = log_loss(logits / found.temperature, targets, weights)
    assert found.log_loss_after == pytest.approx(after)
    assert found.log_loss_after <= found.log_loss_before
    if sharpness > 1:
        assert found.ece_after < 0.5 * found.ece_before


def test_neither_the_order_of_the_classes_nor_a_shift_of_a_row_matters():
    logits, targets = predictions()
    order = np.array([2, 0, 3, 1])
    one = fit_temperature(logits, targets)
    permuted = fit_temperature(logits[:, order], np.argsort(order)[targets])
    shifted = fit_temperature(logits + 50 * np.arange(len(logits))[:, None], targets)
    for other in (permuted, shifted):
        assert other.temperature == pytest.approx(one.temperature, rel=1e-6)
        assert other.ece_after == pytest.approx(one.ece_after, rel=1e-6)


def test_a_few_rows_that_are_all_right_do_not_ask_for_certainty():
    logits = 6 * np.eye(2)[[0, 1, 0, 1, 1]]
    found = fit_temperature(logits, [0, 1, 0, 1, 1])
    assert 0.9 < found.temperature < 1
    every = fit_temperature(np.zeros((5, 3)), [0, 1, 2, 0, 1])  # nothing to scale
    assert every.temperature == 1
    assert fit_temperature([[0.0]], [0]).temperature == 1  # one class
    wrong = fit_temperature(1e6 * np.eye(2)[[0, 1, 0]], [1, 0, 1])
    assert 50 < wrong.temperature <= 100


def test_what_does_not_fit_is_refused():
    for table, targets in ((np.zeros((0, 3)), []), (np.zeros((2, 3)), [0]), (np.zeros(3), [0] * 3)):
        with pytest.raises(InvalidOption, match="do not go with targets"):
            fit_temperature(table, np.array(targets, dtype=int))


def test_a_calibration_is_told_in_words_and_as_plain_values():
    logits, targets = predictions()
    found = fit_temperature(logits, targets, how="by 5-fold cross-validation")
    assert Calibration.from_dict(found.to_dict()) == found
    assert "softened by the temperature" in str(found)
    assert str(found).endswith("% by 5-fold cross-validation")
    assert "sharpened" in str(fit_temperature(logits / 30, targets))


def rows(n=240, d=12, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    x = (rng.normal(size=(k, d))[y] + 2.5 * rng.normal(size=(n, d))).astype(np.float32)
    return x, y


def test_held_out_predictions_are_those_of_models_that_did_not_see_the_row():
    x, y = rows()
    x[7] += 1000  # a row that only a model fitted without it calls by chance
    path = select_l2(x, y, 3, predict=True)
    held_out = path.held_out
    assert held_out is not None
    np.testing.assert_array_equal(held_out.rows, np.arange(len(y)))
    chances = np.exp(held_out.log_probabilities.astype(np.float64))
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    mean = -held_out.log_probabilities[np.arange(len(y)), y].mean()
    assert mean == pytest.approx(min(path.log_loss), rel=1e-5)
    assert select_l2(x, y, 3).held_out is None


def test_the_cross_validation_for_the_penalty_serves_the_calibration_too():
    x, y = rows()
    auto = fit_softmax(x, y, 3, held_out=True)
    assert auto.path is not None
    assert auto.held_out is auto.path.held_out
    best = auto.path.l2[int(np.argmin(auto.path.log_loss))]
    fixed = fit_softmax(x, y, 3, l2=best, held_out=True)
    assert fixed.held_out is not None
    # The path came to this strength from its neighbour, this one from zero.
    np.testing.assert_allclose(
        np.exp(fixed.held_out.log_probabilities), np.exp(auto.held_out.log_probabilities), atol=0.02
    )
    assert fit_softmax(x, y, 3, l2=best).held_out is None


@pytest.mark.parametrize("l2", ["auto", 0.01])
def test_held_out_predictions_are_the_same_bits_for_any_number_of_threads(l2):
    x, y = rows(k=4)
    fits = [fit_softmax(x, y, 4, l2=l2, held_out=True, n_threads=t) for t in (1, 2, 5)]
    tables = [fit.held_out.log_probabilities.tobytes() for fit in fits]
    assert tables[0] == tables[1] == tables[2]


def test_too_few_rows_hold_nothing_out():
    x, y = rows(n=6)
    assert fit_softmax(x, y, 3, held_out=True).held_out is None
    assert fit_softmax(x, y, 3, l2=0.1, held_out=True).held_out is None
    lonely = np.where(np.arange(60) == 11, 2, np.arange(60) % 2)  # one row of class 2
    held_out = fit_softmax(np.random.default_rng(0).normal(size=(60, 4)), lonely, 3, held_out=True)
    assert 11 not in held_out.held_out.rows
    assert np.isfinite(held_out.held_out.log_probabilities).all()
