"""Work in a thread of its own, which tells how far it is and can be stopped."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from eyespot import _core
from eyespot.progress import Phase, Progress, ProgressCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from eyespot.session.checkpoints import Checkpoint

__all__ = ["Job"]

T = TypeVar("T")
_END_S: Final = 10.0


class Job(Generic[T]):
    """Training that goes on while you do something else.

    Made by `ImageClassifier.train_async` and `ImageClassifier.resume`, already running. In a
    coroutine, ``await job`` waits for the result.

    Parameters
    ----------
    work : callable
        Given a progress callback and a cancel token, does it and returns the result.
    checkpoints : callable, optional
        Returns the checkpoints that there are.

    Attributes
    ----------
    start_date : datetime
        When it began, in UTC.

    Examples
    --------
    >>> job = ImageClassifier.train_async(photos)  # doctest: +SKIP
    >>> for progress in job:  # doctest: +SKIP
    ...     print(progress)
    >>> model = job.result()  # doctest: +SKIP

    Notes
    -----
    A job that is still running when Python ends is cancelled then.
    """

    def __init__(
        self,
        work: Callable[[ProgressCallback, _core.CancelToken], T],
        checkpoints: Callable[[], tuple[Checkpoint, ...]] = tuple,
    ) -> None:
        self._checkpoints = checkpoints
        self.start_date = datetime.now(UTC)
        self._cancel = _core.CancelToken()
        self._future: Future[T] = Future()
        self._future.set_running_or_notify_cancel()
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._listeners: list[ProgressCallback] = []
        self._thread = threading.Thread(
            target=self._run, args=(work,), name="eyespot-job", daemon=True
        )
        _running.add(self)
        self._thread.start()

    def _run(self, work: Callable[[ProgressCallback, _core.CancelToken], T]) -> None:
        try:
            result = work(self._tell, self._cancel)
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            _running.discard(self)

    def _tell(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress
            listeners = list(self._listeners)
        for listener in listeners:
            listener(progress)

    @property
    def progress(self) -> Progress | None:
        """How far it is; ``None`` before there is anything to tell."""
        return self._progress

    @property
    def phase(self) -> Phase:
        """What is being done, or was done last."""
        return Phase.INITIALIZED if self._progress is None else self._progress.phase

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints of its session by now; none without a session."""
        return self._checkpoints()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancel.cancelled

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._future.done()

    def on_progress(self, callback: ProgressCallback) -> None:
        """Have `callback` called with each `Progress` from now on, from the job's thread.

        What it raises ends the job.
        """
        with self._lock:
            self._listeners.append(callback)

    def __iter__(self) -> Iterator[Progress]:
        """Yield each `Progress` from now on, as it comes, until the job has ended."""
        events: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self.on_progress(events.put)
        self._future.add_done_callback(lambda _: events.put(None))
        while (event := events.get()) is not None:
            yield event

    def cancel(self) -> None:
        """Ask it to stop, which takes a moment; `result` then raises `Cancelled`."""
        self._cancel.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end and return the result.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; ``None`` waits as long as it takes.

        Raises
        ------
        TimeoutError
            If it takes longer. The job goes on.
        Cancelled
            If it was cancelled.
        EyespotError
            Whatever the work raised.
        """
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self._future).__await__()

    def __repr__(self) -> str:
        if not self.done:
            return f"<Job: {self._progress or 'starting'}>"
        if (error := self._future.exception()) is None:
            return "<Job: finished>"
        return f"<Job: {'cancelled' if self.is_cancelled else f'failed: {error}'}>"


_running: weakref.WeakSet[Job[Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Stop what still runs, so that no thread is torn down in the middle of native code."""
    jobs = list(_running)
    for job in jobs:
        job.cancel()
    for job in jobs:
        job._thread.join(_END_S)
