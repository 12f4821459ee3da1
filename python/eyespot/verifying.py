"""Reading exported files, and repeating the proof that they answer as the trained model does."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.errors import DataError, ModelError
from eyespot.export.forms import (
    METADATA_EXPORT,
    METADATA_PROOF,
    QUANTIZED_BEFORE,
    backbone_preprocessing,
)
from eyespot.export.onnx import METADATA_FACTS
from eyespot.export.parity import (
    Answerer,
    Comparison,
    ParityProof,
    compare,
    onnx_answerer,
    sha256,
    tolerance_of,
)
from eyespot.export.pixels import InputForm
from eyespot.export.quantize import computes_with_eight_bits
from eyespot.export.samples import Samples, content_key, photos, spread, synthetic
from eyespot.exporting import (
    ExportFormat,
    coreml_answerer,
    format_of,
    image_count,
    model_answerer,
    photo_list,
    proof_entry,
)
from eyespot.model_file import open_model, read_model, sentence
from eyespot.model_metadata import METADATA_KEY, ModelMetadata
from eyespot.options import Preprocessing, integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eyespot.data import DataSource
    from eyespot.images import ImageInput

__all__ = ["Check", "ExportedFile", "Verification", "is_export", "read_export", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file that `export` wrote, as read.

    Attributes
    ----------
    path : Path
        Where it is.
    format : ExportFormat
        What it is.
    size : int
        Bytes.
    entries : mapping of str to str
        Its metadata.
    proof : ParityProof or None
        The proof inside; ``None`` for a model that was saved, not exported.
    sha256 : str
        Of the file as it is without the proof.
    """

    path: Path
    format: ExportFormat
    size: int
    entries: Mapping[str, str]
    proof: ParityProof | None
    sha256: str
    _data: Any = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """What eyespot knows of the model, as plain values."""
        facts: dict[str, Any] = json.loads(self.entries[METADATA_FACTS])
        return facts

    @property
    def form(self) -> dict[str, Any]:
        """The form of the export, as plain values."""
        form: dict[str, Any] = json.loads(self.entries.get(METADATA_EXPORT, "{}"))
        return form

    @property
    def input(self) -> InputForm:
        """What an ONNX file takes."""
        is_onnx = self.format == ExportFormat.ONNX
        return InputForm(self.form.get("input", "uint8_nhwc") if is_onnx else "uint8_nhwc")

    @property
    def rounds_floats(self) -> bool:
        """Whether it rounds sums of floats to levels of eight bits.

        Where the last bit of a sum is another one, as between processors, so may be a level then.
        The whole numbers that ONNX Runtime sums have no such bits, but resized pixels do.
        """
        if self.format != ExportFormat.ONNX:
            return "activations" in self.form
        return self.input == InputForm.RESIZE and computes_with_eight_bits(self._data)

    @property
    def metadata(self) -> ModelMetadata:
        """What the maker says of it."""
        text = self.entries.get(METADATA_KEY)
        return ModelMetadata.anonymous() if text is None else ModelMetadata.from_json(text)

    @property
    def pixels(self) -> Preprocessing:
        """What a photo becomes before normalisation: uint8 RGB pixels, NHWC."""
        return backbone_preprocessing(self.entries).replace(
            layout="nhwc", dtype="uint8", color="rgb", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3
        )

    def answerer(self) -> Answerer:
        """Return a function that asks the file itself, without eyespot's own inference."""
        if self.format == ExportFormat.ONNX:
            spec = backbone_preprocessing(self.entries)
            return onnx_answerer(self._data, self.input, spec, source=str(self.path))
        from eyespot.export.coreml import CoreMLRunner

        return coreml_answerer(CoreMLRunner(self._data))

    def summary(self) -> str:
        """Return a few lines of text: what it is and how it was proved."""
        facts, form = self.facts, self.form
        labels = facts["classes"]
        rows = [
            ("labels", sentence(labels)),
            ("form", ", ".join(_shown(name, value) for name, value in form.items() if value)),
            *self.metadata.rows(),
            ("proof", "none" if self.proof is None else str(self.proof)),
            ("made from", "unknown" if self.proof is None else _made_from(facts, self.proof)),
            ("file", f"{self.size / 1e6:.1f} MB, {self.format}, eyespot {facts['eyespot']}"),
        ]
        width = max(len(name) for name, _ in rows)
        title = f"Exported image classifier with {len(labels):,} labels"
        return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in rows)])

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON."""
        return {
            "format": str(self.format),
            "size": self.size,
            "export": self.form,
            "metadata": json.loads(self.metadata.to_json()),
            "proof": None if self.proof is None else self.proof.to_plain(answers=False),
            "model": self.facts,
        }


def _made_from(facts: Mapping[str, Any], proof: ParityProof) -> str:
    return f"a model on {facts['backbone']['name']}, SHA-256 {proof.model_sha256[:16]}..."


def _shown(name: str, value: object) -> str:
    if name == "quantize" and value == QUANTIZED_BEFORE:
        return "int8 as the backbone has it"
    text = " + ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{name} {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        ``"file"``, ``"model"``, ``"synthetic"`` or ``"photos"``.
    passed : bool
    text : str
        What was found.
    max_difference, top1_agreement, n_images : float or int, optional
        The numbers, where images were compared.
    """

    name: str
    passed: bool
    text: str
    max_difference: float | None = None
    top1_agreement: float | None = None
    n_images: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification found.

    Attributes
    ----------
    file : ExportedFile
        What was verified.
    checks : tuple of Check
        What was looked at.
    """

    file: ExportedFile
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        """Return a line a check, and the verdict."""
        marks = {True: "ok", False: "FAILED"}
        lines = [f"{marks[check.passed]:<7}{check.name:<10} {check.text}" for check in self.checks]
        answers = "answers as the model does" if self.passed else "is NOT proved"
        return "\n".join([*lines, f"{self.file.path} {answers}"])

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        checks = [
            {
                name: value
                for name in Check.__dataclass_fields__
                if (value := getattr(check, name)) is not None
            }
            for check in self.checks
        ]
        return {"passed": self.passed, "checks": checks, **self.file.to_plain()}


def is_export(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an export, by its name or its contents, not a saved model."""
    if Path(path).suffix.lower() in (".mlpackage", ".mlmodel"):
        return True
    try:
        return METADATA_EXPORT.encode() in Path(path).read_bytes()
    except OSError:
        return False


