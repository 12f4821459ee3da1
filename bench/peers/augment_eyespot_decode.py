"""eyespot, of each photo only the untouched copy: what one decode for all variants costs."""

from __future__ import annotations

REQUIREMENTS = None


def Peer(options):
    import augment_eyespot

    return augment_eyespot.variants(options, [-1])
