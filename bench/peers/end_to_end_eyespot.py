"""eyespot, from the folder of photos to the trained classifier."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

REQUIREMENTS = None


class Peer:
    def __init__(self, options):
        import onnx
        import onnxruntime

        import eyespot

        self.options = options
        self.eyespot = eyespot
        self.parameters = eyespot.ModelParameters(
            validation=None,
            max_iterations=options["max_iterations"],
            l2=options["l2"],
            n_threads=options["threads"],
        )
        self.versions = {
            "eyespot": eyespot.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        }
        # Imports are not timed, for any peer; these are lazy.
        _ = eyespot.ImageClassifier, eyespot.FeatureExtractor, eyespot.DataSource

    def run(self):
        import dataclasses

        eyespot = self.eyespot
        start = time.perf_counter()
        data = eyespot.DataSource.labeled_directories(self.options["photos"])
        self.extractor = eyespot.FeatureExtractor.custom(self.options["network"])
        parameters = dataclasses.replace(self.parameters, feature_extractor=self.extractor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eyespot.ConvergenceWarning)
            model = eyespot.ImageClassifier.train(data, parameters)
        self.accuracy = float(model.training_metrics.accuracy)
        seconds = model.training_report.seconds
        return {
            "total_s": time.perf_counter() - start,
            "training_accuracy": self.accuracy,
            **{f"{name}_s": value for name, value in seconds.items()},
        }

    def outputs(self):
        import numpy as np

        data = self.eyespot.DataSource.labeled_directories(self.options["photos"])
        paths = [Path(p) for p in data.paths][:: self.options["compare_every"]]
        features = self.extractor.extract(paths, n_threads=self.options["threads"])
        return {
            "embeddings": features.embeddings,
            "training_accuracy": np.array(self.accuracy),
        }
