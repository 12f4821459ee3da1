"""Training sessions: a pause changes nothing, and what does not fit is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import numpy as np
import pytest

from eyespot import (
    Augmentation,
    Checkpoint,
    CheckpointError,
    Classifier,
    ConvergenceWarning,
    DataSource,
    FeatureExtractor,
    FeatureStore,
    ImageClassifier,
    IncompatibleParameters,
    InvalidOption,
    ModelParameters,
    ModifiedTrainingData,
    MultiLabelImageClassifier,
    Phase,
    Preprocessing,
    SkippedImagesWarning,
    SplitStrategy,
    TrainingSessionParameters,
)
from eyespot.augmentation import Crop, Noise
from eyespot.session import TrainingSession, checkpoints
from onnx_builder import Tiny
from photos import photo_folder

LABELS = ("blue", "green", "red")
PERCEPTRON = Classifier.multilayer_perceptron((8,))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")


@pytest.fixture(scope="module")
def extractor(network):
    return FeatureExtractor.custom(network, preprocessing=Preprocessing(width=24, height=24))


@pytest.fixture(scope="module")
def parameters(extractor):
    return ModelParameters(feature_extractor=extractor, max_iterations=500, tolerance=1e-5, l2=1e-4)


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 20))


@pytest.fixture
def data(photos):
    return DataSource.labeled_directories(photos)


@pytest.fixture
def how(tmp_path):
    return TrainingSessionParameters(
        session_directory=tmp_path / "session", report_interval=1, checkpoint_interval=3
    )


def several(photos):
    paths = DataSource.labeled_directories(photos).paths
    return DataSource.files_by_label({"even": paths[::2], "third": paths[::3]}, multi_label=True)


class Stopped(Exception):
    """What a callback raises to end a training at once."""


def stop_at(phase, done):
    """Return a progress callback that ends the training when the phase is that far."""

    def tell(progress):
        if progress.phase == phase and progress.done >= done:
            raise Stopped

    return tell


# -- a pause changes nothing ----------------------------------------------------------------------

KINDS = {
    "logistic": {},
    "chosen l2": {"l2": "auto", "tolerance": 1e-7},
    "perceptron": {"classifier": PERCEPTRON, "l2": "auto", "max_iterations": 30},
    "augmented": {"augmentation": Augmentation(crop=Crop(), noise=Noise(), copies_per_image=2)},
    "few iterations": {"max_iterations": 7, "tolerance": 1e-9},
    "uncalibrated": {"calibration": False, "class_weights": {"red": 2.0}},
    # Any tighter, and it ends in float32's noise: by a step that fails, of which a training with as
    # many iterations knows nothing.
    "several labels": {"tolerance": 1e-4},
}


@pytest.mark.filterwarnings("ignore::eyespot.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_anywhere_gives_the_same_bytes(photos, parameters, how, kind):
    cls, data = ImageClassifier, DataSource.labeled_directories(photos)
    if kind == "several labels":
        cls, data = MultiLabelImageClassifier, several(photos)
    used = parameters.replace(**KINDS[kind])
    whole = cls.train(data, used)
    stops = [
        (Phase.EXTRACTING_FEATURES, 5),
        (Phase.EXTRACTING_FEATURES, 40),
        (Phase.TRAINING, 0),
        (Phase.TRAINING, 1),
        (Phase.TRAINING, 4),
        (Phase.TRAINING, 6),
        (Phase.EVALUATING, 0),
    ]
    n_reused = 0
    for phase, done in stops:
        fresh = DataSource(paths=data.paths, classes=data.classes, targets=data.targets)
        with pytest.raises(Stopped):
            cls.train(fresh, used, how, progress=stop_at(phase, done))
        session = cls.restore_training_session(how)
        assert len(session.store) >= n_reused
        n_reused = len(session.store)
    session = cls.restore_training_session(how)
    assert session.phase is Phase.TRAINING
    reached = session.iteration
    assert reached >= 3
    model = cls.resume(session).result(60)
    assert model.to_bytes() == whole.to_bytes()
    assert model.training_report.n_reused == n_reused > 0
    # Finished, it is the same again, at once.
    assert cls.resume(cls.restore_training_session(how)).result(60).to_bytes() == whole.to_bytes()


@pytest.mark.filterwarnings("ignore::eyespot.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["logistic", "chosen l2", "perceptron", "several labels"])
def test_each_checkpoint_resumes_and_makes_a_model(photos, parameters, how, kind):
    cls, data = ImageClassifier, DataSource.labeled_directories(photos)
    if kind == "several labels":
        cls, data = MultiLabelImageClassifier, several(photos)
    used = parameters.replace(**KINDS[kind])
    whole = cls.train(data, used, how)
    session = cls.restore_training_session(how)
    made = session.checkpoints
    assert [c.phase for c in made] == [Phase.EXTRACTING_FEATURES] + [Phase.TRAINING] * (
        len(made) - 1
    )
    iterations = [c.iteration for c in made[1:]]
    last = whole.facts["solver"]["iterations"]
    assert iterations == sorted({1, *range(3, last + 1, 3), last})
    assert made[0].iteration == len(data)
    assert made[-1].metrics["loss"] == whole.facts["solver"]["loss"]
    with pytest.raises(InvalidOption, match="made in the phase extracting_features"):
        cls.from_checkpoint(made[0])
    for checkpoint in made[1:][:: max(1, len(made) // 4)]:
        short = cls.train(data, used.replace(max_iterations=checkpoint.iteration))
        assert cls.from_checkpoint(checkpoint).to_bytes() == short.to_bytes()
        session.remove_checkpoints(lambda c, at=checkpoint: c.iteration > at.iteration)
        assert cls.resume(session).result(60).to_bytes() == whole.to_bytes()
        assert [c.iteration for c in session.checkpoints[1:]] == iterations
    session.remove_checkpoints(lambda _: True)
    assert (session.phase, session.iteration) == (Phase.INITIALIZED, 0)
    model = cls.resume(session).result(60)
    assert model.training_report.n_reused == len(data)
    assert model.to_bytes() == whole.to_bytes()


def test_a_model_from_a_checkpoint_needs_no_photos(photos, data, parameters, how):
    whole = ImageClassifier.train(data, parameters, how)
    shutil.rmtree(photos)
    checkpoint = ImageClassifier.restore_training_session(how).checkpoints[-1]
    again = Checkpoint.load(checkpoint.path)
    assert again == checkpoint
    model = ImageClassifier.from_checkpoint(again)
    assert model.to_bytes() == ImageClassifier.from_checkpoint(checkpoint).to_bytes()
    assert model.classes == whole.classes
    with pytest.raises(ModifiedTrainingData, match="60 images"):
        ImageClassifier.resume(ImageClassifier.restore_training_session(how)).result(60)


def test_more_iterations_go_on_from_those_that_were_done(data, parameters, how):
    few = parameters.replace(max_iterations=4, tolerance=1e-9)
    with pytest.warns(ConvergenceWarning):
        ImageClassifier.train(data, few, how)
    more = few.replace(max_iterations=7, n_threads=3)
    with pytest.warns(ConvergenceWarning):
        whole = ImageClassifier.train(data, more)
    session = ImageClassifier.make_training_session(data, more, how)
    assert session.iteration == 4
    with pytest.warns(ConvergenceWarning):
        assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()
    assert ImageClassifier.restore_training_session(how).parameters.max_iterations == 7
    with pytest.warns(ConvergenceWarning):
        short = ImageClassifier.train(data, few, how)
    assert short.facts["solver"]["iterations"] == 4


CHILD = """
    import sys, time
    from eyespot import *
    network, photos, folder, phase, done = sys.argv[1:]
    spec = Preprocessing(width=24, height=24)
    extractor = FeatureExtractor.custom(network, preprocessing=spec)
    parameters = ModelParameters(
        feature_extractor=extractor, max_iterations=500, tolerance=1e-5, l2=1e-4, n_threads=1)
    def tell(progress):
        if progress.phase == phase and progress.done >= int(done):
            print("there", flush=True)
            time.sleep(60)
    how = TrainingSessionParameters(
        session_directory=folder, report_interval=1, checkpoint_interval=3)
    ImageClassifier.train(
        DataSource.labeled_directories(photos), parameters, how, progress=tell)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_can_be_gone_on_with(network, parameters, how, sign, tmp_path):
    photos = photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 20), side=200)
    for path in sorted(photos.rglob("*.png")):
        for copy in range(9):  # other contents: what follows the end of a PNG is not looked at
            twin = path.with_name(f"{path.stem}_{copy}.png")
            twin.write_bytes(path.read_bytes() + bytes([copy]))
    whole = ImageClassifier.train(DataSource.labeled_directories(photos), parameters)
    for phase, done in (("extracting_features", "20"), ("training", "0"), ("training", "4")):
        arguments = [network, photos, how.session_directory, phase, done]
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout.readline() == b"there\n"
        child.send_signal(sign)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == -sign or b"KeyboardInterrupt" in errors
        session = ImageClassifier.restore_training_session(how)
        expected = 3 if done == "4" else 600 if phase == "training" else 0
        assert session.iteration == expected
        assert len(session.store) >= (int(done) if phase != "training" else 600)
    assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()


