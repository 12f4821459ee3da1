"""Augmentation: what may be done to copies of an image, and doing it, reproducibly.

The six options are Create ML's. What it publishes of them are counts and an order; ranges, seed,
budget and chances are eyespot's own, and stand in the docstrings here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np

from eyespot import _core
from eyespot.augmentation.choices import (
    MOST_COPIES,
    Blur,
    Crop,
    Exposure,
    Flip,
    Noise,
    Rotation,
    invalid,
)
from eyespot.errors import InvalidOption
from eyespot.options import (
    AUGMENTATION_OPTIONS,
    CropPolicy,
    checked_augmentation,
    integer,
    one_of,
    real,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot.augmentation.sheet import ContactSheet
    from eyespot.images import ImageInput

__all__ = [
    "OPTIONS",
    "ORIGINAL",
    "Augmentation",
    "Variant",
    "augment",
]

OPTIONS = AUGMENTATION_OPTIONS
#: The index of the untouched copy.
ORIGINAL = -1
_MOST_SEED = 2**64 - 1
_MOST_WEIGHT = 1000.0
_MAX_SIDE = 16384
_MOST_THREADS = 1024
#: Done before threads of their own would have started.
_FEW_PIXELS = 1 << 18


class _WithNative:
    """Holds the native core's form of a value once it is made: no field, so never pickled."""

    __slots__ = ("_native",)
    _native: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(_WithNative):
    """What is done to one copy of an image, in numbers: enough to do it again.

    Attributes
    ----------
    crop : tuple of 4 float, optional
        Area and aspect as in `Crop`, then the place in the room that is left: 0 is left or top, 1
        right or bottom.
    rotation_deg : float
        Counter-clockwise.
    blur_sigma_px : float
        In pixels of the result.
    exposure_stops : float
        Added to the exposure.
    noise_sigma : float
        In grey levels.
    noise_seed : int
        Which noise.
    flip_horizontal, flip_vertical : bool
        Whether left and right, top and bottom are exchanged.
    order : tuple of str
        The order of the options.
    edges : {"mirror", "fill"}
        What a rotation shows beyond the photo.
    fill : tuple of 3 int
        The colour for that.
    """

    crop: tuple[float, float, float, float] | None = None
    rotation_deg: float = 0.0
    blur_sigma_px: float = 0.0
    exposure_stops: float = 0.0
    noise_sigma: float = 0.0
    noise_seed: int = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    order: tuple[str, ...] = OPTIONS
    edges: Literal["mirror", "fill"] = "mirror"
    fill: tuple[int, int, int] = (255, 255, 255)

    def caption(self) -> str:
        """Return the numbers in one line, in the order of the options; "original" for none."""
        words = {
            "crop": self.crop and f"crop {self.crop[0]:.0%} aspect {self.crop[1]:.2f}",
            "rotation": self.rotation_deg and f"rotated {self.rotation_deg:+.1f}°",
            "blur": self.blur_sigma_px and f"blur {self.blur_sigma_px:.2f} px",
            "exposure": self.exposure_stops and f"{self.exposure_stops:+.2f} stops",
            "noise": self.noise_sigma and f"noise {self.noise_sigma:.1f}",
            "flip": self._flip_words(),
        }
        return ", ".join(str(words[name]) for name in self.order if words[name]) or "original"

    def _flip_words(self) -> str:
        if self.flip_horizontal and self.flip_vertical:
            return "flipped both ways"
        if self.flip_horizontal:
            return "flipped left-right"
        return "flipped up-down" if self.flip_vertical else ""

    def apply(
        self,
        image: NDArray[np.uint8],
        *,
        width: int | None = None,
        height: int | None = None,
        policy: CropPolicy = CropPolicy.CENTER_CROP,
    ) -> NDArray[np.uint8]:
        """Return the image with this done to it.

        Parameters
        ----------
        image : uint8 ndarray of shape (height, width, 3)
            Upright RGB pixels.
        width, height : int, optional
            Size of the result, 1 to 16384; the image's own unless told.
        policy : CropPolicy
            How the photo's shape is brought to another one.

        Returns
        -------
        uint8 ndarray of shape (height, width, 3)

        Raises
        ------
        InvalidOption
            If the image or a number is not as told here.
        """
        if width is None and height is None and policy is CropPolicy.CENTER_CROP:
            # On small images the checks below take as long as a flip. The core has its own.
            try:
                return _core.apply_variant(image, self._native)
            except (AttributeError, TypeError, InvalidOption):
                pass  # not made yet, to be copied, or to be refused in other words
        pixels = _pixels(image)
        if pixels.ndim != 3:
            raise invalid("image", f"image has {pixels.ndim} dimensions; needed: height, width, 3")
        return _core.apply_variant(
            pixels,
            self.core_variant(),
            width=_side(width, "width", pixels.shape[1]),
            height=_side(height, "height", pixels.shape[0]),
            policy=str(one_of(CropPolicy, policy, "policy")),
        )

    def core_variant(self) -> _core.Variant:
        """Return what the native core needs."""
        if not hasattr(self, "_native"):
            numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
            object.__setattr__(self, "_native", _core.Variant(**numbers))
        return cast("_core.Variant", self._native)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation(_WithNative):
    """What may be done to images, and how many copies are made.

    An option that is None is left out. Without `copies_per_image`, options multiply, as in Create
    ML: crop and flip make 4 x 3 copies, each cropped and flipped, and an option's copies cover its
    range: one lies in the first quarter, one in the second, and so on. Once the product would pass
    `max_copies`, later options get fewer. With `copies_per_image`, there are that many copies, and
    each draws from the whole ranges. Originals are kept in any case, and are not counted here.

    Attributes
    ----------
    crop, rotation, blur, exposure, noise, flip : optional
        The options.
    order : tuple of str
        Which comes first; every option once. The default is Create ML's.
    copies_per_image : int, optional
        Copies of an image, 1 to 1000.
    copies_per_class : mapping of str to int
        Copies of an image of these classes instead, 0 to 1000, as a remedy for imbalance; see
        `balanced`.
    copies_weight : float, optional
        What all copies of an image count in training, where it counts 1 itself; 0 to 1000. They
        resemble it more than the photos that a model will see, so it should not be lost among
        them, however many there are. With None, each copy counts as much as the image.
    max_copies : int
        What the product of the options is cut to, 1 to 1000; 100 in Create ML.
    edges : {"mirror", "fill"}
        What a rotation shows beyond the photo: the photo mirrored at its border, or a colour.
    fill : tuple of 3 int
        That colour, 0 to 255 each; white unless told.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here.

    Notes
    -----
    Every copy follows from (seed, content of the image, index of the copy) alone: the same bytes
    for any number of threads, batch size or order, and each can be made without the others. Indices
    beyond the number of copies go on with new draws, without end.

    Examples
    --------
    >>> from eyespot.augmentation import Augmentation
    >>> Augmentation.createml("rotation", "flip").n_variants
    12
    >>> plan = Augmentation.photos(copies_per_image=2)
    >>> [variant.caption() for variant in plan.variants(b"the bytes of a photo", seed=1)]
    ['crop 87% aspect 1.04', 'crop 73% aspect 0.81, rotated -14.0°']
    """

    crop: Crop | None = None
    rotation: Rotation | None = None
    blur: Blur | None = None
    exposure: Exposure | None = None
    noise: Noise | None = None
    flip: Flip | None = None
    order: tuple[str, ...] = OPTIONS
    copies_per_image: int | None = None
    copies_per_class: Mapping[str, int] = field(default_factory=dict, hash=False)
    copies_weight: float | None = 1.0
    max_copies: int = 100
    edges: Literal["mirror", "fill"] = "mirror"
    fill: tuple[int, int, int] = (255, 255, 255)

    _KINDS: ClassVar[Mapping[str, type]] = MappingProxyType(
        {
            "crop": Crop,
            "rotation": Rotation,
            "blur": Blur,
            "exposure": Exposure,
            "noise": Noise,
            "flip": Flip,
        }
    )

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, kind in self._KINDS.items():
            option = getattr(self, name)
            if option is not None and not isinstance(option, kind):
                message = f"{name} is {option!r}; allowed: None or a {kind.__name__}(...)"
                raise invalid(name, message)
        order = self.order
        if sorted(map(str, order)) != sorted(OPTIONS):
            message = f"order is {order!r}; needed are {', '.join(OPTIONS)}, once each"
            raise invalid("order", message)
        put(self, "order", tuple(order))
        if self.copies_per_image is not None:
            copies = integer(self.copies_per_image, "copies_per_image", low=1, high=MOST_COPIES)
            put(self, "copies_per_image", copies)
        if not isinstance(cast("object", self.copies_per_class), Mapping):
            message = f"copies_per_class is {self.copies_per_class!r}; needed is a mapping"
            raise invalid("copies_per_class", message)
        per_class = {
            str(label): integer(n, f"copies_per_class[{label!r}]", low=0, high=MOST_COPIES)
            for label, n in self.copies_per_class.items()
        }
        put(self, "copies_per_class", per_class)
        if self.copies_weight is not None:
            weight = real(self.copies_weight, "copies_weight", low=0.0, high=_MOST_WEIGHT)
            put(self, "copies_weight", weight)
        put(self, "max_copies", integer(self.max_copies, "max_copies", low=1, high=MOST_COPIES))
        if self.edges not in ("mirror", "fill"):
            raise invalid("edges", f"edges is {self.edges!r}; allowed: 'mirror', 'fill'")
        if len(self.fill) != 3:
            raise invalid("fill", f"fill is {self.fill!r}; needed are 3 integers from 0 to 255")
        put(self, "fill", tuple(integer(level, "fill", low=0, high=255) for level in self.fill))

    @classmethod
    def of(cls, *options: str, copies_per_image: int | None = None) -> Self:
        """Return a plan of options by name, each with its default ranges.

        Parameters
        ----------
        *options : str
            Some of crop, rotation, blur, exposure, noise, flip.
        copies_per_image : int, optional
            Copies of an image; without it, options multiply.
        """
        for name in options:
            if name not in cls._KINDS:
                message = f"there is no option {name!r}; there are {', '.join(OPTIONS)}"
                raise invalid("augmentation", message)
        chosen = {name: cls._KINDS[name]() for name in options}
        return cls(**chosen, copies_per_image=copies_per_image)

    @classmethod
    def createml(cls, *options: str) -> Self:
        """Return Create ML's plan for these options; all six if none is named."""
        return cls.of(*(options or OPTIONS))

    @classmethod
    def light(cls, copies_per_image: int = 4) -> Self:
        """Return crops that keep most of the photo, flips left to right, and small exposures."""
        return cls(
            crop=Crop(area=(0.7, 1.0), aspect=(0.9, 1.1)),
            exposure=Exposure(stops=(-0.5, 0.5), probability=0.5),
            flip=Flip(vertical=False, both=False, probability=0.5),
            copies_per_image=copies_per_image,
        )

    @classmethod
    def photos(cls, copies_per_image: int = 8) -> Self:
        """Return a plan for photos of things that stand upright: no vertical flips.

        Nor blur and noise: a backbone that is not retrained takes them for another texture, and
        where the photos to come are sharp, copies without them taught more.
        """
        return cls(
            crop=Crop(),
            rotation=Rotation(probability=0.5),
            exposure=Exposure(stops=(-0.5, 0.5), probability=0.5),
            flip=Flip(vertical=False, both=False, probability=0.5),
            copies_per_image=copies_per_image,
        )

    @classmethod
    def scans(cls, copies_per_image: int = 8) -> Self:
        """Return a plan for documents, text and microscope slides under glass: no flips.

        Small angles, shown on white beyond the page, mild blur and noise.
        """
        return cls(
            crop=Crop(area=(0.85, 1.0), aspect=(0.95, 1.05)),
            rotation=Rotation(degrees=(-3.0, 3.0)),
            blur=Blur(sigma_px=(0.2, 0.8), probability=0.3),
            exposure=Exposure(stops=(-0.3, 0.3), probability=0.5),
            noise=Noise(sigma=(1.0, 5.0), probability=0.3),
            copies_per_image=copies_per_image,
            edges="fill",
        )

    @classmethod
    def resolve(cls, spec: object, copies_per_image: int | None = None) -> Augmentation:
        """Return the plan that `ModelParameters.augmentation` stands for.

        Parameters
        ----------
        spec : Augmentation, str or collection of str
            A plan, the name of a ready one (light, photos, scans, createml), or options by name.
        copies_per_image : int, optional
            This many copies instead of the plan's own number.
        """
        checked = checked_augmentation(spec)
        if isinstance(checked, str):
            plan: Augmentation = getattr(cls, checked)()
        elif isinstance(checked, tuple):
            plan = cls.of(*checked)
        elif isinstance(checked, Augmentation):
            plan = checked
        else:
            raise invalid("augmentation", f"augmentation is {spec!r}; allowed: an Augmentation")
        if copies_per_image is None:
            return plan
        return dataclasses.replace(plan, copies_per_image=copies_per_image)

    def describe(self) -> str:
        """Return in a few words what may be done; `to_dict` tells it in full."""
        kinds = ("horizontal", "vertical", "both")
        units = {"rotation": "°", "blur": " px", "exposure": " stops"}
        parts = []
        for name in self.order:
            option = getattr(self, name)
            if option is None:
                continue
            if isinstance(option, Flip):
                amount = "/".join(kind for kind in kinds if getattr(option, kind))
            else:
                low, high = getattr(option, dataclasses.fields(option)[0].name)
                amount = f"{low:g} to {high:g}{units.get(name, '')}"
            chance = "" if option.probability == 1 else f" in {option.probability:.0%}"
            parts.append(f"{name} {amount}{chance}")
        return ", ".join(parts) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        values = dataclasses.asdict(self)
        options = {name: values[name] and _plain(values[name]) for name in self._KINDS}
        return _plain(values) | options | {"copies_per_class": dict(self.copies_per_class)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned.

        Raises
        ------
        InvalidOption
            If a value is not allowed.
        TypeError
            If a name is unknown.
        """
        made = dict(values)
        for name, kind in cls._KINDS.items():
            if made.get(name) is not None:
                made[name] = kind(**made[name])
        return cls(**made)

    @property
    def n_variants(self) -> int:
        """Copies of an image whose class `copies_per_class` does not name."""
        return self.core_plan().n_variants

    def variant_count(self, label: str) -> int:
        """Return the number of copies of an image of class `label`."""
        return self.copies_per_class.get(label, self.n_variants)

    def total_images(self, counts: Mapping[str, int]) -> int:
        """Return originals and copies together, for so many images a class."""
        return sum(n * (1 + self.variant_count(label)) for label, n in counts.items())

    def balanced(self, counts: Mapping[str, int]) -> Self:
        """Return the plan with more copies for smaller classes.

        The largest class keeps its number of copies; the others get as many as bring them to about
        the same number of images, originals included, up to 1000 a photo.

        Parameters
        ----------
        counts : mapping of str to int
            Images of each class.
        """
        most = max(counts.values(), default=0)
        total = most * (1 + self.n_variants)
        copies = {
            label: max(0, min(MOST_COPIES, round(total / n) - 1))
            for label, n in counts.items()
            if 0 < n < most
        }
        return dataclasses.replace(self, copies_per_class=copies)

    def sample(self, key: int | bytes, seed: int, index: int, *, label: str = "") -> Variant:
        """Return variant `index` of one image.

        Parameters
        ----------
        key : int or bytes
            What tells the image apart: the content of its file, or `content_key` of that.
        seed : int
            0 to 2**64 - 1.
        index : int
            0 and up; -1 is the untouched original.
        label : str
            The image's class, for `copies_per_class`.
        """
        plan = self.core_plan(label)
        drawn = plan.sample(_seed(seed), _key(key), integer(index, "index", low=ORIGINAL))
        return self._variant(drawn)

    def variants(self, key: int | bytes, seed: int, *, label: str = "") -> tuple[Variant, ...]:
        """Return what is done to each copy of one image; parameters as for `sample`."""
        plan, content, seed = self.core_plan(label), _key(key), _seed(seed)
        return tuple(
            self._variant(plan.sample(seed, content, index)) for index in range(plan.n_variants)
        )

    def preview(
        self,
        image: ImageInput,
        *,
        seed: int = 0,
        n_copies: int | None = None,
        side: int = 224,
        crop: CropPolicy = CropPolicy.CENTER_CROP,
        label: str = "",
    ) -> ContactSheet:
        """Return a contact sheet of an image and its copies; see `contact_sheet`."""
        from eyespot.augmentation.sheet import contact_sheet

        return contact_sheet(
            image, self, seed=seed, n_copies=n_copies, side=side, crop=crop, label=label
        )

    def _variant(self, drawn: _core.Variant) -> Variant:
        return Variant(
            crop=drawn.crop,
            rotation_deg=drawn.rotation_deg,
            blur_sigma_px=drawn.blur_sigma_px,
            exposure_stops=drawn.exposure_stops,
            noise_sigma=drawn.noise_sigma,
            noise_seed=drawn.noise_seed,
            flip_horizontal=drawn.flip_horizontal,
            flip_vertical=drawn.flip_vertical,
            order=self.order,
            edges=self.edges,
            fill=self.fill,
        )

    def core_plan(self, label: str = "") -> _core.AugmentPlan:
        """Return what the native core needs, for images of class `label`."""
        if label in self.copies_per_class:
            return self._core_plan(self.copies_per_class[label])
        if not hasattr(self, "_native"):
            object.__setattr__(self, "_native", self._core_plan(self.copies_per_image))
        return cast("_core.AugmentPlan", self._native)

    def _core_plan(self, copies: int | None) -> _core.AugmentPlan:
        def amount(option: Any, name: str) -> tuple[tuple[float, float], float, int] | None:
            if option is None:
                return None
            return getattr(option, name), option.probability, option.copies

        crop, flip = self.crop, self.flip
        return _core.AugmentPlan(
            crop=None if crop is None else (crop.area, crop.aspect, crop.probability, crop.copies),
            rotation=amount(self.rotation, "degrees"),
            blur=amount(self.blur, "sigma_px"),
            exposure=amount(self.exposure, "stops"),
            noise=amount(self.noise, "sigma"),
            flip=None
            if flip is None
            else (flip.horizontal, flip.vertical, flip.both, flip.probability, flip.copies),
            order=list(self.order),
            copies=copies,
            max_copies=self.max_copies,
            edges=self.edges,
            fill=self.fill,
        )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def augment(
    images: NDArray[np.uint8],
    plan: Augmentation,
    seed: int,
    *,
    width: int | None = None,
    height: int | None = None,
    policy: CropPolicy = CropPolicy.CENTER_CROP,
    keep_original: bool = False,
    keys: Sequence[int] | None = None,
    n_threads: int = 0,
    pool: _core.ThreadPool | None = None,
) -> NDArray[np.uint8]:
    """Return variants of images in memory.

    Parameters
    ----------
    images : uint8 ndarray of shape (height, width, 3) or (n, height, width, 3)
        Upright RGB pixels.
    plan : Augmentation
        What may be done. The copies are `Augmentation.n_variants`.
    seed : int
        0 to 2**64 - 1. The same seed, plan and pixels give the same bytes.
    width, height : int, optional
        Size of the variants, 1 to 16384; that of the images unless told.
    policy : CropPolicy
        How a photo's shape is brought to another one.
    keep_original : bool
        Puts the image itself, only resized, before its variants.
    keys : sequence of int, optional
        What tells each image apart, 0 to 2**64 - 1 each. By default its pixels do, so equal images
        get equal variants.
    n_threads : int
        Threads, 0 (as many as the process may use) to 1024. Not together with `pool`.
    pool : ThreadPool, optional
        Threads to share.

    Returns
    -------
    uint8 ndarray of shape (n_variants, height, width, 3) or (n, n_variants, height, width, 3)
        Variants along an axis of their own, by ascending index; with `keep_original`, one more.

    Raises
    ------
    InvalidOption
        If a parameter is not as told here.
    """
    pixels = _pixels(images)
    if not isinstance(cast("object", plan), Augmentation):
        raise invalid("plan", f"plan is a {type(plan).__name__}; needed is an Augmentation")
    if pool is not None and n_threads != 0:
        raise invalid("n_threads", "n_threads is given together with pool; give one of them")
    n_threads = integer(n_threads, "n_threads", low=0, high=_MOST_THREADS)
    batch = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    core_plan = plan.core_plan()
    indices = list(range(ORIGINAL if keep_original else 0, core_plan.n_variants))
    width = _side(width, "width", batch.shape[2])
    height = _side(height, "height", batch.shape[1])
    n_pixels = len(batch) * len(indices) * width * height
    if pool is None and n_threads != 1 and n_pixels > _FEW_PIXELS:
        pool = _core.ThreadPool(n_threads)
    made = _core.augment(
        batch,
        core_plan,
        seed=_seed(seed),
        indices=indices,
        width=width,
        height=height,
        policy=str(one_of(CropPolicy, policy, "policy")),
        keys=None if keys is None else [_key(key) for key in keys],
        pool=pool,
    )
    return made if pixels.ndim == 4 else made[0]


def _pixels(images: object) -> NDArray[np.uint8]:
    found = type(images).__name__
    if isinstance(images, np.ndarray):
        shape = images.shape
        if images.dtype == np.uint8 and images.ndim in (3, 4) and shape[-1] == 3 and 0 not in shape:
            return np.ascontiguousarray(images)
        found = f"a {images.dtype} array of shape {shape}"
    message = f"images is {found}; allowed: uint8 (height, width, 3) or (n, height, width, 3)"
    raise invalid("images", message)


def _side(value: int | None, name: str, default: int) -> int:
    return integer(default if value is None else value, name, low=1, high=_MAX_SIDE)


def _seed(seed: int) -> int:
    return integer(seed, "seed", low=0, high=_MOST_SEED)


def _key(key: int | bytes) -> int:
    if isinstance(key, (bytes, bytearray, memoryview)):
        return _core.content_key(key)
    return integer(key, "key", low=0, high=_MOST_SEED)
