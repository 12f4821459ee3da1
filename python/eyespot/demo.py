"""The demonstration: everything that eyespot does, once, on real photos, with its times."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eyespot.data import DataSource
from eyespot.errors import ExportError, EyespotError
from eyespot.image_classifier import ImageClassifier
from eyespot.options import ModelParameters, SplitStrategy
from eyespot.rendering import percent
from eyespot.reviewing import review
from eyespot.screen import table
from eyespot.store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from eyespot.metrics import ClassifierMetrics
    from eyespot.progress import ProgressCallback

__all__ = ["Demonstration", "run"]

_TEST_SHARE = 0.25
_SHOWN = 6


@dataclass(slots=True)
class Demonstration:
    """What the demonstration did.

    Attributes
    ----------
    model : ImageClassifier
        As reloaded from its file.
    metrics : ClassifierMetrics
        On the test photos.
    seconds : dict of str to float
        Wall time of each step, in their order.
    """

    model: ImageClassifier
    metrics: ClassifierMetrics
    seconds: dict[str, float] = field(default_factory=dict)


def run(
    photos: Path | None,
    *,
    output: Path | None = None,
    n_threads: int = 0,
    say: Callable[[str], None],
    progress: ProgressCallback | None = None,
) -> Demonstration:
    """Train, evaluate, predict, save, reload, export, compare, and review the photos.

    Parameters
    ----------
    photos : Path or None
        One folder of photos per label, of which a quarter is kept for the test; ``None`` makes a
        small set of real photos, in a folder beside `output`.
    output : Path, optional
        Where to keep the model, with its exports and the review beside it; without it, all go with
        the temporary folder.
    n_threads : int
        Threads to work with; 0 means as many as the process may use.
    say : callable
        Takes each line for the reader.
    progress : callable, optional
        Takes the progress of the long steps.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, started: float) -> str:
        seconds[name] = time.perf_counter() - started
        return f"{seconds[name]:.2f} s"

    with tempfile.TemporaryDirectory(prefix="eyespot-demo-") as folder:
        start = time.perf_counter()
        samples = Path(folder) if output is None else output.with_name(f"{output.stem}-photos")
        train_data, test_data = _photos(photos, samples)
        count = len(train_data.classes)
        labels = f"{count:,} label{'s' if count > 1 else ''}: {', '.join(train_data.classes)}"
        say(
            f"Photos: {len(train_data):,} to train and {len(test_data):,} to test, "
            f"{labels} ({timed('find photos', start)})"
        )

        start = time.perf_counter()
        parameters = ModelParameters(n_threads=n_threads)
        store = FeatureStore(Path(folder) / "store")
        model = ImageClassifier.train(train_data, parameters, store=store, progress=progress)
        say(_trained(model, timed("train", start)))

        start = time.perf_counter()
        metrics = model.evaluate(test_data, n_threads=n_threads, progress=progress)
        say(
            f"Tested: accuracy {percent(metrics.accuracy)}, log-loss {metrics.log_loss:.4f} "
            f"({timed('evaluate', start)})"
        )

        sample = _spread(len(test_data), _SHOWN)
        paths = [test_data.paths[index] for index in sample]
        start = time.perf_counter()
        probabilities = model.predict_proba(paths, n_threads=n_threads)
        say(f"Predicted {len(paths)} test photos ({timed('predict', start)}):")
        say(_predictions(model, test_data, sample, probabilities))

        file = output or Path(folder) / "model.onnx"
        start = time.perf_counter()
        model.save(file)
        size_mb = file.stat().st_size / 1e6
        say(f"Saved {file.name}: {size_mb:.1f} MB of ONNX ({timed('save', start)})")

        start = time.perf_counter()
        reloaded = ImageClassifier.load(file)
        again = reloaded.predict_proba(paths, n_threads=n_threads)
        if again.tobytes() != probabilities.tobytes():
            message = f"{file}: the reloaded model predicts differently from the one saved"
            raise EyespotError(message, source=str(file), code="internal")
        say(f"Reloaded it: the same predictions, bit for bit ({timed('reload', start)})")

        resizing = file.with_name(f"{file.stem}-any-size.onnx")
        start = time.perf_counter()
        export = reloaded.export(resizing, input="resize", photos=paths)
        say(f"Exported {resizing.name}: {export.proof} ({timed('export onnx', start)})")
        if importlib.util.find_spec("coremltools") is not None:
            package = file.with_suffix(".mlpackage")
            start = time.perf_counter()
            try:
                export = reloaded.export(package, photos=paths)
            except ExportError as error:  # coremltools lacks its native part on some systems
                say(f"Not exported for Core ML: {error}")
            else:
                say(f"Exported {package.name}: {export.proof} ({timed('export core ml', start)})")

        start = time.perf_counter()
        found = review(train_data, n_threads=n_threads, store=store, progress=progress)
        form = "html" if importlib.util.find_spec("PIL") is not None else "csv"
        page = found.save(file.with_name(f"{file.stem}-review.{form}"))
        elapsed = timed("review", start)
        say(f"Reviewed the training photos in {page.name}: {found.counts} ({elapsed})")

    say("")
    say(table(_times(seconds, model)))
    return Demonstration(model=reloaded, metrics=metrics, seconds=seconds)


def _photos(photos: Path | None, samples: Path) -> tuple[DataSource, DataSource]:
    if photos is None:
        from eyespot.samples import build_sample_photos

        train_folder, test_folder = build_sample_photos(samples)
        return (
            DataSource.labeled_directories(train_folder),
            DataSource.labeled_directories(test_folder),
        )
    data = DataSource.labeled_directories(photos)
    split = data.split(SplitStrategy.fixed(_TEST_SHARE))
    return split.train, split.validation or split.train


def _trained(model: ImageClassifier, elapsed: str) -> str:
    report = model.training_report
    assert report is not None
    iterations = model.facts["solver"]["iterations"]
    name = model.facts["backbone"]["name"]
    return (
        f"Trained on {name}: {report.images_per_second:,.0f} images/s, "
        f"{iterations} iterations ({elapsed})"
    )


def _times(seconds: dict[str, float], model: ImageClassifier) -> list[list[str]]:
    """Return the rows of the closing table: each step, the phases of training, and the sum."""
    report = model.training_report
    assert report is not None
    rows = []
    for name, value in seconds.items():
        rows.append([name, f"{value:.2f} s"])
        if name == "train":
            phases = report.seconds.items()
            rows += [[f"  {phase.replace('_', ' ')}", f"{part:.2f} s"] for phase, part in phases]
    return [*rows, ["in all", f"{sum(seconds.values()):.2f} s"]]


def _spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` positions spread evenly over `count` things."""
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))


def _predictions(
    model: ImageClassifier,
    data: DataSource,
    sample: list[int],
    probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> str:
    rows = []
    for index, row in zip(sample, probabilities, strict=True):
        label, probability = model.top_k(row, 1)[0]
        truth = data.classes[data.targets[index]]
        verdict = "right" if label == truth else f"wrong, it is {truth}"
        rows.append(["", data.paths[index].name, label, percent(probability), verdict])
    return table(rows, left=3)