# -- what does not fit is refused -----------------------------------------------------------------

OTHERS = {
    "validation": (SplitStrategy.fixed(0.2), {"ratio": None, "seed": 0}, {"ratio": 0.2, "seed": 0}),
    "classifier": (
        PERCEPTRON,
        {"kind": "logistic_regressor", "layer_sizes": []},
        {"kind": "multilayer_perceptron", "layer_sizes": [8]},
    ),
    "tolerance": (1e-4, 1e-5, 1e-4),
    "l2": (0.5, 1e-4, 0.5),
    "class_weights": ("balanced", None, "balanced"),
    "calibration": (False, True, False),
    "crop": ("fit", "center_crop", "fit"),
    "on_error": ("raise", "skip", "raise"),
    "seed": (1, 0, 1),
    "augmentation": ("flip", None, Augmentation.createml("flip").to_dict()),
}


@pytest.mark.parametrize("name", [*OTHERS, "feature_extractor"])
def test_other_parameters_are_refused_by_name(data, parameters, how, name, tmp_path):
    session = ImageClassifier.make_training_session(data, parameters, how)
    if name == "feature_extractor":
        other = Tiny(height=24, width=24, features=13).save(tmp_path / "other.onnx")
        spec = Preprocessing(width=24, height=24)
        value, original, new = FeatureExtractor.custom(other, preprocessing=spec), "tiny", "other"
    else:
        value, original, new = OTHERS[name]
    with pytest.raises(IncompatibleParameters, match=f"^{name} was ") as error:
        ImageClassifier.make_training_session(data, parameters.replace(**{name: value}), how)
    assert error.value.source == name
    assert error.value.original_value == original
    assert error.value.new_value == json.loads(json.dumps(new))
    again = ImageClassifier.make_training_session(data, parameters, how)
    assert again.date == session.date


