"""Variants of images: each operation against a plain reference, and the plans that draw them."""

from __future__ import annotations

import dataclasses
import io
import pickle

import numpy as np
import pytest

import eyespot
from eyespot import _core
from eyespot.augmentation import (
    OPTIONS,
    Augmentation,
    Blur,
    Crop,
    Exposure,
    Flip,
    Noise,
    Rotation,
    Variant,
    augment,
)
from eyespot.errors import InvalidOption


def picture(height=48, width=64, seed=0):
    """Smooth colours with some texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / (5 + c) + y / (9 - c)) for c in range(3)]
    noise = rng.normal(0, 8, (height, width, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def mirrored(index, size):
    """Positions beyond an edge, mirrored without repeating it."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.where(index < size, index, 2 * size - 2 - index)


def rotated(image, degrees):
    """Bilinear in float64, mirrored edges."""
    height, width = image.shape[:2]
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    u, v = x - (width - 1) / 2, y - (height - 1) / 2
    sx = np.cos(angle) * u - np.sin(angle) * v + (width - 1) / 2
    sy = np.sin(angle) * u + np.cos(angle) * v + (height - 1) / 2
    x0, y0 = np.floor(sx).astype(int), np.floor(sy).astype(int)
    fx, fy = (sx - x0)[..., None], (sy - y0)[..., None]

    def at(dx, dy):
        return image[mirrored(y0 + dy, height), mirrored(x0 + dx, width)].astype(float)

    upper = at(0, 0) * (1 - fx) + at(1, 0) * fx
    lower = at(0, 1) * (1 - fx) + at(1, 1) * fx
    return upper * (1 - fy) + lower * fy


def blurred(image, sigma):
    """Direct convolution in float64 with a kernel of 6 sigma, mirrored edges."""
    result = image.astype(float)
    for axis in (0, 1):
        size = image.shape[axis]
        reach = int(np.ceil(6 * sigma))
        offsets = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * (offsets / sigma) ** 2)
        weights /= weights.sum()
        places = mirrored(np.arange(size)[:, None] + offsets, size)
        taken = np.take(result, places.ravel(), axis)
        shape = list(result.shape)
        shape[axis : axis + 1] = [size, len(offsets)]
        result = np.tensordot(taken.reshape(shape), weights, ([axis + 1], [0]))
    return result


def light(levels):
    value = np.asarray(levels, float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (48, 64), (33, 131)])
def test_flips_reverse_pixels_and_twice_is_nothing(shape):
    image = picture(*shape)
    for kind, want in (
        ({"flip_horizontal": True}, image[:, ::-1]),
        ({"flip_vertical": True}, image[::-1]),
        ({"flip_horizontal": True, "flip_vertical": True}, image[::-1, ::-1]),
    ):
        variant = Variant(**kind)
        np.testing.assert_array_equal(variant.apply(image), want)
        np.testing.assert_array_equal(variant.apply(variant.apply(image)), image)


@pytest.mark.parametrize("size", [1, 2, 5, 50, 67])
def test_quarter_turns_are_exact_and_four_are_nothing(size):
    image = picture(size, size)
    turned = image
    for quarter in range(1, 5):
        turned = Variant(rotation_deg=90).apply(turned)
        np.testing.assert_array_equal(turned, np.rot90(image, quarter))
        whole = Variant(rotation_deg=90 * quarter).apply(image)
        np.testing.assert_array_equal(whole, np.rot90(image, quarter))


@pytest.mark.parametrize("degrees", [-171, -30, -3.5, 0.25, 15, 45, 100])
@pytest.mark.parametrize("shape", [(48, 64), (61, 61), (5, 40), (2, 3), (300, 280)])
def test_a_rotation_is_bilinear(degrees, shape):
    image = picture(*shape)
    apart = np.abs(Variant(rotation_deg=degrees).apply(image) - rotated(image, degrees))
    assert apart.mean() < 0.5
    assert apart.max() < 3


