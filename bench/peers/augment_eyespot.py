"""eyespot: one Variant, applied to each photo."""

from __future__ import annotations

REQUIREMENTS = None


def Peer(options):
    from augment_common import Augmenter

    from eyespot.augmentation import Variant
    from eyespot.images import read_image

    class Eyespot(Augmenter):
        def __init__(self, options):
            self.seed = 0
            super().__init__(options)

        def read(self, path):
            return read_image(path)

        def variant(self, *names):
            left, top, width, height = (value / self.side for value in self.box())
            place = (left / (1 - width), top / (1 - height))
            numbers = {
                "crop": {"crop": (width * height, width / height, *place)},
                "rotation": {"rotation_deg": self.options["degrees"]},
                "blur": {"blur_sigma_px": self.options["sigma_px"]},
                "exposure": {"exposure_stops": self.options["stops"]},
                "noise": {"noise_sigma": self.options["noise"], "noise_seed": self.seed},
                "flip": {"flip_horizontal": True},
            }
            self.seed += 1
            return Variant(**{k: v for name in names for k, v in numbers[name].items()})

        def flip(self, photo):
            return self.variant("flip").apply(photo)

        def rotation(self, photo):
            return self.variant("rotation").apply(photo)

        def crop(self, photo):
            return self.variant("crop").apply(photo)

        def blur(self, photo):
            return self.variant("blur").apply(photo)

        def exposure(self, photo):
            return self.variant("exposure").apply(photo)

        def noise(self, photo):
            return self.variant("noise").apply(photo)

        def chain(self, photo):
            names = ("crop", "rotation", "blur", "exposure", "noise", "flip")
            return self.variant(*names).apply(photo)

    return Eyespot(options)