def test_parameters_come_back_from_the_folder_alone(photos, data, extractor, how, tmp_path):
    test = photo_folder(tmp_path / "test", dict.fromkeys(LABELS, 3), first=50)
    used = ModelParameters(
        feature_extractor=extractor,
        validation=DataSource.labeled_directories(test),
        classifier=PERCEPTRON,
        class_weights={"red": 0.5},
        crop="stretch",
        augmentation=Augmentation.scans(2),
        l2=0.25,
        seed=2**64 - 1,
        n_threads=2,
        max_iterations=40,
    )
    made = ImageClassifier.make_training_session(data, used, how)
    session = ImageClassifier.restore_training_session(how)
    assert session.date == made.date <= datetime.now(UTC)
    assert session.data.paths == data.paths
    assert (session.data.targets == data.targets).all()
    assert session.data.classes == data.classes
    back = session.parameters
    assert back.feature_extractor == extractor.with_crop("stretch")
    assert back.validation.paths == used.validation.paths
    plain = {"feature_extractor": None, "validation": None, "crop": None}
    assert back.replace(**plain) == used.replace(**plain)
    whole = ImageClassifier.train(data, used)
    assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()
    (test / "red" / "red_0050.png").write_bytes((photos / "red" / "red_0001.png").read_bytes())
    other = used.replace(validation=DataSource.labeled_directories(test))
    with pytest.raises(ModifiedTrainingData, match=r"red_0050\.png"):
        ImageClassifier.make_training_session(data, other, how)


def test_other_data_are_refused_and_moved_ones_are_not(photos, data, parameters, how, tmp_path):
    whole = ImageClassifier.train(data, parameters)
    with pytest.raises(Stopped):
        ImageClassifier.train(data, parameters, how, progress=stop_at(Phase.TRAINING, 3))

    def again(source):
        return ImageClassifier.make_training_session(source, parameters, how)

    with pytest.raises(ModifiedTrainingData, match=r"1 image is gone, the first: .*blue_0000"):
        again(data.take(np.arange(1, 60)))
    relabelled = {label: list(paths) for label, paths in data.labeled_images().items()}
    relabelled["red"].append(relabelled["blue"].pop())
    with pytest.raises(ModifiedTrainingData, match=r"1 image was added or changed.*blue_0019"):
        again(DataSource.files_by_label(relabelled))
    renamed = {f"{label}!": paths for label, paths in data.labeled_images().items()}
    with pytest.raises(ModifiedTrainingData, match="60 images"):
        again(DataSource.files_by_label(renamed))
    file = photos / "green" / "green_0003.png"
    content = file.read_bytes()
    file.write_bytes(content + b"\0")
    with pytest.raises(ModifiedTrainingData, match=r"green_0003\.png"):
        again(DataSource.labeled_directories(photos))
    with pytest.raises(ModifiedTrainingData, match=r"green_0003\.png"):
        ImageClassifier.resume(ImageClassifier.restore_training_session(how)).result(60)
    file.write_bytes(content)

    session = again(DataSource.labeled_directories(photos))
    file.write_bytes(content + b"\0\0")
    with pytest.raises(ModifiedTrainingData, match=r"green_0003\.png"):
        ImageClassifier.resume(session).result(60)
    file.write_bytes(content)

    photos.rename(tmp_path / "moved")
    (tmp_path / "moved" / "red" / "red_0000.png").rename(tmp_path / "moved" / "red" / "zzz.png")
    session = again(DataSource.labeled_directories(tmp_path / "moved"))
    assert session.iteration == 3
    assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()
    restored = ImageClassifier.restore_training_session(how)
    assert ImageClassifier.resume(restored).result(60).to_bytes() == whole.to_bytes()


