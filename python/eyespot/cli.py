"""The command line: ``eyespot train | evaluate | predict | inspect | extract | demo``.

Results go to standard output, everything else (progress, notes, errors) to standard error. The exit
code is 0 for success, 1 for a failure, 2 for a command that makes no sense, 130 for Ctrl-C.
Everything heavy is imported inside the commands, so that ``--help`` comes at once.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import warnings
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec

import typer

from eyespot import screen
from eyespot.errors import Cancelled, DataError, EyespotError, InvalidOption, printable
from eyespot.options import CropPolicy
from eyespot.rendering import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eyespot.classifier import ImageClassifier
    from eyespot.data import DataSource
    from eyespot.features import FeatureExtractor
    from eyespot.options import SplitStrategy

__all__ = ["main"]

_P = ParamSpec("_P")
_PACKAGE = Path(__file__).parent
# Characters in names that would break the lines and fields of the output.
_ESCAPED = {code: ascii(chr(code))[1:-1] for code in (*range(32), 127)}

app = typer.Typer(
    name="eyespot",
    help="Train an image classifier from folders of photos.",
    epilog="Start with: eyespot train PHOTOS, where PHOTOS holds one folder of photos per label.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class DataFormat(StrEnum):
    """How a command finds the label of each photo."""

    AUTO = "auto"
    LABELED_DIRECTORIES = "labeled_directories"
    LABELED_FILES = "labeled_files"
    TABLE = "table"


class OnError(StrEnum):
    """What an unreadable photo does."""

    SKIP = "skip"
    RAISE = "raise"


class ClassWeights(StrEnum):
    """How the classes weigh in the loss."""

    NONE = "none"
    BALANCED = "balanced"


# -- options that several commands share ------------------------------------------------------

_DATA = "Data"
_NETWORK = "Backbone"
_SOLVER = "Training"

Photos = Annotated[
    Path,
    typer.Argument(
        metavar="PHOTOS",
        help="A folder with one folder of photos per label, or a CSV file.",
        readable=False,  # to say so is the library's, photo by photo
    ),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model that 'train' saved.", readable=False)
]
Format = Annotated[
    DataFormat,
    typer.Option(
        metavar="FORMAT",
        help="Where labels come from: labeled_directories, labeled_files (label.1.jpg), table; "
        "auto takes a .csv file as a table and all else as folders.",
        rich_help_panel=_DATA,
    ),
]
PathColumn = Annotated[
    str, typer.Option(metavar="NAME", help="A table's column of paths.", rich_help_panel=_DATA)
]
LabelColumn = Annotated[
    str, typer.Option(metavar="NAME", help="A table's column of labels.", rich_help_panel=_DATA)
]
Errors = Annotated[
    OnError,
    typer.Option(
        metavar="skip|raise", help="What an unreadable photo does.", rich_help_panel=_DATA
    ),
]
Backbone = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="The network that sees: 'default' is built in, a known name is downloaded once, "
        "and any ONNX image network can be a FILE.",
        rich_help_panel=_NETWORK,
    ),
]
OutputName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which output of FILE to use.", rich_help_panel=_NETWORK),
]
Crop = Annotated[
    CropPolicy | None,
    typer.Option(
        metavar="POLICY",
        help="How a photo is brought to the network's shape: center_crop, fit or stretch; "
        "the network's own way unless given.",
        show_default=False,
        rich_help_panel=_NETWORK,
    ),
]
Threads = Annotated[
    int, typer.Option(metavar="N", min=0, help="Threads; 0 takes all that are free to use.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


# Messages are written for the library; here they name the options instead.
_SAID_IN_OPTIONS = {
    "DataSource.labeled_directories": "--data-format labeled_directories",
    "DataSource.labeled_files": "--data-format labeled_files",
    "DataSource.from_table": "--data-format table",
    "choose output_name": "choose --output-name",
    "ratio is": "--validation is",
    "n_threads is": "--threads is",
}


def _in_options(message: str) -> str:
    for name, option in _SAID_IN_OPTIONS.items():
        message = message.replace(name, option)
    return message


def _guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn what a command raises into one line and an exit code."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InvalidOption as error:
            screen.note(_in_options(str(error)), kind="error")
            raise typer.Exit(2) from None
        except (KeyboardInterrupt, Cancelled):
            screen.note("interrupted", kind="error")
            raise typer.Exit(130) from None
        except EyespotError as error:
            screen.note(_in_options(str(error)), kind="error")
            raise typer.Exit(1) from None
        except MemoryError as error:
            screen.note(f"out of memory: {error}", kind="error")
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has had enough: typer ends without a word
                raise
            where, reason = error.filename or "standard output", error.strerror or error
            screen.note(f"{where}: {reason}", kind="error")
            raise typer.Exit(1) from None

    return run


@contextmanager
def _working(*, quiet: bool) -> Iterator[screen.ProgressDisplay]:
    """Show progress while the body runs, then the warnings that it gave, each as one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            with screen.ProgressDisplay(quiet=quiet) as display:
                yield display
        finally:
            for warning in caught:
                screen.note(str(warning.message), kind="warning")
            if caught and sys.stderr.isatty():
                typer.echo("", err=True)


