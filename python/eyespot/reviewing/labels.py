"""Which labels are probably wrong, by predictions of models that were fitted without the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Doubts", "doubts_of"]

_PLAIN: Final = math.log(20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What speaks against the labels.

    Attributes
    ----------
    suggested : int64 ndarray of shape (n,)
        The likeliest of the other classes.
    odds : float64 ndarray of shape (n,)
        Natural logarithm of how much likelier that is than the label; below 0 where the label is
        the likeliest class.
    issues : int64 ndarray of shape (n_issues,)
        The rows whose label is probably wrong, by descending odds.
    """

    suggested: NDArray[np.int64]
    odds: NDArray[np.float64]
    issues: NDArray[np.int64]


def doubts_of(log_probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> Doubts:
    """Weigh each label against the likeliest other class.

    Parameters
    ----------
    log_probabilities : float32 ndarray of shape (n, n_classes)
        Of models that were fitted without the row.
    targets : int64 ndarray of shape (n,)
        The labels as given.

    Notes
    -----
    Rows are ranked by the odds. How many of them are issues is the estimate of confident learning
    (C. Northcutt, L. Jiang, I. Chuang, Confident Learning, JAIR 70, 2021, equation 1): a row counts
    for class j if its probability of j is at least the mean over the rows that are labelled j, and
    if none of the classes for which that holds is likelier; rows that count for another class than
    their label are off the diagonal of the confident joint. Where most labels are right and easily
    told, that mean is so near to 1 that plain mistakes fall below it; so all rows of which another
    label is 20 times likelier are issues in any case.
    """
    rows = np.arange(len(targets))
    others = log_probabilities.astype(np.float64)
    own = others[rows, targets]
    others[rows, targets] = -np.inf
    suggested = others.argmax(axis=1)
    odds = others[rows, suggested] - own
    counted = min(_off_diagonal(np.exp(log_probabilities), targets), int((odds > 0).sum()))
    count = max(counted, int((odds > _PLAIN).sum()))
    return Doubts(suggested=suggested, odds=odds, issues=np.argsort(-odds, kind="stable")[:count])


def _off_diagonal(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> int:
    """Return how many rows the confident joint has off its diagonal."""
    n_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(targets)), targets]
    counts = np.bincount(targets, minlength=n_classes)
    sums = np.bincount(targets, weights=own, minlength=n_classes)
    # A class without rows has no mean: nothing counts for it.
    least = np.divide(sums, counts, out=np.full(n_classes, np.inf), where=counts > 0)
    confident = np.where(probabilities >= least, probabilities, -1.0)
    counted = confident.argmax(axis=1)
    return int(((confident.max(axis=1) >= 0) & (counted != targets)).sum())
