"""Groups of photos on the command line."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from eyespot import DataSource, cli
from onnx_builder import Tiny
from photos import grouped_photo_folder

FOUR = r"(.+)_\d+\.png"  # pictures of a group are called GROUP_0.png to GROUP_3.png


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos") / "set"
    return grouped_photo_folder(root, {"blue": 10, "green": 10, "red": 10})


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    spec = {"size": 24, "layout": "nchw", "dtype": "float32", "resample": "bilinear_antialias"}
    tiny = Tiny(
        height=24, width=24, features=12, metadata={"eyespot.preprocessing": json.dumps(spec)}
    )
    return tiny.save(tmp_path_factory.mktemp("cli") / "tiny.onnx")


def run(*arguments):
    """Run a command in this process; wide, so that no message is wrapped."""
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def test_train_takes_a_pattern_and_tells_what_was_kept_together(photos, network, tmp_path):
    options = ["--backbone", network, "--validation", "0.2", "--max-iterations", 500]
    result = run("train", photos, "-o", tmp_path / "m.onnx", "--groups", FOUR, *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"images +96 +24\ngroups +24 +6\n", result.stdout)
    assert (
        "30 groups of two or more images kept together: 24 to train on, 6 held out" in result.stderr
    )
    inspected = run("inspect", tmp_path / "m.onnx")
    assert re.search(r"groups +24 trained on, 6 held out", inspected.stdout)
    plain = run("train", photos, "-o", tmp_path / "p.onnx", *options)
    assert "groups" not in plain.stdout + plain.stderr


def test_train_takes_a_column_of_a_table(photos, network, tmp_path):
    data = DataSource.labeled_directories(photos, groups=FOUR)
    rows = [
        f"{path},{label},{group}"
        for path, label, group in zip(data.paths, data.labels, data.groups, strict=True)
    ]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path,label,film", *rows]))
    options = ["--backbone", network, "--validation", "0.2", "--max-iterations", 500, "--json"]
    facts = [
        json.loads(run("train", source, "-o", tmp_path / "m.onnx", *how, *options).stdout)
        for source, how in ((table, ["--group-column", "film"]), (photos, ["--groups", FOUR]))
    ]
    assert facts[0]["report"]["groups"] == {"training": 24, "validation": 6}
    assert facts[0]["metrics"] == facts[1]["metrics"]


def test_a_session_of_the_command_line_refuses_other_groups(photos, network, tmp_path):
    options = ["-o", tmp_path / "m.onnx", "--backbone", network, "--session", tmp_path / "kept"]
    options += ["--max-iterations", 500]
    assert run("train", photos, "--groups", FOUR, *options).exit_code == 0
    again = run("train", photos, *options)
    assert again.exit_code == 1
    assert "the groups are not those that the session" in again.stderr
    assert "give another folder to --session" in again.stderr


def test_review_takes_groups_too(photos, network):
    result = run("review", photos, "--backbone", network, "--groups", FOUR, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_images"] == 120


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group-column", "film"], "--group-column goes with a table; --groups takes a pattern"),
        (["--groups", "("], "--groups is '(', which is no regular expression"),
        (["--groups", "film7"], "--groups is 'film7', which matches no path; the first is 'blue/"),
    ],
)
def test_options_that_tell_no_groups_are_usage_errors(photos, tmp_path, arguments, words):
    result = run("train", photos, "-o", tmp_path / "m.onnx", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_both_options_at_once_are_a_usage_error(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,film\n")
    both = ["--groups", "a", "--group-column", "film"]
    result = run("train", tmp_path / "t.csv", "-o", tmp_path / "m.onnx", *both)
    assert result.exit_code == 2
    assert "--groups is given together with --group-column" in result.stderr
