"""Writing a trained model for other programs: choose the form, prove it, write it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from eyespot.data import DataSource
from eyespot.errors import Cancelled, ExportError, ImageError, InvalidOption
from eyespot.export.forms import (
    METADATA_EXPORT,
    METADATA_PROOF,
    QUANTIZED_BEFORE,
    backbone_preprocessing,
    reformed,
    serialized,
    sign,
)
from eyespot.export.onnx import METADATA_WORDS
from eyespot.export.parity import (
    Answerer,
    Comparison,
    ParityProof,
    StoredAnswers,
    Tolerance,
    compare,
    onnx_answerer,
    sha256,
    tolerance_of,
    versions,
)
from eyespot.export.pixels import InputForm
from eyespot.export.quantize import CALIBRATION_IMAGES, computes_with_eight_bits, quantized
from eyespot.export.samples import Samples, photos, spread, synthetic
from eyespot.files import write_atomically
from eyespot.images import image_list
from eyespot.model_metadata import METADATA_KEY, ModelMetadata
from eyespot.options import integer, one_of
from eyespot.progress import Phase, ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from eyespot.export.coreml import CoreMLRunner
    from eyespot.export.samples import Sample
    from eyespot.hashing import CancelSign
    from eyespot.images import ImageInput
    from eyespot.model_file import OpenModel
    from eyespot.progress import ProgressCallback

__all__ = [
    "Export",
    "ExportFormat",
    "ExportOptions",
    "InputForm",
    "Sidecar",
    "export_model",
    "format_of",
    "image_count",
    "metadata_of",
    "model_answerer",
    "photo_list",
]

_MAX_IMAGES: Final = 100_000
_STORED_SYNTHETIC: Final = 8  # made images whose answers travel with the file
_ACCURACY_IMAGES: Final = 500  # labelled photos that the cost of int8 is measured on, at most
_LEFT_AS_IT_IS: Final = (
    "int8: the backbone computes with eight bits already; the network was left as it is"
)


class ExportFormat(StrEnum):
    """What kind of file an export is, by the ending of its name."""

    ONNX = "onnx"
    MLPACKAGE = "mlpackage"
    MLMODEL = "mlmodel"


class Sidecar(StrEnum):
    """What can be written beside an ONNX export.

    ``LABELS`` is a text file with a label a line, ``HUGGINGFACE`` a folder in the layout of the
    Hugging Face hub, ``TRITON`` a model folder for NVIDIA's Triton server.
    """

    LABELS = "labels"
    HUGGINGFACE = "huggingface"
    TRITON = "triton"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export; see `ImageClassifier.export` for each."""

    input: InputForm = InputForm.UINT8_NHWC
    label_output: bool = False
    quantize: Literal["int8"] | None = None
    names: Literal["classic", "createml"] = "classic"
    head: Literal["softmax", "glm"] = "softmax"
    precision: Literal["float16", "float32"] | None = None
    minimum_deployment_target: str | None = None
    metadata: ModelMetadata | None = None
    photos: DataSource | Iterable[ImageInput] | None = None
    n_images: int | None = None
    sidecars: tuple[Sidecar, ...] = ()
    force: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "input", one_of(InputForm, self.input, "input"))
        if self.input == InputForm.PIXEL_VALUES:
            message = "input is 'pixel_values'; it comes with sidecars=['huggingface']"
            raise InvalidOption(message, source="input", code="invalid_argument")
        _choice(self.quantize, (None, "int8"), "quantize")
        _choice(self.names, ("classic", "createml"), "names")
        _choice(self.head, ("softmax", "glm"), "head")
        _choice(self.precision, (None, "float16", "float32"), "precision")
        if self.metadata is not None and not isinstance(
            cast("object", self.metadata), ModelMetadata
        ):
            message = f"metadata is a {type(self.metadata).__name__}; allowed: ModelMetadata"
            raise InvalidOption(message, source="metadata", code="invalid_argument")
        if self.n_images is not None:
            put(self, "n_images", integer(self.n_images, "n_images", low=1, high=_MAX_IMAGES))
        if isinstance(cast("object", self.sidecars), str):
            put(self, "sidecars", (self.sidecars,))
        chosen = tuple(dict.fromkeys(one_of(Sidecar, name, "sidecars") for name in self.sidecars))
        put(self, "sidecars", chosen)

    def check_for(self, kind: ExportFormat) -> None:
        """Refuse what a format has not.

        Raises
        ------
        InvalidOption
            Naming the option and the formats that have it.
        """
        defaults = ExportOptions()
        only_onnx = ("input", "label_output", "quantize", "sidecars")
        only_coreml = ("names", "head", "precision", "minimum_deployment_target")
        is_onnx = kind == ExportFormat.ONNX
        for name in only_coreml if is_onnx else only_onnx:
            if getattr(self, name) != getattr(defaults, name):
                where = ".mlpackage and .mlmodel" if is_onnx else ".onnx"
                message = f"{name} is an option of {where} files, not of .{kind}"
                raise InvalidOption(message, source=name, code="invalid_argument")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An exported file and the proof that it answers as the model does.

    Attributes
    ----------
    path : Path
        The file, or the folder of an ``.mlpackage``.
    format : ExportFormat
        What it is.
    size : int
        Bytes.
    proof : ParityProof
        What was found when it was compared with the trained model; it is in the file, too.
    sidecars : tuple of Path
        Files and folders written beside it.
    errors : tuple of ImageError
        Photos that could not be read and were left out of the comparison.
    notes : tuple of str
        What else to know of it, in words: why an option changed nothing.
    """

    path: Path
    format: ExportFormat
    size: int
    proof: ParityProof
    sidecars: tuple[Path, ...] = ()
    errors: tuple[ImageError, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a few lines for people."""
        lines = [
            f"{self.path}: {self.size / 1e6:.1f} MB of {_TITLES[self.format]}",
            f"{self.proof}",
        ]
        if (accuracy := self.proof.accuracy) is not None:
            lines.append(
                f"accuracy on {accuracy['n_images']:,.0f} photos: {100 * accuracy['model']:.1f} % "
                f"before, {100 * accuracy['exported']:.1f} % after"
            )
        lines += [f"beside it: {path}" for path in self.sidecars]
        lines += self.notes
        return "\n".join(lines)


