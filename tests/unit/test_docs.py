"""The examples of the documentation run as they stand."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import eyespot
from photos import photo_folder
from small_model import small_model

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "export.md"
PACKAGE = Path(eyespot.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("eyespot", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_examples_on_exporting_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("coremltools", reason="an example writes Core ML")
    model, _ = small_model(tmp_path)
    model.save(tmp_path / "pets.onnx")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"web.onnx", "small.onnx", "Pets.mlpackage"} <= written
    assert "passed on 32 photos" in capsys.readouterr().out


def test_the_example_on_groups_runs(tmp_path, monkeypatch, capsys):
    pillow = pytest.importorskip("PIL.Image", reason="the example is of JPEG files")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## Photos that belong.*?```python\n(.*?)```", text, re.DOTALL)
    photo_folder(tmp_path / "photos", {"blue": 40, "red": 40})
    for path in sorted((tmp_path / "photos").glob("*/*.png")):
        number = int(path.stem[-4:])
        name = f"{path.parent.name}{number // 4}_{number % 4}.jpg"
        pillow.open(path).save(path.with_name(name))
        path.unlink()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["model"].training_report.n_training_groups == 18
    assert "20 groups of two or more images kept together: 18 to train" in capsys.readouterr().out


def test_the_example_on_going_on_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## Going on.*?```python\n(.*?)```", text, re.DOTALL)
    photo_folder(tmp_path / "photos", {"blue": 20, "red": 20})
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    first = names["model"].to_bytes()
    exec(compile(block, "README.md", "exec"), names)
    assert names["model"].to_bytes() == first
    assert names["model"].training_report.n_reused == 40
    assert "extracting features: 40 of 40" in capsys.readouterr().out
