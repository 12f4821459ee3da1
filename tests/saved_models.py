"""Saved eyespot models around random backbones, for tests of the exports."""

from __future__ import annotations

import itertools

import numpy as np

from eyespot.export.onnx import assemble
from eyespot.head import Head
from eyespot.light_model import LightModel
from eyespot.options import Preprocessing

LABELS = ("ant", "zebra crossing", "éclair", "{[quoted \"'\\ label]}", "0")


def saved(
    backbone,
    features,
    *,
    side=32,
    hidden=(),
    output="softmax",
    labels=LABELS,
    scale=1.0,
    **preprocessing,
):
    """Return the bytes of a saved model with a random head on `backbone`."""
    random = np.random.default_rng(3)
    widths = [features, *hidden, len(labels)]
    layers = tuple(
        (
            (random.standard_normal((n_out, n_in)) * scale / np.sqrt(n_in)).astype(np.float32),
            random.normal(0, 0.3, n_out).astype(np.float32),
        )
        for n_in, n_out in itertools.pairwise(widths)
    )
    facts = {"schema": 1, "eyespot": "test", "classes": list(labels)}
    return assemble(
        LightModel(backbone),
        Preprocessing(width=side, height=side, **preprocessing),
        Head(layers=layers, output=output),
        labels,
        facts=facts,
    )


def pixels(count, side=32, seed=0):
    """Return random images: noise over blocks of colour, so that pooling does not level them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 200, (count, 4, 4, 3))
    blocks = coarse.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    return (blocks + random.integers(0, 56, blocks.shape)).astype(np.uint8)
