"""Pillow without draft(): a full decode, then antialiased bilinear."""

from __future__ import annotations

import decode_pillow

REQUIREMENTS = decode_pillow.REQUIREMENTS


def Peer(options):
    import decode_with_pil

    return decode_with_pil.peer(options | {"scaled": False})
