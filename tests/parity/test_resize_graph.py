"""The resize inside an exported graph against the core's, which training and prediction use.

Bilinear: single levels round the other way, as the core's weights have 14 or 15 bits and it
averages neighbours first where a photo shrinks a lot. Bicubic: beside strong edges the filter
overshoots; the core clips to 0..255 between its two passes, and the graph once, at the end.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from eyespot import Preprocessing, _core
from eyespot.export.graph import GraphPart
from eyespot.export.resize import resize

SIZES = [(1, 1), (2, 500), (33, 50), (40, 56), (57, 41), (201, 300), (480, 641), (1200, 900)]


def graph(spec, opset):
    part = GraphPart("part/")
    planes = resize(part, "photo", spec, opset=opset)
    made = helper.make_graph(
        part.nodes,
        "resize",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["N", "height", "width", 3])],
        [
            helper.make_tensor_value_info(
                planes, TensorProto.FLOAT, ["N", 3, spec.height, spec.width]
            )
        ],
        part.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def photo(height, width):
    """Waves, edges and grain, as photos have them."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x[..., None] / np.array([3.1, 17, 40]) + y[..., None] / np.array([5, 9.0, 31]))
    grain = np.random.default_rng(height * width).normal(0, 15, (height, width, 3))
    levels = 128 + 70 * waves + 40 * (x // 29 % 2)[..., None] + grain
    return levels.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(("resample", "most"), [("bilinear", 1), ("bicubic", 8)])
@pytest.mark.parametrize("crop", ["center_crop", "fit", "stretch"])
def test_the_graph_resizes_as_the_core_does(crop, resample, most, opset):
    spec = Preprocessing(width=56, height=40, crop=crop, resample=resample)
    run = graph(spec, opset)
    for height, width in SIZES:
        image = photo(height, width)
        expected = _core.preprocess(image, spec.uint8_spec()).astype(int)
        got = run.run(None, {"photo": image[None]})[0][0].transpose(1, 2, 0)
        difference = np.abs(got - expected)
        assert difference.max() <= most, (height, width)
        assert difference.mean() <= 0.05, (height, width)
        assert np.array_equal(got, np.round(got))


def test_every_letterbox_has_the_cores_sides():
    """The rounding of a side is the one place where a whole row could be missing."""
    spec = Preprocessing(width=8, height=8, crop="fit")
    run = graph(spec, 17)
    for height in range(1, 40):
        for width in range(1, 40, 3):
            black = np.zeros((height, width, 3), np.uint8)
            expected = _core.preprocess(black, spec.uint8_spec())
            got = run.run(None, {"photo": black[None]})[0][0].transpose(1, 2, 0)
            assert np.array_equal(got, expected), (height, width)