def test_a_rotation_fills_what_lies_beyond_the_photo():
    image = np.full((40, 40, 3), 90, np.uint8)
    turned = Variant(rotation_deg=45, edges="fill", fill=(10, 20, 250)).apply(image)
    np.testing.assert_array_equal(turned[0, 0], (10, 20, 250))
    np.testing.assert_array_equal(turned[20, 20], (90, 90, 90))
    flat = Variant(rotation_deg=45).apply(image)
    np.testing.assert_array_equal(flat, image)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.8, 1.5, 3.2, 3.7, 6, 25])
@pytest.mark.parametrize("shape", [(48, 64), (1, 30), (30, 1), (3, 5), (130, 37)])
def test_a_blur_is_the_direct_sum(sigma, shape):
    rng = np.random.default_rng(1)
    image = np.where(rng.random((*shape, 3)) < 0.5, 0, 255).astype(np.uint8)
    got = Variant(blur_sigma_px=sigma).apply(image)
    assert np.abs(got - blurred(image, sigma)).max() <= 1


def test_a_huge_blur_leaves_the_mean_of_the_mirrored_image():
    image = picture()
    got = Variant(blur_sigma_px=1e9).apply(image).astype(float)
    assert np.ptp(got, axis=(0, 1)).max() <= 1
    want = blurred(image, 400).mean((0, 1))
    assert np.abs(got.mean((0, 1)) - want).max() < 1


def test_exposure_multiplies_light():
    levels = np.arange(256, dtype=np.uint8)
    ramp = np.repeat(levels[None, :, None], 3, axis=2)
    for stops in (-3, -1, -0.4, 0.4, 1, 3):
        got = Variant(exposure_stops=stops).apply(ramp)[0, :, 0]
        want = np.minimum(light(levels) * 2.0**stops, 1)
        upper = light(np.minimum(got + 0.5001, 255))
        lower = np.where(got == 0, 0, light(got - 0.5001))
        assert np.all((lower <= want) & (want <= upper)), stops


def test_noise_is_gaussian_and_independent():
    grey = np.full((512, 512, 3), 128, np.uint8)
    first = Variant(noise_sigma=12, noise_seed=1).apply(grey) - 128.0
    second = Variant(noise_sigma=12, noise_seed=2).apply(grey) - 128.0
    n = first.size
    assert abs(first.mean()) < 5 * 12 / np.sqrt(n)
    variance = 144 + 1 / 12  # of the noise and of rounding
    assert abs(first.var() - variance) < 5 * variance * np.sqrt(2 / n)
    standard = first / np.sqrt(variance)
    assert abs((standard**3).mean()) < 5 * np.sqrt(6 / n)
    assert abs((standard**4).mean() - 3) < 5 * np.sqrt(24 / n)
    beyond = (np.abs(first) > 36).mean()  # 3 sigma and half a level: P(|z| > 3.0417) = 0.00235
    assert abs(beyond - 0.002352) < 5 * np.sqrt(0.0024 / n)
    pairs = {
        "pixels": (first[:, :-1], first[:, 1:]),
        "rows": (first[:-1], first[1:]),
        "channels": (first[..., 0], first[..., 1]),
        "images": (first, second),
    }
    for name, (a, b) in pairs.items():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size), name


def test_noise_in_groups_has_no_seam():
    grey = np.full((100, 7, 3), 128, np.uint8)  # rows of 21 bytes, groups of 128
    wide = np.full((7, 100, 3), 128, np.uint8)
    one = Variant(noise_sigma=9, noise_seed=3).apply(grey).ravel()
    other = Variant(noise_sigma=9, noise_seed=3).apply(wide).ravel()
    np.testing.assert_array_equal(one, other)


