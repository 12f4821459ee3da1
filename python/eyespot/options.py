"""What the caller may choose, as frozen values that refuse what they do not understand."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import numbers
import operator
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, cast

from eyespot.errors import InvalidOption

if TYPE_CHECKING:
    from eyespot import _core

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CropPolicy",
    "ModelParameters",
    "Preprocessing",
    "Resample",
    "SplitStrategy",
]

#: Mean and standard deviation of ImageNet's training pixels in [0, 1], RGB; the usual choice.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Create ML's options of augmentation, in Create ML's order, and eyespot's ready plans.
AUGMENTATION_OPTIONS = ("crop", "rotation", "blur", "exposure", "noise", "flip")
AUGMENTATION_PRESETS = ("light", "photos", "scans", "createml")

_MAX_SIDE = 16384
_JSON_KEYS = ("size", "layout", "dtype", "color", "scale", "mean", "std", "resample", "crop")
_EnumT = TypeVar("_EnumT", bound=StrEnum)

# Create ML's automatic split: no validation below the first, 10 % below the second, then 5 %.
_WIDEST_LAYER = 65536
_AUTOMATIC_FROM = 50
_AUTOMATIC_LARGE = 200
_AUTOMATIC_MOST = 10_000


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
    if isinstance(value, enum):
        return value
    _choice(value, tuple(str(member) for member in enum), name)
    return enum(cast("str", value))


def _choice(value: object, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        names = ", ".join(map(repr, allowed))
        message = f"{name} is {value!r}; allowed: {names}{_did_you_mean(value, allowed)}"
        raise InvalidOption(message, source=name, code="invalid_argument")


def _did_you_mean(value: object, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(value).lower().replace("-", "_"), list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _check_names(kind: type[Preprocessing | ModelParameters], names: Iterable[str]) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in names:
        if name not in known:
            hint = _did_you_mean(name, known)
            message = f"{kind.__name__} has no {name!r}; it has {', '.join(known)}{hint}"
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
            side = integer(getattr(self, name), name, low=1, high=_MAX_SIDE)
            object.__setattr__(self, name, side)
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
        _check_names(type(self), changes)
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

    def describe(self) -> str:
        """Return in words what happens between an image file and the network.

        This is the whole definition: training, prediction and every export follow it.
        """
        size = f"{self.width} x {self.height} px"
        crops = {
            CropPolicy.CENTER_CROP: "the largest centred rectangle of the input's shape is kept",
            CropPolicy.FIT: "the whole photo is kept, centred on white where it leaves space",
            CropPolicy.STRETCH: "the whole photo is kept, each side scaled on its own",
        }
        filters = {
            Resample.BILINEAR: "a triangle (bilinear)",
            Resample.BICUBIC: "Catmull-Rom (bicubic, a = -0.5)",
        }
        resizing = f"antialiased by {filters[self.resample]}, to whole levels 0 to 255"
        steps = [
            "decoded to 8-bit RGB, upright (EXIF orientation applied), transparent parts on white",
            f"{crops[self.crop]} and resized to {size} in the same step, {resizing}",
        ]
        if self.dtype != "uint8":
            values = f"(level * {self.scale:.9g} - mean) / std"
            steps.append(
                f"each level becomes {values}, mean {list(self.mean)}, std {list(self.std)}, "
                f"channels in {self.color.upper()} order, {self.layout.upper()}, {self.dtype}"
            )
        else:
            steps.append(f"channels in {self.color.upper()} order, {self.layout.upper()}, uint8")
        return "; ".join(steps)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitStrategy:
    """How a validation set is held out of the training data.

    Make one with `automatic` or `fixed`. The split that a strategy makes is stratified by class,
    keeps groups whole, and follows from the seed, the groups and the contents of the files alone;
    see `DataSource.split`.

    Attributes
    ----------
    ratio : float or None
        Share of the images to hold out, 0 to 1; ``None`` lets the number of images decide.
    seed : int
        Which split of that size, 0 to 2**64 - 1.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here.

    Notes
    -----
    The automatic sizes are Create ML's: none below 50 images, 10 % below 200, 5 % from there on,
    and 10,000 at most. Create ML's own split is random and not stratified; ours is.

    Examples
    --------
    >>> [SplitStrategy.automatic().validation_count(n) for n in (49, 120, 1000)]
    [0, 12, 50]
    >>> SplitStrategy.fixed(0.2, seed=7)
    SplitStrategy(ratio=0.2, seed=7)
    """

    ratio: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.ratio is not None:
            put(self, "ratio", real(self.ratio, "ratio", low=0.0, high=1.0))
        put(self, "seed", integer(self.seed, "seed", low=0, high=2**64 - 1))

    @classmethod
    def automatic(cls, seed: int = 0) -> Self:
        """Hold out as many images as Create ML would."""
        return cls(ratio=None, seed=seed)

    @classmethod
    def fixed(cls, ratio: float, seed: int = 0) -> Self:
        """Hold out the share `ratio` of the images, 0 to 1."""
        return cls(ratio=real(ratio, "ratio", low=0.0, high=1.0), seed=seed)

    def validation_count(self, n_images: int) -> int:
        """Return how many of `n_images` to hold out; halves are rounded up."""
        if self.ratio is not None:
            return math.floor(n_images * self.ratio + 0.5)
        if n_images < _AUTOMATIC_FROM:
            return 0
        percent = 10 if n_images < _AUTOMATIC_LARGE else 5
        return min((n_images * percent + 50) // 100, _AUTOMATIC_MOST)


class ClassifierKind(StrEnum):
    """What learns the labels from the embeddings, by Create ML's names."""

    LOGISTIC_REGRESSOR = "logistic_regressor"
    MULTILAYER_PERCEPTRON = "multilayer_perceptron"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """What learns the labels from the embeddings.

    Make one with `logistic_regressor` or `multilayer_perceptron`.

    Attributes
    ----------
    kind : ClassifierKind
        Create ML's ``ClassifierType``.
    layer_sizes : tuple of int
        Widths of the hidden layers of a multilayer perceptron, the one next to the embeddings
        first; empty for a logistic regressor.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here.

    Examples
    --------
    >>> Classifier.multilayer_perceptron(layer_sizes=(128, 64)).layer_sizes
    (128, 64)
    """

    kind: ClassifierKind = ClassifierKind.LOGISTIC_REGRESSOR
    layer_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "kind", one_of(ClassifierKind, self.kind, "kind"))
        given = cast("object", self.layer_sizes)
        if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
            message = f"layer_sizes is {given!r}; allowed: a list of integers, such as (128, 64)"
            raise InvalidOption(message, source="layer_sizes", code="invalid_argument")
        sizes = tuple(
            integer(size, f"layer_sizes[{i}]", low=1, high=_WIDEST_LAYER)
            for i, size in enumerate(given)
        )
        if bool(sizes) is not (self.kind is ClassifierKind.MULTILAYER_PERCEPTRON):
            message = (
                f"layer_sizes is {sizes}; a multilayer perceptron needs at least one hidden layer, "
                "and a logistic regressor has none"
            )
            raise InvalidOption(message, source="layer_sizes", code="invalid_argument")
        put(self, "layer_sizes", sizes)

    @classmethod
    def logistic_regressor(cls) -> Self:
        """Softmax regression: one linear layer, solved to its optimum."""
        return cls()

    @classmethod
    def multilayer_perceptron(cls, layer_sizes: Sequence[int] = (100,)) -> Self:
        """Fully connected layers of these widths, with ReLU between them; (100,) is Create ML's."""
        return cls(kind=ClassifierKind.MULTILAYER_PERCEPTRON, layer_sizes=tuple(layer_sizes))


