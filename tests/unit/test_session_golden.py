"""A session that version 0.1.0 wrote (`session_fixture`) is read for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyespot import (
    DataSource,
    FeatureStore,
    ImageClassifier,
    Phase,
    Preprocessing,
    TrainingSessionParameters,
)
from session_fixture import LABELS, make

GOLDEN = Path(__file__).parents[1] / "golden" / "session-v1"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "golden")


@pytest.fixture
def how(folder):
    return TrainingSessionParameters(session_directory=folder / "session")


def test_it_is_restored(how):
    session = ImageClassifier.restore_training_session(how)
    assert session.date.isoformat() == "2026-11-28T01:58:04+00:00"
    assert session.data.counts() == dict.fromkeys(LABELS, 6)
    assert session.data.paths[0] == Path("/photos/blue/0.png")
    parameters = session.parameters
    assert (parameters.l2, parameters.max_iterations, parameters.validation) == (0.01, 50, None)
    assert parameters.feature_extractor.n_features == 12
    assert parameters.feature_extractor.preprocessing == Preprocessing(width=8, height=8)
    made = session.checkpoints
    assert [(c.phase, c.iteration) for c in made] == [
        (Phase.EXTRACTING_FEATURES, 12),
        (Phase.TRAINING, 1),
        (Phase.TRAINING, 14),
    ]
    assert made[-1].metrics == {"loss": pytest.approx(0.00086766474), "accuracy": 1.0}
    state = made[-1].state()
    assert (state["iteration"], state["n_rows"], state["n_features"]) == (14, 12, 12)
    assert state["x"].shape == state["gradient"].shape == (26,)
    assert state["held_out"]["rows"].tolist() == list(range(12))


def test_its_embeddings_are_read(folder, how):
    session = ImageClassifier.restore_training_session(how)
    store = FeatureStore(folder / "session" / "store")
    assert len(store) == 12
    (label,) = store.path.glob("*/shelf.json")
    identity = json.loads(label.read_text())
    keys = np.array([bytes.fromhex(digest) for digest in session.data.hashes().digests], "S32")
    values = np.zeros((12, 12), np.float32)
    with store.shelf(identity, identity.pop("n_features")) as shelf:
        assert shelf.read(keys, values, np.arange(12)).all()
    paths = DataSource.labeled_directories(folder / "photos").paths
    now = session.parameters.feature_extractor.extract(paths)
    np.testing.assert_allclose(values, now.embeddings, rtol=1e-4, atol=1e-5)


def test_it_is_gone_on_with(folder, how):
    data = DataSource.labeled_directories(folder / "photos")
    parameters = ImageClassifier.restore_training_session(how).parameters
    session = ImageClassifier.make_training_session(data, parameters, how)
    model = ImageClassifier.resume(session).result(60)
    assert model.to_bytes() == ImageClassifier.train(data, parameters).to_bytes()


def test_the_helper_makes_such_a_folder(tmp_path):
    """So that the next version's can be made when its form changes."""
    make(tmp_path)
    names = {path.name for path in GOLDEN.rglob("*.*") if "store" not in path.parts}
    assert {path.name for path in tmp_path.rglob("*.*") if "store" not in path.parts} == names
    assert str(tmp_path) not in (tmp_path / "session" / "session.json").read_text()
