"""Data sources: what each way of naming images finds, passes over, and refuses."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from eyespot._core import CancelToken
from eyespot.data import DataSource, IgnoredFile
from eyespot.errors import Cancelled, DataError, InvalidOption
from eyespot.progress import Phase


def put(root: Path, *names: str, content: bytes | None = None) -> Path:
    """Write files whose content is their name, so that each differs; return the root."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)
    return root


def listed(source: DataSource, root: Path) -> list[tuple[str, str]]:
    return [
        (label, path.relative_to(root).as_posix())
        for label, path in zip(source.labels, source.paths, strict=True)
    ]


def reasons(source: DataSource, root: Path) -> dict[str, str]:
    return {entry.path.relative_to(root).as_posix(): entry.reason for entry in source.ignored}


# ---------------------------------------------------------------- labeled_directories


def test_each_sub_folder_is_a_label_and_folders_below_belong_to_it(tmp_path):
    put(tmp_path, "dog/b.jpg", "dog/a.jpg", "cat/deep/deeper/c.png", "cat/z", "cat/photo.unknown")
    source = DataSource.labeled_directories(tmp_path)
    assert listed(source, tmp_path) == [
        ("cat", "cat/deep/deeper/c.png"),
        ("cat", "cat/photo.unknown"),
        ("cat", "cat/z"),
        ("dog", "dog/a.jpg"),
        ("dog", "dog/b.jpg"),
    ]
    assert source.classes == ("cat", "dog")
    assert source.targets.tolist() == [0, 0, 0, 1, 1]
    assert source.targets.dtype == np.int64
    assert source.counts() == {"cat": 3, "dog": 2}
    assert source.labeled_images()["dog"] == [tmp_path / "dog/a.jpg", tmp_path / "dog/b.jpg"]
    assert source.ignored == ()
    assert len(source) == 5


def test_what_is_no_image_is_passed_over_with_the_reason(tmp_path):
    put(
        tmp_path,
        "cat/a.jpg",
        "cat/.DS_Store",
        "cat/._a.jpg",
        "cat/Thumbs.db",
        "cat/notes.TXT",
        "cat/.ipynb_checkpoints/a.jpg",
        "__MACOSX/cat/a.jpg",
        "dog/b.jpg",
        "labels.csv",
        "stray.jpg",
        "words/readme.md",
    )
    put(tmp_path, "dog/empty.jpg", content=b"")
    (tmp_path / "void").mkdir()
    source = DataSource.labeled_directories(tmp_path)
    assert listed(source, tmp_path) == [("cat", "cat/a.jpg"), ("dog", "dog/b.jpg")]
    assert reasons(source, tmp_path) == {
        "__MACOSX": "left there by the system or a program",
        "cat/.DS_Store": "hidden",
        "cat/._a.jpg": "hidden",
        "cat/.ipynb_checkpoints": "hidden",
        "cat/Thumbs.db": "left there by the system or a program",
        "cat/notes.TXT": "a .txt file is no image",
        "dog/empty.jpg": "the file is empty",
        "labels.csv": "lies beside the label folders, not in one",
        "stray.jpg": "lies beside the label folders, not in one",
        "void": "the folder holds no image",
        "words": "the folder holds no image",
        "words/readme.md": "a .md file is no image",
    }


def test_an_ignored_file_is_a_path_and_says_why():
    entry = IgnoredFile(path=Path("a.txt"), reason="a .txt file is no image")
    assert os.fspath(entry) == "a.txt"
    assert str(entry) == "a.txt: a .txt file is no image"