def read_export(path: str | os.PathLike[str]) -> ExportedFile:
    """Read an exported file, or a saved model.

    Raises
    ------
    ModelError
        If it cannot be read, or eyespot did not make it.
    """
    target = Path(path)
    kind = format_of(target)
    if kind != ExportFormat.ONNX:
        return _read_coreml(target, kind)
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    source = str(target)
    data = read_model(source)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        message = f"{source}: not an ONNX model, or a damaged one ({error})"
        raise ModelError(message, source=source, code="corrupt_model") from error
    entries = {entry.key: entry.value for entry in model.metadata_props}
    proof = _proof(entries, source)
    tail = b"" if proof is None else proof_entry(proof)
    before = data.removesuffix(tail) if tail else data
    return ExportedFile(
        path=target,
        format=kind,
        size=len(data),
        entries=entries,
        proof=proof,
        sha256=sha256(before),
        _data=data,
    )


def _proof(entries: Mapping[str, str], source: str) -> ParityProof | None:
    if METADATA_FACTS not in entries:
        message = f"{source}: eyespot did not make this file"
        raise ModelError(message, source=source, code="unsupported_model")
    text = entries.get(METADATA_PROOF)
    return None if text is None else ParityProof.from_json(text, source=source)


def _read_coreml(target: Path, kind: ExportFormat) -> ExportedFile:
    from eyespot.export.coreml.reading import parse, read_files

    source = str(target)
    files = read_files(target)
    stored = parse(files, source)
    defined = stored.spec.description.metadata.userDefined
    entries = dict(defined)
    proof = _proof(entries, source)
    defined.pop(METADATA_PROOF, None)
    weights = next((data for name, data in files.items() if name.endswith("weight.bin")), b"")
    return ExportedFile(
        path=target,
        format=kind,
        size=sum(map(len, files.values())),
        entries=entries,
        proof=proof,
        sha256=sha256(stored.spec.SerializeToString(deterministic=True), weights),
        _data=files,
    )


