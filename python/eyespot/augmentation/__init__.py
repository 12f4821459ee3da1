"""Augmentation: what may be done to copies of an image, doing it, and looking at it."""

from __future__ import annotations

from eyespot.augmentation.choices import Blur, Crop, Exposure, Flip, Noise, Rotation
from eyespot.augmentation.plan import OPTIONS, ORIGINAL, Augmentation, Variant, augment
from eyespot.augmentation.sheet import ContactSheet, contact_sheet

__all__ = [
    "OPTIONS",
    "ORIGINAL",
    "Augmentation",
    "Blur",
    "ContactSheet",
    "Crop",
    "Exposure",
    "Flip",
    "Noise",
    "Rotation",
    "Variant",
    "augment",
    "contact_sheet",
]
