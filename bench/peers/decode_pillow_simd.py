"""pillow-simd (AVX2): draft() where the suite allows a scaled decode, then antialiased bilinear."""

from __future__ import annotations

REQUIREMENTS = ("pillow-simd==12.1.1.post0", "numpy==2.4.6")
BUILD_ENVIRONMENT = {"CC": "cc -mavx2"}


def Peer(options):
    import decode_with_pil

    return decode_with_pil.peer(options)