def _print_json(value: object) -> None:
    typer.echo(printable(json.dumps(value, indent=2, ensure_ascii=False)))


def _data(path: Path, data_format: DataFormat, path_column: str, label_column: str) -> DataSource:
    from eyespot.data import DataSource

    if data_format == DataFormat.AUTO and path.suffix.lower() in (".csv", ".tsv"):
        data_format = DataFormat.TABLE
    if data_format == DataFormat.TABLE:
        return DataSource.from_table(path, path_column=path_column, label_column=label_column)
    if data_format == DataFormat.LABELED_FILES:
        return DataSource.labeled_files(path)
    return DataSource.labeled_directories(path)


def _extractor(backbone: str, output_name: str | None) -> FeatureExtractor:
    from eyespot.features import FeatureExtractor

    if backbone.lower().endswith(".onnx") or Path(backbone).is_file():
        with _working(quiet=True):  # tells what it had to assume
            return FeatureExtractor.custom(backbone, output_name=output_name)
    if output_name is not None:
        message = "--output-name goes with --backbone FILE.onnx"
        raise InvalidOption(message, source="--output-name", code="invalid_argument")
    return FeatureExtractor.default() if backbone == "default" else FeatureExtractor.named(backbone)


def _validation(
    text: str, seed: int, read: Callable[[Path], DataSource]
) -> SplitStrategy | DataSource | None:
    from eyespot.options import SplitStrategy

    if text == "automatic":
        return SplitStrategy.automatic(seed)
    if text == "none":
        return None
    try:
        ratio = float(text)
    except ValueError:
        if Path(text).exists():
            return read(Path(text))
        message = (
            f"--validation is {text!r}; allowed: automatic, none, a share such as 0.2, or a folder"
        )
        raise InvalidOption(message, source="--validation", code="invalid_argument") from None
    return SplitStrategy.fixed(ratio, seed)


