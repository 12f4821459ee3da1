"""A review as a page with the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eyespot.pages import MOST_SHOWN, Pictures, cards, document, escaped, section
from eyespot.rendering import percent

if TYPE_CHECKING:
    from pathlib import Path

    from eyespot.reviewing.findings import DataReview, LabelIssue, LookAlikes, Outlier

__all__ = ["page"]

_MOST_OF_A_GROUP: Final = 8


def page(review: DataReview, folder: Path) -> str:
    """Return the page; `folder` is where it will lie."""
    issues, alike = review.label_issues[:MOST_SHOWN], review.look_alikes[:MOST_SHOWN]
    outliers = review.outliers[:MOST_SHOWN]
    shown = [one.path for one in issues] + [one.path for one in outliers]
    shown += [path for group in alike for path in group.paths[:_MOST_OF_A_GROUP]]
    pictures = Pictures(shown, folder)
    errors = "".join(f"<li>{escaped(str(error))}</li>" for error in review.skipped)
    unreadable = f"<ul>{errors}</ul>" if errors else ""
    parts = [
        *(f"<p>{escaped(note)}.</p>" for note in review.notes),
        section(
            "Labels that look wrong",
            "Models that were fitted without the photo find another label likelier. The most "
            "evident come first; some will be right as they are.",
            cards(_issue(one, pictures) for one in issues),
            len(review.label_issues),
        ),
        section(
            "Look-alikes",
            "Copies, other sizes or crops of one photo, shots of one scene. Where they go by two "
            "labels, one is wrong; on both sides of a split they make a test too easy.",
            "".join(_group(one, pictures) for one in alike),
            len(review.look_alikes),
        ),
        section(
            "Like no other",
            "Far from every other photo: wrong ones, broken ones, or a kind that more photos of "
            "would help.",
            cards(_outlier(one, pictures) for one in outliers),
            len(review.outliers),
        ),
        section("Unreadable", "Left out by every training.", unreadable),
    ]
    return document("What to look at again", _facts(review), parts)


def _facts(review: DataReview) -> dict[str, str]:
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
    return facts


def _issue(one: LabelIssue, pictures: Pictures) -> str:
    label = f"labelled {escaped(one.label)}, {percent(one.label_probability)}"
    suggested = f"{escaped(one.suggested)}, {percent(one.suggested_probability)}"
    lines = (f'<span class="soft">{label}</span>', f'<span class="rather">{suggested}</span>')
    return pictures.figure(one.path, *lines)


def _group(group: LookAlikes, pictures: Pictures) -> str:
    figures = [
        pictures.figure(path, f'<span class="soft">{escaped(label)}</span>')
        for path, label in zip(group.paths, group.labels, strict=True)
    ]
    more = len(figures) - _MOST_OF_A_GROUP
    names = escaped(" and ".join(dict.fromkeys(group.labels)))
    facts = [
        f'<span class="rather">{names}</span>' if group.conflicting else names,
        "identical" if group.identical else f"cosine {group.similarity:.3f}",
        *([f"{more:,} more not shown"] if more > 0 else []),
    ]
    shown = cards(figures[:_MOST_OF_A_GROUP])
    return f'<div class="group"><div>{", ".join(facts)}</div>{shown}</div>'


def _outlier(one: Outlier, pictures: Pictures) -> str:
    facts = f"{escaped(one.label)}, distance {one.distance:.3f}"
    return pictures.figure(one.path, f'<span class="soft">{facts}</span>')
