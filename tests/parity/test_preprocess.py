"""What a model sees, against plain Pillow: crops, orientations, packing, and the fused path."""

from __future__ import annotations

import io

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import DecodeError, InvalidOption

Image = pytest.importorskip("PIL.Image", reason="needs Pillow or pillow-simd")
ImageOps = pytest.importorskip("PIL.ImageOps")
BILINEAR = Image.Resampling.BILINEAR


def photo(width, height, seed=0):
    """Smooth colours with a little noise: like a photo, no two pixels alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / a) + np.cos(y / b) for a, b in ((17, 29), (41, 13), (23, 31))]
    pixels = 127 + 50 * np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def spec(width=64, height=64, **options):
    options = {"dtype": "uint8", "layout": "nhwc", "crop": "stretch"} | options
    return _core.PixelSpec(width=width, height=height, **options)


def pillow_reference(array, width, height, crop, background=(255, 255, 255)):
    image = Image.fromarray(array)
    if crop == "stretch":
        return np.asarray(image.resize((width, height), BILINEAR))
    if crop == "center_crop":
        step = min(image.width / width, image.height / height)
        left = (image.width - step * width) / 2
        upper = (image.height - step * height) / 2
        box = (max(left, 0), max(upper, 0), image.width - left, image.height - upper)
        return np.asarray(image.resize((width, height), BILINEAR, box))
    factor = min(width / image.width, height / image.height)
    size = (
        max(1, int(image.width * factor + 0.5)),
        max(1, int(image.height * factor + 0.5)),
    )
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(image.resize(size, BILINEAR), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


def difference(a, b):
    assert a.shape == b.shape
    return np.abs(a.astype(float) - b.astype(float))


@pytest.mark.parametrize("crop", ["stretch", "center_crop", "fit"])
@pytest.mark.parametrize("size", [(150, 101), (101, 150), (300, 40), (40, 300), (64, 64), (20, 9)])
@pytest.mark.parametrize("target", [(64, 64), (48, 80), (80, 17)])
def test_crop_policies_match_plain_pillow(size, target, crop):
    array = photo(*size)
    want = pillow_reference(array, *target, crop)
    wanted = spec(*target, crop=crop)
    assert difference(_core.preprocess(array, wanted), want).max() <= 1
    assert difference(_core.load_pixels(encoded(array), wanted), want).max() <= 1


def test_decoded_and_encoded_pixels_give_the_same_input():
    array = photo(211, 157)
    for crop in ("stretch", "center_crop", "fit"):
        for resample in ("bilinear", "bicubic"):
            wanted = spec(crop=crop, resample=resample, dtype="float32", layout="nchw")
            fused = _core.load_pixels(encoded(array), wanted)
            assert difference(fused, _core.preprocess(array, wanted)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("crop", ["stretch", "center_crop", "fit"])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_all_eight_orientations_give_the_same_pixels(crop, resample):
    upright = photo(90, 61)
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    wanted = spec(40, 32, crop=crop, resample=resample)
    want = _core.load_pixels(encoded(upright), wanted)
    for orientation, operation in operations.items():
        # The operation undoes what a viewer does for this orientation.
        stored = Image.fromarray(upright).transpose(operation)
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        stored.save(buffer, "PNG", exif=exif)
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue())))
        assert np.array_equal(np.asarray(shown), upright)
        got = _core.load_pixels(buffer.getvalue(), wanted)
        # Passes change places and windows are mirrored: half-level ties may fall either way.
        limit = 1 if resample == "bilinear" else 2
        assert difference(got, want).max() <= limit, orientation
        assert difference(got, want).mean() <= 0.05, orientation


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_packing_follows_its_definition(layout, bgr, dtype):
    array = photo(64, 50)
    mean, std, scale = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255
    wanted = spec(64, 50, dtype=dtype, layout=layout, bgr=bgr, mean=mean, std=std, scale=scale)
    got = _core.preprocess(array, wanted)
    want = array[:, :, ::-1] if bgr else array
    if dtype == "float32":
        want = (want * scale - np.array(mean)) / np.array(std)
    if layout == "nchw":
        want = want.transpose(2, 0, 1)
    assert got.shape == wanted.shape
    assert got.dtype == np.dtype(dtype)
    assert difference(got, want).max() <= (2e-6 if dtype == "float32" else 0)


def test_jpegs_are_near_plain_pillow_in_both_modes():
    for subsampling in (0, 1, 2):
        array = photo(333, 251, seed=subsampling)
        data = encoded(array, "JPEG", quality=90, subsampling=subsampling)
        decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        want = pillow_reference(decoded, 96, 96, "stretch")
        assert difference(_core.load_pixels(data, spec(96, 96)), want).mean() <= 0.2
        planes = _core.load_pixels(data, spec(96, 96, planes=True))
        assert difference(planes, want).mean() <= 0.6


def test_large_jpegs_are_decoded_small_and_stay_near_a_full_decode():
    array = photo(1600, 1200)
    data = encoded(array, "JPEG", quality=92)
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    for crop in ("stretch", "center_crop"):
        want = pillow_reference(decoded, 128, 128, crop)
        for planes in (False, True):
            got = _core.load_pixels(data, spec(128, 128, crop=crop, planes=planes))
            assert difference(got, want).mean() <= 1.5


def test_a_grey_jpeg_is_grey():
    data = encoded(photo(100, 80)[:, :, 0], "JPEG", quality=95)
    for planes in (False, True):
        got = _core.load_pixels(data, spec(planes=planes))
        assert np.array_equal(got[:, :, 0], got[:, :, 1])
        assert np.array_equal(got[:, :, 0], got[:, :, 2])


def test_transparency_and_letterbox_take_the_background():
    clear = np.zeros((10, 20, 4), np.uint8)
    got = _core.load_pixels(encoded(clear), spec(crop="fit", background=(9, 90, 200)))
    assert np.all(got == (9, 90, 200))


def test_one_pixel_images_fill_the_input():
    array = np.array([[[10, 200, 30]]], np.uint8)
    for crop in ("stretch", "center_crop", "fit"):
        assert np.all(_core.load_pixels(encoded(array), spec(7, 7, crop=crop)) == (10, 200, 30))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": 0}, "side is 0"),
        ({"height": 20000}, "1 to 16384"),
        ({"std": (1, 0, 1)}, "std must not be 0"),
        ({"scale": float("nan")}, "finite"),
        ({"crop": "middle"}, "center_crop, fit, stretch"),
        ({"layout": "hwcn"}, "nhwc, nchw"),
    ],
)
def test_a_spec_refuses_what_is_out_of_range(options, word):
    with pytest.raises(InvalidOption, match=word):
        spec(**options)


def test_broken_and_oversized_files_are_named_errors():
    data = encoded(photo(80, 60), "JPEG")
    with pytest.raises(DecodeError, match=r"cat\.jpg"):
        _core.load_pixels(data[: len(data) // 2], spec(), "cat.jpg")
    with pytest.raises(DecodeError, match="max_pixels"):
        _core.load_pixels(data, spec(max_pixels=4799), "cat.jpg")


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_rows_too_wide_to_resize_within_max_bytes_are_refused_by_name(resample):
    # 20 000 x 2 px hold little, but the resizer has wide sums and weights: a PNG decoder, two rows.
    array = photo(20_000, 2)
    enough = spec(300, 2, resample=resample, max_bytes=8_000_000)
    assert _core.load_pixels(encoded(array), enough).shape == (2, 300, 3)
    scarce = spec(300, 2, resample=resample, max_bytes=400_000)
    with pytest.raises(DecodeError, match=r"wide\.png.*resized exceed max_bytes 400000") as caught:
        _core.load_pixels(encoded(array), scarce, "wide.png")
    assert caught.value.code == "limit_exceeded"
    with pytest.raises(DecodeError, match=r"image.*resized exceed max_bytes 400000"):
        _core.preprocess(array, scarce)