def test_an_enlarged_crop_is_the_resized_box():
    image = picture(80, 120)
    variant = Variant(crop=(0.25, 1.0, 0.0, 1.0))
    want = _core.resize(image, width=120, height=80, box=(0, 40, 60, 80))
    np.testing.assert_array_equal(variant.apply(image), want)


def test_a_turned_crop_is_the_crop_of_the_turned_photo_away_from_its_border():
    image = picture(200, 200)
    got = Variant(crop=(0.25, 1.0, 0.5, 0.5), rotation_deg=20).apply(image, width=100, height=100)
    want = rotated(image, 20)[50:150, 50:150]
    assert np.abs(got - want).mean() < 0.5


def test_a_flat_photo_stays_flat_whatever_is_done_to_it():
    flat = np.full((90, 70, 3), 77, np.uint8)
    for variant in Augmentation.of("crop", "rotation", "blur", "flip").variants(5, 5):
        assert (variant.apply(flat, width=64, height=48) == 77).all(), variant.caption()


@pytest.mark.parametrize("policy", list(eyespot.CropPolicy))
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (40, 90)])
def test_every_size_works_with_everything_at_once(shape, policy):
    variant = Variant(
        crop=(0.01, 3.0, 0.9, 0.1),
        rotation_deg=33,
        blur_sigma_px=5,
        exposure_stops=2,
        noise_sigma=300,
        flip_vertical=True,
    )
    for width, height in ((1, 1), (33, 20), (224, 3)):
        got = variant.apply(picture(*shape), width=width, height=height, policy=policy)
        assert got.shape == (height, width, 3)


def test_options_in_another_order_work_on_finished_pixels():
    image = picture()
    order = ("blur", "exposure", "flip", "noise", "rotation", "crop")
    variant = Variant(
        order=order, blur_sigma_px=1.2, exposure_stops=0.5, rotation_deg=10, flip_horizontal=True
    )
    want = image
    for step in (
        Variant(flip_horizontal=True),
        Variant(blur_sigma_px=1.2),
        Variant(exposure_stops=0.5),
        Variant(rotation_deg=10),
    ):
        want = step.apply(want)
    np.testing.assert_array_equal(variant.apply(image), want)


def test_a_variant_that_does_nothing_is_what_prediction_sees():
    image = picture(90, 140)
    spec = _core.PixelSpec(width=64, height=48, dtype="uint8", layout="nhwc")
    for policy in ("center_crop", "fit", "stretch"):
        spec = _core.PixelSpec(width=64, height=48, dtype="uint8", layout="nhwc", crop=policy)
        got = Variant().apply(image, width=64, height=48, policy=eyespot.CropPolicy(policy))
        np.testing.assert_array_equal(got, _core.preprocess(image, spec))


# ---- plans -------------------------------------------------------------------------------------


def test_options_multiply_up_to_a_hundred_as_in_create_ml():
    assert Augmentation.createml("rotation", "flip").n_variants == 12
    assert Augmentation.createml("crop", "rotation", "blur").n_variants == 64
    assert Augmentation.createml().n_variants == 64  # and every further option gets one
    assert Augmentation.createml("crop", "rotation", "flip").n_variants == 48
    assert Augmentation.createml("flip").n_variants == 3
    assert Augmentation().n_variants == 0
    five = Augmentation(rotation=Rotation(copies=5), blur=Blur(copies=30), max_copies=100)
    assert five.n_variants == 100


