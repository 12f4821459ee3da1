"""pillow-simd (AVX2) without draft(): a full decode, then antialiased bilinear."""

from __future__ import annotations

import decode_pillow_simd

REQUIREMENTS = decode_pillow_simd.REQUIREMENTS
BUILD_ENVIRONMENT = decode_pillow_simd.BUILD_ENVIRONMENT


def Peer(options):
    import decode_with_pil

    return decode_with_pil.peer(options | {"scaled": False})
