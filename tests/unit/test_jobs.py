"""Jobs: training in a thread of its own, told of as it goes, and stopped on request."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime

import pytest

from eyespot import (
    Cancelled,
    DataError,
    DataSource,
    FeatureExtractor,
    FeatureStore,
    ImageClassifier,
    InvalidOption,
    Job,
    ModelParameters,
    MultiLabelImageClassifier,
    Phase,
    Preprocessing,
    Progress,
    TrainingSessionParameters,
)
from eyespot.session.run import reporting
from onnx_builder import Tiny
from photos import photo_folder

LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 20))
    return DataSource.labeled_directories(root)


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    path = Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    extractor = FeatureExtractor.custom(path, preprocessing=Preprocessing(width=24, height=24))
    return ModelParameters(feature_extractor=extractor, max_iterations=500, tolerance=1e-5, l2=1e-4)


@pytest.fixture(scope="module")
def model(data, parameters):
    return ImageClassifier.train(data, parameters)


def event(phase, done, total=100):
    return Progress(phase=phase, done=done, total=total, elapsed_s=1.0)


# -- plain work -----------------------------------------------------------------------------------


def test_a_job_tells_of_itself_and_ends():
    go, told = threading.Event(), []

    def work(progress, cancel):
        assert threading.current_thread() is not threading.main_thread()
        assert not cancel.cancelled
        progress(event(Phase.TRAINING, 1))
        go.wait(30)
        progress(event(Phase.TRAINING, 2))
        return "model"

    before = datetime.now(UTC)
    job = Job(work)
    assert before <= job.start_date <= datetime.now(UTC)
    with pytest.raises(TimeoutError):
        job.result(timeout=0.05)
    assert (job.progress.done, job.phase, job.done) == (1, Phase.TRAINING, False)
    assert repr(job).startswith("<Job: training: 1 of 100")
    job.on_progress(told.append)
    go.set()
    assert job.result(30) == "model"
    assert [progress.done for progress in told] == [2]
    assert (job.done, job.is_cancelled, job.checkpoints) == (True, False, ())
    assert repr(job) == "<Job: finished>"
    assert list(job) == []


def test_a_job_can_be_iterated():
    go = threading.Event()

    def work(progress, cancel):
        go.wait(30)
        for done in range(5):
            progress(event(Phase.TRAINING, done))

    job = Job(work)
    events = iter(job)
    threading.Timer(0.05, go.set).start()
    assert [progress.done for progress in events] == [0, 1, 2, 3, 4]
    assert job.result(30) is None


def test_a_job_raises_what_the_work_raised():
    def work(progress, cancel):
        progress(event(Phase.TRAINING, 0))
        raise DataError("no photos", code="no_images")

    job = Job(work)
    with pytest.raises(DataError, match="no photos"):
        job.result(30)
    assert repr(job) == "<Job: failed: no photos>"
    with pytest.raises(DataError):
        asyncio.run(awaited(job))


async def awaited(job):
    return await job


def test_before_anything_is_told_a_job_is_initialized():
    go = threading.Event()
    job = Job(lambda progress, cancel: go.wait(30))
    assert (job.progress, job.phase) == (None, Phase.INITIALIZED)
    assert repr(job) == "<Job: starting>"
    go.set()
    assert job.result(30) is True


def test_what_a_listener_raises_ends_the_job():
    go = threading.Event()

    def work(progress, cancel):
        go.wait(30)
        progress(event(Phase.TRAINING, 0))

    job = Job(work)

    def listener(progress):
        raise RuntimeError("enough")

    job.on_progress(listener)
    go.set()
    with pytest.raises(RuntimeError, match="enough"):
        job.result(30)


def test_reports_come_once_an_interval():
    told = []
    tell = reporting(told.append, 5)
    for done in (0, 1, 4, 5, 9, 11, 15, 18, 20):
        tell(event(Phase.EXTRACTING_FEATURES, done, 20))
    for done in (0, 1, 2, 7):
        tell(event(Phase.TRAINING, done))
    assert [progress.done for progress in told] == [0, 5, 11, 18, 20, 0, 7]


def test_a_job_left_alone_does_not_keep_python_from_ending():
    code = """
        import time
        from eyespot.session import Job
        def work(progress, cancel):
            while not cancel.cancelled:
                time.sleep(0.01)
            print("stopped", flush=True)
        Job(work)
        print("end", flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stdout.split() == ["end", "stopped"]


# -- training -------------------------------------------------------------------------------------


def test_training_in_a_job_gives_the_same_bytes(data, parameters, model, tmp_path):
    store = FeatureStore(tmp_path / "store")
    job = ImageClassifier.train_async(data, parameters, store=store)
    phases = list(dict.fromkeys(progress.phase for progress in job))
    assert job.result(60).to_bytes() == model.to_bytes()
    assert phases[-1] is Phase.EVALUATING
    assert len(store) == 60
    again = ImageClassifier.train_async(data, parameters, start=model).result(60)
    assert again.facts["solver"]["iterations"] < model.facts["solver"]["iterations"]


def test_jobs_can_be_awaited_together(data, parameters, model):
    async def both():
        jobs = [ImageClassifier.train_async(data, parameters) for _ in range(2)]
        return await asyncio.gather(*jobs)

    assert [made.to_bytes() for made in asyncio.run(both())] == [model.to_bytes()] * 2


def test_a_cancelled_training_goes_on_from_its_session(data, parameters, model, tmp_path):
    how = TrainingSessionParameters(session_directory=tmp_path / "session", report_interval=1)
    job = ImageClassifier.train_async(data, parameters, how)
    for progress in job:
        if progress.phase is Phase.EXTRACTING_FEATURES and progress.done:
            job.cancel()
    with pytest.raises(Cancelled):
        job.result(60)
    assert job.is_cancelled
    assert repr(job) == "<Job: cancelled>"
    session = ImageClassifier.restore_training_session(how)
    resumed = ImageClassifier.resume(session)
    assert resumed.result(60).to_bytes() == model.to_bytes()
    assert resumed.checkpoints == session.checkpoints
    assert resumed.checkpoints[-1].phase is Phase.TRAINING


def test_wrong_arguments_are_refused_before_anything_starts(data, parameters, model):
    with pytest.raises(InvalidOption, match="data is a str"):
        ImageClassifier.train_async("photos")
    with pytest.raises(InvalidOption, match="use ImageClassifier"):
        MultiLabelImageClassifier.train_async(data)
    with pytest.raises(InvalidOption, match="parameters is a dict"):
        ImageClassifier.train_async(data, {})
    with pytest.raises(InvalidOption, match="session_parameters is a str"):
        ImageClassifier.train_async(data, parameters, "folder")
    with pytest.raises(InvalidOption, match="start is a str"):
        ImageClassifier.train_async(data, parameters, start="model")
