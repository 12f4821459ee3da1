"""The training recipe's data side, which needs no PyTorch."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from training import gather, pack
from training.curve import draw
from training.picture_hash import near_any, picture_hash
from training.probe import Rows, judge, resplit
from training.shards import ShardWriter, load_pictures, read_manifest
from training.targets import LEAST_AREA, StoredTargets, view_box, whitening

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


def photo(number, side=160, *, height=None):
    """Return a smooth random picture, whose miniature is like no other's."""
    random = np.random.default_rng(number)
    small = random.integers(0, 256, (6, 7, 3), np.uint8)
    return Image.fromarray(small).resize((side, height or side), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def distance(a, b):
    return (a ^ b).bit_count()


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


@pytest.fixture
def repository(tmp_path):
    """Return a git repository of ten pictures of two labels, a copy, a ruin and a text."""
    root = tmp_path / "repository"
    for number in range(10):
        label = "cat" if number % 2 else "dog"
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{number}.jpg").write_bytes(encoded(photo(number, 200, height=180)))
    (root / "cat" / "copy.jpg").write_bytes((root / "cat" / "1.jpg").read_bytes())
    (root / "cat" / "ruin.jpg").write_bytes(b"\xff\xd8 nothing")
    (root / "dog" / "small.jpg").write_bytes(encoded(photo(99, 20)))
    (root / "README.md").write_text("pictures")
    git(root.parent, "init", "-q", str(root))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "pictures")
    return root


SOURCE = gather.Source(
    name="pets",
    repository="someone/pets",
    pattern=r"^(?P<label>cat|dog)/[^/]+\.jpg$",
    terms="none",
    vocabulary="pets",
)


def pack_all(repository, out, judged=None, **options):
    out.mkdir(exist_ok=True)
    options = {"labels": [], "taken": set(), "side": 96, "max_bytes": 1 << 20, "seed": 0} | options
    return pack.pack_source(SOURCE, repository, out, judged=judged or pack.Judged(), **options)


def test_the_hash_survives_scaling_and_recompression_and_tells_pictures_apart():
    image = photo(1)
    again = Image.open(io.BytesIO(encoded(image.resize((90, 70)), quality=40)))
    assert distance(picture_hash(image), picture_hash(again)) <= 4
    others = [picture_hash(photo(number)) for number in range(2, 40)]
    assert min(distance(picture_hash(image), one) for one in others) > pack.JUDGED_DISTANCE


def test_the_mirrored_hash_is_the_hash_of_the_mirror_image():
    image = photo(3, 90, height=80)
    mirror = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert picture_hash(image, mirrored=True) == picture_hash(mirror)


def test_near_any_counts_the_bits_that_differ():
    hashes = np.array([0, 0b111, 2**64 - 1], np.uint64)
    others = np.array([0b1], np.uint64)
    assert near_any(hashes, others, max_distance=2).tolist() == [True, True, False]
    assert near_any(hashes, others, max_distance=1).tolist() == [True, False, False]
    assert not near_any(hashes, others[:0], max_distance=64).any()
    many = np.arange(5000, dtype=np.uint64)
    assert near_any(many, many[4999:], max_distance=0).nonzero()[0].tolist() == [4999]


def test_the_table_of_sources_is_usable():
    sources = gather.read_sources()
    assert len({source.name for source in sources}) == len(sources) >= 5
    for source in sources:
        assert re.compile(source.pattern)
        assert source.terms
        assert ("(?P<label>" in source.pattern) == bool(source.vocabulary)


def test_files_are_found_by_pattern_with_their_labels(repository):
    found = gather.find(repository, SOURCE)
    assert len(found) == 13
    assert {one.label for one in found} == {"cat", "dog"}
    bare = repository.parent / "bare.git"
    git(repository, "clone", "-q", "--bare", str(repository), str(bare))
    assert gather.find(bare, SOURCE) == found


def test_the_choice_follows_the_seed_and_drops_equal_files(repository):
    found = gather.find(repository, SOURCE)
    chosen = gather.choose(found, limit=0, seed=1)
    assert len(chosen) == 12  # the copy is one blob with its original
    assert gather.choose(found[::-1], limit=0, seed=1) == chosen
    assert gather.choose(found, limit=5, seed=1) == chosen[:5]
    assert gather.choose(found, limit=0, seed=2) != chosen


def test_blobs_come_in_order_and_a_missing_one_is_none(repository):
    found = gather.find(repository, SOURCE)[:2]
    lost = gather.Found(path="x", blob="0" * 39 + "1", label="")
    first, nothing, second = gather.read_blobs(repository, [found[0], lost, found[1]])
    assert first == (repository / found[0].path).read_bytes()
    assert nothing is None
    assert second == (repository / found[1].path).read_bytes()


