"""Augmentations of square RGB photos in memory, one by one and as the chain of six, in one thread.

Every peer is given the same fixed parameters, and makes one variant of each photo. The outputs are
compared first: geometry away from the border (peers turn what the crop left, eyespot what the photo
has), noise by its moments, and the chain, which ends in noise, by means of blocks. In a batch,
eyespot gets all photos in one call, and the others still one by one, as they want them.

Eight variants of camera photos, from the bytes of their files, stand beside one decode of the same
files for the same plan, by eyespot itself: what the copies of a photo cost in training.
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
FAST = {"flip": 16, "exposure": 8}  # as many times more of these
N_VARIANTS = 8
OPTIONS = ("flip", "rotation", "crop", "blur", "exposure", "noise", "chain")
PARAMETERS = {
    "box": (0.1, 0.15, 0.8, 0.75),  # left, top, width, height as parts of the photo
    "degrees": 13.0,
    "sigma_px": 1.2,
    "stops": 0.6,
    "noise": 8.0,
}
BATCHED = ("flip", "rotation")
# kornia-rs has neither exposure nor noise.
WITHOUT = {"kornia_rs": ("exposure", "noise", "chain")}
# Mean difference to the plain reference in grey levels. OpenCV weighs by 1/32 of a pixel and blurs
# with 8-bit sums; Pillow cuts fractions off; albumentations has no exposure, and stands in with a
# gamma, so its levels are not compared.
MOST_APART = {"flip": 0.0, "rotation": 0.6, "crop": 1.0, "blur": 0.6, "exposure": 0.6, "chain": 2.5}


class Suite:
    peers = (
        "eyespot",
        "eyespot_decode",
        "opencv",
        "albumentations",
        "pillow_simd",
        "kornia_rs",
        "torchvision",
    )
    fresh_process = False

    def __init__(self, data: Path) -> None:
        self._decode = data / "decode"

    def cases(self) -> Sequence[Case]:
        photos = sorted(str(p) for p in (self._decode / "web").iterdir())
        others = self.peers[2:]
        found = []

        def add(name: str, units: int, options: dict[str, Any], peers: Sequence[str]) -> None:
            chosen = ("eyespot", *peers)
            found.append(Case(name=name, options=PARAMETERS | options, units=units, peers=chosen))

        for side, count in SIDES.items():
            for option, batch in [*((o, False) for o in OPTIONS), *((o, True) for o in BATCHED)]:
                repeats = REPEATS[side] * FAST.get(option, 1)
                options = {
                    "photos": photos[:count],
                    "side": side,
                    "option": option,
                    "batch": batch,
                    "repeats": repeats,
                }
                able = [peer for peer in others if option not in WITHOUT.get(peer, ())]
                name = f"{option} {side} px{' as a batch' if batch else ''}"
                add(name, count * repeats, options, able)
        camera = sorted(str(p) for p in (self._decode / "camera").iterdir())
        options = {
            "photos": camera,
            "side": 224,
            "option": "variants",
            "repeats": 1,
            "n_variants": N_VARIANTS,
        }
        add(f"{N_VARIANTS} variants of camera photos", len(camera), options, ["eyespot_decode"])
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
            if option == "variants":
                assert (got == want).all(), f"{case.name}: the untouched copies differ"
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
