"""A review finds what was planted, says what it could not look at, and changes nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import urllib.parse

import numpy as np
import pytest
from typer.testing import CliRunner

from eyespot import (
    Cancelled,
    CancelToken,
    DataError,
    DataSource,
    DecodeError,
    FeatureStore,
    InvalidOption,
    SkippedImagesWarning,
    pages,
    review,
)
from eyespot.cli import app
from eyespot.progress import Phase, ProgressReporter
from eyespot.reviewing.labels import doubts_of
from eyespot.reviewing.likeness import N_NEIGHBOURS, compare, upper_fence
from photos import png

RUN = CliRunner()
LABELS = ("dots", "grid", "stripes")
UNWEIGHED = "labels were not weighed: that takes ten images, and two labels"
HOSTILE = "a <b>&\"'# %41.png"


def picture(label, number, *, side=96):
    """Return dots, a grid or stripes, in colours, sizes and directions of their own."""
    random = np.random.default_rng([number, *label.encode()])
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    ground, ink = random.integers(0, 256, (2, 3))
    turn = random.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if label == "stripes":
        shape = np.sin(u * random.uniform(0.15, 0.9)) > random.uniform(-0.6, 0.6)
    elif label == "grid":
        period = random.uniform(6, 22)
        width = period * random.uniform(0.15, 0.5)
        shape = (u % period < width) | (v % period < width)
    else:
        shape = np.zeros((side, side), bool)
        for left, top, radius in random.uniform((0, 0, 4), (side, side, 18), (8, 3)):
            shape |= (x - left) ** 2 + (y - top) ** 2 < radius**2
    noise = random.normal(0, random.uniform(0, 20), (side, side, 3))
    return np.clip(np.where(shape[..., None], ink, ground) + noise, 0, 255).astype(np.uint8)


def photo_folder(root, counts):
    for label, count in counts.items():
        (root / label).mkdir()
        for number in range(count):
            (root / label / f"{label}_{number:03}.png").write_bytes(png(picture(label, number)))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four pictures of each label, with something wrong in each way."""
    root = photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 24))
    for number in (900, 901):
        (root / "stripes" / f"wrong_{number}.png").write_bytes(png(picture("dots", number)))
    shutil.copy(root / "grid" / "grid_003.png", root / "grid" / "twin.png")
    shutil.copy(root / "dots" / "dots_004.png", root / "grid" / "conflict.png")
    fine = np.indices((90, 90)).sum(axis=0)[..., None] // 2 % 2 * [255, 255, 255]
    (root / "grid" / HOSTILE).write_bytes(png(fine.astype(np.uint8)))
    (root / "dots" / "broken.png").write_bytes(png(picture("dots", 1))[:200])
    return root


@pytest.fixture(scope="module")
def found(folder):
    with pytest.warns(SkippedImagesWarning, match=r"broken\.png"):
        return review(DataSource.labeled_directories(folder))


def names(paths):
    return [path.name for path in paths]


def test_planted_faults_are_found(found, folder):
    issues = {one.path.name: one for one in found.label_issues}
    assert {"wrong_900.png", "wrong_901.png", "conflict.png"} <= set(issues)
    assert len(issues) < 10
    for name in ("wrong_900.png", "wrong_901.png"):
        one = issues[name]
        assert (one.label, one.suggested) == ("stripes", "dots")
        assert one.suggested_probability > one.label_probability
    first = found.look_alikes[0]
    assert names(first.paths) == ["dots_004.png", "conflict.png"]
    assert (first.labels, first.identical, first.conflicting) == (("dots", "grid"), True, True)
    assert first.similarity == pytest.approx(1)
    twins = next(one for one in found.look_alikes if "twin.png" in names(one.paths))
    assert "grid_003.png" in names(twins.paths)
    assert found.outliers[0].path.name == HOSTILE
    assert found.outliers[0].distance > found.outlier_distance
    assert [error.source for error in found.skipped] == [str(folder / "dots" / "broken.png")]
    assert found.n_images == 3 * 24 + 2 + 2 + 1
    assert found.metrics.n_images == found.n_images
    assert found.notes == ()


