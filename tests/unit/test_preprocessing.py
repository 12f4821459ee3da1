"""Preprocessing: what it accepts, what it refuses, and its text form."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eyespot.errors import InvalidOption
from eyespot.options import IMAGENET_MEAN, IMAGENET_STD, CropPolicy, Preprocessing, Resample


def test_defaults_are_imagenet_rgb_float_nchw():
    made = Preprocessing(width=8, height=8)
    assert (made.layout, made.dtype, made.color) == ("nchw", "float32", "rgb")
    assert (made.scale, made.mean, made.std) == (1 / 255, IMAGENET_MEAN, IMAGENET_STD)
    assert (made.resample, made.crop) == (Resample.BILINEAR, CropPolicy.CENTER_CROP)


def test_names_become_enum_members_and_lists_become_tuples():
    made = Preprocessing(width=8, height=8, crop="fit", resample="bicubic", mean=[0, 0, 0])
    assert made.crop is CropPolicy.FIT
    assert made.resample is Resample.BICUBIC
    assert made.mean == (0.0, 0.0, 0.0)
    assert hash(made) == hash(made.replace())


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"width": 16385},
        {"height": 8.0},
        {"height": True},
        {"layout": "chw"},
        {"dtype": "int8"},
        {"color": "grey"},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"mean": (0.0, 0.0)},
        {"mean": "abc"},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, float("inf"), 1.0)},
        {"resample": "nearest"},
        {"crop": "centre"},
        {"dtype": "uint8", "scale": 0.5},
        {"nonsense": 1},
    ],
)
def test_values_outside_the_documented_range_are_refused(changes):
    with pytest.raises(InvalidOption) as caught:
        Preprocessing(width=8, height=8).replace(**changes)
    assert caught.value.source in {*changes, "dtype", "std"}


def test_a_refused_name_lists_the_allowed_ones():
    with pytest.raises(InvalidOption, match="'center_crop', 'fit', 'stretch'"):
        Preprocessing(width=8, height=8, crop="middle")


def test_uint8_means_no_normalisation():
    made = Preprocessing(width=8, height=8, dtype="uint8")
    assert (made.scale, made.mean, made.std) == (1.0, (0.0,) * 3, (1.0,) * 3)
    assert Preprocessing.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "made",
    [
        Preprocessing(width=224, height=224),
        Preprocessing(width=160, height=120, layout="nhwc", color="bgr", crop="stretch"),
        Preprocessing(width=1, height=2, dtype="float16", resample="bicubic", scale=1 / 127.5),
    ],
)
def test_text_form_goes_there_and_back(made):
    assert Preprocessing.from_json(made.to_json()) == made


def test_text_form_is_the_convention_of_the_embedded_backbone():
    fields = json.loads(Preprocessing(width=144, height=144).to_json())
    assert fields["size"] == 144
    assert fields["resample"] == "bilinear_antialias"
    assert json.loads(Preprocessing(width=3, height=2).to_json())["size"] == [2, 3]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"size": "big"}', '{"size": 8, "gamma": 2}', '{"size": [1, 2, 3]}']
)
def test_text_that_is_not_the_convention_is_refused(text):
    with pytest.raises(InvalidOption):
        Preprocessing.from_json(text)


def test_sides_may_be_numpy_integers():
    spec = Preprocessing(width=np.int64(5), height=np.uint16(7))
    assert spec == Preprocessing(width=5, height=7)
    assert type(spec.width) is type(spec.height) is int


def test_the_definition_is_said_in_words_with_its_numbers():
    words = Preprocessing(width=64, height=48, crop="fit", resample="bicubic").describe()
    for part in ("EXIF", "on white", "64 x 48 px", "Catmull-Rom", "0.485", "RGB", "float32"):
        assert part in words
    assert "uint8" in Preprocessing(width=8, height=8, dtype="uint8", color="bgr").describe()