def test_packing_leaves_out_what_is_ruined_or_small_and_squares_the_rest(repository, tmp_path):
    labels = []
    entry = pack_all(repository, tmp_path / "out", labels=labels)
    assert entry["n_pictures"] == 10
    assert entry["left_out"] == {"unreadable": 1, "too small": 1, "copy": 0, "judged": 0}
    assert sorted(labels) == ["pets/cat", "pets/dog"]
    assert entry["files"] == ["pets-000.npz"]


def test_packing_leaves_out_what_is_under_the_part_of_the_side_that_was_asked_for(tmp_path):
    folder = tmp_path / "pets" / "cat"
    folder.mkdir(parents=True)
    for number, side in enumerate((60, 80, 95, 96, 120)):
        (folder / f"{number}.jpg").write_bytes(encoded(photo(number, side)))
    git(tmp_path, "init", "-q", str(tmp_path / "pets"))
    git(tmp_path / "pets", "add", ".")
    git(tmp_path / "pets", "commit", "-q", "-m", "pictures")
    for smallest, n_pictures in ((0.6, 5), (0.8, 4), (1, 2)):
        entry = pack_all(tmp_path / "pets", tmp_path / f"out{smallest}", smallest=smallest)
        assert (entry["n_pictures"], entry["left_out"]["too small"]) == (n_pictures, 5 - n_pictures)


def test_judged_pictures_are_kept_out_by_their_bytes_and_by_their_looks(repository, tmp_path):
    judged = pack.Judged()
    judged.add((repository / "dog" / "0.jpg").read_bytes())
    mirror = photo(2, 200, height=180).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    judged.add(encoded(mirror.resize((120, 108)), "PNG"))
    entry = pack_all(repository, tmp_path / "out", judged=judged)
    assert entry["left_out"]["judged"] == 2
    assert entry["n_pictures"] == 8


def test_a_jpeg_that_was_decoded_small_is_stored_small(tmp_path):
    """One of four times the side decodes to the very side, but its bytes are not that picture."""
    root = tmp_path / "repository"
    (root / "cat").mkdir(parents=True)
    for side in (96, 384):
        (root / "cat" / f"{side}.jpg").write_bytes(encoded(photo(side, side)))
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "pictures")
    out = tmp_path / "out"
    entry = pack_all(root, out)
    (out / "manifest.json").write_text(json.dumps({"labels": [], "sources": [entry]}))
    assert load_pictures(out, n_threads=1)[96].pixels.shape == (2, 96, 96, 3)


def test_a_picture_taken_from_one_source_is_not_taken_again(repository, tmp_path):
    taken = set()
    pack_all(repository, tmp_path / "out", taken=taken)
    again = pack_all(repository, tmp_path / "out", taken=taken)
    assert (again["n_pictures"], again["left_out"]["copy"]) == (0, 10)


def test_the_command_packs_writes_its_manifest_and_does_nothing_twice(
    repository, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pack, "read_sources", lambda: (SOURCE,))
    out = tmp_path / "shards"
    words = ["pack", "--out", str(out), "--repository", f"pets={repository}@64"]
    monkeypatch.setattr(sys, "argv", [*words, "--shard-mib", "0.0095"])
    assert pack.main() == 0
    manifest = read_manifest(out)
    assert manifest["labels"] == ["pets/cat", "pets/dog"] or manifest["labels"][0] == "pets/dog"
    files = manifest["sources"][0]["files"]
    assert len(files) > 1
    assert all((out / file).stat().st_size < 0.0095 * 2**20 for file in files)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert pack.main() == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    groups = load_pictures(out, n_threads=1)
    assert groups[64].pixels.shape == (10, 64, 64, 3)
    assert groups[64].numbers.tolist() == list(range(10))
    monkeypatch.setattr(sys, "argv", ["pack", "--out", str(out), "--repository", "bats=x"])
    assert pack.main() == 2
    assert "no source is named bats; known: pets" in capsys.readouterr().err


def test_shards_give_back_the_pictures_their_labels_and_their_numbers(tmp_path):
    entries, first = [], 0
    for name, side, count in (("a", 20, 5), ("b", 12, 3), ("c", 20, 4)):
        writer = ShardWriter(tmp_path, name, 1 << 20)
        for i in range(count):
            writer.add(encoded(photo(first + i, side), "PNG"), i - 1, first + i)
        writer.flush()
        entries.append({"name": name, "side": side, "n_pictures": count, "files": writer.files})
        first += count
    (tmp_path / "manifest.json").write_text(json.dumps({"sources": entries, "labels": []}))
    groups = load_pictures(tmp_path)
    assert list(groups) == [12, 20]
    assert groups[20].numbers.tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert groups[20].labels.tolist() == [-1, 0, 1, 2, 3, -1, 0, 1, 2]
    assert np.array_equal(groups[20].pixels[5], np.asarray(photo(8, 20)))
    limited = load_pictures(tmp_path, sources=["c"], limit=2)
    assert limited[20].numbers.tolist() == [8, 9]


