"""Split strategies and model parameters: what they take, what they refuse, and how they say so."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from eyespot.errors import InvalidOption
from eyespot.options import CropPolicy, ModelParameters, SplitStrategy


@pytest.mark.parametrize(
    ("n_images", "held_out"),
    [
        (0, 0),
        (49, 0),
        (50, 5),
        (54, 5),
        (55, 6),
        (199, 20),
        (200, 10),
        (209, 10),
        (210, 11),
        (199_999, 10_000),
        (200_000, 10_000),
        (5_000_000, 10_000),
    ],
)
def test_the_automatic_split_has_create_mls_sizes(n_images, held_out):
    assert SplitStrategy.automatic().validation_count(n_images) == held_out


@pytest.mark.parametrize(("ratio", "held_out"), [(0, 0), (0.25, 3), (0.5, 5), (0.05, 1), (1, 10)])
def test_a_fixed_split_rounds_to_the_nearest_image(ratio, held_out):
    assert SplitStrategy.fixed(ratio).validation_count(10) == held_out


@pytest.mark.parametrize("ratio", [-0.1, 1.01, float("nan"), float("inf"), "0.2", None, True, [1]])
def test_a_ratio_outside_zero_to_one_is_refused(ratio):
    with pytest.raises(InvalidOption, match=r"ratio is .*; allowed: a number from 0 to 1$"):
        SplitStrategy.fixed(ratio)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None, True])
def test_a_seed_that_is_no_unsigned_64_bit_integer_is_refused(seed):
    with pytest.raises(InvalidOption, match="seed is"):
        SplitStrategy.automatic(seed=seed)


def test_numpy_numbers_are_taken_as_plain_ones():
    strategy = SplitStrategy.fixed(np.float32(0.5), seed=np.int64(3))
    assert strategy == SplitStrategy.fixed(0.5, seed=3)
    assert type(strategy.ratio) is float
    assert type(strategy.seed) is int
    assert type(ModelParameters(max_iterations=np.int32(7)).max_iterations) is int


def test_the_defaults_are_create_mls():
    parameters = ModelParameters()
    assert parameters.validation == SplitStrategy.automatic()
    assert parameters.max_iterations == 25
    assert parameters.class_weights is None
    assert parameters.feature_extractor is None
    assert parameters.crop is None
    assert parameters.l2 == "auto"
    assert parameters.on_error == "skip"


def test_validation_may_be_a_strategy_a_source_none_or_a_word():
    source = SimpleNamespace(classes=("a", "b"), labeled_images=dict)
    assert ModelParameters(validation=source).validation is source
    assert ModelParameters(validation=None).validation is None
    assert ModelParameters(validation="none").validation is None
    assert ModelParameters(validation="automatic").validation == SplitStrategy.automatic()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation": 0.2}, r"did you mean SplitStrategy\.fixed\(0\.2\)\?"),
        ({"validation": "automatc"}, r"did you mean 'automatic'\?"),
        ({"validation": "photos/val"}, "a DataSource, or None"),
        ({"max_iterations": 0}, "max_iterations is 0; allowed: an integer from 1 up"),
        ({"max_iterations": 2.5}, "an integer from 1 up"),
        ({"tolerance": -1e-9}, "tolerance is -1e-09; allowed: a finite number from 0 up"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"l2": float("inf")}, "l2 is inf"),
        ({"l2": "0.1"}, "l2 is '0.1'; allowed: a finite number from 0 up, or 'auto'$"),
        ({"l2": "atuo"}, r"did you mean 'auto'\?"),
        ({"class_weights": "balnced"}, r"None, 'balanced', a power.*did you mean 'balanced'"),
        (
            {"classifier": "logistic"},
            "is 'logistic'; allowed: .* did you mean 'logistic_regressor'",
        ),
        ({"classifier": 3}, r"classifier is a int; allowed: Classifier.logistic_regressor\(\)"),
        ({"calibration": 1}, "calibration is 1; allowed: True, False"),
        ({"class_weights": -0.5}, "class_weights is -0.5; allowed: a finite number from 0 up"),
        ({"class_weights": True}, "class_weights is bool"),
        ({"class_weights": [1, 2]}, "class_weights is list"),
        ({"class_weights": {"cat": 0}}, r"class_weights\['cat'\] is 0; allowed: .* above 0"),
        ({"class_weights": {"cat": "x"}}, r"class_weights\['cat'\] is 'x'"),
        ({"class_weights": {3: 1.0}}, "labels are text"),
        ({"crop": "centre-crop"}, r"allowed: 'center_crop', 'fit', 'stretch'; did you mean 'cente"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; allowed: 'skip', 'raise'"),
        ({"n_threads": -1}, "n_threads is -1"),
        ({"seed": -1}, "seed is -1; allowed: an integer from 0 to 18446744073709551615"),
        ({"feature_extractor": "model.onnx"}, r"FeatureExtractor\.custom"),
    ],
)
def test_a_bad_option_is_refused_with_what_is_allowed(options, said):
    with pytest.raises(InvalidOption, match=said) as caught:
        ModelParameters(**options)
    assert caught.value.source.split("[")[0] == next(iter(options))
    assert caught.value.code == "invalid_argument"


def test_crop_may_be_given_by_name():
    assert ModelParameters(crop="fit").crop is CropPolicy.FIT


def test_class_weights_are_copied_and_their_labels_are_composed():
    given = {"cafe\u0301 ": 2}
    parameters = ModelParameters(class_weights=given)
    given["tea"] = 1
    assert parameters.class_weights == {"caf\u00e9": 2.0}


def test_replace_changes_what_is_named_and_refuses_a_mistyped_name():
    parameters = ModelParameters(l2=0.5)
    assert parameters.replace(max_iterations=3).l2 == 0.5
    assert parameters.replace(max_iterations=3).max_iterations == 3
    with pytest.raises(InvalidOption, match=r"no 'max_iteration'; .*did you mean 'max_iterations'"):
        parameters.replace(max_iteration=3)


def test_parameters_can_be_pickled():
    parameters = ModelParameters(class_weights={"a": 2.0}, crop="fit")
    assert pickle.loads(pickle.dumps(parameters)) == parameters
