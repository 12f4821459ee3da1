"""An interpreter of neural networks (``.mlmodel``), in NumPy and independent of the translator.

Like that of ML programs it reads the saved bytes and is strict: an unknown layer, or one with a
parameter that it does not look at, is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import ModelError
from eyespot.export.coreml import kernels
from eyespot.export.coreml.reading import corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from eyespot.export.coreml.reading import StoredModel

    Array = NDArray[Any]

__all__ = ["NeuralInterpreter"]

_EXACT_IMAGE: Final = 1  # RANK4_IMAGE_MAPPING


class Parameters:
    """The parameters of a layer; those that are set and that nobody asks for are found out."""

    def __init__(self, message: Any) -> None:
        self._message = message
        self._weights: dict[str, Array] = {}
        self._unread = {field.name for field, _ in message.ListFields()}

    def __getitem__(self, name: str) -> Any:
        self._unread.discard(name)
        return getattr(self._message, name)

    def has(self, name: str) -> bool:
        """Whether a sub-message is set."""
        return bool(self._message.HasField(name))

    def one_of(self, group: str) -> str:
        """Return the name of the alternative that is set, or ``""``."""
        return str(self._message.WhichOneof(group) or "")

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Return a list of whole numbers, or `default` where it is empty."""
        return [int(value) for value in self[name]] or list(default)

    def weights(self, name: str, shape: Sequence[int] = (-1,)) -> Array:
        """Return weights as float32, whichever way they are stored."""
        if name not in self._weights:
            held = self[name]
            if held.float16Value:
                self._weights[name] = np.frombuffer(held.float16Value, "<f2").astype(np.float32)
            elif held.floatValue:
                self._weights[name] = np.array(held.floatValue, np.float32)
            else:
                raise kernels.UnknownFormError("quantised weights")
        return self._weights[name].reshape(shape)

    def ignore(self, *names: str) -> None:
        """Take note of parameters that change nothing."""
        self._unread.difference_update(names)

    def unread(self) -> list[str]:
        """Return the names of parameters that were never looked at."""
        return sorted(self._unread)


Rule = Callable[[Parameters, "list[Array]"], Any]


class NeuralInterpreter:
    """Runs a neural network whose tensors are exact (specification 4, iOS 13, and later).

    Parameters
    ----------
    model : StoredModel
        The files.
    spec : Model_pb2.Model
        The network: the model's own specification, or a part of its pipeline.

    Raises
    ------
    ModelError
        If the file is damaged, or uses what the interpreter does not know.
    """

    def __init__(self, model: StoredModel, spec: Any) -> None:
        self._source = model.source
        self._description = spec.description
        self._kind = spec.WhichOneof("Type")
        self._network = getattr(spec, self._kind)
        network = self._network
        if network.imageInputShapeMapping != _EXACT_IMAGE:
            raise self._unknown("image with five dimensions")
        if any(step.WhichOneof("preprocessor") != "scaler" for step in network.preprocessing):
            raise self._unknown("mean image")
        self._layers = []
        for layer in network.layers:
            kind = layer.WhichOneof("layer")
            if kind not in RULES:
                raise self._unknown(kind)
            self._layers.append((layer, kind, Parameters(getattr(layer, kind))))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        """Return the outputs of the network by name."""
        values: dict[str, Any] = {name: self._scaled(name, feeds[name]) for name in feeds}
        for layer, kind, parameters in self._layers:
            try:
                result = RULES[kind](parameters, [values[name] for name in layer.input])
            except kernels.UnknownFormError as error:
                raise self._unknown(f"{kind} with {error}") from error
            unread = parameters.unread()
            if unread:
                raise self._unknown(f"{kind} with {', '.join(unread)}")
            results = result if isinstance(result, list) else [result]
            self._check_shapes(layer, results)
            values.update(zip(layer.output, results, strict=True))
        if self._kind == "neuralNetwork":
            return {output.name: values[output.name] for output in self._description.output}
        return self._classified(values)

    def _scaled(self, name: str, image: Array) -> Array:
        """Apply the scale and the biases that a file may have besides its layers."""
        for step in self._network.preprocessing:
            if step.featureName in {"", name}:
                scaler = step.scaler
                biases = [scaler.redBias, scaler.greenBias, scaler.blueBias]
                feature = next(f for f in self._description.input if f.name == name)
                image_type = feature.type.imageType
                if image_type.colorSpace == image_type.BGR:
                    biases.reverse()
                offset = np.array(biases, np.float32).reshape(3, 1, 1)
                image = image * np.float32(scaler.channelScale) + offset
        return image

    def _classified(self, values: Mapping[str, Any]) -> dict[str, Any]:
        network, description = self._network, self._description
        name = network.labelProbabilityLayerName or network.layers[-1].output[0]
        probabilities = values[name].reshape(-1)
        classes = list(network.stringClassLabels.vector)
        if len(classes) != probabilities.size:
            raise corrupt(f"{len(classes)} labels for {probabilities.size} probabilities")
        return {
            description.predictedFeatureName: classes[int(np.argmax(probabilities))],
            description.predictedProbabilitiesName: dict(
                zip(classes, probabilities.tolist(), strict=True)
            ),
        }

    def _check_shapes(self, layer: Any, results: Sequence[Array]) -> None:
        for tensor, result in zip(layer.outputTensor, results, strict=False):
            if tensor.rank != np.ndim(result):
                found = f"{layer.name} gives {np.ndim(result)} dimensions, declared {tensor.rank}"
                raise corrupt(found, self._source)

    def _unknown(self, what: str) -> ModelError:
        message = f"{self._source}: the interpreter does not know the layer {what}"
        return ModelError(message, source=self._source, code="unsupported_operator")


