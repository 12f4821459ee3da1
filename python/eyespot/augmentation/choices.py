"""The six options of an augmentation, with their ranges, chances and numbers of copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from eyespot.errors import InvalidOption
from eyespot.options import integer, real

__all__ = ["MOST_COPIES", "Blur", "Crop", "Exposure", "Flip", "Noise", "Rotation", "invalid"]

MOST_COPIES = 1000

Range = tuple[float, float]


def pair(value: object, name: str, low: float, high: float, *, above: bool = False) -> Range:
    """Return a pair of ascending numbers within bounds; with `above`, the lower one is excluded."""
    bounds = f"from {'above ' if above else ''}{low:g} to {high:g}"
    is_pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not is_pair:
        message = f"{name} is {value!r}; needed is a pair (lowest, highest), {bounds}"
        raise invalid(name, message)
    first, last = cast("Sequence[object]", value)
    start = real(first, f"{name}[0]")
    end = real(last, f"{name}[1]")
    if start > end:
        message = f"{name} is ({start:g}, {end:g}); the lower end comes first: ({end:g}, {start:g})"
        raise invalid(name, message)
    if start < low or end > high or (above and start <= low):
        raise invalid(name, f"{name} is ({start:g}, {end:g}); allowed: {bounds}")
    return start, end


def invalid(name: str, message: str) -> InvalidOption:
    """Return the error for the option or argument `name`."""
    return InvalidOption(message, source=name, code="invalid_argument")


def _settle(option: Any, name: str) -> None:
    """Check what every option has."""
    put = object.__setattr__
    put(option, "probability", real(option.probability, f"{name}.probability", low=0.0, high=1.0))
    put(option, "copies", integer(option.copies, f"{name}.copies", low=1, high=MOST_COPIES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Random resized crop: a part of the photo, brought to the full size.

    Attributes
    ----------
    area : tuple of 2 float
        Smallest and largest area, as a part of what is seen without a crop; above 0, up to 1.
        Drawn uniformly. The default keeps at least half: a backbone that is not retrained
        recognises whole subjects, and the 8 % of Inception-style crops often miss them.
    aspect : tuple of 2 float
        Width / height relative to the result's shape, which the crop is stretched to; above 0.
        Drawn log-uniformly. The default stretches by at most a quarter, as in Turi Create.
    probability : float
        Chance that a variant is cropped, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 4 in Create ML.
    """

    area: Range = (0.5, 1.0)
    aspect: Range = (0.8, 1.25)
    probability: float = 1.0
    copies: int = 4

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "area", pair(self.area, "crop.area", 0, 1, above=True))
        put(self, "aspect", pair(self.aspect, "crop.aspect", 0, 1000, above=True))
        _settle(self, "crop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Rotation about the centre, counter-clockwise.

    Attributes
    ----------
    degrees : tuple of 2 float
        Smallest and largest angle, -360 to 360; drawn uniformly. The default is how far a camera in
        the hand is tilted.
    probability : float
        Chance that a variant is rotated, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 4 in Create ML.
    """

    degrees: Range = (-15.0, 15.0)
    probability: float = 1.0
    copies: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", pair(self.degrees, "rotation.degrees", -360, 360))
        _settle(self, "rotation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """Gaussian blur.

    Attributes
    ----------
    sigma_px : tuple of 2 float
        Smallest and largest standard deviation in pixels of the result, 0 and up; drawn uniformly.
        At the default's upper end fine texture is gone and shapes are not (inputs of about 224 px).
    probability : float
        Chance that a variant is blurred, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 4 as for the others (Create ML's
        number is not published).
    """

    sigma_px: Range = (0.3, 1.5)
    probability: float = 1.0
    copies: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma_px", pair(self.sigma_px, "blur.sigma_px", 0, 1e9))
        _settle(self, "blur")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Exposure, as a camera changes it: linear light is multiplied, sRGB levels follow.

    Attributes
    ----------
    stops : tuple of 2 float
        Smallest and largest change, -16 to 16; drawn uniformly. 1 doubles the light. The default
        is how far an automatic exposure is commonly off.
    probability : float
        Chance that a variant's exposure changes, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 4 in Create ML.
    """

    stops: Range = (-1.0, 1.0)
    probability: float = 1.0
    copies: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "stops", pair(self.stops, "exposure.stops", -16, 16))
        _settle(self, "exposure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Gaussian noise, independent for each pixel and channel.

    Attributes
    ----------
    sigma : tuple of 2 float
        Smallest and largest standard deviation in grey levels of 256, 0 to 1000; drawn uniformly.
        The default goes from invisible to that of a small sensor at dusk.
    probability : float
        Chance that a variant gets noise, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 4 in Create ML.
    """

    sigma: Range = (1.0, 10.0)
    probability: float = 1.0
    copies: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", pair(self.sigma, "noise.sigma", 0, 1000))
        _settle(self, "noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Mirroring. Where `copies` is the number of kinds, each variant gets its own; else any.

    Attributes
    ----------
    horizontal, vertical, both : bool
        The kinds that are allowed: left and right exchanged, top and bottom exchanged, or both,
        which is a half turn. All three by default, as in Create ML; text and most photos of
        everyday things stand only the first or none.
    probability : float
        Chance that a variant is flipped, 0 to 1.
    copies : int
        Variants an image by this option, where options multiply; 3 in Create ML.
    """

    horizontal: bool = True
    vertical: bool = True
    both: bool = True
    probability: float = 1.0
    copies: int = 3

    def __post_init__(self) -> None:
        for name in ("horizontal", "vertical", "both"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise invalid(f"flip.{name}", f"flip.{name} is {value!r}; allowed: True, False")
        if not (self.horizontal or self.vertical or self.both):
            message = "flip allows no kind; needed is horizontal, vertical or both"
            raise invalid("flip", message)
        _settle(self, "flip")
