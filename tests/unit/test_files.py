"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from eyespot.errors import ExportError
from eyespot.files import write_atomically


def test_a_new_file_holds_the_bytes_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "a.onnx", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == b"new"


def test_the_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "a", b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_says_why(tmp_path, monkeypatch, failing):
    target = tmp_path / "a.onnx"
    target.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(ExportError, match=r"No space left on device.*3 bytes needed.*unchanged"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_ctrl_c_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_a_killed_write_left_is_removed_by_the_next_one_of_the_same_file(tmp_path):
    stale = tmp_path / ".a.onnx.0123456789ab.tmp"
    young = tmp_path / ".a.onnx.ba9876543210.tmp"
    others = [tmp_path / ".b.onnx.0123456789ab.tmp", tmp_path / ".a.onnx.mine.tmp"]
    for path in (stale, young, *others):
        path.write_bytes(b"half")
    for path in (stale, *others):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "a.onnx", b"new")
    assert not stale.exists()
    assert all(path.exists() for path in (young, *others))


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    # The temporary file is opened on a device that is always full: what the kernel says is real.
    opened = Path.open

    def open_full(self, mode="r", **kwargs):
        return opened(Path("/dev/full"), "wb") if mode == "xb" else opened(self, mode, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(ExportError, match="No space left on device"):
        write_atomically(tmp_path / "a", b"x" * 100_000)


def test_a_folder_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(ExportError, match="is a folder"):
        write_atomically(tmp_path, b"x")
    with pytest.raises(ExportError, match="does not exist"):
        write_atomically(tmp_path / "no" / "a", b"x")


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_pipe_that_breaks_is_an_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(ExportError, match="Broken pipe"):
            write_atomically(f"/dev/fd/{writer}", b"data")
    finally:
        os.close(writer)