def _l2(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        message = f"--l2 is {text!r}; allowed: auto, or a number from 0 up"
        raise InvalidOption(message, source="--l2", code="invalid_argument") from None


def _check_writable(path: Path) -> None:
    """Refuse a place that cannot take the result before hours of work, not after."""
    if path.is_dir():
        message = f"{path} is a folder; give the name of a file, such as {path / 'model.onnx'}"
        raise InvalidOption(message, source=str(path), code="invalid_argument")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        message = f"{path}: the folder {folder} does not exist"
        raise InvalidOption(message, source=str(path), code="invalid_argument")
    if not os.access(folder, os.W_OK | os.X_OK) and (path.is_file() or not path.exists()):
        message = f"{path}: there is no permission to write to the folder {folder}"
        raise InvalidOption(message, source=str(path), code="invalid_argument")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# -- commands ---------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from eyespot._core import __version__

        typer.echo(f"eyespot {__version__}")
        raise typer.Exit


@app.command()
@_guarded
def train(
    photos: Photos,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to save the model.")
    ] = Path("model.onnx"),
    validation: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Photos to check the model with: automatic (held out by Create ML's rule), none, "
            "a share such as 0.2, or a folder of their own.",
            rich_help_panel=_DATA,
        ),
    ] = "automatic",
    data_format: Format = DataFormat.AUTO,
    path_column: PathColumn = "path",
    label_column: LabelColumn = "label",
    on_error: Errors = OnError.SKIP,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Which random split; the same seed, the same split.",
            rich_help_panel=_DATA,
        ),
    ] = 0,
    backbone: Backbone = "default",
    output_name: OutputName = None,
    crop: Crop = None,
    max_iterations: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Most steps of the solver.", rich_help_panel=_SOLVER),
    ] = 25,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Largest gradient at which training is done.",
            rich_help_panel=_SOLVER,
        ),
    ] = 1e-4,
    l2: Annotated[
        str,
        typer.Option(
            metavar="auto|X",
            help="Weight of the L2 penalty; auto chooses it by cross-validation.",
            rich_help_panel=_SOLVER,
        ),
    ] = "auto",
    class_weights: Annotated[
        ClassWeights,
        typer.Option(
            metavar="none|balanced",
            help="'balanced' makes rare labels weigh as much as common ones.",
            rich_help_panel=_SOLVER,
        ),
    ] = ClassWeights.NONE,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on PHOTOS and save it as one ONNX file."""
    from eyespot.classifier import ImageClassifier
    from eyespot.options import ModelParameters

    _check_writable(output)

    def read(path: Path) -> DataSource:
        return _data(path, data_format, path_column, label_column)

    data = read(photos)
    parameters = ModelParameters(
        validation=_validation(validation, seed, read),
        max_iterations=max_iterations,
        tolerance=tolerance,
        l2=_l2(l2),
        class_weights=None if class_weights == ClassWeights.NONE else "balanced",
        feature_extractor=_extractor(backbone, output_name),
        crop=crop,
        on_error=on_error.value,
        n_threads=threads,
        seed=seed,
    )
    if not quiet:
        labels = _count(len(data.classes), "label")
        others = f"; passed over {_count(len(data.ignored), 'file')}" if data.ignored else ""
        typer.echo(f"{photos}: {_count(len(data), 'image')} of {labels}{others}", err=True)
    with _working(quiet=quiet) as display:
        model = ImageClassifier.train(data, parameters, progress=display)
    report = model.training_report
    assert report is not None
    for text in () if quiet else report.notes:
        screen.note(text)
    model.save(output)
    if as_json:
        _print_json({"model": str(output), **_training_json(model)})
        return
    typer.echo(_training_table(model))
    size_mb = len(model.to_bytes()) / 1e6
    typer.echo(f"\nSaved {output} ({size_mb:.1f} MB of ONNX). Try: eyespot predict {output} PHOTO")


def _training_json(model: ImageClassifier) -> dict[str, Any]:
    report = model.training_report
    assert report is not None
    return {
        **model.facts,
        "report": {
            "seconds": dict(report.seconds),
            "images_per_second": report.images_per_second,
            "skipped": [
                {"file": error.source, "code": error.code, "message": error.message}
                for error in report.skipped
            ],
        },
    }


def _training_table(model: ImageClassifier) -> str:
    report = model.training_report
    assert report is not None
    sides = [("training", report.n_training, model.training_metrics)]
    if (held_out := model.validation_metrics) is not None:
        sides.append(("validation", report.n_validation, held_out))
    rows = [
        ["", *(name for name, _, _ in sides)],
        ["images", *(f"{count:,}" for _, count, _ in sides)],
        ["accuracy", *(percent(metrics.accuracy) for _, _, metrics in sides)],
        ["log-loss", *(f"{metrics.log_loss:.4f}" for _, _, metrics in sides)],
    ]
    return screen.table(rows)


@app.command()
@_guarded
def evaluate(
    model: Model,
    photos: Photos,
    data_format: Format = DataFormat.AUTO,
    path_column: PathColumn = "path",
    label_column: LabelColumn = "label",
    on_error: Errors = OnError.SKIP,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure MODEL on PHOTOS that it has not seen."""
    from eyespot.classifier import ImageClassifier

    classifier = ImageClassifier.load(model)
    data = _data(photos, data_format, path_column, label_column)
    with _working(quiet=quiet) as display:
        metrics = classifier.evaluate(
            data, on_error=on_error.value, n_threads=threads, progress=display
        )
    if as_json:
        _print_json(metrics.to_dict())
    else:
        typer.echo(str(metrics))


@app.command()
@_guarded
def predict(
    model: Model,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Photos, or folders of photos.", readable=False),
    ],
    top_k: Annotated[
        int, typer.Option(metavar="K", min=1, help="How many labels to show for each photo.")
    ] = 1,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    r"""Tell what each of FILES shows.

    Away from a terminal the fields are parted by tabs; a tab or a line end in a name is written as
    \t or \n there. The exit code is 1 if a photo could not be read.
    """
    from eyespot.classifier import ImageClassifier

    classifier = ImageClassifier.load(model)
    paths = _expanded(files)
    with _working(quiet=quiet or len(paths) < 50) as display:
        result = classifier.infer(paths, n_threads=threads, progress=display)
    failures = {error.index: error for error in result.errors}
    answers: list[dict[str, Any]] = []
    for index, (path, row) in enumerate(zip(paths, result.probabilities, strict=True)):
        if index in failures:
            answers.append({"file": str(path), "error": failures[index].message})
        else:
            top = [choice._asdict() for choice in classifier.top_k(row, top_k)]
            answers.append({"file": str(path), "predictions": top})
    if as_json:
        _print_json(answers)
    else:
        _print_predictions(answers)
    if failures:
        raise typer.Exit(1)


