"""The normalisation of the pixels as one addition and one multiplication a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.export.coreml.source import Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["fold_normalisation"]

_PASSING: Final = {"Transpose", "Cast", "Gather", "Identity"}
_ARITHMETIC: Final = {"Add", "Sub", "Mul", "Div"}


def fold_normalisation(
    nodes: Sequence[Node], constants: Mapping[str, NDArray[Any]], image: str
) -> tuple[list[Node], dict[str, NDArray[np.float32]]]:
    """Bring what is done to the pixels first to the form ``(pixel + offset) * factor``.

    A saved model scales, centres and divides: three steps of float32. As two, with constants
    computed in double precision, they cost less and lose least in half precision, where a pixel
    (0 to 255) is exact and a small difference of two products is not.

    Parameters
    ----------
    nodes : sequence of Node
        The graph.
    constants : mapping
        Its initialisers.
    image : str
        Name of the pixels.

    Returns
    -------
    nodes : list of Node
        The graph with the first run of additions and multiplications by constants replaced; the
        same nodes where there is none, or it multiplies by 0.
    constants : dict of float32 ndarray
        What the new nodes need in addition.
    """
    run = _first_run(nodes, constants, image)
    if not run:
        return list(nodes), {}
    factor: NDArray[Any] = np.ones(1)
    shift: NDArray[Any] = np.zeros(1)
    value = _pixels_of(run[0], constants)
    start = value
    for node in run:
        constant = constants[next(name for name in node.inputs if name != value)].astype(np.float64)
        first = node.inputs[0] == value
        if node.kind == "Mul":
            factor, shift = factor * constant, shift * constant
        elif node.kind == "Div":
            factor, shift = factor / constant, shift / constant
        else:
            sign = 1 if node.kind == "Add" or first else -1
            added = -constant if node.kind == "Sub" and first else constant
            factor, shift = sign * factor, sign * shift + added
        value = node.outputs[0]
    if not np.all(factor) or not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        return list(nodes), {}
    offset = shift / factor
    made: list[Node] = []
    new: dict[str, NDArray[np.float32]] = {}
    source = start
    for kind, constant, trivial in (("Add", offset, 0), ("Mul", factor, 1)):
        if np.all(constant == trivial):
            continue
        name = f"preprocessing/{'centred' if kind == 'Add' else 'scaled'}"
        new[f"{name}_value"] = constant.astype(np.float32)
        made.append(_arithmetic(kind, name, (source, f"{name}_value"), run[-1]))
        source = name
    if not made:
        made = [_arithmetic("Identity", "preprocessing/pixels", (start,), run[-1])]
    last = made.pop()
    made.append(_arithmetic(last.kind, last.name, last.inputs, run[-1], run[-1].outputs))
    gone = {id(node) for node in run}
    at = next(place for place, node in enumerate(nodes) if id(node) in gone)
    rest = [node for node in nodes[at:] if id(node) not in gone]
    return [*nodes[:at], *made, *rest], new


def _arithmetic(
    kind: str,
    name: str,
    inputs: tuple[str, ...],
    like: Node,
    outputs: tuple[str, ...] | None = None,
) -> Node:
    return Node(
        kind=kind,
        name=name,
        inputs=inputs,
        outputs=outputs or (name,),
        attributes={},
        opset=like.opset,
        proto=like.proto,
    )


def _pixels_of(node: Node, constants: Mapping[str, NDArray[Any]]) -> str:
    return next(name for name in node.inputs if name not in constants)


def _first_run(
    nodes: Sequence[Node], constants: Mapping[str, NDArray[Any]], image: str
) -> list[Node]:
    """Return the first arithmetic nodes on the way of the pixels, one after the other."""
    takers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            takers.setdefault(name, []).append(node)
    run: list[Node] = []
    value = image
    while len(takers.get(value, ())) == 1:
        (node,) = takers[value]
        known = [name for name in node.inputs if name in constants]
        if node.kind in _PASSING and not run:
            pass
        elif (
            node.kind in _ARITHMETIC
            and len(node.inputs) == 2
            and len(known) == 1
            and not (node.kind == "Div" and node.inputs[0] != value)
            and all(constants[name].dtype.kind == "f" for name in known)
        ):
            run.append(node)
        else:
            break
        value = node.outputs[0]
    return run
