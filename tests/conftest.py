"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from importlib import metadata
from pathlib import Path

import pytest

import eyespot

# A shell without job control, as in CI, starts what runs in the background with SIGINT ignored, and
# so Python too. The tests of Ctrl-C, here and in child processes, need it as a person has it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Real photos, corpora and backbones lie beside the checkout on the developers' machines; they are
# never committed. EYESPOT_TEST_DATA points elsewhere.
DATA = Path(os.environ.get("EYESPOT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def test_data():
    """Return a function that gives a path below the test data, or skips with the reason."""

    def find(relative: str) -> Path:
        path = DATA / relative
        if not path.exists():
            pytest.skip(f"needs {relative} of the test data, which is not at {DATA}")
        return path

    return find


@pytest.fixture
def installed():
    """Return the distribution that pip installed, or skip: a build in the tree has none."""
    package = Path(eyespot.__file__).parent
    try:
        distribution = metadata.distribution("eyespot")
    except metadata.PackageNotFoundError:
        pytest.skip("eyespot is not installed here; `make test` installs it")
    if Path(str(distribution.locate_file("eyespot"))) != package:
        pytest.skip(f"the package under test is {package}, not the installed one")
    return distribution
