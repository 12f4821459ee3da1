"""Several labels an image: where they come from, how some images are held out, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from eyespot import DataError, DataSource, InvalidOption, SplitStrategy
from eyespot.splitting import distribute, held_out_by_labels


@pytest.fixture
def files(tmp_path):
    """Return a function that writes files of given contents and returns their folder."""

    def write(**contents):
        for name, content in contents.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".png").write_bytes(content)
        return tmp_path

    return write


def sets(data):
    return {path.name: labels for path, labels in zip(data.paths, data.label_sets, strict=True)}


EXPECTED = {"a.png": ("cat", "dog"), "b.png": ("dog",), "c.png": ()}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("path,label\na.png,dog;cat\nb.png, dog ;\nc.png,\n", {"label_separator": ";"}),
        ("path,label\na.png,dog\nb.png,dog\na.png,cat\nc.png,\n", {"multi_label": True}),
        ("path,x,y\na.png,dog,cat\nb.png,,dog\nc.png,,\n", {"label_column": ("x", "y")}),
        ("path,cat,dog\na.png,1,1\nb.png,0,1\nc.png,0,0\n", {"label_column": ["cat", "dog"]}),
        ("path;cat;dog\na.png;Yes;TRUE\nb.png;no;1.0\nc.png;;0", {"label_column": ("cat", "dog")}),
    ],
    ids=["separator", "rows", "columns of labels", "columns of numbers", "columns of words"],
)  # fmt: skip
def test_a_table_gives_each_image_its_labels(files, text, options):
    folder = files(a=b"a", b=b"b", c=b"c")
    (folder / "t.csv").write_text(text)
    data = DataSource.from_table(folder / "t.csv", **options)
    assert data.multi_label
    assert data.classes == ("cat", "dog")
    assert sets(data) == EXPECTED
    assert data.targets.dtype == bool
    assert data.counts() == {"cat": 1, "dog": 2}
    assert [path.name for path in data.labeled_images()["dog"]] == ["a.png", "b.png"]
    with pytest.raises(InvalidOption, match="label_sets"):
        _ = data.labels


def test_a_data_frame_gives_each_image_its_labels(files):
    folder = files(a=b"a", b=b"b", c=b"c")
    frame = {"path": ["a.png", "b.png", "c.png"], "cat": [True, False, None], "dog": [1, 1, 0]}
    data = DataSource.from_table(frame, label_column=["cat", "dog"], base_dir=folder)
    assert sets(data) == EXPECTED


def test_without_a_word_of_it_a_table_stays_one_label_an_image(files):
    folder = files(a=b"a", b=b"b")
    (folder / "t.csv").write_text("path,label\na.png,dog;cat\nb.png,dog\n")
    data = DataSource.from_table(folder / "t.csv")
    assert not data.multi_label
    assert data.classes == ("dog", "dog;cat")
    assert data.label_sets == (("dog",), ("dog;cat",))


def test_several_labels_read_as_one_are_told(files):
    folder = files(a=b"a", b=b"b", c=b"c")
    (folder / "t.csv").write_text("path,label\na.png,dog;cat\nb.png,dog\nc.png,cat\n")
    data = DataSource.from_table(folder / "t.csv")
    (note,) = (note for note in data.check_for_training() if "several" in note)
    assert note.endswith("'dog;cat' looks like several labels: name their label_separator")
    with pytest.raises(DataError, match="'dog;cat' looks like several labels"):
        data.with_classes(("cat", "dog"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_separator": ""}, "label_separator is ''"),
        ({"label_column": ()}, "label_column names no column"),
        ({"label_column": ("label", "colour")}, "no column 'colour'; its columns are"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(files, options, words):
    folder = files(a=b"a")
    (folder / "t.csv").write_text("path,label\na.png,dog\n")
    with pytest.raises((InvalidOption, DataError), match=words):
        DataSource.from_table(folder / "t.csv", **options)


def test_copies_in_several_folders_are_one_image_of_several_labels(files):
    folder = files(cat__one=b"1", dog__copy=b"1", dog__two=b"2", cat__three=b"3")
    data = DataSource.labeled_directories(folder, multi_label=True)
    assert sets(data) == {"one.png": ("cat", "dog"), "two.png": ("dog",), "three.png": ("cat",)}
    (ignored,) = data.ignored
    assert str(ignored).endswith(f"copy.png: a copy of {data.paths[0]}, which has its labels too")
    assert data.duplicates() == ()
    assert len(DataSource.labeled_directories(folder)) == 4  # unless asked for


def test_links_in_several_folders_are_one_image_of_several_labels(files):
    folder = files(cat__one=b"1", dog__two=b"2")
    (folder / "dog" / "link.png").symlink_to(folder / "cat" / "one.png")
    data = DataSource.labeled_directories(folder, multi_label=True)
    assert sorted(data.label_sets) == [("cat", "dog"), ("dog",)]


def test_a_path_under_several_labels_bears_them_all(files):
    folder = files(a=b"a", b=b"b", c=b"b")
    mapping = {
        "dog": [folder / "a.png", folder / "b.png"],
        "cat": [folder / "a.png", folder / "c.png"],
    }
    data = DataSource.files_by_label(mapping, multi_label=True)
    assert sets(data) == {"a.png": ("cat", "dog"), "b.png": ("cat", "dog")}


def test_an_unreadable_file_keeps_its_own_labels(files):
    folder = files(a=b"a")
    mapping = {"dog": [folder / "a.png", folder / "gone.png"], "cat": [folder / "gone too.png"]}
    data = DataSource.files_by_label(mapping, multi_label=True)
    assert len(data) == 3
    assert len(data.hashes().errors) == 2


def test_taking_and_translating_keep_the_labels(files):
    folder = files(a=b"a", b=b"b", c=b"c")
    (folder / "t.csv").write_text("path,label\na.png,dog;cat\nb.png,dog\nc.png,\n")
    data = DataSource.from_table(folder / "t.csv", label_separator=";")
    assert data.take([2, 0]).label_sets == ((), ("cat", "dog"))
    wider = data.with_classes(("ant", "cat", "dog"))
    assert wider.label_sets == data.label_sets
    assert wider.targets.shape == (3, 3)
    with pytest.raises(DataError, match=r"unknown to the model: cat"):
        data.with_classes(("ant", "dog"))
    assert data.take([1]).with_classes(("ant", "dog")).label_sets == (("dog",),)


def test_a_label_that_all_or_none_bear_is_refused_by_name(files):
    folder = files(a=b"a", b=b"b")
    paths = (folder / "a.png", folder / "b.png")
    everywhere = DataSource(paths=paths, classes=("dog",), targets=np.ones((2, 1), bool))
    with pytest.raises(DataError, match=r"every image bears the label 'dog'.*some that do not"):
        everywhere.check_for_training()
    both = np.array([[True, False], [False, False]])
    nowhere = DataSource(paths=paths, classes=("cat", "dog"), targets=both)
    with pytest.raises(DataError, match=r"no image bears the label 'dog'.*one that does"):
        nowhere.check_for_training()
    fine = DataSource(paths=paths, classes=("cat",), targets=both[:, :1])
    assert any("single image" in note for note in fine.check_for_training())


def test_a_table_of_another_shape_is_refused():
    paths = (Path("a.png"), Path("b.png"))
    with pytest.raises(InvalidOption, match=r"shape \(2, 3\) does not fit 2 paths and 1 classes"):
        DataSource(paths=paths, classes=("dog",), targets=np.ones((2, 3), bool))
    with pytest.raises(InvalidOption, match="or a table of bool"):
        DataSource(paths=paths, classes=("dog",), targets=np.ones((2, 1)))


def labels(n, k, seed=0):
    random = np.random.default_rng(seed)
    return random.random((n, k)) < np.linspace(0.04, 0.6, k)


@pytest.mark.parametrize("seed", range(5))
def test_every_part_gets_its_share_of_every_label(seed):
    targets = labels(500, 8, seed)
    parts = distribute(targets, [3, 1])
    assert (parts == 1).sum() == pytest.approx(125, abs=8)
    counts = targets[parts == 1].sum(axis=0)
    assert np.abs(counts - targets.sum(axis=0) / 4).max() <= 3
    folds = distribute(targets, [1] * 5)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 4
    per_fold = np.array([targets[folds == fold].sum(axis=0) for fold in range(5)])
    assert (per_fold.max(axis=0) - per_fold.min(axis=0)).max() <= 4


def test_rows_without_a_label_are_dealt_out_too():
    parts = distribute(np.zeros((10, 3), bool), [1, 1])
    assert np.bincount(parts).tolist() == [5, 5]
    assert distribute(np.zeros((0, 3), bool), [1, 1]).tolist() == []


def digests(n):
    return [f"{i:064x}" for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_training_keeps_images_with_and_without_each_label(seed):
    targets = np.zeros((12, 3), bool)
    targets[:2, 0] = True  # rare
    targets[:, 1] = True
    targets[3, 1] = False  # rarely absent
    targets[::2, 2] = True
    held = held_out_by_labels(targets, digests(12), 6, seed)
    assert 3 <= held.sum() <= 7
    assert targets[~held].any(axis=0).all()
    assert (~targets[~held]).any(axis=0).all()


def test_equal_contents_move_together_and_stay_behind_where_labels_differ():
    targets = labels(60, 3)
    targets[1] = targets[0]
    targets[3] = ~targets[2]
    names = digests(60)
    names[1], names[3], names[5] = names[0], names[2], None
    sides = []
    for seed in range(20):
        held = held_out_by_labels(targets, names, 20, seed)
        assert held[0] == held[1]
        assert not held[2]
        assert not held[3]
        assert not held[5]
        sides.append(bool(held[0]))
    assert len(set(sides)) == 2


def test_the_split_goes_by_contents_not_by_names(tmp_path):
    """The same contents under other names, and so in another order, give the same split."""
    random = np.random.default_rng(1)
    table = labels(80, 4)
    held = []
    for run in range(2):
        folder = tmp_path / str(run)
        folder.mkdir()
        lines = ["path,label"]
        for number, name in enumerate(random.permutation(80).tolist()):
            (folder / f"{name:03}.png").write_bytes(b"%d" % number)
            lines.append(
                f"{name:03}.png,{'|'.join(f'l{c}' for c in np.flatnonzero(table[number]))}"
            )
        (folder / "t.csv").write_text("\n".join(lines))
        data = DataSource.from_table(folder / "t.csv", label_separator="|")
        split = data.split(SplitStrategy.fixed(0.25, seed=3))
        assert split.validation is not None
        assert {path.name for path in split.train.paths} & {
            path.name for path in split.validation.paths
        } == set()
        held.append(sorted(path.read_bytes() for path in split.validation.paths))
    assert held[0] == held[1]
    assert len(held[0]) == pytest.approx(20, abs=3)


def test_a_split_tells_of_equal_files_under_other_labels(files):
    folder = files(**{f"f{i}": b"%d" % i for i in range(60)}, copy=b"0")
    rows = [f"f{i}.png,{'a;b' if i % 2 else 'b'}" for i in range(60)] + ["copy.png,a"]
    (folder / "t.csv").write_text("path,label\n" + "\n".join(rows))
    split = DataSource.from_table(folder / "t.csv", label_separator=";").split(
        SplitStrategy.automatic()
    )
    (group,) = split.conflicts
    assert set(group.labels) == {"a", "b"}
    assert any("1 image goes by several labels" in note for note in split.notes)
    assert {p.name for p in group.paths} <= {p.name for p in split.train.paths}
    assert os.fspath(split.train.paths[0])
