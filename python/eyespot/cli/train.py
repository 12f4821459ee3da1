"""``eyespot train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from eyespot import screen
from eyespot.cli import options
from eyespot.cli.runner import check_writable, count, print_json, working
from eyespot.errors import Cancelled, InvalidOption
from eyespot.options import ClassifierKind
from eyespot.progress import Phase
from eyespot.rendering import percent

if TYPE_CHECKING:
    from eyespot.data import DataSource
    from eyespot.image_classifier import ImageClassifier
    from eyespot.metrics import ClassifierMetrics
    from eyespot.multi_label_classifier import MultiLabelImageClassifier
    from eyespot.multi_label_metrics import MultiLabelMetrics
    from eyespot.options import ModelParameters
    from eyespot.progress import ProgressCallback
    from eyespot.training import TrainingReport

__all__ = ["train"]

KindT = TypeVar("KindT", "ImageClassifier", "MultiLabelImageClassifier")


def train(
    photos: options.Photos,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to save the model.")
    ] = Path("model.onnx"),
    validation: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Photos to check the model with: automatic (held out by Create ML's rule), none, "
            "a share such as 0.2, or a folder of their own.",
            rich_help_panel=options.DATA_PANEL,
        ),
    ] = "automatic",
    data_format: options.Format = options.DataFormat.AUTO,
    path_column: options.PathColumn = "path",
    label_column: options.LabelColumns = None,
    label_separator: options.LabelSeparator = None,
    multi_label: options.MultiLabel = False,
    groups: options.Groups = None,
    group_column: options.GroupColumn = None,
    on_error: options.Errors = options.OnError.SKIP,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Which random split; the same seed, the same split.",
            rich_help_panel=options.DATA_PANEL,
        ),
    ] = 0,
    backbone: options.Backbone = "default",
    output_name: options.OutputName = None,
    crop: options.Crop = None,
    classifier: Annotated[
        ClassifierKind,
        typer.Option(
            metavar="KIND",
            help="What learns the labels: logistic_regressor or multilayer_perceptron.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = ClassifierKind.LOGISTIC_REGRESSOR,
    layer_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Widths of the hidden layers of a multilayer_perceptron; 100 unless given.",
            show_default=False,
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = None,
    max_iterations: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Most steps of the solver.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = 25,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Largest gradient at which training is done.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = 1e-4,
    l2: Annotated[
        str,
        typer.Option(
            metavar="auto|X",
            help="Weight of the L2 penalty; auto chooses it by cross-validation.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = "auto",
    class_weights: Annotated[
        str,
        typer.Option(
            metavar="none|balanced|X",
            help="'balanced' makes rare labels weigh as much as common ones; a power such as 0.5 "
            "goes part of the way.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = "none",
    calibration: Annotated[
        bool,
        typer.Option(
            help="Make the probabilities mean what they say, by cross-validation.",
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = True,
    augment: options.Augment = None,
    copies: options.Copies = None,
    balance_copies: Annotated[
        bool,
        typer.Option(
            "--balance-copies",
            help="More copies of labels with few photos, until all have about as many.",
            rich_help_panel=options.AUGMENT_PANEL,
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="An earlier model to go on from; photos and labels may have come or gone.",
            show_default=False,
            rich_help_panel=options.SOLVER_PANEL,
        ),
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the training there: after an interruption, the same command goes on.",
            show_default=False,
            rich_help_panel=options.KEEP_PANEL,
        ),
    ] = None,
    store: options.Store = None,
    threads: options.Threads = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a classifier on PHOTOS and save it as one ONNX file."""
    from eyespot.calibration import Calibration
    from eyespot.image_classifier import ImageClassifier
    from eyespot.multi_label_classifier import MultiLabelImageClassifier
    from eyespot.options import ModelParameters

    check_writable(output)

    def read(path: Path) -> DataSource:
        return options.data_source(
            path,
            data_format,
            path_column,
            label_column,
            label_separator,
            multi_label=multi_label,
            groups=groups,
            group_column=group_column,
        )

    plan = options.augmentation(augment, copies)
    if plan is None and balance_copies:
        message = "--balance-copies goes with --augment, such as --augment photos"
        raise InvalidOption(message, source="--balance-copies", code="invalid_argument")
    for option, value in (("--start", start), ("--store", store)):
        if session is not None and value is not None:
            message = f"{option} does not go with --session, which keeps its own state"
            raise InvalidOption(message, source=option, code="invalid_argument")
    data = read(photos)
    if plan is not None and balance_copies:
        plan = plan.balanced(data.counts())
    parameters = ModelParameters(
        validation=options.validation(validation, seed, read),
        classifier=options.classifier(classifier, layer_sizes),
        max_iterations=max_iterations,
        tolerance=tolerance,
        l2=options.l2(l2),
        class_weights=options.class_weights(class_weights),
        calibration=calibration,
        feature_extractor=options.extractor(backbone, output_name),
        crop=crop,
        on_error=on_error.value,
        n_threads=threads,
        seed=seed,
        augmentation=plan,
    )
    if not quiet:
        labels = count(len(data.classes), "label")
        others = f"; passed over {count(len(data.ignored), 'file')}" if data.ignored else ""
        typer.echo(f"{photos}: {count(len(data), 'image')} of {labels}{others}", err=True)
    kept = _Kept(start=start, session=session, store=store)
    if session is not None and not quiet:
        _tell_session(session)
    with working(quiet=quiet) as display, display.told_by("eyespot.budget"):
        model: ImageClassifier | MultiLabelImageClassifier
        if multi_label:
            model = _train(MultiLabelImageClassifier, data, parameters, kept, display)
        else:
            model = _train(ImageClassifier, data, parameters, kept, display)
    report = model.training_report
    assert report is not None
    if store is not None and not quiet:
        screen.note(f"{count(report.n_reused, 'embedding')} taken from {store}")
    for text in () if quiet else report.notes:
        screen.note(text)
    model.save(output)
    if as_json:
        print_json({"model": str(output), **_training_json(model)})
        return
    typer.echo(_training_table(model))
    if model.facts["calibration"]:
        told = Calibration.from_dict(model.facts["calibration"])
        typer.echo(f"\nProbabilities {told}.")
    size_mb = len(model.to_bytes()) / 1e6
    typer.echo(f"\nSaved {output} ({size_mb:.1f} MB of ONNX). Try: eyespot predict {output} PHOTO")