def _print_predictions(answers: list[dict[str, Any]]) -> None:
    """Print a line a photo: aligned on a terminal, with tabs between the fields elsewhere."""
    rows = []
    for answer in answers:
        if "error" in answer:
            screen.note(f"{answer['file']}: {answer['error']}", kind="error")
            continue
        row = [answer["file"]]
        for choice in answer["predictions"]:
            row += [choice["label"], percent(choice["probability"])]
        rows.append(row)
    if not rows:
        return
    if sys.stdout.isatty():
        typer.echo(screen.table(rows, left=2))
        return
    for answer in answers:
        if "predictions" in answer:
            fields = [answer["file"].translate(_ESCAPED)]
            for choice in answer["predictions"]:
                fields += [choice["label"].translate(_ESCAPED), f"{choice['probability']:.6f}"]
            typer.echo("\t".join(fields))


def _expanded(files: list[Path]) -> list[Path]:
    from eyespot.listing import list_images

    paths: list[Path] = []
    for path in files:
        if path.is_dir():
            inside = list_images(path)
            if not inside:
                screen.note(f"{path} holds no image", kind="warning")
            paths += inside
        else:
            paths.append(path)
    if not paths:
        message = "there is no image to predict"
        raise DataError(message, source=str(files[0]), code="no_images")
    return paths


@app.command()
@_guarded
def inspect(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A model that 'train' saved.")
    ] = None,
    backbone: Annotated[
        bool, typer.Option("--backbone", help="Show the card of the built-in backbone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell what MODEL is and how it was made."""
    from eyespot.classifier import ImageClassifier

    if backbone == (model is not None):
        message = "give either a MODEL or --backbone"
        raise InvalidOption(message, source="MODEL", code="invalid_argument")
    if model is None:
        _inspect_backbone(as_json=as_json)
        return
    classifier = ImageClassifier.load(model)
    typer.echo(classifier.to_json() if as_json else classifier.summary())


def _inspect_backbone(*, as_json: bool) -> None:
    from eyespot.features import FeatureExtractor

    extractor = FeatureExtractor.default()
    if as_json:
        _print_json(
            {
                "name": extractor.name,
                "n_features": extractor.n_features,
                "output_name": extractor.output_name,
                "fingerprint": extractor.fingerprint,
                "preprocessing": json.loads(extractor.preprocessing.to_json()),
            }
        )
    else:
        card = (_PACKAGE / "backbones" / f"{extractor.name}.md").read_text(encoding="utf-8")
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.markdown import Markdown

            Console().print(Markdown(card))
        else:
            typer.echo(card.rstrip())


@app.command()
@_guarded
def extract(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="A folder of photos, with labels or without.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to save the arrays.")
    ] = Path("features.npz"),
    backbone: Backbone = "default",
    output_name: OutputName = None,
    crop: Crop = None,
    data_format: Format = DataFormat.AUTO,
    path_column: PathColumn = "path",
    label_column: LabelColumn = "label",
    on_error: Errors = OnError.SKIP,
    threads: Threads = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Save the embeddings of PHOTOS as NumPy arrays.

    The file holds the arrays 'embeddings' (float32, a row a photo) and 'paths'; where the photos
    have labels also 'targets' and 'classes'.
    """
    import io

    import numpy as np

    from eyespot.files import write_atomically
    from eyespot.training import warn_of_skipped

    _check_writable(output)
    extractor = _extractor(backbone, output_name)
    if crop is not None:
        extractor = extractor.with_crop(crop)
    data: DataSource | None = None
    if data_format == DataFormat.AUTO and _is_flat(photos):
        paths = _expanded([photos])
    else:
        data = _data(photos, data_format, path_column, label_column)
        paths = list(data.paths)
    with _working(quiet=quiet) as display:
        features = extractor.extract(
            paths, n_threads=threads, on_error=on_error.value, progress=display
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
        _print_json(
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


def _is_flat(folder: Path) -> bool:
    """Whether `folder` is a folder without sub-folders, so that its photos have no labels."""
    return folder.is_dir() and not any(
        entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith(".")
    )


@app.command()
@_guarded
def demo(
    photos: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PHOTOS]",
            help="One folder of photos per label; a quarter is kept for the test. "
            "Without it, a small set of real photos is made.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the model here."),
    ] = None,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Show all of it on real photos, with the times."""
    from eyespot import demo as demonstration

    if output is not None:
        _check_writable(output)
    with _working(quiet=quiet) as display:
        demonstration.run(
            photos, output=output, n_threads=threads, say=display.say, progress=display
        )


def main() -> None:
    """Run the command line."""
    for name in ("stdout", "stderr"):  # None where the caller closed them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    try:
        app()
    except KeyboardInterrupt:  # while the command was being found or imported
        sys.exit(130)


if __name__ == "__main__":
    main()
