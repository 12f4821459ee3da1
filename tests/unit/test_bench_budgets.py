"""Benchmarks with budgets, on peers that sleep, and the fits of the head that are stopped."""

from __future__ import annotations

import json
import sys
import time
from functools import partial

import numpy as np
import pytest

from bench import budgeted, environment, harness, report
from bench.child import load_peer
from bench.suites import head

PEER = """
import time
REQUIREMENTS = None
class Peer:
    def __init__(self, options):
        self.budgeted = options.get("budgeted", False)
        open(options["log"], "a").write("{name}\\n")
    def run(self):
        time.sleep(0.1)
    def run_for(self, seconds):
        needed = {needed}
        time.sleep(min(needed, seconds))
        return {{"stopped": int(needed > seconds)}}
    def outputs(self):
        import numpy as np
        return {{"gap": np.array({gap}), "budgeted": np.array(self.budgeted)}}
"""


class Sleepers:
    peers = ("eyespot", "quick", "slow")
    fresh_process = False

    def compare(self, case, outputs):
        assert outputs["eyespot"]["gap"] == 0, "eyespot is not there"
        assert all(arrays["budgeted"] == (peer in case.budgets) for peer, arrays in outputs.items())
        gaps = {f"{peer}_gap": float(arrays["gap"]) for peer, arrays in outputs.items()}
        met = {f"{peer}_met": not arrays["gap"] for peer, arrays in outputs.items()}
        return gaps | met | {f"{peer}_gradient": 0.02 for peer in outputs}


@pytest.fixture
def race(tmp_path, monkeypatch):
    """Return a function that measures some of the peers, and the log of those that started."""
    for name, needed, gap in (("eyespot", 0, 0), ("quick", 0.25, 0), ("slow", 60, 0.5)):
        text = PEER.format(name=name, needed=needed, gap=gap)
        (tmp_path / f"nap_{name}.py").write_text(text)
    monkeypatch.setattr(harness, "PEERS", tmp_path)
    log = tmp_path / "log"
    case = harness.Case(
        name="nap", options={"log": str(log)}, units=10, budgets={"quick": 8.0, "slow": 4.0}
    )
    measure = partial(budgeted.measure, "nap", Sleepers(), case, threads=1, pin=True)
    return measure, log


def test_a_peer_has_the_ratio_of_its_budget_as_a_bound_or_its_own(race):
    measure, log = race
    result = measure(peers=["eyespot", "quick", "slow"])
    assert result["ratios"]["quick"]["median"] == pytest.approx(2.5, rel=0.3)
    assert result["ratios"]["slow"]["median"] == pytest.approx(4, rel=0.1)
    assert result["ratios"]["slow"]["median"] >= 4
    assert report.full_ratio_words(result, "quick").startswith(("2.", "3."))
    slow = report.full_ratio_words(result, "slow")
    assert slow.startswith("more than 4.")
    assert slow.endswith(", at gap 5.0e-01 and gradient 2.0e-02")
    assert "more than 4." in harness.table(result)
    assert len(result["peers"]["eyespot"]["seconds"]) == 2, "once before each peer"
    assert log.read_text().split() == ["eyespot", "quick", "slow"]


def test_eyespot_alone_is_measured_once(race):
    measure, _ = race
    result = measure(peers=["eyespot"])
    assert len(result["peers"]["eyespot"]["seconds"]) == 1
    assert result["ratios"] == {}


def test_no_peer_starts_when_eyespot_misses_the_quality(race, tmp_path):
    measure, log = race
    (tmp_path / "nap_eyespot.py").write_text(PEER.format(name="eyespot", needed=0, gap=1))
    with pytest.raises(AssertionError, match="not there"):
        measure(peers=["eyespot", "slow"])
    assert log.read_text().split() == ["eyespot"]


def test_peers_that_are_finished_are_kept_when_a_later_one_fails(race, tmp_path):
    measure, _ = race
    broken = PEER.format(name="slow", needed="1 / 0", gap=0)
    (tmp_path / "nap_slow.py").write_text(broken)
    result = measure(peers=["eyespot", "quick", "slow"])
    assert list(result["peers"]) == ["eyespot", "quick"]
    assert result["budgets"] == {"quick": 8.0}
    with pytest.raises(harness.PeerFailed, match="ZeroDivisionError"):
        measure(peers=["eyespot", "slow"])


