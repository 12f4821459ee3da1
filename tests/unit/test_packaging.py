"""What a user gets from pip: the right files, one version, a wheel of a sensible size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import eyespot

ROOT = Path(__file__).parents[2]
PACKAGE = Path(eyespot.__file__).parent
SHIPPED = (
    "eyespot/__init__.py",
    "eyespot/_core.pyi",
    "eyespot/backbones/eyespot-v0.md",
    "eyespot/backbones/eyespot-v0.onnx",
    "eyespot/backbones/eyespot-v1.md",
    "eyespot/backbones/eyespot-v1.onnx",
    "eyespot/backbones/eyespot-v2.md",
    "eyespot/backbones/eyespot-v2.onnx",
    "eyespot/backbones/eyespot-v3.md",
    "eyespot/backbones/eyespot-v3.onnx",
    "eyespot/cmake/eyespot-solver-targets-release.cmake",
    "eyespot/cmake/eyespot-solver-targets.cmake",
    "eyespot/cmake/eyespot-vision-targets-release.cmake",
    "eyespot/cmake/eyespot-vision-targets.cmake",
    "eyespot/cmake/eyespotConfig.cmake",
    "eyespot/cmake/eyespotConfigVersion.cmake",
    "eyespot/cmake/eyespotDependencies.cmake",
    "eyespot/lib/libeyespot_base.a",
    "eyespot/lib/libeyespot_solver.a",
    "eyespot/lib/libeyespot_vision.a",
    "eyespot/py.typed",
)
HEADERS = [f"eyespot/include/eyespot/{p.name}" for p in (ROOT / "cpp/include/eyespot").iterdir()]


def check_names(names):
    assert set(SHIPPED) <= set(names)
    assert any(re.fullmatch(r"eyespot/_core\.[\w.-]+\.(so|pyd)", name) for name in names)
    assert any(re.fullmatch(r"eyespot-[\w.]+\.dist-info/licenses/LICENSE", n) for n in names)
    strange = [n for n in names if n.endswith((".cpp", ".hpp", ".txt", ".o", ".a", ".cmake"))]
    meant = [*SHIPPED, *HEADERS]
    assert [n for n in strange if n not in meant and not n.endswith("entry_points.txt")] == []
    assert set(HEADERS) <= set(names)
    assert not [n for n in names if n.startswith(("tests/", "bench/", "cpp/"))]


def test_the_version_is_the_same_in_pyproject_in_cmake_and_at_run_time():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cmake = re.search(r"project\(eyespot VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    assert cmake is not None
    assert project["version"] == cmake[1] == eyespot.__version__


def test_the_changelog_has_the_version_or_unreleased_work():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{eyespot.__version__}]" in text or "## [Unreleased]" in text


def test_the_package_under_test_is_the_one_that_was_meant():
    expected = os.environ.get("EYESPOT_EXPECT_PACKAGE")
    if expected is None:
        pytest.skip("EYESPOT_EXPECT_PACKAGE does not name a folder")
    assert (ROOT / expected / "eyespot").resolve() == PACKAGE.resolve()


def test_the_installed_package_has_backbone_card_licence_and_types(installed):
    check_names([str(path) for path in installed.files])
    assert installed.metadata["License-Expression"] == "Apache-2.0"


def test_every_extra_of_pyproject_is_offered(installed):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(installed.metadata.get_all("Provides-Extra")) == set(
        project["optional-dependencies"]
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_builds_with_all_in_it_and_stays_below_9_5_mb(installed, tmp_path):
    pytest.importorskip("scikit_build_core", reason="the wheel's build tools are not installed")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"eyespot-{eyespot.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        check_names(archive.namelist())
    assert wheel.stat().st_size < 9.5e6
