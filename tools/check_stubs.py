"""Check _core.pyi against the built module with mypy's stubtest.

pybind11 gives its classes a metaclass of its own that no stub can name, and those that only C++
makes an __init__(*args, **kwargs) that always refuses. Only those complaints are dropped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = re.compile(
    r"^eyespot\._core\.\w+ is inconsistent, metaclass differs$"
    r"|\.__init__ is inconsistent, stub does not have \*{1,2}\w+ parameter .(args|kwargs).$"
)

run = subprocess.run(
    [
        *(sys.executable, "-m", "mypy.stubtest", "eyespot._core", "--concise"),
        *("--mypy-config-file", str(ROOT / "pyproject.toml")),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
)
lines = (run.stdout + run.stderr).splitlines()
errors = [line for line in lines if line.strip() and not KNOWN.search(line)]
if run.returncode not in {0, 1} or errors:
    print("\n".join(errors) or f"stubtest ended with status {run.returncode}")
    sys.exit(1)
print("stubtest: _core.pyi agrees with the module")
