"""pillow-simd (AVX2), and NumPy for the noise that it has not."""

from __future__ import annotations

REQUIREMENTS = ("pillow-simd==12.1.1.post0", "numpy==2.4.6")
BUILD_ENVIRONMENT = {"CC": "cc -mavx2"}


def Peer(options):
    import numpy as np
    from augment_common import Augmenter, exposure_table
    from augment_with_pil import read_upright
    from PIL import Image, ImageFilter

    class PillowSimd(Augmenter):
        def __init__(self, options):
            super().__init__(options)
            self.photos = [Image.fromarray(photo) for photo in self.photos]
            self.random = np.random.default_rng(0)

        def read(self, path):
            return read_upright(path)

        def flip(self, photo):
            return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

        def rotation(self, photo):
            return photo.rotate(self.options["degrees"], resample=Image.Resampling.BILINEAR)

        def crop(self, photo):
            left, top, width, height = self.box()
            box = (left, top, left + width, top + height)
            return photo.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)

        def blur(self, photo):
            return photo.filter(ImageFilter.GaussianBlur(self.options["sigma_px"]))

        def exposure(self, photo):
            return photo.point(list(exposure_table(self.options["stops"])) * 3)

        def noise(self, photo):
            levels = np.asarray(photo)
            noise = self.random.standard_normal(levels.shape, np.float32) * self.options["noise"]
            return Image.fromarray(np.clip(np.rint(levels + noise), 0, 255).astype(np.uint8))

        def chain(self, photo):
            photo = self.rotation(self.crop(photo))
            return self.flip(self.noise(self.exposure(self.blur(photo))))

    return PillowSimd(options)
