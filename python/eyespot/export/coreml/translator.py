"""From an ONNX graph to operators of Core ML's MIL, on coremltools' builder.

One pass in the order of execution. The batch is 1 and every shape is known as the builder goes, so
what computes with shapes or constants only (``Shape``, ``Range``, ``Where`` ...) is evaluated here
with ONNX's reference evaluator and never reaches the file. What cannot be translated is collected,
so that one error names all of it.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from eyespot.errors import ExportError
from eyespot.export.graph import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from eyespot.export.coreml.source import Node

__all__ = ["MAX_RANK", "Levels", "Lowerings", "Rearranged", "Translator", "Unsupported"]

#: Core ML's tensors have at most 5 dimensions.
MAX_RANK: Final = 5
_INT32: Final = np.iinfo(np.int32)
# Names that the finished model uses for itself.
_RESERVED: Final = (
    "image",
    "features",
    "classLabel",
    "classLabelProbs",
    "classLabel_probs",
    "target",
    "targetProbability",
)
# Operators on whole numbers; those between which networks compute in the QDQ form are translated.
_INTEGER: Final = ("QLinear", "DynamicQuantize", "ConvInteger", "MatMulInteger", "QGemm")


class Unsupported(Exception):  # noqa: N818 - caught in this package, never shown
    """A node has no Core ML form; the text says why."""


class _Missing:
    """The value of a node that could not be translated."""


_MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearranged:
    """``source.reshape(shape).transpose(permutation)``, not written yet.

    Waiting lets a transposition meet the one that undoes it (pixels come as NHWC), and tensors of
    more than 5 dimensions, as window attention makes them in passing, never be built.

    Attributes
    ----------
    source : Var
        A value of the program.
    shape : tuple of int
        Of any rank, with as many elements as `source`.
    permutation : tuple of int
        As `numpy.transpose` takes it.
    """

    source: Any
    shape: tuple[int, ...]
    permutation: tuple[int, ...]

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The shape as the ONNX graph sees it."""
        return tuple(self.shape[axis] for axis in self.permutation)

    @property
    def in_order(self) -> bool:
        """Whether nothing is transposed."""
        return self.permutation == tuple(range(len(self.shape)))

    def merged(self) -> Rearranged:
        """Return the same elements in the same order with as few dimensions as possible.

        Dimensions of 1 go; neighbours that stay neighbours become one.
        """
        kept = [axis for axis in self.permutation if self.shape[axis] != 1]
        runs: list[list[int]] = []
        real = sorted(kept)
        following = dict(itertools.pairwise(real))
        for axis in kept:
            if runs and following.get(runs[-1][-1]) == axis:
                runs[-1].append(axis)
            else:
                runs.append([axis])
        order = sorted(range(len(runs)), key=lambda run: runs[run][0])
        place = {run: position for position, run in enumerate(order)}
        return Rearranged(
            source=self.source,
            shape=tuple(prod(self.shape[axis] for axis in runs[run]) for run in order),
            permutation=tuple(place[run] for run in range(len(runs))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """``centred + zero_point``, quantised numbers that are not written yet.

    Waiting lets the zero point meet the `DequantizeLinear` that takes it off again.

    Attributes
    ----------
    centred : Var
        Whole numbers, held as floats.
    zero_point : ndarray
        Whole numbers that broadcast to `centred`.
    """

    centred: Any
    zero_point: NDArray[np.float32]


class Lowerings(dict[str, "Lowering"]):
    """Translations by the name of the ONNX operator.

    A translation takes the translator and a node and returns its first output, or a list of all.
    """

    def operator(self, *kinds: str) -> Callable[[Lowering], Lowering]:
        """Return a decorator that enters a function as the translation of `kinds`."""

        def enter(lowering: Lowering) -> Lowering:
            self.update(dict.fromkeys(kinds, lowering))
            return lowering

        return enter


Lowering: TypeAlias = "Callable[[Translator, Node], Any]"


class Translator:
    """Holds the values of one graph while its nodes are translated.

    A value is an ndarray (known now), a `Var` of the program, or a `Rearranged` one or `Levels`.

    Parameters
    ----------
    builder : type
        coremltools' `Builder`, within an open function.
    constants : mapping
        Initialisers by name.
    lowerings : mapping
        The translation of each operator that there is one for.
    neural_network : bool
        Whether the program becomes a neural network (``.mlmodel``), which has other favourites.
    """

    def __init__(
        self,
        builder: Any,
        constants: Mapping[str, NDArray[Any]],
        lowerings: Mapping[str, Lowering],
        *,
        neural_network: bool,
    ) -> None:
        self.builder = builder
        self._lowerings = lowerings
        self.neural_network = neural_network
        self._values: dict[str, Any] = dict(constants)
        self._names = set(_RESERVED)
        self._problems: list[str] = []

    # ---- values --------------------------------------------------------------------------------
    def set(self, name: str, value: Any) -> None:
        """Give the value `name`."""
        self._values[name] = value

    def value(self, name: str) -> Any:
        """Return the value as it is held; quantised numbers are written."""
        value = self._values[name]
        return self.tensor(name) if isinstance(value, Levels) else value

    def levels(self, name: str) -> Levels | None:
        """Return quantised numbers that are not written yet, if the value is of such."""
        value = self._values[name]
        return value if isinstance(value, Levels) else None

    def is_constant(self, name: str) -> bool:
        """Whether the value is known now."""
        return isinstance(self._values[name], np.ndarray)

    def constant(self, name: str) -> NDArray[Any]:
        """Return a value that is known now.

        Raises
        ------
        Unsupported
            If it depends on the image.
        """
        value = self._values[name]
        if not isinstance(value, np.ndarray):
            raise Unsupported(f"{name} depends on the image where Core ML wants a constant")
        return value

    def weights(self, name: str) -> NDArray[np.float32]:
        """Return a constant as float32, whatever floating type the graph has it in."""
        return self.constant(name).astype(np.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value."""
        value = self._values[name]
        if isinstance(value, Levels):
            value = value.centred
        if isinstance(value, Rearranged):
            return value.dimensions
        return tuple(int(side) for side in value.shape)

    def tensor(self, name: str) -> Any:
        """Return a value as the builder takes it: a `Var`, or an array of a type of Core ML's."""
        value = self._values[name]
        if isinstance(value, Rearranged):
            value = self._values[name] = self._written(value, name)
        if isinstance(value, Levels):
            y = _plain(value.zero_point)
            value = self._values[name] = self.emit("add", name, x=value.centred, y=y)
        if isinstance(value, np.ndarray):
            return _plain(value)
        return value

    # ---- building ------------------------------------------------------------------------------
    def emit(self, operation: str, name: str, **inputs: Any) -> Any:
        """Append one MIL operation, named after `name`, and return its output."""
        return getattr(self.builder, operation)(**inputs, name=self._free_name(name))

    def reshape(self, value: Any, shape: Sequence[int], name: str) -> Any:
        """Return `value`, a `Var` or `Rearranged`, with another shape; more than 5 sides wait."""
        shape = tuple(shape)
        if not isinstance(value, Rearranged):
            if shape == tuple(value.shape):
                return value
            value = Rearranged(
                source=value, shape=tuple(value.shape), permutation=tuple(range(value.rank))
            )
        if not value.in_order:
            value = self._least(value, name)
        if len(shape) > MAX_RANK:
            return Rearranged(
                source=value.source, shape=shape, permutation=tuple(range(len(shape)))
            )
        if shape == tuple(value.source.shape):
            return value.source
        return self.emit("reshape", name, x=value.source, shape=np.array(shape, np.int32))

    def transpose(self, value: Any, permutation: Sequence[int]) -> Any:
        """Return `value`, a `Var` or `Rearranged`, with its dimensions in another order."""
        if not isinstance(value, Rearranged):
            value = Rearranged(
                source=value, shape=tuple(value.shape), permutation=tuple(range(value.rank))
            )
        composed = tuple(value.permutation[axis] for axis in permutation)
        result = Rearranged(source=value.source, shape=value.shape, permutation=composed)
        if result.in_order and value.shape == tuple(value.source.shape):
            return value.source
        return result

    def _least(self, value: Rearranged, name: str) -> Rearranged:
        """Write the transposition of `value` with few dimensions; none is left to do then."""
        few = value.merged()
        if len(few.shape) > MAX_RANK:
            raise Unsupported(
                f"it rearranges {len(few.shape)} dimensions; Core ML has {MAX_RANK} at most"
            )
        result = few.source
        if few.shape != tuple(result.shape) and not few.in_order:
            result = self.emit("reshape", name, x=result, shape=np.array(few.shape, np.int32))
        if not few.in_order:
            order = np.array(few.permutation, np.int32)
            result = self.emit("transpose", name, x=result, perm=order)
        return Rearranged(
            source=result, shape=tuple(result.shape), permutation=tuple(range(result.rank))
        )

    def _written(self, value: Rearranged, name: str) -> Any:
        if len(value.shape) > MAX_RANK:
            raise Unsupported(
                f"{name} has {len(value.shape)} dimensions outside reshaping and transposing; "
                f"Core ML has {MAX_RANK} at most"
            )
        result = value.source
        if value.shape != tuple(result.shape):
            result = self.emit("reshape", name, x=result, shape=np.array(value.shape, np.int32))
        if not value.in_order:
            order = np.array(value.permutation, np.int32)
            result = self.emit("transpose", name, x=result, perm=order)
        return result

    def _free_name(self, name: str) -> str:
        """Return an identifier of MIL's (letters, digits, underscore) that is not taken."""
        base = re.sub(r"\W", "_", name.replace("/", "_").strip("/"), flags=re.ASCII) or "value"
        if not re.match(r"[A-Za-z_]", base):
            base = f"_{base}"
        free, count = base, 1
        while free in self._names:
            count += 1
            free = f"{base}_{count}"
        self._names.add(free)
        return free

    # ---- the pass ------------------------------------------------------------------------------
    def run(self, nodes: Iterable[Node]) -> None:
        """Translate all of `nodes`.

        Raises
        ------
        ExportError
            If some have no Core ML form; it names each, and why.
        """
        for node in nodes:
            results = self._results(node)
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    self._values[name] = result
        if self._problems:
            count = len(self._problems)
            what = "1 layer has" if count == 1 else f"{count} layers have"
            listed = "\n  ".join(self._problems)
            message = f"{what} no Core ML form:\n  {listed}"
            raise ExportError(message, source="backbone", code="unsupported_operator")

    def _results(self, node: Node) -> Sequence[Any]:
        values = [self._values.get(name, _MISSING) for name in node.inputs if name]
        missing = [_MISSING] * len(node.outputs)
        if node.kind == "Constant" or (
            values and all(isinstance(value, np.ndarray) for value in values)
        ):
            return self._evaluated(node, values)
        blocked = any(value is _MISSING for value in values)
        if node.kind in {"Shape", "Size"} and not blocked:
            return [self._measured(node)]
        lowering = self._lowerings.get(node.kind)
        if lowering is None:
            self._problem(node, _reason(node.kind))
            return missing
        if blocked:
            return missing  # its shapes are unknown, and what is at fault is on the list
        try:
            result = lowering(self, node)
        except Unsupported as error:
            self._problem(node, str(error))
            return missing
        except (ValueError, TypeError, RuntimeError, KeyError, AssertionError) as error:
            # What coremltools' builder raises where it checks shapes and types: several classes,
            # and no common base. What it refuses is not for us to repair.
            self._problem(node, f"coremltools: {error}")
            return missing
        results: Sequence[Any] = result if isinstance(result, (list, tuple)) else [result]
        if any(node.outputs[len(results) :]):
            self._problem(node, f"output {len(results) + 1} of it is used")
            return missing
        return results

    def _problem(self, node: Node, reason: str) -> None:
        self._problems.append(f"{node.name} ({node.kind}): {reason}")

    def _measured(self, node: Node) -> NDArray[np.int64]:
        shape = self.shape(node.inputs[0])
        if node.kind == "Size":
            return np.array(prod(shape), np.int64)
        start, end = node.attributes.get("start", 0), node.attributes.get("end")
        return np.array(shape[start:end], np.int64)

    def _evaluated(self, node: Node, values: Sequence[NDArray[Any]]) -> Sequence[Any]:
        """Run one node on constants."""
        try:
            results = iter(evaluate(node.proto, node.opset, values))
        except Exception as error:  # noqa: BLE001 - it raises whatever the operator's code does
            self._problem(node, f"cannot be evaluated on its constants: {error}")
            return [_MISSING] * len(node.outputs)
        return [np.asarray(next(results)) if name else None for name in node.outputs]


def _plain(array: NDArray[Any]) -> Any:
    """Return a constant as the builder takes it: a number of Python's, or an array."""
    if array.ndim == 0:
        return array.item()
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        # INT64_MAX means "to the end" in ONNX: it must stay large, not wrap around.
        return np.clip(array, _INT32.min, _INT32.max).astype(np.int32)
    return array


def _reason(kind: str) -> str:
    if kind.rpartition("::")[2].startswith(_INTEGER):
        return (
            "it computes on whole numbers; use the network's QDQ form (QuantizeLinear and "
            "DequantizeLinear around plain operators), or the float one that it was made from"
        )
    if "::" in kind:
        return "an operator of ONNX Runtime or of another maker, not of ONNX"
    return "no operator of image backbones that eyespot knows"
