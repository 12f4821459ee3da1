"""The value `Head`: its layers, its numbers, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from eyespot import Head
from eyespot.errors import InvalidOption


def layers(*widths, seed=0):
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return tuple((rng.normal(size=(n, d)) / np.sqrt(d), rng.normal(size=n)) for d, n in pairs)


def expected(x, pairs, output):
    for weights, bias in pairs[:-1]:
        x = np.maximum(x @ weights.T + bias, 0)
    logits = x @ pairs[-1][0].T + pairs[-1][1]
    if output == "sigmoid":
        return logits, 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("widths", [(7, 3), (7, 5, 3), (7, 50, 9, 1)])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_logits_and_probabilities_are_those_of_the_formula(widths, output):
    pairs = layers(*widths)
    head = Head(pairs, output)
    assert (head.n_features, head.n_classes) == (7, widths[-1])
    assert head.layer_sizes == widths[1:-1]
    x = np.random.default_rng(1).normal(size=(40, 7)).astype(np.float32)
    logits, probabilities = expected(x, pairs, output)
    np.testing.assert_allclose(head.logits(x), logits, atol=1e-5)
    np.testing.assert_allclose(head.probabilities(x), probabilities, atol=1e-5)
    assert head.probabilities(x).dtype == np.float32
    assert head.probabilities(x[:0]).shape == (0, widths[-1])


def test_a_sigmoid_neither_overflows_nor_loses_small_probabilities():
    head = Head((([[1.0]], [0.0]),), "sigmoid")
    got = head.probabilities([[-80.0], [-1e30], [0.0], [1e30]])[:, 0]
    np.testing.assert_allclose(got, [np.exp(-80.0), 0, 0.5, 1], rtol=1e-5)


def test_a_temperature_divides_the_logits():
    head = Head(layers(4, 6, 3))
    x = np.random.default_rng(2).normal(size=(9, 4))
    warm = head.with_temperature(2.5)
    np.testing.assert_allclose(warm.logits(x), head.logits(x) / 2.5, rtol=1e-5, atol=1e-6)
    assert warm.layer_sizes == head.layer_sizes
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InvalidOption, match="temperature"):
            head.with_temperature(wrong)


def test_a_head_keeps_its_own_read_only_arrays():
    weights = np.ones((2, 3))
    head = Head(((weights, [0.0, 1.0]),))
    weights[:] = 5
    assert head.layers[0][0].max() == 1
    with pytest.raises(ValueError, match="read-only"):
        head.layers[0][0][0, 0] = 2


@pytest.mark.parametrize(
    ("pairs", "output", "words"),
    [
        ((), "softmax", "at least one"),
        (layers(3, 2), "tanh", "allowed: softmax, sigmoid"),
        ((*layers(3, 4), *layers(5, 2)), "softmax", r"layers\[1\] takes 5 numbers, but is given 4"),
        (((np.zeros((2, 8)), np.zeros(3)),), "softmax", r"bias of shape \(3,\)"),
        (((np.zeros(3), np.zeros(3)),), "softmax", r"weights of shape \(3,\)"),
        (((np.zeros((0, 8)), np.zeros(0)),), "softmax", r"\(0, 8\)"),
        (((np.full((2, 8), 1e39), np.zeros(2)),), "softmax", "not finite in float32"),
        (((np.zeros((2, 8)), [0, np.nan]),), "sigmoid", "not finite"),
    ],
)
def test_layers_that_do_not_fit_are_refused(pairs, output, words):
    with pytest.raises(InvalidOption, match=words):
        Head(pairs, output)


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(InvalidOption, match=r"\(2, 4\); allowed: \(n, 3\)"):
        Head(layers(3, 2)).probabilities(np.zeros((2, 4)))
