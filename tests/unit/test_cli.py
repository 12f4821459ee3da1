"""The command line: its results, its exit codes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from eyespot import ImageClassifier, cli, verify
from onnx_builder import Tiny
from photos import photo_folder, picture, png

SPEC = {"size": 24, "layout": "nchw", "dtype": "float32", "resample": "bilinear_antialias"}
LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    metadata = {"eyespot.preprocessing": json.dumps(SPEC)}
    tiny = Tiny(height=24, width=24, features=12, metadata=metadata)
    return tiny.save(tmp_path_factory.mktemp("net") / "tiny.onnx")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 20))


@pytest.fixture(scope="module")
def model(tmp_path_factory, photos, network):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    result = run("train", photos, "-o", path, *tiny_options(network))
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(png(picture("red", 0))[:60])
    return path


def tiny_options(network):
    return ["--backbone", network, "--max-iterations", 500, "--tolerance", 1e-3]


def run(*arguments):
    """Run a command in this process; wide, so that no message is wrapped."""
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def process(*arguments, **options):
    command = [sys.executable, "-m", "eyespot", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **options,
    )


# -- results --------------------------------------------------------------------------------------


def test_train_saves_a_model_and_shows_its_accuracy(photos, network, tmp_path):
    output = tmp_path / "mine.onnx"
    result = run("train", photos, "-o", output, *tiny_options(network))
    assert result.exit_code == 0
    assert "60 images of 3 labels" in result.stderr
    assert re.search(r"images +54 +6\naccuracy +100\.0 % +\d", result.stdout)
    assert f"Saved {output}" in result.stdout
    assert ImageClassifier.load(output).classes == LABELS


def test_train_json_is_only_json(photos, network, tmp_path):
    output = tmp_path / "mine.onnx"
    result = run("train", photos, "-o", output, "--json", *tiny_options(network))
    facts = json.loads(result.stdout)
    assert facts["model"] == str(output)
    assert facts["metrics"]["training"]["accuracy"] == 1
    assert facts["report"]["images_per_second"] > 0
    assert facts["report"]["skipped"] == []


def test_train_options_reach_the_model(photos, network, tmp_path):
    output = tmp_path / "mine.onnx"
    options = ["--validation", 0.25, "--l2", 0.01, "--seed", 7, "-q"]
    options += ["--class-weights", 0.5, "--crop", "fit"]
    result = run("train", photos, "-o", output, *options, *tiny_options(network))
    assert result.exit_code == 0, result.output
    parameters = ImageClassifier.load(output).parameters
    assert parameters["validation"] == {"ratio": 0.25, "seed": 7}
    assert (parameters["l2"], parameters["crop"]) == (0.01, "fit")
    assert parameters["class_weights"] == 0.5
    assert result.stderr == ""


def test_train_makes_a_perceptron_and_goes_on_from_it(photos, network, tmp_path):
    output, further = tmp_path / "a.onnx", tmp_path / "b.onnx"
    options = ["--classifier", "multilayer_perceptron", "--layer-sizes", "9,5"]
    result = run("train", photos, "-o", output, *options, *tiny_options(network))
    assert result.exit_code == 0, result.output
    assert "by the temperature" in result.stdout
    model = ImageClassifier.load(output)
    assert model.parameters["classifier"]["layer_sizes"] == [9, 5]
    options += ["--start", output, "--no-calibration"]
    result = run("train", photos, "-o", further, *options, *tiny_options(network))
    assert result.exit_code == 0, result.output
    assert "temperature" not in result.stdout
    assert ImageClassifier.load(further).facts["calibration"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer-sizes", "9"], "goes with --classifier multilayer_perceptron"),
        (["--classifier", "multilayer_perceptron", "--layer-sizes", "a"], "such as 128 or 128,64"),
        (["--classifier", "multilayer_perceptron", "--layer-sizes", "0"], "from 1 to 65536"),
        (["--class-weights", "half"], "none, balanced, or a power"),
    ],
)
def test_train_says_what_an_option_takes(photos, network, tmp_path, options, words):
    output = tmp_path / "a.onnx"
    result = run("train", photos, "-o", output, *options, *tiny_options(network))
    assert result.exit_code != 0
    assert words in " ".join(result.stderr.split())


def test_train_takes_a_table_and_file_names(tmp_path, network):
    folder = photo_folder(tmp_path / "photos", {"blue": 4, "red": 4})
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in folder.rglob("*.png")]
    (tmp_path / "t.csv").write_text("file,kind\n" + "\n".join(rows))
    table = ["--path-column", "file", "--label-column", "kind"]
    output = tmp_path / "a.onnx"
    result = run("train", tmp_path / "t.csv", "-o", output, *table, *tiny_options(network))
    assert result.exit_code == 0, result.output
    assert ImageClassifier.load(output).classes == ("blue", "red")

    flat = tmp_path / "flat"
    flat.mkdir()
    for path in folder.rglob("*.png"):
        (flat / f"{path.parent.name}.{path.name}").write_bytes(path.read_bytes())
    by_name = ["--data-format", "labeled_files"]
    again = tmp_path / "b.onnx"
    result = run("train", flat, "-o", again, *by_name, *tiny_options(network))
    assert result.exit_code == 0, result.output
    assert again.read_bytes() == output.read_bytes()


def test_train_takes_a_folder_for_validation(photos, network, tmp_path):
    held_out = photo_folder(tmp_path / "held", dict.fromkeys(LABELS, 3), first=200)
    output = tmp_path / "a.onnx"
    result = run("train", photos, "-o", output, "--validation", held_out, *tiny_options(network))
    assert result.exit_code == 0, result.output
    assert re.search(r"images +60 +9\n", result.stdout)


def test_warnings_are_single_lines_on_standard_error(photos, network, tmp_path, broken):
    folder = photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 3))
    (folder / "red" / "broken.png").write_bytes(broken.read_bytes())
    output = tmp_path / "a.onnx"
    hasty = ["--backbone", network, "--max-iterations", 1, "--tolerance", 1e-9]
    result = run("train", folder, "-o", output, *hasty)
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "1 of 10 images could not be read" in lines[0]
    assert "stopped after 1 iteration" in lines[1]


def test_notes_and_assumptions_are_told(tmp_path):
    folder = photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 6))
    (folder / "red" / "readme.txt").write_text("not a photo")
    plain = Tiny(height=24, width=24, features=12).save(tmp_path / "plain.onnx")
    result = run("train", folder, "-o", tmp_path / "m.onnx", *tiny_options(plain))
    assert result.exit_code == 0, result.output
    assert "18 images of 3 labels; passed over 1 file" in result.stderr
    assert "assumed RGB" in result.stderr
    assert "note: no validation set: 18 images" in result.stderr


def test_evaluate_prints_metrics(model, tmp_path):
    folder = photo_folder(tmp_path, dict.fromkeys(LABELS, 4), first=300)
    result = run("evaluate", model, folder)
    assert result.exit_code == 0
    assert "accuracy" in result.stdout.lower()
    metrics = json.loads(run("evaluate", model, folder, "--json").stdout)
    assert metrics["n_images"] == 12


def test_predict_prints_a_line_a_photo_with_tabs(model, tmp_path):
    folder = photo_folder(tmp_path, {"blue": 2, "red": 1}, first=400)
    result = run("predict", model, folder, "--top-k", 2)
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(row) for row in rows] == [5, 5, 5]
    assert [row[1] for row in rows] == ["blue", "blue", "red"]
    assert all(0 <= float(row[4]) <= float(row[2]) <= 1 for row in rows)


def test_predict_json_and_errors(model, tmp_path, broken):
    folder = photo_folder(tmp_path / "good", {"red": 1}, first=500)
    result = run("predict", model, folder, broken, tmp_path / "missing.jpg", "--json")
    assert result.exit_code == 1
    good, bad, missing = json.loads(result.stdout)
    assert good["predictions"][0]["label"] == "red"
    assert bad["file"] == str(broken)
    assert "error" in bad
    assert "error" in missing
    plain = run("predict", model, folder, broken)
    assert plain.exit_code == 1
    assert f"error: {broken}" in plain.stderr
    assert len(plain.stdout.splitlines()) == 1


def test_inspect_shows_the_summary(model):
    result = run("inspect", model)
    assert result.stdout == ImageClassifier.load(model).summary() + "\n"
    assert json.loads(run("inspect", model, "--json").stdout)["classes"] == list(LABELS)


def test_inspect_shows_the_card_of_the_backbone():
    assert "default backbone" in run("inspect", "--backbone").stdout
    facts = json.loads(run("inspect", "--backbone", "--json").stdout)
    assert facts["n_features"] == 1920
    assert run("inspect").exit_code == 2


def test_extract_saves_arrays(photos, network, tmp_path):
    output = tmp_path / "f.npz"
    result = run("extract", photos, "-o", output, "--backbone", network)
    assert result.exit_code == 0, result.output
    with np.load(output) as arrays:
        assert arrays["embeddings"].shape == (60, 12)
        assert arrays["embeddings"].dtype == np.float32
        assert arrays["classes"].tolist() == list(LABELS)
        labels = arrays["classes"][arrays["targets"]]
        assert all(label in path for label, path in zip(labels, arrays["paths"], strict=True))


def test_extract_takes_photos_without_labels(photos, network, tmp_path):
    output = tmp_path / "f.npz"
    result = run("extract", photos / "red", "-o", output, "--backbone", network, "--json")
    assert json.loads(result.stdout)["images"] == 20
    with np.load(output) as arrays:
        assert sorted(arrays) == ["embeddings", "paths"]


def test_demo_tells_what_it_did(tmp_path):
    folder = photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 8), side=160)
    output = tmp_path / "demo.onnx"
    result = run("demo", folder, "-o", output)
    assert result.exit_code == 0, result.output
    for word in ("Photos:", "Trained", "Tested: accuracy", "Predicted", "Saved", "bit for bit"):
        assert word in result.stdout
    assert "Exported demo-any-size.onnx" in result.stdout
    assert "Reviewed the training photos in demo-review.html" in result.stdout
    assert (tmp_path / "demo-review.html").is_file()
    assert re.search(r"in all +\d+\.\d\d s", result.stdout)
    assert output.exists()
    assert verify(tmp_path / "demo-any-size.onnx").passed


def test_version_and_help():
    assert re.fullmatch(r"eyespot \d+\.\d+\.\d+\n", run("--version").stdout)
    text = run("--help").stdout
    for command in ("train", "evaluate", "predict", "inspect", "extract", "demo"):
        assert command in text


# -- errors ---------------------------------------------------------------------------------------


def fails(code, *arguments):
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


def test_a_missing_folder_is_named_with_a_guess(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    text = fails(1, "train", tmp_path / "photo", "-o", tmp_path / "m.onnx")
    assert "no such folder" in text
    assert "'photos'" in text


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    assert "one sub-folder per label" in fails(1, "train", tmp_path, "-o", tmp_path / "m.onnx")


def test_one_label_is_too_few(tmp_path):
    folder = photo_folder(tmp_path / "p", {"red": 3})
    assert "two labels" in fails(1, "train", folder, "-o", tmp_path / "m.onnx")


def test_a_label_with_one_image_is_named(tmp_path):
    folder = photo_folder(tmp_path / "p", {"red": 3, "green": 1})
    assert "only one image of 'green'" in fails(1, "train", folder, "-o", tmp_path / "m.onnx")


def test_all_images_broken_is_said_once(tmp_path, broken, network):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(broken.read_bytes())
    arguments = ["train", tmp_path / "p", "-o", tmp_path / "m.onnx", "--backbone", network]
    assert "no image could be read" in fails(1, *arguments)


@pytest.mark.parametrize("command", [["evaluate", "p"], ["predict", "x.jpg"], ["inspect"]])
def test_an_unreadable_model_is_explained(tmp_path, command):
    path = tmp_path / "model.onnx"
    assert "No such file" in fails(1, command[0], path, *command[1:])
    path.write_bytes(b"PK\x03\x04")
    assert "zip archive" in fails(1, command[0], path, *command[1:])


def test_a_mistyped_option_or_command_gets_a_suggestion(photos):
    assert "--max-iterations" in fails(2, "train", photos, "--max-iteration", 3)
    assert "'train'" in fails(2, "trian", photos)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--validation", "sometimes"], "automatic, none, a share"),
        (["--validation", "1.5"], "from 0 to 1"),
        (["--max-iterations", "0"], "max-iterations"),
        (["--crop", "middle"], "center_crop"),
        (["--l2", "little"], "auto, or a number"),
        (["--output-name", "embedding"], "goes with --backbone"),
        (["--backbone", "resnet"], "resnet"),
        (["-o", "no/such/folder/m.onnx"], "does not exist"),
        (["-o", "."], "is a folder"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(photos, arguments, words):
    assert words in fails(2, "train", photos, *arguments)


def test_evaluate_refuses_unknown_labels(model, tmp_path):
    folder = photo_folder(tmp_path, {"yellow": 2})
    assert "yellow" in fails(1, "evaluate", model, folder)


# -- as a process ---------------------------------------------------------------------------------


def test_exit_codes_of_the_real_process(model, photos, tmp_path):
    for code, arguments in [
        (0, ["inspect", model]),
        (1, ["train", tmp_path / "nowhere"]),
        (2, ["train", photos, "--nonsense"]),
    ]:
        with process(*arguments, cwd=tmp_path) as child:
            child.communicate(timeout=60)
        assert child.returncode == code


def test_ctrl_c_ends_training_with_130_and_leaves_nothing(tmp_path):
    folder = photo_folder(tmp_path / "photos", {"blue": 40, "red": 40}, side=200)
    for path in sorted(folder.rglob("*.png")):  # links: many images at the cost of few
        for copy in range(60):
            path.with_name(f"{path.stem}_{copy}.png").hardlink_to(path)
    output = tmp_path / "model.onnx"
    with process("train", folder, "-o", output, "--validation", "none") as child:
        line = child.stderr.readline()
        assert "images of 2 labels" in line
        time.sleep(1.5)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=30)
    assert child.returncode == 130, rest
    assert time.monotonic() - start < 2
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_progress_is_plain_lines_where_there_is_no_terminal(photos, network, tmp_path):
    arguments = ["train", photos, "-o", tmp_path / "m.onnx", *tiny_options(network)]
    with process(*arguments) as child:
        _, text = child.communicate(timeout=60)
    assert "extracting features: 60 of 60" in text
    assert "\x1b" not in text
    assert "\r" not in text


def test_progress_is_a_bar_on_a_terminal(photos, network, tmp_path):
    import pty

    parent, child_end = pty.openpty()
    arguments = ["train", photos, "-o", tmp_path / "m.onnx", *tiny_options(network)]
    command = [sys.executable, "-m", "eyespot", *map(str, arguments)]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child_end, env=env) as child:
        os.close(child_end)
        text = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
    os.close(parent)
    assert child.returncode == 0
    shown = text.decode()
    assert "Extracting features" in shown
    assert "60/60" in shown
    assert "━" in shown


def test_a_reader_that_leaves_early_is_no_failure_to_explain(model, tmp_path):
    folder = photo_folder(tmp_path, {"blue": 30})
    with process("predict", model, folder) as child:
        child.stdout.close()
        text = child.stderr.read()
        child.wait(timeout=60)
    assert "Traceback" not in text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_line(model, unbuffered):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "eyespot", "inspect", str(model), "--json"]
        env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(model, photos):
    running = process("predict", model, photos, "--json", "-q")
    running.stdout.close()
    with running.stderr:
        told = running.stderr.read()
    assert (running.wait(30), told) == (1, "")


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams_do_not_stop_the_work(model, photos, closed):
    command = f"exec '{sys.executable}' -m eyespot predict '{model}' '{photos}' {closed}>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == (60 if closed == 2 else 0)


def test_odd_file_names_break_neither_lines_nor_json(model, tmp_path):
    good, bad = b"a\nb\t\x1b[31mc\xff.png", b"x\ny\x1b\xff.png"
    for name, data in ((good, png(picture("red", 0))), (bad, b"no image")):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(data)
    command = [sys.executable, "-m", "eyespot", "predict", str(model), str(tmp_path)]
    plain = subprocess.run(command, capture_output=True, check=False)
    assert plain.returncode == 1
    (line,) = plain.stdout.splitlines()
    assert line.startswith(os.fsencode(tmp_path) + rb"/a\nb\t\x1b[31mc" + b"\xff.png\tred\t")
    (line,) = plain.stderr.splitlines()
    assert line.startswith(b"error: " + os.fsencode(tmp_path) + rb"/x\ny\x1b\udcff.png: ")
    done = subprocess.run([*command, "--json"], capture_output=True, check=False)
    names = [os.fsencode(answer["file"]).rsplit(b"/", 1)[1] for answer in json.loads(done.stdout)]
    assert names == [good, bad]


def test_an_output_without_permission_is_refused_at_once(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    result = run("train", photos, "-o", tmp_path / "a.onnx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "a.onnx: there is no permission to write to the folder" in result.stderr


def test_one_file_without_permission_does_not_stop_the_others(model, photos, tmp_path, monkeypatch):
    # As the system answers a user without the right; root, who may run this test, has it.
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(picture("red", 0)))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result = run("predict", model, secret, photos / "red" / "red_0000.png")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--validation", "5"], "--validation is 5.0; allowed"),
        (["--threads", "5000"], "--threads is 5000; allowed"),
    ],
)
def test_a_number_out_of_range_is_named_as_the_option(photos, tmp_path, options, words):
    result = run("train", photos, "-o", tmp_path / "a.onnx", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_ctrl_c_during_the_import_is_quiet():
    code = "import eyespot.__main__ as m\n"
    code += "import builtins; real = builtins.__import__\n"
    code += "def press(name, *rest):\n"
    code += "    if name == 'eyespot.cli': raise KeyboardInterrupt\n"
    code += "    return real(name, *rest)\n"
    code += "builtins.__import__ = press; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
