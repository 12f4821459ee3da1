"""OpenCV by hand: the fastest calls of equal quality that its documentation names."""

from __future__ import annotations

REQUIREMENTS = ("opencv-python-headless==5.0.0.93", "numpy==2.4.6")


def Peer(options):
    import cv2
    import numpy as np
    from augment_common import Augmenter, exposure_table

    cv2.setNumThreads(1)

    class OpenCV(Augmenter):
        def __init__(self, options):
            super().__init__(options)
            shape = (self.side, self.side, 3)
            self.noise_buffer = np.empty(shape, np.int16)

        def read(self, path):
            return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)

        def put(self, photo, place):
            self.work(photo, place)

        def flip(self, photo, out=None):
            return cv2.flip(photo, 1, out)

        def rotation(self, photo, out=None):
            center = ((self.side - 1) / 2, (self.side - 1) / 2)
            matrix = cv2.getRotationMatrix2D(center, self.options["degrees"], 1)
            size = (self.side, self.side)
            border = cv2.BORDER_REFLECT_101
            return cv2.warpAffine(photo, matrix, size, out, cv2.INTER_LINEAR, border)

        def crop(self, photo):
            left, top, width, height = self.box()
            part = photo[top : top + height, left : left + width]
            return cv2.resize(part, (self.side, self.side), interpolation=cv2.INTER_LINEAR)

        def blur(self, photo):
            sigma = self.options["sigma_px"]
            return cv2.GaussianBlur(photo, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)

        def exposure(self, photo):
            return cv2.LUT(photo, exposure_table(self.options["stops"]))

        def noise(self, photo):
            cv2.randn(self.noise_buffer, (0, 0, 0), (self.options["noise"],) * 3)
            return cv2.add(photo, self.noise_buffer, dtype=cv2.CV_8U)

        def chain(self, photo):
            photo = self.rotation(self.crop(photo))
            return self.flip(self.noise(self.exposure(self.blur(photo))))

    return OpenCV(options)
