"""The classifier's head: what turns embeddings into probabilities, and how it is solved."""

from __future__ import annotations

from eyespot.head.perceptron import PerceptronFit, fit_perceptron
from eyespot.head.rows import HeldOut, class_balance
from eyespot.head.sigmoid import fit_sigmoid, label_balance, select_sigmoid_l2
from eyespot.head.softmax import (
    HeadFit,
    L2Path,
    fit_softmax,
    select_l2,
    softmax_probabilities,
)
from eyespot.head.stepping import HeadIteration, StopReason
from eyespot.head.value import Head

__all__ = [
    "Head",
    "HeadFit",
    "HeadIteration",
    "HeldOut",
    "L2Path",
    "PerceptronFit",
    "StopReason",
    "class_balance",
    "fit_perceptron",
    "fit_sigmoid",
    "fit_softmax",
    "label_balance",
    "select_l2",
    "select_sigmoid_l2",
    "softmax_probabilities",
]
