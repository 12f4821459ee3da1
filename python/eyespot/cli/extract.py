"""``eyespot extract``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyespot.cli import options
from eyespot.cli.runner import check_writable, print_json, working
from eyespot.errors import DataError

if TYPE_CHECKING:
    from eyespot.data import DataSource

__all__ = ["extract"]


def extract(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="A folder of photos, with labels or without.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to save the arrays.")
    ] = Path("features.npz"),
    backbone: options.Backbone = "default",
    output_name: options.OutputName = None,
    crop: options.Crop = None,
    data_format: options.Format = options.DataFormat.AUTO,
    path_column: options.PathColumn = "path",
    label_column: options.LabelColumn = "label",
    on_error: options.Errors = options.OnError.SKIP,
    store: options.Store = None,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Save the embeddings of PHOTOS as NumPy arrays.

    The file holds the arrays 'embeddings' (float32, a row a photo) and 'paths'; where the photos
    have labels also 'targets' and 'classes'.
    """
    import io

    import numpy as np

    from eyespot.files import write_atomically
    from eyespot.store import FeatureStore
    from eyespot.training import warn_of_skipped

    check_writable(output)
    extractor = options.extractor(backbone, output_name)
    if crop is not None:
        extractor = extractor.with_crop(crop)
    data: DataSource | None = None
    if data_format == options.DataFormat.AUTO and options.is_flat(photos):
        paths = options.expanded([photos])
    else:
        data = options.data_source(photos, data_format, path_column, [label_column])
        paths = list(data.paths)
    with working(quiet=quiet) as display:
        features = extractor.extract(
            paths,
            n_threads=threads,
            on_error=on_error.value,
            progress=display,
            store=None if store is None else FeatureStore(store),
        )
        warn_of_skipped(features.errors, len(paths))
    if len(features.indices) == 0:
        message = f"none of the {len(paths):,} images could be read"
        raise DataError(message, source=str(photos), code="no_usable_images")
    arrays: dict[str, Any] = {
        "embeddings": features.embeddings,
        "paths": np.array([str(paths[index]) for index in features.indices]),
    }
    if data is not None:
        arrays["targets"] = data.targets[features.indices]
        arrays["classes"] = np.array(data.classes)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(output, buffer.getvalue())
    n_images, n_features = features.embeddings.shape
    if as_json:
        print_json(
            {
                "output": str(output),
                "images": n_images,
                "features": n_features,
                "backbone": extractor.name,
                "fingerprint": extractor.fingerprint,
                "labels": list(data.classes) if data is not None else None,
                "skipped": [
                    {"file": error.source, "code": error.code, "message": error.message}
                    for error in features.errors
                ],
            }
        )
    else:
        names = ", ".join(arrays)
        typer.echo(f"Saved {output}: {n_images:,} x {n_features:,} features, arrays {names}")
