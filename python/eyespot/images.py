"""What counts as an image, and the way through Pillow for what the native core does not decode.

The core reads JPEG, PNG and WebP. TIFF, GIF, BMP and the rest of the long tail are Pillow's, if it
is installed (``pip install "eyespot[formats]"``); it is imported at the first such image.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from eyespot import _core
from eyespot.errors import DecodeError, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    import PIL.Image
    from numpy.typing import NDArray

    Color: TypeAlias = tuple[int, int, int]

__all__ = ["ImageInput", "read_image"]

#: What eyespot takes as one image: a path, a whole image file in memory, upright RGB(A) or grey
#: pixels as uint8 of shape (height, width[, 1 | 3 | 4]), or a Pillow image.
ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | PIL.Image.Image"
)

#: What the core takes in its place: a path, a buffer, RGB pixels, or None for "Python fills it in".
CoreSource: TypeAlias = "str | bytes | bytearray | memoryview | NDArray[np.uint8] | None"

WHITE: Color = (255, 255, 255)
_INSTALL = 'pip install "eyespot[formats]"'


def read_image(image: ImageInput, *, background: Color = WHITE) -> NDArray[np.uint8]:
    """Decode one image completely.

    Parameters
    ----------
    image : path, bytes, ndarray or PIL.Image.Image
        See `ImageInput`.
    background : tuple of 3 int
        Colour behind transparent pixels, 0 to 255 each. The default is white.

    Returns
    -------
    uint8 ndarray of shape (height, width, 3)
        RGB, upright (the EXIF orientation is applied); the first frame of an animation.

    Raises
    ------
    DecodeError
        If the image cannot be read; ``code`` says why.
    InvalidOption
        If `image` is nothing that eyespot takes as an image.
    """
    name = source_name(image, 0)
    source = core_source(image)
    if source is None or isinstance(source, np.ndarray):
        return pixels_of(image, source=name, background=background)
    data = read_file(source) if isinstance(source, str) else source
    try:
        return _core.decode(data, background=background, source=name)
    except DecodeError as error:
        if error.code != "unsupported_format":
            raise
        return decode_with_pillow(data, error, background=background)


def is_pillow(image: object) -> bool:
    """Tell whether `image` is a Pillow image, without importing Pillow."""
    # While another thread imports the module, the class may not be there yet.
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(image, kind)


def source_name(image: ImageInput, index: int) -> str:
    """Return what errors call an image: its path, or its kind and its position in the list."""
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)
    kind = "array" if isinstance(image, np.ndarray) else "image" if is_pillow(image) else "bytes"
    return f"<{kind} #{index}>"


def core_source(image: ImageInput, index: int = 0) -> CoreSource:
    """Return the form of `image` that the core reads by itself, or None if there is none.

    Raises
    ------
    InvalidOption
        If `image` is nothing that eyespot takes as an image.
    """
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)
    if isinstance(image, (bytes, bytearray)):
        return image
    if isinstance(image, memoryview):
        return image if image.c_contiguous else bytes(image)
    if isinstance(image, np.ndarray):
        _check_array(image, index)
        is_rgb = image.ndim == 3 and image.shape[2] == 3
        return image if is_rgb and image.flags.c_contiguous else None
    if is_pillow(image):
        return None
    message = (
        f"image {index} is of type {type(image).__name__}; allowed: a path, the bytes of an image "
        "file, a uint8 array (height, width[, 1, 3 or 4]), or a PIL.Image.Image"
    )
    raise InvalidOption(message, source=f"inputs[{index}]", code="invalid_argument")


def image_list(images: Iterable[ImageInput]) -> list[ImageInput]:
    """Return images as a list of its own; refuse one image where several are due.

    Raises
    ------
    InvalidOption
        If `images` is one image, or nothing that can be iterated.
    """
    given = cast("object", images)
    single = (
        isinstance(given, (str, bytes, bytearray, memoryview, os.PathLike))
        or is_pillow(given)
        or (isinstance(given, np.ndarray) and given.ndim in (2, 3))
    )
    if single or not isinstance(given, Iterable):
        what = "one image" if single else f"a {type(given).__name__}"
        message = f"inputs is {what}; give a list of images"
        raise InvalidOption(message, source="inputs", code="invalid_argument")
    return list(images)


def core_sources(images: Sequence[ImageInput]) -> list[CoreSource]:
    """Return `core_source` of each image."""
    return [core_source(image, index) for index, image in enumerate(images)]


def _check_array(array: NDArray[Any], index: int) -> None:
    shape = array.shape
    is_image = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_image or 0 in shape:
        message = (
            f"image {index} is a {array.dtype} array of shape {shape}; allowed: uint8 of shape "
            "(height, width) or (height, width, 1 | 3 | 4), at least 1 x 1"
        )
        raise InvalidOption(message, source=f"inputs[{index}]", code="invalid_argument")


def read_file(path: str) -> bytes:
    """Read a file whole; a failure is a `DecodeError` with the code ``"io"``."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise _bad(path, "io", f"cannot open: {reason}") from error


