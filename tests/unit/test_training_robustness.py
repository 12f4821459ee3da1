"""The training recipe's measure of what disturbs a network."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import eyespot
from eyespot.options import AUGMENTATION_OPTIONS
from training import robustness
from training.probe import embed

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a set of two labels: light and broadly patterned, dark and finely patterned."""
    root = tmp_path_factory.mktemp("sets") / "patterns"
    random = np.random.default_rng(0)
    for side, count in (("train", 6), ("test", 3)):
        for label, cells, low in (("broad", 4, 128), ("fine", 40, 0)):
            folder = root / side / label
            folder.mkdir(parents=True)
            for number in range(count):
                small = random.integers(low, low + 128, (cells, cells, 3), np.uint8)
                Image.fromarray(small).resize((160, 160)).save(folder / f"{number}.png")
    return root


def test_the_command_measures_each_augmentation_and_each_size(photos, tmp_path, capsys):
    words = ["default", "--photos", str(photos), "--sizes", "0.5", "--threads", "1"]
    assert robustness.main([*words, "--csv", str(tmp_path / "found.csv")]) == 0
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = {row["change"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["as they are", *AUGMENTATION_OPTIONS, "96 px"]
    # The sets are told apart by brightness as well: only a change of that may mislead.
    assert all(float(row["patterns"]) > 60 for row in rows.values())
    assert rows["as they are"]["mean"] == rows["as they are"]["patterns"] == "100.00"
    assert capsys.readouterr().out.count("change=") == len(rows)


def test_the_augmentation_reaches_the_network(photos, monkeypatch):
    """Test photos turned black cannot be told apart."""
    extractor = eyespot.FeatureExtractor.default()
    rows = embed(extractor, photos, n_threads=1)
    monkeypatch.setattr(robustness, "AUGMENTATION_OPTIONS", ("exposure",))
    dark = eyespot.augmentation.Exposure(stops=(-16, -16))
    plan = eyespot.augmentation.Augmentation(exposure=dark, copies_per_image=1)
    monkeypatch.setattr(robustness.Augmentation, "of", lambda *_, **__: plan)
    found = robustness.disturbed(extractor, photos, rows, n_threads=1)
    assert found == {"as they are": 100.0, "exposure": 50.0}


def test_a_network_of_its_own_size_is_the_same_network(photos):
    extractor = eyespot.FeatureExtractor.default()
    same, side = robustness.at_size(extractor, 1.0)
    assert side == extractor.preprocessing.width
    paths = sorted((photos / "test" / "fine").iterdir())
    wanted = extractor.extract(paths, n_threads=1).embeddings
    assert np.array_equal(same.extract(paths, n_threads=1).embeddings, wanted)
    smaller, side = robustness.at_size(extractor, 0.75)
    found = smaller.extract(paths, n_threads=1).embeddings
    assert (smaller.preprocessing.width, smaller.preprocessing.height) == (side, side)
    assert found.shape == wanted.shape
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.5
    assert not np.allclose(found, wanted)


def test_a_set_without_a_split_is_refused(photos):
    extractor = eyespot.FeatureExtractor.default()
    rows = embed(extractor, photos / "train", n_threads=1)
    with pytest.raises(ValueError, match="has no train and test"):
        robustness.disturbed(extractor, photos / "train", rows)
