"""Pages with photos, complete in one file: what reviews and evaluations are shown as."""

from __future__ import annotations

import base64
import html
import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from eyespot.errors import InvalidOption, printable
from eyespot.files import write_atomically
from eyespot.loader import Loader
from eyespot.options import CropPolicy, Preprocessing
from eyespot.rendering import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "MOST_SHOWN",
    "Pictures",
    "cards",
    "check_form",
    "document",
    "escaped",
    "save_as",
    "section",
]

#: Of a kind: more than a person looks through, and a page of some megabytes.
MOST_SHOWN: Final = 100
_SIDE: Final = 176
_QUALITY: Final = 80

_STYLE: Final = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 62%, transparent);
  --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 0 auto;
  padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 14px; }
h2 { font-size: 18px; margin: 42px 0 2px; }
p { margin: 0 0 14px; max-width: 76ch; color: var(--soft); }
.figures { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 0 0 8px; }
.figures b { display: block; font-size: 22px; font-weight: 600; }
.figures span { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); gap: 18px; }
.group { border-top: 1px solid var(--line); padding: 12px 0 16px; }
.group > div:first-child { margin: 0 0 8px; }
figure { margin: 0; min-width: 0; }
figure img, figure .none { width: 176px; height: 176px; object-fit: contain; border-radius: 6px;
  background: white; display: block; }
figcaption { font-size: 13px; line-height: 1.4; padding: 5px 0 0; overflow-wrap: anywhere; }
figcaption a { color: inherit; }
.soft { color: var(--soft); }
.rather { font-weight: 600; }
ul { margin: 0; padding-left: 20px; overflow-wrap: anywhere; }
""".strip()


def save_as(
    path: str | os.PathLike[str],
    what: str,
    *,
    page: Callable[[Path], str],
    table: Callable[[], str],
    json: Callable[[], str],
) -> Path:
    """Write a page, a table or JSON in one step, by the ending of the name.

    Parameters
    ----------
    path : path
        See `check_form`.
    what : str
        What it is, for messages.
    page : callable
        Returns the HTML of a page that will lie in the folder it is told.
    table, json : callable
        Return the text of a CSV file and of a JSON file.

    Raises
    ------
    InvalidOption
        See `check_form`.
    ExportError
        If the file cannot be written.
    """
    target = check_form(path, what)
    match target.suffix.lower():
        case ".html":
            text = page(target.parent)
        case ".csv":
            text = table()
        case _:
            text = json() + "\n"
    write_atomically(target, printable(text).encode())
    return target


def check_form(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path of a page, a table or JSON; refuse other endings, or a page without Pillow.

    Raises
    ------
    InvalidOption
        If the name does not end in ``.html``, ``.csv`` or ``.json``, or Pillow, which a page
        needs, is not installed.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".csv", ".json"):
        message = f"{target}: {what} is saved as .html, .csv or .json; name it so"
        raise InvalidOption(message, source=str(target), code="invalid_argument")
    if target.suffix.lower() == ".html" and find_spec("PIL") is None:
        message = 'a page with photos needs Pillow: pip install "eyespot[formats]"'
        raise InvalidOption(message, source="PIL", code="invalid_argument")
    return target


class Pictures:
    """Thumbnails of files, made at once, and links to the files.

    Parameters
    ----------
    paths : sequence of Path
        The images.
    folder : Path
        Where the page will lie, which its links start from.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        from PIL import Image

        self._folder = folder
        self._sources: dict[Path, str] = {}
        wanted = list(dict.fromkeys(paths))
        size = Preprocessing(
            width=_SIDE, height=_SIDE, crop=CropPolicy.FIT, layout="nhwc", dtype="uint8"
        )
        for batch in Loader(wanted, size) if wanted else ():
            for index, pixels in zip(batch.indices.tolist(), batch.pixels, strict=True):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
                data = base64.b64encode(buffer.getvalue()).decode()
                self._sources[wanted[index]] = f"data:image/jpeg;base64,{data}"

    def figure(self, path: Path, *lines: str) -> str:
        """Return a picture with its name, a link to the file, above lines of HTML."""
        source = self._sources.get(path)
        picture = (
            '<div class="none"></div>'
            if source is None  # it was readable a moment ago
            else f'<img src="{source}" width="{_SIDE}" height="{_SIDE}" loading="lazy" alt="">'
        )
        try:
            target = Path(os.path.relpath(path, self._folder)).as_posix()
        except ValueError:  # on another drive
            target = path.absolute().as_uri()
        else:
            target = quote(os.fsencode(target))
        title = escaped(str(path))
        name = f'<a href="{html.escape(target)}" title="{title}">{escaped(path.name)}</a>'
        caption = "<br>".join((name, *lines))
        return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def escaped(text: str) -> str:
    """Return text as HTML, on one line."""
    return html.escape(on_one_line(text))


def cards(figures: Iterable[str]) -> str:
    """Return figures side by side; nothing if there are none."""
    content = "".join(figures)
    return f'<div class="cards">{content}</div>' if content else ""


def section(title: str, meaning: str, content: str, total: int = 0) -> str:
    """Return a part of a page; nothing without content. Of `total` things the first are shown."""
    if not content:
        return ""
    more = f" The first {MOST_SHOWN} of {total:,}." if total > MOST_SHOWN else ""
    return f"<section><h2>{title}</h2><p>{meaning}{more}</p>{content}</section>"


def document(title: str, facts: Mapping[str, str], parts: Iterable[str]) -> str:
    """Return a page: its title, some figures by what they are, and its parts."""
    figures = "".join(
        f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{_STYLE}</style><body><h1>{title}</h1><div class="figures">{figures}</div>'
        f"{''.join(parts)}</body></html>\n"
    )
