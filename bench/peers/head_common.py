"""What the peers of the head suite share: data, the choice of threads and tolerance, measures."""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path

from head_course import Course, watched_minimize

PROBED = 5  # iterates, by whose times the number of threads is chosen where a fit takes long


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError in the body once it has run for so long."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def notes(options, peer):
    """Return the file that keeps what a peer found out about a case and a number of threads."""
    data = Path(options["data"])
    return data.with_name(f"{data.stem}-{peer}-{options['threads']}.json")


def with_any_threads(options):
    """Return the options of what was found out for any number of threads."""
    return options | {"threads": "any"}


class HeadPeer(ABC):
    """One way to fit, timed at the loosest tolerance that will do.

    Where accuracy ends its fits in float32 short of the bounds, it gets its rows in float64.
    """

    tolerances = ()
    widths = (32, 64)  # bits of the numbers in its rows, in the order in which they are tried
    # To the byte, for any number of threads: a known tolerance need not be tried again.
    is_deterministic = False
    # A run lasts so long at least, of as many fits as that takes, as those of timeit do: a fit of a
    # millisecond by itself would be timed with cold caches and processors that just woke.
    least_run_s = 0.2

    def __init__(self, options):
        import numpy as np

        with np.load(options["data"]) as arrays:
            self.x, self.y = arrays["x"], arrays["y"]
            self.l2, self.minimum = float(arrays["l2"]), float(arrays["minimum"])
        self.k = int(self.y.max()) + 1
        self.threads = options["threads"]  # that it may use
        self.used_threads = self.threads  # that it does use
        self.options = options
        # Within a budget only the width is noted, which no number of threads changes.
        for_any = self.is_deterministic or options.get("budgeted")
        self.noted = with_any_threads(options) if for_any else options
        self.met = self.stopped = False
        self.seconds = None  # after which it was stopped
        self.weights = np.zeros((self.k, self.x.shape[1]))
        self.bias = np.zeros(self.k)
        self.evaluations = 0
        self.set_up()
        self.use_bits(self.known().get("bits", self.widths[0]))
        self.prepare()

    def set_up(self):
        """Prepare what is not part of a fit."""
        return

    def prepare(self):
        """Choose threads, tolerance and width."""
        self.sweep()

    def use(self, threads):
        """Use so many threads from now on."""
        self.used_threads = threads

    @property
    def bits(self):
        return 8 * self.x.itemsize

    def use_bits(self, bits):
        """Have so many bits in each number of the rows from now on."""
        self.x = self.x.astype(f"f{bits // 8}", copy=False)

    def widen(self):
        """Go to the next width; return False if there is none."""
        wider = [bits for bits in self.widths if bits > self.bits]
        if wider:
            self.use_bits(wider[0])
        return bool(wider)

    def fastest_threads(self):
        """Return one or all threads, by fits to the loosest tolerance, after one that warms up."""
        if self.threads == 1:
            return 1
        best, chosen = self.options["limit_s"], self.threads
        for threads in sorted({1, self.threads}):
            self.use(threads)
            self.tolerance = self.tolerances[0]
            try:
                with time_limit(2 * best + 1):
                    self.fit()
                    seconds = self.timed_fits()["measured_s"]
            except TimeoutError:
                continue
            if seconds < best:
                best, chosen = seconds, threads
        return chosen

    @abstractmethod
    def fit(self):
        """Return weights, bias and the number of evaluations, or of iterations."""

    def sweep(self):
        """Find the loosest tolerance that is good enough, first where it was found before.

        Float64 is for those that no tolerance is good enough for in float32. If none is even there,
        it is the tightest, in the width that comes closer to the minimum.
        """
        known = self.known()
        tolerances = self.tolerances
        if known:
            self.recall(known)
            if self.stopped or not self.met or self.is_deterministic:
                return
            tolerances = tolerances[tolerances.index(self.tolerance) :]
        else:
            self.use(self.fastest_threads())
        ends = [self.try_tolerances(tolerances)]
        while not (self.met or self.stopped) and self.widen():
            self.use(self.fastest_threads())
            ends.append(self.try_tolerances(self.tolerances))
        is_over = self.met or self.stopped
        found = ends[-1] if is_over else min(ends, key=lambda end: end["gap"])
        self.recall(found)
        self.remember(**found)

    def try_tolerances(self, tolerances):
        """Go down to the first that is good enough, and return what is worth remembering of it."""
        for tolerance in tolerances:
            self.tolerance = tolerance
            start = time.perf_counter()
            try:
                with time_limit(self.options["limit_s"]):
                    self.weights, self.bias, self.evaluations = self.fit()
            except TimeoutError:
                self.stopped = True
                self.seconds = time.perf_counter() - start
                break
            self.met = self.is_good_enough()
            if self.met:
                break
        return {
            "tolerance": self.tolerance,
            "bits": self.bits,
            "threads": self.used_threads,
            "evaluations": int(self.evaluations),
            "gap": float(self.measure()[0]),
            "met": self.met,
            "seconds": self.seconds,
        }

    def recall(self, found):
        """Go on with what `try_tolerances` returned."""
        self.use_bits(found["bits"])
        self.use(self.threads if self.is_deterministic else found["threads"])
        self.tolerance = found["tolerance"]
        self.met = found["met"]
        self.seconds = found["seconds"]
        self.stopped = self.seconds is not None

    def known(self):
        """Return what was found out before, and still holds."""
        file = notes(self.noted, type(self).__module__)
        found = json.loads(file.read_text()) if file.exists() else {}
        return found if found.get("key") == self.key() else {}

    def remember(self, **found):
        file = notes(self.noted, type(self).__module__)
        file.write_text(json.dumps({"key": self.key()} | found))

    def key(self):
        # What was found with other bounds, or by another version of the peer, is not believed.
        facts = [self.noted, self.tolerances, self.widths, self.fingerprint()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def fingerprint(self):
        """Return what must not have changed for an earlier sweep to hold."""
        return Path(type(self).fit.__code__.co_filename).read_text()

    def run(self):
        if self.stopped:
            # It is not kept waiting again: what it took before it was stopped is a lower bound.
            return self.facts() | {"measured_s": self.seconds}
        timed = self.timed_fits()
        return self.facts() | timed | {"evaluations": int(self.evaluations)}

    def timed_fits(self):
        """Fit for `least_run_s`, once at the least, and return the mean seconds of a fit."""
        n_fits = 0
        wall, cpu = time.perf_counter(), time.process_time()
        while n_fits == 0 or time.perf_counter() - wall < self.least_run_s:
            self.weights, self.bias, self.evaluations = self.fit()
            n_fits += 1
        return {
            "n_fits": n_fits,
            "measured_s": (time.perf_counter() - wall) / n_fits,
            "measured_cpu_s": (time.process_time() - cpu) / n_fits,
        }

    def is_good_enough(self):
        gap, gradient = self.measure()
        return bool(gap <= self.options["gap"] and gradient <= self.options["gradient"])

    def facts(self):
        return {
            "tolerance": self.tolerance,
            "used_threads": self.used_threads,
            "bits": self.bits,
            "met": int(self.met),
            "stopped": int(self.stopped),
        }

    def measure(self):
        """Return the relative gap and the gradient's max-norm in float64."""
        import numpy as np

        weights, bias = np.asarray(self.weights, np.float64), np.asarray(self.bias, np.float64)
        n = len(self.y)
        loss = 0.0
        gradient = self.l2 * weights
        slope = np.zeros(self.k)
        for first in range(0, n, 4096):
            x = self.x[first : first + 4096].astype(np.float64)
            y = self.y[first : first + 4096]
            z = x @ weights.T + bias
            z -= z.max(axis=1, keepdims=True)
            own = z[np.arange(len(y)), y]
            p = np.exp(z, out=z)
            total = p.sum(axis=1)
            loss += (np.log(total) - own).sum() / n
            p /= total[:, None]
            p[np.arange(len(y)), y] -= 1
            gradient += p.T @ x / n
            slope += p.sum(axis=0) / n
        value = loss + 0.5 * self.l2 * (weights**2).sum()
        largest = max(np.abs(gradient).max(), np.abs(slope).max())
        return value / self.minimum - 1, largest

    def outputs(self):
        import numpy as np

        gap, gradient = self.measure()
        return {
            "gap": np.array(gap),
            "gradient": np.array(gradient),
            "stopped": np.array(self.stopped),
        }


class BudgetedPeer(HeadPeer):
    """One that may be raced within a budget of time instead, by the option ``budgeted``.

    Then there is no sweep over the tolerances, each of which would take a fit: the peer fits to its
    tightest tolerance, is stopped when its time is over, and what it had reached is looked for
    among its iterates. If it ends short of the bounds by itself, for want of accuracy, it has as
    much time once more with its rows in float64.
    """

    def prepare(self):
        if not self.options.get("budgeted"):
            super().prepare()
            return
        self.tolerance = self.tolerances[-1]
        self.use(self.fastest_threads_of_iterates())

    def fastest_threads_of_iterates(self):
        """Return one or all threads, by the time of a few iterates, which warms up as well."""
        seconds = {}
        for threads in sorted({1, self.threads}):
            self.use(threads)
            with tempfile.TemporaryDirectory() as folder:
                course = Course(folder, iterates=PROBED)
                self.pursue(course)
                (first, _), (last, _) = course.times[0], course.times[-1]
                seconds[threads] = (last - first) / len(course.times)
        return min(seconds, key=seconds.__getitem__)

    def pursue(self, course):
        """Fit, and tell `course` of each iterate; this here is for those that use SciPy."""
        with watched_minimize(course):
            weights, bias, _ = self.fit()
        course.close()
        last = self.unpack(course.iterate(len(course.times) - 1))
        for mine, theirs in zip(last, (weights, bias), strict=True):
            if abs(mine - theirs).max() > 1e-5 * abs(theirs).max():
                raise RuntimeError("this version of the peer lays its iterates out in another way")

    @abstractmethod
    def unpack(self, iterate):
        """Return the weights and the bias that an iterate of `pursue` means."""

    def run_for(self, seconds):
        """Fit for so many seconds at most, and find where the bounds were met first."""
        seconds = min(seconds, self.options["limit_s"])
        found = self.attempt(seconds)
        while not (self.met or self.stopped) and self.widen():
            self.remember(bits=self.bits)
            self.use(self.fastest_threads_of_iterates())
            found = self.attempt(seconds)
        return self.facts() | found

    def attempt(self, seconds):
        with tempfile.TemporaryDirectory() as folder:
            course = Course(folder, seconds)
            self.pursue(course)

            def is_good(index):
                self.weights, self.bias = self.unpack(course.iterate(index))
                return self.is_good_enough()

            index = course.first(is_good)
            self.met = index is not None
            index = index if self.met else len(course.times) - 1
            self.weights, self.bias = self.unpack(course.iterate(index))
        self.stopped = course.was_stopped and not self.met
        wall, cpu = course.times[index] if self.met else course.end
        return {"measured_s": wall, "measured_cpu_s": cpu, "iterates": index + 1}
