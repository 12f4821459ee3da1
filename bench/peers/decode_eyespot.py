"""eyespot's Loader over the bytes of the files, as training and prediction use it."""

from __future__ import annotations

REQUIREMENTS = None
BATCH = 16


def Peer(options, **spec):
    from decode_threads import Photos

    import eyespot
    from eyespot import _core
    from eyespot.loader import Loader

    class Eyespot(Photos):
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

        def batches(self, photos):
            return Loader(
                photos, self.spec, batch_size=BATCH, n_threads=self.threads, on_error="raise"
            )

        def run(self):
            with self.batches(self.photos * self.repeats) as loader:
                for _ in loader:
                    pass
            return {}

        def outputs(self):
            import numpy as np

            return {"pixels": np.concatenate([batch.pixels for batch in self.batches(self.photos)])}

    return Eyespot()
