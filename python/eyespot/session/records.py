"""Files of plain values and arrays: a JSON header, then the arrays as they are in memory.

The file begins with ``MAGIC``, the length of the header in bytes as 8 little-endian bytes, and the
header. It holds the values, with ``{"$array": i}`` where array ``i`` belongs, the type, shape and
place of each array, and a checksum of them all. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import CheckpointError, ExportError
from eyespot.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["VERSION", "read_header", "read_record", "write_record", "write_values"]

#: Form of the files; one of a higher version is refused.
VERSION: Final = 1
MAGIC: Final = b"eyespot record\n"
_LENGTH_BYTES = 8
_MOST_HEADER = 1 << 30
_PLACE = "$array"


def write_record(path: Path, header: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write a file aside, sync it and rename it.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    header : mapping
        JSON values that `read_header` gives without the rest.
    values : mapping
        JSON values and arrays, mappings of them included.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    arrays: list[NDArray[Any]] = []
    tree = _without_arrays(values, arrays)
    parts = [array.reshape(-1).view(np.uint8).data for array in arrays]  # not copied
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    text = json.dumps(
        {
            "version": VERSION,
            "header": header,
            "values": tree,
            "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
            "sha256": digest.hexdigest(),
        }
    ).encode()
    _write(path, [MAGIC, len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts])


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as a JSON file, in the same safe way.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    _write(path, (json.dumps(values, indent=1) + "\n").encode())


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a file; the rest is not looked at.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of a later version.
    """
    header: dict[str, Any] = _read(path, whole=False)[0]["header"]
    return header


def read_record(path: Path) -> dict[str, Any]:
    """Return the values of a file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of a later version.
    """
    fields, data = _read(path, whole=True)
    arrays: list[NDArray[Any]] = []
    try:
        if hashlib.sha256(data).hexdigest() != fields["sha256"]:
            raise ValueError("the checksum does not fit")
        place = 0
        for kind, shape in fields["arrays"]:
            dtype, count = np.dtype(kind), math.prod(shape)
            arrays.append(np.frombuffer(data, dtype, count, place).reshape(shape))
            place += count * dtype.itemsize
        values: dict[str, Any] = _with_arrays(fields["values"], arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(path, str(error)) from error
    return values


def _read(path: Path, *, whole: bool) -> tuple[dict[str, Any], bytes]:
    """Return what stands in the header, and the bytes of the arrays if they are wanted."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC) + _LENGTH_BYTES)
            length = int.from_bytes(start[len(MAGIC) :], "little")
            text = file.read(min(length, _MOST_HEADER)) if start.startswith(MAGIC) else b""
            data = file.read() if whole else b""
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error})"
        raise CheckpointError(message, source=str(path), code="io") from error
    try:
        fields = json.loads(text)
        version = fields["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "it has no header") from error
    if not isinstance(version, int) or version > VERSION:
        message = (
            f"{path}: of version {version!r}, and this eyespot knows version {VERSION}; "
            "update eyespot"
        )
        raise CheckpointError(message, source=str(path), code="unsupported_version")
    if not isinstance(fields.get("header"), dict):
        raise _damaged(path, "it has no header")
    return fields, data


def _damaged(path: Path, why: str) -> CheckpointError:
    message = f"{path}: is damaged ({why}); remove it"
    return CheckpointError(message, source=str(path), code="corrupt_checkpoint")


def _write(path: Path, data: bytes | Sequence[bytes | memoryview]) -> None:
    try:
        write_atomically(path, data)
    except ExportError as error:
        raise CheckpointError(str(error), source=str(path), code="io") from error


def _without_arrays(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _without_arrays(part, arrays) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value, value.dtype.newbyteorder("<")))
        return {_PLACE: len(arrays) - 1}
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {_PLACE}:
        return arrays[value[_PLACE]]
    return {name: _with_arrays(part, arrays) for name, part in value.items()}
