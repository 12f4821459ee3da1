"""pillow-simd (AVX2) decodes and resizes, ONNX Runtime embeds, scikit-learn trains."""

from __future__ import annotations

REQUIREMENTS = (
    "pillow-simd==12.1.1.post0",
    "numpy==2.4.6",
    "onnxruntime==1.32.0",
    "scikit-learn==1.9.1",
    "simplejpeg==1.9.0",
)
BUILD_ENVIRONMENT = {"CC": "cc -mavx2"}


def Peer(options):
    from PIL import Image
    from plain_pipeline import SIZE, Pipeline, resized

    class PillowSimd(Pipeline):
        def decode(self, path):
            with Image.open(path) as image:
                image.draft("RGB", (SIZE, SIZE))  # decodes at 1/2, 1/4, 1/8 where that is enough
                return resized(image.convert("RGB"))

    return PillowSimd(options)
