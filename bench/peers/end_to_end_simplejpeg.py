"""simplejpeg decodes, pillow-simd (AVX2) resizes, ONNX Runtime embeds, scikit-learn trains."""

from __future__ import annotations

import end_to_end_pillow_simd

# One environment for both.
BUILD_ENVIRONMENT = end_to_end_pillow_simd.BUILD_ENVIRONMENT
REQUIREMENTS = end_to_end_pillow_simd.REQUIREMENTS


def Peer(options):
    import simplejpeg
    from PIL import Image
    from plain_pipeline import SIZE, Pipeline, resized

    class SimpleJpeg(Pipeline):
        def decode(self, path):
            pixels = simplejpeg.decode_jpeg(path.read_bytes(), min_height=SIZE, min_width=SIZE)
            return resized(Image.fromarray(pixels))

    return SimpleJpeg(options)
