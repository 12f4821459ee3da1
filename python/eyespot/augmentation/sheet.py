"""A contact sheet: an image and some of its copies, each with what was done to it."""

from __future__ import annotations

import importlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from eyespot import _core
from eyespot.augmentation.plan import ORIGINAL, Augmentation
from eyespot.errors import InvalidOption
from eyespot.files import write_atomically
from eyespot.images import core_source, read_file, read_image
from eyespot.options import CropPolicy, Preprocessing, integer, one_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import PIL.Image
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from eyespot.images import ImageInput

__all__ = ["ContactSheet", "contact_sheet"]

_COLUMNS: Final = (4, 3, 5)  # what fits a page; the first is taken where it is no worse
_GAP: Final = 12
_LINE: Final = 17
_FONT_PX: Final = 13
_INK, _SOFT, _RULE, _PAPER = (24, 24, 27), (96, 96, 104), (208, 208, 212), (250, 250, 250)
_LEAST_SIDE, _MOST_SIDE = 96, 1024


@dataclass(frozen=True, slots=True, eq=False)
class ContactSheet:
    """An image and some of its copies, side by side; a notebook shows it by itself.

    Attributes
    ----------
    pixels : uint8 ndarray of shape (height, width, 3)
        The sheet.
    captions : tuple of str
        What stands below each tile, the original's first.
    """

    pixels: NDArray[np.uint8]
    captions: tuple[str, ...]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sheet as a PNG file, in one step.

        Raises
        ------
        ExportError
            If the file cannot be written.
        InvalidOption
            If the name does not end in ``.png``.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            message = f"{target}: a contact sheet is a PNG file; name it {target.stem}.png"
            raise InvalidOption(message, source=str(target), code="invalid_argument")
        write_atomically(target, self._repr_png_())
        return target

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        _pillow("Image").fromarray(self.pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return f"<ContactSheet of {len(self.captions)} tiles, {width} x {height} px>"


def contact_sheet(
    image: ImageInput,
    plan: Augmentation,
    *,
    seed: int = 0,
    n_copies: int | None = None,
    side: int = 224,
    crop: CropPolicy = CropPolicy.CENTER_CROP,
    label: str = "",
) -> ContactSheet:
    """Show an image, as a network sees it, and copies of it.

    Parameters
    ----------
    image : path, bytes, ndarray or PIL.Image.Image
        The image.
    plan : Augmentation
        What may be done to it.
    seed : int
        0 to 2**64 - 1. A training with this seed makes these copies.
    n_copies : int, optional
        Copies to show, 1 to 1000; evenly spread over those that the plan makes. 11 at most unless
        told.
    side : int
        Width and height of a tile in pixels, 96 to 1024: the size of a network's input.
    crop : CropPolicy
        How the photo's shape is brought to a square.
    label : str
        The image's class, for `Augmentation.copies_per_class`.

    Raises
    ------
    InvalidOption
        If an argument is not as told here, or Pillow is not installed.
    DecodeError
        If the image cannot be read.
    """
    side = integer(side, "side", low=_LEAST_SIDE, high=_MOST_SIDE)
    core_plan = plan.core_plan(label)
    total = plan.variant_count(label)
    if n_copies is not None:
        shown = min(integer(n_copies, "n_copies", low=1, high=1000), total)
    else:
        shown = min(total, 11)
    indices = [ORIGINAL, *(i * total // shown for i in range(shown))] if shown else [ORIGINAL]
    _pillow("Image")  # before the work
    pixels = read_image(image)
    source = core_source(image)
    data = read_file(source) if isinstance(source, str) else pixels if source is None else source
    content = _core.content_key(cast("Buffer", data))
    policy = one_of(CropPolicy, crop, "crop")
    tiles: NDArray[Any] = _core.preprocess_variants(
        pixels,
        Preprocessing(width=side, height=side, crop=policy).uint8_spec(),
        core_plan,
        seed=integer(seed, "seed", low=0, high=2**64 - 1),
        content=content,
        indices=indices,
    )
    captions = ["original"]
    for i in indices[1:]:
        drawn = plan.sample(content, seed, i, label=label).caption()
        captions.append(f"{i + 1}: {'nothing was drawn' if drawn == 'original' else drawn}")
    copies = "1 copy" if total == 1 else f"{total:,} copies"
    part = f", {shown} of them shown" if shown < total else ""
    name = Path(source).name if isinstance(source, str) else "image in memory"
    title = (name, f"{copies}, seed {seed}{part}", plan.describe())
    return ContactSheet(_drawn(tiles, captions, title), tuple(captions))


def _pillow(module: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        message = 'drawing a contact sheet needs Pillow: pip install "eyespot[formats]"'
        raise InvalidOption(message, source="PIL", code="invalid_argument") from error


def _font() -> Any:
    fonts = _pillow("ImageFont")
    try:
        return fonts.load_default(size=_FONT_PX)
    except (TypeError, ImportError):  # Pillow before 10.1, or without FreeType: one bitmap font
        return fonts.load_default()


def _drawn(
    tiles: NDArray[np.uint8], captions: Sequence[str], title: tuple[str, ...]
) -> NDArray[np.uint8]:
    image_module, font = _pillow("Image"), _font()
    side = tiles.shape[1]
    lines = [_wrapped(caption, font, side) for caption in captions]
    columns = min(min(_COLUMNS, key=lambda n: -len(tiles) % n), len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = columns * (side + _GAP) + _GAP
    heights = [
        side + 4 + _LINE * max(map(len, lines[row * columns : (row + 1) * columns])) + _GAP
        for row in range(rows)
    ]
    heading = [_shortened(title[0], font, width - 2 * _GAP)]
    for text in title[1:]:
        heading += _wrapped(text, font, width - 2 * _GAP)
    top = _GAP + _LINE * len(heading) + 6
    sheet: PIL.Image.Image = image_module.new("RGB", (width, top + sum(heights)), _PAPER)
    draw = _pillow("ImageDraw").Draw(sheet)
    for i, line in enumerate(heading):
        draw.text((_GAP, _GAP + i * _LINE), line, fill=_SOFT if i else _INK, font=font)
    for i, (tile, caption) in enumerate(zip(tiles, lines, strict=True)):
        x = _GAP + i % columns * (side + _GAP)
        y = top + sum(heights[: i // columns])
        # What is white at the border of a tile, a filled corner or light sky, ends somewhere.
        draw.rectangle((x - 1, y - 1, x + side, y + side), outline=_RULE)
        sheet.paste(image_module.fromarray(tile), (x, y))
        for j, line in enumerate(caption):
            draw.text((x, y + side + 4 + j * _LINE), line, fill=_INK, font=font)
    return np.asarray(sheet)


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    """Break a text after commas, else at spaces, so that no line is wider than `width` pixels."""
    lines = [""]
    for part in text.replace(", ", ",\n").split("\n"):
        words = [part] if font.getlength(part) <= width else part.split(" ")
        for word in words:
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return lines


def _shortened(text: str, font: Any, width: int) -> str:
    """Leave out the middle of a name that is wider than `width` pixels."""
    text = text.encode("latin-1", "replace").decode("latin-1")  # what the oldest font can draw
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) // 2, 0, -1):
        shorter = f"{text[:kept]}...{text[-kept:]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "..."