def test_whitened_embeddings_have_unit_variance_and_no_correlation():
    random = np.random.default_rng(0)
    rows = random.standard_normal((4000, 12)) @ random.standard_normal((12, 12)) + 5
    how = whitening(rows, 6)
    target = (rows - how.mean) @ how.axes
    assert np.allclose(np.cov(target, rowvar=False), np.eye(6), atol=1e-3)
    assert abs(target.mean()) < 1e-4


def test_a_lesser_power_leaves_the_first_axes_a_larger_share():
    random = np.random.default_rng(0)
    deviations = np.array([8.0, 4.0, 2.0, 1.0])
    rows = random.standard_normal((4000, 4)) * deviations
    for power in (0.0, 0.5, 1.0):
        how = whitening(rows, 4, power=power)
        found = np.std((rows - how.mean) @ how.axes, axis=0)
        assert np.allclose(found / found[-1], deviations ** (1 - power), rtol=0.1)
        assert 0.5 < np.mean(found**2) < 1.1


def test_an_axis_without_variance_is_not_blown_up():
    rows = np.random.default_rng(0).standard_normal((100, 3)) * [1, 1, 0]
    assert np.isfinite(whitening(rows, 3).axes).all()
    assert np.abs(whitening(rows, 3).axes).max() < 40


def test_stored_targets_come_back(tmp_path):
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    stored = StoredTargets(
        numbers=np.array([1, 5, 6, 9]),
        boxes=np.array([view_box(one, 1) for one in (1, 5, 6, 9)], np.float32),
        projected=(rows, rows + 1),
        logits=rows[:, :2],
    )
    stored.save(tmp_path / "targets.npz")
    again = StoredTargets.load(tmp_path / "targets.npz")
    assert again.numbers.tolist() == [1, 5, 6, 9]
    assert np.array_equal(again.boxes, stored.boxes)
    assert np.array_equal(again.projected[1], rows + 1)
    assert np.array_equal(again.logits, rows[:, :2])


def test_views_lie_inside_the_picture_and_only_their_numbers_decide_them():
    assert view_box(3, 0) == (0, 0, 1, 1)
    boxes = np.array([view_box(number, view) for number in range(200) for view in (1, 2)])
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-9
    areas = boxes[:, 2] * boxes[:, 3]
    assert LEAST_AREA * 0.9 < areas.min() < 0.4 < 0.8 < areas.max()
    assert view_box(7, 2) == view_box(7, 2)


def test_the_curve_is_a_well_formed_picture_with_a_point_for_each_row():
    text = draw([(1e4, 71.0), (1e5, 78.5), (2e6, 83.0)], {"A & B": 85.2})
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{space}circle")]
    assert len(places) == 3
    assert places == sorted(places, key=lambda place: (place[0], -place[1]))
    assert all(0 < x < 640 and 0 < y < 400 for x, y in places)
    assert any("A & B 85.2" in (one.text or "") for one in root.iter(f"{space}text"))
    assert ET.fromstring(draw([(1e4, 50.0)], {})) is not None


def test_a_resplit_takes_the_same_share_of_each_class_and_follows_its_seed():
    targets = np.repeat([0, 1, 2], [40, 20, 3])
    test = resplit(targets, 0.25, 7)
    assert [int(test[targets == one].sum()) for one in range(3)] == [10, 5, 1]
    assert np.array_equal(test, resplit(targets, 0.25, 7))
    assert not np.array_equal(test, resplit(targets, 0.25, 8))


def test_a_probe_finds_classes_that_can_be_told_apart():
    random = np.random.default_rng(1)
    targets = np.arange(120) % 3
    embeddings = random.standard_normal((120, 8)).astype(np.float32)
    embeddings[:, :3] += 8 * np.eye(3, dtype=np.float32)[targets]
    rows = Rows(embeddings=embeddings, targets=targets, n_train=90, n_classes=3, seconds=0.0)
    probe = judge(rows, 2)
    assert probe.own == 100
    assert probe.seeds == (100, 100)
    assert judge(Rows(**{**_fields(rows), "n_train": 0}), 1).own is None


def _fields(rows):
    return {name: getattr(rows, name) for name in Rows.__slots__}


def test_the_judged_take_the_bytes_too():
    judged = pack.Judged()
    data = encoded(photo(5))
    judged.add(data)
    assert hashlib.sha256(data).digest() in judged.digests
    assert len(judged.hashes) == 4