def test_unreadable_photos_stay_left_out(photos, parameters, how):
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    data = DataSource.labeled_directories(photos)
    with pytest.warns(SkippedImagesWarning):
        whole = ImageClassifier.train(data, parameters)
    for _ in range(2):
        with pytest.warns(SkippedImagesWarning):
            model = ImageClassifier.train(data, parameters, how)
        assert model.to_bytes() == whole.to_bytes()


def test_a_session_is_for_one_kind_of_classifier(photos, data, parameters, how):
    session = ImageClassifier.make_training_session(data, parameters, how)
    with pytest.raises(InvalidOption, match="use ImageClassifier"):
        MultiLabelImageClassifier.restore_training_session(how)
    with pytest.raises(InvalidOption, match="use ImageClassifier"):
        MultiLabelImageClassifier.resume(session)
    with pytest.raises(InvalidOption, match="session is a str"):
        ImageClassifier.resume("session")
    with pytest.raises(InvalidOption, match="checkpoint is a PosixPath"):
        ImageClassifier.from_checkpoint(photos)


# -- the folder -----------------------------------------------------------------------------------


def test_a_folder_that_holds_no_session_is_told(data, parameters, tmp_path):
    where = TrainingSessionParameters(session_directory=tmp_path / "photos")
    with pytest.raises(CheckpointError, match="holds no training session"):
        ImageClassifier.restore_training_session(where)
    with pytest.raises(CheckpointError, match="holds other files and no session"):
        ImageClassifier.make_training_session(data, parameters, where)
    where = TrainingSessionParameters(session_directory=tmp_path / "a" / "b")
    with pytest.raises(CheckpointError, match="cannot hold a session"):
        ImageClassifier.make_training_session(data, parameters, where)
    with pytest.raises(InvalidOption, match="session_directory is None"):
        ImageClassifier.make_training_session(data, parameters)
    with pytest.raises(InvalidOption, match="session_directory is None"):
        ImageClassifier.restore_training_session(TrainingSessionParameters())


def test_a_damaged_or_later_session_is_told(data, parameters, how):
    ImageClassifier.make_training_session(data, parameters, how)
    file = how.session_directory / "session.json"
    good = file.read_text()
    for text, said in (
        ("{", "session.json: is damaged"),
        ('{"format": "x"}', "session.json: is damaged"),
        (json.dumps({**json.loads(good), "version": 2}), "a session of version 2"),
        (json.dumps({**json.loads(good), "parameters": {}}), "the session is damaged"),
        (json.dumps({**json.loads(good), "parameters": None}), "is damaged"),
    ):
        file.write_text(text)
        with pytest.raises(CheckpointError, match=said):
            ImageClassifier.restore_training_session(how)
    file.write_text(good)
    ImageClassifier.restore_training_session(how)
    listing = how.session_directory / "data.json"
    values = json.loads(listing.read_text())
    listing.write_text(json.dumps({**values, "digests": values["digests"][1:]}))
    with pytest.raises(CheckpointError, match="the session is damaged"):
        ImageClassifier.restore_training_session(how)


def test_a_session_whose_making_was_cut_off_is_made_anew(data, parameters, how):
    ImageClassifier.train(data, parameters, how)
    (how.session_directory / "session.json").unlink()
    session = ImageClassifier.make_training_session(data, parameters, how)
    assert session.phase is Phase.INITIALIZED
    assert len(session.store) == 60