# ---- layers ------------------------------------------------------------------------------------
def _borders(amounts: Any) -> list[tuple[int, int]]:
    return [(int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in amounts.borderAmounts]


def _padding(
    p: Parameters, group: str, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    kind = p.one_of(group)
    held = p[kind]
    if kind == "same":
        return kernels.same_pads(sides, kernel, strides, lower=held.asymmetryMode == 1)
    if kind != "valid":
        raise kernels.UnknownFormError(kind)
    return _borders(held.paddingAmounts) or [(0, 0)] * len(kernel)


def _convolution(p: Parameters, i: list[Array]) -> Array:
    if p["isDeconvolution"]:
        raise kernels.UnknownFormError("isDeconvolution")
    (x,) = i
    kernel = p.integers("kernelSize", (3, 3))
    strides, dilations = p.integers("stride", (1, 1)), p.integers("dilationFactor", (1, 1))
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    outputs = int(p["outputChannels"])
    return kernels.convolve(
        x,
        p.weights("weights", (outputs, int(p["kernelChannels"]), *kernel)),
        p.weights("bias") if p["hasBias"] else None,
        strides=strides,
        pads=_padding(p, "ConvolutionPaddingType", x.shape[2:], spans, strides),
        dilations=dilations,
        groups=int(p["nGroups"]) or 1,
    )


def _pooling(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    average = {0: False, 1: True}.get(p["type"])
    if average is None:
        raise kernels.UnknownFormError("a pool by length")
    exclude = bool(p["avgPoolExcludePadding"])
    if p["globalPooling"]:
        p.ignore(p.one_of("PoolingPaddingType"), "kernelSize", "stride")
        return np.asarray((x.mean if average else x.max)((2, 3), keepdims=True))
    kernel, strides = p.integers("kernelSize", (3, 3)), p.integers("stride", (1, 1))
    if p.has("includeLastPixel"):
        amounts = p["includeLastPixel"].paddingAmounts or [0, 0]
        pads = [(int(amount), int(amount)) for amount in amounts]
        pads = kernels.rounded_up(x.shape[2:], kernel, strides, pads)
    else:
        pads = _padding(p, "PoolingPaddingType", x.shape[2:], kernel, strides)
    return kernels.pool(
        x, kernel=kernel, strides=strides, pads=pads, average=average, count_padding=not exclude
    )


def _batchnorm(p: Parameters, i: list[Array]) -> Array:
    p.ignore("channels")
    own_moments = p["computeMeanVar"], p["instanceNormalization"]
    if any(own_moments):  # of one image they are the same
        y = kernels.layer_norm(i[0], (2, 3), p["epsilon"] or 1e-5)
        shape = (-1, 1, 1)
        return np.asarray(y * p.weights("gamma", shape) + p.weights("beta", shape))
    return kernels.batch_norm(
        i[0],
        p.weights("mean"),
        p.weights("variance"),
        p.weights("gamma"),
        p.weights("beta"),
        p["epsilon"] or 1e-5,
    )


def _activation(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    kind = p.one_of("NonlinearityType")
    q = Parameters(p[kind])
    try:
        result = _ACTIVATIONS[kind](x, q)
    except KeyError:
        raise kernels.UnknownFormError(f"the activation {kind}") from None
    if q.unread():
        raise kernels.UnknownFormError(f"{kind} with {q.unread()}")
    return np.asarray(result)


def _per_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *[1] * (x.ndim - 2)) if values.size > 1 else values.reshape(())


_ACTIVATIONS: Final[dict[str, Callable[[Array, Parameters], Any]]] = {
    "ReLU": lambda x, _: np.maximum(x, 0),
    "sigmoid": lambda x, _: kernels.sigmoid(x),
    "tanh": lambda x, _: np.tanh(x),
    "linear": lambda x, q: np.float32(q["alpha"]) * x + np.float32(q["beta"]),
    "sigmoidHard": lambda x, q: np.clip(np.float32(q["alpha"]) * x + np.float32(q["beta"]), 0, 1),
    "leakyReLU": lambda x, q: np.where(x > 0, x, np.float32(q["alpha"]) * x),
    "ELU": lambda x, q: np.where(x > 0, x, np.float32(q["alpha"]) * np.expm1(np.minimum(x, 0))),
    "PReLU": lambda x, q: np.where(x > 0, x, _per_channel(q.weights("alpha"), x) * x),
    "thresholdedReLU": lambda x, q: np.where(x >= np.float32(q["alpha"]), x, np.float32(0)),
    "softplus": lambda x, _: np.logaddexp(x, np.float32(0)),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
}


def _unary(p: Parameters, i: list[Array]) -> Array:
    """Apply the function `type` to ``scale * x + shift``."""
    scale, shift = np.float32(p["scale"] or 1), np.float32(p["shift"])
    x = i[0] * scale + shift if scale != 1 or shift else i[0]
    epsilon, alpha = np.float32(p["epsilon"] or 1e-6), np.float32(p["alpha"])
    functions: dict[int, Callable[[], Any]] = {
        0: lambda: np.sqrt(x),
        1: lambda: 1 / np.sqrt(x + epsilon),
        2: lambda: 1 / (x + epsilon),
        3: lambda: x**alpha,
        4: lambda: np.exp(x),
        5: lambda: np.log(x + np.float32(p["epsilon"])),
        6: lambda: np.abs(x),
        7: lambda: np.maximum(x, alpha),
    }
    return np.asarray(functions[p["type"]]())


def _two(function: Callable[[Array, Array], Any]) -> Rule:
    return lambda _, i: np.asarray(function(i[0], i[1]))


def _with_alpha(function: Callable[[Array, Any], Any]) -> Rule:
    """Return a rule for two inputs, or for one and the constant `alpha`."""
    return lambda p, i: np.asarray(function(i[0], i[1] if len(i) > 1 else np.float32(p["alpha"])))


def _one(function: Callable[[Array], Any]) -> Rule:
    return lambda _, i: np.asarray(function(i[0]))


def _scale(p: Parameters, i: list[Array]) -> Array:
    y = i[0] * p.weights("scale", p.integers("shapeScale"))
    return np.asarray(y + p.weights("bias", p.integers("shapeBias"))) if p["hasBias"] else y


def _bias(p: Parameters, i: list[Array]) -> Array:
    return np.asarray(i[0] + p.weights("bias", p.integers("shape")))


def _slice(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    axis = int(p["axis"]) + x.ndim - 3  # channel, height, width are the last three dimensions
    end = int(p["endIndex"])
    cut = slice(
        int(p["startIndex"]),
        end if end > 0 else x.shape[axis] + 1 + end,
        int(p["stride"]) or 1,
    )
    return np.asarray(x[(slice(None),) * axis + (cut,)])


def _slice_static(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    begins, ends, steps = (p.integers(name) for name in ("beginIds", "endIds", "strides"))
    from_start, to_end = list(p["beginMasks"]), list(p["endMasks"])
    if any(p["squeezeMasks"]):
        raise kernels.UnknownFormError("squeezeMasks")
    return np.asarray(
        x[
            tuple(
                slice(
                    None if from_start[a] else begins[a], None if to_end[a] else ends[a], steps[a]
                )
                for a in range(x.ndim)
            )
        ]
    )


def _inner_product(p: Parameters, i: list[Array]) -> Array:
    shape = int(p["outputChannels"]), int(p["inputChannels"])
    y = i[0] @ p.weights("weights", shape).T
    return np.asarray(y + p.weights("bias")) if p["hasBias"] else y


def _batched_matmul(p: Parameters, i: list[Array]) -> Array:
    turn_x, turn_y = bool(p["transposeA"]), bool(p["transposeB"])
    x = np.swapaxes(i[0], -1, -2) if turn_x else i[0]
    if len(i) > 1:
        return np.asarray(x @ (np.swapaxes(i[1], -1, -2) if turn_y else i[1]))
    rows, columns = int(p["weightMatrixFirstDimension"]), int(p["weightMatrixSecondDimension"])
    y = x @ p.weights("weights", (columns, rows)).T  # stored column after column
    return np.asarray(y + p.weights("bias")) if p["hasBias"] else y


def _layer_normalization(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    shape = p.integers("normalizedShape")
    y = kernels.layer_norm(x, range(x.ndim - len(shape), x.ndim), p["eps"])
    return np.asarray(y * p.weights("gamma", shape) + p.weights("beta", shape))


def _mvn(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    axes = (1, 2, 3) if p["acrossChannels"] else (2, 3)
    if not p["normalizeVariance"]:
        return np.asarray(x - x.mean(axes, keepdims=True))
    return kernels.layer_norm(x, axes, p["epsilon"])


def _lrn(p: Parameters, i: list[Array]) -> Array:
    return kernels.local_response_norm(
        i[0], size=int(p["localSize"]), alpha=p["alpha"], beta=p["beta"], k=p["k"]
    )


def _reshape(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    shape = p.integers("targetShape")
    return x.reshape([x.shape[a] if side == 0 else side for a, side in enumerate(shape)])


def _squeeze(p: Parameters, i: list[Array]) -> Array:
    if p["squeezeAll"]:
        return np.squeeze(i[0])
    return np.squeeze(i[0], tuple(p.integers("axes")))


def _concat(p: Parameters, i: list[Array]) -> Array:
    axis = int(p["axis"]) % i[0].ndim
    if not p["interleave"]:
        return np.concatenate(i, axis)
    shape = *i[0].shape[:axis], -1, *i[0].shape[axis + 1 :]
    return np.stack(i, axis + 1).reshape(shape)


def _concat_channels(p: Parameters, i: list[Array]) -> Array:
    if p["sequenceConcat"]:
        raise kernels.UnknownFormError("sequences")
    return np.concatenate(i, -3)


def _split(p: Parameters, i: list[Array]) -> list[Array]:
    (x,) = i
    axis, count = int(p["axis"]), int(p["numSplits"])
    sizes = p.integers("splitSizes", [x.shape[axis] // max(1, count)] * count)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _constant_pad(p: Parameters, i: list[Array]) -> Array:
    amounts = p.integers("padAmounts")
    if p["padToGivenOutputSizeMode"]:
        raise kernels.UnknownFormError("padToGivenOutputSizeMode")
    pads = list(zip(amounts[::2], amounts[1::2], strict=True))
    return kernels.pad_border(i[0], pads, "constant", p["value"])


def _padding_layer(p: Parameters, i: list[Array]) -> Array:
    kind = p.one_of("PaddingType")
    held = p[kind]
    modes = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}
    value = held.value if kind == "constant" else 0.0
    return kernels.pad_border(i[0], _borders(p["paddingAmounts"]), modes[kind], value)


def _upsample(p: Parameters, i: list[Array]) -> Array:
    (x,) = i
    whole, broken = p.integers("scalingFactor", (1, 1)), list(p["fractionalScalingFactor"])
    if p["mode"] == 0:  # nearest neighbour
        if broken:
            raise kernels.UnknownFormError("fractions of a pixel")
        return np.asarray(x.repeat(whole[0], 2).repeat(whole[1], 3))
    factors = zip(x.shape[2:], broken or whole, strict=True)
    height, width = (int(side * factor) for side, factor in factors)
    modes = ("DEFAULT", "STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS")
    return kernels.bilinear(x, height, width, modes[p["linearUpsampleMode"]])


def _resize_bilinear(p: Parameters, i: list[Array]) -> Array:
    method = p["mode"].samplingMethod
    modes = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT")
    if method >= len(modes):
        raise kernels.UnknownFormError("the sampling mode of ROI align")
    height, width = p.integers("targetSize")
    return kernels.bilinear(i[0], height, width, modes[method])


def _reduced(function: Callable[..., Any]) -> Rule:
    def rule(p: Parameters, i: list[Array]) -> Array:
        axes = None if p["reduceAll"] else tuple(p.integers("axes"))
        return np.asarray(function(i[0], axis=axes, keepdims=bool(p["keepDims"])))

    return rule


def _length(x: Array, axis: Any, keepdims: bool) -> Any:
    return np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims))


def _constant(p: Parameters, _: list[Array]) -> Array:
    return p.weights("data", p.integers("shape"))


def _tile(p: Parameters, i: list[Array]) -> Array:
    return np.tile(i[0], p.integers("reps"))


def _clip(p: Parameters, i: list[Array]) -> Array:
    return np.clip(i[0], np.float32(p["minVal"]), np.float32(p["maxVal"]))


RULES: Final[dict[str, Rule]] = {
    "activation": _activation,
    "add": _with_alpha(np.add),
    "addBroadcastable": _two(np.add),
    "batchedMatmul": _batched_matmul,
    "batchnorm": _batchnorm,
    "bias": _bias,
    "ceil": _one(np.ceil),
    "clip": _clip,
    "concat": _concat_channels,
    "concatND": _concat,
    "constantPad": _constant_pad,
    "convolution": _convolution,
    "copy": _one(np.asarray),
    "divideBroadcastable": _two(np.divide),
    "erf": _one(kernels.erf),
    "expandDims": lambda p, i: np.expand_dims(i[0], tuple(p.integers("axes"))),
    "floor": _one(np.floor),
    "gather": lambda p, i: np.take(i[0], i[1].astype(np.int64), int(p["axis"])),
    "gelu": lambda p, i: kernels.gelu(
        i[0], ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")[p["mode"]]
    ),
    "innerProduct": _inner_product,
    "layerNormalization": _layer_normalization,
    "loadConstantND": _constant,
    "lrn": _lrn,
    "max": _with_alpha(np.maximum),
    "maxBroadcastable": _two(np.maximum),
    "min": _with_alpha(np.minimum),
    "minBroadcastable": _two(np.minimum),
    "multiply": _with_alpha(np.multiply),
    "multiplyBroadcastable": _two(np.multiply),
    "mvn": _mvn,
    "padding": _padding_layer,
    "pooling": _pooling,
    "powBroadcastable": _two(np.power),
    "rankPreservingReshape": _reshape,
    "reduceL2": _reduced(_length),
    "reduceMax": _reduced(np.max),
    "reduceMean": _reduced(np.mean),
    "reduceMin": _reduced(np.min),
    "reduceSum": _reduced(np.sum),
    "reshapeStatic": _reshape,
    "resizeBilinear": _resize_bilinear,
    "round": _one(np.rint),
    "scale": _scale,
    "slice": _slice,
    "sliceStatic": _slice_static,
    "softmax": lambda _, i: kernels.softmax(i[0], -3),
    "softmaxND": lambda p, i: kernels.softmax(i[0], int(p["axis"])),
    "splitND": _split,
    "squeeze": _squeeze,
    "subtractBroadcastable": _two(np.subtract),
    "tile": _tile,
    "transpose": lambda p, i: i[0].transpose(p.integers("axes")),
    "unary": _unary,
    "upsample": _upsample,
}
