"""What is taken as an image, and the way through Pillow."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eyespot import images
from eyespot.errors import DecodeError, InvalidOption
from eyespot.images import read_image
from image_files import bmp_bytes, gradient, png_bytes


@pytest.fixture
def pillow():
    """Pillow's Image module, or skip: it is an extra."""
    return pytest.importorskip("PIL.Image")


def saved(image, kind, **options):
    """Return `image` as a file of the Pillow format `kind`."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def without_pillow(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)


PIXELS = gradient(9, 14, seed=3)


# What is taken


def test_bytes_are_no_pillow_image_while_another_thread_imports_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))  # without its classes
    assert images.source_name(b"", 3) == "<bytes #3>"


@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, lambda data: memoryview(data + data)[: len(data)]]
)
def test_the_bytes_of_a_file_are_an_image(wrap):
    assert np.array_equal(read_image(wrap(png_bytes(PIXELS))), PIXELS)


def test_a_memoryview_with_gaps_is_an_image():
    data = np.frombuffer(png_bytes(PIXELS), np.uint8)
    spread = np.zeros(2 * len(data), np.uint8)
    spread[::2] = data
    assert np.array_equal(read_image(memoryview(spread)[::2]), PIXELS)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_an_image(tmp_path, kind):
    path = tmp_path / "phöto.jpg"  # the name plays no part
    path.write_bytes(png_bytes(PIXELS))
    assert np.array_equal(read_image(kind(path)), PIXELS)


def test_pixels_in_rgb_are_taken_as_they_are():
    assert np.array_equal(read_image(PIXELS), PIXELS)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda p: p[::-1], id="upside down"),
        pytest.param(lambda p: p[:, ::2], id="every second column"),
        pytest.param(lambda p: p[..., ::-1], id="channels reversed"),
        pytest.param(np.asfortranarray, id="Fortran order"),
    ],
)
def test_pixels_in_any_memory_layout_are_the_same_image(view):
    array = view(PIXELS)
    read = read_image(array)
    assert read.flags.c_contiguous
    assert np.array_equal(read, array)


def test_read_only_pixels_are_taken():
    array = PIXELS.copy()
    array.flags.writeable = False
    assert np.array_equal(read_image(array), array)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1)])
def test_grey_pixels_become_three_equal_channels(shape):
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    read = read_image(grey)
    assert read.shape == (5, 4, 3)
    assert all(np.array_equal(read[..., c], grey.reshape(5, 4)) for c in range(3))


def test_transparent_pixels_show_the_background():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    assert read_image(rgba)[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
    on_blue = read_image(rgba, background=(0, 0, 255))
    assert on_blue[0].tolist() == [[0, 0, 255], [100, 0, 127], [200, 0, 0]]


def test_transparency_is_the_same_for_pixels_and_for_a_file():
    rng = np.random.default_rng(1)
    rgba = rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)
    from_file = read_image(png_bytes(rgba), background=(10, 200, 90)).astype(int)
    from_array = read_image(rgba, background=(10, 200, 90)).astype(int)
    assert np.abs(from_file - from_array).max() <= 1


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "NoneType"),
        (12, "int"),
        ([[1, 2]], "list"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((4,), np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
    ],
)
def test_what_is_no_image_is_refused_with_what_is_allowed(image, words):
    with pytest.raises(InvalidOption, match=words) as caught:
        read_image(image)
    assert "allowed" in str(caught.value)
    assert "array" in str(caught.value)


# What is not there or broken


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DecodeError, match="No such file") as caught:
        read_image(tmp_path / "gone.png")
    assert caught.value.code == "io"
    assert caught.value.source == str(tmp_path / "gone.png")


def test_a_name_with_a_nul_is_an_error_of_that_file():
    with pytest.raises(DecodeError, match="null") as caught:
        read_image("a\0b")
    assert caught.value.code == "io"


def test_broken_bytes_are_a_corrupt_image():
    with pytest.raises(DecodeError) as caught:
        read_image(png_bytes(PIXELS)[:40])
    assert caught.value.code == "corrupt_image"
    assert caught.value.source == "<bytes #0>"


def test_without_pillow_the_error_names_the_format_and_the_extra(monkeypatch):
    without_pillow(monkeypatch)
    with pytest.raises(DecodeError, match=r'(?i)bmp.*pip install "eyespot\[formats\]"') as caught:
        read_image(bmp_bytes(PIXELS))
    assert caught.value.code == "unsupported_format"
    assert str(caught.value).count("<bytes #0>") == 1


def test_pillow_is_not_imported_for_what_the_core_reads():
    import subprocess

    code = (
        "import sys, numpy; from eyespot.images import read_image;"
        "read_image(numpy.zeros((4, 4), numpy.uint8));"
        "assert not any(name.partition('.')[0] == 'PIL' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Through Pillow


def test_other_formats_are_read_by_pillow(pillow, tmp_path):
    assert np.array_equal(read_image(bmp_bytes(PIXELS)), PIXELS)
    path = tmp_path / "photo.png"
    path.write_bytes(saved(pillow.fromarray(PIXELS), "TIFF"))
    assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_every_mode_of_a_tiff_becomes_rgb(pillow, mode):
    image = pillow.fromarray(PIXELS)
    image = image.convert(mode) if mode != "LAB" else pillow.new("LAB", (14, 9), (128, 10, 10))
    # pillow-simd refuses the uncompressed YCbCr files that it writes itself, as truncated.
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    read = read_image(saved(image, "TIFF", **options))
    assert read.shape == PIXELS.shape
    assert read.dtype == np.uint8
    if mode in ("RGB", "L", "1"):
        assert np.array_equal(read, np.asarray(image.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_upper_byte(pillow):
    levels = (np.arange(12, dtype=np.uint16) * 5461).reshape(3, 4)
    image = pillow.fromarray(levels)
    assert np.array_equal(read_image(saved(image, "TIFF"))[..., 0], levels >> 8)


def test_floating_point_samples_are_refused_by_name(pillow):
    image = pillow.fromarray(np.ones((3, 3), np.float32))
    with pytest.raises(DecodeError, match="floating-point") as caught:
        read_image(saved(image, "TIFF"))
    assert caught.value.code == "unsupported_format"


def test_an_animation_gives_its_first_frame(pillow):
    frames = [pillow.new("RGB", (6, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)
    read = read_image(data)
    assert read.shape == (4, 6, 3)
    assert (read == (255, 0, 0)).all()


def test_a_transparent_gif_lies_on_the_background(pillow):
    image = pillow.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    data = saved(image, "GIF", transparency=0)
    assert read_image(data)[0].tolist() == [[255, 255, 255], [200, 0, 0]]
    assert read_image(data, background=(0, 0, 7))[0].tolist() == [[0, 0, 7], [200, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied(pillow, orientation):
    upright = pillow.fromarray(PIXELS)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions that store it turned
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = pillow.Exif()
    exif[274] = orientation
    assert np.array_equal(read_image(saved(stored, "TIFF", exif=exif)), PIXELS)


def test_a_pillow_image_is_an_image_and_stays_open(pillow, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(PIXELS))
    with pillow.open(path) as image:
        assert np.array_equal(read_image(image), PIXELS)
        assert np.array_equal(np.asarray(image), PIXELS)
    assert np.array_equal(read_image(pillow.fromarray(PIXELS).convert("RGBA")), PIXELS)


def test_a_pillow_image_whose_file_is_cut_is_a_corrupt_image(pillow, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(gradient(200, 200))[:600])
    with pillow.open(path) as image, pytest.raises(DecodeError) as caught:
        read_image(image)
    assert caught.value.code == "corrupt_image"
    assert caught.value.source == "<image #0>"


def test_what_neither_knows_is_an_unsupported_format(pillow):
    with pytest.raises(DecodeError, match="Pillow does not know it either") as caught:
        read_image(b"these are words and no image at all")
    assert caught.value.code == "unsupported_format"


def test_a_cut_file_of_pillows_is_a_corrupt_image(pillow):
    data = saved(pillow.fromarray(gradient(60, 60)), "TIFF")
    with pytest.raises(DecodeError, match="Pillow cannot decode") as caught:
        read_image(data[: len(data) // 2])
    assert caught.value.code == "corrupt_image"


def test_the_limits_hold_for_pillow_too(pillow, monkeypatch):
    data = bmp_bytes(PIXELS)
    with monkeypatch.context() as patch:
        patch.setattr(images._core, "MAX_PIXELS", 100)
        with pytest.raises(DecodeError, match="14 x 9 px exceeds max_pixels 100") as caught:
            read_image(data)
    assert caught.value.code == "limit_exceeded"
    with monkeypatch.context() as patch:
        patch.setattr(pillow, "MAX_IMAGE_PIXELS", 100)  # only a warning in Pillow
        with pytest.raises(DecodeError, match="126 pixels exceeds max_pixels 89478485") as caught:
            read_image(data)
    assert caught.value.code == "limit_exceeded"
