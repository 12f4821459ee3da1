"""The proof that an exported file answers as the trained model does, in numbers.

A proof is made when a file is exported, by running images through both, and travels in the file's
metadata. It holds the trained model's own answers on a few made images, and on the photos it was
made with, under the hash of each, so that it can be repeated where the trained model is not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import platform
from dataclasses import dataclass, field
from importlib import metadata as packages
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

import numpy as np

from eyespot.errors import DataError, ImageError, ModelError
from eyespot.export.forms import METADATA_PROOF
from eyespot.export.pixels import INPUT_NAME, InputForm
from eyespot.inference import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from eyespot.export.samples import Sample, Samples
    from eyespot.options import Preprocessing

__all__ = [
    "Answerer",
    "Comparison",
    "ParityProof",
    "StoredAnswers",
    "Tolerance",
    "compare",
    "onnx_answerer",
    "sha256",
    "tolerance_of",
    "versions",
]

#: Gives the probabilities, float32 of shape (n_classes,), of one image.
Answerer: TypeAlias = "Callable[[Sample], NDArray[np.float32]]"

_SCHEMA: Final = 1
_MAX_STORED: Final = 12_288  # probabilities that a proof keeps for each kind of image: 64 KB
_OTHER_MACHINE: Final = 1e-4  # by which float32 arithmetic may differ between processors
_OTHER_LEVELS: Final = 5e-2  # by which it may where its sums are rounded to the levels of 8 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an export may be from the trained model.

    Attributes
    ----------
    max_difference : float
        Of any probability; 1 means any.
    agreement : float
        Least share of images whose most probable label is the same, 0 to 1.
    tie : float
        A label that the trained model itself rates this close to its best counts as the same.
    """

    max_difference: float
    agreement: float
    tie: float


# The same operators in the same order: what is left is the optimiser's re-ordering.
EXACT: Final = Tolerance(max_difference=1e-5, agreement=1.0, tie=2e-5)
# Crop and resize in floating point: single levels of the input round the other way.
RESIZED: Final = Tolerance(max_difference=2e-2, agreement=0.99, tie=1e-2)
# Eight bits: probabilities move, labels should not; the cost is measured and told.
QUANTISED: Final = Tolerance(max_difference=1.0, agreement=0.9, tie=5e-2)
# Half precision, ten bits of mantissa.
HALF: Final = Tolerance(max_difference=1e-1, agreement=0.95, tie=2e-2)
# Another program's float32, such as Core ML's.
TRANSLATED: Final = Tolerance(max_difference=1e-3, agreement=1.0, tie=2e-3)
# The same where the trained model computes with eight bits. Its own runtime sums whole numbers,
# others sum floats: an activation at the edge between two levels can come out as the other one,
# and the layers behind round what that changes. Most images show nothing of it (the median is below
# 2e-7), single ones do: 8e-3 is the most that 200 photos of four sets gave with eyespot-v2 in int8.
TRANSLATED_LEVELS: Final = Tolerance(max_difference=5e-2, agreement=0.98, tie=2e-2)
# With levels of the input that round the other way, as in RESIZED, most images show it: a median of
# up to 9e-3, and 6e-2 at most, as half precision does.
RESIZED_LEVELS: Final = Tolerance(max_difference=1e-1, agreement=0.95, tie=2e-2)


