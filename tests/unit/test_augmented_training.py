"""Training with augmented copies: what is made of which images, and what is told of it."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from eyespot import (
    Augmentation,
    Cancelled,
    CancelToken,
    DataError,
    DataSource,
    DecodeError,
    FeatureExtractor,
    ImageClassifier,
    InvalidOption,
    ModelParameters,
    MultiLabelImageClassifier,
    Phase,
    Preprocessing,
    SkippedImagesWarning,
    SplitStrategy,
    _core,
    budget,
    training,
)
from eyespot.augmentation import Crop, Flip, Noise
from eyespot.head import fit_softmax, select_l2, select_sigmoid_l2
from eyespot.head.rows import grouped_folds, stratified_folds
from eyespot.images import read_image
from eyespot.loader import Loader
from eyespot.variants import Variants
from image_files import bmp_bytes, gradient, png_bytes
from onnx_builder import Tiny
from photos import photo_folder
from shapes import shapes_table

LABELS = ("blue", "green", "red")
PLAN = Augmentation(crop=Crop(), noise=Noise(), flip=Flip(), copies_per_image=3)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    return FeatureExtractor.custom(path, preprocessing=Preprocessing(width=24, height=24))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"), dict.fromkeys(LABELS, 20))


@pytest.fixture(scope="module")
def parameters(extractor):
    return ModelParameters(
        feature_extractor=extractor, max_iterations=500, tolerance=1e-3, augmentation=PLAN
    )


@pytest.fixture(scope="module")
def model(photos, parameters):
    return ImageClassifier.train(DataSource.labeled_directories(photos), parameters)


# -- rows -----------------------------------------------------------------------------------------


def test_variants_count_originals_and_copies_by_class():
    plan = Augmentation.of("crop", copies_per_image=2)
    plan = Augmentation(crop=plan.crop, copies_per_image=2, copies_per_class={"a": 0, "b": 20})
    variants = Variants(plan, 1, ["a", "b", "c", None])
    assert variants.counts.tolist() == [1, 21, 3, 1]
    assert variants.images().tolist() == [0] + [1] * 21 + [2] * 3 + [3]
    assert variants.indices().tolist() == [-1, *range(-1, 20), -1, 0, 1, -1]
    items = variants.items()
    assert [(item.image, len(item.indices), item.row) for item in items] == [
        (0, 1, 0),
        (1, 16, 1),
        (1, 5, 17),
        (2, 3, 22),
        (3, 1, 25),
    ]
    assert [index for item in items for index in item.indices] == variants.indices().tolist()


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["array", "png", "bmp"])
def test_the_loader_makes_the_variants_that_the_core_makes_alone(kind, n_threads):
    image = gradient(50, 70)
    data = {"array": image, "png": png_bytes(image), "bmp": bmp_bytes(image)}[kind]
    plan = Augmentation.photos(copies_per_image=20)
    spec = Preprocessing(width=24, height=16)
    variants = Variants(plan, 7, ["a", None, "a"])
    with Loader(
        [data, data, data], spec, batch_size=2, n_threads=n_threads, augmentation=variants
    ) as loader:
        assert len(loader) == 3
        batches = list(loader)
    rows = np.concatenate([batch.pixels for batch in batches])
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(43))
    expected = _core.preprocess_variants(
        image,
        spec.core_spec(),
        plan.core_plan(),
        seed=7,
        content=_core.content_key(data),
        indices=range(-1, 20),
    )
    np.testing.assert_array_equal(rows[:21], expected)
    np.testing.assert_array_equal(rows[22:], expected)
    np.testing.assert_array_equal(rows[21], _core.preprocess(image, spec.core_spec()))


def test_a_stream_gives_each_epoch_another_variant_again_and_again():
    images = [gradient(40, 40, seed) for seed in range(5)]
    spec = Preprocessing(width=16, height=16)

    def epoch(number, order=range(5), **options):
        given = {"augmentation": Augmentation.photos(), "seed": 3, "epoch": number}
        given |= {"batch_size": 2} | options
        with Loader([images[i] for i in order], spec, **given) as loader:
            return np.concatenate([batch.pixels for batch in loader])

    first = epoch(0)
    assert first.shape == (5, 3, 16, 16)
    np.testing.assert_array_equal(first, epoch(0, n_threads=1, batch_size=4))
    np.testing.assert_array_equal(first[::-1], epoch(0, order=range(4, -1, -1)))
    for other in (epoch(1), epoch(0, seed=4)):
        assert all((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 1}, "epoch is given without augmentation"),
        ({"seed": 1}, "seed is given without augmentation"),
        ({"augmentation": "photos"}, "augmentation is a str; allowed: an Augmentation"),
        ({"augmentation": PLAN, "epoch": -1}, "epoch is -1; allowed"),
        ({"augmentation": PLAN, "seed": 2**64}, "seed is .*; allowed"),
    ],
)
def test_the_loader_refuses_a_bad_stream(options, message):
    with pytest.raises(InvalidOption, match=message):
        Loader([gradient(8, 8)], Preprocessing(width=8, height=8), **options)


def test_copies_have_the_embeddings_of_their_pixels(extractor):
    data = [png_bytes(gradient(40, 30, seed)) for seed in range(3)]
    variants = Variants(PLAN, 5, ["a", "a", None])
    features = extractor.extract(data, variants=variants)
    assert features.indices.tolist() == [0] * 4 + [1] * 4 + [2]
    assert features.variants.tolist() == [-1, 0, 1, 2] * 2 + [-1]
    plain = extractor.extract(data).embeddings
    np.testing.assert_array_equal(features.embeddings[features.variants < 0], plain)
    assert len(np.unique(features.embeddings, axis=0)) == 9


def test_an_unreadable_image_is_left_out_with_all_its_rows_and_told_once(extractor):
    plan = Augmentation.of("crop", copies_per_image=20)
    data = [png_bytes(gradient(30, 30)), b"no image", png_bytes(gradient(30, 30, 1))]
    seen = []
    features = extractor.extract(
        data, variants=Variants(plan, 0, ["a"] * 3), progress=lambda p: seen.append(p.done)
    )
    assert [(error.index, error.source) for error in features.errors] == [(1, "<bytes #1>")]
    assert features.indices.tolist() == [0] * 21 + [2] * 21
    assert seen[-1] == 63


def test_an_image_of_one_pixel_is_augmented_like_any_other(extractor):
    plan = Augmentation.createml()
    features = extractor.extract(
        [np.full((1, 1, 3), 200, np.uint8)], variants=Variants(plan, 0, ["a"])
    )
    assert len(features.embeddings) == 1 + plan.n_variants
    assert np.isfinite(features.embeddings).all()


# -- folds ----------------------------------------------------------------------------------------


def test_folds_keep_copies_with_their_original():
    targets = np.repeat(np.array([0, 1, 0, 1, 1, 0, 2], np.int32), 4)
    groups = np.repeat(np.arange(7), 4)
    folds, n_folds = grouped_folds(targets, 3, 3, 0, groups, np.arange(28) % 4 == 0)
    assert n_folds == 3
    firsts = folds[::4]
    np.testing.assert_array_equal(firsts, stratified_folds(targets[::4], 3, 3, 0))
    for i, fold in enumerate(firsts):
        copies = folds[4 * i + 1 : 4 * i + 4]
        assert (copies == (-1 if fold < 0 else -2 - fold)).all()
    assert firsts[-1] == -1


def test_cross_validation_with_groups_never_sees_copies_of_what_it_scores():
    # Targets are noise, so whoever knows the copies of a row knows more than can be known.
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 30)).astype(np.float32)
    x = np.repeat(base, 5, axis=0) + rng.normal(scale=0.01, size=(300, 30)).astype(np.float32)
    y = np.repeat(rng.integers(0, 2, 60), 5)
    groups = np.repeat(np.arange(60), 5)
    copies = np.arange(300) % 5 > 0
    leaking, honest = select_l2(x, y, 2), select_l2(x, y, 2, groups=groups, copies=copies)
    assert min(leaking.log_loss) < 0.6
    assert min(honest.log_loss) > 0.65
    fit = fit_softmax(x, y, 2, l2=0.1, groups=groups, copies=copies, held_out=True)
    np.testing.assert_array_equal(fit.held_out.rows, np.arange(0, 300, 5))


def test_groups_of_the_wrong_shape_are_refused():
    with pytest.raises(InvalidOption, match="groups: int64 of shape"):
        fit_softmax(np.eye(4, dtype=np.float32), [0, 1, 0, 1], 2, groups=[1, 2])


# -- training -------------------------------------------------------------------------------------


def test_the_model_tells_copies_and_originals_apart(model):
    facts = model.facts["augmentation"]
    assert model.facts["images"]["training"] == dict.fromkeys(LABELS, 18)
    assert model.facts["images"]["validation"] == dict.fromkeys(LABELS, 2)
    assert facts["copies"] == dict.fromkeys(LABELS, 54)
    assert model.training_report.n_training == 54
    assert model.training_report.n_copies == 162
    assert model.training_metrics.n_images == 54
    assert model.facts["calibration"]["n"] == 54
    assert 0.5 < facts["accuracy"] <= 1
    assert Augmentation.from_dict(json.loads(json.dumps(facts["plan"]))) == PLAN
    text = model.summary()
    assert "augmented    162 copies of training images (crop 0.5 to 1, noise 1 to 10" in text
    assert "seed 0" in text


def test_the_model_has_the_same_bytes_for_any_number_of_threads_and_place(
    model, photos, parameters, tmp_path
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    for n_threads, folder in ((1, photos), (5, moved)):
        again = ImageClassifier.train(
            DataSource.labeled_directories(folder), parameters.replace(n_threads=n_threads)
        )
        assert again.to_bytes() == model.to_bytes()
    other = ImageClassifier.train(
        DataSource.labeled_directories(photos), parameters.replace(seed=1)
    )
    assert other.to_bytes() != model.to_bytes()


def test_validation_images_are_those_of_training_without_augmentation(model, photos, parameters):
    plain = ImageClassifier.train(
        DataSource.labeled_directories(photos), parameters.replace(augmentation=None)
    )
    assert plain.facts["augmentation"] is None
    assert plain.training_report.n_copies == 0
    assert plain.facts["images"] == model.facts["images"]
    assert "augmented" not in plain.summary()


@pytest.mark.parametrize(
    ("spec", "plan"),
    [
        ("photos", Augmentation.photos()),
        ("flip", Augmentation.of("flip")),
        ({"flip", "crop"}, Augmentation.createml("crop", "flip")),
        (["noise"], Augmentation.of("noise")),
        (PLAN, PLAN),
    ],
)
def test_plans_may_be_named(spec, plan):
    assert Augmentation.resolve(ModelParameters(augmentation=spec).augmentation) == plan


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("photo", "augmentation is 'photo'; allowed: 'light', 'photos'.*did you mean 'photos'"),
        ({"crops"}, "augmentation is 'crops'; allowed: 'crop'.*did you mean 'crop'"),
        (set(), "augmentation is set.*allowed: None, an Augmentation"),
        (3, "augmentation is 3; allowed: None, an Augmentation"),
    ],
)
def test_other_plans_are_refused(spec, message):
    with pytest.raises(InvalidOption, match=message):
        ModelParameters(augmentation=spec)


def test_a_budget_is_told_before_the_work_and_limited(
    photos, parameters, extractor, caplog, monkeypatch
):
    data = DataSource.labeled_directories(photos)
    with caplog.at_level(logging.INFO, "eyespot"):
        ImageClassifier.train(data, parameters)
    told = "augmentation: 162 copies of 54 images and 6 for validation, 222 images to look at"
    assert told in caplog.text
    monkeypatch.setattr(budget, "MOST_ROWS", 100)
    with pytest.raises(InvalidOption, match=r"makes 222 images of 60, and 100 are .* without"):
        ImageClassifier.train(data, parameters)
    monkeypatch.setattr(budget, "MOST_ROWS", 200)
    with pytest.raises(InvalidOption, match="ask for copies_per_image=2 or fewer"):
        ImageClassifier.train(data, parameters)


def test_copies_of_an_unknown_class_are_refused(photos, parameters):
    plan = Augmentation(flip=Flip(), copies_per_class={"rde": 3})
    with pytest.raises(InvalidOption, match="copies_per_class has 'rde', which the data do not"):
        ImageClassifier.train(
            DataSource.labeled_directories(photos), parameters.replace(augmentation=plan)
        )


def test_a_plan_balances_classes(tmp_path, parameters):
    folder = photo_folder(tmp_path, {"red": 12, "blue": 4})
    data = DataSource.labeled_directories(folder)
    plan = Augmentation(flip=Flip(), copies_per_image=1).balanced(data.counts())
    model = ImageClassifier.train(
        data, parameters.replace(augmentation=plan, validation=None, l2=0.01)
    )
    assert model.facts["augmentation"]["copies"] == {"blue": 20, "red": 12}


@pytest.mark.parametrize(
    ("copies_weight", "original", "copies"),
    [
        (1.0, {"blue": 1.5, "red": 3.0}, {"blue": 0.75, "red": 0.6}),
        (0.5, {"blue": 2.0, "red": 4.0}, {"blue": 0.5, "red": 0.4}),
        (None, {"blue": 1.0, "red": 1.0}, {"blue": 1.0, "red": 1.0}),
    ],
)
def test_copies_share_a_weight_and_their_class_keeps_its_own(
    tmp_path, parameters, extractor, copies_weight, original, copies
):
    data = DataSource.labeled_directories(photo_folder(tmp_path, {"blue": 6, "red": 3}))
    plan = Augmentation(
        crop=Crop(),
        copies_per_image=2,
        copies_per_class={"red": 5},
        copies_weight=copies_weight,
    )
    chosen = parameters.replace(augmentation=plan, validation=None, l2=0.01, calibration=False)
    head = training.train(data, chosen).head

    labels = [data.classes[target] for target in data.targets]
    variants = Variants(plan, chosen.seed, labels)
    features = extractor.extract(data.paths, variants=variants)
    rows = [labels[i] for i in features.indices]
    weights = [
        (copies if variant >= 0 else original)[label]
        for label, variant in zip(rows, features.variants, strict=True)
    ]
    fit = fit_softmax(
        features.embeddings,
        data.targets[features.indices],
        2,
        l2=0.01,
        sample_weight=weights,
        max_iterations=500,
        tolerance=1e-3,
        groups=features.indices,
    )
    np.testing.assert_allclose(
        head.probabilities(features.embeddings),
        fit.head.probabilities(features.embeddings),
        atol=1e-5,
    )


def test_unreadable_photos_are_skipped_or_end_an_augmented_training(photos, parameters, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    data = DataSource.labeled_directories(folder)
    with pytest.warns(SkippedImagesWarning, match="1 of 61 images could not be read"):
        model = ImageClassifier.train(data, parameters)
    assert model.facts["images"]["skipped"] == 1
    with pytest.raises(DecodeError, match=r"broken\.png"):
        ImageClassifier.train(data, parameters.replace(on_error="raise"))
    for path in (folder / "red").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="no image of 'red' could be read"):
        ImageClassifier.train(data, parameters.replace(validation=None))


def test_an_augmented_training_can_be_cancelled_and_counts_its_copies(photos, parameters):
    cancel = CancelToken()
    totals = set()

    def stop(progress):
        if progress.phase == Phase.EXTRACTING_FEATURES:
            totals.add(progress.total)
            cancel.cancel()

    with pytest.raises(Cancelled, match="of 222 images"):
        ImageClassifier.train(
            DataSource.labeled_directories(photos), parameters, progress=stop, cancel=cancel
        )
    assert totals == {222}


def test_a_perceptron_learns_from_copies_too(photos, parameters):
    model = ImageClassifier.train(
        DataSource.labeled_directories(photos),
        parameters.replace(
            classifier="multilayer_perceptron",
            max_iterations=20,
            validation=SplitStrategy.fixed(0.2),
        ),
    )
    assert model.facts["calibration"]["n"] == 48
    assert model.facts["augmentation"]["copies"] == dict.fromkeys(LABELS, 48)


def test_read_image_and_loader_agree_on_a_file_that_pillow_decodes(tmp_path):
    path = tmp_path / "photo.bmp"
    path.write_bytes(bmp_bytes(gradient(20, 30)))
    with Loader(
        [path], Preprocessing(width=8, height=8), augmentation=Variants(PLAN, 0, ["a"])
    ) as loader:
        (batch,) = list(loader)
    expected = _core.preprocess_variants(
        read_image(path),
        Preprocessing(width=8, height=8).core_spec(),
        PLAN.core_plan(),
        seed=0,
        content=_core.content_key(path.read_bytes()),
        indices=range(-1, 3),
    )
    np.testing.assert_array_equal(batch.pixels, expected)


# -- several labels an image ----------------------------------------------------------------------


def test_several_labels_an_image_are_learnt_from_copies_too(tmp_path, parameters):
    data = DataSource.from_table(shapes_table(tmp_path, 60), label_separator=";")
    model = MultiLabelImageClassifier.train(data, parameters.replace(validation=None))
    assert model.training_report.n_copies == 180
    assert model.facts["augmentation"]["accuracy"] is None
    assert "copies of training images" in model.summary()
    again = MultiLabelImageClassifier.train(data, parameters.replace(validation=None, n_threads=1))
    assert again.to_bytes() == model.to_bytes()
    plan = Augmentation(flip=Flip(), copies_per_class={data.classes[0]: 3})
    with pytest.raises(InvalidOption, match="copies_per_class goes with one label an image"):
        MultiLabelImageClassifier.train(data, parameters.replace(augmentation=plan))


def test_sigmoid_cross_validation_with_groups_never_sees_copies_of_what_it_scores():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 30)).astype(np.float32)
    x = np.repeat(base, 5, axis=0) + rng.normal(scale=0.01, size=(300, 30)).astype(np.float32)
    y = np.repeat(rng.integers(0, 2, (60, 2)), 5, axis=0)
    groups = np.repeat(np.arange(60), 5)
    assert min(select_sigmoid_l2(x, y).log_loss) < 2 * 0.6
    assert min(select_sigmoid_l2(x, y, groups=groups).log_loss) > 2 * 0.65
