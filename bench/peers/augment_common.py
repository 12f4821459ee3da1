"""What the peers of the augmentation suite share: photos of one size, and the loop over them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Augmenter(ABC):
    """Makes a variant of each photo, `repeats` times; as a batch, all of them in a new array."""

    def __init__(self, options):
        self.options = options
        self.side = options["side"]
        self.photos = [self._square(path) for path in options["photos"]]
        self.work = getattr(self, options["option"])

    def _square(self, path):
        # Nearest neighbours, so that every peer begins with the same bytes.
        pixels = self.read(path)
        height, width = pixels.shape[:2]
        side = min(height, width)
        steps = np.arange(self.side) * side // self.side
        rows = steps + (height - side) // 2
        columns = steps + (width - side) // 2
        return np.ascontiguousarray(pixels[rows][:, columns])

    @abstractmethod
    def read(self, path):
        """Return the photo's pixels: uint8 of shape (height, width, 3), RGB."""

    def run(self):
        for _ in range(self.options["repeats"]):
            if self.options["batch"]:
                self.all()
                continue
            for photo in self.photos:
                self.work(photo)

    def all(self):
        made = np.empty((len(self.photos), self.side, self.side, 3), np.uint8)
        for photo, place in zip(self.photos, made, strict=True):
            self.put(photo, place)
        return made

    def put(self, photo, place):
        place[...] = self.work(photo)

    def outputs(self):
        made = [np.asarray(self.work(photo)) for photo in self.photos]
        return {"pixels": np.stack(made), "photos": np.stack([np.asarray(p) for p in self.photos])}

    def box(self):
        left, top, width, height = (round(part * self.side) for part in self.options["box"])
        return left, top, width, height


def exposure_table(stops):
    """The level of each level times 2^stops in linear light, by the sRGB curve."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.minimum(light * 2.0**stops, 1)
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(level * 255).astype(np.uint8)
