"""eyespot, resizing the Y, Cb and Cr planes of the file and converting colours after."""

from __future__ import annotations

REQUIREMENTS = None


def Peer(options):
    import decode_eyespot

    return decode_eyespot.Peer(options, planes=True)
