"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eyespot import screen
from eyespot.cli.runner import working
from eyespot.errors import DataError, InvalidOption
from eyespot.options import AUGMENTATION_PRESETS, Classifier, ClassifierKind, CropPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eyespot.augmentation import Augmentation
    from eyespot.data import DataSource
    from eyespot.features import FeatureExtractor
    from eyespot.options import SplitStrategy


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


DATA_PANEL = "Data"
NETWORK_PANEL = "Backbone"
SOLVER_PANEL = "Training"
AUGMENT_PANEL = "Augmentation"
KEEP_PANEL = "Going on"

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
        rich_help_panel=DATA_PANEL,
    ),
]
PathColumn = Annotated[
    str, typer.Option(metavar="NAME", help="A table's column of paths.", rich_help_panel=DATA_PANEL)
]
LabelColumn = Annotated[
    str,
    typer.Option(metavar="NAME", help="A table's column of labels.", rich_help_panel=DATA_PANEL),
]
LabelColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="A table's column of labels, 'label' unless given. A model of several labels a photo "
        "takes several: repeat it; each column holds labels, or yes and no.",
        show_default=False,
        rich_help_panel=DATA_PANEL,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Of several labels a photo: what parts them in a cell of the table, such as ';'.",
        show_default=False,
        rich_help_panel=DATA_PANEL,
    ),
]
MultiLabel = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="Any number of labels a photo: from a table, or from photos that lie in several of "
        "the folders.",
        rich_help_panel=DATA_PANEL,
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Which photos belong together (patients, bursts, films) and so on one side of each "
        "split: a regular expression for paths below PHOTOS, whose part in parentheses tells the "
        "group, such as '(.+)_[0-9]+[.]jpg'.",
        show_default=False,
        rich_help_panel=DATA_PANEL,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Instead, a table's column of groups, such as 'patient'.",
        show_default=False,
        rich_help_panel=DATA_PANEL,
    ),
]
Errors = Annotated[
    OnError,
    typer.Option(
        metavar="skip|raise", help="What an unreadable photo does.", rich_help_panel=DATA_PANEL
    ),
]
Backbone = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="The network that sees: 'default' is built in, a known name is downloaded once, "
        "and any ONNX image network can be a FILE.",
        rich_help_panel=NETWORK_PANEL,
    ),
]
OutputName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Which output of FILE to use.", rich_help_panel=NETWORK_PANEL
    ),
]
Crop = Annotated[
    CropPolicy | None,
    typer.Option(
        metavar="POLICY",
        help="How a photo is brought to the network's shape: center_crop, fit or stretch; "
        "the network's own way unless given.",
        show_default=False,
        rich_help_panel=NETWORK_PANEL,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        metavar="PLAN|NAMES",
        help="Add changed copies of the training photos: light, photos, scans (no flips) or "
        "createml (all six), or some of crop, rotation, blur, exposure, noise, flip with commas "
        "between.",
        show_default=False,
        rich_help_panel=AUGMENT_PANEL,
    ),
]
Copies = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1000,
        help="Copies of each photo; the plan's own number unless given (names multiply: crop and "
        "flip make 4 x 3).",
        show_default=False,
        rich_help_panel=AUGMENT_PANEL,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Keep embeddings there, so that photos that were seen once, under whatever label, "
        "need not be embedded again.",
        show_default=False,
        rich_help_panel=KEEP_PANEL,
    ),
]
Threads = Annotated[
    int, typer.Option(metavar="N", min=0, help="Threads; 0 takes all that are free to use.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def data_source(
    path: Path,
    data_format: DataFormat,
    path_column: str,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    *,
    multi_label: bool = False,
    groups: str | None = None,
    group_column: str | None = None,
) -> DataSource:
    """Return the labelled images of a folder or a table."""
    from eyespot.data import DataSource

    columns = list(label_columns or ["label"])
    if data_format == DataFormat.AUTO and path.suffix.lower() in (".csv", ".tsv"):
        data_format = DataFormat.TABLE
    if not multi_label and (label_separator is not None or len(columns) > 1):
        option = "--label-separator" if label_separator is not None else "--label-column"
        message = (
            f"{option}: one label an image is to be told here, and this gives an image several; "
            "train with --multi-label, and the model's other commands follow"
        )
        raise InvalidOption(message, source=option, code="invalid_argument")
    if data_format == DataFormat.TABLE:
        return DataSource.from_table(
            path,
            path_column=path_column,
            label_column=columns if len(columns) > 1 else columns[0],
            label_separator=label_separator,
            multi_label=multi_label,
            group_column=group_column,
            groups=groups,
        )
    if group_column is not None:
        message = "--group-column goes with a table; --groups takes a pattern for paths"
        raise InvalidOption(message, source="--group-column", code="invalid_argument")
    if label_separator is not None:
        message = "--label-separator goes with a table"
        raise InvalidOption(message, source="--label-separator", code="invalid_argument")
    if data_format == DataFormat.LABELED_FILES:
        if multi_label:
            message = "--multi-label takes a table or folders; a file's name holds one label"
            raise InvalidOption(message, source="--multi-label", code="invalid_argument")
        return DataSource.labeled_files(path, groups=groups)
    return DataSource.labeled_directories(path, multi_label=multi_label, groups=groups)


def extractor(backbone: str, output_name: str | None) -> FeatureExtractor:
    """Return the extractor that ``--backbone`` names."""
    from eyespot.features import FeatureExtractor

    if backbone.lower().endswith(".onnx") or Path(backbone).is_file():
        with working(quiet=True):  # tells what it had to assume
            return FeatureExtractor.custom(backbone, output_name=output_name)
    if output_name is not None:
        message = "--output-name goes with --backbone FILE.onnx"
        raise InvalidOption(message, source="--output-name", code="invalid_argument")
    return FeatureExtractor.default() if backbone == "default" else FeatureExtractor.named(backbone)


def validation(
    text: str, seed: int, read: Callable[[Path], DataSource]
) -> SplitStrategy | DataSource | None:
    """Return what ``--validation`` stands for; `read` makes a source of a folder."""
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


def l2(text: str) -> float | Literal["auto"]:
    """Return what ``--l2`` stands for."""
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        message = f"--l2 is {text!r}; allowed: auto, or a number from 0 up"
        raise InvalidOption(message, source="--l2", code="invalid_argument") from None


def classifier(kind: ClassifierKind, layer_sizes: str | None) -> Classifier:
    """Return what ``--classifier`` and ``--layer-sizes`` stand for."""
    if layer_sizes is None:
        if kind is ClassifierKind.LOGISTIC_REGRESSOR:
            return Classifier.logistic_regressor()
        return Classifier.multilayer_perceptron()
    if kind is ClassifierKind.LOGISTIC_REGRESSOR:
        message = "--layer-sizes goes with --classifier multilayer_perceptron"
        raise InvalidOption(message, source="--layer-sizes", code="invalid_argument")
    try:
        sizes = [int(part) for part in layer_sizes.split(",")]
    except ValueError:
        message = f"--layer-sizes is {layer_sizes!r}; allowed: numbers such as 128 or 128,64"
        raise InvalidOption(message, source="--layer-sizes", code="invalid_argument") from None
    return Classifier.multilayer_perceptron(sizes)


def augmentation(text: str | None, copies: int | None) -> Augmentation | None:
    """Return what ``--augment`` and ``--copies`` stand for."""
    from eyespot.augmentation import Augmentation

    if text is None:
        if copies is not None:
            message = "--copies goes with --augment, such as --augment photos --copies 8"
            raise InvalidOption(message, source="--copies", code="invalid_argument")
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and (presets := [name for name in names if name in AUGMENTATION_PRESETS]):
        message = f"--augment is {text!r}: {presets[0]} is a plan of its own; give it alone"
        raise InvalidOption(message, source="--augment", code="invalid_argument")
    return Augmentation.resolve(names[0] if len(names) == 1 else names, copies)


def class_weights(text: str) -> float | Literal["balanced"] | None:
    """Return what ``--class-weights`` stands for."""
    if text == "none":
        return None
    if text == "balanced":
        return "balanced"
    try:
        return float(text)
    except ValueError:
        message = (
            f"--class-weights is {text!r}; allowed: none, balanced, or a power such as 0.5, "
            "which is between the two"
        )
        raise InvalidOption(message, source="--class-weights", code="invalid_argument") from None


def expanded(files: list[Path]) -> list[Path]:
    """Return the photos that `files` name, those inside of folders included."""
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


def any_photos(path: Path) -> DataSource | list[Path]:
    """Return the photos of a table or of a folder, with their labels where there are any."""
    if not path.is_dir() and path.suffix.lower() not in (".csv", ".tsv"):
        return [path]
    if is_flat(path):
        return expanded([path])
    return data_source(path, DataFormat.AUTO, "path")


def is_flat(folder: Path) -> bool:
    """Whether `folder` is a folder without sub-folders, so that its photos have no labels."""
    return folder.is_dir() and not any(
        entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith(".")
    )
