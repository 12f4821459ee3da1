"""A small network that computes with eight bits, as ONNX Runtime's quantize_static makes them."""

from __future__ import annotations

import functools
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx

from architectures import Net
from saved_models import pixels

FEATURES = 12
#: Activations that are quantised: the input, and behind each convolution and the sum.
ACTIVATIONS = 6


def residual(side: int = 24, *, last: str | None = None) -> onnx.ModelProto:
    """Return the float network: four convolutions and a sum around two of them.

    `last` is an operator to be put behind the sum, such as a sigmoid, which stays in float.
    """
    net = Net(11, side=side)
    x = net.relu(net.conv("input", 3, 8, stride=2, norm=False))
    y = net.relu(net.conv(x, 8, 8, norm=False))
    y = net.conv(y, 8, 8, norm=False)
    x = net.relu(net.add("Add", x, y))
    x = net.conv(x, 8, FEATURES, stride=2, norm=False)
    return net.model(net.pooled(net.add(last, x) if last else x), FEATURES)


def normalised(images: np.ndarray) -> np.ndarray:
    """Return uint8 images of shape (n, side, side, 3) as a network takes them."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return ((images / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)


def eight_bit(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
    """Return `model` with 8-bit activations and 7-bit weights, calibrated on random pictures."""
    from onnxruntime import quantization

    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(normalised(pixels(8, side, seed=1)))

        def get_next(self):
            image = next(self.rest, None)
            return None if image is None else {model.graph.input[0].name: image[None]}

    options = {
        "per_channel": True,
        "reduce_range": True,
        "activation_type": quantization.QuantType.QUInt8,
        "weight_type": quantization.QuantType.QInt8,
        "op_types_to_quantize": ["Conv", "Add", "Relu"],
        **options,
    }
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises to run its optimiser first
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            onnx.save(model, Path(folder) / "float.onnx")
            quantization.quantize_static(
                Path(folder) / "float.onnx", Path(folder) / "int8.onnx", Reader(), **options
            )
            return onnx.load(Path(folder) / "int8.onnx")
    finally:
        logging.disable(disabled)


@functools.cache
def _small(side: int) -> bytes:
    return eight_bit(residual(side)).SerializeToString()


def small(side: int = 24) -> onnx.ModelProto:
    """Return the small network, quantised."""
    return onnx.load_model_from_string(_small(side))
