"""Pillow's API, whichever package offers it in the peer's environment."""

from __future__ import annotations

import io

import numpy as np
from decode_threads import Decoder
from PIL import Image, ImageOps


class WithPil(Decoder):
    def decode(self, data):
        image = Image.open(io.BytesIO(data))
        if self.scaled:
            image.draft("RGB", (self.size, self.size))
        image = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))


def peer(options):
    return WithPil(options)
