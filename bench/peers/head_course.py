"""The course of one fit: its iterates with their times, and an end at a set time."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from pathlib import Path


class Course:
    """The iterates of a fit, each with the time that it took to get there.

    They are kept in files, lest they count as memory of the fit, and the clock stands still while
    one is written. The fit is to end, says ``add``, at the first iterate past ``seconds`` or once
    there are ``iterates``.
    """

    def __init__(self, folder, seconds=math.inf, iterates=math.inf):
        self._folder = Path(folder)
        self._limits = seconds, iterates
        self.times = []  # of each iterate: wall and processor seconds since the start
        self.end = None  # the same, when the fit was over
        self.was_stopped = False
        self._aside = 0.0, 0.0
        self._start = self._now()

    def _now(self):
        wall, cpu = self._aside
        return time.perf_counter() - wall, time.process_time() - cpu

    def elapsed(self):
        return tuple(now - start for now, start in zip(self._now(), self._start, strict=True))

    def add(self, iterate):
        """Keep an iterate; return whether the fit is to end."""
        before = self._now()
        import numpy as np

        self.times.append(self.elapsed())
        np.save(self._folder / f"{len(self.times) - 1}.npy", iterate)
        after = self._now()
        self._aside = tuple(
            aside + b - a for aside, a, b in zip(self._aside, before, after, strict=True)
        )
        return self.is_over()

    def is_over(self):
        """Return whether the fit is to end, though it found nothing new."""
        seconds, iterates = self._limits
        self.was_stopped = self.elapsed()[0] >= seconds or len(self.times) >= iterates
        return self.was_stopped

    def close(self):
        self.end = self.elapsed()

    def iterate(self, index):
        import numpy as np

        return np.load(self._folder / f"{index}.npy")

    def first(self, is_good):
        """Return the first iterate's index that is good, or None if the last is not.

        By bisection: once good, an iterate is taken to stay good, as objectives only fall.
        """
        low, high = -1, len(self.times) - 1
        if high < 0 or not is_good(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if is_good(middle):
                high = middle
            else:
                low = middle
        return high


@contextmanager
def watched_minimize(course):
    """Let SciPy's ``minimize``, whoever calls it, tell `course` of its iterates, and end by it."""
    from scipy import optimize

    minimize = optimize.minimize

    def watched(*arguments, **options):
        def callback(intermediate_result):
            if course.add(intermediate_result.x):
                raise StopIteration  # which ends it with the iterate that it has

        assert options.get("callback") is None, "the peer has a callback of its own"
        return minimize(*arguments, **options | {"callback": callback})

    optimize.minimize = watched
    try:
        yield
    finally:
        optimize.minimize = minimize
