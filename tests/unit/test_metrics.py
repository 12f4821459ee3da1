"""What the numbers of an evaluation mean, and how they are shown and kept."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import sys
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest

from eyespot.errors import DataError, ImageError, InvalidOption
from eyespot.metrics import ClassifierMetrics
from eyespot.rendering import display_width, shorten, text_table

SKIPPED = (
    ImageError(index=4, source="photos/cat/x.jpg", code="corrupt_image", message="no end marker"),
)


def metrics_of(classes, targets, predicted, sure=0.9, skipped=()):
    """Make metrics of a classifier that gives `sure` to one class and shares out the rest."""
    n_classes = len(classes)
    rest = (1 - sure) / max(n_classes - 1, 1)
    table = np.full((len(targets), n_classes), rest, dtype=np.float32)
    table[np.arange(len(targets)), predicted] = sure
    return ClassifierMetrics.from_probabilities(classes, targets, table, skipped=skipped)


def random_metrics(classes, n_images=500, seed=0, skill=2.0, skipped=()):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, len(classes), n_images)
    table = rng.normal(size=(n_images, len(classes)))
    table[np.arange(n_images), targets] += skill
    table = np.exp(table)
    table /= table.sum(axis=1, keepdims=True)
    metrics = ClassifierMetrics.from_probabilities(classes, targets, table, skipped=skipped)
    return metrics, targets, table


THREE = ("ant", "bee", "cat")


def test_the_confusion_matrix_has_true_rows_and_predicted_columns():
    metrics = metrics_of(THREE, [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])
    assert metrics.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics.confusion.dtype == np.int64
    assert metrics.n_images == 6
    assert metrics.n_correct == 4
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.classification_error == pytest.approx(2 / 6)


def test_precision_recall_and_f1_of_each_class():
    ant, bee, cat = metrics_of(THREE, [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]).precision_recall
    assert (ant.label, ant.precision, ant.recall, ant.support, ant.predicted) == (
        "ant",
        1.0,
        2 / 3,
        3,
        2,
    )
    assert ant.f1 == pytest.approx(0.8)
    assert (bee.precision, bee.recall, bee.f1) == (0.5, 0.5, 0.5)
    assert (cat.precision, cat.recall, cat.f1) == (0.5, 1.0, pytest.approx(2 / 3))


def test_a_class_never_predicted_has_precision_zero():
    bee = metrics_of(THREE, [0, 1, 2], [0, 0, 2]).precision_recall[1]
    assert (bee.precision, bee.recall, bee.f1) == (0.0, 0.0, 0.0)


def test_a_class_without_images_has_no_recall_and_no_part_in_the_means():
    metrics = metrics_of(("ant", "bee", "cat", "dog"), [0, 0, 1, 1], [0, 2, 1, 1])
    cat, dog = metrics.precision_recall[2:]
    assert (cat.precision, cat.f1, cat.support, cat.predicted) == (0.0, 0.0, 0, 1)
    assert math.isnan(cat.recall)
    assert all(map(math.isnan, (dog.precision, dog.recall, dog.f1)))
    assert metrics.macro_recall == 0.75
    assert metrics.macro_precision == 1.0
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_log_loss_is_the_mean_of_minus_the_log_of_the_true_probability():
    metrics = metrics_of(("a", "b"), [0, 1], [0, 0], sure=0.75)
    assert metrics.log_loss == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


def test_the_calibration_error_is_told_everywhere_and_may_be_unknown():
    table = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]
    metrics = ClassifierMetrics.from_probabilities(["a", "b"], [0, 1, 0], table)
    assert metrics.expected_calibration_error == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert metrics.to_dict()["expected_calibration_error"] == pytest.approx(1.3 / 3)
    assert "calibration error 43.3 %" in str(metrics)
    assert "calibration error" in metrics._repr_html_()
    assert ClassifierMetrics.from_dict(json.loads(metrics.to_json())) == metrics
    older = metrics.to_dict()
    del older["expected_calibration_error"]
    unknown = ClassifierMetrics.from_dict(older)
    assert math.isnan(unknown.expected_calibration_error)
    assert json.loads(unknown.to_json())["expected_calibration_error"] is None
    assert "calibration" not in str(unknown) + unknown._repr_html_()


def test_log_loss_counts_an_impossible_truth_as_the_smallest_step_of_float64():
    metrics = metrics_of(("a", "b"), [1], [0], sure=1.0)
    assert metrics.log_loss == pytest.approx(-math.log(2.0**-52))
    assert metrics.log_loss == pytest.approx(36.04, abs=0.005)


def test_top_k_accuracy_counts_the_true_class_among_the_k_most_probable():
    table = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    metrics = ClassifierMetrics.from_probabilities(THREE, [0, 1, 2, 2], table)
    assert [metrics.top_k_accuracy(k) for k in (1, 2, 3, 99)] == [0.5, 0.75, 1.0, 1.0]
    assert metrics.top_k_accuracy(1) == metrics.accuracy
    assert metrics.rank_counts.tolist() == [2, 1, 1]


def test_equally_probable_classes_come_in_the_order_of_the_classes():
    table = np.full((3, 3), 1 / 3)
    metrics = ClassifierMetrics.from_probabilities(THREE, [0, 1, 2], table)
    assert metrics.rank_counts.tolist() == [1, 1, 1]
    assert metrics.confusion[:, 0].tolist() == [1, 1, 1]
    assert metrics.n_correct == metrics.confusion.trace()


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1"])
def test_a_k_that_is_no_count_is_refused(k):
    with pytest.raises(InvalidOption, match="k is"):
        metrics_of(THREE, [0], [0]).top_k_accuracy(k)


def test_the_most_confused_pairs_come_first_and_ties_in_order():
    metrics = metrics_of(THREE, [0, 0, 0, 0, 1, 1, 2], [1, 1, 2, 0, 0, 0, 2])
    pairs = [(m.true, m.predicted, m.count, m.share) for m in metrics.most_confused()]
    assert pairs == [("ant", "bee", 2, 0.5), ("bee", "ant", 2, 1.0), ("ant", "cat", 1, 0.25)]
    assert len(metrics.most_confused(1)) == 1
    assert metrics.most_confused(0) == ()
    assert metrics_of(THREE, [0], [0]).most_confused() == ()


def test_skipped_images_are_listed_and_not_counted():
    metrics = metrics_of(THREE, [0, 1], [0, 1], skipped=SKIPPED)
    assert metrics.skipped == SKIPPED
    assert metrics.n_images == 2


def test_many_rows_are_counted_as_few_are():
    targets = np.arange(10_000) % 3
    metrics = metrics_of(THREE, targets, (targets + (targets == 2)) % 3)
    assert metrics.confusion.tolist() == [[3334, 0, 0], [0, 3333, 0], [3333, 0, 0]]


def test_metrics_cannot_be_changed():
    metrics = metrics_of(THREE, [0], [0])
    with pytest.raises(AttributeError):
        metrics.log_loss = 0.0
    with pytest.raises(ValueError, match="read-only"):
        metrics.confusion[0, 0] = 9


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"targets": [0.0, 1.0]}, "targets must be whole numbers"),
        ({"targets": [[0], [1]]}, "targets must be whole numbers"),
        ({"targets": [0, 3]}, "targets must be from 0 to 2"),
        ({"targets": [0, -1]}, "targets must be from 0 to 2"),
        ({"targets": [0]}, r"probabilities must be floats of shape \(1, 3\)"),
        ({"classes": ("a", "b")}, r"floats of shape \(2, 2\), is float64 of shape \(2, 3\)"),
        ({"classes": ("a", "b", "a")}, "same label twice"),
        ({"probabilities": [[1, 0, 0], [0, 1, 0]]}, "must be floats"),
        ({"probabilities": [[1.0, 0, 0], [0.5, 0.6, 0]]}, r"row 1 .* add up to 1\.1"),
        ({"probabilities": [[1.0, 0, 0], [1.5, -0.5, 0]]}, "row 1 .* the least is -0.5"),
        ({"probabilities": [[np.nan, 0, 0], [0, 1.0, 0]]}, "row 0 .* nan"),
    ],
)
def test_what_does_not_fit_is_refused(changes, match):
    given = {
        "classes": THREE,
        "targets": [0, 1],
        "probabilities": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]],
    }
    with pytest.raises(InvalidOption, match=match):
        ClassifierMetrics.from_probabilities(**(given | changes))


def test_no_image_is_an_error_that_says_why():
    nothing = {"classes": THREE, "targets": [], "probabilities": np.zeros((0, 3))}
    with pytest.raises(DataError, match=r"no image to evaluate$"):
        ClassifierMetrics.from_probabilities(**nothing)
    with pytest.raises(DataError, match=r"1 could not be read, such as photos/cat/x\.jpg: no end"):
        ClassifierMetrics.from_probabilities(**nothing, skipped=SKIPPED)


# ---------------------------------------------------------------- kept and shown


def test_json_brings_back_equal_metrics():
    metrics = metrics_of(("ant", "bee", "東京"), [0, 0, 1], [0, 1, 1], skipped=SKIPPED)
    text = metrics.to_json()
    assert "東京" in text
    twin = ClassifierMetrics.from_dict(json.loads(text))
    assert twin == metrics
    assert twin.skipped == SKIPPED
    assert twin != metrics_of(("ant", "bee", "東京"), [0, 0, 1], [0, 1, 1])
    assert twin != "something else"
    assert pickle.loads(pickle.dumps(metrics)) == metrics


def test_a_skipped_file_whose_name_is_not_utf8_can_be_written_and_read(tmp_path):
    error = ImageError(index=0, source=os.fsdecode(b"caf\xe9.jpg"), code="io", message="gone")
    metrics = metrics_of(THREE, [0], [0], skipped=[error])
    (tmp_path / "m.json").write_text(metrics.to_json(), encoding="utf-8")
    values = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert ClassifierMetrics.from_dict(values) == metrics
    assert str(metrics).encode().endswith(rb"caf\udce9.jpg  gone")
    assert rb"caf\udce9.jpg" in metrics._repr_html_().encode()


def test_json_is_strict_and_holds_the_numbers_people_ask_for():
    values = json.loads(
        metrics_of(THREE, [0, 0, 1], [0, 1, 1], skipped=SKIPPED).to_json(indent=2),
        parse_constant=pytest.fail,
    )
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["classification_error"] == pytest.approx(1 / 3)
    assert values["top_k_accuracy"] == {"1": pytest.approx(2 / 3), "2": 1.0}
    assert values["precision_recall"][2] == {
        "label": "cat",
        "precision": None,
        "recall": None,
        "f1": None,
        "support": 0,
        "predicted": 0,
    }
    assert values["skipped"][0]["code"] == "corrupt_image"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda values: values.pop("confusion"), "no entry 'confusion'"),
        (lambda values: values.update(confusion=[[1, 2]]), "does not fit|must be"),
        (lambda values: values.update(rank_counts=[1, 1, 0]), "counts other images"),
        (lambda values: values.update(rank_counts=[4, -1, 0]), "must be"),
        (lambda values: values.update(skipped=[{"index": 1}]), "does not fit"),
    ],
)
def test_a_damaged_record_is_refused(change, match):
    values = metrics_of(THREE, [0, 0, 1], [0, 1, 1]).to_dict()
    change(values)
    with pytest.raises(InvalidOption, match=match):
        ClassifierMetrics.from_dict(values)


def test_frames_have_the_labels_on_both_sides():
    pytest.importorskip("pandas")
    metrics = metrics_of(THREE, [0, 0, 1], [0, 1, 1])
    frame = metrics.confusion_frame()
    assert frame.loc["ant", "bee"] == 1
    assert (frame.index.name, frame.columns.name) == ("true", "predicted")
    table = metrics.precision_recall_frame()
    assert list(table.index) == list(THREE)
    assert list(table.columns) == ["precision", "recall", "f1", "support", "predicted"]
    assert table.loc["ant", "recall"] == 0.5


def test_without_pandas_the_frames_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        metrics_of(THREE, [0], [0]).confusion_frame()


LONG = "a label that goes on and on and on until nobody can read it any longer, but ends"


@pytest.mark.parametrize(
    "classes",
    [
        ("ant", "bee"),
        tuple(f"class {i}" for i in range(12)),
        tuple(f"{LONG} {i}" for i in range(13)),
        tuple(f"class number {i}" for i in range(100)),
        ("東京" * 30, "Café", "<b>&amp;</b>", LONG, "new\nline", unicodedata.normalize("NFD", "é")),
    ],
)
def test_the_text_fits_eighty_columns_and_lines_up(classes):
    skipped = [
        ImageError(index=i, source=f"a/{LONG}/{i}.jpg", code="io", message=LONG) for i in range(9)
    ]
    metrics, *_ = random_metrics(classes, 20_000, skipped=skipped)
    lines = str(metrics).split("\n")
    assert max(map(display_width, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("class "))
    table = lines[start : start + 1 + min(len(classes), 30)]
    assert len({display_width(line) for line in table}) == 1
    assert "… and 4 more" in lines[-1]


def test_the_text_of_a_small_evaluation():
    metrics = metrics_of(THREE, [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], skipped=SKIPPED)
    assert str(metrics) == (
        "5 images, 3 classes, 1 skipped\n"
        "accuracy 80.0 %  classification error 20.0 %\n"
        "log-loss 0.6834  calibration error 10.0 %\n"
        "macro precision 83.3 %  macro recall 83.3 %  macro F1 80.0 %\n"
        "\n"
        "class  images  predicted  precision   recall      F1\n"
        "ant         3          2    100.0 %   66.7 %  80.0 %\n"
        "bee         2          3     66.7 %  100.0 %  80.0 %\n"
        "cat         0          0        n/a      n/a     n/a\n"
        "\n"
        "confusion (true classes down, predicted ones across)\n"
        "       1  2  3\n"
        "1 ant  2  1  ·\n"
        "2 bee  ·  2  ·\n"
        "3 cat  ·  ·  ·\n"
        "\n"
        "skipped image     why\n"
        "photos/cat/x.jpg  no end marker"
    )


def test_the_weakest_of_many_classes_are_shown():
    classes = tuple(f"class {i:03}" for i in range(100))
    targets = np.repeat(np.arange(100), 2)
    predicted = targets.copy()
    predicted[-2:] = 0
    lines = str(metrics_of(classes, targets, predicted)).split("\n")
    assert lines[6].split() == ["class", "099", "2", "0", "0.0", "%", "0.0", "%", "0.0", "%"]
    assert "… and 70 classes more, none with a lower F1" in lines
    assert "most frequent mistakes" in lines


def test_repr_is_one_line():
    metrics = metrics_of(THREE, [0, 1], [0, 0], skipped=SKIPPED)
    assert repr(metrics) == (
        "<ClassifierMetrics: accuracy 50.0 % on 2 images of 3 classes, 1 skipped>"
    )


class Reader(HTMLParser):
    """Checks that tags are balanced, and keeps the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        assert tag not in {"script", "img", "link", "iframe"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("n_classes", [2, 7, 41])
def test_the_html_is_balanced_escaped_and_needs_nothing_from_outside(n_classes):
    classes = ("<script>alert('x')</script>", 'quote " & more', *map(str, range(2, n_classes)))
    metrics, *_ = random_metrics(classes, skipped=SKIPPED)
    page = metrics._repr_html_()
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    text = "".join(reader.text)
    assert "<script>alert('x')</script>" in text
    assert 'quote " & more' in text
    assert "no end marker" in text
    assert not re.search(r"https?://|url\(|@import", page)
    assert ("Confusion" in text) == (n_classes <= 40)


def test_the_html_sets_no_colour_of_text_or_page():
    page = random_metrics(THREE)[0]._repr_html_()
    colours = set(re.findall(r"(?:^|[;{ ])((?:background|color): [^;}]+)", page))
    fixed = {c for c in colours if not re.search(r"inherit|transparent|rgba\(60, 130, 246", c)}
    assert fixed == set()


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("short", 10, "short"),
        ("exactly ten", 11, "exactly ten"),
        ("a longer label", 10, "a long…bel"),
        ("東京タワー", 7, "東京…ー"),
        ("tab\there", 20, "tab\\there"),
        ("family 👨\u200d👩\u200d👧", 40, "family 👨\u200d👩\u200d👧"),
    ],
)
def test_long_labels_keep_their_ends(text, columns, shown):
    assert shorten(text, columns) == shown
    assert display_width(shown) <= columns


