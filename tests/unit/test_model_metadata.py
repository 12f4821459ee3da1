"""What the maker of a model says of it: defaults, limits, and the way through every file."""

from __future__ import annotations

import dataclasses

import onnx
import pytest

from eyespot import ImageClassifier, InvalidOption, ModelMetadata, model_metadata
from small_model import small_model

SAID = {
    "author": "Zoë Müller",
    "short_description": "Tells colours apart.",
    "license": "CC-BY-4.0",
    "version": "12",
    "additional": {"dataset": "60 pictures", "contact": "zoe@example.org"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("trained"))[0]


def test_the_defaults_are_create_mls(monkeypatch):
    monkeypatch.setattr(model_metadata, "full_user_name", lambda: "Ada Lovelace")
    fields = {field.name: field for field in dataclasses.fields(ModelMetadata)}
    assert fields["author"].default_factory is not None
    said = ModelMetadata(author="Ada Lovelace")
    assert (said.license, said.version, said.additional) == (None, "1", {})
    assert said.short_description


def test_the_authors_name_is_the_users_full_name(monkeypatch):
    pwd = pytest.importorskip("pwd", reason="full names are read from the password file")
    entry = pwd.struct_passwd(("ada", "x", 1, 1, "&  Lovelace,Room 3,,", "/", "/bin/sh"))
    monkeypatch.setattr(model_metadata.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry)
    assert ModelMetadata().author == "Ada  Lovelace"
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert ModelMetadata().author == "ada"
    monkeypatch.setattr(model_metadata.getpass, "getuser", unknown)
    assert ModelMetadata().author == ""


def unknown(*_):
    raise KeyError("no such user")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"author": None}, "author is None; allowed: a text"),
        ({"version": 1}, "version is 1; allowed: a text"),
        ({"license": 3}, "license is 3"),
        ({"short_description": "\udcff"}, "valid Unicode"),
        ({"additional": ["a"]}, "a mapping of texts"),
        ({"additional": {"a": 1}}, r"additional\['a'\] is 1"),
        ({"additional": {"names": "x"}}, "keeps for itself"),
        ({"additional": {"eyespot.proof": "x"}}, "keeps for itself"),
        ({"additional": {"": "x"}}, "keeps for itself"),
    ],
)
def test_what_no_file_can_hold_is_refused(fields, words):
    with pytest.raises(InvalidOption, match=words):
        ModelMetadata(**fields)


def test_json_and_back(model):
    said = ModelMetadata(**SAID)
    assert ModelMetadata.from_json(said.to_json()) == said
    for text in ("no json", "[]", '{"colour": "red"}', '{"version": 3}'):
        with pytest.raises(InvalidOption):
            ModelMetadata.from_json(text)


def test_it_goes_into_the_file_and_comes_back(model, tmp_path):
    path = model.write(tmp_path / "a.onnx", ModelMetadata(**SAID)).path
    assert ImageClassifier.load(path).metadata == ModelMetadata(**SAID)
    made = onnx.load(path)
    entries = {entry.key: entry.value for entry in made.metadata_props}
    assert entries["model_author"] == "Zoë Müller"
    assert entries["model_license"] == "CC-BY-4.0"
    assert entries["dataset"] == "60 pictures"
    assert (made.doc_string, made.model_version) == ("Tells colours apart.", 12)


def test_write_signs_with_the_user_and_export_and_save_do_not(model, tmp_path):
    user = model_metadata.full_user_name()
    written = ImageClassifier.load(model.write(tmp_path / "a.onnx").path)
    assert (written.metadata.author, written.metadata.version) == (user, "1")
    for path in (model.export(tmp_path / "b.onnx").path, model.save(tmp_path / "c.onnx")):
        assert ImageClassifier.load(path).metadata == ModelMetadata(author="")


def test_an_export_keeps_what_the_model_says(model, tmp_path):
    first = model.export(tmp_path / "a.onnx", metadata=ModelMetadata(**SAID)).path
    again = ImageClassifier.load(first).export(tmp_path / "b.onnx").path
    assert ImageClassifier.load(again).metadata == ModelMetadata(**SAID)
