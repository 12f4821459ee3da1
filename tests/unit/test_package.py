"""`import eyespot` is cheap, and every public name is where it is said to be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import eyespot

HEAVY = ("onnxruntime", "onnx", "PIL", "pandas", "rich", "typer", "numpy", "sklearn")


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_loads_nothing_heavy():
    loaded = run_python("import sys, eyespot; print(' '.join(sys.modules))").split()
    assert [name for name in HEAVY if name in loaded] == []


def test_import_takes_less_than_a_fifth_of_a_second():
    code = (
        "import time; start = time.perf_counter(); import eyespot; "
        "print(time.perf_counter() - start)"
    )
    assert min(float(run_python(code)) for _ in range(5)) < 0.2


def test_help_loads_nothing_that_runs_models():
    code = (
        "import sys\nfrom eyespot import cli\nsys.argv = ['eyespot', 'train', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit: pass\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    loaded = result.stderr.split()
    assert [n for n in ("onnxruntime", "onnx", "PIL", "pandas", "numpy") if n in loaded] == []
    assert "--max-iterations" in result.stdout


@pytest.mark.parametrize("name", eyespot.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(eyespot, name) is not None
    assert name in dir(eyespot)


def test_the_table_of_homes_is_what_is_public():
    assert sorted(eyespot._HOMES) == sorted(eyespot.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'ImageClasifier'"):
        _ = eyespot.ImageClasifier
