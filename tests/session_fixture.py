"""A small training session as this version writes it, kept so that later ones still read it.

``PYTHONPATH=python:tests python tests/session_fixture.py FOLDER`` makes the folder that
``tests/golden/session-v1`` was made by; it is never made anew, only others beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from eyespot import (
    DataSource,
    FeatureExtractor,
    ImageClassifier,
    ModelParameters,
    Preprocessing,
    TrainingSessionParameters,
)
from onnx_builder import Tiny
from photos import picture, png

LABELS = ("blue", "red")
N_PHOTOS = 6


def make(folder: Path) -> None:
    """Write photos, and a finished session on them."""
    for label in LABELS:
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(N_PHOTOS):
            data = png(picture(label, number, side=8)[:8, :8])
            (folder / "photos" / label / f"{number}.png").write_bytes(data)
    network = Tiny(height=8, width=8, features=12).save(folder / "tiny.onnx")
    extractor = FeatureExtractor.custom(network, preprocessing=Preprocessing(width=8, height=8))
    parameters = ModelParameters(
        feature_extractor=extractor, validation=None, l2=0.01, max_iterations=50, tolerance=1e-4
    )
    how = TrainingSessionParameters(session_directory=folder / "session", checkpoint_interval=100)
    ImageClassifier.train(DataSource.labeled_directories(folder / "photos"), parameters, how)
    network.unlink()
    (folder / "session" / "lock").unlink(missing_ok=True)
    for name in ("session.json", "data.json"):  # no path of the machine that made it
        file = folder / "session" / name
        file.write_text(file.read_text().replace(json.dumps(str(folder.resolve()))[1:-1], ""))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
