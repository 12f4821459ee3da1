"""Core ML: translation of a saved model, and an interpreter that checks the result anywhere."""

from __future__ import annotations

from eyespot.export.coreml.convert import CoreMLExport, export_coreml
from eyespot.export.coreml.describe import CoreMLText
from eyespot.export.coreml.runner import CoreMLPrediction, CoreMLRunner

__all__ = [
    "CoreMLExport",
    "CoreMLPrediction",
    "CoreMLRunner",
    "CoreMLText",
    "export_coreml",
]
