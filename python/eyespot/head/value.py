"""What a head is: dense layers, and what makes probabilities of the last one's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from eyespot import _core
from eyespot.errors import InvalidOption

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Head"]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Dense layers on embeddings: ``relu(x @ W.T + b)`` but for the last, which gives the logits.

    Attributes
    ----------
    layers : tuple of pairs of float32 ndarrays, of shapes (n_out, n_in) and (n_out,)
        Weights and bias of each layer, the one next to the embeddings first; each takes what the
        one before gives. One layer is a linear head. The arrays are read-only.
    output : {"softmax", "sigmoid"}
        How logits become probabilities: of classes that exclude each other, or of each on its own.

    Raises
    ------
    InvalidOption
        If the shapes do not fit each other, a number is not finite in float32, or `output` is
        neither.
    """

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    output: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        if self.output not in ("softmax", "sigmoid"):
            raise _unfit("output", f"is {self.output!r}; allowed: softmax, sigmoid")
        if not isinstance(cast("object", self.layers), Sequence) or len(self.layers) == 0:
            raise _unfit("layers", "must hold at least one pair of weights and bias")
        layers = tuple((_frozen(weights), _frozen(bias)) for weights, bias in self.layers)
        width = layers[0][0].shape[-1] if layers[0][0].ndim else 0
        for number, (weights, bias) in enumerate(layers):
            name = f"layers[{number}]"
            if weights.ndim != 2 or bias.shape != weights.shape[:1] or 0 in weights.shape:
                raise _unfit(
                    name,
                    f"has weights of shape {weights.shape} and a bias of shape {bias.shape}; "
                    "allowed: (n_out, n_in) and (n_out,)",
                )
            if weights.shape[1] != width:
                raise _unfit(name, f"takes {weights.shape[1]} numbers, but is given {width}")
            if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
                raise _unfit(name, "has numbers that are not finite in float32")
            width = len(weights)
        object.__setattr__(self, "layers", layers)

    @property
    def n_features(self) -> int:
        """Length of an embedding."""
        return int(self.layers[0][0].shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.layers[-1][1])

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths of the hidden layers; empty for a linear head."""
        return tuple(len(bias) for _, bias in self.layers[:-1])

    def logits(
        self, embeddings: ArrayLike, *, pool: _core.ThreadPool | None = None
    ) -> NDArray[np.float32]:
        """Return the scores of each class, before softmax or sigmoid.

        Parameters
        ----------
        embeddings : float array of shape (n, n_features)
            Taken as float32.
        pool : ThreadPool, optional
            Threads to use; without one, the calling thread. The result does not depend on it.

        Returns
        -------
        float32 ndarray of shape (n, n_classes)
        """
        return _core.dense_layers(self._rows(embeddings), self.layers, softmax=False, pool=pool)

    def probabilities(
        self, embeddings: ArrayLike, *, pool: _core.ThreadPool | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of each class.

        Parameters
        ----------
        embeddings, pool
            As in `logits`.

        Returns
        -------
        float32 ndarray of shape (n, n_classes)
            Of a softmax, rows sum to 1.
        """
        if self.output == "softmax":
            return _core.dense_layers(self._rows(embeddings), self.layers, softmax=True, pool=pool)
        # In this form no exponential overflows.
        scores = self.logits(embeddings, pool=pool)
        power = np.exp(-np.abs(scores))
        shares: NDArray[np.float32] = np.where(scores >= 0, 1, power) / (1 + power)
        return shares

    def with_temperature(self, temperature: float) -> Self:
        """Return the head whose logits are divided by `temperature`, a finite number above 0."""
        if not (np.isfinite(temperature) and temperature > 0):
            raise _unfit("temperature", f"is {temperature!r}; allowed: a finite number above 0")
        weights, bias = self.layers[-1]
        last = tuple(
            (a.astype(np.float64) / temperature).astype(np.float32) for a in (weights, bias)
        )
        return type(self)((*self.layers[:-1], (last[0], last[1])), self.output)

    def for_classes(self, labels: Sequence[Any], wanted: Sequence[Any]) -> Self:
        """Return the head for other classes, to start a fit from.

        Parameters
        ----------
        labels : sequence
            What the classes of this head are called.
        wanted : sequence
            The classes to have, in this order. Those that are new get zero weights and the least
            bias there is; those that are gone are dropped.
        """
        weights, bias = self.layers[-1]
        if len(labels) != len(bias):
            raise _unfit("labels", f"are {len(labels)}, of {len(bias)} classes")
        row = {label: number for number, label in enumerate(labels)}
        new_weights = np.zeros((len(wanted), weights.shape[1]), dtype=np.float32)
        new_bias = np.full(len(wanted), bias.min())
        for number, label in enumerate(wanted):
            if (old := row.get(label)) is not None:
                new_weights[number], new_bias[number] = weights[old], bias[old]
        return type(self)((*self.layers[:-1], (new_weights, new_bias)), self.output)

    def _rows(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        values = np.ascontiguousarray(embeddings, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] != self.n_features:
            raise _unfit(
                "embeddings", f"has the shape {values.shape}; allowed: (n, {self.n_features})"
            )
        return values


def _frozen(array: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # an infinity is refused with a name
        copy = np.array(array, dtype=np.float32, order="C")
    copy.setflags(write=False)
    return copy


def _unfit(name: str, what: str) -> InvalidOption:
    return InvalidOption(f"head: {name} {what}", source=name, code="invalid_argument")
