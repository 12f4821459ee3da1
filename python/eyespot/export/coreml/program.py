"""An interpreter of ML programs (``.mlpackage``), in NumPy and independent of the translator.

It reads the saved bytes, and is strict: an operator it does not know, an input of one that it does
not use, or a result of another shape or kind than the file declares is an error.
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

    from eyespot.export.coreml.reading import StoredModel, WeightFile

    Array = NDArray[Any]

__all__ = ["ProgramInterpreter"]

# Numbers of the element types in a program (MIL's DataType).
_TYPES: Final = {
    1: np.bool_,
    2: np.str_,
    10: np.float16,
    11: np.float32,
    12: np.float64,
    21: np.int8,
    22: np.int16,
    23: np.int32,
    24: np.int64,
    31: np.uint8,
    32: np.uint16,
}
_STRING: Final = 2
_HALF: Final = 10
# What a cast may ask for.
_CASTS: Final = {
    "fp32": np.float32,
    "fp16": np.float16,
    "int32": np.int32,
    "int16": np.int16,
    "uint16": np.uint16,
    "bool": np.bool_,
}


class Inputs:
    """The inputs of one operation; those that nobody asks for are found out."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._unread = set(values)

    def __getitem__(self, name: str) -> Any:
        self._unread.discard(name)
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: Any) -> Any:
        """Return an input, or `default` where the file does not give it."""
        return self[name] if name in self._values else default

    def integers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Return a list of whole numbers."""
        return [int(value) for value in np.reshape(self.get(name, default), -1)]

    def number(self, name: str, default: float) -> float:
        """Return one number, which arithmetic with float32 leaves float32."""
        return float(self.get(name, default))

    def unread(self) -> list[str]:
        """Return the names that were never looked at."""
        return sorted(self._unread)


Rule = Callable[[Inputs], Any]


class ProgramInterpreter:
    """Runs the function ``main`` of an ML program.

    Parameters
    ----------
    model : StoredModel
        The files.
    spec : Model_pb2.Model
        The program: the model's own specification, or a part of its pipeline.

    Raises
    ------
    ModelError
        If the file is damaged, or uses what the interpreter does not know.

    Notes
    -----
    Values that the file declares as float16 are rounded to float16 after each operation and
    computed with in float32, as the hardware accumulates.
    """

    def __init__(self, model: StoredModel, spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        self._source = model.source
        self._model = model
        self._files: dict[str, WeightFile] = {}
        self.inputs = {named.name: _shape(named.type.tensorType) for named in function.inputs}
        block = function.block_specializations[function.opset]
        self.outputs = list(block.outputs)
        self._constants: dict[str, Any] = {}
        self._operations = []
        for operation in block.operations:
            if operation.type == "const":
                value = _wide(self._value(operation.attributes["val"]))
                self._constants[operation.outputs[0].name] = value
            else:
                self._operations.append((operation, self._literals(operation)))
                self._check_known(operation)
        for file in self._files.values():
            file.check_all_read()
        self._last_use = self._last_uses()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        """Return the outputs of the program by name.

        Parameters
        ----------
        feeds : mapping of str to float32 ndarray
            All inputs, of the shapes in `inputs`.
        """
        values: dict[str, Any] = {**self._constants, **feeds}
        for position, (operation, literals) in enumerate(self._operations):
            inputs = Inputs(
                {name: _filled(name, items, values) for name, items in literals.items()}
            )
            with np.errstate(over="ignore"):
                results = self._results(operation, inputs)
            for output, result in zip(operation.outputs, results, strict=True):
                values[output.name] = self._checked(operation, output, result)
            for name in self._last_use.get(position, ()):
                del values[name]
        return {name: values[name] for name in self.outputs}

    def _results(self, operation: Any, inputs: Inputs) -> Sequence[Any]:
        if operation.type == "classify":
            return _classified(inputs)
        try:
            result = RULES[operation.type](inputs)
        except kernels.UnknownFormError as error:
            raise self._unknown(f"{operation.type} with {error}") from error
        unread = inputs.unread()
        if unread:
            raise self._unknown(f"{operation.type} with {', '.join(unread)}")
        return result if isinstance(result, list) else [result]

    def _checked(self, operation: Any, output: Any, result: Any) -> Any:
        """Hold a result against what the file says of it, and round halves."""
        if operation.type == "classify":
            return result
        declared = output.type.tensorType
        array = np.asarray(result)
        kind = np.dtype(_TYPES[declared.dataType]).kind
        if array.shape != _shape(declared) or (array.dtype.kind in "iu") != (kind in "iu"):
            found = (
                f"{output.name} ({operation.type}) is {array.dtype} of shape {array.shape}, "
                f"declared {np.dtype(_TYPES[declared.dataType])} of shape {_shape(declared)}"
            )
            raise corrupt(found, self._source)
        if kind != "f":
            return array
        if declared.dataType == _HALF:
            return array.astype(np.float16).astype(np.float32)
        return array.astype(np.float32, copy=False)

    def _check_known(self, operation: Any) -> None:
        if operation.type not in RULES and operation.type != "classify":
            raise self._unknown(operation.type)

    def _unknown(self, what: str) -> ModelError:
        message = f"{self._source}: the interpreter does not know the operation {what}"
        return ModelError(message, source=self._source, code="unsupported_operator")

    def _literals(self, operation: Any) -> dict[str, list[Any]]:
        """Return for each input the names of values, or the values themselves as 1-tuples."""
        return {
            name: [
                item.name
                if item.WhichOneof("binding") == "name"
                else (_wide(self._value(item.value)),)
                for item in argument.arguments
            ]
            for name, argument in operation.inputs.items()
        }

    def _last_uses(self) -> dict[int, list[str]]:
        """Return which values nobody needs after each operation, so that memory stays small."""
        last = {}
        for position, (operation, literals) in enumerate(self._operations):
            for output in operation.outputs:
                last[output.name] = position
            for items in literals.values():
                for item in items:
                    if isinstance(item, str) and item not in self._constants:
                        last[item] = position
        done: dict[int, list[str]] = {}
        for name, position in last.items():
            if name not in self.outputs:
                done.setdefault(position, []).append(name)
        return done

    def _value(self, value: Any) -> Any:
        """Return a constant of the file."""
        if value.type.WhichOneof("type") == "listType":
            return [self._value(item) for item in value.immediateValue.list.values]
        declared = value.type.tensorType
        shape = _shape(declared)
        if value.WhichOneof("value") == "blobFileValue":
            name = value.blobFileValue.fileName
            if name not in self._files:
                self._files[name] = self._model.weight_file(name)
            array = self._files[name].blob(value.blobFileValue.offset)
            if array.dtype != _TYPES[declared.dataType]:
                raise corrupt(f"weights of {array.dtype} where others are declared", self._source)
        else:
            tensor = value.immediateValue.tensor
            held = tensor.WhichOneof("value")
            items = getattr(tensor, held).values
            if declared.dataType == _STRING:
                return items[0] if not shape else list(items)
            dtype = _TYPES[declared.dataType]
            array = np.frombuffer(items, dtype) if held == "bytes" else np.array(items, dtype)
        if array.size != np.prod(shape, dtype=np.int64):
            raise corrupt(f"{array.size} weights for a tensor of shape {shape}", self._source)
        return array.reshape(shape)


def _filled(name: str, items: Sequence[Any], values: Mapping[str, Any]) -> Any:
    """Return one input; ``values`` is the only one that is a list of tensors."""
    held = [values[item] if isinstance(item, str) else item[0] for item in items]
    return held if name == "values" else held[0]


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(dimension.constant.size) for dimension in tensor.dimensions)


def _wide(value: Any) -> Any:
    """Return halves as float32: so the hardware adds them up."""
    if isinstance(value, np.ndarray) and value.dtype == np.float16:
        return value.astype(np.float32)
    return value


def _classified(inputs: Inputs) -> list[Any]:
    probabilities = inputs["probabilities"].reshape(-1)
    classes = inputs["classes"]
    if len(classes) != probabilities.size:
        raise corrupt(f"{len(classes)} labels for {probabilities.size} probabilities")
    pairs = dict(zip(classes, probabilities.tolist(), strict=True))
    return [classes[int(np.argmax(probabilities))], pairs]


# ---- operators ---------------------------------------------------------------------------------
def _pads(i: Inputs, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> Any:
    given = i.integers("pad", [0] * 2 * len(kernel))
    kind = i["pad_type"]
    if kind == "valid":
        return [(0, 0)] * len(kernel)
    if kind in {"same", "same_lower"}:
        return kernels.same_pads(sides, kernel, strides, lower=kind == "same_lower")
    return list(zip(given[::2], given[1::2], strict=True))


def _conv(i: Inputs) -> Array:
    x, weight = i["x"], i["weight"]
    rank = weight.ndim - 2
    strides, dilations = i.integers("strides", [1] * rank), i.integers("dilations", [1] * rank)
    spans = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    return kernels.convolve(
        x,
        weight,
        i.get("bias", None),
        strides=strides,
        pads=_pads(i, x.shape[2:], spans, strides),
        dilations=dilations,
        groups=int(i.get("groups", 1)),
    )


def _pool(*, average: bool) -> Rule:
    def rule(i: Inputs) -> Array:
        x, kernel = i["x"], i.integers("kernel_sizes")
        strides = i.integers("strides", [1] * len(kernel))
        pads = _pads(i, x.shape[2:], kernel, strides)
        if i.get("ceil_mode", False):
            pads = kernels.rounded_up(x.shape[2:], kernel, strides, pads)
        exclude = bool(i.get("exclude_padding_from_average", False)) if average else True
        return kernels.pool(
            x,
            kernel=kernel,
            strides=strides,
            pads=pads,
            average=average,
            count_padding=not exclude,
        )

    return rule


def _batch_norm(i: Inputs) -> Array:
    x = i["x"]
    ones, zeros = np.ones(x.shape[1], np.float32), np.zeros(x.shape[1], np.float32)
    return kernels.batch_norm(
        x,
        i["mean"],
        i["variance"],
        i.get("gamma", ones),
        i.get("beta", zeros),
        i.number("epsilon", 1e-5),
    )


def _instance_norm(i: Inputs) -> Array:
    x = i["x"]
    y = kernels.layer_norm(x, range(2, x.ndim), i.number("epsilon", 1e-5))
    shape = (-1, *[1] * (x.ndim - 2))
    gamma = np.reshape(i.get("gamma", np.float32(1)), shape)
    return np.asarray(y * gamma + np.reshape(i.get("beta", np.float32(0)), shape))


def _layer_norm(i: Inputs) -> Array:
    x = i["x"]
    axes = [axis % x.ndim for axis in i.integers("axes", range(x.ndim))]
    y = kernels.layer_norm(x, axes, i.number("epsilon", 1e-5))
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    y = y * i["gamma"].reshape(shape) if "gamma" in i else y
    return y + i["beta"].reshape(shape) if "beta" in i else y


def _linear(i: Inputs) -> Array:
    y = i["x"] @ i["weight"].T
    return np.asarray(y + i.get("bias", np.float32(0)))


def _matmul(i: Inputs) -> Array:
    x, y = i["x"], i["y"]
    x = np.swapaxes(x, -1, -2) if i.get("transpose_x", False) else x
    y = np.swapaxes(y, -1, -2) if i.get("transpose_y", False) else y
    return np.asarray(np.matmul(x, y))


def _attention(i: Inputs) -> Array:
    query, key = i["query"], i["key"]
    scores = query @ np.swapaxes(key, -1, -2) / np.float32(np.sqrt(query.shape[-1]))
    if "attn_mask" in i:
        mask = i["attn_mask"]
        scores = scores + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    return np.asarray(kernels.softmax(scores, -1) @ i["value"])


def _pad(i: Inputs) -> Array:
    amounts = i.integers("pad")
    pads = list(zip(amounts[::2], amounts[1::2], strict=True))
    return kernels.pad_border(
        i["x"], pads, i.get("mode", "constant"), i.number("constant_val", 0.0)
    )


def _reshape(i: Inputs) -> Array:
    x = i["x"]
    shape = [x.shape[a] if side == 0 else side for a, side in enumerate(i.integers("shape"))]
    return np.asarray(x.reshape(shape))


def _squeeze(i: Inputs) -> Array:
    return np.asarray(np.squeeze(i["x"], tuple(i.integers("axes")) if "axes" in i else None))


def _expand_dims(i: Inputs) -> Array:
    return np.expand_dims(i["x"], tuple(i.integers("axes")))


def _split(i: Inputs) -> list[Array]:
    x, axis = i["x"], int(i["axis"])
    count = int(i.get("num_splits", 0))
    sizes = i.integers("split_sizes", [x.shape[axis] // max(1, count)] * count)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _concat(i: Inputs) -> Array:
    parts, axis = i["values"], int(i["axis"])
    axis %= parts[0].ndim
    if not i.get("interleave", False):
        return np.concatenate(parts, axis)
    shape = *parts[0].shape[:axis], -1, *parts[0].shape[axis + 1 :]
    return np.stack(parts, axis + 1).reshape(shape)


def _slice_by_index(i: Inputs) -> Array:
    x = i["x"]
    steps = i.integers("stride", [1] * x.ndim)
    begins, ends = i.integers("begin"), i.integers("end")
    from_start, to_end, drop = (
        [bool(flag) for flag in np.reshape(i.get(name, [False] * x.ndim), -1)]
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    )
    index = tuple(
        begins[a]
        if drop[a]
        else slice(None if from_start[a] else begins[a], None if to_end[a] else ends[a], steps[a])
        for a in range(x.ndim)
    )
    return np.asarray(x[index])


def _slice_by_size(i: Inputs) -> Array:
    cuts = zip(i.integers("begin"), i.integers("size"), strict=True)
    return np.asarray(i["x"][tuple(slice(a, None if size == -1 else a + size) for a, size in cuts)])


def _gather(i: Inputs) -> Array:
    if int(i.get("batch_dims", 0)) or i.get("validate_indices", False):
        raise kernels.UnknownFormError("batches or checked indices")
    return np.asarray(np.take(i["x"], i["indices"].astype(np.int64), int(i.get("axis", 0))))


def _pixel_shuffle(i: Inputs) -> Array:
    x, block = i["x"], int(i["upscale_factor"])
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels // block**2, block, block, height, width)
    return np.asarray(
        parts.transpose(0, 1, 4, 2, 5, 3).reshape(batch, -1, height * block, width * block)
    )


def _upsample_nearest(i: Inputs) -> Array:
    rows, columns = i.number("scale_factor_height", 1), i.number("scale_factor_width", 1)
    return np.asarray(i["x"].repeat(int(rows), 2).repeat(int(columns), 3))


def _resize_bilinear(i: Inputs) -> Array:
    height, width = int(i["target_size_height"]), int(i["target_size_width"])
    return kernels.bilinear(i["x"], height, width, i.get("sampling_mode", "DEFAULT"))


def _upsample_bilinear(i: Inputs) -> Array:
    x = i["x"]
    height = int(x.shape[2] * i.number("scale_factor_height", 1))
    width = int(x.shape[3] * i.number("scale_factor_width", 1))
    half = bool(i.get("half_pixel_centers", not i.get("align_corners", True)))
    aligned = bool(i.get("align_corners", True))
    if half == aligned:
        raise kernels.UnknownFormError("corners neither aligned nor at half pixels")
    return kernels.bilinear(x, height, width, "UNALIGN_CORNERS" if half else "STRICT_ALIGN_CORNERS")


def _reduced(function: Callable[..., Any]) -> Rule:
    def rule(i: Inputs) -> Array:
        x = i["x"]
        axes = tuple(i.integers("axes", range(x.ndim)))
        return np.asarray(function(x, axis=axes, keepdims=bool(i.get("keep_dims", False))))

    return rule


def _length(x: Array, axis: Any, keepdims: bool) -> Any:
    return np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims))


def _cast(i: Inputs) -> Array:
    return np.asarray(i["x"]).astype(_CASTS[i["dtype"]])


def _unary(function: Callable[[Array], Any]) -> Rule:
    return lambda i: np.asarray(function(i["x"]))


def _binary(function: Callable[[Array, Array], Any]) -> Rule:
    return lambda i: np.asarray(function(i["x"], i["y"]))


def _below_zero(function: Callable[[Array, Any], Any]) -> Rule:
    """Return the rule of an activation that changes negative values by `alpha`."""

    def rule(i: Inputs) -> Array:
        x, alpha = i["x"], i["alpha"]
        if np.ndim(alpha) == 1:  # one a channel
            alpha = alpha.reshape(-1, *[1] * (x.ndim - 2))
        return np.asarray(np.where(x > 0, x, function(np.minimum(x, 0), alpha)))

    return rule


RULES: Final[dict[str, Rule]] = {
    "abs": _unary(np.abs),
    "add": _binary(np.add),
    "avg_pool": _pool(average=True),
    "batch_norm": _batch_norm,
    "cast": _cast,
    "ceil": _unary(np.ceil),
    "clip": lambda i: np.clip(i["x"], i.number("alpha", 0), i.number("beta", 0)),
    "concat": _concat,
    "conv": _conv,
    "elu": _below_zero(lambda x, alpha: alpha * np.expm1(x)),
    "erf": _unary(kernels.erf),
    "exp": _unary(np.exp),
    "expand_dims": _expand_dims,
    "floor": _unary(np.floor),
    "gather": _gather,
    "gelu": lambda i: kernels.gelu(i["x"], i.get("mode", "EXACT")),
    "identity": _unary(np.asarray),
    "instance_norm": _instance_norm,
    "inverse": lambda i: 1 / (i["x"] + i.number("epsilon", 1e-4)),
    "layer_norm": _layer_norm,
    "leaky_relu": _below_zero(lambda x, alpha: alpha * x),
    "linear": _linear,
    "local_response_norm": lambda i: kernels.local_response_norm(
        i["x"],
        size=int(i["size"]),
        alpha=i.number("alpha", 1e-4),
        beta=i.number("beta", 0.75),
        k=i.number("k", 1.0),
    ),
    "log": lambda i: np.log(i["x"] + i.number("epsilon", 1e-45)),
    "matmul": _matmul,
    "max_pool": _pool(average=False),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mul": _binary(np.multiply),
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pow": _binary(np.power),
    "prelu": _below_zero(lambda x, alpha: alpha * x),
    "real_div": _binary(np.divide),
    "reduce_l2_norm": _reduced(_length),
    "reduce_max": _reduced(np.max),
    "reduce_mean": _reduced(np.mean),
    "reduce_min": _reduced(np.min),
    "reduce_sum": _reduced(np.sum),
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "relu6": _unary(lambda x: np.clip(x, 0, 6)),
    "reshape": _reshape,
    "resize_bilinear": _resize_bilinear,
    "round": _unary(np.rint),
    "rsqrt": lambda i: 1 / np.sqrt(i["x"] + i.number("epsilon", 1e-12)),
    "scaled_dot_product_attention": _attention,
    "sigmoid": _unary(kernels.sigmoid),
    "sigmoid_hard": lambda i: np.clip(
        i["x"] * i.number("alpha", 0.2) + i.number("beta", 0.5), 0, 1
    ),
    "silu": _unary(lambda x: x * kernels.sigmoid(x)),
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "softmax": lambda i: kernels.softmax(i["x"], int(i.get("axis", -1))),
    "softplus": _unary(lambda x: np.logaddexp(x, np.float32(0))),
    "softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "split": _split,
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "squeeze": _squeeze,
    "stack": lambda i: np.stack(i["values"], int(i["axis"])),
    "sub": _binary(np.subtract),
    "tanh": _unary(np.tanh),
    "thresholded_relu": lambda i: np.where(i["x"] >= i["alpha"], i["x"], np.float32(0)),
    "tile": lambda i: np.tile(i["x"], i.integers("reps")),
    "transpose": lambda i: i["x"].transpose(i.integers("perm")),
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
