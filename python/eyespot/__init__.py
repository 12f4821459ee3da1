"""eyespot: train an image classifier from folders of photos, on a native core."""

from __future__ import annotations

from eyespot._core import __version__

__all__ = ["__version__"]