class LabeledData(Protocol):
    """What a set of labelled images must offer here; `eyespot.DataSource` does."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""

    def __len__(self) -> int:
        """Return the number of images."""


class AugmentationPlan(Protocol):
    """What a plan of augmentation must offer here; `eyespot.Augmentation` does."""

    @property
    def n_variants(self) -> int:
        """Copies of an image."""


class Extractor(Protocol):
    """What a feature extractor must offer here; `eyespot.FeatureExtractor` does."""

    @property
    def n_features(self) -> int:
        """Length of the embedding of one image."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the network's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParameters:
    """How an image classifier is trained. The defaults suit most folders of photos.

    Attributes
    ----------
    validation : SplitStrategy, DataSource or None
        Where the validation images come from: held out of the training data, a source of their
        own, or nowhere. ``"automatic"`` and ``"none"`` are also understood. Create ML's default:
        the automatic split.
    classifier : Classifier
        What learns the labels from the embeddings; ``"logistic_regressor"`` and
        ``"multilayer_perceptron"`` are also understood.
    max_iterations : int
        Most steps of the solver, 1 or more. The default, 25, is Create ML's; training warns
        (`ConvergenceWarning`) when it was too few.
    tolerance : float
        How near to the minimum training has converged, as the head's fit defines it: a bound on
        the gradient of the mean loss; 0 or more.
    l2 : float or "auto"
        Strength of the L2 penalty beside the mean log-loss, 0 or more: the objective is
        ``mean log-loss + l2 / 2 * sum(weights**2)``, with the bias left out. ``"auto"`` lets the
        head choose by cross-validation on the training images; of a multilayer perceptron, whose
        penalty is on weights for standardised embeddings, it is 0.03. Turi Create's penalty ``p``
        on the summed loss of ``n`` images is ``l2 = 2 * p / n`` here.
    class_weights : None, "balanced", float or mapping of str to float
        Weight of each class in the loss. ``None`` gives every image the weight 1;
        ``"balanced"`` gives a class of n_c images ``n / (n_classes * n_c)``; a number from 0 up
        is the power of that, so that 0.5 goes half of the way; a mapping gives each label its own
        finite weight above 0, and 1 to labels that it leaves out. The loss is a weighted mean, so
        `l2` keeps its meaning. With several labels an image, see `MultiLabelImageClassifier`.
    calibration : bool
        Whether to divide the logits by a temperature that makes the probabilities mean what they
        say, found on predictions of training images by models that were fitted without them. It
        never changes which label comes first.
    feature_extractor : FeatureExtractor or None
        The network that turns an image into numbers; ``None`` is the embedded one, which needs
        no download.
    crop : CropPolicy or None
        How a photo of any shape is brought to the network's input; ``None`` keeps the feature
        extractor's own way.
    on_error : {"skip", "raise"}
        What an unreadable image does: it is left out and listed, or it ends the training.
    n_threads : int
        Threads to work with; 0 means as many as the process may use. The model does not depend
        on it.
    seed : int
        Seed of whatever else is random in training, 0 to 2**64 - 1. The split has its own.
    augmentation : None, Augmentation, str or collection of str
        What augmented copies of the training images to train on, beside the images themselves: an
        `eyespot.Augmentation`, the name of one (``"light"``, ``"photos"``, ``"scans"``,
        ``"createml"``), or Create ML's options by name, such as ``{"crop", "flip"}``, which
        multiply. Validation images are never augmented.

    Raises
    ------
    InvalidOption
        If a value is outside what is listed here. The message names the allowed values.
    """

    validation: SplitStrategy | LabeledData | None = field(default_factory=SplitStrategy.automatic)
    classifier: Classifier = field(default_factory=Classifier.logistic_regressor)
    max_iterations: int = 25
    tolerance: float = 1e-4
    l2: float | Literal["auto"] = "auto"
    class_weights: Literal["balanced"] | float | Mapping[str, float] | None = None
    calibration: bool = True
    feature_extractor: Extractor | None = None
    crop: CropPolicy | None = None
    on_error: Literal["skip", "raise"] = "skip"
    n_threads: int = 0
    seed: int = 0
    augmentation: AugmentationPlan | Collection[str] | str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "validation", _validation(self.validation))
        put(self, "classifier", _classifier(self.classifier))
        put(self, "max_iterations", integer(self.max_iterations, "max_iterations", low=1))
        put(self, "tolerance", real(self.tolerance, "tolerance", low=0.0))
        if self.l2 != "auto":
            put(self, "l2", real(self.l2, "l2", low=0.0, word="auto"))
        put(self, "class_weights", _class_weights(self.class_weights))
        if not isinstance(cast("object", self.calibration), bool):
            message = f"calibration is {self.calibration!r}; allowed: True, False"
            raise InvalidOption(message, source="calibration", code="invalid_argument")
        if self.crop is not None:
            put(self, "crop", one_of(CropPolicy, self.crop, "crop"))
        _choice(self.on_error, ("skip", "raise"), "on_error")
        put(self, "n_threads", integer(self.n_threads, "n_threads", low=0))
        put(self, "seed", integer(self.seed, "seed", low=0, high=2**64 - 1))
        put(self, "augmentation", checked_augmentation(self.augmentation))
        extractor = self.feature_extractor
        if extractor is not None and not hasattr(extractor, "n_features"):
            found = repr(extractor) if isinstance(extractor, str) else type(extractor).__name__
            message = (
                f"feature_extractor is {found}; allowed: None (the embedded one) or a "
                "FeatureExtractor, such as FeatureExtractor.custom('model.onnx')"
            )
            raise InvalidOption(message, source="feature_extractor", code="invalid_argument")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the named attributes changed.

        Raises
        ------
        InvalidOption
            If a name is unknown or a value is not allowed.
        """
        _check_names(type(self), changes)
        return dataclasses.replace(self, **changes)


def _validation(value: object) -> SplitStrategy | LabeledData | None:
    if value is None or isinstance(value, SplitStrategy):
        return value
    if isinstance(value, str) and value in ("automatic", "none"):
        return SplitStrategy.automatic() if value == "automatic" else None
    if hasattr(value, "classes") and hasattr(value, "labeled_images"):
        return cast("LabeledData", value)
    found = type(value).__name__
    hint = "allowed: SplitStrategy.automatic(), SplitStrategy.fixed(ratio), a DataSource, or None"
    if isinstance(value, str):
        found = repr(value)
        hint += _did_you_mean(value, ("automatic", "none"))
    elif isinstance(value, (int, float)):
        found = repr(value)
        hint += f"; did you mean SplitStrategy.fixed({value!r})?"
    message = f"validation is {found}; {hint}"
    raise InvalidOption(message, source="validation", code="invalid_argument")


def _classifier(value: object) -> Classifier:
    if isinstance(value, Classifier):
        return value
    if isinstance(value, str):
        if one_of(ClassifierKind, value, "classifier") is ClassifierKind.LOGISTIC_REGRESSOR:
            return Classifier.logistic_regressor()
        return Classifier.multilayer_perceptron()
    message = (
        f"classifier is a {type(value).__name__}; allowed: Classifier.logistic_regressor(), "
        "Classifier.multilayer_perceptron(layer_sizes)"
    )
    raise InvalidOption(message, source="classifier", code="invalid_argument")


def checked_augmentation(value: object) -> AugmentationPlan | tuple[str, ...] | str | None:
    """Check names; `Augmentation.resolve` makes a plan of them."""
    if value is None or hasattr(value, "n_variants"):
        return cast("AugmentationPlan | None", value)
    name = "augmentation"
    if isinstance(value, str):
        if value in AUGMENTATION_OPTIONS:
            return (value,)
        _choice(value, (*AUGMENTATION_PRESETS, *AUGMENTATION_OPTIONS), name)
        return value
    if not isinstance(value, Collection) or not value:
        message = (
            f"{name} is {value!r}; allowed: None, an Augmentation, one of "
            f"{', '.join(map(repr, AUGMENTATION_PRESETS))}, or a set of options such as "
            "{'crop', 'flip'}"
        )
        raise InvalidOption(message, source=name, code="invalid_argument")
    for option in value:
        _choice(option, AUGMENTATION_OPTIONS, name)
    return tuple(option for option in AUGMENTATION_OPTIONS if option in value)


def _class_weights(value: object) -> Literal["balanced"] | float | Mapping[str, float] | None:
    name = "class_weights"
    if value is None:
        return None
    if isinstance(value, str) and value == "balanced":
        return "balanced"
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        return real(value, name, low=0.0)
    if not isinstance(value, Mapping):
        found = repr(value) if isinstance(value, str) else type(value).__name__
        message = (
            f"{name} is {found}; allowed: None, 'balanced', a power from 0 up, or a mapping of "
            "label to weight"
        )
        if isinstance(value, str):
            message += _did_you_mean(value, ("balanced",))
        raise InvalidOption(message, source=name, code="invalid_argument")
    weights: dict[str, float] = {}
    for label, weight in value.items():
        if not isinstance(label, str):
            message = f"{name} has the key {label!r}; labels are text"
            raise InvalidOption(message, source=name, code="invalid_argument")
        # DataSource writes labels in the same form, so that the two meet.
        weights[unicodedata.normalize("NFC", label).strip()] = real(
            weight, f"{name}[{label!r}]", above=0.0
        )
    return weights


def integer(value: object, name: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int within bounds; else `InvalidOption`, naming `name` and them."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low or (high is not None and number > high):
        span = f"from {low} to {high}" if high is not None else f"from {low} up"
        message = f"{name} is {value!r}; allowed: an integer {span}"
        raise InvalidOption(message, source=name, code="invalid_argument")
    return number


def real(
    value: object,
    name: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    word: str = "",
) -> float:
    """Return `value` as a finite float within bounds; else `InvalidOption`, naming them.

    `word` is what the caller takes beside numbers; the message names it.
    """
    number = math.nan
    if not isinstance(value, (str, bytes, bool)):
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (above is not None and number <= above)
        or (high is not None and number > high)
    ):
        if above is not None:
            span = f"a finite number above {above:g}"
        elif high is not None:
            span = f"a number from {low:g} to {high:g}"
        else:
            span = "a finite number" + ("" if low is None else f" from {low:g} up")
        if word:
            span += f", or {word!r}"
        if word and isinstance(value, str):
            span += _did_you_mean(value, (word,))
        message = f"{name} is {value!r}; allowed: {span}"
        raise InvalidOption(message, source=name, code="invalid_argument")
    return number
