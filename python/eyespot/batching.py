"""Several images a call of a network, where that changes no bit and takes less time.

An embedding must follow from its image alone, and ONNX Runtime may choose its kernels by batch
size. It chooses them by nothing else that changes during a run: not by what is in the pixels. So if
a batch of some images gives each of them the bits that it gets alone, wherever it stands, batches
of that size do so for all others, and it does not matter any more which images share a call. This
is tried on the first images of a run, which costs little of a long one; the clock then decides,
and decides on nothing but time.

Batches pay where weights have to come from memory for each call: measured on two cores, four
images a call take 6 % less time than four calls for ResNet-18, but 5 % more for MobileNetV3-small
and 10 % more for MobileNetV2 (``python -m bench inference``), whose activations then leave the
cache.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyespot.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

    from eyespot.inference import NetworkRunner

__all__ = ["GROUP", "Batching"]

#: Images a call, if any more than one.
GROUP: Final = 4
_TRIALS: Final = 3  # the first one is not timed: it gets the memory that such a batch needs
_LEAST_IMAGES: Final = 400  # in a shorter run, what the trials cost is not earned back


class Batching:
    """How many images go into a call of `runner`, during one run over many.

    Parameters
    ----------
    runner : NetworkRunner
        The network.
    n_images : int
        How many images the run is going to have.

    Notes
    -----
    Safe from many threads.
    """

    def __init__(self, runner: NetworkRunner, n_images: int) -> None:
        self._runner = runner
        self._lock = threading.Lock()  # held by the thread that makes a trial
        self._trials_left = _TRIALS if runner.groupable and n_images >= _LEAST_IMAGES else 0
        self._gain_s = 0.0  # processor time saved by the batches of the timed trials
        self._together = False

    @property
    def together(self) -> bool:
        """Whether images now go through the network together."""
        return self._together

    def rows(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None = None
    ) -> NDArray[np.float32]:
        """Return what ``runner.rows`` does, to the bit."""
        n_grouped = len(pixels) // GROUP * GROUP
        if n_grouped == 0 or not (self._together or self._trials_left):
            return self._runner.rows(pixels, options)
        parts = [
            self._group(pixels[start : start + GROUP], options)
            for start in range(0, n_grouped, GROUP)
        ]
        if n_grouped < len(pixels):
            parts.append(self._runner.rows(pixels[n_grouped:], options))
        return np.concatenate(parts)

    def _group(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None
    ) -> NDArray[np.float32]:
        if self._together:
            return self._runner.run(pixels, options)
        if self._lock.acquire(blocking=False):
            try:
                if self._trials_left:
                    return self._try(pixels, options)
            finally:
                self._lock.release()
        return self._runner.rows(pixels, options)

    def _try(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None
    ) -> NDArray[np.float32]:
        """Run images one by one and together; draw the conclusion after the last trial."""
        started = time.thread_time()
        alone = self._runner.rows(pixels, options)
        between = time.thread_time()
        try:
            same = self._runner.run(pixels, options).tobytes() == alone.tobytes()
        except ModelError:  # it takes single images only
            same = False
        if not same:
            self._trials_left = 0
            return alone
        if self._trials_left < _TRIALS:
            self._gain_s += (between - started) - (time.thread_time() - between)
        if self._trials_left == 1:
            self._together = self._gain_s > 0
        self._trials_left -= 1
        return alone
