"""Other native programs find the core in the installed package, link it, and get right results."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import eyespot
from eyespot import EyespotError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "native_solver"


def works(tool):
    return subprocess.run([tool, "--version"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def cmake(installed):
    """Return a function that runs CMake; skip without it, without a compiler or an install."""
    tool = shutil.which("cmake")
    if tool is None or not works(tool):
        pytest.skip("no cmake on the PATH")
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        pytest.skip("no C++ compiler on the PATH")

    def run(*arguments, check=True, **environment):
        result = subprocess.run(
            [tool, *map(str, arguments)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, result.stdout
        return result.stdout

    return run


def write_project(folder, text, **files):
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(client LANGUAGES CXX)\n" + text
    )
    for name, content in files.items():
        (folder / f"{name}.cpp").write_text(content)
    return folder


def test_the_folders_hold_what_their_names_say(installed):
    include, package = Path(eyespot.get_include()), Path(eyespot.get_cmake_dir())
    assert include.is_absolute()
    assert (package / "eyespotConfig.cmake").is_file()
    ours = {p.name: p.read_bytes() for p in (ROOT / "cpp/include/eyespot").iterdir()}
    assert {p.name: p.read_bytes() for p in (include / "eyespot").iterdir()} == ours


def test_nothing_shipped_names_the_place_where_it_was_built(installed):
    files = [f for f in installed.files if str(f).endswith((".a", ".cmake", ".hpp"))]
    assert len(files) > 10
    assert [str(f) for f in files if bytes(ROOT) in Path(f.locate()).read_bytes()] == []


@pytest.mark.parametrize("function", [eyespot.get_include, eyespot.get_cmake_dir])
def test_a_package_without_headers_says_where_they_were_looked_for(function, monkeypatch, tmp_path):
    monkeypatch.setattr(eyespot, "__path__", [str(tmp_path)])
    with pytest.raises(EyespotError, match=r"pip install \.") as caught:
        function()
    assert str(tmp_path) in str(caught.value)
    assert caught.value.code == "not_installed"


def test_an_editable_install_is_looked_through_in_all_its_folders(monkeypatch, tmp_path):
    header = tmp_path / "b" / "include" / "eyespot" / "softmax_regression.hpp"
    header.parent.mkdir(parents=True)
    header.touch()
    monkeypatch.setattr(eyespot, "__path__", [str(tmp_path / "a"), str(tmp_path / "b")])
    assert Path(eyespot.get_include()) == (tmp_path / "b" / "include").resolve()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_builds_against_the_package_and_converges(cmake, tmp_path):
    cmake("-S", EXAMPLE, "-B", tmp_path, f"-Deyespot_DIR={eyespot.get_cmake_dir()}")
    cmake("--build", tmp_path, "--config", "Release")
    (program,) = (p for p in tmp_path.rglob("native_solver*") if p.is_file() and os.access(p, 1))
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "stopped: converged" in run.stdout
    loss = re.search(r"loss ([\d.]+), from ([\d.]+)", run.stdout)
    assert float(loss[1]) < 0.2 < float(loss[2])
    assert float(re.search(r"held-out points: ([\d.]+)", run.stdout)[1]) > 0.97


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_vision_column_links_with_the_libraries_that_the_package_finds(cmake, tmp_path):
    project = write_project(
        tmp_path / "client",
        "find_package(eyespot CONFIG REQUIRED)\nadd_executable(client main.cpp)\n"
        "target_link_libraries(client PRIVATE eyespot::core)\n",
        main="""
            #include <array>
            #include <cstdio>
            #include "eyespot/codec.hpp"
            #include "eyespot/softmax_regression.hpp"
            int main() {
              const std::array<std::uint8_t, 8> bytes{'G', 'I', 'F', '8', '9', 'a', 0, 0};
              try {
                (void)eyespot::decode(bytes, {}, "here.gif");
              } catch (const eyespot::Error& error) {
                std::printf("%s, %.2f", error.what(), eyespot::softmax_curvature(2));
              }
            }
        """,
    )
    build = tmp_path / "build"
    cmake("-S", project, "-B", build, f"-Deyespot_DIR={eyespot.get_cmake_dir()}")
    cmake("--build", build)
    run = subprocess.run([build / "client"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("here.gif: ")
    assert "gif" in run.stdout.removeprefix("here.gif")


@pytest.mark.timeout(300)
def test_what_cannot_be_found_is_named_and_the_solver_needs_no_codec(cmake, tmp_path):
    (tmp_path / "nothing").mkdir()
    project = write_project(
        tmp_path / "client",
        """
            find_package(eyespot 0.1 CONFIG REQUIRED COMPONENTS solver OPTIONAL_COMPONENTS vision)
            if(TARGET eyespot::core OR eyespot_vision_FOUND OR NOT TARGET eyespot::solver)
              message(FATAL_ERROR "wrong targets")
            endif()
            find_package(eyespot CONFIG QUIET COMPONENTS solver audio)
            message("audio: ${eyespot_FOUND} ${eyespot_NOT_FOUND_MESSAGE}")
            set(package "${eyespot_DIR}")
            find_package(eyespot 99 CONFIG QUIET COMPONENTS solver)
            message("version 99: ${eyespot_FOUND}")
            set(eyespot_DIR "${package}" CACHE PATH "" FORCE)
            find_package(eyespot CONFIG REQUIRED)
        """,
    )
    output = cmake(
        *("-S", project, "-B", tmp_path / "build", f"-Deyespot_DIR={eyespot.get_cmake_dir()}"),
        check=False,
        PKG_CONFIG_LIBDIR=str(tmp_path / "nothing"),
        PKG_CONFIG_PATH="",
    )
    assert "wrong targets" not in output
    assert re.search("version 99: (0|FALSE)", output)
    assert re.search(
        "audio: (0|FALSE) eyespot has no component .audio.; it has: solver vision", output
    )
    assert "eyespot's component 'vision' cannot be linked" in output
    assert "libjpeg-turbo >= 2.1" in output
    assert "apt-get install" in output
