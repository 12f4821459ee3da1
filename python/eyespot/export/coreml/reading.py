"""The bytes of a Core ML file, read without Core ML: package, specification, weights."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import ModelError
from eyespot.export.coreml.package import MANIFEST
from eyespot.export.coreml.tools import load_coremltools

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["StoredModel", "WeightFile", "corrupt", "parse", "read_files"]

_ALIGNMENT: Final = 64
_SENTINEL: Final = 0xDEADBEEF
_STORAGE_VERSION: Final = 2
# Numbers of the element types in a weight file (MILBlob's BlobDataType).
_BLOB_TYPES: Final = {1: np.float16, 2: np.float32, 3: np.uint8, 4: np.int8, 14: np.int32}


def corrupt(found: str, source: str = "Core ML file") -> ModelError:
    """Return the error for a file whose parts do not fit together."""
    message = f"{source}: a damaged Core ML file: {found}"
    return ModelError(message, source=source, code="corrupt_model")


class WeightFile:
    """``weight.bin`` of an ML program: a header, then blobs with 64 bytes of description each.

    Parameters
    ----------
    data : bytes
        The file.
    source : str
        What messages call it.

    Raises
    ------
    ModelError
        If the header is not that of such a file.
    """

    def __init__(self, data: bytes, source: str) -> None:
        if len(data) < _ALIGNMENT:
            raise corrupt("the weights end within their header", source)
        self._count, version = struct.unpack_from("<II", data)
        if version != _STORAGE_VERSION:
            raise corrupt(f"weights of storage version {version}", source)
        self._data = data
        self._source = source
        self._read: set[int] = set()

    def blob(self, offset: int) -> NDArray[Any]:
        """Return the elements described at `offset`, in one dimension.

        Raises
        ------
        ModelError
            If there is no blob, it is not aligned as Core ML wants, or reaches past the end.
        """
        data = self._data
        if offset % _ALIGNMENT or not 0 < offset <= len(data) - _ALIGNMENT:
            raise corrupt(f"no weights can begin at byte {offset}", self._source)
        sentinel, kind, size, begin = struct.unpack_from("<IIQQ", data, offset)
        dtype = np.dtype(_BLOB_TYPES.get(kind, np.void))
        if sentinel != _SENTINEL or kind not in _BLOB_TYPES:
            raise corrupt(f"no weights are described at byte {offset}", self._source)
        if begin % _ALIGNMENT or begin + size > len(data) or size % dtype.itemsize:
            raise corrupt(f"the weights at byte {offset} lie outside", self._source)
        self._read.add(offset)
        return np.frombuffer(data, dtype, size // dtype.itemsize, begin)

    def check_all_read(self) -> None:
        """Refuse a file that holds another number of blobs than were read from it."""
        if len(self._read) != self._count:
            found = f"{self._count} blobs of weights, of which {len(self._read)} are used"
            raise corrupt(found, self._source)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A parsed file.

    Attributes
    ----------
    spec : Model_pb2.Model
        The specification.
    files : mapping of str to bytes
        All files by relative name; ``""`` names the only one of an ``.mlmodel``.
    root : str
        Folder of the specification, to which the names of weight files are relative.
    source : str
        What messages call the model.
    """

    spec: Any
    files: Mapping[str, bytes]
    root: str
    source: str

    def weight_file(self, name: str) -> WeightFile:
        """Return the weights that the specification calls `name`."""
        inner = name.replace("@model_path", self.root, 1)
        if inner not in self.files:
            raise corrupt(f"the weights {name} are missing", self.source)
        return WeightFile(self.files[inner], self.source)


def read_files(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the contents of an .mlmodel or .mlpackage by relative name.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    place = Path(path)
    try:
        if not place.is_dir():
            return {"": place.read_bytes()}
        return {
            file.relative_to(place).as_posix(): file.read_bytes()
            for file in sorted(place.rglob("*"))
            if file.is_file()
        }
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        raise ModelError(message, source=str(path), code="io") from error


def parse(files: Mapping[str, bytes], source: str) -> StoredModel:
    """Read the specification.

    Parameters
    ----------
    files : mapping of str to bytes
        As `read_files` returns them.
    source : str
        What messages call the model.

    Raises
    ------
    ModelError
        If they are no Core ML model.
    ExportError
        If coremltools, whose protobuf classes this uses, is not installed.
    """
    load_coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    name = "" if "" in files else _root(files, source)
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(files[name])
    except DecodeError as error:
        raise corrupt(f"its specification cannot be read ({error})", source) from error
    if spec.WhichOneof("Type") is None:
        message = f"{source}: not a Core ML model"
        raise ModelError(message, source=source, code="unsupported_model")
    return StoredModel(spec=spec, files=files, root=name.rpartition("/")[0], source=source)


def _root(files: Mapping[str, bytes], source: str) -> str:
    """Return the name of the specification in a package, by its manifest."""
    try:
        manifest = json.loads(files[MANIFEST])
        entries = manifest["itemInfoEntries"]
        root = f"Data/{entries[manifest['rootModelIdentifier']]['path']}"
        paths = [f"Data/{entry['path']}" for entry in entries.values()]
    except (KeyError, ValueError, TypeError) as error:
        message = f"{source}: a folder, but no .mlpackage ({MANIFEST}: {error!r})"
        raise ModelError(message, source=source, code="unsupported_model") from error
    for path in (root, *paths):
        if not any(name == path or name.startswith(f"{path}/") for name in files):
            raise corrupt(f"{path} is on its list and missing", source)
    return root
