"""The sample photos of the demo, cut from stand-ins of scikit-image's photographs."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from eyespot import samples
from eyespot.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="crops are cut with Pillow")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Put black and white photographs in place of scikit-image's: white from 60 % of the width."""
    folder = tmp_path / "skimage" / "data"
    folder.mkdir(parents=True)
    photo = np.zeros((300, 400), np.uint8)
    photo[:, 240:] = 255
    for names in samples._LABELS.values():
        for name in names:
            Image.fromarray(photo).save(folder / name)
    (folder.parent / "__init__.py").write_text("raise ImportError('it is not to be imported')")
    spec = importlib.util.spec_from_file_location(
        "skimage", folder.parent / "__init__.py", submodule_search_locations=[str(folder.parent)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return folder


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.usefixtures("photographs")
def test_each_label_has_its_folder_and_as_many_images_as_asked(tmp_path):
    train, test = samples.build_sample_photos(tmp_path / "out", n_train=3, n_test=2)
    for folder, count in ((train, 3), (test, 2)):
        found = {path.name: len(list(path.glob("*.jpg"))) for path in folder.iterdir()}
        assert found == dict.fromkeys(samples._LABELS, count)


@pytest.mark.usefixtures("photographs")
def test_no_training_image_shows_what_a_test_image_shows(tmp_path):
    train, test = samples.build_sample_photos(tmp_path / "out", n_train=10, n_test=10)
    darkest_test = min(pixels(p).min() for p in test.rglob("*.jpg"))
    brightest_train = max(pixels(p).max() for p in train.rglob("*.jpg"))
    assert brightest_train < 5
    assert darkest_test > 150


@pytest.mark.usefixtures("photographs")
def test_the_same_seed_gives_the_same_files_and_another_gives_others(tmp_path):
    def contents(name, **options):
        train, _ = samples.build_sample_photos(tmp_path / name, n_train=5, n_test=1, **options)
        return [p.read_bytes() for p in sorted(train.rglob("*.jpg"))]

    assert contents("a") == contents("b")
    assert contents("a") != contents("c", seed=1)


def test_without_scikit_image_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"is not installed.*eyespot\[demo\]") as caught:
        samples.build_sample_photos(tmp_path)
    assert caught.value.source == "skimage"


def test_a_scikit_image_without_the_photographs_is_told_apart(photographs, tmp_path):
    (photographs / "moon.png").unlink()
    with pytest.raises(DataError, match="has no such photographs"):
        samples.build_sample_photos(tmp_path / "out")
