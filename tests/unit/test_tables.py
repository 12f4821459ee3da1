"""Labelled images from CSV files and data frames."""

from __future__ import annotations

import unicodedata
from collections import UserDict
from types import SimpleNamespace

import numpy as np
import pytest

from eyespot.data import DataSource
from eyespot.errors import DataError, InvalidOption


@pytest.fixture
def photos(tmp_path):
    for name in ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg", "a b/ü.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def rows(source, root):
    return [
        (label, path.relative_to(root).as_posix())
        for label, path in zip(source.labels, source.paths, strict=True)
    ]


EXPECTED = [("cat", "cats/1.jpg"), ("cat", "cats/2.jpg"), ("dog", "dogs/1.jpg")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_names_images_beside_it(photos, delimiter, start, end):
    lines = ["label,width,path", "dog,3,dogs/1.jpg", "cat,4,cats/2.jpg", "", "cat,5,cats/1.jpg", ""]
    text = start + end.join(lines).replace(",", delimiter)
    (photos / "table.csv").write_bytes(text.encode())
    source = DataSource.from_table(photos / "table.csv")
    assert rows(source, photos) == EXPECTED
    assert source.ignored == ()


def test_columns_and_base_folder_can_be_chosen(photos, tmp_path_factory):
    table = tmp_path_factory.mktemp("elsewhere") / "t.csv"
    table.write_text('File Name,Class\n"cats/1.jpg",cat\n"a b/ü.jpg","odd, but fine"\n')
    source = DataSource.from_table(str(table), "File Name", "Class", base_dir=photos)
    assert rows(source, photos) == [("cat", "cats/1.jpg"), ("odd, but fine", "a b/ü.jpg")]


def test_backslashes_part_folders_where_no_such_name_is_there(photos):
    (photos / "t.csv").write_text("path,label\ncats\\1.jpg,cat\ndogs\\1.jpg,dog\n")
    source = DataSource.from_table(photos / "t.csv")
    assert rows(source, photos) == [("cat", "cats/1.jpg"), ("dog", "dogs/1.jpg")]


def test_a_backslash_that_is_part_of_a_name_is_kept(photos):
    (photos / "odd\\name.jpg").write_bytes(b"x")
    (photos / "t.csv").write_text("path,label\nodd\\name.jpg,cat\n")
    assert DataSource.from_table(photos / "t.csv").paths[0].name.endswith("name.jpg")
    assert DataSource.from_table(photos / "t.csv").hashes().errors == ()


def test_spaces_around_a_name_are_kept_only_if_they_are_part_of_it(photos):
    (photos / " spaced.jpg").write_bytes(b"x")
    (photos / "t.csv").write_text("label, path\ncat, cats/1.jpg\ndog, spaced.jpg\n")
    source = DataSource.from_table(photos / "t.csv")
    assert rows(source, photos) == [("cat", "cats/1.jpg"), ("dog", " spaced.jpg")]


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_in_the_table_and_not_on_disk_or_the_reverse(
    tmp_path, on_disk, in_table
):
    (tmp_path / unicodedata.normalize(on_disk, "é.jpg")).write_bytes(b"x")
    table = {"path": [unicodedata.normalize(in_table, "é.jpg")], "label": ["cat"]}
    source = DataSource.from_table(table, base_dir=tmp_path)
    assert source.hashes().errors == ()


def test_rows_without_a_path_or_a_label_are_passed_over_by_number(photos):
    (photos / "t.csv").write_text("path,label\n\ncats/1.jpg,cat\n,dog\ndogs/1.jpg, \ncats/2.jpg\n")
    source = DataSource.from_table(photos / "t.csv")
    assert rows(source, photos) == [("cat", "cats/1.jpg")]
    assert {entry.reason for entry in source.ignored} == {
        "line 4 has no path",
        f"line 5 of {photos / 't.csv'} has no label",
        f"line 6 of {photos / 't.csv'} has no label",
    }


@pytest.mark.parametrize(
    ("content", "match", "code"),
    [
        (b"", "is empty", "bad_table"),
        (b"file,label\nx,cat\n", r"no column 'path'; its columns are 'file', 'label'", "no_such_"),
        (b"Path;label\nx;cat\n", r"'Path', 'label'; did you mean 'Path'\?", "no_such_column"),
        (b"cats/1.jpg,cat\n", "'cats/1.jpg', 'cat'; the first line must name", "no_such_column"),
        (b"path,label\n", "names no image$", "no_images"),
        (b"path,label\n,\n", "names no image; the first thing .*line 2 has no path", "no_images"),
        (b"path,label\ngone.jpg,cat\n", r"the only file .* base_dir names another", "not_found"),
        (b"path,label\ncaf\xe9.jpg,cat\n", "not UTF-8 text.*save it as CSV in UTF-8", "bad_table"),
        ("path,label\nx,cat\n".encode("utf-16"), "not UTF-8 text", "bad_table"),
        (b"path,label\n" + b"x" * 200_000 + b",cat\n", "field larger than", "bad_table"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(photos, content, match, code):
    table = photos / "t.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        DataSource.from_table(table)
    assert caught.value.code.startswith(code)
    assert "t.csv" in caught.value.source


def test_a_table_that_is_not_there_or_no_csv_file_says_so(photos):
    with pytest.raises(DataError, match="there is no such file"):
        DataSource.from_table(photos / "gone.csv")
    with pytest.raises(DataError, match=r"t\.xlsx is no CSV file; read it with pandas"):
        DataSource.from_table(photos / "t.xlsx")
    with pytest.raises(DataError, match="cannot be read"):
        DataSource.from_table(photos / "cats")


def columns(photos):
    return {
        "path": [str(photos / "dogs/1.jpg"), photos / "cats/2.jpg", str(photos / "cats/1.jpg")],
        "label": ["dog", "cat", "cat"],
    }


def structured(table):
    kinds = [("path", object), ("label", object)]
    return np.array(list(zip(table["path"], table["label"], strict=True)), dtype=kinds)


class Frame:
    """Stands for polars: has `columns`, gives a column by name, raises an error of its own."""

    def __init__(self, table):
        self.table, self.columns = table, list(table)

    def __getitem__(self, name):
        return iter(self.table[name])


class Arrow:
    """Stands for pyarrow: `columns` are arrays, names are elsewhere, values want converting."""

    def __init__(self, table):
        self.table, self.column_names = table, list(table)
        self.columns = list(table.values())

    def __getitem__(self, name):
        return SimpleNamespace(to_pylist=lambda: list(self.table[name]))


class Bare:
    """Has `__getitem__` and nothing else."""

    def __init__(self, table):
        self.table = table

    def __getitem__(self, name):
        return self.table[name]


def pandas_frame(table):
    return pytest.importorskip("pandas").DataFrame(table)


@pytest.mark.parametrize("kind", [dict, UserDict, structured, Frame, Arrow, Bare, pandas_frame])
def test_any_table_with_columns_will_do(photos, kind):
    table = kind(columns(photos))
    assert rows(DataSource.from_table(table), photos) == EXPECTED
    with pytest.raises(DataError, match="the table has no column 'class'") as caught:
        DataSource.from_table(table, label_column="class")
    assert ("'path', 'label'" in str(caught.value)) == (kind is not Bare)


def test_relative_paths_of_a_table_begin_at_the_current_folder(photos, monkeypatch):
    table = {"path": ["cats/1.jpg"], "label": ["cat"]}
    with pytest.raises(DataError, match="paths are taken from the current folder; base_dir"):
        DataSource.from_table(table)
    assert len(DataSource.from_table(table, base_dir=photos)) == 1
    monkeypatch.chdir(photos)
    assert len(DataSource.from_table(table)) == 1


def test_labels_that_are_no_text_are_written_as_text(photos):
    table = {"path": columns(photos)["path"], "label": [np.int64(7), True, b"cat"]}
    assert set(DataSource.from_table(table).classes) == {"7", "True", "cat"}


def test_missing_values_of_every_kind_are_passed_over(photos):
    pd = pytest.importorskip("pandas")
    path = str(photos / "cats/1.jpg")
    frame = pd.DataFrame(
        {
            "path": [path, None, path, path, path, path],
            "label": pd.Series(["cat", "dog", None, float("nan"), pd.NA, pd.NaT], dtype=object),
        }
    )
    source = DataSource.from_table(frame)
    assert source.labels == ("cat",)
    assert sorted(entry.reason for entry in source.ignored) == [
        "row 1 has no path",
        *(f"row {row} of the table has no label" for row in (2, 3, 4, 5)),
    ]


def test_a_categorical_column_is_read_by_its_values(photos):
    frame = pandas_frame(columns(photos)).astype({"label": "category"})
    assert rows(DataSource.from_table(frame), photos) == EXPECTED


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"table": 3}, InvalidOption, "table is int; allowed: the path of a CSV file"),
        ({"table": [{"path": "a", "label": "b"}]}, InvalidOption, "table is list"),
        ({"table": {"path": [], "label": []}, "path_column": 0}, InvalidOption, "path_column is 0"),
        ({"table": {"path": ["a"], "label": []}}, DataError, "'path' has 1 rows but 'label' has 0"),
        ({"table": {"path": [5], "label": ["a"]}}, InvalidOption, "the table, row 0 has 5"),
        ({"table": {"path": ["a"], "label": ["b"]}, "base_dir": 3}, InvalidOption, "base_dir has"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        DataSource.from_table(**arguments)
