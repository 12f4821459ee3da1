"""The files of a Core ML model, and how they come to the disk whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from eyespot.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MANIFEST", "MODEL", "WEIGHTS", "package_files", "write_package"]

#: Files of an .mlpackage, relative to its folder.
MANIFEST: Final = "Manifest.json"
MODEL: Final = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS: Final = "Data/com.apple.CoreML/weights/weight.bin"


def package_files(model: bytes, weights: bytes) -> dict[str, bytes]:
    """Return the files of an .mlpackage by relative name.

    Parameters
    ----------
    model : bytes
        The serialised specification.
    weights : bytes
        The blob file that it points into.

    Returns
    -------
    dict of str to bytes
        The manifest's identifiers follow from the contents, where Apple's tools draw them at
        random: the same model gives the same bytes.
    """
    entries = {}
    identifiers = {}
    for name, what, data in (
        ("model.mlmodel", "CoreML Model Specification", model),
        ("weights", "CoreML Model Weights", weights),
    ):
        digest = hashlib.sha256(name.encode() + data).digest()
        identifier = str(uuid.UUID(bytes=digest[:16], version=4)).upper()
        identifiers[name] = identifier
        entries[identifier] = {
            "author": "com.apple.CoreML",
            "description": what,
            "name": name,
            "path": f"com.apple.CoreML/{name}",
        }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": identifiers["model.mlmodel"],
    }
    text = json.dumps(manifest, indent=4, sort_keys=True) + "\n"
    return {MANIFEST: text.encode(), MODEL: model, WEIGHTS: weights}


def write_package(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Write a folder of files: aside, synced, then renamed.

    Parameters
    ----------
    path : str or path
        The .mlpackage to make or to replace.
    files : mapping of str to bytes
        Contents by relative name with ``/``.

    Raises
    ------
    ExportError
        If `path` is something else than an .mlpackage, or cannot be written. What was there is
        then as it was.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        message = f"{path}: the folder {target.parent} does not exist"
        raise ExportError(message, source=str(path), code="io")
    if target.exists() and not (target / MANIFEST).is_file():
        kind = "a folder" if target.is_dir() else "a file"
        message = f"{path}: is {kind} and no .mlpackage, so it is not replaced; choose another name"
        raise ExportError(message, source=str(path), code="io")
    mark = secrets.token_hex(6)
    aside = target.with_name(f".{target.name[:64]}.{mark}.tmp")
    old = target.with_name(f".{target.name[:64]}.{mark}.old")
    try:
        aside.mkdir()
        for name, data in files.items():
            place = aside / PurePosixPath(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            target.rename(old)
        try:
            aside.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        size = sum(map(len, files.values()))
        state = "what was there is unchanged" if target.exists() else "nothing was written"
        reason = error.strerror or str(error)
        message = f"{path}: could not be written ({reason}, {size:,} bytes needed); {state}"
        raise ExportError(message, source=str(path), code="io") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