def test_clean_photos_raise_few_doubts(tmp_path):
    root = photo_folder(tmp_path, dict.fromkeys(LABELS, 20))
    found = review(DataSource.labeled_directories(root))
    assert len(found.label_issues) <= 2
    assert not any(group.conflicting or group.identical for group in found.look_alikes)
    assert found.metrics.accuracy > 0.8


@pytest.mark.filterwarnings("ignore::eyespot.SkippedImagesWarning")
def test_threads_and_a_store_change_nothing(found, folder, tmp_path):
    data = DataSource.labeled_directories(folder)
    store = FeatureStore(tmp_path / "store")
    for n_threads in (1, 2):
        assert review(data, n_threads=n_threads, store=store).to_dict() == found.to_dict()


def test_photos_are_only_looked_at(folder):
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    with pytest.warns(SkippedImagesWarning):
        review(DataSource.labeled_directories(folder))
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before


def test_unreadable_images_can_be_an_error(folder):
    with pytest.raises(DecodeError, match=r"broken\.png"):
        review(DataSource.labeled_directories(folder), on_error="raise")


def test_nothing_readable_is_an_error(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(b"no picture")
    data = DataSource.labeled_directories(tmp_path)
    with pytest.raises(DataError, match=r"none of the 2 images could be read; the first: .*x\.png"):
        review(data)


def test_a_cancelled_review_ends(folder):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        review(DataSource.labeled_directories(folder), cancel=token)


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ({"dots": 20}, "labels were not weighed: that takes ten images, and two labels"),
        (
            {"dots": 2, "stripes": 3},
            "labels were not weighed: that takes ten images, and two labels",
        ),
        ({"dots": 20, "grid": 1, "stripes": 20}, "not weighed: 'grid', with one image only"),
    ],
)
def test_what_cannot_be_weighed_is_told(tmp_path, counts, note):
    found = review(DataSource.labeled_directories(photo_folder(tmp_path, counts)))
    assert found.notes == (note,)
    assert note in str(found)
    assert found.n_images == sum(counts.values())
    assert (found.metrics is None) == note.startswith("labels")


def test_one_image_has_no_neighbour(tmp_path):
    found = review(DataSource.labeled_directories(photo_folder(tmp_path, {"dots": 1})))
    assert (found.look_alikes, found.outliers) == ((), ())


def test_several_labels_an_image(tmp_path):
    photo_folder(tmp_path, {"dots": 12, "grid": 12})
    shutil.copy(tmp_path / "dots" / "dots_001.png", tmp_path / "grid")
    photo = (tmp_path / "dots" / "dots_002.png").read_bytes()
    (tmp_path / "grid" / "again.png").write_bytes(photo + b"x")  # same pixels, another file
    found = review(DataSource.labeled_directories(tmp_path, multi_label=True))
    assert "may bear several" in found.notes[0]
    assert names(found.look_alikes[0].paths) == ["dots_002.png", "again.png"]
    assert found.look_alikes[0].labels == ("dots", "grid")
    assert found.n_images == 25


