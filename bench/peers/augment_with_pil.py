"""Reading photos for peers that come without a reader of their own, by Pillow or pillow-simd."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def read_upright(path):
    """Return upright RGB pixels."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
