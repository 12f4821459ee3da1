"""Groups of images: how they are told, and that everything keeps them on one side."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import eyespot
from eyespot import (
    Augmentation,
    Classifier,
    DataError,
    DataSource,
    FeatureExtractor,
    GroupsWarning,
    ImageClassifier,
    InvalidOption,
    ModelParameters,
    ModifiedTrainingData,
    MultiLabelImageClassifier,
    Preprocessing,
    SoftmaxRegression,
    SplitStrategy,
    TrainingSessionParameters,
    fit_perceptron,
    fit_sigmoid,
    fit_softmax,
)
from eyespot.head import select_l2
from eyespot.head.rows import check_groups, grouped_folds
from eyespot.head.sigmoid import select_sigmoid_l2
from eyespot.splitting import GroupCounts, deal_groups, held_out_groups
from onnx_builder import Tiny
from photos import grouped_photo_folder, photo_folder, picture, png

LABELS = ("blue", "green", "red")
FOUR = r"(.+)_\d+\.png"  # pictures of a group are called GROUP_0.png to GROUP_3.png


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    return FeatureExtractor.custom(path, preprocessing=Preprocessing(width=24, height=24))


@pytest.fixture(scope="module")
def parameters(extractor):
    return ModelParameters(
        feature_extractor=extractor,
        max_iterations=500,
        tolerance=1e-3,
        validation=SplitStrategy.fixed(0.2),
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return grouped_photo_folder(
        tmp_path_factory.mktemp("photos") / "set", dict.fromkeys(LABELS, 10)
    )


@pytest.fixture(scope="module")
def data(photos):
    return DataSource.labeled_directories(photos, groups=FOUR)


@pytest.fixture(scope="module")
def model(data, parameters):
    return ImageClassifier.train(data, parameters)


# -- how they are told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        r"(?P<group>.+)_\d+\.png",
        FOUR,
        r".*(?=_\d\.png)",
        re.compile(r"(?P<group>.+)(_)\d+"),
        lambda path: path.as_posix().rpartition("_")[0],
    ],
    ids=["named", "only part", "whole match", "compiled", "callable"],
)
def test_a_pattern_or_a_callable_on_the_path_below_the_folder_tells_the_groups(photos, rule):
    source = DataSource.labeled_directories(photos, groups=rule)
    assert source.groups[:5] == ("blue/blue0",) * 4 + ("blue/blue1",)
    assert len(source.group_sizes()) == 30
    assert set(source.group_sizes().values()) == {4}


def test_a_group_may_hold_images_of_several_labels(tmp_path):
    for name in ("ill/p01_a.jpg", "well/p01_b.jpg", "well/p02_a.jpg", "well/other.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    source = DataSource.labeled_directories(tmp_path, groups=r"p\d+")
    assert source.groups == ("p01", None, "p01", "p02")
    seen = []
    DataSource.labeled_directories(tmp_path, groups=seen.append)
    assert seen[0] == Path("ill/p01_a.jpg")  # nothing above the folder


def test_files_and_mappings_take_a_rule_too(tmp_path):
    for name in ("cat.tom-1.jpg", "cat.tom-2.jpg", "dog.rex-1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    flat = DataSource.labeled_files(tmp_path, groups=r"\.(\w+)-")
    assert flat.groups == ("tom", "tom", "rex")
    paths = sorted(tmp_path.iterdir())
    mapped = DataSource.files_by_label({"pet": paths}, groups=lambda path: len(path.name))
    assert mapped.groups == ("13", "13", "13")


def test_a_column_of_a_table_tells_the_groups(tmp_path):
    for name in "abcde":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    table = tmp_path / "t.csv"
    table.write_text("path,label,patient\na.jpg,x,7\nb.jpg,x,7\nc.jpg,y, 7 \nd.jpg,y,\ne.jpg,y,8\n")
    assert DataSource.from_table(table, group_column="patient").groups == ("7", "7", "7", None, "8")
    frame = {
        "path": [tmp_path / f"{name}.jpg" for name in "abc"],
        "label": ["x", "y", "y"],
        "visit": [1, float("nan"), 1],
    }
    assert DataSource.from_table(frame, group_column="visit").groups == ("1", None, "1")
    by_path = DataSource.from_table(table, groups="[a-c]")
    assert by_path.groups == ("a", "b", "c", None, None)


def test_a_column_of_groups_goes_with_several_columns_of_labels(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    (tmp_path / "t.csv").write_text("path,cat,dog,film\na.jpg,1,0,F\nb.jpg,1,1,F\n")
    source = DataSource.from_table(
        tmp_path / "t.csv", label_column=["cat", "dog"], group_column="film"
    )
    assert source.groups == ("F", "F")
    assert source.label_sets == (("cat",), ("cat", "dog"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (r"(", "is no regular expression: missing \\)"),
        (r"nothing like it", "matches no path; the first is 'blue/blue0_0.png'"),
        (r"(.+)_(\d+)", r"has 2 parts in parentheses; call the one .* \(\?P<group>...\)"),
        (re.compile(b"x"), "a pattern for text is needed"),
        (7, "groups is 7; allowed: a regular expression, a callable"),
        (lambda _: ["a"], r"a callable that gives \['a'\] for 'blue/blue0_0.png'"),
    ],
)
def test_rules_that_tell_nothing_are_refused(photos, rule, message):
    with pytest.raises(InvalidOption, match=message):
        DataSource.labeled_directories(photos, groups=rule)


def test_tables_refuse_two_groups_an_image_two_ways_to_tell_and_unknown_columns(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    table = tmp_path / "t.csv"
    table.write_text("path,label,film\na.jpg,x,1\na.jpg,y,2\n")
    with pytest.raises(DataError, match=r"line 3: .*a.jpg is of the group '2' here, and of '1' in"):
        DataSource.from_table(table, multi_label=True, group_column="film")
    with pytest.raises(InvalidOption, match="groups: is given together with group_column"):
        DataSource.from_table(table, group_column="film", groups="a")
    with pytest.raises(DataError, match=r"no column 'films'.*did you mean 'film'"):
        DataSource.from_table(table, group_column="films")


def test_groups_can_be_given_taken_away_and_joined(data):
    assert DataSource.labeled_directories(data.paths[0].parents[1]).groups == (None,) * 120
    plain = data.with_groups(None)
    assert plain.groups == (None,) * 120
    assert plain.group_sizes() == {}
    numbers = np.arange(120) // 4
    assert data.with_groups(numbers).groups[:5] == ("0", "0", "0", "0", "1")
    some = {data.paths[3]: "pair", data.paths[4]: "pair"}
    assert plain.with_groups(some).group_sizes() == {"pair": 2}
    joined = data.with_groups(some, join=True)
    assert joined.group_sizes()["blue/blue0"] == 8
    assert len(joined.group_sizes()) == 29
    both = plain.with_groups(["a", None] + [None] * 118).with_groups(
        [None, "a"] + [None] * 118, join=True
    )
    assert both.groups[:3] == ("a", "a (2)", None)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"], "1 given for 120 paths"),
        ("patient", "is 'patient'; allowed: one group an image"),
        ({Path("elsewhere.jpg"): "a"}, "names none of the images"),
    ],
)
def test_groups_that_do_not_fit_are_refused(data, groups, message):
    with pytest.raises(InvalidOption, match=message):
        data.with_groups(groups)
    with pytest.raises(InvalidOption, match="groups: 2 given for 120 paths"):
        DataSource(paths=data.paths, classes=data.classes, targets=data.targets, groups=("a", "b"))


def test_parts_of_a_source_keep_their_groups(data):
    part = data.take([0, 5, 119])
    assert part.groups == ("blue/blue0", "blue/blue1", "red/red9")
    more = data.with_classes((*LABELS, "yellow"))
    assert more.groups == data.groups
    split = data.split(SplitStrategy.fixed(0.2))
    names = dict(zip(data.paths, data.groups, strict=True))
    for side in (split.train, split.validation):
        assert side.groups == tuple(names[path] for path in side.paths)


def test_copies_that_become_one_image_join_their_groups(tmp_path):
    for label, name, content in (
        ("cat", "f1_a.jpg", b"same"),
        ("dog", "f2_a.jpg", b"same"),
        ("dog", "f2_b.jpg", b"other"),
        ("dog", "f3_a.jpg", b"third"),
    ):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / name).write_bytes(content)
    source = DataSource.labeled_directories(tmp_path, multi_label=True, groups=r"f\d")
    assert source.groups == ("f1", "f1", "f3")


# -- the split ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_split_keeps_groups_whole_and_stratified(data, seed):
    split = data.split(SplitStrategy.fixed(0.2, seed=seed))
    assert set(split.train.groups).isdisjoint(split.validation.groups)
    assert split.validation.counts() == dict.fromkeys(LABELS, 8)
    assert split.notes == (
        "30 groups of two or more images kept together: 24 to train on, 6 held out",
    )


def test_other_seeds_hold_out_other_groups_and_the_same_seed_the_same(data):
    held = [
        data.split(SplitStrategy.fixed(0.2, seed=seed)).validation.paths for seed in (0, 0, 1, 2)
    ]
    assert held[0] == held[1]
    assert len({*held}) == 3


def test_groups_of_one_image_change_no_split(photos):
    plain = DataSource.labeled_directories(photos)
    alone = plain.with_groups([str(i) for i in range(120)])
    for seed in range(10):
        strategy = SplitStrategy.fixed(0.3, seed=seed)
        assert alone.split(strategy).validation.paths == plain.split(strategy).validation.paths
        assert alone.split(strategy).notes == ()


def test_a_copy_links_two_groups(tmp_path):
    grouped_photo_folder(tmp_path, {"blue": 6, "red": 6})
    shutil.copy(tmp_path / "blue" / "blue0_0.png", tmp_path / "blue" / "blue1_9.png")
    source = DataSource.labeled_directories(tmp_path, groups=FOUR)
    for seed in range(30):
        held = set(source.split(SplitStrategy.fixed(0.4, seed=seed)).validation.groups)
        assert ("blue/blue0" in held) == ("blue/blue1" in held)


def test_large_groups_are_held_out_all_the_same_and_that_is_told(tmp_path):
    grouped_photo_folder(tmp_path, {"blue": 6, "red": 6}, each=10)
    split = DataSource.labeled_directories(tmp_path, groups=FOUR).split(SplitStrategy.automatic())
    assert split.validation.counts() == {"blue": 10, "red": 10}
    assert split.notes[1] == (
        "20 images are held out instead of 12 of 120, because groups are not taken apart"
    )


def test_classes_of_one_or_two_large_groups_are_not_held_out(tmp_path):
    grouped_photo_folder(tmp_path, {"blue": 1, "red": 2, "green": 8}, each=10)
    source = DataSource.labeled_directories(tmp_path, groups=FOUR)
    split = source.split(SplitStrategy.fixed(0.1))
    assert split.validation.counts() == {"blue": 0, "green": 10, "red": 0}
    assert split.notes[0] == "2 classes have no image in the validation set: blue, red"
    few = source.take(source.targets != 1).split(SplitStrategy.fixed(0.1))
    assert few.validation is None
    assert few.notes[0] == "no validation set: no class has a group to spare"


@pytest.mark.parametrize(("each", "ratio"), [(8, 0.05), (12, 0.05), (30, 0.02)])
def test_shares_of_less_than_an_image_add_up(each, ratio):
    """Of a hundred classes whose shares round to nothing, or to an image, count are held out."""
    targets = np.repeat(np.arange(100), each)
    units = np.arange(len(targets))
    units[1] = 0  # a pair, so that there is a group at all
    digests = [str(i) for i in range(len(targets))]
    count = SplitStrategy.fixed(ratio).validation_count(len(targets))
    held = held_out_groups(targets, digests, units, 100, count, 0)
    assert held.sum() == count
    assert np.bincount(targets[held], minlength=100).max() == 1


def test_folds_are_as_stratified_as_scikit_learn_s():
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(0)
    ours, theirs, random = [], [], []
    for trial in range(10):
        group = np.unique(rng.integers(0, 60, 600), return_inverse=True)[1]
        n = group.max() + 1
        likely = rng.dirichlet(np.ones(5), n)
        targets = np.array([rng.choice(5, p=likely[i]) for i in group])
        folds = deal_groups(GroupCounts.of(group, targets, n, 5), 5, rng.permutation(n))[group]
        splitter = selection.StratifiedGroupKFold(5, shuffle=True, random_state=trial)
        other = np.zeros(len(group), int)
        for number, (_, rows) in enumerate(splitter.split(targets, targets, group)):
            other[rows] = number
        chance = rng.integers(0, 5, n)[group]
        for into, dealt in ((ours, folds), (theirs, other), (random, chance)):
            table = np.stack([np.bincount(targets[dealt == f], minlength=5) for f in range(5)])
            into.append((table / table.sum(axis=0)).std(axis=0).mean())
    assert np.mean(ours) < 1.2 * np.mean(theirs)
    assert np.mean(ours) < 0.25 * np.mean(random)


# -- classes of one group -------------------------------------------------------------------------


def test_a_class_of_one_group_is_warned_of_by_name(tmp_path):
    grouped_photo_folder(tmp_path, {"blue": 1, "red": 5})
    source = DataSource.labeled_directories(tmp_path, groups=FOUR)
    with pytest.warns(
        GroupsWarning, match=r"all images of 'blue' \('blue/blue0'\) are of one group"
    ):
        source.check_for_training()


def test_groups_that_are_the_labels_are_refused(data):
    labels = data.with_groups(data.labels)
    with pytest.raises(DataError, match=r"each label are all of one group.*make groups smaller"):
        labels.check_for_training()
    with pytest.raises(DataError, match="all of one group"):
        data.with_groups(["all"] * 120).check_for_training()


def test_groups_of_one_image_each_are_told(data):
    notes = data.with_groups(range(120)).check_for_training()
    assert notes == ("no two images are of one group: is that part of the path, or column, right?",)
    assert data.check_for_training() == ()


def test_images_that_a_pattern_leaves_out_are_told(photos):
    source = DataSource.labeled_directories(photos, groups=r"(blue\d+|red[^9])_")
    first = photos / "green" / "green0_0.png"
    words = f"44 images are of no group, and so each on its own; the first: {first}"
    assert source.check_for_training() == (words,)
    assert repr(source) == "<DataSource: 120 images of 3 classes (blue, green, red), 19 groups>"


# -- folds ----------------------------------------------------------------------------------------


def noise(n_groups=60, each=5, seed=0):
    """Rows whose targets no feature tells: who knows others of a group knows more than can be."""
    rng = np.random.default_rng(seed)
    base = np.repeat(rng.normal(size=(n_groups, 30)), each, axis=0)
    x = (base + rng.normal(scale=0.01, size=base.shape)).astype(np.float32)
    return x, np.repeat(rng.integers(0, 2, n_groups), each), np.repeat(np.arange(n_groups), each)


def test_cross_validation_scores_all_rows_and_sees_none_of_their_groups():
    x, y, groups = noise()
    leaking, honest = select_l2(x, y, 2), select_l2(x, y, 2, groups=groups, predict=True)
    assert min(leaking.log_loss) < 0.6
    assert min(honest.log_loss) > 0.65
    assert honest.selected > 10 * leaking.selected
    np.testing.assert_array_equal(honest.held_out.rows, np.arange(len(y)))


def test_the_other_heads_do_so_too():
    x, y, groups = noise()
    table = np.stack([y == 1, y == 0], axis=1)
    leaking = select_sigmoid_l2(x, table)
    honest = select_sigmoid_l2(x, table, groups=groups)
    assert honest.selected > 10 * leaking.selected
    assert fit_sigmoid(x, table, groups=groups).l2 == honest.selected
    options = {"layer_sizes": (4,), "l2": 1e-3, "max_iterations": 20, "held_out": True}
    losses = []
    for kept in (None, groups):
        held = fit_perceptron(x, y, 2, groups=kept, **options).held_out
        assert len(held.rows) == len(y)
        losses.append(-held.log_probabilities[np.arange(len(y)), y].mean())
    assert losses[0] < 0.5 < losses[1]


def test_fewer_groups_than_folds_give_fewer_folds():
    x, y, _ = noise(6, 10)
    y = np.repeat([0, 1, 0, 1, 0, 1], 10)
    path = select_l2(x, y, 2, groups=np.repeat([0, 0, 1, 1, 2, 2], 10), predict=True)
    assert path.n_folds == path.held_out.n_folds == 3
    fit = fit_softmax(x, y, 2, groups=np.repeat([0, 1, 0, 1, 0, 1], 10), held_out=True)
    assert fit.held_out is None  # each class is one group, so there is nothing to choose by
    assert fit.path.l2 == ()
    variance = float(x.var(axis=0, dtype=np.float64).mean())
    assert fit.l2 == pytest.approx(0.1 * variance, rel=1e-4)


def test_a_class_of_one_group_is_never_held_out():
    targets = np.array([0] * 6 + [1] * 12, np.int32)
    groups = np.array([0] * 6 + [1, 2, 3] * 4)
    folds, n = grouped_folds(targets, 2, 5, 0, *check_groups(groups, None, 18))
    assert n == 3
    assert (folds[:6] == -1).all()
    assert sorted(set(folds[6:])) == [0, 1, 2]


def test_copies_in_groups_are_left_out_and_not_scored():
    targets = np.repeat([0, 1], 12).astype(np.int32)
    groups = np.repeat(np.arange(6), 4)
    copies = np.arange(24) % 2 == 1
    folds, n = grouped_folds(targets, 2, 3, 0, *check_groups(groups, copies, 24))
    assert n == 3
    np.testing.assert_array_equal(folds[1::2], -2 - folds[::2])


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ([True] * 3, "copies: bool of shape"),
        ([1, 0, 0, 0], "copies: int64 of shape"),
        ([False, False, True, True], "all rows of the group of row 2 are copies"),
    ],
)
def test_copies_that_do_not_fit_are_refused(copies, message):
    with pytest.raises(InvalidOption, match=message):
        fit_softmax(
            np.eye(4, dtype=np.float32), [0, 1, 0, 1], 2, groups=[0, 0, 1, 1], copies=copies
        )


def test_the_estimator_takes_groups():
    x, y, groups = noise()
    names = np.array([f"patient {i}" for i in groups])
    leaking, honest = SoftmaxRegression().fit(x, y), SoftmaxRegression().fit(x, y, groups=names)
    assert honest.l2_ == select_l2(x, y, 2, groups=groups).selected > 10 * leaking.l2_
    alone = SoftmaxRegression().fit(x, y, groups=np.arange(len(y)))
    assert alone.coef_.tobytes() == leaking.coef_.tobytes()
    with pytest.raises(InvalidOption, match="groups: shape \\(3,\\) given; one group a row, 300"):
        SoftmaxRegression().fit(x, y, groups=[1, 2, 3])


def test_scikit_learn_hands_groups_on():
    selection = pytest.importorskip("sklearn.model_selection")
    import sklearn

    x, y, groups = noise(30, 4)
    cv = selection.GroupKFold(3)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SoftmaxRegression().set_fit_request(groups=True)
        params = {"groups": groups}
        found = selection.cross_validate(model, x, y, params=params, cv=cv, return_estimator=True)
    for one, (rows, _) in zip(found["estimator"], cv.split(x, y, groups), strict=True):
        assert one.l2_ == SoftmaxRegression().fit(x[rows], y[rows], groups=groups[rows]).l2_
        assert one.l2_ > SoftmaxRegression().fit(x[rows], y[rows]).l2_


# -- training -------------------------------------------------------------------------------------


def test_the_training_tells_its_groups(model):
    report = model.training_report
    assert (report.n_training, report.n_validation) == (96, 24)
    assert (report.n_training_groups, report.n_validation_groups) == (24, 6)
    assert (
        "30 groups of two or more images kept together: 24 to train on, 6 held out" in report.notes
    )
    assert model.facts["images"]["groups"] == {"training": 24, "validation": 6}
    assert "groups       24 trained on, 6 held out" in model.summary()
    assert model.facts["calibration"]["how"] == "by 5-fold cross-validation"
    assert b"blue/blue0" not in model.to_bytes()  # who the patients are stays at home


def test_no_group_is_in_two_folds_of_a_training(data, parameters, monkeypatch):
    """What the head is told, with copies by augmentation and byte-identical files."""
    from eyespot import training

    told = {}

    def spy(*rows, **options):
        told.update(options)
        return fit_softmax(*rows, **options)

    monkeypatch.setattr(training, "fit_softmax", spy)
    plan = Augmentation.of("flip", copies_per_image=2)
    ImageClassifier.train(data, parameters.replace(augmentation=plan, validation=None))
    image = np.arange(360) // 3
    np.testing.assert_array_equal(told["copies"], np.arange(360) % 3 > 0)
    assert len(np.unique(told["groups"])) == 30
    for number in np.unique(told["groups"]):
        assert len(set(np.array(data.groups)[image[told["groups"] == number]])) == 1
    ImageClassifier.train(data.with_groups(None), parameters)
    assert told["groups"] is told["copies"] is None


def test_groups_of_one_image_change_no_byte_of_a_model(data, parameters):
    plain = ImageClassifier.train(data.with_groups(None), parameters)
    alone = ImageClassifier.train(data.with_groups(range(120)), parameters)
    assert alone.to_bytes() == plain.to_bytes()
    assert "groups" not in plain.facts["images"]
    assert plain.training_report.n_training_groups == 96


def test_a_perceptron_and_several_labels_keep_groups_too(data, parameters, tmp_path):
    kind = Classifier.multilayer_perceptron((4,))
    trained = ImageClassifier.train(data, parameters.replace(classifier=kind, max_iterations=20))
    assert trained.training_report.n_validation_groups == 6
    labels = [f"{label};odd" if i % 3 else label for i, label in enumerate(data.labels)]
    table = {"path": list(data.paths), "label": labels, "film": list(data.groups)}
    several = DataSource.from_table(table, label_separator=";", group_column="film")
    trained = MultiLabelImageClassifier.train(several, parameters)
    assert trained.training_report.n_training_groups == 24
    assert trained.training_report.n_validation_groups == 6


def test_validation_data_that_share_a_group_are_warned_of(data, parameters):
    own = np.array([name.endswith(("0", "1")) for name in data.groups])
    apart = parameters.replace(validation=data.take(own))
    ImageClassifier.train(data.take(~own), apart)
    own[4:6] = False
    with pytest.warns(GroupsWarning, match=r"1 group is in the training data.*blue/blue1"):
        ImageClassifier.train(data.take(~own), parameters.replace(validation=data.take(own)))


def test_test_data_that_share_a_group_are_warned_of_as_long_as_it_is_known(data, model, tmp_path):
    held_out = [name not in model.training_report.groups for name in data.groups]
    model.evaluate(data.take(np.array(held_out)))
    with pytest.warns(GroupsWarning, match=r"24 groups are in the training data and in the test"):
        model.evaluate(data)
    model.evaluate(data.with_groups(None))
    ImageClassifier.load(model.save(tmp_path / "model.onnx")).evaluate(data)


def test_a_class_of_one_group_is_trained_on_and_not_validated(tmp_path, parameters):
    grouped_photo_folder(tmp_path, {"blue": 1, "green": 8, "red": 8})
    source = DataSource.labeled_directories(tmp_path, groups=FOUR)
    with pytest.warns(GroupsWarning, match="'blue'"):
        trained = ImageClassifier.train(source, parameters)
    assert trained.facts["images"]["validation"]["blue"] == 0
    assert (
        trained.facts["calibration"]["n"] == sum(trained.facts["images"]["training"].values()) - 4
    )


# -- sessions -------------------------------------------------------------------------------------


@pytest.fixture
def how(tmp_path):
    return TrainingSessionParameters(session_directory=tmp_path / "session")


def test_a_session_keeps_its_groups(data, model, parameters, how):
    session = ImageClassifier.make_training_session(data, parameters, how)
    back = ImageClassifier.restore_training_session(how)
    assert back.data.groups == session.data.groups == data.groups
    assert ImageClassifier.resume(back).result(60).to_bytes() == model.to_bytes()


def test_a_session_without_groups_is_written_as_before(data, parameters, how):
    ImageClassifier.make_training_session(data.with_groups(None), parameters, how)
    values = json.loads((how.directory / "data.json").read_text())
    assert sorted(values) == ["classes", "digests", "multi_label", "paths", "targets"]
    assert ImageClassifier.restore_training_session(how).data.groups == (None,) * 120


def test_other_groups_are_refused_and_other_names_of_them_are_not(data, parameters, how, tmp_path):
    ImageClassifier.make_training_session(data, parameters, how)
    for other in (data.with_groups(None), data.with_groups(np.arange(120) // 8)):
        with pytest.raises(ModifiedTrainingData, match="the groups are not those that") as caught:
            ImageClassifier.make_training_session(other, parameters, how)
        assert caught.value.code == "modified_groups"
    renamed = data.with_groups([f"film {i // 4}" for i in range(120)])
    ImageClassifier.make_training_session(renamed, parameters, how)
    moved = shutil.copytree(data.paths[0].parents[1], tmp_path / "moved")
    session = ImageClassifier.make_training_session(
        DataSource.labeled_directories(moved, groups=FOUR), parameters, how
    )
    assert session.data.groups == data.groups
    with pytest.raises(ModifiedTrainingData, match="4 images are gone"):
        ImageClassifier.make_training_session(data.take(range(4, 120)), parameters, how)


# -- review ---------------------------------------------------------------------------------------


def test_look_alikes_of_a_review_become_groups(photo_burst, extractor):
    source = DataSource.labeled_directories(photo_burst)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = eyespot.review(source, feature_extractor=extractor)
    sets = {frozenset(group.paths) for group in found.look_alikes}
    groups = found.groups()
    assert len(groups) == sum(map(len, sets)) > 0
    again = source.with_groups(groups)
    assert again.group_sizes() == {
        f"look-alikes {i}": len(one.paths) for i, one in enumerate(found.look_alikes, start=1)
    }


@pytest.fixture
def photo_burst(tmp_path):
    root = photo_folder(tmp_path / "burst", {"blue": 8, "red": 8})
    for label in ("blue", "red"):
        for shot in range(3):  # the same picture, a little lighter each time
            pixels = picture(label, 0).astype(int) + 2 * (shot + 1)
            pixels = np.clip(pixels, 0, 255).astype(np.uint8)
            (root / label / f"burst{shot}.png").write_bytes(png(pixels))
    return root


def test_a_review_weighs_labels_by_models_that_saw_none_of_the_group(data, extractor, monkeypatch):
    from eyespot.reviewing import assess

    told = {}

    def spy(*rows, **options):
        told.update(options)
        return select_l2(*rows, **options)

    monkeypatch.setattr(assess, "select_l2", spy)
    found = eyespot.review(data, feature_extractor=extractor)
    assert len(np.unique(told["groups"])) == 30
    assert found.metrics.n_images == 120