def test_copies_cover_the_range_and_every_flip():
    plan = Augmentation.createml("rotation", "flip")
    variants = plan.variants(1, 2)
    quarters = [int((v.rotation_deg + 15) // 7.5) for v in variants]
    assert sorted(quarters) == sorted(list(range(4)) * 3)
    kinds = {(v.flip_horizontal, v.flip_vertical) for v in variants[:3]}
    assert kinds == {(True, False), (False, True), (True, True)}


def test_a_budget_draws_from_the_whole_ranges_with_chances():
    plan = Augmentation(
        crop=Crop(area=(0.3, 0.6), probability=0.5),
        flip=Flip(vertical=False, both=False, probability=0.25),
        copies_per_image=1000,
    )
    variants = plan.variants(b"photo", 3)
    areas = [v.crop[0] for v in variants if v.crop is not None]
    assert abs(len(areas) / 1000 - 0.5) < 5 * 0.5 / np.sqrt(1000)
    assert min(areas) >= 0.3
    assert max(areas) <= 0.6
    assert abs(np.mean(areas) - 0.45) < 0.02
    flips = sum(v.flip_horizontal for v in variants)
    assert abs(flips / 1000 - 0.25) < 5 * 0.43 / np.sqrt(1000)
    assert not any(v.flip_vertical for v in variants)


def test_a_variant_can_be_drawn_alone_and_follows_from_seed_content_and_index():
    plan = Augmentation.photos(copies_per_image=6)
    variants = plan.variants(b"photo", 7)
    assert plan.sample(b"photo", 7, 4) == variants[4]
    assert plan.sample(_core.content_key(b"photo"), 7, 4) == variants[4]
    assert plan.sample(b"photo", 8, 4) != variants[4]
    assert plan.sample(b"other", 7, 4) != variants[4]
    assert len(set(variants)) == 6
    assert plan.sample(b"photo", 7, 10**6) not in variants
    assert plan.sample(b"photo", 7, -1) == Variant()


def test_leaving_out_an_option_does_not_change_the_others():
    both = Augmentation.of("crop", "exposure", copies_per_image=5)
    one = Augmentation.of("exposure", copies_per_image=5)
    for index in range(5):
        drawn = both.sample(3, 3, index).exposure_stops
        assert drawn == one.sample(3, 3, index).exposure_stops


def test_classes_may_have_budgets_of_their_own():
    plan = Augmentation.photos(copies_per_image=4).balanced({"rare": 10, "common": 100, "one": 1})
    assert plan.copies_per_class == {"rare": 49, "one": 499}
    assert plan.variant_count("common") == 4
    assert len(plan.variants(1, 1, label="rare")) == 49
    assert plan.total_images({"rare": 10, "common": 100, "one": 1}) == 3 * 500
    none = Augmentation(flip=Flip(), copies_per_class={"text": 0})
    assert none.variants(1, 1, label="text") == ()
    assert len(none.variants(1, 1)) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Crop(area=(0.9, 0.5)), "crop.area is (0.9, 0.5); the lower end comes first"),
        (lambda: Crop(area=(0, 0.5)), "allowed: from above 0 to 1"),
        (lambda: Crop(area=(0.5, 1.5)), "allowed: from above 0 to 1"),
        (lambda: Crop(area=0.5), "needed is a pair"),
        (lambda: Crop(aspect=(-1, 1)), "crop.aspect"),
        (lambda: Rotation(degrees=(-400, 0)), "from -360 to 360"),
        (lambda: Blur(sigma_px=(-1, 2)), "blur.sigma_px is (-1, 2); allowed: from 0"),
        (lambda: Blur(sigma_px=(0, float("nan"))), "blur.sigma_px[1] is nan"),
        (lambda: Exposure(stops=(0, float("inf"))), "exposure.stops[1] is inf"),
        (lambda: Noise(sigma=(0, 1001)), "from 0 to 1000"),
        (lambda: Noise(probability=1.5), "noise.probability is 1.5"),
        (lambda: Flip(horizontal=False, vertical=False, both=False), "flip allows no kind"),
        (lambda: Flip(copies=0), "flip.copies is 0"),
        (lambda: Augmentation(crop=True), "crop is True; allowed: None or a Crop(...)"),
        (lambda: Augmentation(order=("crop",)), "once each"),
        (lambda: Augmentation(copies_per_image=10**6), "an integer from 1 to 1000"),
        (lambda: Augmentation(copies_per_class={"a": -1}), "copies_per_class['a'] is -1"),
        (lambda: Augmentation(copies_per_class=["a"]), "needed is a mapping"),
        (lambda: Augmentation(edges="wrap"), "edges is 'wrap'"),
        (lambda: Augmentation(fill=(1, 2)), "fill is (1, 2)"),
        (lambda: Augmentation(fill=(1, 2, 256)), "fill is 256"),
        (lambda: Augmentation(copies_weight=-1), "copies_weight is -1"),
        (lambda: Augmentation(copies_weight="half"), "copies_weight is 'half'"),
        (lambda: Augmentation.of("crop", "zoom"), "there is no option 'zoom'"),
        (lambda: Augmentation().sample(1, -1, 0), "seed is -1"),
        (lambda: Augmentation().sample("name", 1, 0), "key is 'name'"),
        (lambda: Variant(noise_sigma=-1).apply(picture()), "noise_sigma 0 to 1000"),
        (lambda: Variant(crop=(0.5, 1, 2, 0)).apply(picture()), "crop_x and crop_y 0 to 1"),
        (lambda: Variant().apply(picture().astype(float)), "float64 array of shape (48, 64, 3)"),
        (lambda: Variant().apply(np.zeros((0, 4, 3), np.uint8)), "of shape (0, 4, 3)"),
        (lambda: Variant().apply(picture(), width=0), "width is 0"),
        (lambda: augment(picture(), None, 0), "plan is a NoneType"),
        (lambda: augment(picture(), Augmentation.light(), 0, keys=[1, 2]), "2 for 1 images"),
    ],
)
def test_bad_values_are_refused_by_name(make, words):
    with pytest.raises(InvalidOption) as caught:
        make()
    assert words in str(caught.value)


