"""The antialiased resize against Pillow's: within one grey level, whatever the shape or the box."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import InvalidOption

Image = pytest.importorskip("PIL.Image", reason="needs Pillow or pillow-simd")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SHAPES = [
    # width, height -> width, height
    ((500, 375), (224, 224)),
    ((375, 500), (144, 144)),
    ((97, 131), (224, 224)),
    ((61, 230), (224, 33)),
    ((230, 61), (33, 224)),
    ((1, 1), (7, 5)),
    ((1, 40), (9, 9)),
    ((40, 1), (9, 9)),
    ((16, 16), (16, 16)),
    ((640, 3), (1, 1)),
    ((3000, 20), (30, 300)),
    ((20, 3000), (300, 30)),
    ((33, 17), (130, 65)),
]
# From a ratio of about a hundred on, thousands of products rounded to 1/64 of a level are summed;
# beyond 128 a box filter goes before the triangle. On noise, the worst case of both, the result is
# up to 2 levels away.
EXTREME_SHAPES = [
    ((60000, 3), (2, 2)),
    ((4000, 20), (3, 20)),
    ((20, 4000), (20, 3)),
    ((9000, 2), (6, 1)),
    ((2540, 2540), (20, 20)),
    ((3, 16001), (2, 2)),
    ((2500, 2501), (1, 3)),
    ((9000, 30), (40, 60)),
]


def noise(width, height, channels=3, *, contrast=False, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if contrast:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    return pixels if channels > 1 else pixels[:, :, 0]


def pillow_resize(array, width, height, resample, box=None):
    """Pillow's resize, horizontal pass first: Pillow 13 sometimes goes the other way round."""
    image = Image.fromarray(array)
    left, upper, right, lower = box or (0, 0, image.width, image.height)
    rows = image.resize((width, image.height), FILTERS[resample], (left, 0, right, image.height))
    done = rows.resize((width, height), FILTERS[resample], (0, upper, width, lower))
    return np.asarray(done)


def worst(a, b):
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "target"), SHAPES)
def test_resize_is_within_one_level_of_pillow(size, target, channels, contrast, resample):
    array = noise(*size, channels, contrast=contrast)
    got = _core.resize(array, width=target[0], height=target[1], resample=resample)
    assert worst(got, pillow_resize(array, *target, resample)) <= 1


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_sub_pixel_boxes_are_within_one_level_of_pillow(resample):
    rng = np.random.default_rng(1)
    for _ in range(150):
        width, height = (int(v) for v in rng.integers(2, 300, 2))
        target = [int(v) for v in rng.integers(1, 250, 2)]
        left, right = np.sort(rng.uniform(0, width, 2))
        upper, lower = np.sort(rng.uniform(0, height, 2))
        if right - left < 0.01 or lower - upper < 0.01:
            continue
        box = (left, upper, right, lower)
        array = noise(width, height, contrast=bool(width % 2), seed=width)
        got = _core.resize(array, width=target[0], height=target[1], resample=resample, box=box)
        assert worst(got, pillow_resize(array, *target, resample, box)) <= 1


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize(("size", "target"), EXTREME_SHAPES)
def test_a_panorama_shrinks_to_a_thumbnail_as_in_pillow(size, target, contrast, resample):
    array = noise(*size, contrast=contrast)
    got = _core.resize(array, width=target[0], height=target[1], resample=resample)
    assert worst(got, pillow_resize(array, *target, resample)) <= 2


def test_bilinear_does_not_depend_on_pillows_pass_order():
    for size, target in SHAPES:
        array = noise(*size, contrast=True)
        whole = np.asarray(Image.fromarray(array).resize(target, FILTERS["bilinear"]))
        assert worst(_core.resize(array, width=target[0], height=target[1]), whole) <= 1


def test_the_same_size_gives_the_same_pixels():
    array = noise(50, 40)
    for resample in FILTERS:
        assert np.array_equal(_core.resize(array, width=50, height=40, resample=resample), array)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_flat_colours_stay_flat(channels):
    for level in (0, 1, 127, 254, 255):
        array = np.full((45, 77, channels), level, np.uint8)
        for resample in FILTERS:
            for width, height in ((12, 9), (224, 224), (1, 1)):
                got = _core.resize(array, width=width, height=height, resample=resample)
                assert np.all(got == level)


def test_mirroring_commutes_with_resizing():
    array = noise(123, 77)
    for resample in FILTERS:
        whole = _core.resize(array, width=40, height=31, resample=resample)
        flipped = np.ascontiguousarray(array[::-1, ::-1])
        turned = _core.resize(flipped, width=40, height=31, resample=resample)
        assert worst(whole, turned[::-1, ::-1]) <= 1


@pytest.mark.parametrize(
    ("array", "size", "box", "word"),
    [
        (np.zeros((4, 4, 3), np.uint8), (0, 4), None, "at least 1"),
        (np.zeros((0, 4, 3), np.uint8), (4, 4), None, "at least 1"),
        (np.zeros((4, 4, 5), np.uint8), (4, 4), None, "5 channels"),
        (np.zeros((4,), np.uint8), (4, 4), None, "1 dimensions"),
        (np.zeros((4, 4, 3), np.uint8), (2, 2), (0, 0, 4.5, 4), "not inside"),
        (np.zeros((4, 4, 3), np.uint8), (2, 2), (1, 1, 1, 2), "not inside"),
        (np.zeros((4, 4, 3), np.uint8), (2, 2), (float("nan"), 0, 4, 4), "not inside"),
    ],
)
def test_what_cannot_be_resized_is_refused_by_name(array, size, box, word):
    with pytest.raises(InvalidOption, match=word):
        _core.resize(array, width=size[0], height=size[1], box=box)


def test_other_dtypes_and_layouts_are_type_errors():
    with pytest.raises(TypeError):
        _core.resize(np.zeros((4, 4, 3), np.float32), width=2, height=2)
    with pytest.raises(TypeError):
        _core.resize(np.zeros((4, 8, 3), np.uint8)[:, ::2], width=2, height=2)


def test_read_only_arrays_are_welcome():
    array = noise(9, 9)
    array.setflags(write=False)
    assert _core.resize(array, width=3, height=3).shape == (3, 3, 3)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("level", [1, 64, 127, 128, 200, 255])
@pytest.mark.parametrize("width", [30, 32 * 7, 60 * 7, 40_000])
def test_a_flat_image_stays_flat_at_every_ratio(width, level, resample):
    flat = np.full((9, width, 3), level, np.uint8)
    got = _core.resize(flat, width=7, height=4, resample=resample)
    assert np.abs(got.astype(int) - level).max() <= 1
