"""Holding images out: how many, which, and never the same image on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eyespot.data import DataSource
from eyespot.errors import InvalidOption
from eyespot.options import SplitStrategy

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, *names: str, content: bytes | None = None) -> Path:
    """Write files whose content is their name, so that each differs; return the root."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)
    return root


def source_of(tmp_path, **counts):
    put(tmp_path, *(f"{label}/{i}.jpg" for label, n in counts.items() for i in range(n)))
    return DataSource.labeled_directories(tmp_path)


def test_fewer_than_fifty_images_are_not_split(tmp_path):
    split = source_of(tmp_path, cat=25, dog=24).split(SplitStrategy.automatic())
    assert split.validation is None
    assert len(split.train) == 49
    assert split.notes == ("no validation set: 49 images, and it takes 50 to hold some out",)
    assert repr(split) == "<Split: 49 to train on, 0 held out>"


def test_the_automatic_split_is_stratified(tmp_path):
    split = source_of(tmp_path, cat=60, dog=30, owl=10).split(SplitStrategy.automatic())
    assert split.validation.counts() == {"cat": 6, "dog": 3, "owl": 1}
    assert split.train.counts() == {"cat": 54, "dog": 27, "owl": 9}
    assert split.notes == ()
    assert split.conflicts == ()
    assert not set(split.train.paths) & set(split.validation.paths)


def test_the_seed_changes_the_split_and_nothing_else_does(tmp_path):
    source = source_of(tmp_path, cat=60, dog=60)
    held = source.split(SplitStrategy.fixed(0.25, seed=1)).validation.paths
    assert source.split(SplitStrategy.fixed(0.25, seed=1)).validation.paths == held
    assert source.split(SplitStrategy.fixed(0.25, seed=2)).validation.paths != held


def test_the_split_does_not_depend_on_names_order_or_place(tmp_path):
    rng = np.random.default_rng(0)
    contents = {label: [rng.bytes(50) for _ in range(40)] for label in ("cat", "dog")}

    def held_out(root, names):
        for label, images in contents.items():
            for name, content in zip(names, images, strict=True):
                put(root, f"{label}/{name}", content=content)
        source = DataSource.labeled_directories(root)
        validation = source.split(SplitStrategy.fixed(0.3, seed=7)).validation
        return sorted(path.read_bytes() for path in validation.paths)

    plain = held_out(tmp_path / "here", [f"{i:03}.jpg" for i in range(40)])
    other = held_out(tmp_path / "over" / "there", [f"x{997 * i % 40}" for i in range(40)])
    assert plain == other


def test_identical_files_stay_on_one_side(tmp_path):
    for i in range(30):
        put(tmp_path, f"cat/{i}a.jpg", f"cat/{i}b.jpg", content=b"cat%d" % i)
        put(tmp_path, f"dog/{i}a.jpg", f"dog/{i}b.jpg", content=b"dog%d" % i)
    source = DataSource.labeled_directories(tmp_path)
    split = source.split(SplitStrategy.fixed(0.3))
    assert split.train.shared_with(split.validation) == ()
    assert split.validation.counts() == {"cat": 18, "dog": 18}
    assert len(source.duplicates()) == 60
    assert split.conflicts == ()


def test_identical_files_of_several_labels_stay_in_training_and_are_told(tmp_path):
    source = source_of(tmp_path, cat=20, dog=20)
    for i in range(5):
        put(tmp_path, f"cat/same{i}.jpg", f"dog/same{i}.jpg", content=b"same%d" % i)
    source = DataSource.labeled_directories(tmp_path)
    split = source.split(SplitStrategy.fixed(0.5))
    assert len(split.conflicts) == 5
    assert set(split.conflicts[0].labels) == {"cat", "dog"}
    assert not any(path.name.startswith("same") for path in split.validation.paths)
    assert len(split.validation) == 25
    assert split.notes[0].startswith("5 images go by several labels (byte-identical files)")


def test_the_last_image_of_a_class_is_never_held_out(tmp_path):
    source = source_of(tmp_path, cat=1, dog=2, owl=50)
    split = source.split(SplitStrategy.fixed(1.0))
    assert split.train.counts() == {"cat": 1, "dog": 1, "owl": 1}
    assert split.notes == (
        "1 class has no image in the validation set: cat",
        "the validation set leaves one image to train on of 2 classes: dog, owl; hold out less",
    )


def test_a_class_of_one_content_is_never_held_out(tmp_path):
    source = source_of(tmp_path, cat=10)
    put(tmp_path, *(f"dog/{i}.jpg" for i in range(10)), content=b"the same")
    source = DataSource.labeled_directories(tmp_path)
    assert source.split(SplitStrategy.fixed(0.5)).train.counts()["dog"] == 10
    assert len(source.split(SplitStrategy.fixed(0.4)).validation) == 8


def test_nothing_to_spare_is_told(tmp_path):
    split = source_of(tmp_path, cat=1, dog=1).split(SplitStrategy.fixed(0.5))
    assert split.validation is None
    assert split.notes == ("no validation set: no class has an image to spare",)


def test_a_ratio_of_zero_holds_nothing_out_without_a_word(tmp_path):
    split = source_of(tmp_path, cat=5, dog=5).split(SplitStrategy.fixed(0))
    assert split.validation is None
    assert split.notes == ()


def test_a_split_that_leaves_single_images_to_train_on_is_told(tmp_path):
    source = source_of(tmp_path, cat=5, dog=5)
    (note,) = source.split(SplitStrategy.fixed(1.0)).notes
    assert "leaves one image to train on of 2 classes: cat, dog" in note
    assert source.split(SplitStrategy.fixed(0.5)).notes == ()


def test_unreadable_files_stay_in_training_where_they_are_reported(tmp_path):
    source = source_of(tmp_path, cat=30, dog=30)
    gone = [source.paths[3], source.paths[40]]
    for path in gone:
        path.unlink()
    split = source.split(SplitStrategy.fixed(0.5))
    assert set(gone) <= set(split.train.paths)
    assert len(split.validation) == 29
    assert [error.source for error in split.train.hashes().errors] == [str(path) for path in gone]


def test_what_is_no_strategy_is_refused(tmp_path):
    with pytest.raises(InvalidOption, match=r"0\.2; allowed: a SplitStrategy"):
        source_of(tmp_path, cat=2, dog=2).split(0.2)


def test_leaks_between_two_sources_are_found(tmp_path):
    train, test = source_of(tmp_path / "a", cat=3), source_of(tmp_path / "b", cat=5)
    assert [pair[0].name for pair in train.shared_with(test)] == ["0.jpg", "1.jpg", "2.jpg"]
