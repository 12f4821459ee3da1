"""Pictures out of git repositories: bare directories and checkouts alike, without a work tree."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Found", "Source", "choose", "find", "read_blobs", "read_sources"]

SOURCES: Final = Path(__file__).with_name("sources.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One public repository of pictures, as `sources.toml` describes it."""

    name: str
    repository: str
    pattern: str
    terms: str
    vocabulary: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file of a repository: its path, its blob, and its label, or an empty one."""

    path: str
    blob: str
    label: str


def read_sources(path: Path = SOURCES) -> tuple[Source, ...]:
    """Return the sources, in the order of the file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(Source(**entry) for entry in table["source"])


def _git(repository: Path, *arguments: str) -> list[str]:
    where = repository if (repository / "HEAD").is_file() else repository / ".git"
    return ["git", "--git-dir", str(where), *arguments]


def find(repository: Path, source: Source) -> list[Found]:
    """List the files of the newest commit that the source's pattern matches, by path."""
    listing = subprocess.run(
        _git(repository, "ls-tree", "-r", "-z", "HEAD"), check=True, capture_output=True
    ).stdout.decode("utf-8", "surrogateescape")
    pattern = re.compile(source.pattern)
    found = []
    for line in filter(None, listing.split("\0")):
        facts, path = line.split("\t", 1)
        match = pattern.search(path)
        if match:
            label = match.groupdict().get("label") or ""
            found.append(Found(path=path, blob=facts.split()[2], label=label))
    return found


def choose(found: Sequence[Found], *, limit: int, seed: int) -> list[Found]:
    """Return at most `limit` files (all, if it is 0) in an order that only the seed decides."""

    def place(one: Found) -> bytes:
        return hashlib.sha256(f"{seed}\n{one.path}".encode("utf-8", "surrogateescape")).digest()

    unique = {one.blob: one for one in sorted(found, key=place, reverse=True)}
    chosen = sorted(unique.values(), key=place)
    return chosen[:limit] if limit else chosen


def read_blobs(repository: Path, found: Sequence[Found]) -> Iterator[bytes | None]:
    """Yield the bytes of each file in turn; ``None`` for one that the repository does not hold."""
    with subprocess.Popen(
        _git(repository, "cat-file", "--batch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for one in found:
            git.stdin.write(f"{one.blob}\n".encode())
            git.stdin.flush()
            facts = git.stdout.readline().split()
            if facts[-1] == b"missing":
                yield None
                continue
            data = git.stdout.read(int(facts[-1]))
            git.stdout.read(1)
            yield data
        git.stdin.close()
