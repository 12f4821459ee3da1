"""What the command line draws: progress on standard error, tables on standard output.

On a terminal progress is a bar a phase, with images a second and the time left; elsewhere it is a
plain line at the end of each phase, and one now and then while a long phase lasts.
"""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import typer

from eyespot.progress import Phase, Progress
from eyespot.rendering import on_one_line, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import rich.progress

__all__ = ["ProgressDisplay", "note", "table"]

_LINE_EVERY_S = 10.0
_AT_ONCE_S = 0.05


def note(text: str, *, kind: str = "note") -> None:
    """Write a message to standard error, such as ``note: text``; wrapped on a terminal."""
    text = on_one_line(text)  # the name of a file may hold line ends, or orders to the terminal
    colour = {"error": "red", "warning": "yellow"}.get(kind, "cyan")
    if sys.stderr.isatty():
        width = shutil.get_terminal_size((80, 24)).columns
        lines = textwrap.wrap(
            text,
            width,
            initial_indent=" " * (len(kind) + 2),
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        text = "\n".join(lines)[len(kind) + 2 :]
    typer.secho(f"{kind}:", fg=colour, bold=kind == "error", err=True, nl=False)
    typer.echo(f" {text}", err=True)


def table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return rows of cells as aligned text; the first `left` columns are flush left."""
    columns = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
    return text_table(rows[0], rows[1:], left=left, columns=columns)


class ProgressDisplay:
    """A progress callback that draws, to be used as a context.

    Parameters
    ----------
    quiet : bool
        Draw nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._bars: rich.progress.Progress | None = None
        self._tasks: dict[Phase, rich.progress.TaskID] = {}
        self._finished: set[Phase] = set()
        self._line_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def __call__(self, progress: Progress) -> None:
        """Draw `progress`."""
        if self._quiet or (progress.phase == Phase.INITIALIZED and not self._worth_a_bar(progress)):
            return
        if self._terminal:
            self._draw(progress)
        else:
            self._print(progress)

    def say(self, text: str) -> None:
        """Write `text` to standard output, after the bars that are finished by now."""
        self._stop()
        typer.echo(text)

    @contextmanager
    def told_by(self, name: str) -> Iterator[None]:
        """Write what a logger tells to standard error while the body runs."""
        display = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                display._stop()
                typer.echo(record.getMessage(), err=True)

        source, handler = logging.getLogger(name), Handler(logging.INFO)
        level = source.level
        if not self._quiet:
            source.addHandler(handler)
            source.setLevel(logging.INFO)
        try:
            yield
        finally:
            source.removeHandler(handler)
            source.setLevel(level)

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            typer.echo("", err=True)
            self._bars = None
            self._tasks.clear()
        self._finished.clear()

    @staticmethod
    def _worth_a_bar(progress: Progress) -> bool:
        return progress.elapsed_s > 1.0

    def _print(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase in self._finished:
            return
        if progress.finished:
            self._finished.add(progress.phase)
            if progress.elapsed_s < _AT_ONCE_S and progress.phase == Phase.EVALUATING:
                return  # of embeddings that are there already
        elif now - self._line_s < _LINE_EVERY_S:
            return
        self._line_s = now
        typer.echo(str(progress), err=True)

    def _draw(self, progress: Progress) -> None:
        if progress.phase == Phase.EVALUATING and progress.phase not in self._tasks:
            if progress.done == 0:
                return  # with embeddings at hand there is nothing to wait for
            if progress.finished and progress.elapsed_s < _AT_ONCE_S:
                return
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        task = self._tasks.get(progress.phase)
        if task is None:
            task = self._bars.add_task(progress.phase.caption, total=progress.total, detail="")
            self._tasks[progress.phase] = task
        self._bars.update(
            task, completed=progress.done, total=progress.total, detail=_detail(progress)
        )


def _detail(progress: Progress) -> str:
    """Return what stands at the end of a bar: images a second, or how good the head is."""
    if progress.phase == Phase.TRAINING:
        parts = [f"{name} {value:.4f}" for name, value in progress.metrics.items()]
        return ", ".join(parts)
    if not progress.rate:
        return ""
    return f"{progress.rate:,.{0 if progress.rate >= 10 else 1}f} images/s"


def _bars() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description:<19}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}"),
        console=Console(stderr=True),
    )