def test_damaged_checkpoints_are_passed_over(data, parameters, how, caplog):
    whole = ImageClassifier.train(data, parameters, how)
    session = ImageClassifier.restore_training_session(how)
    made = session.checkpoints
    made[-1].path.write_bytes(made[-1].path.read_bytes()[:-3])
    made[-2].path.write_bytes(b"")
    assert [c.path for c in session.checkpoints] == [c.path for c in (*made[:-2], made[-1])]
    with pytest.raises(CheckpointError, match="the checksum does not fit"):
        made[-1].state()
    with pytest.raises(CheckpointError, match="is damaged"):
        ImageClassifier.from_checkpoint(made[-1])
    assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()
    assert "is damaged" in caplog.text
    assert len(session.checkpoints) == len(made)


def test_checkpoints_of_another_engine_are_not_gone_on_from(
    data, parameters, how, monkeypatch, caplog
):
    whole = ImageClassifier.train(data, parameters, how)
    monkeypatch.setattr(checkpoints, "_engine", lambda: {"eyespot": "0"})
    session = ImageClassifier.restore_training_session(how)
    assert session.resumable_checkpoint() is None
    with pytest.raises(CheckpointError, match="another version of eyespot"):
        ImageClassifier.from_checkpoint(session.checkpoints[-1])
    assert ImageClassifier.resume(session).result(60).to_bytes() == whole.to_bytes()


def test_a_state_of_another_form_begins_anew(data, parameters, how, monkeypatch, caplog):
    whole = ImageClassifier.train(data, parameters, how)
    monkeypatch.setattr("eyespot.head.softmax._STATE_VERSION", 99)
    session = ImageClassifier.restore_training_session(how)
    model = ImageClassifier.resume(session).result(60)
    assert model.to_bytes() == whole.to_bytes()
    assert "training begins anew" in caplog.text


def test_one_training_at_a_time_runs_in_a_session(data, parameters, how):
    session = ImageClassifier.make_training_session(data, parameters, how)
    other = TrainingSession.restore(how)
    with (
        other.locked(),
        pytest.raises(CheckpointError, match="another training runs in this session"),
    ):
        ImageClassifier.resume(session).result(60)
    ImageClassifier.resume(session).result(60)


# -- features of another session ------------------------------------------------------------------


def test_features_of_another_session_are_reused(photos, data, parameters, how, tmp_path):
    there = TrainingSessionParameters(session_directory=tmp_path / "other")
    halves = DataSource.files_by_label({"even": data.paths[::2], "odd": data.paths[1::2]})
    session = ImageClassifier.make_training_session(halves, parameters, there)
    done = ImageClassifier.make_training_session(data, parameters, how)
    with pytest.raises(CheckpointError, match="has not extracted all of its features"):
        session.reuse_extracted_features(done)
    ImageClassifier.resume(done).result(60)
    session.reuse_extracted_features(done)
    model = ImageClassifier.resume(session).result(60)
    assert model.training_report.n_reused == 60
    assert model.to_bytes() == ImageClassifier.train(halves, parameters).to_bytes()
    with pytest.raises(CheckpointError, match="has checkpoints already"):
        session.reuse_extracted_features(done)
    shutil.rmtree(how.session_directory)
    assert len(session.store) == 60


# -- options --------------------------------------------------------------------------------------


def test_session_parameters_refuse_nonsense(tmp_path):
    given = TrainingSessionParameters(session_directory=str(tmp_path))
    assert (given.session_directory, given.directory) == (tmp_path, tmp_path)
    assert (given.report_interval, given.checkpoint_interval) == (5, 10)
    for name, value in (
        ("session_directory", 3),
        ("report_interval", 0),
        ("checkpoint_interval", "x"),
    ):
        with pytest.raises(InvalidOption, match=name):
            TrainingSessionParameters(**{name: value})


def test_a_session_goes_without_start_and_store(data, parameters, how, tmp_path):
    model = ImageClassifier.train(data, parameters)
    with pytest.raises(InvalidOption, match="start is given together with a session_directory"):
        ImageClassifier.train(data, parameters, how, start=model)
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(InvalidOption, match="store is given together with a session_directory"):
        ImageClassifier.train(data, parameters, how, store=store)
    with pytest.raises(InvalidOption, match="session_parameters is a str"):
        ImageClassifier.train(data, parameters, "session")


def test_names_that_are_no_utf8_come_back(photos, parameters, how):
    name = os.fsdecode(b"red\xff.png")
    (photos / "red" / "red_0000.png").rename(photos / "red" / name)
    data = DataSource.labeled_directories(photos)
    ImageClassifier.make_training_session(data, parameters, how)
    assert ImageClassifier.restore_training_session(how).data.paths == data.paths
