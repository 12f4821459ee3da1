"""What the peers of decode share: the photos in memory, and threads that take them in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class Photos:
    """What a peer is given."""

    def __init__(self, options):
        self.size = options["size"]
        self.scaled = options["scaled"]
        self.repeats = options["repeats"]
        self.threads = options["threads"]
        self.photos = [Path(path).read_bytes() for path in options["photos"]]
        self.versions = {}


class Decoder(Photos, ABC):
    """A peer, but for ``decode``: bytes -> (size, size, 3) array of uint8."""

    def __init__(self, options):
        super().__init__(options)
        self.pool = ThreadPoolExecutor(self.threads)

    @abstractmethod
    def decode(self, data):
        """Return the pixels of one photo."""

    def run(self):
        for _ in self.pool.map(self.decode, self.photos * self.repeats):
            pass
        return {}

    def outputs(self):
        import numpy as np

        return {"pixels": np.stack([self.decode(data) for data in self.photos])}
