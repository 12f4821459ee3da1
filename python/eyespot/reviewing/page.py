"""A review as a page with the images, complete in one file."""

from __future__ import annotations

import base64
import html
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from PIL import Image

from eyespot.loader import Loader
from eyespot.options import CropPolicy, Preprocessing
from eyespot.rendering import on_one_line, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eyespot.reviewing.findings import DataReview, LabelIssue, LookAlikes, Outlier

__all__ = ["page"]

_SIDE: Final = 176
_QUALITY: Final = 80
_MOST: Final = 100  # of a kind: more than a person looks through, and a page of some megabytes
_MOST_OF_A_GROUP: Final = 8

_STYLE: Final = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 62%, transparent);
  --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 0 auto;
  padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 14px; }
h2 { font-size: 18px; margin: 42px 0 2px; }
p { margin: 0 0 14px; max-width: 76ch; color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 0 0 8px; }
.facts b { display: block; font-size: 22px; font-weight: 600; }
.facts span { color: var(--soft); }
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


def page(review: DataReview, folder: Path) -> str:
    """Return the page; `folder` is where it will lie, which its links to the images start from."""
    issues, alike = review.label_issues[:_MOST], review.look_alikes[:_MOST]
    outliers = review.outliers[:_MOST]
    shown = [one.path for one in issues] + [one.path for one in outliers]
    shown += [path for group in alike for path in group.paths[:_MOST_OF_A_GROUP]]
    pictures = _Pictures(shown, folder)
    body = [
        "<h1>What to look at again</h1>",
        _facts(review),
        *(f"<p>{_text(note)}.</p>" for note in review.notes),
        _section(
            "Labels that look wrong",
            "Models that were fitted without the photo find another label likelier. The most "
            "evident come first; some will be right as they are.",
            _cards(_issue(one, pictures) for one in issues),
            len(review.label_issues),
        ),
        _section(
            "Look-alikes",
            "Copies, other sizes or crops of one photo, shots of one scene. Where they go by two "
            "labels, one is wrong; on both sides of a split they make a test too easy.",
            "".join(_group(one, pictures) for one in alike),
            len(review.look_alikes),
        ),
        _section(
            "Like no other",
            "Far from every other photo: wrong ones, broken ones, or a kind that more photos of "
            "would help.",
            _cards(_outlier(one, pictures) for one in outliers),
            len(review.outliers),
        ),
    ]
    if review.skipped:
        lines = "".join(f"<li>{_text(str(error))}</li>" for error in review.skipped)
        body.append(
            _section("Unreadable", "Left out by every training.", f"<ul>{lines}</ul>", None)
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>What to look at again</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


class _Pictures:
    """Thumbnails of files, made at once, and links to the files."""

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        self._folder = folder
        self._sources: dict[Path, str] = {}
        wanted = list(dict.fromkeys(paths))
        if not wanted:
            return
        size = Preprocessing(
            width=_SIDE, height=_SIDE, crop=CropPolicy.FIT, layout="nhwc", dtype="uint8"
        )
        for batch in Loader(wanted, size):
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
        name = f'<a href="{html.escape(target)}" title="{_text(str(path))}">{_text(path.name)}</a>'
        caption = "<br>".join((name, *lines))
        return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _text(text: str) -> str:
    return html.escape(on_one_line(text))


def _facts(review: DataReview) -> str:
    facts = {
        "photos": f"{review.n_images:,}",
        "labels": f"{len(review.classes):,}",
        "look wrong": f"{len(review.label_issues):,}",
        "groups of look-alikes": f"{len(review.look_alikes):,}",
        "like no other": f"{len(review.outliers):,}",
        "unreadable": f"{len(review.skipped):,}",
    }
    if review.metrics is not None:
        facts["cross-validated accuracy, labels as they are"] = percent(review.metrics.accuracy)
    cells = "".join(
        f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items()
    )
    return f'<div class="facts">{cells}</div>'


def _section(title: str, meaning: str, content: str, total: int | None) -> str:
    if not content:
        return ""
    more = f" The first {_MOST} of {total:,}." if total is not None and total > _MOST else ""
    return f"<section><h2>{title}</h2><p>{meaning}{more}</p>{content}</section>"


def _cards(figures: Iterable[str]) -> str:
    cards = "".join(figures)
    return f'<div class="cards">{cards}</div>' if cards else ""


def _issue(one: LabelIssue, pictures: _Pictures) -> str:
    return pictures.figure(
        one.path,
        f'<span class="soft">labelled {_text(one.label)}, {percent(one.label_probability)}</span>',
        f'<span class="rather">{_text(one.suggested)}, {percent(one.suggested_probability)}</span>',
    )


def _group(group: LookAlikes, pictures: _Pictures) -> str:
    figures = [
        pictures.figure(path, f'<span class="soft">{_text(label)}</span>')
        for path, label in zip(group.paths, group.labels, strict=True)
    ]
    more = len(figures) - _MOST_OF_A_GROUP
    names = " and ".join(dict.fromkeys(group.labels))
    facts = [
        f'<span class="rather">{_text(names)}</span>' if group.conflicting else _text(names),
        "identical" if group.identical else f"cosine {group.similarity:.3f}",
        *([f"{more:,} more not shown"] if more > 0 else []),
    ]
    return (
        f'<div class="group"><div>{", ".join(facts)}</div>'
        f"{_cards(figures[:_MOST_OF_A_GROUP])}</div>"
    )


def _outlier(one: Outlier, pictures: _Pictures) -> str:
    return pictures.figure(
        one.path, f'<span class="soft">{_text(one.label)}, distance {one.distance:.3f}</span>'
    )
