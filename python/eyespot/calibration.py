"""Whether probabilities mean what they say, and the one number that makes them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eyespot.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Calibration", "expected_calibration_error", "fit_temperature"]

_N_BINS = 15
_ELEMENTS_AT_A_TIME = 1 << 20
_MAX_ELEMENTS = 20_000_000  # of more, evenly spaced rows say enough of one number
_PRIOR_DEVIATION = 0.25  # of the logarithm of the temperature
_LOG_BOUND = math.log(100.0)
_LOG_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a temperature does to predictions of rows that the models had not seen.

    Attributes
    ----------
    temperature : float
        What the logits are divided by: above 1 it softens the probabilities, below 1 it sharpens
        them. The order of the classes stays.
    ece_before, ece_after : float
        Expected calibration error, 0 to 1, see `expected_calibration_error`.
    log_loss_before, log_loss_after : float
        Mean log-loss in nats, with the weights of the rows.
    how : str
        Where the predictions come from, in words.
    n : int
        Number of rows.
    """

    temperature: float
    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    how: str
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` returned; `TypeError` when an entry is missing or unknown."""
        return cls(**values)

    def __str__(self) -> str:
        change = "softened" if self.temperature > 1 else "sharpened"
        return (
            f"{change} by the temperature {self.temperature:.3g}: calibration error "
            f"{100 * self.ece_before:.1f} % to {100 * self.ece_after:.1f} % {self.how}"
        )


def expected_calibration_error(
    probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return how far confidence and accuracy are apart.

    The probability of the likeliest class is a row's confidence. Rows go into 15 bins of equal
    width by it; the result is the mean over the bins, by their share of the rows, of the distance
    between mean confidence and accuracy.

    Parameters
    ----------
    probabilities : float array of shape (n, n_classes)
        Rows that add up to 1.
    targets : integer array of shape (n,)
        The true class of each row.
    weights : float array of shape (n,), optional
        Not negative, not all 0; each row counts by its own.

    Returns
    -------
    float
        0 to 1; 0 is perfect.

    References
    ----------
    C. Guo and others, On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    table = np.asarray(probabilities)
    right = table.argmax(axis=1) == np.asarray(targets)
    share = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=np.float64)
    return _binned_error(table.max(axis=1).astype(np.float64), right, share)


def _binned_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], share: NDArray[np.float64]
) -> float:
    # Bin b holds confidences in (b / 15, (b + 1) / 15].
    bins = np.clip(np.ceil(confidence * _N_BINS).astype(np.int64) - 1, 0, _N_BINS - 1)
    gaps = np.bincount(bins, weights=share * (confidence - right), minlength=_N_BINS)
    return math.fsum(np.abs(gaps).tolist()) / math.fsum(share.tolist())


def fit_temperature(
    log_probabilities: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    how: str = "held-out predictions",
) -> Calibration:
    """Find the temperature that minimises the log-loss of held-out predictions.

    Parameters
    ----------
    log_probabilities : float array of shape (n, n_classes)
        Logarithms of probabilities, or logits: a constant added to a row changes nothing.
    targets : integer array of shape (n,)
        The true class of each row.
    weights : float array of shape (n,), optional
        Not negative, not all 0.
    how : str, optional
        Where the predictions come from, for `Calibration.how`.

    Returns
    -------
    Calibration

    Raises
    ------
    InvalidOption
        The shapes do not agree, or there is no row.

    Notes
    -----
    With t the logarithm of the temperature, ``mean log-loss + (t / 0.25)**2 / (2 * n)`` is
    minimised, by Newton steps that fall back on bisection: a normal prior of t keeps a few rows, or
    rows that are all right, from asking for certainty, and fades as rows come in. (With a
    prior four times as wide, eight photos a class made test log-losses up to 2.4 times as large.)
    The log-loss afterwards is never above the one before. Of more than 20 million numbers evenly
    spaced rows are used.

    References
    ----------
    C. Guo and others, On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    table, truth = np.asarray(log_probabilities), np.asarray(targets)
    if table.ndim != 2 or 0 in table.shape or truth.shape != (len(table),):
        message = f"predictions of shape {table.shape} do not go with targets of {truth.shape}"
        raise InvalidOption(message, source="targets", code="invalid_argument")
    share = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=np.float64)
    step = -(-table.size // _MAX_ELEMENTS)
    table, truth, share = table[::step], truth[::step], share[::step]
    share = share / share.sum()

    def slopes(log_temperature: float) -> tuple[float, float]:
        """First and second derivative of the objective with respect to the log-temperature."""
        cold = math.exp(-log_temperature)
        first, second = _moments(table, truth, share, cold)
        prior = 1 / (_PRIOR_DEVIATION**2 * len(table))
        return (
            log_temperature * prior - cold * first,
            prior + cold * first + cold * cold * second,
        )

    low, high, t = -_LOG_BOUND, _LOG_BOUND, 0.0
    while high - low > _LOG_TOLERANCE:
        slope, bend = slopes(t)
        low, high = (low, t) if slope > 0 else (t, high)
        following = t - slope / bend if bend > 0 else math.nan
        if abs(following - t) <= _LOG_TOLERANCE:
            break
        t = following if low < following < high else 0.5 * (low + high)
    temperature = math.exp(t)
    before = _loss_and_error(table, truth, share, 1.0)
    after = _loss_and_error(table, truth, share, temperature)
    return Calibration(
        temperature=temperature,
        log_loss_before=before[0],
        ece_before=before[1],
        log_loss_after=after[0],
        ece_after=after[1],
        how=how,
        n=len(truth),
    )


def _blocks(table: NDArray[Any], truth: NDArray[Any]) -> Any:
    rows = max(1, _ELEMENTS_AT_A_TIME // table.shape[1])
    for start in range(0, len(table), rows):
        part = slice(start, start + rows)
        block = table[part].astype(np.float64)
        # Only differences to the true class matter.
        block -= block[np.arange(len(block)), truth[part]][:, None]
        yield part, block


def _softmax(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities, and the logarithm of the sum of the exponentials."""
    top = scores.max(axis=1)
    powers = np.exp(scores - top[:, None])
    total = powers.sum(axis=1)
    return powers / total[:, None], top + np.log(total)


def _moments(
    table: NDArray[Any], truth: NDArray[Any], share: NDArray[np.float64], cold: float
) -> tuple[float, float]:
    """Return both derivatives of the mean log-loss with respect to one over the temperature."""
    first, second = [], []
    for part, block in _blocks(table, truth):
        probabilities, _ = _softmax(cold * block)
        mean = (probabilities * block).sum(axis=1)
        square = (probabilities * block**2).sum(axis=1)
        first.append(float(share[part] @ mean))
        second.append(float(share[part] @ (square - mean**2)))
    return math.fsum(first), math.fsum(second)


def _loss_and_error(
    table: NDArray[Any], truth: NDArray[Any], share: NDArray[np.float64], temperature: float
) -> tuple[float, float]:
    losses = []
    likeliest = np.empty(len(table))
    right = np.empty(len(table), dtype=bool)
    for part, block in _blocks(table, truth):
        probabilities, log_sum = _softmax(block / temperature)
        losses.append(float(share[part] @ log_sum))
        likeliest[part] = probabilities.max(axis=1)
        right[part] = probabilities.argmax(axis=1) == truth[part]
    return math.fsum(losses), _binned_error(likeliest, right, share)