def tolerance_of(
    *,
    form: InputForm,
    quantize: str | None = None,
    translated: str | None = None,
    eight_bits: bool = False,
) -> Tolerance:
    """Return what is asked of an export.

    Parameters
    ----------
    form : InputForm
        What the caller puts in.
    quantize : str, optional
        ``"int8"`` if the export was quantised and the trained model was not.
    translated : {"float16", "float32"}, optional
        The precision of a translation to another format.
    eight_bits : bool
        Whether the trained model itself computes with eight bits.
    """
    if quantize == "int8":
        return QUANTISED
    if translated == "float16":
        return HALF
    if translated is not None:
        return TRANSLATED_LEVELS if eight_bits else TRANSLATED
    if form == InputForm.RESIZE:
        return RESIZED_LEVELS if eight_bits else RESIZED
    return EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models' answers on the same images.

    Attributes
    ----------
    images : {"photos", "synthetic"}
        What they were asked about.
    n_images : int
        Images that both answered.
    max_difference : float
        Largest absolute difference of any probability; 1 if one is not finite.
    top1_agreement : float
        Share of images whose most probable label is the same, 0 to 1.
    near_ties : int
        Images whose label differs, but which the first model finds as good as a tie.
    passed : bool
        Whether it is within the tolerance.
    reference : float32 ndarray of shape (n_images, n_classes)
        The first model's answers.
    keys : tuple of str
        What the images are recognised by.
    errors : tuple of ImageError
        Images that could not be read.
    """

    images: Literal["photos", "synthetic"]
    n_images: int
    max_difference: float
    top1_agreement: float
    near_ties: int
    passed: bool
    reference: NDArray[np.float32] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    errors: tuple[ImageError, ...] = ()

    def __str__(self) -> str:
        """Return one line for people."""
        return _in_words(self)


def compare(
    reference: Answerer | Mapping[str, NDArray[np.float32]],
    exported: Answerer,
    samples: Samples,
    tolerance: Tolerance,
    *,
    whole: bool = False,
    step: Callable[[], None] | None = None,
) -> Comparison:
    """Run images through two models and compare the probabilities.

    Parameters
    ----------
    reference : callable or mapping
        The trained model; or its answers, by the key of the image: others are then left out.
    exported : callable
        The exported model.
    samples : Samples
        The images.
    tolerance : Tolerance
        How far the second may be from the first.
    whole : bool
        Whether the exported model needs the whole photo, not the model's input.
    step : callable, optional
        Called after each image; what it raises ends the comparison.

    Raises
    ------
    DataError
        If there is no image that both can answer.
    """
    rows: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    keys, errors = [], []
    for sample in samples.read(whole=whole):
        if step is not None:
            step()
        if isinstance(sample, ImageError):
            errors.append(sample)
            continue
        if callable(reference):
            expected = reference(sample)
        elif sample.key in reference:
            expected = reference[sample.key]
        else:
            continue
        rows.append((expected, exported(sample)))
        keys.append(sample.key)
    if not rows:
        message = f"none of the {len(samples):,} photos can be compared"
        if errors:
            message = f"none of the {len(samples):,} photos could be read: {errors[0]}"
        raise DataError(message, source="photos", code="no_usable_images")
    expected, found = (np.stack([row[side] for row in rows]) for side in (0, 1))
    return _compared(samples.kind, expected, found, tolerance, tuple(keys), tuple(errors))


def _compared(
    images: Literal["photos", "synthetic"],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    tolerance: Tolerance,
    keys: tuple[str, ...],
    errors: tuple[ImageError, ...],
) -> Comparison:
    finite = bool(np.isfinite(found).all())
    difference = float(np.abs(found.astype(np.float64) - expected).max()) if finite else 1.0
    at = np.arange(len(found))
    chosen = found.argmax(axis=1)
    same = chosen == expected.argmax(axis=1)
    close = expected.max(axis=1) - expected[at, chosen] <= tolerance.tie
    agreed = float((same | close).mean())
    return Comparison(
        images=images,
        n_images=len(found),
        max_difference=difference,
        top1_agreement=float(same.mean()),
        near_ties=int((close & ~same).sum()),
        passed=finite and difference <= tolerance.max_difference and agreed >= tolerance.agreement,
        reference=expected,
        keys=keys,
        errors=errors,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswers:
    """The trained model's answers that a proof keeps, to be repeated without that model.

    Attributes
    ----------
    rows : float32 ndarray of shape (n_images, n_classes)
        Probabilities.
    keys : tuple of str
        What the images are recognised by; empty texts for made ones, which are told by their order.
    max_difference : float
        Between these and the exported file's own, when the proof was made.
    """

    rows: NDArray[np.float32]
    keys: tuple[str, ...]
    max_difference: float

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """Keep as many answers of a comparison as there is room for."""
        most = max(1, _MAX_STORED // comparison.reference.shape[1])
        return cls(
            rows=comparison.reference[:most],
            keys=comparison.keys[:most],
            max_difference=comparison.max_difference,
        )

    def tolerance(self, *, levels: bool) -> Tolerance:
        """Return what a repetition must keep: what was measured, and what another processor adds.

        Parameters
        ----------
        levels : bool
            Whether the exported file rounds sums of floats to levels of eight bits.
        """
        allowed = self.max_difference * 1.5 + (_OTHER_LEVELS if levels else _OTHER_MACHINE)
        return Tolerance(max_difference=min(1.0, allowed), agreement=0.0, tie=0.0)

    def by_key(self) -> dict[str, NDArray[np.float32]]:
        """Return the rows by the key of their images, those without one left out."""
        return {key: row for key, row in zip(self.keys, self.rows, strict=True) if key}

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        data = self.rows.astype("<f4").tobytes()
        return {
            "n_images": len(self.rows),
            "keys": list(self.keys) if any(self.keys) else None,
            "max_difference": self.max_difference,
            "probabilities": base64.b64encode(data).decode(),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_plain` returned."""
        data = base64.b64decode(plain["probabilities"], validate=True)
        rows = np.frombuffer(data, "<f4").reshape(plain["n_images"], -1).astype(np.float32)
        keys = tuple(plain["keys"] or [""] * len(rows))
        return cls(rows=rows, keys=keys, max_difference=float(plain["max_difference"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityProof:
    """What was found when an export was compared with the trained model.

    Attributes
    ----------
    images : {"photos", "synthetic"}
        What it was compared on.
    n_images : int
        How many images.
    max_difference : float
        Largest absolute difference of any probability.
    top1_agreement : float
        Share of images with the same most probable label, 0 to 1.
    near_ties : int
        Images whose label differs though the trained model finds both labels as good as equal.
    passed : bool
        Whether the export is within the tolerance.
    tolerance : Tolerance
        How far it may be.
    model_sha256 : str
        Of the trained model's file.
    exported_sha256 : str
        Of the exported file as it is without this proof.
    versions : mapping of str to str
        Of the programs that were at work.
    how : str
        How the exported file was run, in words.
    accuracy : mapping of str to float, optional
        Of the ``"model"`` and the ``"exported"`` file on labelled photos, and their number
        (``"n_images"``), where that was measured.
    synthetic, photos : StoredAnswers, optional
        The trained model's answers on made images, and on the photos that are files.
    """

    images: Literal["photos", "synthetic"]
    n_images: int
    max_difference: float
    top1_agreement: float
    near_ties: int
    passed: bool
    tolerance: Tolerance
    model_sha256: str
    exported_sha256: str
    versions: Mapping[str, str]
    how: str
    accuracy: Mapping[str, float] | None = None
    synthetic: StoredAnswers | None = field(default=None, repr=False)
    photos: StoredAnswers | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return one line for people."""
        return _in_words(self)

    def to_plain(self, *, answers: bool = True) -> dict[str, Any]:
        """Return it as plain values for JSON; without `answers`, what people want to see."""
        plain: dict[str, Any] = {
            "schema": _SCHEMA,
            "images": self.images,
            "n_images": self.n_images,
            "max_difference": self.max_difference,
            "top1_agreement": self.top1_agreement,
            "near_ties": self.near_ties,
            "passed": self.passed,
            "tolerance": {
                "max_difference": self.tolerance.max_difference,
                "agreement": self.tolerance.agreement,
                "tie": self.tolerance.tie,
            },
            "model_sha256": self.model_sha256,
            "exported_sha256": self.exported_sha256,
            "versions": dict(self.versions),
            "how": self.how,
            "accuracy": dict(self.accuracy) if self.accuracy else None,
        }
        if answers:
            for name, stored in (("synthetic", self.synthetic), ("photos", self.photos)):
                plain[f"{name}_answers"] = None if stored is None else stored.to_plain()
        return plain

    def to_json(self) -> str:
        """Return it as the metadata entry of an exported file."""
        return json.dumps(self.to_plain(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If it is something else, or of a later form.
        """
        try:
            plain = json.loads(text)
            if plain["schema"] != _SCHEMA:
                message = f"{source}: its proof is of a newer form; upgrade eyespot"
                raise ModelError(message, source=source, code="unsupported_model")
            names = cls.__dataclass_fields__.keys() - {"tolerance", "synthetic", "photos"}
            values: dict[str, Any] = {name: plain[name] for name in names}
            for name in ("synthetic", "photos"):
                entry = plain[f"{name}_answers"]
                values[name] = None if entry is None else StoredAnswers.from_plain(entry)
            return cls(**values, tolerance=Tolerance(**plain["tolerance"]))
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            message = f"{source}: its proof ({METADATA_PROOF}) cannot be read: {error!r}"
            raise ModelError(message, source=source, code="corrupt_model") from error


def _in_words(found: Comparison | ParityProof) -> str:
    kind = "photos" if found.images == "photos" else "made images"
    ties = f" ({found.near_ties} near ties)" if found.near_ties else ""
    return (
        f"{'passed' if found.passed else 'FAILED'} on {found.n_images:,} {kind}: largest "
        f"difference of a probability {found.max_difference:.2g}, "
        f"same label on {100 * found.top1_agreement:.4g} %{ties}"
    )


def sha256(*parts: bytes) -> str:
    """Return the SHA-256 of the parts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def versions(*also: str) -> dict[str, str]:
    """Return the versions of the programs that a proof rests on, and of packages `also`."""
    from eyespot import _core

    found = {"eyespot": _core.__version__, "simd": _core.simd_target()}
    found |= {name: packages.version(name) for name in ("numpy", "onnx", "onnxruntime", *also)}
    return found | {"python": platform.python_version(), "machine": platform.machine()}


def onnx_answerer(
    model: bytes,
    form: InputForm,
    spec: Preprocessing,
    *,
    source: str,
    logits: Literal["softmax", "sigmoid"] | None = None,
) -> Answerer:
    """Return a function that runs an ONNX export as another program would: ONNX Runtime alone.

    Parameters
    ----------
    model : bytes
        The exported model.
    form : InputForm
        What it takes.
    spec : Preprocessing
        What its backbone takes, for the form ``PIXEL_VALUES``.
    source : str
        What to call it in messages.
    logits : {"softmax", "sigmoid"}, optional
        What its output is still to be put through.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the model.
    """
    session = open_session(model, source=source)
    (entry,) = session.get_inputs()
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    output = session.get_outputs()[0].name

    def answer(sample: Sample) -> NDArray[np.float32]:
        fed: NDArray[Any] = sample.image[None] if form == InputForm.RESIZE else sample.pixels
        if form in (InputForm.FLOAT_NCHW, InputForm.PIXEL_VALUES):
            fed = fed.transpose(0, 3, 1, 2).astype(np.float32)
        if form == InputForm.PIXEL_VALUES and spec.dtype != "uint8":
            fed = _image_processor(fed, spec)
        fed = np.ascontiguousarray(np.repeat(fed, batch, axis=0))
        try:
            (rows,) = session.run([output], {entry.name: fed})
        except Exception as error:
            text = str(error).strip().splitlines()
            message = f"{source}: the exported model failed: {text[0] if text else error!r}"
            raise ModelError(message, source=source, code="run_time") from error
        row = np.asarray(rows)[0]
        if logits == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-row.astype(np.float64))), np.float32)
        if logits == "softmax":
            return _softmax(row)
        return np.asarray(row, np.float32)

    assert entry.name in (INPUT_NAME, "pixel_values")
    return answer


def _image_processor(levels: NDArray[np.float32], spec: Preprocessing) -> NDArray[np.float32]:
    """Do what Hugging Face's image processors do to planes of RGB levels."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in rgb_statistics(spec))
    values: NDArray[np.float32] = (levels * np.float32(spec.scale) - mean) / std
    return values


def rgb_statistics(spec: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the channels in the order red, green, blue."""
    if spec.color == "bgr":
        return tuple(reversed(spec.mean)), tuple(reversed(spec.std))
    return spec.mean, spec.std


def _softmax(row: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    powers = np.exp(row.astype(np.float64) - row.max())
    return np.asarray(powers / powers.sum(), np.float32)
