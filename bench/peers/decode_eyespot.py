"""eyespot's load_pixels, one call a photo."""

from __future__ import annotations

REQUIREMENTS = None


def Peer(options, **spec):
    from decode_threads import Decoder

    import eyespot
    from eyespot import _core

    class Eyespot(Decoder):
        def __init__(self):
            super().__init__(options)
            self.versions = {"eyespot": eyespot.__version__, "target": _core.simd_target()}
            self.spec = _core.PixelSpec(
                width=self.size,
                height=self.size,
                crop="stretch",
                dtype="uint8",
                layout="nhwc",
                **spec,
            )

        def decode(self, data):
            return _core.load_pixels(data, self.spec)

    return Eyespot()
