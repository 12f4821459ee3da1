"""Progress values, their text, and how often they are handed on."""

from __future__ import annotations

import logging

import pytest

from eyespot.progress import Phase, Progress, ProgressReporter


def at(done, total=100, elapsed_s=2.0, phase=Phase.TRAINING, **metrics):
    return Progress(phase=phase, done=done, total=total, elapsed_s=elapsed_s, metrics=metrics)


def test_the_phases_are_those_of_create_ml():
    assert [str(phase) for phase in Phase] == [
        "initialized",
        "extracting_features",
        "training",
        "evaluating",
        "inferencing",
    ]


def test_rate_and_time_left_follow_from_what_is_done():
    progress = at(25)
    assert progress.rate == 12.5
    assert progress.remaining_s == 6.0
    assert progress.fraction == 0.25
    assert not progress.finished


def test_nothing_is_estimated_before_the_first_item():
    progress = at(0)
    assert progress.rate is None
    assert progress.remaining_s is None
    assert progress.fraction == 0.0


def test_nothing_is_estimated_without_a_total():
    progress = at(25, total=None)
    assert progress.remaining_s is None
    assert progress.fraction is None
    assert not progress.finished


def test_an_empty_phase_is_finished():
    assert at(0, total=0, elapsed_s=0.0).finished
    assert at(0, total=0, elapsed_s=0.0).fraction == 1.0


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (at(25), "training: 25 of 100, 12.5/s, 6 s left"),
        (at(100), "training: 100 of 100, 50.0/s, 2.0 s"),
        (at(7, total=None), "training: 7, 3.5/s"),
        (at(0), "training: 0 of 100"),
        (at(0, phase=Phase.INFERENCING), "predicting: 0 of 100"),
        (at(0, phase=Phase.INITIALIZED), "reading files: 0 of 100"),
        (at(1, total=100_000), "training: 1 of 100,000, 0.5/s, 55 h 33 min left"),
        (at(1, total=301), "training: 1 of 301, 0.5/s, 10 min 00 s left"),
        (at(50, loss=0.25), "training: 50 of 100, 25.0/s, 2 s left, loss 0.25"),
    ],
)
def test_the_text_says_how_far_how_fast_and_how_long(progress, text):
    assert str(progress) == text


class Clock:
    def __init__(self):
        self.now = 10.0

    def __call__(self):
        return self.now


def test_updates_are_thinned_but_the_first_and_the_last_arrive():
    clock, seen = Clock(), []
    reporter = ProgressReporter(seen.append, Phase.TRAINING, 100, interval_s=0.1, clock=clock)
    for done in range(101):
        clock.now = 10 + done * 0.01
        reporter.update(done)
    assert seen[0].done == 0
    assert seen[-1].done == 100
    assert seen[-1].elapsed_s == pytest.approx(1.0)
    assert 10 <= len(seen) <= 12


def test_an_update_can_be_forced():
    clock, seen = Clock(), []
    reporter = ProgressReporter(seen.append, Phase.TRAINING, 100, clock=clock)
    reporter.update(1)
    reporter.update(2)
    reporter.update(3, {"loss": 1.0}, force=True)
    assert [progress.done for progress in seen] == [1, 3]
    assert seen[-1].metrics == {"loss": 1.0}


def test_metrics_are_copied_so_that_a_kept_value_does_not_change():
    seen, metrics = [], {"loss": 1.0}
    ProgressReporter(seen.append, Phase.TRAINING, 1).update(1, metrics)
    metrics["loss"] = 2.0
    assert seen[0].metrics == {"loss": 1.0}


def test_without_a_callback_nothing_happens():
    ProgressReporter(None, Phase.TRAINING, 1).update(1)


def test_what_the_callback_raises_reaches_the_caller():
    def stop(progress):
        raise RuntimeError(str(progress.done))

    with pytest.raises(RuntimeError, match="1"):
        ProgressReporter(stop, Phase.TRAINING, 1).update(1)


def test_the_logger_is_silent_until_the_caller_listens(capfd):
    logging.getLogger("eyespot").warning("nobody listens")
    assert capfd.readouterr() == ("", "")
