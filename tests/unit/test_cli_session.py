"""``eyespot train --session`` and ``--store``: what they keep, and how they go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from eyespot import FeatureStore, cli
from onnx_builder import Tiny
from photos import photo_folder

SPEC = {"size": 24, "layout": "nchw", "dtype": "float32", "resample": "bilinear_antialias"}
LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    metadata = {"eyespot.preprocessing": json.dumps(SPEC)}
    tiny = Tiny(height=24, width=24, features=12, metadata=metadata)
    network = tiny.save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    return ["--backbone", network, "--max-iterations", 500, "--tolerance", 1e-5, "--l2", 1e-4]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 20))


def run(*arguments):
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def trained(*arguments):
    """Train and return the bytes of the model and what was said on standard error."""
    result = run("train", *arguments)
    assert result.exit_code == 0, result.output
    model = arguments[arguments.index("-o") + 1]
    return model.read_bytes(), result.stderr


def test_a_session_gives_the_same_model_and_says_what_it_has(photos, options, tmp_path):
    whole, _ = trained(photos, "-o", tmp_path / "whole.onnx", *options)
    session = ["--session", tmp_path / "session"]
    first, said = trained(photos, "-o", tmp_path / "first.onnx", *session, *options)
    assert "going on" not in said
    again, said = trained(photos, "-o", tmp_path / "again.onnx", *session, *options)
    assert re.search(r"note: going on with .*session, begun 20.*: 60 embeddings and \d+ iter", said)
    assert first == again == whole
    _, said = trained(photos, "-o", tmp_path / "quiet.onnx", "-q", *session, *options)
    assert said == ""


def test_a_store_gives_the_same_model_and_says_what_it_took(photos, options, tmp_path):
    whole, _ = trained(photos, "-o", tmp_path / "whole.onnx", *options)
    store = ["--store", tmp_path / "store"]
    for n_reused in (0, 60):
        model, said = trained(photos, "-o", tmp_path / "m.onnx", *store, *options)
        assert f"note: {n_reused} embeddings taken from" in said
        assert model == whole
    result = run("train", photos, "-o", tmp_path / "m.onnx", "--json", *store, *options)
    assert json.loads(result.stdout)["report"]["reused"] == 60
    crop, out = ["--backbone", options[1]], tmp_path / "f.npz"
    assert run("extract", photos, "-o", out, *store, *crop).exit_code == 0
    assert len(FeatureStore(tmp_path / "store")) == 60


def test_what_does_not_fit_is_told_in_options(photos, options, tmp_path):
    session = ["--session", tmp_path / "session", "-o", tmp_path / "m.onnx", *options]
    trained(photos, *session)
    for more, code, said in (
        (["--seed", 3], 1, "validation was .*give another folder to --session"),
        (["--store", tmp_path / "store"], 2, "--store does not go with --session"),
        (["--start", tmp_path / "m.onnx"], 2, "--start does not go with --session"),
    ):
        result = run("train", photos, *session, *more)
        assert result.exit_code == code
        assert re.search(said, result.stderr), result.stderr
    result = run("train", photos, *options, "--store", photos)
    assert result.exit_code == 1
    assert "is no feature store; give a new or an empty folder" in result.stderr


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(options, tmp_path):
    photos = photo_folder(tmp_path / "photos", {"blue": 20, "red": 20}, side=200)
    for path in sorted(photos.rglob("*.png")):
        for copy in range(40):  # other contents: what follows the end of a PNG is not looked at
            twin = path.with_name(f"{path.stem}_{copy}.png")
            twin.write_bytes(path.read_bytes() + bytes([copy]))
    session, output = tmp_path / "session", tmp_path / "model.onnx"
    command = ["train", photos, "-o", output, "--session", session, "--threads", 1, *options]
    with subprocess.Popen(
        [sys.executable, "-m", "eyespot", *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
    ) as child:
        while not list(session.glob("store/*/*.index")):
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 130, said
    assert f"kept in {session}; the same command goes on from there" in said
    assert not output.exists()
    resumed, said = trained(*command[1:])
    kept = int(re.search(r"begun .*: ([\d,]+) embedding", said)[1].replace(",", ""))
    assert kept > 0
    whole, _ = trained(photos, "-o", tmp_path / "whole.onnx", *options)
    assert resumed == whole
