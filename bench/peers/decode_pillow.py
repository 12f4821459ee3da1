"""Pillow: draft() where the suite allows a scaled decode, then antialiased bilinear."""

from __future__ import annotations

REQUIREMENTS = ("pillow==13.0.0", "numpy==2.4.6")


def Peer(options):
    import decode_with_pil

    return decode_with_pil.peer(options)