def publish(folder, date, name, facts, result):
    """Write a record of one result where the report looks for it."""
    (folder / "results").mkdir(exist_ok=True)
    run = {"suite": "nap", "date": f"{date}T00:00:00+00:00", "repeat": 1}
    text = json.dumps(run | {"environment": facts, "results": [result]})
    (folder / "results" / f"{name}.json").write_text(text)


def test_the_report_joins_peers_that_were_measured_in_several_runs(race, tmp_path, monkeypatch):
    measure, _ = race
    facts = environment.describe()

    def record(date, name, result):
        publish(tmp_path, date, name, facts, result)

    # Of a race without budgets, whose peers were all raced within budgets later.
    record("2025-12-31", 0, measure(peers=["eyespot", "quick"]) | {"budgets": {}})
    for day, peers in ((1, ["slow", "quick"]), (2, ["slow"]), (3, ["quick"])):
        record(f"2026-01-0{day}", day, measure(peers=["eyespot", *peers]))
    monkeypatch.setattr(report, "HERE", tmp_path)
    records = report.newest()
    assert [record["date"][:10] for record in records] == ["2026-01-02", "2026-01-03"]
    lines = [line for line in report.summary(records).splitlines() if "nap: nap" in line]
    assert len(lines) == 1
    newest = records[-1]["results"][0]
    rate = newest["peers"]["eyespot"]["units_per_second"]
    assert f"| {rate:,.0f} {newest['unit']}/s |" in lines[0]
    assert "slow more than 4." in lines[0]
    assert "quick 2." in lines[0] or "quick 3." in lines[0]
    (tmp_path / "results" / "3.json").unlink()
    oldest = report.newest()[0]["results"][0]
    assert list(oldest["peers"]) == ["eyespot", "quick"], "the other was measured again later"
    assert list(oldest["ratios"]) == list(oldest["budgets"]) == ["quick"]


def test_the_report_keeps_what_another_processor_showed(race, tmp_path, monkeypatch):
    measure, _ = race
    facts = environment.describe()

    def record(day, cpu, peers):
        publish(tmp_path, f"2026-01-0{day}", day, facts | {"cpu": cpu}, measure(peers=peers))

    record(1, "older", ["eyespot", "quick"])
    record(2, "newer", ["eyespot", "slow"])
    record(3, "older", ["eyespot", "slow"])
    record(4, "newer", ["eyespot", "slow"])
    monkeypatch.setattr(report, "HERE", tmp_path)
    records = report.newest()
    assert [record["date"][9:10] for record in records] == ["1", "3", "4"]
    assert [record["environment"]["cpu"] for record in records] == ["older", "older", "newer"]
    lines = [line for line in report.summary(records).splitlines() if "nap: nap" in line]
    assert len(lines) == 1
    assert "slow" in lines[0]
    assert "quick" not in lines[0], "that was another processor"


def test_the_report_does_not_take_a_fit_that_ended_short_for_one_that_got_there():
    result = {
        "peers": {"torch": {"median_facts": {"stopped": 0, "met": 0, "bits": 64}}},
        "ratios": {"torch": {"median": 3.554, "q1": 3.554, "q3": 3.554}},
        "budgets": {"torch": 4.0},
        "comparison": {"torch_met": False, "torch_gap": 3.6e-4, "torch_gradient": 5e-7},
    }
    assert report.ratio_words(result, "torch") == "never, ends at 3.55 in float64"
    words = report.full_ratio_words(result, "torch")
    assert words == "never, ends at 3.55 in float64, at gap 3.6e-04 and gradient 5.0e-07"


@pytest.fixture
def course(tmp_path):
    # Found as the peers find it, for it is run by interpreters without this package.
    load_peer(harness.PEERS / "head_eyespot.py")
    return partial(sys.modules["head_course"].Course, tmp_path)


def test_the_clock_of_a_course_stands_still_while_an_iterate_is_written(course, monkeypatch):
    watched = course()
    monkeypatch.setattr(np, "save", lambda *_: time.sleep(0.2))
    watched.add(np.zeros(3))
    time.sleep(0.02)
    watched.add(np.zeros(3))
    (first, _), (second, _) = watched.times
    assert first < 0.1
    assert 0.02 <= second < 0.15


