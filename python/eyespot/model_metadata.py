"""What the maker of a model says of it: author, description, licence, version."""

from __future__ import annotations

import getpass
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

from eyespot.errors import InvalidOption

__all__ = ["METADATA_KEY", "ModelMetadata", "full_user_name"]

#: Metadata entry of a model's file that holds `ModelMetadata.to_json`.
METADATA_KEY: Final = "eyespot.metadata"

_DESCRIPTION: Final = "Image classifier trained with eyespot"
# Entries of a model's file that eyespot writes itself.
_RESERVED: Final = frozenset({
    "names", "labels", "id2label", "task", "imgsz", "model_author", "model_license",
    "preview", "classes",
})  # fmt: skip
_RESERVED_STARTS: Final = ("eyespot.", "backbone.", "Image.", "com.apple.", "com.github.apple.")


def full_user_name() -> str:
    """Return the full name of the user whom this process runs for, or the login, or nothing."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may know no user
        return ""
    if importlib.util.find_spec("pwd") is None:  # not POSIX
        return login
    import pwd

    try:
        name = pwd.getpwnam(login).pw_gecos.split(",")[0].replace("&", login.capitalize())
    except KeyError:
        return login
    return name.strip() or login


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What the maker of a model says of it; the defaults are those of Create ML's MLModelMetadata.

    Attributes
    ----------
    author : str
        The default is the full name of the operating system's user.
    short_description : str
        A sentence.
    license : str or None
        Such as ``"MIT"``; ``None`` says nothing.
    version : str
        Of the model; the default is ``"1"``.
    additional : mapping of str to str
        Whatever else; each entry is written under its own name, too.

    Raises
    ------
    InvalidOption
        If a value is no text, or `additional` uses a name that eyespot writes itself.

    Notes
    -----
    `ImageClassifier.write` uses the defaults, and so the user's name, when it is given no metadata,
    as Create ML does. `ImageClassifier.save` and `export` add no name by themselves, so that their
    bytes do not depend on who runs them.

    Examples
    --------
    >>> ModelMetadata(author="Ada", license="MIT").version
    '1'
    """

    author: str = field(default_factory=full_user_name)
    short_description: str = _DESCRIPTION
    license: str | None = None
    version: str = "1"
    additional: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("author", "short_description", "version"):
            _check_text(getattr(self, name), name)
        if self.license is not None:
            _check_text(self.license, "license")
        if not isinstance(cast("object", self.additional), Mapping):
            message = f"additional is {self.additional!r}; allowed: a mapping of texts to texts"
            raise InvalidOption(message, source="additional", code="invalid_argument")
        for key, value in self.additional.items():
            _check_text(key, "a name in additional")
            _check_text(value, f"additional[{key!r}]")
            if not key or key in _RESERVED or key.startswith(_RESERVED_STARTS):
                message = f"additional has {key!r}, a name that eyespot keeps for itself"
                raise InvalidOption(message, source="additional", code="invalid_argument")
        object.__setattr__(self, "additional", dict(sorted(self.additional.items())))

    @classmethod
    def anonymous(cls) -> Self:
        """Return the defaults without an author: what a model says that nobody signed."""
        return cls(author="")

    def to_json(self) -> str:
        """Return all of it as a JSON object."""
        fields: dict[str, Any] = {
            "author": self.author,
            "short_description": self.short_description,
            "license": self.license,
            "version": self.version,
            "additional": dict(self.additional),
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        InvalidOption
            If it is something else.
        """
        try:
            fields = json.loads(text)
            return cls(**fields)
        except (ValueError, TypeError) as error:
            message = f"{METADATA_KEY} cannot be read: {error}"
            raise InvalidOption(message, source=METADATA_KEY, code="invalid_argument") from None

    def rows(self) -> list[tuple[str, str]]:
        """Return names and values to show, empty ones left out."""
        rows = [
            ("author", self.author),
            ("description", self.short_description),
            ("license", self.license or ""),
            ("version", self.version),
            *self.additional.items(),
        ]
        return [(name, value) for name, value in rows if value]


def _check_text(value: object, name: str) -> None:
    if not isinstance(value, str):
        message = f"{name} is {value!r}; allowed: a text"
        raise InvalidOption(message, source=name, code="invalid_argument")
    try:
        value.encode()
    except UnicodeEncodeError:
        message = f"{name} is {value!r}, which no file can hold; allowed: valid Unicode"
        raise InvalidOption(message, source=name, code="invalid_argument") from None
