"""Training, phase by phase: split, embeddings, head, metrics.

Each phase is a plain function over plain values; `train` runs them in order. The split is by file
and comes first, so that nothing that is learnt can leak from one side to the other; training and
validation images then go through the backbone in one pass.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from eyespot.augmentation import Augmentation
from eyespot.budget import check_rows
from eyespot.calibration import Calibration, fit_temperature
from eyespot.data import DataSource, Split
from eyespot.errors import (
    Cancelled,
    ConvergenceWarning,
    DataError,
    GroupsWarning,
    ImageError,
    InvalidOption,
    SkippedImagesWarning,
)
from eyespot.features import FeatureExtractor
from eyespot.head import (
    Head,
    HeadFit,
    HeadIteration,
    PerceptronFit,
    StopReason,
    class_balance,
    fit_perceptron,
    fit_sigmoid,
    fit_softmax,
    label_balance,
)
from eyespot.loader import check_cancel
from eyespot.metrics import ClassifierMetrics
from eyespot.multi_label_metrics import MultiLabelMetrics
from eyespot.options import ModelParameters, SplitStrategy
from eyespot.progress import Phase, Progress, ProgressCallback, ProgressReporter, logger
from eyespot.sides import NAMED_FILES, Side, Sides, groups_of, listed, sides_of
from eyespot.variants import Variants

if TYPE_CHECKING:
    from eyespot._core import CancelToken
    from eyespot.hashing import ContentHashes
    from eyespot.store import FeatureStore

__all__ = [
    "Resumption",
    "TrainedHead",
    "TrainingReport",
    "extractor_of",
    "label_metrics_from_facts",
    "metrics_from_facts",
    "parameter_facts",
    "train",
    "warn_of_shared_groups",
    "warn_of_skipped",
]

# Part of the loss that is still to be had: less than this changes no prediction that matters.
_WORTH_A_WARNING = 1e-3
_STORED_METRICS = (
    "n_images",
    "accuracy",
    "log_loss",
    "expected_calibration_error",
    "top_k_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "rank_counts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What one run of training did; the parts that differ from run to run are only here.

    Attributes
    ----------
    seconds : mapping of str to float
        Wall time of each phase, by the names of `Phase`, in the order in which they ran.
    images_per_second : float
        Images embedded a second, augmented copies and skipped ones included; without those that
        came out of a store.
    n_training, n_validation : int
        Images that were used, after the skipped ones were left out; copies are not counted.
    n_copies : int
        Augmented copies of the training images.
    n_reused : int
        Embeddings that came out of a store, of copies and validation images too.
    n_training_groups, n_validation_groups : int
        Groups that these images are of, an image without a group being one.
    groups : frozenset of str
        Names of the groups that were trained on. They are only here: a saved model has none.
    skipped : tuple of ImageError
        Images that could not be read; `ImageError.index` counts the training images first.
    notes : tuple of str
        What is worth knowing about the data and the split, in sentences.
    """

    seconds: Mapping[str, float]
    images_per_second: float
    n_training: int
    n_validation: int
    n_copies: int = 0
    n_reused: int = 0
    n_training_groups: int = 0
    n_validation_groups: int = 0
    groups: frozenset[str] = field(default=frozenset(), repr=False)
    skipped: tuple[ImageError, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_s(self) -> float:
        """Seconds of all phases together."""
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedHead:
    """A backbone, the head that was trained on its embeddings, and what is known of both.

    Attributes
    ----------
    extractor : FeatureExtractor
        The backbone, with the crop that was used.
    classes : tuple of str
        The labels, in the order of the head's classes.
    head : Head
    training_metrics : ClassifierMetrics or MultiLabelMetrics
    validation_metrics : ClassifierMetrics or MultiLabelMetrics or None
        ``None`` when no image was held out.
    facts : mapping
        What a saved model tells about its training: plain JSON values that follow from the data
        and the parameters alone, never from the time, the machine or a path.
    report : TrainingReport
    """

    extractor: FeatureExtractor
    classes: tuple[str, ...]
    head: Head
    training_metrics: ClassifierMetrics | MultiLabelMetrics
    validation_metrics: ClassifierMetrics | MultiLabelMetrics | None
    facts: Mapping[str, Any]
    report: TrainingReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What makes a training one that can go on later.

    Attributes
    ----------
    state : mapping or None
        Of the head's fit, to go on from.
    keep : callable
        Told the iterations done, loss and accuracy, and what returns the state, after each
        iteration and when the fit has ended; the last argument says which.
    report_interval : int
        Iterations after which progress is told, however little time has passed.
    """

    state: Mapping[str, Any] | None
    keep: Callable[[int, Mapping[str, float], Callable[[], Mapping[str, Any]], bool], None]
    report_interval: int = 1


@dataclass(slots=True)
class _Stopwatch:
    """Seconds of each phase, and a look at the cancel token between them."""

    cancel: CancelToken | None
    seconds: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)

    def lap(self, phase: Phase) -> None:
        now = time.perf_counter()
        self.seconds[str(phase)] = now - self._started
        self._started = now
        if self.cancel is not None and self.cancel.cancelled:
            message = f"training was cancelled after the phase {phase}"
            raise Cancelled(message, code="cancelled")


def train(
    data: DataSource,
    parameters: ModelParameters,
    *,
    start: Head | None = None,
    store: FeatureStore | None = None,
    resumption: Resumption | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> TrainedHead:
    """Train a head on the embeddings of `data`.

    Parameters
    ----------
    data : DataSource
        Images with their labels: at least two labels, and two images of each. Where an image may
        bear several labels one is enough, and each label needs images that do not bear it, too.
    parameters : ModelParameters
        How to train.
    start : Head, optional
        For the classes of `data`, on the same backbone, without a temperature: where the solver
        starts from.
    store : FeatureStore, optional
        Where embeddings are looked for first, and kept.
    resumption : Resumption, optional
        Where the head's fit goes on, and who keeps its state.
    progress : callable, optional
        Told about each phase, from this thread.
    cancel : CancelToken, optional
        Ends the work with `Cancelled`, soon after its ``cancel()``.

    Raises
    ------
    DataError
        If the data cannot train a classifier, or all images of a label are unreadable.
    DecodeError
        If an image is unreadable and ``parameters.on_error`` is ``"raise"``.
    InvalidOption
        If the parameters name a label that the data do not have.
    StoreError
        If the store cannot be read or written.
    Cancelled
        If `cancel` was used.

    Warns
    -----
    SkippedImagesWarning
        If images were left out.
    ConvergenceWarning
        If the solver used up its iterations and the loss may yet fall by more than 0.1 %.
    GroupsWarning
        If all images of a class are of one group, or validation data of the caller's are of groups
        that training data are of, too.
    """
    check_cancel(cancel)
    watch = _Stopwatch(cancel)
    if data.multi_label and parameters.classifier.layer_sizes:
        message = (
            "classifier is a multilayer perceptron; allowed with several labels an image: "
            "Classifier.logistic_regressor()"
        )
        raise InvalidOption(message, source="classifier", code="invalid_argument")
    notes = _check_trainable(data)
    extractor = extractor_of(parameters)
    split = _split(data, parameters, progress=progress, cancel=cancel)
    notes += split.notes
    for text in notes:
        logger.info("%s", text)
    watch.lap(Phase.INITIALIZED)

    paths = [*split.train.paths, *(split.validation.paths if split.validation is not None else ())]
    contents = None if store is None else _contents(split, parameters, progress, cancel)
    variants = _variants(split, extractor, parameters)
    features = extractor.extract(
        paths,
        n_threads=parameters.n_threads,
        on_error=parameters.on_error,
        progress=progress,
        cancel=cancel,
        variants=variants,
        store=store,
        contents=contents,
    )
    sides = sides_of(features, split, 1.0 if variants is None else variants.plan.copies_weight)
    warn_of_skipped(features.errors, len(paths))
    watch.lap(Phase.EXTRACTING_FEATURES)

    fit = _fit(
        sides,
        data.classes,
        parameters,
        start=start,
        resumption=resumption,
        progress=progress,
        cancel=cancel,
    )
    far = fit.relative_gap > _WORTH_A_WARNING
    if fit.stop_reason is StopReason.max_iterations and far and isinstance(fit, HeadFit):
        # A perceptron's minimum is not what predicts best, so there is nothing to warn of.
        warnings.warn(_not_converged(fit), ConvergenceWarning, stacklevel=3)
    watch.lap(Phase.TRAINING)

    head, calibration = _calibrated(fit, sides, data.classes, parameters)
    measure = ProgressReporter(progress, Phase.EVALUATING, len(features.indices))
    measure.update(0)
    training_metrics = _metrics(sides.training, data.classes, head)
    validation_metrics = (
        _metrics(sides.validation, data.classes, head) if sides.validation else None
    )
    measure.update(len(features.indices))
    watch.lap(Phase.EVALUATING)

    n_embedded = (len(paths) if variants is None else variants.n_rows) - features.n_reused
    extraction_s = watch.seconds[str(Phase.EXTRACTING_FEATURES)]
    return TrainedHead(
        extractor=extractor,
        classes=data.classes,
        head=head,
        training_metrics=training_metrics,
        validation_metrics=validation_metrics,
        facts={
            "multi_label": data.multi_label,
            "parameters": parameter_facts(parameters, extractor),
            "solver": _solver_facts(fit),
            "calibration": calibration and calibration.to_dict(),
            "images": {
                "training": sides.training.counts(data.classes),
                "validation": sides.validation and sides.validation.counts(data.classes),
                "skipped": len(features.errors),
                **_group_facts(sides),
            },
            "augmentation": variants and _augmentation_facts(variants, sides, data.classes, head),
            "metrics": {
                "training": _metric_facts(training_metrics),
                "validation": validation_metrics and _metric_facts(validation_metrics),
            },
        },
        report=TrainingReport(
            seconds=watch.seconds,
            images_per_second=n_embedded / extraction_s if extraction_s > 0 else 0.0,
            n_training=len(sides.training.targets),
            n_copies=sides.n_copies,
            n_reused=features.n_reused,
            n_validation=len(sides.validation.targets) if sides.validation else 0,
            n_training_groups=sides.training.n_groups,
            n_validation_groups=sides.validation.n_groups if sides.validation else 0,
            groups=frozenset(name for name in sides.training.groups if name is not None),
            skipped=features.errors,
            notes=notes,
        ),
    )


def metrics_from_facts(classes: Sequence[str], facts: Mapping[str, Any]) -> ClassifierMetrics:
    """Return the metrics that ``TrainedHead.facts["metrics"]`` tells; skipped files are not kept.

    Raises
    ------
    InvalidOption
        If an entry is missing or does not fit.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    try:
        for row, column, count in facts["confusion"]:
            confusion[row, column] = count
        values = {**facts, "classes": classes, "confusion": confusion, "skipped": ()}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        message = f"the stored metrics cannot be read: {error!r}"
        raise InvalidOption(message, source="metrics", code="invalid_argument") from error
    return ClassifierMetrics.from_dict(values)


def label_metrics_from_facts(classes: Sequence[str], facts: Mapping[str, Any]) -> MultiLabelMetrics:
    """Return the metrics that the facts of a multi-label model tell; see `metrics_from_facts`."""
    if not isinstance(cast("object", facts), Mapping):
        message = f"the stored metrics cannot be read: they are {facts!r}"
        raise InvalidOption(message, source="metrics", code="invalid_argument")
    return MultiLabelMetrics.from_dict({**facts, "classes": classes, "skipped": ()})


def warn_of_skipped(errors: Sequence[ImageError], n_images: int) -> None:
    """Warn that `errors` of `n_images` were left out, naming the first few."""
    if not errors:
        return
    named = "; ".join(str(error) for error in errors[:NAMED_FILES])
    more = len(errors) - NAMED_FILES
    rest = f"; and {more:,} more" if more > 0 else ""
    message = f"{len(errors):,} of {n_images:,} images could not be read: {named}{rest}"
    warnings.warn(message, SkippedImagesWarning, stacklevel=3)


def warn_of_shared_groups(trained_on: Collection[str], data: DataSource, kind: str) -> None:
    """Warn that groups of `data`, by which a model is measured, were trained on, too."""
    if shared := data.group_sizes().keys() & set(trained_on):
        which = "1 group is" if len(shared) == 1 else f"{len(shared):,} groups are"
        message = (
            f"{which} in the training data and in the {kind} data, such as {min(shared)!r}, so the "
            "figures flatter; hold out whole groups"
        )
        warnings.warn(message, GroupsWarning, stacklevel=4)


def _check_trainable(data: DataSource) -> tuple[str, ...]:
    """Refuse data that cannot train a classifier; return what the user should know of the rest."""
    notes = data.check_for_training()
    alone = [label for label, count in data.counts().items() if count == 1]
    if alone:
        message = (
            f"only one image of {listed(alone)}: training needs at least 2 images of each label, "
            "and 10 or more are better; add images or take the label out"
        )
        raise DataError(message, source=alone[0], code="too_few_images")
    return notes


def extractor_of(parameters: ModelParameters) -> FeatureExtractor:
    """Return the backbone that `parameters` stand for, with their crop."""
    extractor = parameters.feature_extractor or FeatureExtractor.default()
    if not isinstance(extractor, FeatureExtractor):
        message = f"feature_extractor is a {type(extractor).__name__}; allowed: FeatureExtractor"
        raise InvalidOption(message, source="feature_extractor", code="invalid_argument")
    if parameters.crop is None:
        return extractor
    return extractor.with_crop(parameters.crop)


def _split(
    data: DataSource,
    parameters: ModelParameters,
    *,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> Split:
    validation = parameters.validation
    if validation is None:
        return Split(train=data, validation=None)
    # The split goes by contents; to read them here keeps progress, threads and Ctrl-C in hand.
    data.hashes(n_threads=parameters.n_threads, progress=progress, cancel=cancel)
    if isinstance(validation, SplitStrategy):
        return data.split(validation)
    if not isinstance(validation, DataSource):
        message = (
            f"validation is a {type(validation).__name__}; allowed: SplitStrategy, DataSource, None"
        )
        raise InvalidOption(message, source="validation", code="invalid_argument")
    if validation.multi_label != data.multi_label:
        one, several = "one label an image", "several labels an image"
        message = (
            f"the validation data have {several if validation.multi_label else one}, the training "
            f"data {several if data.multi_label else one}; read both in the same way"
        )
        raise InvalidOption(message, source="validation", code="invalid_argument")
    held_out = validation.with_classes(data.classes)
    held_out.hashes(n_threads=parameters.n_threads, progress=progress, cancel=cancel)
    shared = data.shared_with(held_out)
    notes: tuple[str, ...] = ()
    if shared:
        text = (
            f"{len(shared):,} images are in the validation data too (byte-identical files), so "
            f"the validation accuracy flatters; the first: {shared[0][0]}"
        )
        notes = (text,)
    warn_of_shared_groups(data.group_sizes(), held_out, "validation")
    return Split(train=data, validation=held_out if len(held_out) else None, notes=notes)


def _contents(
    split: Split,
    parameters: ModelParameters,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> ContentHashes:
    """Return the digests of the images of both sides; most often they are known."""
    sides = [side for side in (split.train, split.validation) if side is not None]
    known = [
        side.hashes(n_threads=parameters.n_threads, progress=progress, cancel=cancel)
        for side in sides
    ]
    return known[0] if len(known) == 1 else known[0].followed_by(known[1])


def _variants(
    split: Split, extractor: FeatureExtractor, parameters: ModelParameters
) -> Variants | None:
    """Return what copies to make of the training side; tell how many, and about how long."""
    if parameters.augmentation is None:
        return None
    plan = Augmentation.resolve(parameters.augmentation)
    unknown = [label for label in plan.copies_per_class if label not in split.train.classes]
    if unknown:
        message = (
            f"copies_per_class has {listed(unknown)}, which the data do not; "
            f"their labels are {listed(split.train.classes)}"
        )
        raise InvalidOption(message, source="copies_per_class", code="invalid_argument")
    if plan.copies_per_class and split.train.multi_label:
        message = "copies_per_class goes with one label an image; these images bear several"
        raise InvalidOption(message, source="copies_per_class", code="invalid_argument")
    n_others = 0 if split.validation is None else len(split.validation)
    # An image with several labels has no class that the number of its copies could go by.
    several = split.train.multi_label
    labels = [""] * len(split.train) if several else split.train.labels
    variants = Variants(plan, parameters.seed, [*labels, *[None] * n_others])
    check_rows(variants)
    budget = extractor.budget(variants, n_threads=parameters.n_threads)
    logger.getChild("budget").info("%s", budget)
    return variants


def _augmentation_facts(
    variants: Variants, sides: Sides, classes: Sequence[str], head: Head
) -> dict[str, Any]:
    """Return the plan in full, and how the head does on the copies."""
    rows = sides.augmented
    assert rows is not None
    copies = Side(
        embeddings=rows.embeddings[rows.copies], targets=rows.targets[rows.copies], skipped=()
    )
    metrics = _metrics(copies, classes, head) if len(copies.targets) else None
    return {
        "plan": variants.plan.to_dict(),
        "seed": variants.seed,
        "copies": copies.counts(classes),
        "accuracy": metrics.accuracy if isinstance(metrics, ClassifierMetrics) else None,
        "log_loss": metrics and metrics.log_loss,
    }


def _fit(
    sides: Sides,
    classes: Sequence[str],
    parameters: ModelParameters,
    *,
    start: Head | None,
    resumption: Resumption | None,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> HeadFit | PerceptronFit:
    started = time.perf_counter()
    reporter = ProgressReporter(progress, Phase.TRAINING, parameters.max_iterations)
    reporter.update(0)

    def tell(step: HeadIteration) -> None:
        metrics = {"loss": step.loss, "accuracy": step.accuracy}
        due = False
        if resumption is not None:
            resumption.keep(step.iteration, metrics, step.state, False)
            due = step.iteration % resumption.report_interval == 0
        if step.iteration < parameters.max_iterations:  # the last is told below
            reporter.update(step.iteration, metrics, force=due)

    side = sides.augmented or sides.training
    options: dict[str, Any] = {
        "max_iterations": parameters.max_iterations,
        "tolerance": parameters.tolerance,
        "n_threads": parameters.n_threads,
        "seed": parameters.seed,
        "callback": tell,
        "state": None if resumption is None else resumption.state,
        "cancel": cancel,
        **groups_of(sides)._asdict(),
        "sample_weight": None if sides.augmented is None else sides.augmented.weights,
    }
    layer_sizes = parameters.classifier.layer_sizes
    layer = start.layers[0] if start is not None else None
    fit: HeadFit | PerceptronFit
    if side.multi_label:
        ratio = label_balance(parameters.class_weights, side.targets, classes)
        rows = (side.embeddings, side.targets)
        fit = fit_sigmoid(*rows, l2=parameters.l2, positive_weights=ratio, start=layer, **options)
    else:
        options["class_weights"] = class_balance(parameters.class_weights, side.targets, classes)
        options["held_out"] = parameters.calibration
        one = (side.embeddings, side.targets, len(classes))
        if layer_sizes:
            if parameters.l2 != "auto":
                options["l2"] = parameters.l2
            fit = fit_perceptron(*one, layer_sizes=layer_sizes, start=start, **options)
        else:
            fit = fit_softmax(*one, l2=parameters.l2, start=layer, **options)
    told = {"loss": fit.loss, "accuracy": fit.accuracy}
    if resumption is not None and fit.stop_reason is not StopReason.no_progress:
        # Else the state is that after a step that failed; the way from the one before leads here.
        resumption.keep(fit.n_iterations, told, lambda: fit.state, True)
    if progress is not None:  # fewer iterations than allowed were all there was to do
        progress(
            Progress(
                phase=Phase.TRAINING,
                done=fit.n_iterations,
                total=fit.n_iterations,
                elapsed_s=time.perf_counter() - started,
                metrics=told,
            )
        )
    return fit


def _calibrated(
    fit: HeadFit | PerceptronFit,
    sides: Sides,
    classes: Sequence[str],
    parameters: ModelParameters,
) -> tuple[Head, Calibration | None]:
    """Return the head with its temperature folded in, where there is something to find it by."""
    held_out = fit.held_out
    if held_out is None:
        return fit.head, None
    targets = (sides.augmented or sides.training).targets[held_out.rows]
    weights = class_balance(parameters.class_weights, sides.training.targets, classes)
    calibration = fit_temperature(
        held_out.log_probabilities,
        targets,
        None if weights is None else weights[targets],
        how=f"by {held_out.n_folds}-fold cross-validation",
    )
    logger.info("calibration: %s", calibration)
    return fit.head.with_temperature(calibration.temperature), calibration


def _group_facts(sides: Sides) -> dict[str, Any]:
    """Return how many groups there are on each side; nothing where images are their own."""
    of_sides = {"training": sides.training, "validation": sides.validation}
    if all(side is None or side.n_groups == len(side.targets) for side in of_sides.values()):
        return {}
    return {"groups": {name: side and side.n_groups for name, side in of_sides.items()}}


def _not_converged(fit: HeadFit | PerceptronFit) -> str:
    iterations = "1 iteration" if fit.n_iterations == 1 else f"{fit.n_iterations} iterations"
    if fit.gradient_norm > fit.tolerance:
        reached = (
            f"the largest gradient is {fit.gradient_norm:.2g}, the tolerance {fit.tolerance:g}"
        )
    else:
        reached = (
            f"the loss, {fit.loss:.2g}, may yet fall by {100 * fit.relative_gap:.2g} %, "
            f"the tolerance is {100 * fit.tolerance:g} %"
        )
    return (
        f"training stopped after {iterations} (max_iterations) before it converged: {reached}; "
        "the model works, and more iterations may improve it"
    )


def _metrics(
    side: Side, classes: Sequence[str], head: Head
) -> ClassifierMetrics | MultiLabelMetrics:
    kind = MultiLabelMetrics if side.multi_label else ClassifierMetrics
    return kind.from_probabilities(
        classes, side.targets, head.probabilities(side.embeddings), skipped=side.skipped
    )


def _metric_facts(metrics: ClassifierMetrics | MultiLabelMetrics) -> dict[str, Any]:
    """Return metrics as plain values without paths, small even with thousands of labels."""
    values = metrics.to_dict()
    if isinstance(metrics, MultiLabelMetrics):
        told_elsewhere = ("classes", "skipped", "precision_recall")
        return {name: value for name, value in values.items() if name not in told_elsewhere}
    rows, columns = np.nonzero(metrics.confusion)
    counts = metrics.confusion[rows, columns]
    return {name: values[name] for name in _STORED_METRICS} | {
        "confusion": np.stack([rows, columns, counts], axis=1).tolist()
    }


def parameter_facts(parameters: ModelParameters, extractor: FeatureExtractor) -> dict[str, Any]:
    """Return what of `parameters` decides on the head, as plain JSON values."""
    validation = parameters.validation
    weights = parameters.class_weights
    return {
        "validation": (
            {"ratio": validation.ratio, "seed": validation.seed}
            if isinstance(validation, SplitStrategy)
            else validation and "data"
        ),
        "classifier": {
            "kind": str(parameters.classifier.kind),
            "layer_sizes": list(parameters.classifier.layer_sizes),
        },
        "max_iterations": parameters.max_iterations,
        "tolerance": parameters.tolerance,
        "l2": parameters.l2,
        "calibration": parameters.calibration,
        "class_weights": dict(sorted(weights.items())) if isinstance(weights, Mapping) else weights,
        "crop": str(extractor.preprocessing.crop),
        "on_error": parameters.on_error,
        "seed": parameters.seed,
    }


def _solver_facts(fit: HeadFit | PerceptronFit) -> dict[str, Any]:
    return {
        "stop_reason": str(fit.stop_reason),
        "converged": fit.converged,
        "iterations": fit.n_iterations,
        "evaluations": fit.n_evaluations,
        "l2": fit.l2,
        "loss": fit.loss,
        "gradient_norm": fit.gradient_norm,
        "relative_gap": fit.relative_gap,
        "tolerance": fit.tolerance,
    }
