"""The classifier: what it answers, what it keeps, and what it says when it cannot."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import onnx
import pytest

from eyespot import (
    Cancelled,
    CancelToken,
    Classifier,
    ClassifierMetrics,
    ConvergenceWarning,
    DataError,
    DataSource,
    DecodeError,
    FeatureExtractor,
    ImageClassifier,
    IncompatibleParameters,
    InvalidOption,
    ModelError,
    ModelParameters,
    Phase,
    Preprocessing,
    SkippedImagesWarning,
    SplitStrategy,
)
from onnx_builder import Tiny
from photos import photo_folder, picture, png

LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    return FeatureExtractor.custom(path, preprocessing=Preprocessing(width=24, height=24))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 20))


@pytest.fixture(scope="module")
def test_photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("test"), dict.fromkeys(LABELS, 7), first=100)


@pytest.fixture(scope="module")
def parameters(extractor):
    return ModelParameters(feature_extractor=extractor, max_iterations=500, tolerance=1e-3)


@pytest.fixture(scope="module")
def model(photos, parameters):
    return ImageClassifier.train(DataSource.labeled_directories(photos), parameters)


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(png(picture("red", 0))[:60])
    return path


def good_paths(folder):
    return sorted(folder.rglob("*.png"))


# -- training -------------------------------------------------------------------------------------


def test_training_learns_what_can_be_learnt(model, test_photos):
    assert model.classes == LABELS
    assert model.training_metrics.accuracy == 1
    assert model.validation_metrics is not None
    assert model.evaluate(DataSource.labeled_directories(test_photos)).accuracy >= 0.95


def test_the_report_counts_images_and_times_the_phases(model):
    report = model.training_report
    assert (report.n_training, report.n_validation) == (54, 6)  # Create ML holds out 10 % of 60
    assert list(report.seconds) == ["initialized", "extracting_features", "training", "evaluating"]
    assert report.images_per_second > 0
    assert report.total_s == pytest.approx(sum(report.seconds.values()))
    assert model.facts["images"] == {
        "training": dict.fromkeys(LABELS, 18),
        "validation": dict.fromkeys(LABELS, 2),
        "skipped": 0,
    }


@pytest.mark.parametrize(
    ("validation", "held_out"),
    [(None, None), (SplitStrategy.fixed(0.2), 12), (SplitStrategy.automatic(seed=3), 6)],
)
def test_validation_is_what_was_asked_for(photos, parameters, validation, held_out):
    data = DataSource.labeled_directories(photos)
    model = ImageClassifier.train(data, parameters.replace(validation=validation))
    metrics = model.validation_metrics
    assert (None if metrics is None else int(metrics.confusion.sum())) == held_out


def test_copies_of_a_file_do_not_make_the_penalty_too_weak(parameters, tmp_path):
    # Grey pictures of both labels: nothing to learn, unless a held-out picture was seen before.
    plain = photo_folder(tmp_path / "plain", {"left": 20, "right": 20})
    copied = shutil.copytree(plain, tmp_path / "copied")
    for path in good_paths(copied):
        for number in range(3):
            shutil.copy(path, path.with_name(f"{path.stem}_copy{number}.png"))

    def penalty(folder):
        data = DataSource.labeled_directories(folder)
        model = ImageClassifier.train(data, parameters.replace(validation=None, l2="auto"))
        return model.facts["solver"]["l2"]

    assert penalty(copied) >= penalty(plain) / 4


def test_validation_data_of_their_own_are_used(photos, test_photos, parameters):
    data = DataSource.labeled_directories(photos)
    held_out = DataSource.labeled_directories(test_photos)
    model = ImageClassifier.train(data, parameters.replace(validation=held_out))
    assert model.validation_metrics.confusion.sum() == 21
    assert model.training_report.notes == ()
    overlap = ImageClassifier.train(data, parameters.replace(validation=data))
    assert "60 images are in the validation data too" in overlap.training_report.notes[0]


def test_validation_data_with_an_unknown_label_are_refused(photos, parameters, tmp_path):
    held_out = DataSource.labeled_directories(photo_folder(tmp_path, {"red": 2, "yellow": 2}))
    data = DataSource.labeled_directories(photos)
    with pytest.raises(DataError, match="yellow"):
        ImageClassifier.train(data, parameters.replace(validation=held_out))


def test_progress_tells_the_phases_in_order(photos, parameters):
    seen = []
    data = DataSource.labeled_directories(photos)
    ImageClassifier.train(data, parameters, progress=seen.append)
    phases = list(dict.fromkeys(step.phase for step in seen))
    assert phases == [
        Phase.INITIALIZED,
        Phase.EXTRACTING_FEATURES,
        Phase.TRAINING,
        Phase.EVALUATING,
    ]
    extraction = [step for step in seen if step.phase == Phase.EXTRACTING_FEATURES]
    assert (extraction[-1].done, extraction[-1].total) == (60, 60)
    solver = [step for step in seen if step.phase == Phase.TRAINING]
    assert solver[-1].finished
    assert solver[-1].metrics["loss"] < np.log(3)
    assert solver[-1].metrics["accuracy"] == 1


@pytest.mark.parametrize("phase", [Phase.EXTRACTING_FEATURES, Phase.TRAINING])
def test_training_can_be_cancelled(photos, parameters, phase):
    token = CancelToken()

    def stop(step):
        if step.phase == phase:
            token.cancel()

    data = DataSource.labeled_directories(photos)
    with pytest.raises(Cancelled):
        ImageClassifier.train(data, parameters, progress=stop, cancel=token)


def test_what_is_no_cancel_token_is_refused(photos, parameters):
    with pytest.raises(InvalidOption, match="cancel is a int"):
        ImageClassifier.train(DataSource.labeled_directories(photos), parameters, cancel=3)


def test_an_error_in_the_callback_ends_the_training(photos, parameters):
    def fail(step):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        ImageClassifier.train(DataSource.labeled_directories(photos), parameters, progress=fail)


def test_unreadable_images_are_left_out_counted_and_named(photos, parameters, broken, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "copy")
    shutil.copy(broken, folder / "red" / "broken.png")
    data = DataSource.labeled_directories(folder)
    with pytest.warns(SkippedImagesWarning, match=r"1 of 61 images.*broken\.png"):
        model = ImageClassifier.train(data, parameters)
    assert [error.source for error in model.training_report.skipped] == [
        str(folder / "red" / "broken.png")
    ]
    assert model.facts["images"]["skipped"] == 1
    with pytest.raises(DecodeError, match=r"broken\.png"):
        ImageClassifier.train(data, parameters.replace(on_error="raise"))


def test_a_label_that_loses_all_its_images_is_named(photos, parameters, broken, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "copy")
    (folder / "violet").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(broken, folder / "violet" / name)
    with pytest.raises(DataError, match=r"no image of 'violet' could be read.*a\.png"):
        ImageClassifier.train(DataSource.labeled_directories(folder), parameters)


def test_all_images_unreadable_is_an_error(parameters, broken, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(broken, tmp_path / "all" / name)
    with pytest.raises(DataError, match="no image could be read"):
        ImageClassifier.train(DataSource.labeled_directories(tmp_path / "all"), parameters)


def test_one_label_or_one_image_is_too_little(parameters, tmp_path):
    one_label = DataSource.labeled_directories(photo_folder(tmp_path / "one", {"red": 3}))
    with pytest.raises(DataError, match="two labels"):
        ImageClassifier.train(one_label, parameters)
    one_image = photo_folder(tmp_path / "image", {"red": 3, "blue": 1})
    with pytest.raises(DataError, match="only one image of 'blue'"):
        ImageClassifier.train(DataSource.labeled_directories(one_image), parameters)


def test_too_few_iterations_warn_with_the_tolerance_that_was_reached(photos, parameters):
    data = DataSource.labeled_directories(photos)
    hasty = parameters.replace(max_iterations=2, tolerance=1e-9, l2=0.0)
    with pytest.warns(ConvergenceWarning, match=r"2 iterations.*gradient is .*tolerance 1e-09"):
        model = ImageClassifier.train(data, hasty)
    assert model.facts["solver"]["converged"] is False
    assert "not converged: 2 iterations (max_iterations)" in model.summary()


def test_what_kept_a_training_from_converging_is_what_the_warning_tells(photos, parameters):
    # Classes far apart: the gradient is soon small, while the loss still falls by a large part.
    data = DataSource.labeled_directories(photos)
    hasty = parameters.replace(max_iterations=3, tolerance=0.05, l2=0.0)
    with pytest.warns(ConvergenceWarning, match=r"loss, .* may yet fall by .* tolerance is 5 %"):
        model = ImageClassifier.train(data, hasty)
    solver = model.facts["solver"]
    assert solver["gradient_norm"] <= 0.05
    assert solver["relative_gap"] > 0.05
    assert "(max_iterations), loss may fall by" in model.summary()


def test_class_weights_reach_the_solver(tmp_path, parameters):
    data = DataSource.labeled_directories(photo_folder(tmp_path, {"red": 24, "blue": 6}))
    bare = parameters.replace(validation=None)
    plain, balanced, by_hand, by_power = (
        ImageClassifier.train(data, bare.replace(class_weights=weights)).to_bytes()
        for weights in (None, "balanced", {"red": 30 / 48, "blue": 30 / 12}, 1.0)
    )

    def head(model):
        return [t.raw_data for t in onnx.load_from_string(model).graph.initializer][-2:]

    assert head(plain) != head(balanced)
    assert head(balanced) == head(by_hand) == head(by_power)
    with pytest.raises(InvalidOption, match=r"'purple'.*'blue', 'red'"):
        ImageClassifier.train(data, bare.replace(class_weights={"purple": 2.0}))


def weights_of(model):
    tensors = onnx.load_from_string(model.to_bytes()).graph.initializer
    return {t.name: onnx.numpy_helper.to_array(t) for t in tensors if t.name.startswith("head/")}


@pytest.mark.parametrize("l2", ["auto", 1e-3])
def test_the_temperature_is_folded_into_the_last_layer_and_told(photos, parameters, l2):
    data = DataSource.labeled_directories(photos)
    on, off = (
        ImageClassifier.train(data, parameters.replace(calibration=choice, l2=l2))
        for choice in (True, False)
    )
    calibration = on.facts["calibration"]
    assert calibration["n"] == sum(on.facts["images"]["training"].values())
    assert calibration["log_loss_after"] <= calibration["log_loss_before"]
    before, after = weights_of(off), weights_of(on)
    for name in ("head/weights", "head/bias"):
        np.testing.assert_allclose(
            after[name] * calibration["temperature"], before[name], rtol=1e-5, atol=1e-6
        )
    assert on.predict_many(good_paths(photos)) == off.predict_many(good_paths(photos))
    assert "by the temperature" in on.summary()
    assert off.facts["calibration"] is None
    assert "temperature" not in off.summary()


@pytest.mark.parametrize("sizes", [(6,), (8, 5)])
def test_a_multilayer_perceptron_is_trained_saved_and_told(photos, parameters, tmp_path, sizes):
    data = DataSource.labeled_directories(photos)
    chosen = parameters.replace(
        classifier=Classifier.multilayer_perceptron(sizes), max_iterations=30
    )
    model = ImageClassifier.train(data, chosen)
    assert model.training_metrics.accuracy >= 0.9
    names = set(weights_of(model))
    assert names == {"head/weights", "head/bias"} | {
        f"head/hidden_{i}/{part}" for i in range(len(sizes)) for part in ("weights", "bias")
    }
    assert f"hidden layers of {', '.join(map(str, sizes))} units" in model.summary()
    assert model.parameters["classifier"] == {
        "kind": "multilayer_perceptron",
        "layer_sizes": list(sizes),
    }
    assert model.facts["calibration"]["temperature"] > 0
    again = ImageClassifier.load(model.save(tmp_path / "model.onnx"))
    assert (
        again.predict_proba(good_paths(photos)).tobytes()
        == model.predict_proba(good_paths(photos)).tobytes()
    )
    # What the training measured on embeddings is what the graph gives on the photos.
    everything = model.evaluate(data)
    bare = ImageClassifier.train(data, chosen.replace(validation=None))
    assert bare.evaluate(data).log_loss == pytest.approx(bare.training_metrics.log_loss, abs=1e-4)
    assert everything.n_images == 60


@pytest.mark.parametrize(
    "classifier", [Classifier.logistic_regressor(), Classifier.multilayer_perceptron((6,))]
)
def test_training_goes_on_from_an_earlier_model(tmp_path, parameters, classifier):
    few = photo_folder(tmp_path / "few", {"red": 12, "blue": 12})
    more = photo_folder(tmp_path / "more", {"red": 16, "blue": 12, "green": 12})
    chosen = parameters.replace(classifier=classifier, l2=0.01, validation=None, max_iterations=200)
    first = ImageClassifier.train(DataSource.labeled_directories(few), chosen)
    data = DataSource.labeled_directories(more)
    again = ImageClassifier.train(
        DataSource.labeled_directories(few), chosen.replace(max_iterations=1), start=first
    )
    # The temperature is out of the way: nothing is left to do.
    solver, before = again.facts["solver"], first.facts["solver"]
    assert solver["loss"] == pytest.approx(before["loss"], rel=1e-2)
    warm = ImageClassifier.train(data, chosen, start=first)
    assert warm.classes == ("blue", "green", "red")
    assert warm.training_metrics.accuracy >= 0.9
    if classifier == Classifier.logistic_regressor():
        cold = ImageClassifier.train(data, chosen)
        images = good_paths(more)
        np.testing.assert_allclose(
            warm.predict_proba(images), cold.predict_proba(images), atol=0.02
        )


def test_a_start_that_does_not_fit_is_refused(photos, parameters, model):
    data = DataSource.labeled_directories(photos)
    chosen = parameters.replace(classifier=Classifier.multilayer_perceptron((7,)))
    with pytest.raises(
        IncompatibleParameters, match=r"a logistic regression, and a multi.* of 7 units"
    ):
        ImageClassifier.train(data, chosen, start=model)
    with pytest.raises(IncompatibleParameters, match="trained on the backbone tiny"):
        ImageClassifier.train(data, parameters.replace(crop="fit"), start=model)
    with pytest.raises(InvalidOption, match="start is a bytes"):
        ImageClassifier.train(data, parameters, start=model.to_bytes())


def test_models_of_before_calibration_was_measured_still_load(model):
    old = onnx.load_from_string(model.to_bytes())
    entry = next(p for p in old.metadata_props if p.key == "eyespot.model")
    facts = json.loads(entry.value)
    del facts["calibration"], facts["metrics"]["training"]["expected_calibration_error"]
    entry.value = json.dumps(facts)
    loaded = ImageClassifier(old.SerializeToString())
    assert "calibration" not in loaded.summary()
    assert np.isnan(loaded.training_metrics.expected_calibration_error)
    assert "calibration error" not in str(loaded.training_metrics)
    assert loaded.training_metrics.accuracy == model.training_metrics.accuracy


def test_the_crop_policy_is_the_models(photos, parameters):
    data = DataSource.labeled_directories(photos)
    model = ImageClassifier.train(data, parameters.replace(crop="fit"))
    assert model.preprocessing.crop == "fit"
    assert model.parameters["crop"] == "fit"


@pytest.mark.parametrize(
    ("data", "parameters", "words"),
    [("photos", None, "allowed: a DataSource"), (None, {"l2": 1}, "allowed: ModelParameters")],
)
def test_arguments_of_the_wrong_type_are_refused(photos, data, parameters, words):
    data = DataSource.labeled_directories(photos) if data is None else data
    with pytest.raises(InvalidOption, match=words):
        ImageClassifier.train(data, parameters)


# -- predicting -----------------------------------------------------------------------------------


def test_a_path_its_bytes_and_its_pixels_are_the_same_image(model, test_photos):
    path = good_paths(test_photos)[0]
    rows = model.predict_proba([path, str(path), path.read_bytes(), picture("blue", 100)])
    assert rows.dtype == np.float32
    assert rows.shape == (4, 3)
    assert all(row.tobytes() == rows[0].tobytes() for row in rows)
    assert model.predict(path) == "blue"


def test_a_pillow_image_is_an_image(model, test_photos):
    image = pytest.importorskip("PIL.Image")
    path = good_paths(test_photos)[0]
    with image.open(path) as opened:
        assert np.abs(model.predict_proba([opened]) - model.predict_proba([path])).max() <= 1e-5


def test_predictions_do_not_depend_on_company_or_threads(model, test_photos):
    paths = good_paths(test_photos) * 4
    together = model.predict_proba(paths, n_threads=2)
    alone = np.concatenate([model.predict_proba([path], n_threads=1) for path in paths[:21]])
    assert together[:21].tobytes() == alone.tobytes()
    assert together[21:42].tobytes() == together[:21].tobytes()
    assert model.predict_proba(paths, n_threads=5).tobytes() == together.tobytes()
    assert np.abs(together.sum(axis=1) - 1).max() <= 1e-6


def test_predictions_come_in_the_order_of_the_images(model, test_photos):
    paths = good_paths(test_photos)[::-1]
    expected = [LABELS[i] for i in model.predict_proba(paths).argmax(axis=1)]
    assert model.predict_many(paths) == expected
    assert model.predict_many(iter(paths)) == expected
    assert model.predict_many([]) == []
    assert model.predict_proba([]).shape == (0, 3)


def test_one_bad_file_raises_by_name_or_is_none(model, test_photos, broken):
    images = [*good_paths(test_photos)[:2], broken, broken.with_name("missing.png")]
    with pytest.raises(DecodeError, match=r"broken\.png"):
        model.predict_many(images)
    labels = model.predict_many(images, on_error="skip")
    assert labels[:2] == model.predict_many(images[:2])
    assert labels[2:] == [None, None]
    rows = model.predict_proba(images, on_error="skip")
    assert np.isnan(rows[2:]).all()
    assert not np.isnan(rows[:2]).any()
    result = model.infer(images)
    assert result.probabilities.tobytes() == rows.tobytes()
    assert [(error.index, error.code) for error in result.errors] == [
        (2, "corrupt_image"),
        (3, "io"),
    ]


def test_top_k_is_sorted_and_named(model, test_photos):
    path = good_paths(test_photos)[0]
    top = model.predict_top_k(path, 2)
    row = model.predict_proba([path])[0]
    assert [choice.label for choice in top] == [LABELS[i] for i in np.argsort(-row)[:2]]
    assert top[0].probability == row.max()
    assert len(model.predict_top_k(path)) == 3
    assert len(model.predict_top_k(path, 99)) == 3
    assert model.top_k(np.array([0.25, 0.5, 0.25]), 3)[1].label == "blue"
    assert len(model.predict_top_k(path, np.int64(2))) == 2
    for row in (np.ones(4) / 4, np.ones((1, 3)) / 3):
        with pytest.raises(InvalidOption, match="one row of 3 numbers"):
            model.top_k(row)
    with pytest.raises(InvalidOption, match="k is 0"):
        model.predict_top_k(path, 0)


@pytest.mark.parametrize("one", ["a.jpg", b"bytes", np.zeros((4, 4, 3), np.uint8), 7])
def test_one_image_where_a_list_is_due_is_refused(model, one):
    with pytest.raises(InvalidOption, match="put it in a list"):
        model.predict_many(one)


# -- evaluating -----------------------------------------------------------------------------------


def test_evaluation_counts_what_prediction_says(model, test_photos):
    data = DataSource.labeled_directories(test_photos)
    metrics = model.evaluate(data)
    expected = ClassifierMetrics.from_probabilities(
        LABELS, data.targets, model.predict_proba(list(data.paths))
    )
    assert metrics.to_dict() == expected.to_dict()


def test_evaluation_takes_some_of_the_labels_but_no_others(model, tmp_path):
    some = DataSource.labeled_directories(photo_folder(tmp_path / "some", {"red": 3}, first=50))
    metrics = model.evaluate(some)
    assert metrics.confusion.sum() == 3
    assert metrics.confusion[2].sum() == 3  # red is the third of the model's labels
    other = DataSource.labeled_directories(photo_folder(tmp_path / "other", {"yellow": 1}))
    with pytest.raises(DataError, match="yellow"):
        model.evaluate(other)


def test_evaluation_lists_what_it_skipped(model, test_photos, broken, tmp_path):
    folder = shutil.copytree(test_photos, tmp_path / "copy")
    shutil.copy(broken, folder / "blue" / "broken.png")
    data = DataSource.labeled_directories(folder)
    with pytest.warns(SkippedImagesWarning, match="1 of 22"):
        metrics = model.evaluate(data)
    assert metrics.confusion.sum() == 21
    assert [error.code for error in metrics.skipped] == ["corrupt_image"]
    with pytest.raises(DecodeError, match=r"broken\.png"):
        model.evaluate(data, on_error="raise")


def test_evaluation_of_nothing_readable_is_an_error(model, broken):
    data = DataSource.files_by_label({"red": [broken]})
    with pytest.raises(DataError, match="none of the 1 images"):
        model.evaluate(data)


def test_evaluation_reports_its_own_phase(model, test_photos):
    seen = []
    model.evaluate(DataSource.labeled_directories(test_photos), progress=seen.append)
    assert {step.phase for step in seen} == {Phase.EVALUATING}


# -- keeping --------------------------------------------------------------------------------------


def test_a_saved_model_is_the_model(model, test_photos, tmp_path):
    path = model.save(tmp_path / "model.onnx")
    assert path.read_bytes() == model.to_bytes()
    loaded = ImageClassifier.load(path)
    paths = good_paths(test_photos)
    assert loaded.predict_proba(paths).tobytes() == model.predict_proba(paths).tobytes()
    assert loaded.facts == model.facts
    assert loaded.training_metrics.to_dict() == model.training_metrics.to_dict()
    assert loaded.validation_metrics.to_dict() == model.validation_metrics.to_dict()
    assert loaded.summary() == model.summary()
    assert loaded.training_report is None


def test_a_model_can_be_pickled(model, test_photos):
    path = good_paths(test_photos)[0]
    twin = pickle.loads(pickle.dumps(model))
    assert twin.predict_proba([path]).tobytes() == model.predict_proba([path]).tobytes()


def test_saving_replaces_a_model_and_refuses_other_formats(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    model.save(path)
    assert path.read_bytes() == model.to_bytes()
    with pytest.raises(InvalidOption, match=r"name it model\.onnx"):
        model.save(tmp_path / "model.mlmodel")


def test_the_facts_are_json_without_paths_or_times(model, photos):
    facts = json.loads(model.to_json())
    assert facts["schema"] == 1
    assert facts["classes"] == list(LABELS)
    assert facts["backbone"]["n_features"] == 12
    assert facts["parameters"]["max_iterations"] == 500
    assert facts["parameters"]["validation"] == {"ratio": None, "seed": 0}
    assert facts["metrics"]["training"]["accuracy"] == 1
    assert str(photos) not in model.to_json()
    assert dict(model.parameters) == facts["parameters"]


def test_text_forms_name_the_labels_and_the_accuracy(model):
    assert "blue, green, red" in repr(model)
    assert "validation accuracy" in repr(model)
    summary = model.summary()
    assert summary.startswith("Image classifier with 3 labels")
    assert "54 images (blue 18, green 18, red 18), accuracy 100.0 %" in summary
    assert "24 x 24 px, center_crop, bilinear" in summary
    assert "converged after" in summary
    assert model._repr_html_().count("<tr>") == len(summary.splitlines()) - 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, I am text\n", "not an ONNX model"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x80\x04\x95", "pickle"),
    ],
)
def test_a_file_that_is_no_model_is_refused_by_kind(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        ImageClassifier.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.onnx: No such file"):
        ImageClassifier.load(tmp_path / "nowhere.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        ImageClassifier.load(tmp_path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(model, tmp_path, keep):
    data = model.to_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError):
        ImageClassifier.load(path)


@pytest.mark.parametrize("outputs", [("embedding",), ("embedding", "logits")])
def test_the_onnx_model_of_another_tool_is_explained(tmp_path, outputs):
    path = Tiny(outputs=outputs).save(tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"not one that eyespot made.*FeatureExtractor\.custom"):
        ImageClassifier.load(path)


def test_metadata_of_broken_text_are_a_damaged_model(model, tmp_path):
    data = model.to_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data.replace(b"NominalRange_0_255", b"NominalRange_0_25\xff"))
    with pytest.raises(ModelError, match=r"model\.onnx: the metadata are no UTF-8"):
        ImageClassifier.load(path)


def test_a_path_where_bytes_are_due_is_explained():
    with pytest.raises(InvalidOption, match=r"model is a str.*ImageClassifier\.load"):
        ImageClassifier("model.onnx")


def changed(model, change):
    proto = onnx.load_from_string(model.to_bytes())
    entry = next(p for p in proto.metadata_props if p.key == "eyespot.model")
    facts = json.loads(entry.value)
    change(facts)
    entry.value = json.dumps(facts)
    return proto.SerializeToString()


def test_a_model_of_a_later_version_asks_for_it(model):
    data = changed(model, lambda facts: facts.update(schema=99, eyespot="9.9.9"))
    with pytest.raises(ModelError, match=r"eyespot 9\.9\.9.*newer"):
        ImageClassifier(data)


@pytest.mark.parametrize(
    "entry",
    [
        {"classes": 3},
        {"classes": None},
        {"classes": [1, 2, 3]},
        {"classes": ["a", "a", "b"]},
        {"backbone": "mine"},
        {"backbone": {}},
        {"images": None},
        {"images": {}},
        {"images": {"training": 3, "validation": None, "skipped": 0}},
        {"parameters": 3},
        {"solver": {}},
        {"metrics": None},
        {"metrics": {}},
        {"metrics": {"training": 3, "validation": None}},
    ],
)
def test_metadata_of_another_kind_are_a_damaged_model(model, entry):
    data = changed(model, lambda facts: facts.update(entry))
    with pytest.raises(ModelError, match="a damaged eyespot model"):
        ImageClassifier(data)


def test_a_model_whose_labels_do_not_fit_is_refused(model):
    data = changed(model, lambda facts: facts["classes"].append("violet"))
    with pytest.raises(ModelError, match="damaged"):
        ImageClassifier(data)