def image_count(kind: ExportFormat, wanted: int | None) -> int:
    """Return how many images to compare on: a Core ML file is interpreted, and takes its time."""
    if wanted is not None:
        return wanted
    return 32 if kind == ExportFormat.ONNX else 8


_TITLES: Final = {
    ExportFormat.ONNX: "ONNX",
    ExportFormat.MLPACKAGE: "Core ML (ML program)",
    ExportFormat.MLMODEL: "Core ML (neural network)",
}


def format_of(path: str | os.PathLike[str]) -> ExportFormat:
    """Return the format that a file's name asks for.

    Raises
    ------
    InvalidOption
        If the ending is none that can be written.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in tuple(ExportFormat):
        message = f"{os.fspath(path)}: the ending says what to write; allowed: " + ", ".join(
            f".{kind}" for kind in ExportFormat
        )
        raise InvalidOption(message, source=os.fspath(path), code="invalid_argument")
    return ExportFormat(suffix)


def metadata_of(model: OpenModel) -> ModelMetadata:
    """Return what the maker of a model said of it; without a word, the defaults, unsigned."""
    text = model.runner.metadata.get(METADATA_KEY)
    return ModelMetadata.anonymous() if text is None else ModelMetadata.from_json(text)


def photo_list(given: DataSource | Iterable[ImageInput]) -> list[ImageInput]:
    """Return photos as a list; a labelled source gives its paths."""
    return list(given.paths) if isinstance(given, DataSource) else image_list(given)


def model_answerer(model: OpenModel) -> Answerer:
    """Return a function that asks the trained model itself."""

    def answer(sample: Sample) -> NDArray[np.float32]:
        row: NDArray[np.float32] = model.runner.rows(sample.pixels)[0]
        return row

    return answer


def export_model(
    model: OpenModel,
    path: str | os.PathLike[str],
    options: ExportOptions,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelSign | None = None,
) -> Export:
    """Write a model in another form, proved; see `ImageClassifier.export`."""
    target = Path(path)
    kind = format_of(target)
    options.check_for(kind)
    left = options.quantize is not None and computes_with_eight_bits(model.data)
    if left:
        options = replace(options, quantize=None)
    elif options.quantize and options.photos is None:
        message = (
            "quantize='int8' needs photos to calibrate on, such as the training photos: "
            "the ranges of the activations are measured on them"
        )
        raise InvalidOption(message, source="photos", code="invalid_argument")
    _check_target(target, kind)
    options = replace(options, n_images=image_count(kind, options.n_images))
    if options.photos is not None and not isinstance(options.photos, DataSource):
        options = replace(options, photos=image_list(options.photos))  # it may be an iterator
    prover = _Prover(model, options, progress, cancel)
    if kind == ExportFormat.ONNX:
        return _export_onnx(model, target, options, prover, left_as_it_is=left)
    return _export_coreml(model, target, kind, options, prover)


def _check_target(target: Path, kind: ExportFormat) -> None:
    """Refuse a place that cannot take the file before the work, not after."""
    folder = Path(os.path.realpath(target)).parent
    if not folder.is_dir():
        message = f"{target}: the folder {folder} does not exist"
        raise ExportError(message, source=str(target), code="io")
    if target.is_dir() and kind != ExportFormat.MLPACKAGE:
        message = f"{target}: is a folder; give the name of a file"
        raise ExportError(message, source=str(target), code="io")


def _export_onnx(
    model: OpenModel,
    target: Path,
    options: ExportOptions,
    prover: _Prover,
    *,
    left_as_it_is: bool,
) -> Export:
    """Write an ONNX file; `left_as_it_is` if int8 was asked for and the model is so already."""
    spec = model.preprocessing
    backbone_spec = backbone_preprocessing(model.runner.metadata)
    metadata = options.metadata or metadata_of(model)
    base = model.data
    if options.quantize:
        assert options.photos is not None
        base = quantized(base, photos(photo_list(options.photos), CALIBRATION_IMAGES, spec))
    noted = QUANTIZED_BEFORE if left_as_it_is else options.quantize
    reshaped = reformed(base, form=options.input, label_output=options.label_output, quantize=noted)
    sign(reshaped, metadata)
    data = serialized(reshaped)
    proof, errors = prover.prove(
        onnx_answerer(data, options.input, backbone_spec, source=str(target)),
        prover.tolerance_of(options.input),
        whole=options.input == InputForm.RESIZE,
        exported_sha256=sha256(data),
        how=f"ONNX Runtime, one thread, input {options.input}",
    )
    _check_passed(proof, proof.tolerance, target, options)
    data += proof_entry(proof)
    folders = _sidecar_files(model, base, data, target, metadata, options, prover, noted)
    for place, content in folders.items():  # first, so that a failure leaves the old export
        _make_folder(place.parent)
        write_atomically(place, content)
    write_atomically(target, data)
    return Export(
        path=target,
        format=ExportFormat.ONNX,
        size=len(data),
        proof=proof,
        sidecars=tuple(_sidecar_path(target, kind) for kind in options.sidecars),
        errors=errors,
        notes=(_LEFT_AS_IT_IS,) if left_as_it_is else (),
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: the folder cannot be made: {error.strerror or error}"
        raise ExportError(message, source=str(folder), code="io") from error


def _sidecar_path(target: Path, kind: Sidecar) -> Path:
    ending = ".labels.txt" if kind == Sidecar.LABELS else f"-{kind}"
    return target.with_name(target.stem + ending)


def _sidecar_files(
    model: OpenModel,
    base: bytes,
    data: bytes,
    target: Path,
    metadata: ModelMetadata,
    options: ExportOptions,
    prover: _Prover,
    noted: str | None,
) -> dict[Path, bytes]:
    """Return the contents of all files that go beside an export; nothing is written yet."""
    from eyespot.export.sidecars import huggingface_files, label_lines, triton_files

    files: dict[Path, bytes] = {}
    spec = backbone_preprocessing(model.runner.metadata)
    for kind in options.sidecars:
        root = _sidecar_path(target, kind)
        if kind == Sidecar.LABELS:
            files[root] = label_lines(model.facts["classes"])
        elif kind == Sidecar.TRITON:
            inside = triton_files(target.stem, data)
            files |= {root / target.stem / name: content for name, content in inside.items()}
        else:
            inside = huggingface_files(base, spec, metadata, facts=model.facts, quantize=noted)
            answer = onnx_answerer(
                inside["model.onnx"],
                InputForm.PIXEL_VALUES,
                spec,
                source=str(root / "model.onnx"),
                logits="sigmoid" if model.facts.get("multi_label") else "softmax",
            )
            tolerance = prover.tolerance_of(InputForm.PIXEL_VALUES)
            _, shown = prover.compare(answer, tolerance)
            _check_passed(shown, tolerance, root / "model.onnx", options)
            files |= {root / name: content for name, content in inside.items()}
    return files


def proof_entry(proof: ParityProof) -> bytes:
    """Return the metadata entry of a proof, to be put behind the bytes of an ONNX file.

    Protocol buffers that follow each other are read as one; so the hash of what stands before
    is the hash of the file as it was without the proof.
    """
    import onnx

    entry = onnx.StringStringEntryProto(key=METADATA_PROOF, value=proof.to_json())
    return bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString(deterministic=True))


def _export_coreml(
    model: OpenModel, target: Path, kind: ExportFormat, options: ExportOptions, prover: _Prover
) -> Export:
    from eyespot.export.coreml import CoreMLText, export_coreml

    precision = options.precision or "float16"
    export = export_coreml(
        model.data,
        form="mlmodel" if kind == ExportFormat.MLMODEL else "mlpackage",
        names=options.names,
        head=options.head,
        precision=precision,
        minimum_deployment_target=options.minimum_deployment_target,
    )
    metadata = options.metadata or metadata_of(model)
    form = {"input": "image", "names": options.names, "head": options.head, "precision": precision}
    if computes_with_eight_bits(model.data):
        form["activations"] = "int8"
    entries = {
        METADATA_KEY: metadata.to_json(),
        METADATA_WORDS: backbone_preprocessing(model.runner.metadata).describe(),
        METADATA_EXPORT: json.dumps(form),
    }

    def text(**more: str) -> Any:
        return CoreMLText(
            author=metadata.author,
            short_description=metadata.short_description,
            license=metadata.license or "",
            version=metadata.version,
            additional={**metadata.additional, **entries, **more},
        )

    export.describe(text())
    proof, errors = prover.prove(
        coreml_answerer(export.runner()),
        prover.tolerance_of(options.input, translated=precision),
        also="coremltools",
        exported_sha256=sha256(
            export.spec.SerializeToString(deterministic=True), export.weights or b""
        ),
        how=f"an interpreter of the saved Core ML file in NumPy, {precision}",
    )
    _check_passed(proof, proof.tolerance, target, options)
    export.describe(text(**{METADATA_PROOF: proof.to_json()}))
    export.write(target)
    size = sum(map(len, export.files().values()))
    return Export(path=target, format=kind, size=size, proof=proof, errors=errors)


def coreml_answerer(runner: CoreMLRunner) -> Answerer:
    """Return a function that asks the interpreter of a Core ML file."""

    def answer(sample: Sample) -> NDArray[np.float32]:
        row: NDArray[np.float32] = runner.predict_proba(sample.pixels)[0]
        return row

    return answer


class _Prover:
    """Compares exports of one model with it, and tells how far the work is."""

    def __init__(
        self,
        model: OpenModel,
        options: ExportOptions,
        progress: ProgressCallback | None,
        cancel: CancelSign | None,
    ) -> None:
        self._model = model
        self._options = options
        self._trained = model_answerer(model)
        count = options.n_images
        assert count is not None
        given = options.photos
        self._photos = (
            None if given is None else photos(photo_list(given), count, model.preprocessing)
        )
        self._made = count if given is None else min(count, _STORED_SYNTHETIC)
        self._measured = self._accuracy_indices()
        proofs = 1 + (Sidecar.HUGGINGFACE in options.sidecars)
        self._total = proofs * (self._made + len(self._photos or ())) + len(self._measured)
        self._progress = progress
        self._reporter: ProgressReporter | None = None  # from the first image on
        self._cancel = cancel
        self._done = 0

    def tolerance_of(self, form: InputForm, translated: str | None = None) -> Tolerance:
        """Return what is asked of an export of this model."""
        return tolerance_of(
            form=form,
            quantize=self._options.quantize,
            translated=translated,
            eight_bits=computes_with_eight_bits(self._model.data),
        )

    def prove(
        self,
        answer: Answerer,
        tolerance: Tolerance,
        *,
        whole: bool = False,
        also: str | None = None,
        exported_sha256: str,
        how: str,
    ) -> tuple[ParityProof, tuple[ImageError, ...]]:
        """Return what was found, and the photos that could not be read."""
        on_synthetic, shown = self.compare(answer, tolerance, whole=whole)
        on_photos = shown if shown.images == "photos" else None
        few = replace(
            on_synthetic,
            reference=on_synthetic.reference[:_STORED_SYNTHETIC],
            keys=on_synthetic.keys[:_STORED_SYNTHETIC],
        )
        proof = ParityProof(
            images=shown.images,
            n_images=shown.n_images,
            max_difference=shown.max_difference,
            top1_agreement=shown.top1_agreement,
            near_ties=shown.near_ties,
            passed=shown.passed,
            tolerance=tolerance,
            model_sha256=sha256(self._model.data),
            exported_sha256=exported_sha256,
            versions=versions(*([also] if also else [])),
            how=how,
            accuracy=self._accuracy(answer, whole=whole),
            synthetic=StoredAnswers.of(few),
            photos=StoredAnswers.of(on_photos) if on_photos and any(on_photos.keys) else None,
        )
        return proof, shown.errors

    def compare(
        self, answer: Answerer, tolerance: Tolerance, *, whole: bool = False
    ) -> tuple[Comparison, Comparison]:
        """Return what made images show, and what the photos do; twice the same without photos."""
        if self._reporter is None:
            self._reporter = ProgressReporter(self._progress, Phase.EVALUATING, self._total)
            self._reporter.update(0)

        def run(samples: Samples) -> Comparison:
            return compare(self._trained, answer, samples, tolerance, whole=whole, step=self._step)

        made = run(synthetic(self._made, self._model.preprocessing, any_size=whole))
        return made, made if self._photos is None else run(self._photos)

    def _step(self) -> None:
        self._done += 1
        if self._reporter is not None:
            self._reporter.update(self._done)
        if self._cancel is not None and self._cancel.cancelled:
            message = "stopped on request; nothing was written"
            raise Cancelled(message, code="cancelled")

    def _accuracy_indices(self) -> list[int]:
        """Return which labelled photos the accuracy is measured on: for int8, whose cost counts."""
        data = self._options.photos
        if not (self._options.quantize and isinstance(data, DataSource)):
            return []
        if not set(data.classes) <= set(self._model.facts["classes"]):
            return []  # folders that are no labels of this model
        return spread(len(data), _ACCURACY_IMAGES)

    def _accuracy(self, exported: Answerer, *, whole: bool) -> dict[str, float] | None:
        """Return the accuracies of both on labelled photos; None for photos without labels."""
        if not self._measured:
            return None
        assert isinstance(self._options.photos, DataSource)
        data = self._options.photos.with_classes(self._model.facts["classes"])
        samples = Samples(
            kind="photos",
            inputs=tuple(data.paths[index] for index in self._measured),
            spec=self._model.preprocessing,
        )
        right = np.zeros(2)
        count = 0
        targets = data.targets[self._measured].tolist()
        for sample, label in zip(samples.read(whole=whole), targets, strict=True):
            self._step()
            if isinstance(sample, ImageError):
                continue
            count += 1
            answers = (self._trained(sample), exported(sample))
            right += [answer.argmax() == label for answer in answers]
        if not count:
            return None
        before, after = (right / count).tolist()
        return {"model": before, "exported": after, "n_images": count}


def _check_passed(
    found: Comparison | ParityProof, allowed: Tolerance, target: Path, options: ExportOptions
) -> None:
    if found.passed or options.force:
        return
    message = (
        f"{target}: the export does not answer as the model does, so it was not written: {found}; "
        f"allowed are {allowed.max_difference:g} and {100 * allowed.agreement:g} %; "
        "force=True writes it none the less"
    )
    raise ExportError(message, source=str(target), code="parity")


def _choice(value: object, allowed: tuple[object, ...], name: str) -> None:
    if value not in allowed:
        message = f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}"
        raise InvalidOption(message, source=name, code="invalid_argument")