class _Kept(NamedTuple):
    """What a training begins with beside the photos."""

    start: Path | None
    session: Path | None
    store: Path | None


def _tell_session(folder: Path) -> None:
    """Say what there is to go on from."""
    from eyespot.session import TrainingSession, TrainingSessionParameters

    how = TrainingSessionParameters(session_directory=folder)
    if not how.exists:
        return
    session = TrainingSession.restore(how)
    done = [count(len(session.store), "embedding")]
    if session.phase is Phase.TRAINING:
        done.append(count(session.iteration, "iteration"))
    began = f"{session.date.astimezone():%Y-%m-%d %H:%M}"
    screen.note(f"going on with {folder}, begun {began}: {' and '.join(done)} done")


def _train(
    kind: type[KindT],
    data: DataSource,
    parameters: ModelParameters,
    kept: _Kept,
    progress: ProgressCallback,
) -> KindT:
    from eyespot.session import TrainingSessionParameters
    from eyespot.store import FeatureStore

    try:
        return kind.train(
            data,
            parameters,
            TrainingSessionParameters(session_directory=kept.session),
            start=None if kept.start is None else kind.load(kept.start),
            store=None if kept.store is None else FeatureStore(kept.store),
            progress=progress,
        )
    except (KeyboardInterrupt, Cancelled):
        if (folder := kept.session or kept.store) is not None:
            what = "training" if kept.session else "embeddings"
            screen.note(f"the {what} by now: kept in {folder}; the same command goes on from there")
        raise


def _training_json(model: ImageClassifier | MultiLabelImageClassifier) -> dict[str, Any]:
    report = model.training_report
    assert report is not None
    return {
        **model.facts,
        "report": {
            "seconds": dict(report.seconds),
            "images_per_second": report.images_per_second,
            "reused": report.n_reused,
            "groups": {
                "training": report.n_training_groups,
                "validation": report.n_validation_groups,
            },
            "skipped": [
                {"file": error.source, "code": error.code, "message": error.message}
                for error in report.skipped
            ],
        },
    }


def _training_table(model: ImageClassifier | MultiLabelImageClassifier) -> str:
    report = model.training_report
    assert report is not None
    sides: list[tuple[str, int, ClassifierMetrics | MultiLabelMetrics]] = [
        ("training", report.n_training, model.training_metrics)
    ]
    if (held_out := model.validation_metrics) is not None:
        sides.append(("validation", report.n_validation, held_out))
    told = [_told(metrics) for _, _, metrics in sides]
    rows = [
        ["", *(name for name, _, _ in sides)],
        ["images", *(f"{count:,}" for _, count, _ in sides)],
        *_group_row(report),
        *([["copies", f"{report.n_copies:,}", ""][: 1 + len(sides)]] if report.n_copies else []),
        *([name, *(numbers[name] for numbers in told)] for name in told[0]),
    ]
    return screen.table(rows)


def _group_row(report: TrainingReport) -> list[list[str]]:
    """Return how many groups there are on each side, where images are not all their own."""
    kept = (report.n_training_groups, report.n_validation_groups)
    if kept == (report.n_training, report.n_validation):
        return []
    return [["groups", *(f"{number:,}" for number in kept if number)]]


def _told(metrics: ClassifierMetrics | MultiLabelMetrics) -> dict[str, str]:
    """Return what the table says of one side, by the names of its rows."""
    from eyespot.metrics import ClassifierMetrics

    log_loss = {"log-loss": f"{metrics.log_loss:.4f}"}
    if isinstance(metrics, ClassifierMetrics):
        return {
            "accuracy": percent(metrics.accuracy),
            **log_loss,
            "calibration error": percent(metrics.expected_calibration_error),
        }
    return {
        "micro F1": percent(metrics.micro_f1),
        "macro F1": percent(metrics.macro_f1),
        "mean average precision": percent(metrics.mean_average_precision),
        "all labels right": percent(metrics.subset_accuracy),
        **log_loss,
    }
