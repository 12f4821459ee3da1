"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
