"""Every exception and warning that eyespot raises.

The tree mirrors Create ML's ``MLCreateError`` (cancelled, incompatible parameters, modified
training data, input/output, type, generic) and adds what Create ML lacks: an error for one bad
file.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AssumptionWarning",
    "Cancelled",
    "CheckpointError",
    "ConvergenceWarning",
    "DataError",
    "DecodeError",
    "ExportError",
    "EyespotError",
    "GroupsWarning",
    "ImageError",
    "IncompatibleParameters",
    "InvalidOption",
    "ModelError",
    "ModifiedTrainingData",
    "SkippedImagesWarning",
    "StoreError",
]


def printable(text: str) -> str:
    """Return text that any terminal or file takes.

    The name of a file need not be valid UTF-8; Python keeps such bytes as lone surrogates, which
    no stream can write. They become backslash escapes here.
    """
    return text.encode(errors="backslashreplace").decode()


class EyespotError(Exception):
    """Base class of every error that eyespot raises on purpose.

    Parameters
    ----------
    message : str
        What went wrong, where, and what is allowed.
    source : str, optional
        The file, argument or row at fault.
    code : str, optional
        The stable lower-case name of the cause, such as ``"corrupt_image"``.
    """

    def __init__(self, message: str, *, source: str = "", code: str = "") -> None:
        super().__init__(printable(message))
        self.source = source
        self.code = code


class InvalidOption(EyespotError, ValueError):  # noqa: N818 - the name says what it is
    """An argument is outside its documented range or of the wrong type."""


class DataError(EyespotError):
    """The data as a whole cannot be used: no images, one class, a missing folder."""


class DecodeError(EyespotError, ValueError):
    """One image cannot be read; ``source`` names it and ``code`` says why."""


class ModelError(EyespotError):
    """A model file is missing, damaged, or not of a form that eyespot can use."""


class ModifiedTrainingData(EyespotError):  # noqa: N818 - the name says what it is
    """The data differ from those that the session or checkpoint was made with."""


class IncompatibleParameters(EyespotError):  # noqa: N818 - the name says what it is
    """The parameters differ from those that the session or checkpoint was made with.

    Attributes
    ----------
    source : str
        The parameter that differs.
    original_value, new_value : object
        What it was and is, where a session tells; both None otherwise.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str = "",
        code: str = "",
        original_value: object = None,
        new_value: object = None,
    ) -> None:
        super().__init__(message, source=source, code=code)
        self.original_value = original_value
        self.new_value = new_value


class CheckpointError(EyespotError):
    """A checkpoint is missing, damaged, or of an unknown version."""


class StoreError(EyespotError):
    """A feature store cannot be read or written."""


class ExportError(EyespotError):
    """A model cannot be written in the form asked for."""


class Cancelled(EyespotError):  # noqa: N818 - the name says what it is
    """The caller asked the work to stop."""


class AssumptionWarning(UserWarning):
    """A model does not say what it wants to see, and something had to be assumed."""


class ConvergenceWarning(UserWarning):
    """Training stopped at ``max_iterations`` before it reached its tolerance."""


class GroupsWarning(UserWarning):
    """Groups of images keep a figure from meaning what it says: one is on both sides, or alone."""


class SkippedImagesWarning(UserWarning):
    """Some images could not be read and were left out; the result lists them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageError:
    """One image that could not be used, as a value.

    Attributes
    ----------
    index : int
        Position in the list that the caller passed.
    source : str
        The file's path, or ``"<bytes>"``, ``"<array>"`` and the like with its position.
    code : str
        ``"io"``, ``"unsupported_format"``, ``"corrupt_image"``, ``"limit_exceeded"`` or
        ``"out_of_memory"``.
    message : str
        What was found and what is allowed, without the source.
    """

    index: int
    source: str
    code: str
    message: str

    def __str__(self) -> str:
        return printable(f"{self.source}: {self.message}")

    def to_exception(self) -> DecodeError:
        """Return the same fact as an exception that can be raised."""
        return DecodeError(str(self), source=self.source, code=self.code)


_CLASS_OF_CODE: dict[str, type[EyespotError]] = {
    "invalid_argument": InvalidOption,
    "io": DecodeError,
    "unsupported_format": DecodeError,
    "corrupt_image": DecodeError,
    "limit_exceeded": DecodeError,
    "non_finite": DataError,
    "cancelled": Cancelled,
}


def from_core(code: str, source: str, message: str) -> EyespotError | MemoryError:
    """Return the exception for an error of the native core; called by its translator."""
    text = f"{source}: {message}" if source else message
    if code == "out_of_memory":
        return MemoryError(text)
    return _CLASS_OF_CODE.get(code, EyespotError)(text, source=source, code=code)