def test_links_are_followed_but_never_in_a_circle_or_upwards(tmp_path):
    outside = put(tmp_path / "elsewhere", "x/1.jpg", "x/2.jpg") / "x"
    photos = put(tmp_path / "photos", "cat/a.jpg", "dog/b.jpg")
    (photos / "bird").symlink_to(outside)
    (photos / "cat" / "again").symlink_to(photos / "cat")
    (photos / "cat" / "root").symlink_to(photos)
    (photos / "cat" / "up").symlink_to(tmp_path)
    (photos / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "dog" / "self.jpg").symlink_to(photos / "dog" / "self.jpg")
    (photos / "dog" / "link.jpg").symlink_to(photos / "dog" / "b.jpg")
    source = DataSource.labeled_directories(photos)
    assert listed(source, photos) == [
        ("bird", "bird/1.jpg"),
        ("bird", "bird/2.jpg"),
        ("cat", "cat/a.jpg"),
        ("dog", "dog/b.jpg"),
        ("dog", "dog/link.jpg"),
    ]
    why = reasons(source, photos)
    for name in ("cat/again", "cat/root", "cat/up"):
        assert why[name] == "a link to a folder above it or one already read"
    assert why["cat/gone.jpg"] == "a broken symbolic link"
    assert "dog/self.jpg" in why


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_passed_over_and_never_opened(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    source = DataSource.labeled_directories(tmp_path)
    assert reasons(source, tmp_path) == {"cat/pipe.jpg": "not a regular file"}


def test_labels_are_composed_and_trimmed_so_that_they_survive_a_copy(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Café")
    put(tmp_path, f"{decomposed}/a.jpg", "Café/b.jpg", "東京 タワー/c.jpg", "x" * 200 + "/d.jpg")
    source = DataSource.labeled_directories(tmp_path)
    assert source.classes == ("Café", "x" * 200, "東京 タワー")
    assert source.counts()["Café"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_name_that_is_not_utf8_is_refused_because_it_cannot_be_a_label(tmp_path):
    put(tmp_path, "cat/a.jpg")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(DataError, match=r"caf\\udce9: the name is not valid UTF-8"):
        DataSource.labeled_directories(tmp_path)


def test_a_file_name_that_is_not_utf8_is_no_problem(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (tmp_path / "cat" / name).write_bytes(b"x")
    except OSError:
        pytest.skip("the file system refuses such names")
    source = DataSource.labeled_directories(tmp_path)
    assert len(source) == 3
    assert source.hashes().errors == ()


def test_the_order_does_not_depend_on_the_listing(tmp_path, monkeypatch):
    put(tmp_path, *(f"{label}/{i}.jpg" for label in "abc" for i in range(20)))
    straight = DataSource.labeled_directories(tmp_path)
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert DataSource.labeled_directories(tmp_path).paths == straight.paths


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_folder_may_be_named_by_text_bytes_or_path(tmp_path, kind):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    assert len(DataSource.labeled_directories(kind(tmp_path))) == 2


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    put(tmp_path, "photos/cat/a.jpg", "photos/dog/b.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(DataSource.labeled_directories("~/photos")) == 2


def test_a_tilde_that_is_no_home_is_a_plain_name(tmp_path, monkeypatch):
    put(tmp_path, "~nobody-of-this-name/cat/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert len(DataSource.labeled_directories("~nobody-of-this-name")) == 1


def refused(path, match, code):
    with pytest.raises(DataError, match=match) as caught:
        DataSource.labeled_directories(path)
    assert caught.value.code == code
    assert caught.value.source


def test_a_missing_folder_is_answered_with_the_nearest_name(tmp_path):
    put(tmp_path, "photos/cat/a.jpg")
    refused(tmp_path / "photo", r"no such folder; did you mean 'photos'\?", "not_found")
    refused(tmp_path / "a" / "b", r"no such folder$", "not_found")


def test_a_file_in_place_of_a_folder_is_answered_with_what_to_do(tmp_path):
    put(tmp_path, "photos.zip", "photos.csv", "photo.jpg")
    refused(tmp_path / "photos.zip", "is a file.*unpack the archive first", "not_a_folder")
    refused(tmp_path / "photos.csv", r"is a file.*DataSource\.from_table", "not_a_folder")
    refused(
        tmp_path / "photo.jpg", r"one sub-folder per label, each with its images$", "not_a_folder"
    )


def test_a_folder_without_images_is_answered_with_what_is_there(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is empty; it must hold one sub-folder per label", "no_images")
    put(tmp_path, "flat/cat.1.jpg", "flat/dog.1.jpg")
    refused(tmp_path / "flat", "holds 2 files but no sub-folder.*labeled_files", "no_images")
    put(tmp_path, "words/cat/a.txt", "words/dog/b.txt")
    refused(tmp_path / "words", "no image in its 2 sub-folders.*no image", "no_images")


def test_the_parent_of_train_and_test_is_refused_with_the_right_folder(tmp_path):
    put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "Test/cat/c.jpg", "Test/dog/d.jpg")
    refused(tmp_path, r"parts of a data set, not labels; pass one of them.*train$", "split_folders")


def test_folders_named_train_are_labels_when_they_hold_the_images_themselves(tmp_path):
    put(tmp_path, "train/a.jpg", "bus/b.jpg")
    assert DataSource.labeled_directories(tmp_path).classes == ("bus", "train")
    put(tmp_path / "two", "train/a.jpg", "test/b.jpg")
    assert DataSource.labeled_directories(tmp_path / "two").classes == ("test", "train")


def test_a_label_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    refused(tmp_path, "dog: the folder cannot be listed: Permission denied", "io")


def test_a_read_only_folder_is_enough(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg")
    for folder in (tmp_path / "cat", tmp_path / "dog", tmp_path):
        folder.chmod(0o500)
    try:
        assert DataSource.labeled_directories(tmp_path).hashes().errors == ()
    finally:
        for folder in (tmp_path, tmp_path / "cat", tmp_path / "dog"):
            folder.chmod(0o700)


@pytest.mark.parametrize("path", ["", None, 3, "a\0b"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InvalidOption, match="path has"):
        DataSource.labeled_directories(path)


# ---------------------------------------------------------------- labeled_files


def test_the_label_is_the_name_up_to_the_first_period(tmp_path):
    put(tmp_path, "cheetah.2.jpg", "cheetah.jpg", "lion.1.of.2.png", "noperiod", ".hidden.jpg")
    put(tmp_path, "sub/tiger.jpg", "readme.txt")
    source = DataSource.labeled_files(tmp_path)
    assert listed(source, tmp_path) == [
        ("cheetah", "cheetah.2.jpg"),
        ("cheetah", "cheetah.jpg"),
        ("lion", "lion.1.of.2.png"),
    ]
    assert reasons(source, tmp_path) == {
        ".hidden.jpg": "hidden",
        "noperiod": "the name has no part 0 between '.' to be a label",
        "readme.txt": "a .txt file is no image",
        "sub": "a sub-folder: only the folder itself is read",
    }


@pytest.mark.parametrize(
    ("separator", "index", "labels"),
    [
        ("_", 0, ["2024"]),
        ("_", 1, ["big cat"]),
        ("_", -1, ["17"]),
        ("_", -3, ["2024"]),
        ("_big ", 1, ["cat_17"]),
    ],
)
def test_separator_and_index_can_be_chosen(tmp_path, separator, index, labels):
    put(tmp_path, "2024_big cat_17.jpg", "dog.jpg", "a.b.c.jpg")
    source = DataSource.labeled_files(tmp_path, separator=separator, index=index)
    assert list(source.labels) == labels
    assert set(reasons(source, tmp_path)) == {"dog.jpg", "a.b.c.jpg"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"separator": ""}, "separator is ''"),
        ({"separator": None}, "separator is None"),
        ({"index": 0.5}, "index is 0.5"),
        ({"index": True}, "index is True"),
    ],
)
def test_a_bad_separator_or_index_is_refused(tmp_path, options, match):
    with pytest.raises(InvalidOption, match=match):
        DataSource.labeled_files(tmp_path, **options)


def test_a_flat_folder_without_labels_is_answered_with_what_is_there(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        DataSource.labeled_files(tmp_path)
    put(tmp_path, "a/cat.jpg")
    with pytest.raises(DataError, match=r"one sub-folder per label.*labeled_directories"):
        DataSource.labeled_files(tmp_path)
    put(tmp_path / "b", "cat.jpg")
    with pytest.raises(DataError, match=r"no image named LABEL_….*cat\.jpg: the name has no part"):
        DataSource.labeled_files(tmp_path / "b", separator="_")


# ---------------------------------------------------------------- files_by_label


def test_a_mapping_is_taken_as_it_is(tmp_path):
    put(tmp_path, "1.txt", "2.jpg")
    source = DataSource.files_by_label(
        {"dog": [tmp_path / "2.jpg"], "cat": iter([str(tmp_path / "1.txt"), tmp_path / "gone"])}
    )
    assert listed(source, tmp_path) == [("cat", "1.txt"), ("cat", "gone"), ("dog", "2.jpg")]


def test_a_path_listed_twice_counts_once_and_two_labels_are_a_conflict(tmp_path):
    a = put(tmp_path, "a.jpg", "b.jpg") / "a.jpg"
    source = DataSource.files_by_label({"cat": [a, a, a], "dog": [tmp_path / "b.jpg", a]})
    assert listed(source, tmp_path) == [("cat", "a.jpg"), ("dog", "a.jpg"), ("dog", "b.jpg")]
    assert reasons(source, tmp_path) == {"a.jpg": "listed 3 times as 'cat', used once"}
    (group,) = source.duplicates()
    assert group.conflicting


@pytest.mark.parametrize(
    ("mapping", "error", "match"),
    [
        ([("cat", "a.jpg")], InvalidOption, "mapping is list"),
        ({"cat": "a.jpg"}, InvalidOption, r"mapping\['cat'\] is 'a.jpg'; allowed: a list of paths"),
        ({"cat": 3}, InvalidOption, "a list of paths"),
        ({"cat": [3]}, InvalidOption, r"mapping\['cat'\] has 3"),
        ({3: ["a.jpg"]}, InvalidOption, "a label is text"),
        ({" ": ["a.jpg"]}, DataError, "the label is empty"),
        ({}, DataError, "the mapping names no image$"),
        ({"cat": []}, DataError, "the mapping names no image$"),
        ({"cat": ["/nowhere/a.jpg"]}, DataError, r"the only file .* is not there"),
        ({"cat": ["/nowhere/a.jpg", "/nowhere/b.jpg"]}, DataError, r"none of the 2 files .*a\.jpg"),
    ],
)
def test_a_mapping_of_the_wrong_form_is_refused(mapping, error, match):
    with pytest.raises(error, match=match):
        DataSource.files_by_label(mapping)


# ---------------------------------------------------------------- hashes


def test_hashes_are_those_of_the_contents_and_read_once(tmp_path, monkeypatch):
    put(tmp_path, *(f"cat/{i}.jpg" for i in range(40)), "dog/a.jpg")
    put(tmp_path, "dog/large.jpg", content=bytes(3 << 20))
    source = DataSource.labeled_directories(tmp_path)
    hashes = source.hashes(n_threads=3)
    assert hashes.errors == ()
    assert hashes.digests == tuple(
        hashlib.sha256(path.read_bytes()).hexdigest() for path in source.paths
    )
    monkeypatch.setattr(Path, "open", None)
    assert source.hashes() is hashes


def test_an_unreadable_file_is_an_error_in_the_answer(tmp_path):
    put(tmp_path, "a.jpg", "folder/x.jpg")
    source = DataSource.files_by_label(
        {"cat": [tmp_path / "a.jpg", tmp_path / "folder", tmp_path / "gone.jpg"]}
    )
    hashes = source.hashes()
    assert [digest is None for digest in hashes.digests] == [False, True, True]
    assert [(error.index, error.code) for error in hashes.errors] == [(1, "io"), (2, "io")]
    assert hashes.errors[0].message == "a folder"
    assert hashes.errors[1].message == "No such file or directory"
    assert hashes.errors[1].source == str(tmp_path / "gone.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_hashing_never_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (error,) = DataSource.files_by_label({"cat": [tmp_path / "pipe"]}).hashes().errors
    assert error.message == "not a regular file"


def test_hashing_tells_its_progress_and_can_be_cancelled(tmp_path):
    put(tmp_path, *(f"cat/{i}.jpg" for i in range(100)))
    seen = []
    DataSource.labeled_directories(tmp_path).hashes(progress=seen.append)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 100, 100)
    assert {progress.phase for progress in seen} == {Phase.INITIALIZED}


def slow_hashing(monkeypatch, then):
    """Let each file take 20 ms and call `then` after the third; return the list of those read."""
    read = []

    def slow(path):
        read.append(path)
        if len(read) == 3:
            then()
        time.sleep(0.02)
        return "0"

    monkeypatch.setattr("eyespot.hashing._hash_file", slow)
    return read


def test_hashing_stops_when_asked_to(tmp_path, monkeypatch):
    put(tmp_path, *(f"cat/{i}.jpg" for i in range(100)))
    source = DataSource.labeled_directories(tmp_path)
    token = CancelToken()
    read = slow_hashing(monkeypatch, token.cancel)
    with pytest.raises(Cancelled):
        source.hashes(n_threads=1, cancel=token)
    assert 3 <= len(read) <= 20
    with pytest.raises(Cancelled):
        source.hashes(cancel=token)
    monkeypatch.undo()
    assert source.hashes().digests[0] == hashlib.sha256(b"cat/0.jpg").hexdigest()


def test_hashing_stops_at_ctrl_c(tmp_path, monkeypatch):
    put(tmp_path, *(f"cat/{i}.jpg" for i in range(100)))
    read = slow_hashing(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        DataSource.labeled_directories(tmp_path).hashes(n_threads=1)
    assert 3 <= len(read) <= 20


def test_an_error_that_is_not_the_files_own_reaches_the_caller(tmp_path, monkeypatch):
    put(tmp_path, *(f"cat/{i}.jpg" for i in range(100)))

    def broken(path):
        raise MemoryError

    monkeypatch.setattr("eyespot.hashing._hash_file", broken)
    with pytest.raises(MemoryError):
        DataSource.labeled_directories(tmp_path).hashes(n_threads=2)


@pytest.mark.parametrize("n_threads", [-1, 1.5, True])
def test_a_bad_number_of_threads_is_refused(tmp_path, n_threads):
    put(tmp_path, "cat/a.jpg")
    with pytest.raises(InvalidOption, match="n_threads"):
        DataSource.labeled_directories(tmp_path).hashes(n_threads=n_threads)


# ---------------------------------------------------------------- values


def source_of(tmp_path, **counts):
    put(tmp_path, *(f"{label}/{i}.jpg" for label, n in counts.items() for i in range(n)))
    return DataSource.labeled_directories(tmp_path)


def test_a_source_says_what_it_holds(tmp_path):
    put(tmp_path, "cat/a.txt")
    source = source_of(tmp_path, cat=3, dog=2)
    assert repr(source) == "<DataSource: 5 images of 2 classes (cat, dog), 1 ignored>"


def test_many_classes_are_named_in_part(tmp_path):
    source = source_of(tmp_path, **{f"c{i}": 1 for i in range(9)})
    assert repr(source) == "<DataSource: 9 images of 9 classes (c0, c1, c2, c3, c4 and 4 more)>"


def test_a_source_cannot_be_changed(tmp_path):
    source = source_of(tmp_path, cat=2)
    with pytest.raises(AttributeError):
        source.paths = ()
    with pytest.raises(ValueError, match="read-only"):
        source.targets[0] = 1


def test_a_source_can_be_pickled(tmp_path):
    source = source_of(tmp_path, cat=2, dog=1)
    source.hashes()
    twin = pickle.loads(pickle.dumps(source))
    assert twin.paths == source.paths
    assert twin.hashes() == source.hashes()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"classes": ("b", "a")}, "not sorted and distinct"),
        ({"classes": ("a", "a")}, "not sorted and distinct"),
        ({"targets": [0.5, 1.0]}, "targets: are float64; allowed: whole numbers"),
        ({"targets": [0]}, r"shape \(1,\) does not fit 2 paths"),
        ({"targets": [0, 2]}, "from 0 to 1"),
        ({"targets": [-1, 0]}, "from 0 to 1"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(fields, match):
    given = {"paths": ("x", "y"), "classes": ("a", "b"), "targets": [0, 1]}
    with pytest.raises(InvalidOption, match=match):
        DataSource(**(given | fields))


def test_take_keeps_the_classes_and_the_hashes(tmp_path):
    source = source_of(tmp_path, cat=3, dog=2)
    source.hashes()
    part = source.take([4, 0])
    assert part.labels == ("dog", "cat")
    assert part.classes == source.classes
    assert part.hashes().digests == (source.hashes().digests[4], source.hashes().digests[0])
    assert len(source.take([])) == 0
    assert source.take(source.targets == 1).labels == ("dog", "dog")


def test_take_renumbers_the_errors(tmp_path):
    put(tmp_path, "a", "c")
    source = DataSource.files_by_label({"x": [tmp_path / name for name in "abc"]})
    source.hashes()
    (error,) = source.take([2, 1]).hashes().errors
    assert (error.index, error.source) == (1, str(tmp_path / "b"))


def test_with_classes_counts_in_the_classes_of_a_model(tmp_path):
    source = source_of(tmp_path, cat=1, dog=2)
    assert source.with_classes(["bee", "cat", "dog"]).targets.tolist() == [1, 2, 2]
    with pytest.raises(DataError, match=r"1 label .*: dog; the model knows bee, cat") as caught:
        source.with_classes(["bee", "cat"])
    assert caught.value.code == "unknown_label"
    with pytest.raises(DataError, match=r"did you mean 'dogs'\?"):
        source.with_classes(["cat", "dogs"])
    with pytest.raises(InvalidOption, match="not sorted"):
        source.with_classes(["dog", "cat"])
    only_cats = source.take([0])
    assert only_cats.with_classes(["bee", "cat"]).targets.tolist() == [1]


def test_training_needs_two_classes(tmp_path):
    with pytest.raises(
        DataError, match=r"3 images, all of the label 'cat'; training needs two labels$"
    ) as caught:
        source_of(tmp_path / "a", cat=3).check_for_training()
    assert caught.value.code == "one_class"
    with pytest.raises(DataError, match="1 image, all of"):
        source_of(tmp_path / "b", cat=1).check_for_training()
    with pytest.raises(DataError, match="no images to train on"):
        source_of(tmp_path / "c", cat=1).take([]).check_for_training()


def test_one_folder_too_high_is_answered_with_the_right_one(tmp_path):
    source = DataSource.labeled_directories(put(tmp_path, "photos/cat/a.jpg", "photos/dog/b.jpg"))
    with pytest.raises(DataError, match=r"if the folders in .*photos are the labels, pass that"):
        source.check_for_training()


def test_labels_that_differ_in_case_only_are_told(tmp_path):
    source = source_of(tmp_path, Cat=10, dog=10)
    put(tmp_path, *(f"cat/x{i}.jpg" for i in range(10)))
    source = DataSource.labeled_directories(tmp_path)
    if len(source.classes) == 3:  # the file system tells them apart
        (note,) = source.check_for_training()
        assert note == "labels that differ in upper and lower case only: Cat and cat"


def test_small_classes_are_told_but_not_refused(tmp_path):
    assert source_of(tmp_path / "a", cat=10, dog=12).check_for_training() == ()
    single, few = source_of(tmp_path / "b", cat=1, dog=9, owl=10).check_for_training()
    assert single.startswith("1 class has a single image")
    assert single.endswith(": cat")
    assert few == "1 class has fewer than 10 images: dog"


def test_labels_that_are_all_different_are_questioned(tmp_path):
    put(tmp_path, "IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg")
    notes = DataSource.labeled_files(tmp_path).check_for_training()
    assert notes[1] == "no label has a second image: is that part of the name the label?"