def verify(
    path: str | os.PathLike[str],
    images: DataSource | Iterable[ImageInput] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    n_images: int | None = None,
) -> Verification:
    """Repeat the proof of an exported file.

    Parameters
    ----------
    path : str or path
        The exported file.
    images : DataSource or iterable of images, optional
        Photos to compare on. Without `model` only those count whose answers the file holds,
        because it was exported with them.
    model : str or path, optional
        The trained model, as `save` wrote it.
    n_images : int, optional
        How many photos, or made images, to compare on at most: 32; 8 for a Core ML file.

    Returns
    -------
    Verification
        What was found; nothing is raised because a check fails.

    Raises
    ------
    ModelError
        If a file cannot be read, or there is nothing to compare with: no proof and no `model`.
    DataError
        If none of the photos can be compared.
    """
    exported = read_export(path)
    if n_images is not None:
        n_images = integer(n_images, "n_images", low=1)
    n_images = image_count(exported.format, n_images)
    proof = exported.proof
    if proof is None and model is None:
        message = (
            f"{path}: holds no proof: it was saved, not exported; give the model that it was made "
            "from as well"
        )
        raise ModelError(message, source=str(path), code="no_proof")
    answer = exported.answerer()
    whole = exported.input == InputForm.RESIZE
    checks = []
    if proof is not None:
        same = proof.exported_sha256 == exported.sha256
        text = "as it was exported" if same else "was changed after its export"
        checks.append(Check(name="file", passed=same, text=text))
        if not proof.passed:
            text = f"the export was forced: {proof}"
            checks.append(Check(name="export", passed=False, text=text))
    if model is not None:
        checks += _against_model(exported, answer, model, images, n_images, whole=whole)
        return Verification(file=exported, checks=tuple(checks))
    assert proof is not None
    if (stored := proof.synthetic) is not None:
        made = synthetic(len(stored.rows), exported.pixels, any_size=whole)
        rows = iter(stored.rows)
        allowed = stored.tolerance(levels=exported.rounds_floats)
        found = compare(lambda _: next(rows), answer, made, allowed, whole=whole)
        checks.append(_check("synthetic", found, "made images, by the answers in the file"))
    if images is not None:
        checks.append(_stored_photos(exported, answer, photo_list(images), n_images, whole=whole))
    return Verification(file=exported, checks=tuple(checks))


def _stored_photos(
    exported: ExportedFile,
    answer: Answerer,
    given: list[ImageInput],
    n_images: int,
    *,
    whole: bool,
) -> Check:
    assert exported.proof is not None
    stored = exported.proof.photos
    known = {} if stored is None else stored.by_key()
    found = [image for image in given if content_key(image) in known]
    if not found or stored is None:
        message = (
            f"none of the {len(given):,} photos is one that {exported.path} was proved with; "
            "to compare on other photos, give the trained model as well (--model)"
        )
        raise DataError(message, source="photos", code="no_usable_images")
    chosen = tuple(found[index] for index in spread(len(found), n_images))
    samples = Samples(kind="photos", inputs=chosen, spec=exported.pixels)
    allowed = stored.tolerance(levels=exported.rounds_floats)
    compared = compare(known, answer, samples, allowed, whole=whole)
    return _check("photos", compared, "photos, by the answers in the file")


def _against_model(
    exported: ExportedFile,
    answer: Answerer,
    path: str | os.PathLike[str],
    images: DataSource | Iterable[ImageInput] | None,
    n_images: int,
    *,
    whole: bool,
) -> list[Check]:
    source = os.fspath(path)
    data = read_model(source)
    trained = open_model(data, source)
    checks = []
    if exported.proof is not None:
        same = exported.proof.model_sha256 == sha256(data)
        text = f"{source} is {'the' if same else 'NOT the'} model that it was made from"
        checks.append(Check(name="model", passed=same, text=text))
    if trained.facts["classes"] != exported.facts["classes"]:
        text = f"{source} has other labels"
        return [*checks, Check(name="labels", passed=False, text=text)]
    form = exported.form
    tolerance = tolerance_of(
        form=exported.input,
        quantize=form.get("quantize"),
        translated=None if exported.format == ExportFormat.ONNX else form.get("precision"),
        eight_bits=computes_with_eight_bits(data),
    )
    samples = synthetic(n_images, trained.preprocessing, any_size=whole)
    name, what = "synthetic", "made images, by the model's own answers"
    if images is not None:
        samples = photos(photo_list(images), n_images, trained.preprocessing)
        name, what = "photos", "photos, by the model's own answers"
    found = compare(model_answerer(trained), answer, samples, tolerance, whole=whole)
    return [*checks, _check(name, found, what)]


def _check(name: str, found: Comparison, what: str) -> Check:
    skipped = f"; {len(found.errors):,} could not be read" if found.errors else ""
    return Check(
        name=name,
        passed=found.passed,
        text=(
            f"{found.n_images:,} {what}: largest difference of a probability "
            f"{found.max_difference:.2g}, same label on {100 * found.top1_agreement:.4g} %{skipped}"
        ),
        max_difference=found.max_difference,
        top1_agreement=found.top1_agreement,
        n_images=found.n_images,
    )
