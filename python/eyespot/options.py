"""What the caller may choose, as frozen values that refuse what they do not understand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from eyespot.errors import InvalidOption

if TYPE_CHECKING:
    from eyespot import _core

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "CropPolicy", "Preprocessing", "Resample"]

#: Mean and standard deviation of ImageNet's training pixels in [0, 1], RGB; the usual choice.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_MAX_SIDE = 16384
_JSON_KEYS = ("size", "layout", "dtype", "color", "scale", "mean", "std", "resample", "crop")
_EnumT = TypeVar("_EnumT", bound=StrEnum)


class CropPolicy(StrEnum):
    """How a photo of any shape becomes an input of fixed shape.

    ``CENTER_CROP`` keeps the largest centred rectangle of the input's aspect, ``FIT`` keeps the
    whole photo and fills the rest with the background (letterbox), ``STRETCH`` distorts.
    """

    CENTER_CROP = "center_crop"
    FIT = "fit"
    STRETCH = "stretch"


class Resample(StrEnum):
    """The antialiased filter: ``BILINEAR`` is a triangle, ``BICUBIC`` is Catmull-Rom (a = -0.5)."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


def one_of(enum: type[_EnumT], value: object, name: str) -> _EnumT:
    """Return the member of `enum` that `value` names; else `InvalidOption`, naming them all."""
    try:
        return enum(value)  # type: ignore[arg-type]
    except ValueError:
        allowed = ", ".join(repr(str(member)) for member in enum)
        message = f"{name} is {value!r}; allowed: {allowed}"
        raise InvalidOption(message, source=name, code="invalid_argument") from None


def _choice(value: object, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        names = ", ".join(map(repr, allowed))
        message = f"{name} is {value!r}; allowed: {names}"
        raise InvalidOption(message, source=name, code="invalid_argument")


def _numbers(value: object, count: int, name: str) -> tuple[float, ...]:
    numbers: tuple[float, ...] = ()
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count:
        try:
            numbers = tuple(float(number) for number in value)
        except (TypeError, ValueError):
            numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        message = f"{name} is {value!r}; it takes {count} finite numbers"
        raise InvalidOption(message, source=name, code="invalid_argument")
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How pixels become the input of a network: ``(pixel * scale - mean) / std`` a channel.

    Attributes
    ----------
    width, height : int
        Input size in pixels, 1 to 16384.
    layout : {"nchw", "nhwc"}
        Order of the input's dimensions.
    dtype : {"float32", "float16", "uint8"}
        Type of the input's elements. A ``"uint8"`` input takes the pixels as they are: `scale`,
        `mean` and `std` are then 1, 0 and 1, and other values are refused.
    color : {"rgb", "bgr"}
        Order of the channels. `mean` and `std` follow it.
    scale : float
        Factor on the pixel value, 0 to 255. The default brings it to [0, 1].
    mean, std : tuple of 3 float
        Subtracted from, and divided into, the scaled pixel. The defaults are ImageNet's.
    resample : Resample
        The antialiased filter.
    crop : CropPolicy
        How the photo's shape is brought to the input's.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here.
    """

    width: int
    height: int
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resample: Resample = Resample.BILINEAR
    crop: CropPolicy = CropPolicy.CENTER_CROP

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            side = getattr(self, name)
            if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= _MAX_SIDE:
                message = f"{name} is {side!r}; allowed: an integer from 1 to {_MAX_SIDE}"
                raise InvalidOption(message, source=name, code="invalid_argument")
        _choice(self.layout, ("nchw", "nhwc"), "layout")
        _choice(self.dtype, ("float32", "float16", "uint8"), "dtype")
        _choice(self.color, ("rgb", "bgr"), "color")
        put = object.__setattr__
        put(self, "scale", _numbers((self.scale,), 1, "scale")[0])
        put(self, "mean", _numbers(self.mean, 3, "mean"))
        put(self, "std", _numbers(self.std, 3, "std"))
        put(self, "resample", one_of(Resample, self.resample, "resample"))
        put(self, "crop", one_of(CropPolicy, self.crop, "crop"))
        if self.scale <= 0 or min(self.std) <= 0:
            message = f"scale ({self.scale}) and std {self.std} must be above 0"
            raise InvalidOption(message, source="std", code="invalid_argument")
        if self.dtype == "uint8":
            given = (self.scale, self.mean, self.std)
            plain = (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
            if given not in (plain, (1 / 255, IMAGENET_MEAN, IMAGENET_STD)):
                message = "a uint8 input takes pixels as they are: leave out scale, mean and std"
                raise InvalidOption(message, source="dtype", code="invalid_argument")
            for name, value in zip(("scale", "mean", "std"), plain, strict=True):
                put(self, name, value)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the named attributes changed.

        Raises
        ------
        InvalidOption
            If a name is unknown or a value is not allowed.
        """
        unknown = sorted(changes.keys() - {field.name for field in dataclasses.fields(self)})
        if unknown:
            message = f"Preprocessing has no {', '.join(unknown)}"
            raise InvalidOption(message, source=unknown[0], code="invalid_argument")
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Return the text that the metadata entry ``eyespot.preprocessing`` of a model holds."""
        square = self.width == self.height
        return json.dumps(
            {
                "size": self.width if square else [self.height, self.width],
                "layout": self.layout,
                "dtype": self.dtype,
                "color": self.color,
                "scale": self.scale,
                "mean": list(self.mean),
                "std": list(self.std),
                "resample": f"{self.resample}_antialias",
                "crop": str(self.crop),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote, or what another tool wrote by the same convention.

        Parameters
        ----------
        text : str
            A JSON object. Only ``size`` must be there: an integer, or ``[height, width]``.

        Raises
        ------
        InvalidOption
            If the text is no JSON object, a key is unknown, or a value is not allowed.
        """
        source = "eyespot.preprocessing"
        try:
            fields = json.loads(text)
        except ValueError as error:
            message = f"{source} is not JSON: {error}"
            raise InvalidOption(message, source=source, code="invalid_argument") from None
        if not isinstance(fields, Mapping):
            message = f"{source} is {fields!r}; it must be a JSON object"
            raise InvalidOption(message, source=source, code="invalid_argument")
        unknown = sorted(fields.keys() - set(_JSON_KEYS))
        if unknown:
            message = f"{source} has unknown keys {unknown}; known: {', '.join(_JSON_KEYS)}"
            raise InvalidOption(message, source=source, code="invalid_argument")
        size = fields.get("size")
        height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
        options: dict[str, Any] = {key: fields[key] for key in fields if key != "size"}
        options |= {"height": height, "width": width}
        if isinstance(options.get("resample"), str):
            options["resample"] = options["resample"].removesuffix("_antialias")
        return cls(**options)

    def core_spec(self) -> _core.PixelSpec:
        """Return what the native core needs to fill one input.

        The core knows no float16: for that `dtype` it fills float32, for the caller to round.
        """
        return self._spec("uint8" if self.dtype == "uint8" else "float32", self.layout)

    def uint8_spec(self) -> _core.PixelSpec:
        """Return the same geometry as plain RGB pixels: uint8, NHWC, nothing normalised."""
        plain = self.replace(
            dtype="uint8", color="rgb", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        )
        return plain._spec("uint8", "nhwc")

    def _spec(self, dtype: str, layout: str) -> _core.PixelSpec:
        from eyespot import _core

        return _core.PixelSpec(
            width=self.width,
            height=self.height,
            crop=str(self.crop),
            resample=str(self.resample),
            dtype=dtype,
            layout=layout,
            mean=self.mean,
            std=self.std,
            scale=self.scale,
            bgr=self.color == "bgr",
        )
