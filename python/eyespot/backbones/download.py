"""Pinned files from the net: resumed when broken off, verified, put in place in one step."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eyespot.errors import ModelError
from eyespot.progress import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["DownloadRules", "cache_folder", "fetch_file"]

_CHUNK: Final = 1 << 16
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRules:
    """How patient a download is.

    Attributes
    ----------
    timeout_s : float
        Longest silence of the server, in seconds.
    slow_window_s, slow_bytes : float, int
        A server that sends fewer than `slow_bytes` in `slow_window_s` seconds has stalled.
    attempts : int
        How often to connect, the first time included. Each goes on where the last one broke off.
    pause_s : float
        Wait before the second attempt, in seconds; it doubles each time.
    """

    timeout_s: float = 30.0
    slow_window_s: float = 60.0
    slow_bytes: int = 64 << 10
    attempts: int = 4
    pause_s: float = 1.0


class _BrokenOffError(Exception):
    """A failure that another attempt may mend."""


def cache_folder() -> Path:
    """Return where downloads are kept: ``EYESPOT_CACHE``, or the platform's place for caches."""
    named = os.environ.get("EYESPOT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "eyespot"
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "eyespot"


def fetch_file(
    url: str, file_name: str, *, n_bytes: int, sha256: str, rules: DownloadRules
) -> Path:
    """Return the path of a file with the given size and SHA-256, downloading it if need be.

    Parameters
    ----------
    url : str
        Where to get it, by http or https.
    file_name : str
        What to call it in the cache.
    n_bytes, sha256 : int, str
        What it must be.
    rules : DownloadRules
        How patient to be.

    Raises
    ------
    ModelError
        If it cannot be had; the message says where to put it by hand. Its code is ``"offline"``,
        ``"io"`` (the cache cannot be written), ``"download"`` or ``"wrong_content"``.

    Notes
    -----
    Safe from several threads and processes: one downloads, the others wait for it. An unfinished
    file stays beside its final place, and the next call goes on with it.
    """
    path = cache_folder() / "backbones" / file_name
    wanted = _Wanted(url=url, path=path, n_bytes=n_bytes, sha256=sha256)
    if wanted.is_at(path):
        return path
    if os.environ.get("EYESPOT_OFFLINE", "") not in {"", "0"}:
        raise wanted.error("offline", "EYESPOT_OFFLINE is set and the file is not in the cache")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock")):
            if not wanted.is_at(path):  # another process may have been faster
                _download(wanted, rules)
    except OSError as error:
        raise wanted.error("io", f"the cache cannot be written: {error}") from error
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    url: str
    path: Path
    n_bytes: int
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether the file is there, whole and right."""
        try:
            if path.stat().st_size != self.n_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False

    def error(self, code: str, message: str) -> ModelError:
        text = (
            f"{self.url}: {message}. To do without the download, put the file "
            f"({self.n_bytes} bytes, SHA-256 {self.sha256}) at {self.path}"
        )
        return ModelError(text, source=self.url, code=code)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it even if this process is killed."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


def _download(wanted: _Wanted, rules: DownloadRules) -> None:
    part = wanted.path.with_name(f"{wanted.path.name}.part")
    logger.info("downloading %s (%.1f MB)", wanted.url, wanted.n_bytes / 1e6)
    attempt = 1
    while True:
        resumed_at = part.stat().st_size if part.exists() else 0
        if resumed_at < wanted.n_bytes:
            try:
                resumed_at = _receive(wanted, part, resumed_at, rules)
            except _BrokenOffError as failure:
                if attempt >= rules.attempts:
                    tries = f"after {attempt} attempts" if attempt > 1 else "at once"
                    raise wanted.error("download", f"{failure} (gave up {tries})") from failure
                logger.warning("%s: %s; trying again", wanted.url, failure)
                time.sleep(rules.pause_s * 2 ** (attempt - 1))
                attempt += 1
                continue
        if wanted.is_at(part):
            part.replace(wanted.path)
            return
        part.unlink()
        if resumed_at == 0:  # not the fault of an old remainder: the server has another file
            message = "the server sent a file of the right size whose SHA-256 is wrong"
            raise wanted.error("wrong_content", message)


def _receive(wanted: _Wanted, part: Path, have: int, rules: DownloadRules) -> int:
    """Get the bytes from `have` on and append them to `part`.

    Returns
    -------
    int
        Where the server really began: 0 if it knows no ranges.
    """
    headers = {"User-Agent": "eyespot", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 - from our table
    try:
        with urllib.request.urlopen(request, timeout=rules.timeout_s) as response:  # noqa: S310
            start = _start_of(response, wanted, have)
            with part.open("r+b" if part.exists() else "wb") as file:
                file.seek(start)
                file.truncate()
                _copy(response, file, wanted, start, rules)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # the remainder does not fit the server's file
            part.unlink()
            raise _BrokenOffError("the server refuses to go on with an unfinished file") from error
        if error.code in _TRY_AGAIN:
            raise _BrokenOffError(f"the server answers {error.code} {error.reason}") from error
        message = f"the server answers {error.code} {error.reason}"
        raise wanted.error("download", message) from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ssl.SSLError,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise _BrokenOffError(_network_failure(error, rules)) from error
    return start


def _network_failure(error: Exception, rules: DownloadRules) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"the server was silent for {rules.timeout_s:g} s"
    return f"the connection failed: {str(reason) or type(reason).__name__}"


def _start_of(response: Any, wanted: _Wanted, have: int) -> int:
    """Return the position of the answer's first byte, after checking the size that it announces."""
    start, total = 0, response.headers.get("Content-Length")
    if response.status == 206:
        text = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
        if match is None or int(match[1]) != have:
            raise wanted.error("download", f"the server answers with the wrong range {text!r}")
        start, total = have, match[2]
    if total is not None and total.isdigit() and int(total) != wanted.n_bytes:
        message = f"the server has a file of {total} bytes, not of {wanted.n_bytes}"
        raise wanted.error("wrong_content", message)
    return start


def _copy(response: Any, file: Any, wanted: _Wanted, have: int, rules: DownloadRules) -> None:
    since, since_bytes = time.monotonic(), have
    while chunk := response.read1(_CHUNK):
        have += len(chunk)
        if have > wanted.n_bytes:
            file.truncate(0)
            message = f"the server sends more than {wanted.n_bytes} bytes"
            raise wanted.error("wrong_content", message)
        file.write(chunk)
        now = time.monotonic()
        if now - since >= rules.slow_window_s:
            if have - since_bytes < rules.slow_bytes and have < wanted.n_bytes:
                message = f"the server sent {have - since_bytes} bytes in {now - since:.1f} s"
                raise _BrokenOffError(message)
            since, since_bytes = now, have
    if have < wanted.n_bytes:
        raise _BrokenOffError(f"the connection ended after {have} of {wanted.n_bytes} bytes")
