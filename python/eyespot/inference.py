"""Images through one ONNX network: decoding and inference side by side, one thread budget.

The thread rule, from measurement (``python -m bench inference``): one session whose operators use
one thread each, called by as many threads as the budget has, one image a call, beside as many
decoding threads, which sleep when they are a few images ahead. Measured on two cores that other
work kept busy, against one caller with ONNX Runtime's own threads: spinning, as they do by default,
they took 1.4 to 2 times as long and 1.6 to 1.9 times the processor time; put to sleep instead they
took about the same processor time, the clock being too noisy for a verdict. Against eight images a
call, one image a call costs a tenth more processor time for MobileNetV3-small, a tenth less for
MobileNetV2, and less memory for both; it makes an embedding a function of its image alone, however
ONNX Runtime's kernels choose their path by batch size.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from eyespot import _core
from eyespot.errors import Cancelled, ImageError, InvalidOption, ModelError
from eyespot.images import source_name
from eyespot.loader import Loader
from eyespot.progress import Phase, ProgressCallback, ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnxruntime
    from numpy.typing import NDArray

    from eyespot._core import CancelToken
    from eyespot.images import ImageInput
    from eyespot.loader import Batch
    from eyespot.options import Preprocessing
    from eyespot.variants import Variants

__all__ = ["Filling", "NetworkRunner", "Rows"]

_MAX_THREADS: Final = 1024
_POLL_S: Final = 0.02
_COUPLING_OPERATORS: Final = b"DynamicQuantize"  # how their names begin, as the file holds them
_DECODE_BATCH: Final = 4  # images a hand-over: small, so that little memory is in flight


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


class NetworkRunner:
    """An ONNX network with one image input and one float32 output of shape (N, n_columns).

    Parameters
    ----------
    model : bytes
        The serialised network.
    source : str
        What to call it in messages.

    Attributes
    ----------
    batch : int or None
        The batch size that the network is fixed to, if it is.
    alone : bool
        Whether an image's row may depend on the others of its batch (the scale of a dynamically
        quantised tensor does), so that each image must fill a batch of its own.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the network, or it has not one input and one output.

    Notes
    -----
    Safe from many threads. Runs on the CPU.
    """

    def __init__(self, model: bytes, *, source: str) -> None:
        self.source = source
        self.alone = _COUPLING_OPERATORS in model
        self._session = open_session(model, source=source)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            message = (
                f"{source}: a network of {len(inputs)} inputs and {len(outputs)} outputs; "
                "expected one of each"
            )
            raise ModelError(message, source=source, code="unsupported_shape")
        (self._input,), (self._output,) = inputs, outputs
        first = self._input.shape[0] if self._input.shape else None
        self.batch: int | None = first if isinstance(first, int) else None

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata entries."""
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            message = f"{self.source}: the metadata are no UTF-8: {error}"
            raise ModelError(message, source=self.source, code="corrupt_model") from error

    @property
    def input_shape(self) -> list[int | str | None]:
        """The input's dimensions; a name or None where any size is accepted."""
        return list(self._input.shape)

    @property
    def output_shape(self) -> list[int | str | None]:
        """The output's dimensions; a name or None where they vary."""
        return list(self._output.shape)

    def run(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None = None
    ) -> NDArray[Any]:
        """Return the output for a batch of inputs, shaped and typed as the network takes them.

        Raises
        ------
        ModelError
            If the network fails.
        """
        feed = {self._input.name: pixels}
        try:
            (output,) = self._session.run([self._output.name], feed, run_options=options)
        except Exception as error:
            message = f"{self.source}: the network failed: {_first_line(error)}"
            raise ModelError(message, source=self.source, code="run_time") from error
        return np.asarray(output)

    def rows(
        self, pixels: NDArray[Any], options: onnxruntime.RunOptions | None = None
    ) -> NDArray[np.float32]:
        """Return one row for each image of `pixels`, the bits of which depend on that image only.

        Parameters
        ----------
        pixels : ndarray of shape (n_images, ...)
            Inputs of the network, in its layout and type.
        options : onnxruntime.RunOptions, optional
            For instance one that another thread can set to terminate.
        """
        count = len(pixels)
        if self.batch is None or self.batch == 1:
            results = [self.run(pixels[i : i + 1], options) for i in range(count)]
        elif self.alone:
            results = [
                self.run(np.repeat(pixels[i : i + 1], self.batch, axis=0), options)[:1]
                for i in range(count)
            ]
        else:
            results = []
            for start in range(0, count, self.batch):
                part = pixels[start : start + self.batch]
                padding = [(0, self.batch - len(part))] + [(0, 0)] * (part.ndim - 1)
                results.append(self.run(np.pad(part, padding), options)[: len(part)])
        return np.concatenate(results) if results else np.empty((0, 0), np.float32)

    def run_images(
        self,
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
        """Decode images and run them through the network, both at once.

        Parameters
        ----------
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
        run = _Run(self, inputs, preprocessing, values, n_threads, on_error, variants)
        run.work(ProgressReporter(progress, phase, n_rows), cancel)
        return compacted(values, run.good, run.errors(), variants)

    def fill(
        self,
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
        inputs, preprocessing, phase, n_threads, on_error, progress, cancel, variants
            As in `run_images`, of the images that have such rows; `progress` counts all rows.

        Returns
        -------
        bool ndarray of shape (n_new,)
            Which of the rows could be made.
        tuple of ImageError
            The images that could not be used, by their position in the caller's list.
        """
        run = _Run(
            self, inputs, preprocessing, filling.values, n_threads, on_error, variants, filling
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


def open_session(model: bytes, *, source: str) -> onnxruntime.InferenceSession:
    """Open a session as the thread rule above wants it.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors come as exceptions, not as text on stderr
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's classes have no public base
        message = f"{source}: ONNX Runtime refuses the network: {_first_line(error)}"
        raise ModelError(message, source=source, code="unsupported_model") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(f"{name} is {message}", source=name, code="invalid_argument")


class _Run:
    """One pass over images: a loader's threads decode, ours run the network."""

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
        self.pool = _core.ThreadPool(n_threads)
        self.variants = variants
        self.n_rows = len(inputs) if variants is None else variants.n_rows
        self.image_of = None if variants is None else variants.images()
        self.values = values
        self.filling = filling
        self.ready: list[NDArray[np.int64]] = []  # places of rows that are done and not yet told
        self.good = np.zeros(self.n_rows, np.bool_)
        self.bad: list[ImageError] = []
        self.done = 0
        self.failure: BaseException | None = None
        self.lock = threading.Lock()
        self.batches: queue.Queue[Batch | None] = queue.Queue(maxsize=self.pool.n_threads)
        self.stop = threading.Event()
        self.run_options: list[onnxruntime.RunOptions] = []

    def work(self, reporter: ProgressReporter, cancel: CancelToken | None) -> None:
        """Run to the end; stop all threads before leaving in any way."""
        import onnxruntime

        # Few images are shared out among all threads; many go by small batches.
        share = -(-self.n_rows // self.pool.n_threads)
        size = self.runner.batch or max(1, min(_DECODE_BATCH, share))
        workers = []
        for _ in range(min(self.pool.n_threads, -(-self.n_rows // size))):
            options = onnxruntime.RunOptions()
            self.run_options.append(options)
            workers.append(threading.Thread(target=self._infer, args=(options,), daemon=True))

        def look() -> None:
            done = self.done  # of which all are told to be ready, before the caller hears of it
            self._tell_ready()
            reporter.update(done)
            self._check(cancel)

        finished = False
        reporter.update(0)
        try:
            for worker in workers:
                worker.start()
            with self._loader(size, cancel) as loader:
                for batch in loader:
                    self._count_errors(batch)
                    self._hand_over(batch, look)
                    look()
            for _ in workers:
                self._hand_over(None, look)
            for worker in workers:
                while worker.is_alive():
                    worker.join(_POLL_S)
                    look()
            finished = True
        except Cancelled:  # by the loader, which cannot tell how many images are done
            self._check(cancel)
            raise
        finally:
            if not finished:
                self._abandon(workers)
                self._tell_ready()
        look()

    def _tell_ready(self) -> None:
        if self.filling is None or not self.ready:
            return
        with self.lock:
            ready, self.ready = self.ready, []
        self.filling.take(np.concatenate(ready))

    def _loader(self, size: int, cancel: CancelToken | None) -> Loader:
        if self.variants is None:
            return Loader(
                self.inputs, self.preprocessing, batch_size=size, pool=self.pool, cancel=cancel
            )
        # An image's variants are a batch of their own, large enough to keep few of.
        return Loader(
            self.inputs,
            self.preprocessing,
            batch_size=1,
            pool=self.pool,
            prefetch=self.pool.n_threads + 1,
            cancel=cancel,
            augmentation=self.variants,
        )

    def _hand_over(self, batch: Batch | None, look: Any) -> None:
        while True:
            try:
                return self.batches.put(batch, timeout=_POLL_S)
            except queue.Full:
                look()

    def _check(self, cancel: CancelToken | None) -> None:
        """Raise what ends the run, if anything does."""
        if self.failure is not None:
            raise self.failure
        if self.on_error == "raise" and self.bad:
            with self.lock:
                first = min(self.bad, key=lambda error: error.index)
            raise self._placed(first).to_exception()
        if cancel is not None and cancel.cancelled:
            n_rows = len(self.values)
            message = f"stopped on request after {self.done} of {n_rows} images"
            raise Cancelled(message, code="cancelled")

    def _abandon(self, workers: list[threading.Thread]) -> None:
        """Make the workers stop, in the middle of an image if need be, and wait for them."""
        self.stop.set()
        for options in self.run_options:
            options.terminate = True
        while True:
            try:
                self.batches.get_nowait()
            except queue.Empty:
                break
        for worker in workers:
            if worker.ident is None:
                continue
            while worker.is_alive():
                with contextlib.suppress(queue.Full):
                    self.batches.put_nowait(None)
                worker.join(_POLL_S)

    def _count_errors(self, batch: Batch) -> None:
        if batch.errors:
            with self.lock:
                self.bad.extend(batch.errors)
                for error in batch.errors:
                    self.done += self._rows_left_out(error)

    def _infer(self, options: onnxruntime.RunOptions) -> None:
        try:
            while not self.stop.is_set():
                batch = self.batches.get()
                if batch is None:
                    return
                self._infer_batch(batch, options)
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, raised there
            if not self.stop.is_set():
                self.failure = error
                self.stop.set()

    def _infer_batch(self, batch: Batch, options: onnxruntime.RunOptions) -> None:
        pixels = batch.pixels
        if self.preprocessing.dtype == "float16":
            pixels = pixels.astype(np.float16)
        if len(pixels) == 0:
            return
        step = self.runner.batch or 1
        for start in range(0, len(pixels), step):
            if self.stop.is_set():
                return
            rows = self.runner.rows(pixels[start : start + step], options)
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
