"""The examples of the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from small_model import small_model

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


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