def test_odds_rank_and_the_confident_joint_counts():
    p = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.8, 0.1, 0.1],
            [0.1, 0.9, 0.0],  # labelled 0: counts for 1
            [0.4, 0.6, 0.0],  # labelled 0: below the mean of 1, so it counts for none
            [0.1, 0.9, 0.0],
            [0.3, 0.7, 0.0],
        ],
        np.float32,
    )
    doubts = doubts_of(np.log(np.maximum(p, 1e-30)), np.array([0, 0, 0, 0, 1, 1]))
    assert doubts.issues.tolist() == [2]
    assert doubts.suggested.tolist() == [1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(doubts.odds[2:4], np.log([9, 1.5]), rtol=1e-5)
    # A class without rows has no mean to be above, and is nobody's count.
    assert (
        doubts_of(np.log(np.full((4, 3), 1 / 3, np.float32)), np.array([0, 0, 1, 1])).issues.size
        == 0
    )


@pytest.mark.parametrize("n", [1, 2, 5, 1100])
def test_comparison_in_blocks_is_that_of_all_at_once(n):
    random = np.random.default_rng(n)
    x = random.random((n, 24), np.float32)
    for copy, original in ((700, 3), (1050, 700), (1, 0)):
        if copy < n:
            x[copy] = 2 * x[original]
    told = []
    reporter = ProgressReporter(told.append, Phase.EVALUATING, n)
    found = compare(x, 0.9999, reporter)
    cosines = x.astype(np.float64) @ x.T.astype(np.float64)
    lengths = np.sqrt(np.diag(cosines))
    cosines /= np.outer(lengths, lengths)
    np.fill_diagonal(cosines, -2)
    k = min(N_NEIGHBOURS, n - 1)
    expected = 1 - np.sort(cosines, axis=1)[:, n - k :].mean(axis=1) if k else np.zeros(n)
    np.testing.assert_allclose(found.distance, expected, atol=1e-5)
    groups = np.arange(n)
    for copy, original in ((1, 0), (700, 3), (1050, 3)):
        if copy < n:
            groups[copy] = original
    np.testing.assert_array_equal(found.group, groups)
    assert (told[0].done, told[-1].done) == (0, n)


def test_fence_is_tukeys():
    assert upper_fence(np.array([0.0, 1, 2, 3, 4])) == 3 + 1.5 * 2


def test_rows_and_table(found, tmp_path):
    found.save(tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [row["path"] for row in found.rows()]
    kinds = [row["finding"] for row in rows]
    assert list(dict.fromkeys(kinds)) == ["label_issue", "look_alike", "outlier", "unreadable"]
    twins = [row["group"] for row in rows if row["path"].endswith(("conflict.png", "dots_004.png"))]
    assert twins.count("1") == 2
    pytest.importorskip("pandas")
    assert found.to_frame()["path"].tolist() == [row["path"] for row in rows]


def test_json(found, tmp_path):
    found.save(tmp_path / "review.json")
    values = json.loads((tmp_path / "review.json").read_text())
    assert values == json.loads(found.to_json()) == found.to_dict()
    assert values["look_alikes"][0]["conflicting"] is True


def test_page_holds_the_photos_and_links_to_them(found, folder, tmp_path):
    page = tmp_path / "pages" / "review.html"
    page.parent.mkdir()
    found.save(page)
    text = page.read_text()
    shown = (
        len(found.label_issues)
        + len(found.outliers)
        + sum(len(group.paths) for group in found.look_alikes)
    )
    assert text.count("data:image/jpeg;base64,") == shown
    assert "<b>&\"'" not in text
    links = {urllib.parse.unquote(link) for link in re.findall(r'href="([^"]+)"', text)}
    assert all((page.parent / link).resolve().is_file() for link in links)
    assert str(folder / "grid" / HOSTILE) in {str((page.parent / link).resolve()) for link in links}
    assert "broken.png" in text


def test_other_endings_and_no_pillow_are_refused_before_the_work(found, tmp_path, monkeypatch):
    with pytest.raises(InvalidOption, match=r"saved as \.html, \.csv or \.json"):
        found.save(tmp_path / "review.txt")
    monkeypatch.setattr(pages, "find_spec", lambda _: None)
    with pytest.raises(InvalidOption, match=r'pip install "eyespot\[formats\]"'):
        found.save(tmp_path / "review.html")
    assert list(tmp_path.iterdir()) == []


def test_text_is_short_and_whole(found):
    text = str(found)
    assert text.startswith(f"77 images, 3 classes: {len(found.label_issues)} label issues, ")
    assert "stripes/wrong_900.png" in text
    assert "identical" in text
    assert max(map(len, text.splitlines())) <= 100
    assert repr(found).startswith("<DataReview of 77 images: ")


def test_command(folder, tmp_path):
    output = tmp_path / "review.html"
    told = RUN.invoke(app, ["review", str(folder), "-o", str(output), "-q"])
    assert told.exit_code == 0, told.output
    assert "stripes/wrong_900.png" in told.stdout
    assert f"Saved {output}" in told.stdout
    assert output.is_file()
    told = RUN.invoke(app, ["review", str(folder), "--json", "-q"])
    assert len(json.loads(told.stdout)["skipped"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "review.pdf"], 2, "saved as .html, .csv or .json"),
        (["-o", "nowhere/review.html"], 2, "does not exist"),
        (["--on-error", "raise"], 1, "broken.png"),
        (["--label-separator", ";"], 2, "--multi-label"),
    ],
)
def test_command_refuses(folder, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    told = RUN.invoke(app, ["review", str(folder), "-q", *arguments])
    assert told.exit_code == code
    assert message in told.stderr
