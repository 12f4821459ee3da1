"""What a training session was made with, as files: parameters, backbone, and a list of the data."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.augmentation import Augmentation
from eyespot.data import DataSource
from eyespot.errors import IncompatibleParameters, ModifiedTrainingData
from eyespot.features import FeatureExtractor
from eyespot.hashing import ContentHashes
from eyespot.options import Classifier, ModelParameters, SplitStrategy
from eyespot.training import extractor_of, parameter_facts

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = [
    "check_parameters",
    "data_from_values",
    "data_values",
    "matched",
    "parameter_values",
    "parameters_from_values",
]

#: They change how a training runs or how far it goes, and nothing of what was done by then.
FREE: Final = ("max_iterations", "n_threads")


def parameter_values(parameters: ModelParameters) -> dict[str, Any]:
    """Return parameters as plain JSON values; the backbone by its parts without the network."""
    extractor = extractor_of(parameters)
    return parameter_facts(parameters, extractor) | {
        "feature_extractor": {**extractor.to_parts()[0], "fingerprint": extractor.fingerprint},
        "n_threads": parameters.n_threads,
        "augmentation": (
            None
            if parameters.augmentation is None
            else Augmentation.resolve(parameters.augmentation).to_dict()
        ),
    }


def parameters_from_values(
    values: Mapping[str, Any], backbone: bytes, validation: DataSource | None
) -> ModelParameters:
    """Return what `parameter_values` was given, with the crop in the feature extractor.

    Raises
    ------
    InvalidOption
        If a value is not allowed.
    KeyError, TypeError
        If values are missing, or of another form.
    """
    split = values["validation"]
    plan = values["augmentation"]
    given = {name: values[name] for name in ("tolerance", "l2", "class_weights", "calibration")}
    given |= {name: values[name] for name in ("on_error", "seed", *FREE)}
    return ModelParameters(
        validation=SplitStrategy(**split) if isinstance(split, dict) else validation,
        classifier=Classifier(**values["classifier"]),
        feature_extractor=FeatureExtractor.from_parts(values["feature_extractor"], backbone),
        augmentation=None if plan is None else Augmentation.from_dict(plan),
        **given,
    )


def check_parameters(stored: Mapping[str, Any], given: Mapping[str, Any], where: Path) -> None:
    """Refuse parameters that the session was not made with.

    Raises
    ------
    IncompatibleParameters
        For the first that differs; those of `FREE` may.
    """
    for name in stored:
        original, new = stored[name], given[name]
        if name in FREE or original == new:
            continue
        if name == "feature_extractor":
            if original["fingerprint"] == new["fingerprint"]:
                continue  # from another place
            original, new = original["name"], new["name"]
        message = (
            f"{name} was {original!r} when the session in {where} was made, and is {new!r} now; "
            "go on with the first, or give a new session directory"
        )
        raise IncompatibleParameters(
            message, source=name, code="incompatible", original_value=original, new_value=new
        )


def data_values(data: DataSource) -> dict[str, Any]:
    """Return images with labels and contents as plain JSON values; their hashes are known."""
    known = data.hashes()
    return {
        "classes": list(data.classes),
        "multi_label": data.multi_label,
        "targets": (
            [np.flatnonzero(row).tolist() for row in data.targets]
            if data.multi_label
            else data.targets.tolist()
        ),
        "paths": [os.path.abspath(path) for path in data.paths],  # noqa: PTH100 - keeps links
        "digests": list(known.digests),
        **({"groups": list(data.groups)} if data.group_sizes() else {}),
    }


def data_from_values(values: Mapping[str, Any]) -> DataSource:
    """Return what `data_values` was given, with the contents that the files had then.

    Raises
    ------
    InvalidOption
        If the values do not fit together.
    KeyError, TypeError, ValueError, IndexError
        If values are missing, or of another form.
    """
    classes, targets = values["classes"], values["targets"]
    table: Any
    if values["multi_label"]:
        table = np.zeros((len(targets), len(classes)), np.bool_)
        for row, labels in zip(table, targets, strict=True):
            row[labels] = True
    else:
        table = np.array(targets, np.int64)
    paths = tuple(Path(path) for path in values["paths"])
    digests = tuple(values["digests"])
    if len(digests) != len(paths):
        message = f"{len(digests)} digests of {len(paths)} images"
        raise ValueError(message)
    groups = tuple(values.get("groups", ()))  # not in sessions of before there were any
    data = DataSource(paths=paths, classes=tuple(classes), targets=table, groups=groups)
    data._cache["hashes"] = ContentHashes(digests=digests, errors=())
    return data


def matched(stored: DataSource, given: DataSource, where: Path) -> DataSource:
    """Return the images of `given` in the order of `stored`.

    Both have their hashes.

    Raises
    ------
    ModifiedTrainingData
        If contents, labels or groups are not those of `stored`; the places of the files and the
        names of the groups may differ.
    """
    old, new = _items(stored), _items(given)
    if old == new and stored.classes == given.classes:
        return given
    gone, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if not gone and not added and stored.classes == given.classes:
        places: dict[Hashable, list[int]] = {}
        for i, item in enumerate(new):
            places.setdefault(item, []).append(i)
        return given.take([places[item].pop(0) for item in old])
    parts = []
    if Counter(map(_labelled, old)) == Counter(map(_labelled, new)):
        first = stored.paths[next(i for i, item in enumerate(old) if item in gone)]
        message = (
            f"the groups are not those that the session in {where} was made with: that of {first}, "
            "for one, holds other images now; give the groups as before, or give a new session "
            "directory, which can reuse the extracted features"
        )
        raise ModifiedTrainingData(message, source=str(where), code="modified_groups")
    for source, items, counts, one, many in (
        (given, new, added, "image was added or changed", "images were added or changed"),
        (stored, old, gone, "image is gone", "images are gone"),
    ):
        if n := counts.total():
            first = source.paths[next(i for i, item in enumerate(items) if item in counts)]
            parts.append(f"{n:,} {one if n == 1 else many}, the first: {first}")
    if not parts:
        parts.append(f"the labels were {list(stored.classes)} and are {list(given.classes)}")
    message = (
        f"the data are not those that the session in {where} was made with: {'; '.join(parts)}; "
        "bring them back, or give a new session directory, which can reuse the extracted features"
    )
    raise ModifiedTrainingData(message, source=str(where), code="modified_data")


def _items(data: DataSource) -> list[tuple[str | None, tuple[str, ...], str | None]]:
    """Return what each image is to a training: content, labels, and what is in its group."""
    digests = data.hashes().digests
    members: dict[str, list[str]] = {}
    for digest, name in zip(digests, data.groups, strict=True):
        if name is not None:
            members.setdefault(name, []).append(digest or "")
    # By contents: folders that were renamed may give groups other names.
    content = {
        name: hashlib.sha256(" ".join(sorted(own)).encode()).hexdigest()
        for name, own in members.items()
        if len(own) > 1
    }
    of_groups = (None if name is None else content.get(name) for name in data.groups)
    return list(zip(digests, data.label_sets, of_groups, strict=True))


def _labelled(item: tuple[str | None, tuple[str, ...], str | None]) -> Hashable:
    return item[:2]
