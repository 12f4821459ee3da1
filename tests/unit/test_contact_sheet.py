"""The contact sheet, in Python and on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eyespot import Augmentation, DataSource, DecodeError, ImageClassifier, InvalidOption, _core
from eyespot.augmentation import Crop, Flip, contact_sheet
from eyespot.cli.runner import app
from image_files import gradient, png_bytes
from photos import photo_folder

pytest.importorskip("PIL", reason="contact sheets are drawn with Pillow")
PLAN = Augmentation.photos(copies_per_image=5)


def run(*arguments):
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (1, 1), (1, 400)])
def test_a_sheet_shows_the_original_and_the_copies_that_training_makes(shape, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png_bytes(gradient(*shape)))
    sheet = PLAN.preview(path, seed=4, side=100)
    assert sheet.captions[0] == "original"
    content = path.read_bytes()
    for i, caption in enumerate(sheet.captions[1:]):
        drawn = PLAN.sample(content, 4, i).caption()
        assert caption == f"{i + 1}: {drawn}".replace("original", "nothing was drawn")
    expected = _core.preprocess_variants(
        gradient(*shape),
        _core.PixelSpec(
            width=100,
            height=100,
            dtype="uint8",
            layout="nhwc",
            scale=1.0,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        ),
        PLAN.core_plan(),
        seed=4,
        content=_core.content_key(content),
        indices=[-1, 0],
    )
    found = [
        any(
            np.array_equal(sheet.pixels[y : y + 100, x : x + 100], tile)
            for y in range(sheet.pixels.shape[0] - 99)
            for x in (12, 12 + 112)
        )
        for tile in expected
    ]
    assert found == [True, True]


def test_a_pillow_without_freetype_draws_the_sheet_all_the_same(monkeypatch, tmp_path):
    font = pytest.importorskip("PIL.ImageFont")
    absent = pytest.importorskip("PIL._util").DeferredError(ImportError("no FreeType"))
    monkeypatch.setattr(font, "core", absent)
    path = tmp_path / "Фото.png"
    path.write_bytes(png_bytes(gradient(20, 20)))
    sheet = PLAN.preview(path, side=96)
    assert len(sheet.captions) == 6
    assert sheet.pixels[12:29].min() < 100  # the name, in ink on paper


def test_a_sheet_is_a_png(tmp_path):
    sheet = PLAN.preview(gradient(20, 20), side=96)
    data = sheet._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert sheet.save(tmp_path / "sheet.png").read_bytes() == data
    height, width = sheet.pixels.shape[:2]
    assert repr(sheet) == f"<ContactSheet of 6 tiles, {width} x {height} px>"
    with pytest.raises(InvalidOption, match=r"a contact sheet is a PNG file; name it sheet\.png"):
        sheet.save(tmp_path / "sheet.jpg")


def test_many_copies_are_thinned_out_evenly():
    sheet = Augmentation.createml().preview(gradient(30, 30), side=96)
    assert len(sheet.captions) == 12
    numbers = [int(caption.split(":")[0]) for caption in sheet.captions[1:]]
    assert numbers[0] == 1
    assert set(np.diff(numbers)) <= {5, 6}
    assert len(Augmentation.createml().preview(gradient(9, 9), side=96, n_copies=30).captions) == 31


def test_a_class_without_copies_has_a_sheet_of_one_tile():
    plan = Augmentation(flip=Flip(), copies_per_class={"many": 0})
    assert plan.preview(gradient(9, 9), side=96, label="many").captions == ("original",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 10}, "side is 10; allowed: an integer from 96 to 1024"),
        ({"n_copies": 0}, "n_copies is 0; allowed"),
        ({"seed": -1}, "seed is -1; allowed"),
        ({"crop": "middle"}, "crop is 'middle'; allowed"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InvalidOption, match=message):
        contact_sheet(gradient(9, 9), PLAN, **options)


def test_an_unreadable_photo_is_told():
    with pytest.raises(DecodeError):
        PLAN.preview(b"no image")


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(InvalidOption, match=r'needs Pillow: pip install "eyespot\[formats\]"'):
        PLAN.preview(gradient(9, 9))


def test_reversed_ranges_are_refused_before_anything_is_drawn():
    with pytest.raises(InvalidOption, match=r"the lower end comes first: \(0\.5, 0\.9\)"):
        Augmentation(crop=Crop(area=(0.9, 0.5)))


# -- the command line -----------------------------------------------------------------------------


def test_preview_writes_a_sheet(tmp_path):
    photo, sheet = tmp_path / "photo.png", tmp_path / "sheet.png"
    photo.write_bytes(png_bytes(gradient(40, 40)))
    done = run("preview", photo, "--augment", "flip,crop", "--copies", 2, "-o", sheet)
    assert done.exit_code == 0, done.output
    assert f"Saved {sheet}: photo.png and 2 copies." in done.output
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--augment", "flips"], "--augment is 'flips'; allowed: 'light'"),
        (["--augment", "flips,crop"], "did you mean 'flip'?"),
        (["--augment", "photos,flip"], "photos is a plan of its own; give it alone"),
        (["-o", "nowhere/sheet.png"], "the folder"),
        (["-o", "sheet.jpg"], "a contact sheet is a PNG file"),
    ],
)
def test_preview_refuses_nonsense(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / "photo.png"
    photo.write_bytes(png_bytes(gradient(40, 40)))
    done = run("preview", photo, *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_train_augments_and_says_what_it_will_do(tmp_path):
    folder = photo_folder(tmp_path / "photos", {"red": 12, "blue": 4})
    model = tmp_path / "model.onnx"
    done = run("train", folder, "-o", model, "--augment", "crop,flip", "--copies", 2)
    assert done.exit_code == 0, done.output
    assert "augmentation: 32 copies of 16 images, 48 images to look at, about" in done.output
    assert "copies" in done.stdout
    assert "32 copies of training images (crop 0.5 to 1, flip" in run("inspect", model).output
    balanced = run("train", folder, "-o", model, "--augment", "flip", "--balance-copies", "--quiet")
    assert balanced.exit_code == 0, balanced.output
    assert "augmentation:" not in balanced.output
    copies = ImageClassifier.load(model).facts["augmentation"]["copies"]
    assert copies == {"blue": 4 * 11, "red": 12 * 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--copies", "3"], "--copies goes with --augment"),
        (["--balance-copies"], "--balance-copies goes with --augment"),
        (["--augment", "rotations"], "did you mean 'rotation'?"),
        (["--augment", "flip", "--copies", "0"], "--copies"),
    ],
)
def test_train_refuses_nonsense(arguments, message, tmp_path):
    folder = photo_folder(tmp_path / "photos", {"red": 2, "blue": 2})
    done = run("train", folder, "-o", tmp_path / "model.onnx", *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_the_example_trains_on_a_stream(tmp_path):
    folder = photo_folder(tmp_path / "photos", {"red": 6, "blue": 6})
    example = Path(__file__).parents[2] / "examples" / "augment_pytorch.py"
    done = subprocess.run(
        [sys.executable, example, folder, "2"], check=True, capture_output=True, text=True
    )
    assert done.stdout.count("loss") == 2
    assert len(DataSource.labeled_directories(folder)) == 12
