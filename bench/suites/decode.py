"""JPEG files in memory to 224 x 224 RGB bytes, stretched, against libjpeg-turbo itself and Pillow.

``web`` holds photos of ImageNet's size, ``camera`` photos of 5 to 12 megapixels. ``bare`` is no
peer but the limit of all that decode with libjpeg-turbo: that alone, decoding to RGB rows that
nobody looks at, at full scale for web and at the smallest scale that is still large enough for
camera, as eyespot does there. Pillow comes in two forms on camera: ``draft()`` decodes as small as
the target allows, which costs sharpness; the ``_full`` peers decode all pixels and resize those.
The comparison says how far each is from the full form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import Case, Outputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZE = 224
REPEATS = {"web": 3, "camera": 2}
# Mean difference to Pillow's full decode and antialiased bilinear, in grey levels. Camera photos
# are decoded small first, by Pillow's draft() as by eyespot, and not always at the same scale.
MOST_APART = {"web": 0.2, "camera": 2.5}
# On web nothing is decoded small, so the other peers are full there.
FULL = ("pillow_simd_full", "pillow_full")


class Suite:
    peers = ("eyespot", "eyespot_planes", "bare", "pillow_simd", "pillow", *FULL)
    fresh_process = False

    def __init__(self, data: Path) -> None:
        self._data = data

    def cases(self) -> Sequence[Case]:
        found = []
        for name, repeats in REPEATS.items():
            photos = sorted(str(p) for p in (self._data / "decode" / name).iterdir())
            options = {
                "photos": photos,
                "size": SIZE,
                "repeats": repeats,
                "scaled": name == "camera",
            }
            peers = tuple(p for p in self.peers if name == "camera" or p not in FULL)
            units = len(photos) * repeats
            found.append(Case(name=name, options=options, units=units, peers=peers))
        return found

    def compare(self, case: Case, outputs: Outputs) -> dict[str, Any]:
        found: dict[str, Any] = {}
        reference = "pillow_full" if case.options["scaled"] else "pillow"
        if reference not in outputs:
            return found
        want = outputs[reference]["pixels"].astype(np.float64)
        for peer, arrays in outputs.items():
            if "pixels" not in arrays or peer == reference:
                continue
            apart = float(np.abs(arrays["pixels"] - want).mean())
            found[f"mean difference of {peer} to {reference}, grey levels"] = round(apart, 3)
            most = MOST_APART[case.name] * (3 if peer == "eyespot_planes" else 1)
            assert apart <= most, f"{case.name}: {peer} is {apart:.2f} levels from {reference}"
        return found
