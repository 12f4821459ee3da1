"""A small real data set for the demo, cut from the photographs inside scikit-image's wheel.

Nothing of scikit-image is imported or run, and nothing is downloaded: its wheel carries photographs
free to use, and this module cuts square crops out of them. The training crops come from the left
part of each photograph and the test crops from the right part, with a strip between that neither
touches, so no pixel of a test image was seen in training.
"""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["build_sample_photos"]

_TRAIN_WIDTH = 0.58  # of each photograph, from the left
_TEST_WIDTH = 0.38  # from the right; the strip between belongs to neither
# Sides of the crops: twofold, so that no label is known by its scale, and small enough that some
# crops are hard, such as blank paper.
_SMALLEST_PX, _LARGEST_PX = 44, 96


# Each label and the photographs that its crops come from.
_LABELS = {
    "brick": ("brick.png",),
    "coins": ("coins.png",),
    "grass": ("grass.png",),
    "gravel": ("gravel.png",),
    "moon": ("moon.png",),
    "paper": ("page.png", "text.png"),
    "stars": ("hubble_deep_field.jpg",),
    "tissue": ("ihc.png",),
}


def build_sample_photos(
    dest: str | Path, *, n_train: int = 40, n_test: int = 20, seed: int = 0
) -> tuple[Path, Path]:
    """Write the sample photos below `dest` as JPEG files, in a folder for each label.

    Most of the photographs are grey; the others are made grey too, for colour would give them
    away. Exposure and contrast vary a little, and crops are turned by quarters and mirrored.

    Parameters
    ----------
    dest : str or Path
        Folder to write to; made if need be. Files of an earlier call are replaced.
    n_train, n_test : int
        Images for each label.
    seed : int
        Seed of the choice of crops. The same arguments and the same scikit-image and Pillow give
        the same bytes.

    Returns
    -------
    train_dir, test_dir : Path
        ``dest/train`` and ``dest/test``, each with eight folders: brick, coins, grass, gravel,
        moon, paper, stars and tissue.

    Raises
    ------
    DataError
        scikit-image or Pillow is not installed, or carries other files than expected.
    """
    source = _photographs()
    train_dir, test_dir = Path(dest, "train"), Path(dest, "test")
    for label, names in _LABELS.items():
        photos = [_open(source / name) for name in names]
        for folder, count, part in ((train_dir, n_train, "train"), (test_dir, n_test, "test")):
            target = folder / label
            target.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                chance = random.Random(f"{seed}/{label}/{part}/{index}")  # noqa: S311
                photo = photos[index % len(photos)]
                crop = _crop(photo, part == "train", chance)
                crop.save(target / f"{label}_{index:03d}.jpg", quality=88)
    return train_dir, test_dir


def _photographs() -> Path:
    """Return the folder of photographs, found without importing scikit-image."""
    spec = importlib.util.find_spec("skimage")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location, "data")
        if all((folder / name).is_file() for names in _LABELS.values() for name in names):
            return folder
    found = "has no such photographs" if spec else "is not installed"
    raise DataError(
        f"the sample photos are cut from photographs inside scikit-image, which {found}: "
        'pip install "eyespot[demo]", or name a folder of your own photos',
        source="skimage",
        code="io",
    )


def _open(path: Path) -> Image.Image:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            'making the sample photos needs Pillow: pip install "eyespot[formats]"',
            source="PIL",
            code="io",
        ) from error
    with Image.open(path) as photo:
        return photo.convert("L")


def _crop(photo: Image.Image, train: bool, chance: random.Random) -> Image.Image:
    from PIL import ImageEnhance, ImageOps

    width, height = photo.size
    left = 0 if train else width - int(width * _TEST_WIDTH)
    right = int(width * _TRAIN_WIDTH) if train else width
    side = chance.randint(_SMALLEST_PX, min(_LARGEST_PX, right - left, height))
    x = chance.randint(left, right - side)
    y = chance.randint(0, height - side)
    crop = photo.crop((x, y, x + side, y + side)).rotate(90 * chance.randrange(4))
    if chance.random() < 0.5:
        crop = ImageOps.mirror(crop)
    crop = ImageEnhance.Brightness(crop).enhance(chance.uniform(0.7, 1.3))
    return ImageEnhance.Contrast(crop).enhance(chance.uniform(0.7, 1.3))
