"""clang-format and clang-tidy over the C++ of this tree, clang-tidy only where something changed.

A file that clang-tidy passed is remembered by the hash of all it depends on inside the project: its
text, the project headers it includes, its compile command, .clang-tidy and the tool's version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)
FOLDERS = (ROOT / "cpp", ROOT / "examples", ROOT / "tests" / "cpp", ROOT / "tests" / "fuzz")


def sources() -> list[Path]:
    suffixes = {".cpp", ".hpp", ".h"}
    return sorted(p for folder in FOLDERS for p in folder.rglob("*") if p.suffix in suffixes)


@cache
def project_includes(path: Path) -> frozenset[Path]:
    """Return the project headers that `path` reaches, itself included."""
    found = {path}
    for name in INCLUDE.findall(path.read_text()):
        for folder in (path.parent, ROOT / "cpp" / "include", ROOT / "cpp" / "src"):
            target = (folder / name).resolve()
            if target != path and target.is_file():
                found |= project_includes(target)
                break
    return frozenset(found)


def digest(path: Path, command: str, common: bytes) -> str:
    value = hashlib.sha256(common + command.encode())
    for part in sorted(project_includes(path)):
        value.update(str(part.relative_to(ROOT)).encode() + part.read_bytes())
    return value.hexdigest()


def check_format() -> bool:
    files = [str(p) for p in sources()]
    return (
        subprocess.run(["clang-format", "--dry-run", "-Werror", *files], check=False).returncode
        == 0
    )


def tidy(path: Path, build: Path) -> tuple[Path, str, float]:
    """Return what clang-tidy says against `path`; empty when nothing."""
    start = time.monotonic()
    run = subprocess.run(
        ["clang-tidy", "--quiet", "-p", str(build), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaint = "" if run.returncode == 0 else run.stdout + run.stderr
    return path, complaint, time.monotonic() - start


def check_tidy(build: Path, jobs: int) -> bool:
    passed = build / "tidy-passed"
    passed.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    common = version + (ROOT / ".clang-tidy").read_bytes()
    todo: dict[Path, Path] = {}
    commands = json.loads((build / "compile_commands.json").read_text())
    for entry in commands:
        path = Path(entry["directory"], entry["file"]).resolve()
        if any(path.is_relative_to(folder) for folder in FOLDERS):
            mark = passed / digest(path, entry["command"], common)
            if not mark.exists():
                todo[path] = mark
    good = True
    with ThreadPoolExecutor(jobs) as pool:
        for path, complaint, seconds in pool.map(lambda p: tidy(p, build), todo):
            print(f"clang-tidy {path.relative_to(ROOT)} {seconds:.1f} s", flush=True)
            if complaint:
                good = False
                print(complaint, flush=True)
            else:
                todo[path].touch()
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="has compile_commands.json")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    formatted = check_format()
    tidied = check_tidy(options.build.resolve(), options.jobs)
    return 0 if formatted and tidied else 1


if __name__ == "__main__":
    sys.exit(main())
