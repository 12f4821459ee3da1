"""Images through one network: every thread decodes a few, runs them, and takes the next.

As many threads work as the budget has. What a thread has just decoded is still in its cache when
the network wants it, and threads do not push each other off the processor, as decoding threads
beside those that run the network would.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from eyespot import _core
from eyespot.batching import GROUP, Batching
from eyespot.errors import Cancelled, ImageError, InvalidOption
from eyespot.images import source_name
from eyespot.loader import Loader
from eyespot.progress import Phase, ProgressCallback, ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnxruntime
    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.images import ImageInput
    from eyespot.inference import NetworkRunner
    from eyespot.loader import Batch
    from eyespot.options import Preprocessing
    from eyespot.variants import Variants

__all__ = ["Filling", "Rows", "compacted", "fill_rows", "run_images"]

_MAX_THREADS: Final = 1024
_POLL_S: Final = 0.02
# After Ctrl-C; together with the time until it is noticed, well below the 100 ms that are promised.
_PATIENCE_S: Final = 0.05
_ABANDON_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One row of numbers for each image that could be read.

    Attributes
    ----------
    values : float32 ndarray of shape (n_good, n_columns)
        In the order of the caller's list.
    indices : int64 ndarray of shape (n_good,)
        Position of each row's image in the caller's list, ascending.
    errors : tuple of ImageError
        The other images, by ascending position.
    variants : int64 ndarray of shape (n_good,), optional
        With variants, which one each row is; -1 is the original, the first of its image.
    """

    values: NDArray[np.float32]
    indices: NDArray[np.int64]
    errors: tuple[ImageError, ...]
    variants: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Where rows go that are part of a larger table.

    Attributes
    ----------
    values : float32 ndarray of shape (n_rows, n_columns)
        The table, some rows of which are there already.
    places : int64 ndarray of shape (n_new,)
        Position in it of each row that is to be made.
    images : int64 ndarray of shape (n_inputs,)
        Position of each input in the caller's list, for errors.
    take : callable
        Told the places of rows that are done, from the calling thread: all of them, soon, and
        those of a run that is interrupted, too.
    """

    values: NDArray[np.float32]
    places: NDArray[np.int64]
    images: NDArray[np.int64]
    take: Callable[[NDArray[np.int64]], None]


def run_images(
    runner: NetworkRunner,
    inputs: Sequence[ImageInput],
    preprocessing: Preprocessing,
    n_columns: int,
    *,
    phase: Phase,
    n_threads: int = 0,
    on_error: Literal["skip", "raise"] = "skip",
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    variants: Variants | None = None,
) -> Rows:
    """Decode images and run them through the network.

    Parameters
    ----------
    runner : NetworkRunner
        The network.
    inputs : sequence of paths, bytes, arrays or PIL images
        The images.
    preprocessing : Preprocessing
        How they become inputs of the network.
    n_columns : int
        Length of one row of the output.
    phase : Phase
        What to call the work in `progress`.
    n_threads : int
        The thread budget; 0 means what the process may use. The result does not depend on it.
    on_error : {"skip", "raise"}
        What an image does that cannot be read, or whose row is not finite.
    progress : callable, optional
        Called from this thread.
    cancel : CancelToken, optional
        Looked at every 20 ms.
    variants : Variants, optional
        Of each image, the original and its copies, a row for each. An image is left out with
        all its rows.

    Raises
    ------
    InvalidOption
        If an argument is not what is listed here.
    DecodeError
        With ``on_error="raise"``, for the first bad image.
    Cancelled
        If `cancel` was set.
    ModelError
        If the network fails at run time.

    Notes
    -----
    Memory beyond the result does not grow with the number of images.
    """
    n_rows = len(inputs) if variants is None else variants.n_rows
    values = np.empty((n_rows, n_columns), np.float32)
    run = _Run(runner, inputs, preprocessing, values, n_threads, on_error, variants)
    run.work(ProgressReporter(progress, phase, n_rows), cancel)
    return compacted(values, run.good, run.errors(), variants)


def fill_rows(
    runner: NetworkRunner,
    inputs: Sequence[ImageInput],
    preprocessing: Preprocessing,
    filling: Filling,
    *,
    phase: Phase,
    n_threads: int = 0,
    on_error: Literal["skip", "raise"] = "skip",
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    variants: Variants | None = None,
) -> tuple[NDArray[np.bool_], tuple[ImageError, ...]]:
    """Do the work of `run_images` for the rows that a table lacks.

    Parameters
    ----------
    filling : Filling
        The table.
    runner, inputs, preprocessing, phase, n_threads, on_error, progress, cancel, variants
        As in `run_images`, of the images that have such rows; `progress` counts all rows.

    Returns
    -------
    bool ndarray of shape (n_new,)
        Which of the rows could be made.
    tuple of ImageError
        The images that could not be used, by their position in the caller's list.
    """
    run = _Run(
        runner, inputs, preprocessing, filling.values, n_threads, on_error, variants, filling
    )
    n_rows = len(filling.values)
    reused = n_rows - len(filling.places)
    run.done = reused
    run.work(ProgressReporter(progress, phase, n_rows, reused=reused), cancel)
    return run.good, run.errors()


def compacted(
    values: NDArray[np.float32],
    good: NDArray[np.bool_],
    errors: tuple[ImageError, ...],
    variants: Variants | None,
) -> Rows:
    """Return the good rows of a table, moved together in place.

    Parameters
    ----------
    values : float32 ndarray of shape (n_rows, n_columns)
        A row for each image, or for each of its variants.
    good : bool ndarray of shape (n_rows,)
        Which rows there are. Images with an error are left out with all rows.
    errors : tuple of ImageError
        By ascending position, one an image.
    variants : Variants or None
        What the rows are of.
    """
    image_of = None if variants is None else variants.images()
    if image_of is not None:
        good = good & ~np.isin(image_of, [error.index for error in errors])
    indices = np.flatnonzero(good).astype(np.int64)
    for row, index in enumerate(indices):  # in place: no second copy of the result
        if row != index:
            values[row] = values[index]
    return Rows(
        values=values[: len(indices)],
        indices=indices if image_of is None else image_of[indices],
        variants=None if variants is None else variants.indices()[indices],
        errors=errors,
    )


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(f"{name} is {message}", source=name, code="invalid_argument")


class _Worker(threading.Thread):
    """A thread of a run.

    Not a daemon: one that is left behind in the middle of an image ends before the interpreter.

    Attributes
    ----------
    options : onnxruntime.RunOptions
        Makes the network stop in the middle of an image, when told to terminate.
    loading : bool
        Whether it decodes just now: then it does not stop before the image is done.
    ended : bool
        Whether it has done all that it will do. ``is_alive`` cannot tell: a ``join`` that Ctrl-C
        interrupts leaves a thread that runs marked as one that has ended (bpo-45274).
    """

    def __init__(self, run: _Run, loader: Loader) -> None:
        import onnxruntime

        super().__init__(name="eyespot-run", daemon=False)
        self.options = onnxruntime.RunOptions()
        self.loading = False
        self.ended = False
        self._run_of = run
        self._loader = loader

    def run(self) -> None:
        run = self._run_of
        try:
            while run.wants_more():
                self.loading = True
                batch = next(self._loader, None)
                self.loading = False
                if batch is None or run.stop.cancelled:
                    return
                run.take(batch, self.options)
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, raised there
            self.loading = False
            if not run.stop.cancelled:
                run.failure = error
                run.stop.cancel()
        finally:
            self.ended = True
            run.ended.release()


class _Run:
    """One pass over images."""

    def __init__(
        self,
        runner: NetworkRunner,
        inputs: Sequence[ImageInput],
        preprocessing: Preprocessing,
        values: NDArray[np.float32],
        n_threads: int,
        on_error: Literal["skip", "raise"],
        variants: Variants | None,
        filling: Filling | None = None,
    ) -> None:
        if on_error not in ("skip", "raise"):
            raise _invalid("on_error", f"{on_error!r}; allowed: 'skip', 'raise'")
        if n_threads not in range(_MAX_THREADS + 1):
            raise _invalid("n_threads", f"{n_threads!r}; allowed: 0 to {_MAX_THREADS}")
        self.runner = runner
        self.inputs = inputs
        self.preprocessing = preprocessing
        self.on_error = on_error
        self.n_threads = n_threads or _core.available_threads()
        self.variants = variants
        self.n_rows = len(inputs) if variants is None else variants.n_rows
        self.image_of = None if variants is None else variants.images()
        self.values = values
        self.filling = filling
        self.batching = Batching(runner, self.n_rows)
        self.ready: list[NDArray[np.int64]] = []  # places of rows that are done and not yet told
        self.good = np.zeros(self.n_rows, np.bool_)
        self.bad: list[ImageError] = []
        self.done = 0
        self.failure: BaseException | None = None
        self.lock = threading.Lock()
        self.stop = _core.CancelToken()
        self.ended = threading.Semaphore(0)  # counts workers

    def work(self, reporter: ProgressReporter, cancel: CancelToken | None) -> None:
        """Run to the end; stop all threads before leaving in any way."""

        def look() -> None:
            done = self.done  # of which all are told to be ready, before the caller hears of it
            self._tell_ready()
            reporter.update(done)
            self._check(cancel)

        # An image's variants are a batch of their own, large enough to keep few of. Few images are
        # shared out among all threads.
        size = 1
        if self.variants is None:
            size = self.runner.batch or max(1, min(GROUP, -(-self.n_rows // self.n_threads)))
        n_workers = min(self.n_threads, -(-self.n_rows // size))
        reporter.update(0)
        with Loader(
            self.inputs,
            self.preprocessing,
            batch_size=size,
            callers=max(n_workers, 1),
            cancel=self.stop,
            augmentation=self.variants,
        ) as loader:
            workers = [_Worker(self, loader) for _ in range(n_workers)]
            finished = False
            try:
                for worker in workers:
                    worker.start()
                for _ in workers:
                    while not self.ended.acquire(timeout=_POLL_S):
                        look()
                finished = True
            finally:
                if not finished:
                    self._abandon(workers)
                    self._tell_ready()
                for worker in workers:
                    if worker.ended:  # but for its last breath
                        worker.join()
        look()
        if self.on_error == "raise" and self.bad:
            first = min(self.bad, key=lambda error: error.index)
            raise self._placed(first).to_exception()

    def _tell_ready(self) -> None:
        if self.filling is None or not self.ready:
            return
        with self.lock:
            ready, self.ready = self.ready, []
        self.filling.take(np.concatenate(ready))

    def _check(self, cancel: CancelToken | None) -> None:
        """Raise what ends the run before its time, if anything does."""
        if self.failure is not None:
            raise self.failure
        if cancel is not None and cancel.cancelled:
            n_rows = len(self.values)
            message = f"stopped on request after {self.done} of {n_rows} images"
            raise Cancelled(message, code="cancelled")

    def _abandon(self, workers: list[_Worker]) -> None:
        """Make the workers stop, in the middle of a network's run if need be, and wait for that.

        One that decodes an image ends after it and does nothing more. That may take long, so it is
        not waited for beyond a moment.
        """
        self.stop.cancel()
        for worker in workers:
            worker.options.terminate = True
        started = [worker for worker in workers if worker.ident is not None]
        patience = time.monotonic() + _PATIENCE_S
        while any(
            not worker.ended and not (worker.loading and time.monotonic() > patience)
            for worker in started
        ):
            time.sleep(_ABANDON_POLL_S)

    def wants_more(self) -> bool:
        """Whether a worker should take more images.

        Not after an error that is to be raised: batches are taken in order, so the first bad image
        of all is among those that are in work by then.
        """
        return not (self.stop.cancelled or (self.on_error == "raise" and self.bad))

    def take(self, batch: Batch, options: onnxruntime.RunOptions) -> None:
        """Run a batch through the network, and note what came of it."""
        if batch.errors:
            with self.lock:
                self.bad.extend(batch.errors)
                for error in batch.errors:
                    self.done += self._rows_left_out(error)
        pixels = batch.pixels
        if self.preprocessing.dtype == "float16":
            pixels = pixels.astype(np.float16)
        if len(pixels) == 0:
            return
        step = self.runner.batch or GROUP
        for start in range(0, len(pixels), step):
            if self.stop.cancelled:
                return
            rows = self.batching.rows(pixels[start : start + step], options)
            where = batch.indices[start : start + step]
            finite = np.isfinite(rows).all(axis=1)
            places = where if self.filling is None else self.filling.places[where]
            self.values[places] = rows
            self.good[where] = finite
            with self.lock:
                self.done += len(where)
                if self.filling is not None:
                    self.ready.append(places[finite])
                self.bad.extend(self._not_finite(int(i)) for i in where[~finite])

    def _rows_left_out(self, error: ImageError) -> int:
        """Return how many rows an image that cannot be read would have had."""
        if self.variants is None:
            return 1
        # The error comes for each portion of the image, and counts the first time.
        known = sum(other.index == error.index for other in self.bad) > 1
        return 0 if known else int(self.variants.counts[error.index])

    def _not_finite(self, row: int) -> ImageError:
        index = row if self.image_of is None else int(self.image_of[row])
        return ImageError(
            index=index,
            source=source_name(self.inputs[index], index),
            code="non_finite",
            message=f"{self.runner.source} gave NaN or infinity for this image",
        )

    def errors(self) -> tuple[ImageError, ...]:
        """Return one error for each image that could not be used, by ascending position."""
        errors = {error.index: error for error in reversed(self.bad)}
        return tuple(self._placed(errors[index]) for index in sorted(errors))

    def _placed(self, error: ImageError) -> ImageError:
        """Return an error with the caller's position of the image."""
        if self.filling is None:
            return error
        image = int(self.filling.images[error.index])
        source = source_name(self.inputs[error.index], image)
        return replace(error, index=image, source=source)