def test_names_presets_and_captions():
    assert Augmentation.of("flip").flip == Flip()
    assert [getattr(Augmentation.createml(), name) is None for name in OPTIONS] == [False] * 6
    assert Augmentation.scans().flip is None
    assert Augmentation.light().n_variants == 4
    caption = Variant(crop=(0.5, 1.1, 0, 0), rotation_deg=-3, flip_vertical=True).caption()
    assert caption == "crop 50% aspect 1.10, rotated -3.0°, flipped up-down"
    told = (
        "crop 0.85 to 1, rotation -3 to 3°, blur 0.2 to 0.8 px in 30%, exposure -0.3 to 0.3 stops"
    )
    assert Augmentation.scans().describe().startswith(told)
    assert Variant().caption() == "original"
    assert hash(Augmentation.photos()) == hash(Augmentation.photos())


# ---- arrays and files --------------------------------------------------------------------------


def test_arrays_get_an_axis_of_variants():
    plan = Augmentation.photos(copies_per_image=3)
    image = picture()
    made = augment(image, plan, 5)
    assert made.shape == (3, 48, 64, 3)
    assert made.dtype == np.uint8
    for variant, pixels in zip(plan.variants(image.tobytes(), 5), made, strict=True):
        np.testing.assert_array_equal(variant.apply(image), pixels)
    batch = np.stack([picture(seed=s) for s in range(4)])
    many = augment(batch, plan, 5, width=32, height=20, keep_original=True)
    assert many.shape == (4, 4, 20, 32, 3)
    alone = augment(batch[2], plan, 5, width=32, height=20)
    np.testing.assert_array_equal(many[2, 1:], alone)
    np.testing.assert_array_equal(many[0, 0], Variant().apply(batch[0], width=32, height=20))
    strided = augment(batch[:, :, ::-1], plan, 5)
    np.testing.assert_array_equal(
        strided, augment(np.ascontiguousarray(batch[:, :, ::-1]), plan, 5)
    )


