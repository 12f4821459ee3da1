"""eyespot: train an image classifier from folders of photos, on a native core.

Every public name is loaded when it is first used, so ``import eyespot`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from eyespot._core import CancelToken, __version__
    from eyespot.augmentation import (
        Augmentation,
        Blur,
        Crop,
        Exposure,
        Flip,
        Noise,
        Rotation,
        Variant,
        augment,
    )
    from eyespot.data import DataSource, Split
    from eyespot.errors import (
        AssumptionWarning,
        Cancelled,
        CheckpointError,
        ConvergenceWarning,
        DataError,
        DecodeError,
        ExportError,
        EyespotError,
        GroupsWarning,
        ImageError,
        IncompatibleParameters,
        InvalidOption,
        ModelError,
        ModifiedTrainingData,
        SkippedImagesWarning,
        StoreError,
    )
    from eyespot.estimator import MultilayerPerceptron, SoftmaxRegression
    from eyespot.exporting import Export
    from eyespot.features import FeatureExtractor, Features
    from eyespot.head import (
        Head,
        HeadFit,
        PerceptronFit,
        StopReason,
        fit_perceptron,
        fit_sigmoid,
        fit_softmax,
        softmax_probabilities,
    )
    from eyespot.image_classifier import ImageClassifier
    from eyespot.loader import Batch, Loader
    from eyespot.metrics import ClassifierMetrics
    from eyespot.model_metadata import ModelMetadata
    from eyespot.multi_label_classifier import MultiLabelImageClassifier
    from eyespot.multi_label_metrics import MultiLabelMetrics
    from eyespot.options import (
        Classifier,
        CropPolicy,
        ModelParameters,
        Preprocessing,
        Resample,
        SplitStrategy,
    )
    from eyespot.paths import get_cmake_dir, get_include
    from eyespot.predictions import Inference, Prediction
    from eyespot.progress import Phase, Progress
    from eyespot.reviewing import DataReview, LabelIssue, LookAlikes, Outlier, review
    from eyespot.session import Checkpoint, Job, TrainingSession, TrainingSessionParameters
    from eyespot.store import FeatureStore
    from eyespot.training import TrainingReport
    from eyespot.verifying import Verification, verify

# Where each public name lives. The import above tells type checkers the same.
_HOMES: Final[dict[str, str]] = {
    "AssumptionWarning": "errors",
    "Augmentation": "augmentation",
    "Batch": "loader",
    "Blur": "augmentation",
    "CancelToken": "_core",
    "Cancelled": "errors",
    "Checkpoint": "session",
    "CheckpointError": "errors",
    "Classifier": "options",
    "ClassifierMetrics": "metrics",
    "ConvergenceWarning": "errors",
    "Crop": "augmentation",
    "CropPolicy": "options",
    "DataError": "errors",
    "DataReview": "reviewing",
    "DataSource": "data",
    "DecodeError": "errors",
    "Export": "exporting",
    "ExportError": "errors",
    "Exposure": "augmentation",
    "EyespotError": "errors",
    "FeatureExtractor": "features",
    "FeatureStore": "store",
    "Features": "features",
    "Flip": "augmentation",
    "GroupsWarning": "errors",
    "Head": "head",
    "HeadFit": "head",
    "ImageClassifier": "image_classifier",
    "ImageError": "errors",
    "IncompatibleParameters": "errors",
    "Inference": "predictions",
    "InvalidOption": "errors",
    "Job": "session",
    "LabelIssue": "reviewing",
    "Loader": "loader",
    "LookAlikes": "reviewing",
    "ModelError": "errors",
    "ModelMetadata": "model_metadata",
    "ModelParameters": "options",
    "ModifiedTrainingData": "errors",
    "MultilayerPerceptron": "estimator",
    "Noise": "augmentation",
    "Outlier": "reviewing",
    "PerceptronFit": "head",
    "MultiLabelImageClassifier": "multi_label_classifier",
    "MultiLabelMetrics": "multi_label_metrics",
    "Phase": "progress",
    "Prediction": "predictions",
    "Preprocessing": "options",
    "Progress": "progress",
    "Resample": "options",
    "Rotation": "augmentation",
    "SkippedImagesWarning": "errors",
    "SoftmaxRegression": "estimator",
    "Split": "data",
    "SplitStrategy": "options",
    "StopReason": "head",
    "StoreError": "errors",
    "TrainingReport": "training",
    "TrainingSession": "session",
    "TrainingSessionParameters": "session",
    "Variant": "augmentation",
    "Verification": "verifying",
    "__version__": "_core",
    "augment": "augmentation",
    "fit_perceptron": "head",
    "fit_sigmoid": "head",
    "fit_softmax": "head",
    "get_cmake_dir": "paths",
    "get_include": "paths",
    "review": "reviewing",
    "softmax_probabilities": "head",
    "verify": "verifying",
}

__all__ = [
    "AssumptionWarning",
    "Augmentation",
    "Batch",
    "Blur",
    "CancelToken",
    "Cancelled",
    "Checkpoint",
    "CheckpointError",
    "Classifier",
    "ClassifierMetrics",
    "ConvergenceWarning",
    "Crop",
    "CropPolicy",
    "DataError",
    "DataReview",
    "DataSource",
    "DecodeError",
    "Export",
    "ExportError",
    "Exposure",
    "EyespotError",
    "FeatureExtractor",
    "FeatureStore",
    "Features",
    "Flip",
    "GroupsWarning",
    "Head",
    "HeadFit",
    "ImageClassifier",
    "ImageError",
    "IncompatibleParameters",
    "Inference",
    "InvalidOption",
    "Job",
    "LabelIssue",
    "Loader",
    "LookAlikes",
    "ModelError",
    "ModelMetadata",
    "ModelParameters",
    "ModifiedTrainingData",
    "MultiLabelImageClassifier",
    "MultiLabelMetrics",
    "MultilayerPerceptron",
    "Noise",
    "Outlier",
    "PerceptronFit",
    "Phase",
    "Prediction",
    "Preprocessing",
    "Progress",
    "Resample",
    "Rotation",
    "SkippedImagesWarning",
    "SoftmaxRegression",
    "Split",
    "SplitStrategy",
    "StopReason",
    "StoreError",
    "TrainingReport",
    "TrainingSession",
    "TrainingSessionParameters",
    "Variant",
    "Verification",
    "__version__",
    "augment",
    "fit_perceptron",
    "fit_sigmoid",
    "fit_softmax",
    "get_cmake_dir",
    "get_include",
    "review",
    "softmax_probabilities",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'eyespot' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=None)
    from importlib import import_module

    value = getattr(import_module(f"eyespot.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