def test_a_text_table_shares_the_room_between_its_labels():
    table = text_table(
        ["true", "predicted", "n"], [["x" * 99, "y", "1"], ["z", "w" * 99, "2"]], left=2, columns=40
    )
    assert [display_width(line) for line in table.split("\n")] == [40, 40, 40]


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize(
    ("n_classes", "n_images", "skill"), [(2, 300, 1), (7, 900, 2), (40, 70, 0)]
)
def test_the_numbers_agree_with_scikit_learn(n_classes, n_images, skill):
    sk = pytest.importorskip("sklearn.metrics")
    labels = np.arange(n_classes)
    metrics, targets, table = random_metrics(
        tuple(map(str, labels)), n_images, seed=n_classes, skill=skill
    )
    predicted = table.argmax(axis=1)
    assert np.array_equal(metrics.confusion, sk.confusion_matrix(targets, predicted, labels=labels))
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(targets, predicted), abs=1e-15)
    assert metrics.log_loss == pytest.approx(sk.log_loss(targets, table, labels=labels), rel=1e-12)
    if n_classes > 2:
        for k in (1, 2, 5):
            theirs = sk.top_k_accuracy_score(targets, table, k=k, labels=labels)
            assert metrics.top_k_accuracy(k) == pytest.approx(theirs, abs=1e-15)
    present = np.unique(targets)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=present, zero_division=0
    )
    rows = [metrics.precision_recall[i] for i in present]
    assert np.allclose([row.precision for row in rows], precision, rtol=0, atol=1e-15)
    assert np.allclose([row.recall for row in rows], recall, rtol=0, atol=1e-15)
    assert np.allclose([row.f1 for row in rows], f1, rtol=0, atol=1e-15)
    assert [row.support for row in rows] == support.tolist()
    assert metrics.macro_f1 == pytest.approx(f1.mean(), abs=1e-14)
    assert metrics.macro_precision == pytest.approx(precision.mean(), abs=1e-14)
    assert metrics.macro_recall == pytest.approx(recall.mean(), abs=1e-14)
