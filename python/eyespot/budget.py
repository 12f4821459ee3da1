"""How much work an augmentation makes, told and limited before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot import _core
from eyespot.errors import InvalidOption
from eyespot.progress import duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eyespot.inference import NetworkRunner
    from eyespot.options import Preprocessing
    from eyespot.variants import Variants

__all__ = ["MOST_ROWS", "Budget", "budget_of"]

#: Images of one training, copies included: of 1,000 features, 8 GB of embeddings.
MOST_ROWS: Final = 2_000_000
_PROBE_SIDE = 512
_PROBE_VARIANTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is to be embedded.

    Attributes
    ----------
    n_originals : int
        Images to train on.
    n_copies : int
        Their augmented copies.
    n_others : int
        Images that are not augmented, for validation.
    seconds : float
        About how long it takes.
    """

    n_originals: int
    n_copies: int
    n_others: int
    seconds: float

    def __str__(self) -> str:
        total = self.n_originals + self.n_copies + self.n_others
        held_out = f" and {self.n_others:,} for validation" if self.n_others else ""
        return (
            f"augmentation: {self.n_copies:,} copies of {self.n_originals:,} images{held_out}, "
            f"{total:,} images to look at, about {duration(self.seconds)}"
        )


def check_rows(variants: Variants) -> None:
    """Refuse a plan that makes too many copies.

    Raises
    ------
    InvalidOption
        If there would be more than `MOST_ROWS`; the message says what fits.
    """
    total = variants.n_rows
    if total <= MOST_ROWS:
        return
    n_images = len(variants.counts)
    fitting = MOST_ROWS // n_images - 1
    remedy = (
        f"ask for copies_per_image={fitting} or fewer"
        if fitting > 0
        else "train without augmentation; so many images need none"
    )
    message = (
        f"augmentation makes {total:,} images of {n_images:,}, and {MOST_ROWS:,} are the most that "
        f"one training takes; {remedy}"
    )
    raise InvalidOption(message, source="augmentation", code="invalid_argument")


def budget_of(
    variants: Variants, runner: NetworkRunner, preprocessing: Preprocessing, n_threads: int
) -> Budget:
    """Return what a plan makes, and about how long that takes, from one look at a grey image.

    Parameters
    ----------
    variants : Variants
        What is to be made; checked by `check_rows`.
    runner : NetworkRunner
        The backbone.
    preprocessing : Preprocessing
        What it takes.
    n_threads : int
        The thread budget; 0 means what the process may use.
    """
    grey = np.full((_PROBE_SIDE, _PROBE_SIDE, 3), 127, np.uint8)
    started = time.perf_counter()
    pixels: NDArray[Any] = _core.preprocess_variants(
        grey,
        preprocessing.core_spec(),
        variants.plans[0],
        seed=variants.seed,
        content=0,
        indices=range(_PROBE_VARIANTS),
    )
    if preprocessing.dtype == "float16":
        pixels = pixels.astype(np.float16)
    runner.rows(pixels)
    each = (time.perf_counter() - started) / _PROBE_VARIANTS
    augmented = variants.counts[[plan >= 0 for plan in variants.plan_of]]
    n_originals, n_copies = len(augmented), int(augmented.sum()) - len(augmented)
    threads = n_threads or _core.available_threads()
    return Budget(
        n_originals=n_originals,
        n_copies=n_copies,
        n_others=len(variants.counts) - n_originals,
        seconds=each * variants.n_rows / threads,
    )
