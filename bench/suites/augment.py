"""Augmentations of square RGB photos in memory, one by one and as the chain of six, in one thread.

Every peer is given the same fixed parameters, and makes one variant of each photo. The outputs are
compared first: geometry away from the border (peers turn what the crop left, eyespot what the photo
has), noise by its moments, and the chain, which ends in noise, by means of blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Outputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIDES = {224: 64, 1024: 4}  # photos of each size
REPEATS = {224: 4, 1024: 3}
OPTIONS = ("flip", "rotation", "crop", "blur", "exposure", "noise", "chain")
PARAMETERS = {
    "box": (0.1, 0.15, 0.8, 0.75),  # left, top, width, height as parts of the photo
    "degrees": 13.0,
    "sigma_px": 1.2,
    "stops": 0.6,
    "noise": 8.0,
}
# Mean difference to the plain reference in grey levels. OpenCV weighs by 1/32 of a pixel and blurs
# with 8-bit sums; albumentations and torchvision have no exposure, and stand in with a gamma or a
# factor on levels, so theirs is not compared.
MOST_APART = {"flip": 0.0, "rotation": 0.5, "crop": 1.0, "blur": 0.6, "exposure": 0.6, "chain": 2.5}


class Suite:
    peers = ("eyespot", "opencv", "albumentations", "pillow_simd")
    fresh_process = False

    def __init__(self, data: Path) -> None:
        self._data = data

    def cases(self) -> Sequence[Case]:
        photos = sorted(str(p) for p in (self._data / "decode" / "web").iterdir())
        found = []
        for side, count in SIDES.items():
            for option in OPTIONS:
                options = PARAMETERS | {
                    "photos": photos[:count],
                    "side": side,
                    "option": option,
                    "repeats": REPEATS[side],
                }
                name = f"{option} {side} px"
                found.append(Case(name=name, options=options, units=count * REPEATS[side]))
        return found

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]:
        option = case.options["option"]
        found: dict[str, Any] = {}
        want = outputs["eyespot"]["pixels"].astype(np.float64)
        for peer, arrays in outputs.items():
            got = arrays["pixels"].astype(np.float64)
            assert got.shape == want.shape, f"{case.name}: {peer} made {got.shape}"
            if option == "noise":
                change = got - arrays["photos"].astype(np.float64)
                inner = change[(arrays["photos"] > 40) & (arrays["photos"] < 215)]
                found[f"standard deviation of {peer}'s noise"] = round(float(inner.std()), 3)
                assert abs(inner.mean()) < 0.6, f"{peer}'s noise has the mean {inner.mean()}"
                # albumentations draws its deviation a little low.
                most = 0.5 if peer == "albumentations" else 0.1
                assert abs(inner.std() - case.options["noise"]) < most, f"{peer}: {inner.std()}"
            if option == "noise" or peer == "eyespot":
                continue
            apart = float(np.abs(_middle(got, option) - _middle(want, option)).mean())
            found[f"mean difference of {peer} to eyespot, grey levels"] = round(apart, 3)
            if arrays.get("other_exposure") is None or option not in ("exposure", "chain"):
                assert apart <= MOST_APART[option], f"{case.name}: {peer} is {apart:.2f} away"
        return found


def _middle(pixels: Any, option: str) -> Any:
    """Return what all peers can see alike: the middle of a turned photo, free of noise."""
    side = pixels.shape[1]
    if option in ("rotation", "chain"):
        pixels = pixels[:, side // 4 : -side // 4, side // 4 : -side // 4]
    if option == "chain":
        n, side = len(pixels), pixels.shape[1] // 8
        blocks = pixels[:, : side * 8, : side * 8].reshape(n, side, 8, side, 8, 3)
        return blocks.mean((2, 4))
    return pixels
