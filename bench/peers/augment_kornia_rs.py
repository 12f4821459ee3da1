"""kornia-rs: the options that it has on bytes; its brightness is no exposure, and it has no noise.

Its blur is fast up to seven taps, and thirty times slower beyond. Seven cut a sigma of 1.2 off at
2.5 sigma, where the others go to 3 and more; they are what it is given all the same.
"""

from __future__ import annotations

REQUIREMENTS = ("kornia-rs==0.2.0", "numpy==2.4.6", "pillow==13.0.0")


def Peer(options):
    import math
    import os

    os.environ["RAYON_NUM_THREADS"] = "1"
    from augment_common import Augmenter
    from augment_with_pil import read_upright
    from kornia_rs import imgproc

    class KorniaRs(Augmenter):
        def __init__(self, options):
            super().__init__(options)
            angle, center = math.radians(options["degrees"]), (self.side - 1) / 2
            cosine, sine = math.cos(angle), math.sin(angle)
            x0 = (1 - cosine) * center - sine * center
            y0 = sine * center + (1 - cosine) * center
            self.matrix = (cosine, sine, x0, -sine, cosine, y0)

        def read(self, path):
            return read_upright(path)

        def flip(self, photo):
            return imgproc.horizontal_flip(photo)

        def rotation(self, photo):
            return imgproc.warp_affine(photo, self.matrix, (self.side, self.side), "bilinear")

        def crop(self, photo):
            part = imgproc.crop(photo, *self.box())
            return imgproc.resize(part, (self.side, self.side), "bilinear")

        def blur(self, photo):
            return imgproc.gaussian_blur(photo, (7, 7), (self.options["sigma_px"],) * 2)

    return KorniaRs(options)
