"""Check _core.pyi against the built module with mypy's stubtest.

stubtest reports for every class that its metaclass differs, because pybind11 gives its classes one
of its own that no stub can name; those lines, and no others, are dropped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = "is inconsistent, metaclass differs"

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
errors = [line for line in lines if line.strip() and KNOWN not in line]
if run.returncode not in {0, 1} or errors:
    print("\n".join(errors) or f"stubtest ended with status {run.returncode}")
    sys.exit(1)
print("stubtest: _core.pyi agrees with the module")
