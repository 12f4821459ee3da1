"""Pack pictures into shards: ``python -m training.pack --out DIR --repository NAME=PATH[@SIDE]``.

Each picture becomes a centre square of its source's side, as JPEG. Left out are files that cannot
be decoded, pictures under a part of the side (--smallest), copies of one already taken, and
everything that is near a judged picture or its mirror image. A source that is complete in the
manifest is not packed again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.gather import Source, choose, find, read_blobs, read_sources
from training.picture_hash import near_any, picture_hash
from training.shards import MANIFEST, ShardWriter, read_manifest

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Judged", "main", "pack_source", "square"]

SMALLEST: Final = 0.6  # of the side; a picture between that and the side is enlarged
JUDGED_DISTANCE: Final = 6  # of 64 bits; unrelated photos differ in about 32
QUALITY: Final = 87
SIDE: Final = 160  # pixels, unless the source's pictures are smaller


@dataclass(slots=True)
class Judged:
    """The pictures that nothing may be trained on: their bytes' SHA-256 and their hashes."""

    digests: set[bytes] = field(default_factory=set)
    hashes: list[int] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Take in one picture."""
        from PIL import Image

        self.digests.add(hashlib.sha256(data).digest())
        with Image.open(io.BytesIO(data)) as image:
            crop = square(image, SIDE)
        for one in (image, crop):
            self.hashes += [picture_hash(one), picture_hash(one, mirrored=True)]

    @classmethod
    def of(cls, folders: list[Path]) -> Judged:
        """Return the pictures below some folders."""
        made = cls()
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp"}:
                    made.add(path.read_bytes())
        return made


def square(image: Image.Image, side: int) -> Image.Image:
    """Return the centre square of a picture as RGB, `side` pixels a side."""
    from PIL import Image

    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if short == side:
        return image.crop(box)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _decode(data: bytes, side: int) -> tuple[Image.Image, bool] | None:
    """Return a picture of at least `side` pixels, and whether it is as large as its file says."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            size = image.size
            image.draft("RGB", (side, side))  # a JPEG is decoded at 1/2, 1/4, 1/8 where that does
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning):
        return None
    return image, image.size == size


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def pack_source(
    source: Source,
    repository: Path,
    out: Path,
    *,
    judged: Judged,
    labels: list[str],
    taken: set[int],
    side: int,
    max_bytes: int,
    seed: int,
    smallest: float = SMALLEST,
) -> dict[str, Any]:
    """Pack one source; return its entry of the manifest.

    `labels` and `taken` are extended: the names of the labels so far, the hashes so far.
    """
    found = choose(find(repository, source), limit=source.limit, seed=seed)
    left_out = {"unreadable": 0, "too small": 0, "copy": 0, "judged": 0}
    writer = ShardWriter(out, source.name, max_bytes)
    others = np.array(judged.hashes, np.uint64)
    places = {name: index for index, name in enumerate(labels)}
    for one, data in zip(found, read_blobs(repository, found), strict=True):
        if data is not None and hashlib.sha256(data).digest() in judged.digests:
            left_out["judged"] += 1
            continue
        decoded = _decode(data, side) if data is not None else None
        if decoded is None:
            left_out["unreadable"] += 1
            continue
        image, full = decoded
        if min(image.size) < smallest * side:
            left_out["too small"] += 1
            continue
        whole = picture_hash(image)
        crop = square(image, side)
        number = picture_hash(crop)
        if number in taken:
            left_out["copy"] += 1
            continue
        pair = np.array([whole, number], np.uint64)
        if near_any(pair, others, max_distance=JUDGED_DISTANCE).any():
            left_out["judged"] += 1
            continue
        taken.add(number)
        label = -1
        if one.label:
            name = f"{source.vocabulary}/{one.label}"
            label = places.setdefault(name, len(places))
            if label == len(labels):
                labels.append(name)
        as_is = full and image.format == "JPEG" and image.mode == "RGB" and image.size == crop.size
        writer.add(data if as_is else _encode(crop), label, number)
    writer.flush()
    return {
        "name": source.name,
        "repository": source.repository,
        "terms": source.terms,
        "side": side,
        "n_pictures": writer.n_pictures,
        "n_found": len(found),
        "left_out": left_out,
        "files": writer.files,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.pack", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="NAME=PATH[@SIDE]",
        help="where the git directory of a source lies, and at which side to store it (160)",
    )
    parser.add_argument("--judged", type=Path, action="append", default=[], help="photo folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--smallest",
        type=float,
        default=SMALLEST,
        help="leave out pictures under this part of the side; 1 enlarges none",
    )
    parser.add_argument("--shard-mib", type=float, default=56)
    return parser.parse_args()


def main() -> int:
    """Run the command."""
    chosen = _arguments()
    places: dict[str, tuple[Path, int]] = {}
    for text in chosen.repository:
        name, _, where = text.partition("=")
        path, _, side = where.partition("@")
        places[name] = (Path(path), int(side or SIDE))
    sources = {source.name: source for source in read_sources()}
    unknown = sorted(set(places) - set(sources))
    if unknown:
        known = ", ".join(sources)
        print(f"no source is named {', '.join(unknown)}; known: {known}", file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"seed": chosen.seed, "labels": [], "sources": []}
    if (chosen.out / MANIFEST).exists():
        manifest = read_manifest(chosen.out)
    done = {entry["name"] for entry in manifest["sources"]}
    taken: set[int] = set()
    for entry in manifest["sources"]:
        for file in entry["files"]:
            with np.load(chosen.out / file) as shard:
                taken.update(shard["hash"].tolist())
    judged = Judged.of(chosen.judged)
    print(f"{len(judged.digests)} judged pictures are kept out", flush=True)
    for name, source in sources.items():
        if name in done or name not in places:
            continue
        repository, side = places[name]
        entry = pack_source(
            source,
            repository,
            chosen.out,
            judged=judged,
            labels=manifest["labels"],
            taken=taken,
            side=side,
            max_bytes=int(chosen.shard_mib * 2**20),
            seed=chosen.seed,
            smallest=chosen.smallest,
        )
        manifest["sources"].append(entry)
        part = chosen.out / (MANIFEST + ".part")
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        part.replace(chosen.out / MANIFEST)
        kept = f"{entry['n_pictures']} of {entry['n_found']}"
        print(f"{name}: {kept}; left out {entry['left_out']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
