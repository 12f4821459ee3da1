"""At which tolerance, width of numbers and threads a peer of the head suite is timed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from bench import harness, report
from bench.child import load_peer
from bench.suites import head

load_peer(harness.PEERS / "head_eyespot.py")
HeadPeer = sys.modules["head_common"].HeadPeer


class Rounded(HeadPeer):
    """Ends as far from the solution as its tolerance, or as the accuracy of its rows, lets it."""

    tolerances = (1e-1, 1e-2, 1e-6)
    least_run_s = 0  # a single fit a run
    floors = MappingProxyType({32: 0.0, 64: 0.0})  # how far off it is, by the bits of its rows
    slow = MappingProxyType({})  # seconds that a fit takes, by the same

    def set_up(self):
        self.fits = []
        with np.load(self.options["solution"]) as arrays:
            self.solution = arrays["weights"], arrays["bias"]

    def fit(self):
        self.fits.append((self.bits, self.tolerance))
        time.sleep(self.slow.get(self.bits, 0))
        weights, bias = self.solution
        off = max(self.tolerance, self.floors[self.bits])
        return weights * (1 + off), bias, 7

    def fingerprint(self):
        return "the same"


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Return the options of a small problem, whose solution lies beside its data."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    y = (x[:, :3] + rng.normal(size=(60, 3))).argmax(axis=1).astype(np.int32)
    l2 = 1 / len(x)
    least, _ = head.minimum(x, y, l2)

    def value(v):
        weights, bias = v[3:].reshape(3, 4), v[:3]
        z = x.astype(np.float64) @ weights.T + bias
        p = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(60), y]).mean() + 0.5 * l2 * (weights**2).sum()
        p[np.arange(60), y] -= 1
        p /= 60
        return loss, np.concatenate([p.sum(axis=0), (p.T @ x + l2 * weights).ravel()])

    tight = {"gtol": 1e-10, "ftol": 0.0, "maxiter": 5000}
    v = minimize(value, np.zeros(15), jac=True, method="L-BFGS-B", options=tight).x
    folder = tmp_path_factory.mktemp("head")
    np.savez(folder / "rows.npz", x=x, y=y, l2=l2, minimum=least)
    np.savez(folder / "solution.npz", weights=v[3:].reshape(3, 4), bias=v[:3])
    return {
        "data": str(folder / "rows.npz"),
        "solution": str(folder / "solution.npz"),
        "gradient": head.GRADIENT,
        "gap": head.GAP,
        "threads": 1,
        "limit_s": 60,
    }


@pytest.fixture
def make(options, tmp_path):
    """Return a function that starts a peer anew, as another process would, on notes of its own."""
    data = tmp_path / "rows.npz"
    with np.load(options["data"]) as arrays:
        np.savez(data, **arrays)

    def start(limit_s=60, threads=1, **attributes):
        peer = type("Peer", (Rounded,), attributes)
        return peer(options | {"data": str(data), "limit_s": limit_s, "threads": threads})

    return start


def words_of(peer):
    """Return what a report says of a peer that took five times as long as eyespot."""
    facts = peer.run()
    case = head.case("rows", len(peer.y), peer.options["limit_s"], lambda: None)
    result = {
        "peers": {"other": {"median_facts": facts}},
        "comparison": head.Suite(Path()).compare(case, {"other": peer.outputs()}),
        "ratios": {"other": harness.paired([{"seconds": 5.0}], [{"seconds": 1.0}])},
    }
    return report.full_ratio_words(result, "other")


def test_a_peer_that_meets_the_bounds_in_float32_stays_there(make):
    peer = make()
    assert peer.fits == [(32, 1e-1), (32, 1e-2), (32, 1e-6)]
    assert peer.x.dtype == np.float32
    assert words_of(peer) == "5.00 (5.00 to 5.00)"


def test_a_peer_that_never_meets_them_in_float32_is_timed_in_float64(make):
    peer = make(floors={32: 1e-2, 64: 0.0})
    sweep = [1e-1, 1e-2, 1e-6]
    assert peer.fits == [(32, tolerance) for tolerance in sweep] + [(64, t) for t in sweep]
    facts = peer.run()
    assert peer.fits[-1] == (64, 1e-6)
    assert peer.x.dtype == np.float64
    assert (facts["bits"], facts["met"], facts["stopped"]) == (64, 1, 0)
    assert peer.is_good_enough()
    assert words_of(peer) == "5.00 (5.00 to 5.00) in float64"


def test_the_width_is_remembered_with_the_tolerance(make):
    make(floors={32: 1e-2, 64: 0.0})
    again = make(floors={32: 1e-2, 64: 0.0})
    assert again.fits == [(64, 1e-6)], "neither float32 nor looser tolerances are tried again"
    assert again.run()["bits"] == 64


@pytest.mark.parametrize(("narrow", "wide", "closer"), [(1e-1, 1e-2, 64), (1e-2, 1e-1, 32)])
def test_one_that_never_meets_them_is_timed_in_the_width_that_comes_closer(
    make, narrow, wide, closer
):
    floors = {32: narrow, 64: wide}
    first = make(floors=floors)
    assert len(first.fits) == 6
    again = make(floors=floors)
    assert again.fits == [], "there is nothing better to be found"
    for peer in (first, again):
        facts = peer.run()
        assert peer.fits[-1] == (closer, 1e-6), "at its tightest tolerance"
        assert (facts["bits"], facts["met"], facts["stopped"]) == (closer, 0, 0)
        words = words_of(peer)
        assert words.startswith(f"never, ends at 5.00 (5.00 to 5.00) in float{closer}, at gap ")


def test_one_that_is_stopped_in_float32_is_too_slow_and_not_tried_in_float64(make):
    peer = make(limit_s=0.05, slow={32: 60})
    assert peer.fits == [(32, 1e-1)]
    facts = peer.run()
    assert facts["measured_s"] >= 0.05
    assert (facts["bits"], facts["stopped"]) == (32, 1)
    assert words_of(peer) == "more than 5.00"


def test_one_that_is_stopped_in_float64_has_a_lower_bound_there(make):
    attributes = {"floors": {32: 1e-2, 64: 0.0}, "slow": {64: 60}}
    first = make(limit_s=0.05, **attributes)
    assert first.fits[-1] == (64, 1e-1)
    again = make(limit_s=0.05, **attributes)
    assert again.fits == []
    for peer in (first, again):
        facts = peer.run()
        assert facts["measured_s"] >= 0.05
        assert (facts["bits"], facts["stopped"]) == (64, 1)
        assert words_of(peer) == "more than 5.00 in float64"


def test_threads_are_chosen_again_in_float64(make):
    chosen = {32: 2, 64: 1}
    attributes = {"fastest_threads": lambda peer: chosen[peer.bits]}
    peer = make(floors={32: 1e-2, 64: 0.0}, **attributes)
    assert peer.run()["used_threads"] == 1
    assert make(floors={32: 1e-1, 64: 1e-2}, tolerances=(1e-6,), **attributes).used_threads == 1
    assert make(floors={32: 1e-2, 64: 1e-1}, tolerances=(1e-5,), **attributes).used_threads == 2


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_what_a_deterministic_peer_found_holds_for_any_number_of_threads(make, is_deterministic):
    attributes = {
        "is_deterministic": is_deterministic,
        "fastest_threads": lambda peer: peer.threads,
    }
    assert make(**attributes).used_threads == 1
    other = make(threads=2, **attributes)
    assert len(other.fits) == (0 if is_deterministic else 3)
    assert (other.tolerance, other.used_threads) == (1e-6, 2)


def test_what_was_found_with_other_widths_is_not_believed(make):
    make(floors={32: 1e-2, 64: 0.0})
    assert make(floors={32: 1e-2, 64: 0.0}, widths=(32,)).bits == 32


def test_eyespot_is_to_meet_the_bounds_in_float32(options, tmp_path):
    data = tmp_path / "rows.npz"
    with np.load(options["data"]) as arrays:
        np.savez(data, **arrays)
    peer = load_peer(harness.PEERS / "head_eyespot.py").Peer(
        options | {"data": str(data), "gap": -1.0}
    )
    facts = peer.run()
    assert peer.x.dtype == np.float32
    assert (facts["bits"], facts["met"]) == (32, 0)
    outputs = {"eyespot": peer.outputs()}
    case = head.case("rows", 60, 60, lambda: None)
    outputs["eyespot"]["gap"] = np.array(2 * head.GAP)
    with pytest.raises(AssertionError, match="eyespot_met"):
        head.Suite(tmp_path).compare(case, outputs)


@pytest.fixture
def far(tmp_path):
    """Return a function that starts a peer on rows of which each is far from zero."""
    rng = np.random.default_rng(6)

    def start(name, offset, **attributes):
        x = (rng.normal(size=(200, 6)) + offset).astype(np.float32)
        y = ((x - offset)[:, :3] + rng.normal(size=(200, 3))).argmax(axis=1).astype(np.int32)
        l2 = 1 / len(x)
        least, _ = head.minimum(x, y, l2)
        data = tmp_path / f"rows-{offset}.npz"
        np.savez(data, x=x, y=y, l2=l2, minimum=least)
        options = {"data": str(data), "threads": 1, "limit_s": 60}
        options |= {"gradient": head.GRADIENT, "gap": head.GAP}
        peer = load_peer(harness.PEERS / f"head_{name}.py").Peer
        return type("Peer", (peer,), attributes)(options)

    return start


def test_rows_whose_means_float32_does_not_hold_are_fitted_in_float64(far):
    pytest.importorskip("sklearn")
    peer = far("scikit_learn_scaled", 1000)
    assert peer.run()["bits"] == 64
    assert peer.is_good_enough()
    assert far("scikit_learn_scaled", 0).bits == 32


@pytest.mark.parametrize("name", ["scikit_learn", "scikit_learn_scaled", "torch", "sklearnex"])
def test_a_peer_with_rows_in_float64_fits_in_it(name, far):
    pytest.importorskip({"torch": "torch", "sklearnex": "sklearnex"}.get(name, "sklearn"))
    peer = far(name, 1, widths=(64,))
    peer.run()
    assert peer.is_good_enough()
    assert peer.weights.dtype == peer.bias.dtype == np.float64


def test_short_fits_are_repeated_and_long_ones_are_not(make):
    peer = make(least_run_s=0.5, slow={32: 0.004})
    before = len(peer.fits)
    facts = peer.run()
    assert 2 <= facts["n_fits"] <= 126
    assert len(peer.fits) == before + facts["n_fits"]
    assert 0.004 <= facts["measured_s"] < 0.5
    assert facts["n_fits"] * facts["measured_s"] >= 0.5
    assert facts["measured_cpu_s"] < facts["measured_s"], "it slept"
    assert make(least_run_s=0.05, slow={32: 0.06}).run()["n_fits"] == 1
