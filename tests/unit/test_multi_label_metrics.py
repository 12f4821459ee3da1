"""Metrics of several labels an image: one definition each, on numbers small enough to check."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from eyespot import DataError, ImageError, InvalidOption, MultiLabelMetrics

CLASSES = ("ant", "bee", "cat")
TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
SCORES = np.array([[0.9, 0.6, 0.1], [0.7, 0.8, 0.2], [0.2, 0.4, 0.1], [0.8, 0.1, 0.0]])


@pytest.fixture
def metrics():
    return MultiLabelMetrics.from_probabilities(CLASSES, TRUTH, SCORES)


def test_the_numbers_of_a_small_example(metrics):
    assert metrics.support.tolist() == [2, 2, 0]
    assert metrics.predicted.tolist() == [3, 2, 0]
    assert metrics.correct.tolist() == [2, 1, 0]
    assert metrics.subset_accuracy == 0.25
    assert metrics.hamming_loss == pytest.approx(3 / 12)
    assert (metrics.micro_precision, metrics.micro_recall) == (3 / 5, 3 / 4)
    assert metrics.micro_f1 == pytest.approx(6 / 9)
    assert metrics.macro_precision == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.macro_recall == pytest.approx((1 + 1 / 2) / 2)
    truth_of = np.where(TRUTH, SCORES, 1 - SCORES)
    assert metrics.log_loss == pytest.approx(-np.log(truth_of).mean())
    ant, bee, cat = metrics.precision_recall
    # Ants rank 1st and 3rd; bees 1st and 3rd.
    assert ant.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert bee.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.mean_average_precision == pytest.approx(5 / 6)
    assert (ant.precision, ant.recall) == (2 / 3, 1.0)
    assert (bee.precision, bee.recall, bee.f1) == (0.5, 0.5, 0.5)
    assert cat.support == 0
    assert math.isnan(cat.precision)
    assert math.isnan(cat.average_precision)


def test_they_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    truth = random.random((200, 6)) < 0.3
    scores = np.round(random.random((200, 6)) * 0.6 + truth * 0.3, 1)  # with ties
    ours = MultiLabelMetrics.from_probabilities(list("abcdef"), truth, scores)
    given = scores >= 0.5
    average = sklearn.average_precision_score(truth, scores, average=None)
    assert ours.average_precision == pytest.approx(average)
    for kind in ("micro", "macro"):
        for name in ("precision", "recall", "f1"):
            score = getattr(sklearn, f"{name}_score")(truth, given, average=kind)
            assert getattr(ours, f"{kind}_{name}") == pytest.approx(score)
    assert ours.hamming_loss == pytest.approx(sklearn.hamming_loss(truth, given))
    assert ours.subset_accuracy == pytest.approx(sklearn.accuracy_score(truth, given))


def test_a_threshold_moves_what_is_given_and_not_the_ranking(metrics):
    strict = MultiLabelMetrics.from_probabilities(CLASSES, TRUTH, SCORES, threshold=0.75)
    assert strict.predicted.tolist() == [2, 1, 0]
    assert strict.average_precision[:2].tolist() == metrics.average_precision[:2].tolist()
    assert "from a probability of 0.75 on" in str(strict)


def test_a_label_that_is_never_given_has_precision_zero():
    truth = np.ones((2, 1), bool)
    metrics = MultiLabelMetrics.from_probabilities(["x"], truth, np.full((2, 1), 0.1))
    assert metrics.precision_recall[0].precision == 0
    assert metrics.macro_f1 == 0
    assert metrics.micro_precision == 0


def test_json_holds_them_all_and_brings_them_back(metrics):
    text = metrics.to_json()
    values = json.loads(text)
    assert values["precision_recall"][2]["precision"] is None
    assert values["micro_f1"] == pytest.approx(2 / 3)
    again = MultiLabelMetrics.from_dict(values)
    assert again == metrics
    assert again.to_json() == text
    with pytest.raises(InvalidOption, match="has no entry 'correct'"):
        MultiLabelMetrics.from_dict({k: v for k, v in values.items() if k != "correct"})
    with pytest.raises(InvalidOption, match="correct counts more images"):
        MultiLabelMetrics.from_dict({**values, "correct": [3, 0, 0]})
    with pytest.raises(InvalidOption, match="n_images is 1"):
        MultiLabelMetrics.from_dict({**values, "n_images": 1})
    with pytest.raises(InvalidOption, match="support must hold 3 numbers"):
        MultiLabelMetrics.from_dict({**values, "support": [3, 0]})


def test_text_shows_labels_means_and_skipped_files():
    error = ImageError(index=4, source="bad.jpg", code="truncated", message="ends too soon")
    metrics = MultiLabelMetrics.from_probabilities(CLASSES, TRUTH, SCORES, skipped=[error])
    text = str(metrics)
    assert "4 images, 3 labels, 1 skipped" in text
    assert "mean of labels (macro)" in text
    assert "bad.jpg" in text
    assert max(map(len, text.splitlines())) <= 100
    html = metrics._repr_html_()
    assert "mean average precision" in html
    assert "1 images were skipped" in html
    assert "micro F1 66.7 %" in repr(metrics)


def test_many_labels_are_told_by_the_weakest():
    truth = np.eye(50, dtype=bool)
    scores = np.eye(50) * 0.9
    scores[49, 49] = 0.1
    names = [f"<b>{i:02}" for i in range(50)]
    metrics = MultiLabelMetrics.from_probabilities(names, truth, scores)
    text = str(metrics)
    assert "… and 20 labels more, none with a lower F1" in text
    assert "<b>49" in text
    assert "<b>48" not in text
    assert "<details>" in metrics._repr_html_()
    assert "<b>49" not in metrics._repr_html_()  # escaped


def test_a_frame_has_a_row_a_label(metrics):
    pytest.importorskip("pandas")
    frame = metrics.precision_recall_frame()
    assert frame.loc["bee", "support"] == 2
    assert list(frame.columns)[:3] == ["precision", "recall", "f1"]


@pytest.mark.parametrize(
    ("truth", "scores", "words"),
    [
        (TRUTH.astype(int), SCORES, "targets must be bool"),
        (TRUTH[:2], SCORES, "probabilities must be floats of shape"),
        (TRUTH, SCORES.astype(int), "probabilities must be floats"),
        (TRUTH, SCORES + 0.5, "row 0 holds"),
        (TRUTH, SCORES * math.nan, "allowed: 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(truth, scores, words):
    with pytest.raises(InvalidOption, match=words):
        MultiLabelMetrics.from_probabilities(CLASSES, truth, scores)


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="no image to evaluate"):
        MultiLabelMetrics.from_probabilities(CLASSES, TRUTH[:0], SCORES[:0])