def pixels_of(image: ImageInput, *, source: str, background: Color = WHITE) -> NDArray[np.uint8]:
    """Return upright RGB pixels, C-contiguous, of an array or a Pillow image.

    Raises
    ------
    DecodeError
        If a Pillow image that was opened but not loaded turns out to be broken.
    """
    if isinstance(image, np.ndarray):
        return _rgb_array(image, background)
    with _pillow_warnings():
        return _rgb_pillow(image, source, background)


def decode_with_pillow(
    data: bytes | bytearray | memoryview, refusal: DecodeError, *, background: Color = WHITE
) -> NDArray[np.uint8]:
    """Decode by Pillow what the core refused as a format that it does not read.

    Parameters
    ----------
    data : bytes-like
        The whole file.
    refusal : DecodeError
        The core's answer, which names the file and the format.
    background : tuple of 3 int
        Colour behind transparent pixels.

    Returns
    -------
    uint8 ndarray of shape (height, width, 3)

    Raises
    ------
    DecodeError
        If Pillow is not installed (the message says how to get it), does not know the format
        either, finds the file broken, or the image exceeds the core's limits.
    """
    source = refusal.source
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        message = f"{_without_source(refusal)}; Pillow reads many such formats: {_INSTALL}"
        raise _bad(source, "unsupported_format", message) from None
    with _pillow_warnings():
        try:
            opened = Image.open(BytesIO(data))
        except UnidentifiedImageError:
            message = f"{_without_source(refusal)}; Pillow does not know it either"
            raise _bad(source, "unsupported_format", message) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            # Pillow's words name a limit of its own, which need not be ours.
            size = re.search(r"\d+ pixels", str(error))
            message = f"{size[0] if size else 'the image'} exceeds max_pixels {_core.MAX_PIXELS}"
            raise _bad(source, "limit_exceeded", message) from error
        except Exception as error:  # third-party decoders raise anything
            raise _broken(source, error) from error
        with opened:
            return _rgb_pillow(opened, source, background)


def _rgb_pillow(image: Any, source: str, background: Color) -> NDArray[np.uint8]:
    """Return the first frame of a Pillow image as upright RGB pixels."""
    from PIL import ImageOps

    width, height = image.size
    pixels = width * height
    # Pillow's own copy (at most 4 bytes a pixel), the upright one, and ours.
    needed = pixels * (4 + 4 + 3)
    if pixels > _core.MAX_PIXELS or needed > _core.MAX_BYTES:
        limit = f"max_pixels {_core.MAX_PIXELS} or max_bytes {_core.MAX_BYTES}"
        raise _bad(source, "limit_exceeded", f"{width} x {height} px exceeds {limit}")
    if pixels == 0:
        raise _bad(source, "corrupt_image", f"has no pixels: {width} x {height}")
    try:
        upright = ImageOps.exif_transpose(image)
        return _flatten(upright, source, background)
    except DecodeError:
        raise
    except Exception as error:  # third-party decoders raise anything
        raise _broken(source, error) from error


def _flatten(image: Any, source: str, background: Color) -> NDArray[np.uint8]:
    """Bring any of Pillow's modes to RGB on the background."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        # 16-bit grey (older Pillow calls it "I"): the upper byte, as the core does for PNG.
        levels = np.asarray(image).astype(np.int64)
        return _rgb_array((levels.clip(0, 65535) >> 8).astype(np.uint8), background)
    if image.mode == "F":
        message = "has floating-point samples, whose range no header tells"
        raise _bad(source, "unsupported_format", message)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _rgb_array(np.asarray(image.convert("RGBA")), background)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _rgb_array(array: NDArray[np.uint8], background: Color) -> NDArray[np.uint8]:
    """Bring grey, grey with a channel axis, RGB or RGBA to contiguous RGB."""
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.uint32)
        behind = np.asarray(background, dtype=np.uint32)
        mixed = array[:, :, :3] * alpha + behind * (255 - alpha)
        return ((mixed + 127) // 255).astype(np.uint8)
    if array.shape[2] == 1:
        array = np.broadcast_to(array, (*array.shape[:2], 3))
    return np.ascontiguousarray(array)


class _pillow_warnings(warnings.catch_warnings):  # noqa: N801 - used as a function
    """Keep Pillow's remarks on broken metadata from the user; its size warning is an error."""

    def __enter__(self) -> None:
        from PIL import Image

        super().__enter__()
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)


def _without_source(error: DecodeError) -> str:
    return str(error).removeprefix(f"{error.source}: ")


def _broken(source: str, error: Exception) -> DecodeError:
    reason = str(error) or type(error).__name__
    return _bad(source, "corrupt_image", f"Pillow cannot decode it: {reason}")


def _bad(source: str, code: str, message: str) -> DecodeError:
    return DecodeError(f"{source}: {message}", source=source, code=code)
