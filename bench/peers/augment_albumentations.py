"""albumentations at its best: one Compose, OpenCV in one thread; a gamma stands in for exposure."""

from __future__ import annotations

REQUIREMENTS = ("albumentations==2.0.8", "opencv-python-headless==5.0.0.93", "numpy==2.4.6")


def Peer(options):
    import os

    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as A
    import cv2
    import numpy as np
    from augment_common import Augmenter

    cv2.setNumThreads(1)

    class Albumentations(Augmenter):
        def __init__(self, options):
            side, degrees = options["side"], options["degrees"]
            left, top, width, height = (round(part * side) for part in options["box"])
            deviation = options["noise"] / 255
            gamma = 100 / 2 ** (options["stops"] / 2.4)
            steps = {
                "crop": [
                    A.Crop(left, top, left + width, top + height, p=1),
                    A.Resize(side, side, p=1),
                ],
                "rotation": [
                    A.Rotate((degrees, degrees), border_mode=cv2.BORDER_REFLECT_101, p=1),
                ],
                "blur": [A.GaussianBlur(0, (options["sigma_px"], options["sigma_px"]), p=1)],
                "exposure": [A.RandomGamma((gamma, gamma), p=1)],
                "noise": [A.GaussNoise((deviation, deviation), noise_scale_factor=1, p=1)],
                "flip": [A.HorizontalFlip(p=1)],
            }
            chosen = list(steps) if options["option"] == "chain" else [options["option"]]
            self.compose = A.Compose([step for name in chosen for step in steps[name]], seed=0)
            super().__init__(options)

        def flip(self, photo):
            return self.compose(image=photo)["image"]

        rotation = crop = blur = exposure = noise = chain = flip

        def read(self, path):
            return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)

        def outputs(self):
            return super().outputs() | {"other_exposure": np.ones(1)}

    return Albumentations(options)
