"""The application, and what every command runs in: messages, progress, exit codes."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from eyespot import screen
from eyespot.errors import Cancelled, EyespotError, InvalidOption, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["app", "check_writable", "count", "guarded", "print_json", "working"]

_P = ParamSpec("_P")

app = typer.Typer(
    name="eyespot",
    help="Train an image classifier from folders of photos.",
    epilog="Start with: eyespot train PHOTOS, where PHOTOS holds one folder of photos per label.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Messages are written for the library; here they name the options instead.
_SAID_IN_OPTIONS = {
    "DataSource.labeled_directories": "--data-format labeled_directories",
    "DataSource.labeled_files": "--data-format labeled_files",
    "DataSource.from_table": "--data-format table",
    "choose output_name": "choose --output-name",
    "ratio is": "--validation is",
    "n_threads is": "--threads is",
    "groups is": "--groups is",
    "groups: is given together with group_column": "--groups is given together with --group-column",
    "force=True": "--force",
    "quantize='int8'": "--quantize int8",
    "export input='uint8_nhwc'": "use --input uint8_nhwc",
    "input is": "--input is",
    "quantize is": "--quantize is",
    "sidecars is": "--sidecar is",
    "names is": "--names is",
    "head is": "--head is",
    "precision is": "--precision is",
    "augmentation is": "--augment is",
    "copies_per_image=": "--copies ",
    "n_copies is": "--tiles is",
    "side is": "--size is",
    "give a new session directory": "give another folder to --session",
}


def _in_options(message: str) -> str:
    for name, option in _SAID_IN_OPTIONS.items():
        message = message.replace(name, option)
    return message


def _abandon_output() -> None:
    """Lose what standard output still holds: the interpreter would try to write it once more."""
    with suppress(OSError, ValueError):  # of a program that put something else in its place
        descriptor = sys.stdout.fileno()
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), descriptor)


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn what a command raises into one line and an exit code."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InvalidOption as error:
            screen.note(_in_options(str(error)), kind="error")
            raise typer.Exit(2) from None
        except (KeyboardInterrupt, Cancelled):
            screen.note("interrupted", kind="error")
            raise typer.Exit(130) from None
        except EyespotError as error:
            screen.note(_in_options(str(error)), kind="error")
            raise typer.Exit(1) from None
        except MemoryError as error:
            screen.note(f"out of memory: {error}", kind="error")
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has had enough: typer ends without a word
                raise
            if error.filename is None:
                _abandon_output()
            where, reason = error.filename or "standard output", error.strerror or error
            screen.note(f"{where}: {reason}", kind="error")
            raise typer.Exit(1) from None

    return run


@contextmanager
def working(*, quiet: bool) -> Iterator[screen.ProgressDisplay]:
    """Show progress while the body runs, then the warnings that it gave, each as one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            with screen.ProgressDisplay(quiet=quiet) as display:
                yield display
        finally:
            for warning in caught:
                screen.note(str(warning.message), kind="warning")
            if caught and sys.stderr.isatty():
                typer.echo("", err=True)


def print_json(value: object) -> None:
    """Print `value` as JSON that any terminal can show."""
    typer.echo(printable(json.dumps(value, indent=2, ensure_ascii=False)))


def check_writable(path: Path, example: str = "model.onnx") -> None:
    """Refuse a place that cannot take the result before hours of work, not after."""
    if path.is_dir():
        message = f"{path} is a folder; give the name of a file, such as {path / example}"
        raise InvalidOption(message, source=str(path), code="invalid_argument")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        message = f"{path}: the folder {folder} does not exist"
        raise InvalidOption(message, source=str(path), code="invalid_argument")
    if not os.access(folder, os.W_OK | os.X_OK) and (path.is_file() or not path.exists()):
        message = f"{path}: there is no permission to write to the folder {folder}"
        raise InvalidOption(message, source=str(path), code="invalid_argument")


def count(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural where that is due."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from eyespot._core import __version__

        typer.echo(f"eyespot {__version__}")
        raise typer.Exit
