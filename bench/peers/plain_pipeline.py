"""What a good engineer writes in plain Python: threads that decode, ONNX Runtime, scikit-learn.

Decoding (in threads, it releases the GIL) overlaps inference, at most two batches ahead. Shared by
the peers of end_to_end, which differ in how they decode. Runs in the peers' environment.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

BATCH = 32
AHEAD = 2 * BATCH
SIZE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
GAIN = (1 / (255 * STD)).astype(np.float32)
OFFSET = (-MEAN / STD).astype(np.float32)


def listing(folder):
    """Return paths and class numbers, in the order of eyespot's DataSource."""
    labels = sorted(p.name for p in Path(folder).iterdir() if p.is_dir())
    pairs = [
        (path, number)
        for number, label in enumerate(labels)
        for path in sorted(Path(folder, label).iterdir())
    ]
    return [path for path, _ in pairs], np.array([number for _, number in pairs])


def centre_square(width, height):
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def resized(image):
    """Return the centre square of an image of PIL's at the network's size, antialiased."""
    box = centre_square(*image.size)
    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)


def packed(image):
    """Return float32 of shape (3, SIZE, SIZE), normalised, from an image of PIL's."""
    return (np.asarray(image) * GAIN + OFFSET).transpose(2, 0, 1)


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Pipeline(ABC):
    """A peer, but for ``decode``: path -> image of PIL's at the network's size."""

    def __init__(self, options):
        self.options = options
        self.versions = {"onnxruntime": onnxruntime.__version__}
        importlib.import_module("sklearn.linear_model")  # imports are not timed, for any peer

    @abstractmethod
    def decode(self, path):
        """Return the image of one file."""

    def load(self, path):
        return packed(self.decode(path))

    def embed(self, paths):
        network = session(self.options["network"], self.options["threads"])
        name = network.get_inputs()[0].name
        found, pending, batch = [], deque(), []
        with ThreadPoolExecutor(self.options["threads"]) as pool:
            rest = iter(paths)
            for path in rest:
                pending.append(pool.submit(self.load, path))
                if len(pending) >= AHEAD:
                    break
            while pending:
                batch.append(pending.popleft().result())
                for path in rest:
                    pending.append(pool.submit(self.load, path))
                    break
                if len(batch) == BATCH or not pending:
                    found.append(network.run(["embedding"], {name: np.stack(batch)})[0])
                    batch = []
        return np.concatenate(found)

    def fit(self, embeddings, targets):
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        penalty = 1 / (self.options["l2"] * len(targets))  # the same objective as eyespot's
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # eyespot stops there too
            return LogisticRegression(C=penalty, max_iter=self.options["max_iterations"]).fit(
                embeddings, targets
            )

    def run(self):
        start = time.perf_counter()
        paths, targets = listing(self.options["photos"])
        embeddings = self.embed(paths)
        middle = time.perf_counter()
        self.model = self.fit(embeddings, targets)
        self.accuracy = float((self.model.predict(embeddings) == targets).mean())
        end = time.perf_counter()
        return {
            "features_s": middle - start,
            "train_s": end - middle,
            "training_accuracy": self.accuracy,
        }

    def outputs(self):
        paths, _ = listing(self.options["photos"])
        return {
            "embeddings": self.embed(paths[:: self.options["compare_every"]]),
            "training_accuracy": np.array(self.accuracy),
        }