def test_bytes_do_not_depend_on_threads_or_order():
    plan = Augmentation.of(*OPTIONS, copies_per_image=5)
    batch = np.stack([picture(seed=s) for s in range(5)])
    one = augment(batch, plan, 9, n_threads=1)
    for n_threads in (2, 5):
        np.testing.assert_array_equal(augment(batch, plan, 9, n_threads=n_threads), one)
    np.testing.assert_array_equal(augment(batch[::-1], plan, 9)[::-1], one)
    keyed = augment(batch, plan, 9, keys=[0, 0, 0, 1, 2])
    assert (keyed != one).any()


def test_bytes_do_not_depend_on_who_makes_them():
    plan = Augmentation.of(*OPTIONS, copies_per_image=3)
    batch = np.stack([picture(300, 200, seed=s) for s in range(3)])  # enough for threads of its own
    want = augment(batch, plan, 9, n_threads=1)
    np.testing.assert_array_equal(augment(batch, plan, 9), want)
    np.testing.assert_array_equal(augment(batch, plan, 9, pool=_core.ThreadPool(2)), want)
    np.testing.assert_array_equal(augment(batch[1], plan, 9), want[1])
    with pytest.raises(InvalidOption, match="n_threads is 1025"):
        augment(batch[1], plan, 9, n_threads=1025)


def test_what_the_core_made_of_a_value_is_no_part_of_it():
    used, unused = Variant(rotation_deg=10), Variant(rotation_deg=10)
    pixels = used.apply(picture())
    assert used == unused
    assert hash(used) == hash(unused)
    assert repr(used) == repr(unused)
    other = dataclasses.replace(used, rotation_deg=20)
    assert (other.apply(picture()) != pixels).any()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(used)).apply(picture()), pixels)
    plan = Augmentation.light(copies_per_image=3)
    assert plan.n_variants == 3
    assert dataclasses.replace(plan, copies_per_image=5).n_variants == 5
    assert pickle.loads(pickle.dumps(plan)) == plan


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_file_is_decoded_once_and_each_variant_is_its_own(orientation):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow or pillow-simd")
    y, x = np.mgrid[0:477, 0:643]  # not a multiple of the scales
    waves = [128 + 100 * np.sin(x / (50 + c) + y / (90 - c)) for c in range(3)]
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    photo = Image.fromarray(np.stack(waves, -1).astype(np.uint8))
    photo.save(file, "JPEG", quality=95, exif=exif)
    data = file.getvalue()
    upright = _core.decode(data)
    plan = Augmentation.of("crop", "rotation", "flip", copies_per_image=4)
    core = plan.core_plan()
    indices = [-1, 0, 1, 2, 3]
    for size, most_apart in ((160, 0), (48, 0.5)):  # 48: decoded at a quarter of the scale
        spec = _core.PixelSpec(width=size, height=size, dtype="uint8", layout="nhwc")
        made = _core.load_variants(data, spec, core, seed=4, indices=indices)
        for index, pixels in zip(indices, made, strict=True):
            alone = _core.load_variants(data, spec, core, seed=4, indices=[index])
            np.testing.assert_array_equal(alone[0], pixels)
            want = plan.sample(data, 4, index).apply(upright, width=size, height=size)
            assert np.abs(pixels.astype(float) - want).mean() <= most_apart, index


def test_model_inputs_of_variants_are_packed_as_the_model_wants():
    plan = Augmentation.of("noise", copies_per_image=2)
    spec = eyespot.Preprocessing(width=32, height=24)
    image = picture()
    key = _core.content_key(image.tobytes())
    plain = _core.preprocess_variants(
        image, spec.uint8_spec(), plan.core_plan(), seed=1, content=key, indices=[0, 1]
    )
    packed = _core.preprocess_variants(
        image, spec.core_spec(), plan.core_plan(), seed=1, content=key, indices=[0, 1]
    )
    assert packed.shape == (2, 3, 24, 32)
    mean, std = np.array(spec.mean), np.array(spec.std)
    want = (plain.astype(float) / 255 - mean) / std
    np.testing.assert_allclose(packed.transpose(0, 2, 3, 1), want, atol=1e-5)