def test_a_course_ends_at_the_first_iterate_past_its_time(course):
    watched = course(seconds=0.1)
    assert not watched.add(np.zeros(1))
    time.sleep(0.1)
    assert watched.add(np.ones(1))
    assert watched.iterate(1) == 1


@pytest.mark.parametrize("n_bad", [0, 1, 6, 9])
def test_the_first_good_iterate_is_found(course, n_bad):
    watched = course()
    for value in range(10):
        watched.add(np.array(value))
    assert watched.first(lambda index: watched.iterate(index) >= n_bad) == n_bad


def test_no_iterate_is_taken_for_good_when_the_last_is_not(course):
    watched = course()
    watched.add(np.zeros(1))
    assert watched.first(lambda _: False) is None


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 12)).astype(np.float32)
    y = (x[:, :4] + rng.normal(size=(200, 4))).argmax(axis=1).astype(np.int32)
    return x, y


@pytest.fixture
def scikit_learn(rows, tmp_path):
    pytest.importorskip("sklearn")
    x, y = rows
    l2 = 1 / len(x)
    least, _ = head.minimum(x, y, l2)
    path = tmp_path / "rows.npz"
    np.savez(path, x=x, y=y, l2=l2, minimum=least)
    options = {"data": str(path), "gradient": 1e-4, "gap": 1e-5, "threads": 1}
    options |= {"budgeted": True, "limit_s": 60}

    def make(name, **changes):
        return load_peer(harness.PEERS / f"head_{name}.py").Peer(options | changes)

    return make


@pytest.mark.parametrize("name", ["scikit_learn", "scikit_learn_scaled"])
def test_a_fit_that_meets_the_bounds_has_the_time_of_its_first_iterate_that_does(
    scikit_learn, name
):
    peer = scikit_learn(name)
    facts = peer.run_for(60)
    assert facts["stopped"] == 0
    assert facts["met"] == 1
    assert facts["bits"] == 32
    gap, gradient = peer.measure()
    assert gap <= 1e-5
    assert gradient <= 1e-4
    _, _, iterations = peer.fit()
    assert 1 < facts["iterates"] < iterations, "it went on to its tightest tolerance"


def test_a_fit_that_does_not_meet_them_is_stopped_and_shows_where_it_stood(scikit_learn):
    peer = scikit_learn("scikit_learn", limit_s=0)
    facts = peer.run_for(60)
    assert facts["stopped"] == 1
    assert facts["iterates"] == 1
    gap, _ = peer.measure()
    assert gap > 1e-5


def test_a_fit_that_ends_short_of_the_bounds_by_itself_is_repeated_in_float64(scikit_learn):
    peer = scikit_learn("scikit_learn", gap=-1.0)
    facts = peer.run_for(60)
    assert peer.x.dtype == np.float64
    assert facts["bits"] == 64
    assert facts["stopped"] == facts["met"] == 0
    assert not peer.is_good_enough()
    again = scikit_learn("scikit_learn", gap=-1.0)
    assert again.x.dtype == np.float64, "the next time it is known"


def test_the_minimum_is_never_above_and_hardly_below_the_least_value(rows):
    from scipy.optimize import minimize

    x, y = rows
    l2 = 1 / len(x)
    k = int(y.max()) + 1

    def objective(v):
        weights, bias = v[k:].reshape(k, -1), v[:k]
        z = x.astype(np.float64) @ weights.T + bias
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        value = -np.log(p[np.arange(len(y)), y]).mean() + 0.5 * l2 * (weights**2).sum()
        p[np.arange(len(y)), y] -= 1
        p /= len(y)
        return value, np.concatenate([p.sum(axis=0), (p.T @ x + l2 * weights).ravel()])

    tight = {"gtol": 1e-12, "ftol": 0.0, "maxiter": 10000, "maxfun": 20000}
    found = minimize(objective, np.zeros(k * 13), jac=True, method="L-BFGS-B", options=tight)
    least, certainty = head.minimum(x, y, l2)
    assert certainty < head.CERTAINTY
    assert 0 <= found.fun / least - 1 <= 2 * certainty
