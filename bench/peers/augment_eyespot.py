"""eyespot: a Variant applied to each photo; a batch in one call; or eight variants of each file."""

from __future__ import annotations

REQUIREMENTS = None


def Peer(options):
    import numpy as np
    from augment_common import Augmenter

    from eyespot.augmentation import Augmentation, Flip, Rotation, Variant, augment
    from eyespot.images import read_image

    if options["option"] == "variants":
        return variants(options, range(options["n_variants"]))

    class Eyespot(Augmenter):
        """What does not change from photo to photo is made once, as OpenCV's arguments are."""

        def __init__(self, options):
            super().__init__(options)
            left, top, width, height = (value / self.side for value in self.box())
            place = (left / (1 - width), top / (1 - height))
            numbers = {
                "crop": {"crop": (width * height, width / height, *place)},
                "rotation": {"rotation_deg": options["degrees"]},
                "blur": {"blur_sigma_px": options["sigma_px"]},
                "exposure": {"exposure_stops": options["stops"]},
                "noise": {"noise_sigma": options["noise"]},
                "flip": {"flip_horizontal": True},
            }
            names = numbers if options["option"] == "chain" else [options["option"]]
            self.numbers = {k: v for name in names for k, v in numbers[name].items()}
            self.variant = Variant(**self.numbers)
            self.seed = 0

        def read(self, path):
            return read_image(path)

        def flip(self, photo):
            return self.variant.apply(photo)

        rotation = crop = blur = exposure = flip

        def noise(self, photo):
            self.seed += 1
            return Variant(**self.numbers, noise_seed=self.seed).apply(photo)

        chain = noise

    class Batch(Eyespot):
        """All photos by one call of augment()."""

        def __init__(self, options):
            super().__init__(options)
            turned = (options["degrees"],) * 2
            plans = {
                "flip": {"flip": Flip(vertical=False, both=False)},
                "rotation": {"rotation": Rotation(degrees=turned)},
            }
            self.plan = Augmentation(**plans[options["option"]], copies_per_image=1)
            self.batch = np.stack(self.photos)

        def all(self):
            keys = range(len(self.batch))
            return augment(self.batch, self.plan, 0, keys=keys, n_threads=1)[:, 0]

        def outputs(self):
            return {"pixels": self.all(), "photos": self.batch}

    return Batch(options) if options["batch"] else Eyespot(options)


def variants(options, indices):
    """Return the peer that makes these variants of each file."""
    from pathlib import Path

    import numpy as np

    from eyespot import _core
    from eyespot.augmentation import Augmentation
    from eyespot.options import Preprocessing

    class Files:
        def __init__(self):
            self.files = [Path(path).read_bytes() for path in options["photos"]]
            self.plan = Augmentation.photos(options["n_variants"]).core_plan()
            side = options["side"]
            self.spec = Preprocessing(width=side, height=side).uint8_spec()

        def work(self, data, numbers):
            return _core.load_variants(data, self.spec, self.plan, seed=0, indices=numbers)

        def run(self):
            for _ in range(options["repeats"]):
                for data in self.files:
                    self.work(data, indices)

        def outputs(self):
            return {"pixels": np.stack([self.work(data, [-1]) for data in self.files])}

    return Files()
