"""Files of values and arrays: what is read is what was written, or it is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eyespot import CheckpointError
from eyespot.session import records
from eyespot.session.records import read_header, read_record, write_record

VALUES = {
    "x": np.array([0.1, -0.0, np.nan, np.inf]),
    "rows": np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::-1],
    "deeper": {
        "mask": np.array([True, False]),
        "none": None,
        "empty": np.empty((0, 4), np.float32),
    },
    "loss": 0.1 + 0.2,
    "scalar": np.float64(1 / 3),
    "count": np.uint64(2**63),
    "text": "é",
}


def test_values_come_back_to_the_last_bit(tmp_path):
    file = tmp_path / "a.checkpoint"
    write_record(file, {"phase": "training"}, VALUES)
    back = read_record(file)
    assert read_header(file) == {"phase": "training"}
    assert list(back) == list(VALUES)
    for name in ("x", "rows"):
        assert back[name].dtype == VALUES[name].dtype
        assert back[name].tobytes() == VALUES[name].tobytes()
        assert back[name].shape == VALUES[name].shape
    assert back["deeper"]["mask"].tolist() == [True, False]
    assert back["deeper"]["empty"].shape == (0, 4)
    assert back["deeper"]["none"] is None
    assert (back["loss"], back["scalar"], back["count"]) == (0.1 + 0.2, 1 / 3, 2**63)
    assert back["text"] == "é"


def test_a_file_cut_or_changed_anywhere_is_refused(tmp_path):
    file = tmp_path / "a.checkpoint"
    write_record(file, {"phase": "training"}, {"x": np.arange(4.0), "n": 3})
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"is damaged \(.*\); remove it"):
            read_record(file)
    for place in range(len(whole) - 32, len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="the checksum does not fit"):
            read_record(file)
        assert read_header(file) == {"phase": "training"}


def test_a_later_version_and_what_is_no_file_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "a.checkpoint"
    monkeypatch.setattr(records, "VERSION", 2)
    write_record(file, {}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="of version 2, and this eyespot knows version 1"):
        read_header(file)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_header(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="absent does not exist"):
        write_record(tmp_path / "absent" / "a", {}, {})
    file.write_text(json.dumps({"version": 1}))
    with pytest.raises(CheckpointError, match="it has no header"):
        read_header(file)
