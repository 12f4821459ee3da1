"""The benchmark harness, on peers that sleep for a known time."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from bench import environment, harness, penalty, report

PEER = """
import os, time
REQUIREMENTS = None
class Peer:
    def __init__(self, options):
        self.seconds = options["seconds"] * {factor}
        self.variables = dict(os.environ)
    def run(self):
        time.sleep(self.seconds)
        return {{"phase_s": self.seconds, **{facts}}}
    def outputs(self):
        import numpy as np
        blas = "OPENBLAS_CORETYPE" in self.variables
        return {{"sum": np.array([{value}]), "blas": np.array(blas)}}
"""


class Sleepers:
    peers = ("eyespot", "slow")
    fresh_process = False

    def compare(self, case, outputs):
        sums = {peer: float(arrays["sum"][0]) for peer, arrays in outputs.items()}
        assert len(set(sums.values())) == 1, f"the peers disagree: {sums}"
        assert not any(arrays["blas"] for arrays in outputs.values())
        return {"sum": sums["eyespot"]}


@pytest.fixture
def peers(tmp_path, monkeypatch):
    (tmp_path / "nap_eyespot.py").write_text(PEER.format(factor=1, value=7, facts={}))
    (tmp_path / "nap_slow.py").write_text(PEER.format(factor=3, value=7, facts={}))
    (tmp_path / "nap_wrong.py").write_text(PEER.format(factor=1, value=8, facts={}))
    (tmp_path / "nap_broken.py").write_text(PEER.format(factor="'x'", value=8, facts={}))
    stopped = {"measured_s": 50.0, "stopped": 1}
    (tmp_path / "nap_stopped.py").write_text(PEER.format(factor=1, value=7, facts=stopped))
    monkeypatch.setattr(harness, "PEERS", tmp_path)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")


CASE = harness.Case(name="short", options={"seconds": 0.05}, units=10)


def measure(names, **changes):
    settings = {"peers": names, "threads": 1, "repeat": 3, "pin": True} | changes
    return harness.measure("nap", Sleepers(), CASE, **settings)


@pytest.mark.usefixtures("peers")
def test_a_peer_that_takes_three_times_as_long_has_a_ratio_of_three():
    result = measure(["eyespot", "slow"])
    assert result["ratios"]["slow"]["median"] == pytest.approx(3, rel=0.3)
    assert result["peers"]["eyespot"]["units_per_second"] == pytest.approx(200, rel=0.3)
    assert len(result["peers"]["slow"]["seconds"]) == 3
    assert result["peers"]["slow"]["median_facts"]["phase_s"] == pytest.approx(0.15)
    assert result["peers"]["slow"]["peak_rss_mib"] > 1
    assert json.loads(json.dumps(result)) == result
    assert "slow" in harness.table(result)


@pytest.mark.usefixtures("peers")
def test_a_new_process_a_run_gives_the_same_figures(monkeypatch):
    monkeypatch.setattr(Sleepers, "fresh_process", True)
    assert measure(["eyespot", "slow"])["ratios"]["slow"]["median"] == pytest.approx(3, rel=0.3)


@pytest.mark.usefixtures("peers")
def test_nothing_is_timed_when_the_outputs_differ():
    with pytest.raises(AssertionError, match="disagree"):
        measure(["eyespot", "wrong"])


@pytest.mark.usefixtures("peers")
def test_the_time_of_a_peer_that_was_stopped_is_a_lower_bound():
    result = measure(["eyespot", "stopped"])
    assert result["peers"]["stopped"]["median_seconds"] == 50
    assert "more than" in harness.table(result)


@pytest.mark.usefixtures("peers")
def test_a_case_is_prepared_once_before_any_peer_starts(monkeypatch):
    calls = []
    case = harness.Case(
        name="made", options={"seconds": 0.01}, units=1, prepare=lambda: calls.append(1)
    )
    monkeypatch.setattr(f"{__name__}.CASE", case)
    measure(["eyespot", "slow"], repeat=1)
    assert calls == [1]


@pytest.mark.usefixtures("peers")
def test_an_error_in_a_peer_is_shown_with_its_traceback():
    with pytest.raises(harness.PeerFailed, match=r"nap_broken(.|\n)*TypeError"):
        measure(["eyespot", "broken"])


def test_a_measured_process_gets_no_variable_that_steers_blas(monkeypatch):
    for name in (*environment.UNSET, "OMP_NUM_THREADS", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    assert not environment.clean_environment().keys() & {*environment.UNSET, "OMP_NUM_THREADS"}
    assert environment.clean_environment({"OMP_NUM_THREADS": "2"})["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("model", "flags", "name"),
    [
        ("Intel(R) Xeon(R) Processor", "fpu avx512_fp16 amx_tile", "Intel(R) Xeon(R) Processor"),
        ("Intel(R) Xeon(R) Processor", "fpu avx512_fp16", "Intel(R) Xeon(R) Processor without AMX"),
        ("Intel(R) Xeon(R) Processor", "fpu avx512f", "Intel(R) Xeon(R) Processor"),
        ("AMD EPYC", "fpu avx512_fp16", "AMD EPYC"),
    ],
)
def test_a_processor_whose_tiles_are_hidden_has_a_name_of_its_own(model, flags, name):
    text = f"processor\t: 0\nmodel name\t: {model}\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    assert environment.cpu_name(text) == name


def test_the_description_of_the_machine_names_what_matters_and_no_path():
    facts = environment.describe()
    assert facts["cpus"] >= 1
    assert facts["memory_gib"] > 0
    assert str(Path(__file__).parents[2]) + os.sep not in json.dumps(facts)
    assert 0 <= facts["busy_cpus"] < 4096


@pytest.mark.usefixtures("peers")
def test_the_report_writes_the_newest_run_of_a_suite_between_its_marks(tmp_path, monkeypatch):
    facts = environment.describe()
    (tmp_path / "results").mkdir()
    for day in (1, 2):
        record = {
            "suite": "nap",
            "date": f"2026-01-0{day}T00:00:00+00:00",
            "repeat": 1,
            "environment": facts,
            "results": [measure(["eyespot", "slow"], repeat=1)],
        }
        (tmp_path / "results" / f"{day}.json").write_text(json.dumps(record))
    pages = [tmp_path / "README.md", tmp_path / "docs" / "benchmarks.md"]
    pages[1].parent.mkdir()
    for page in pages:
        page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    assert report.main() == 0
    for page in pages:
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
    assert re.search(r"\| nap: short \| 1 \|.*\| slow \d\.\d\d \|", pages[0].read_text())
    assert "2026-01-02" in text
    assert "2026-01-01" not in text
    assert "| slow |" in text


def test_the_report_of_penalties_names_the_best_fixed_strength():
    def fit(log_loss):
        return {"log_loss": log_loss, "accuracy": 0.9}

    fits = {"auto, 25 iterations": fit(0.32), "auto, solved": fit(0.31)}
    fits |= {"l2=0.1": fit(0.4), "l2=0.01": fit(0.3)}
    splits = {"log_loss": {"auto, solved": 0.33, "l2=0.1": 0.34}, "best": "l2=0.1"}
    splits |= {"loss_over_best": 0.9706, "loss_over_best_error": 0.01}
    record = {
        "suite": "penalty",
        "date": "2026-01-01T00:00:00+00:00",
        "repeat": 1,
        "environment": environment.describe(),
        "results": [
            {"network": "net", "set": "photos", "fits": fits}
            | {"loss_over_best": 1.033, "loss_over_best_error": 0.0213}
            | {"other_splits": splits}
        ],
    }
    text = report.section(record)
    assert "| 0.3000, 90.0 % (l2=0.01) | 1.033 ± 0.021 | 0.3300, 0.3400 (l2=0.1) | 0.971" in text


def test_other_splits_have_no_row_twice_and_their_share_of_each_class():
    y = np.repeat(np.arange(3), (50, 30, 10)).astype(np.int32)
    x = np.arange(180, dtype=np.float32).reshape(90, 2) % 50 + 50 * y[:, None]
    twice = penalty.distinct(np.concatenate([x, x[:7]]), np.concatenate([y, y[:7]]))
    first = [i for i in range(90) if not (x[:i] == x[i]).all(axis=1).any()]
    assert len(first) < 90
    for rows, expected in zip(twice, (x[first], y[first]), strict=True):
        np.testing.assert_array_equal(rows, expected)
    mask = penalty.drawn(y, 0.3, np.random.default_rng(1))
    assert [int(mask[y == label].sum()) for label in range(3)] == [15, 9, 3]
    assert not np.array_equal(mask, penalty.drawn(y, 0.3, np.random.default_rng(2)))
    found = penalty.other_splits((x[~mask], y[~mask]), (x[mask], y[mask]))
    fixed = {"l2=1", "l2=0.1", "l2=0.01", "l2=0.001", "l2=0.0001"}
    assert set(found["log_loss"]) == {"auto, solved"} | fixed
    assert found["loss_over_best"] == pytest.approx(
        found["log_loss"]["auto, solved"] / found["log_loss"][found["best"]]
    )


def test_the_report_tells_by_how_much_a_validation_flatters():
    result = {"set": "flowers", "groups": "none", "validation_accuracy": [0.9, 1.0]}
    result |= {"test_accuracy": [0.7, 0.7], "gap": [0.2, 0.3], "l2": [1e-4, 1e-3, 1e-2]}
    result |= {"final_accuracy": [0.7, 0.8], "final_log_loss": [1.0, 2.0]}
    row = report.groups_rows([result | {"final_calibration_error": [0.1, 0.2]}])[-1]
    start, end = "| flowers | none | 95.0 % | 70.0 % |", "| 0.001 | 75.0 % | 1.500 | 15.0 % |"
    assert row == f"{start} +25.0 ± 7.1 points {end}"


def test_the_report_tells_what_augmentation_gains():
    result = {"set": "flowers", "plan": "light", "n_copies": 200, "log_loss_mean": 0.98765}
    result |= {"accuracy_mean": 0.6284, "accuracy_sd": 0.0334, "gain_mean": 0.0047}
    row = report.few_images_rows([result | {"gain_sd": 0.012}])[-1]
    assert row == "| flowers | light | 200 | 62.8 ± 3.3 % | +0.5 ± 1.2 points | 0.988 |"
