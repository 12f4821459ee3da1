"""The feature store: what went in comes out bit for bit or not at all, whatever is done to it."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from eyespot import (
    Augmentation,
    Cancelled,
    CancelToken,
    DataSource,
    DecodeError,
    FeatureExtractor,
    FeatureStore,
    ImageClassifier,
    InvalidOption,
    ModelParameters,
    MultiLabelImageClassifier,
    Phase,
    Preprocessing,
    SkippedImagesWarning,
    StoreError,
    extraction,
)
from eyespot.augmentation import Crop, Flip, Noise
from eyespot.segments import KEY, SegmentWriter
from eyespot.variants import Variants
from image_files import bmp_bytes, gradient
from onnx_builder import Tiny
from photos import photo_folder, picture

LABELS = ("blue", "green", "red")
N_FEATURES = 5
IDENTITY = {"fingerprint": "f"}


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = Tiny(height=24, width=24, features=12).save(tmp_path_factory.mktemp("net") / "tiny.onnx")
    return FeatureExtractor.custom(path, preprocessing=Preprocessing(width=24, height=24))


@pytest.fixture(scope="module")
def parameters(extractor):
    return ModelParameters(feature_extractor=extractor, max_iterations=500, tolerance=1e-3)


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", dict.fromkeys(LABELS, 20))


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def some_keys(n, first=0):
    return np.array([bytes([1 + first + i, *range(1, 32)]) for i in range(n)], KEY)


def some_rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, N_FEATURES)).astype(np.float32)


def put(store, keys, rows):
    with store.shelf(IDENTITY, rows.shape[1]) as shelf:
        shelf.append(keys, rows)


def get(store, keys, n_features=N_FEATURES):
    """Return the rows of some keys, NaN where the store has none, and which it has."""
    values = np.full((len(keys), n_features), np.nan, np.float32)
    with store.shelf(IDENTITY, n_features) as shelf:
        found = shelf.read(keys, values, np.arange(len(keys)))
    assert np.isnan(values[~found]).all()
    return values, found


def files_of(store, ending):
    return sorted(store.path.glob(f"*/*{ending}"))


# -- rows ---------------------------------------------------------------------------------------


def test_rows_come_back_bit_for_bit(store):
    bits = np.random.default_rng(3).integers(0, 2**32, (40, N_FEATURES), np.uint32)
    bits[0] = [0x80000000, 1, 0x7FC00123, 0x7F800000, 0xFFFFFFFF]  # -0, denormal, NaNs, infinity
    keys = np.random.default_rng(4).bytes(32 * 40)
    keys = np.frombuffer(keys, KEY).copy()
    keys[1] = b"\x01" + bytes(31)  # NumPy does not show zeros at the end
    keys[2] = bytes(31) + b"\x01"
    put(store, keys, bits.view(np.float32))
    values, found = get(FeatureStore(store.path), keys[::-1])
    assert found.all()
    assert (values.view(np.uint32) == bits[::-1]).all()
    assert len(store) == 40
    assert store.size_bytes == 40 * (48 + 4 * N_FEATURES)
    assert not get(store, some_keys(3))[1].any()


def test_shelves_are_apart(store):
    put(store, some_keys(2), some_rows(2))
    values = np.zeros((2, N_FEATURES), np.float32)
    for identity, n in (({"fingerprint": "g"}, N_FEATURES), (IDENTITY, N_FEATURES + 1)):
        with store.shelf(identity, n) as shelf:
            assert len(shelf) == 0
            assert not shelf.read(some_keys(2), values, np.arange(2)).any()


def test_a_segment_cut_at_any_byte_gives_whole_rows_and_no_wrong_one(store):
    keys, rows = some_keys(4), some_rows(4)
    put(store, keys, rows)
    for ending, unit in ((".index", 48), (".rows", 4 * N_FEATURES)):
        (file,) = files_of(store, ending)
        whole = file.read_bytes()
        for length in range(len(whole) + 1):
            file.write_bytes(whole[:length])
            values, found = get(store, keys)
            assert found.tolist() == [i < length // unit for i in range(4)], (ending, length)
            assert (values[found] == rows[found]).all()
        file.write_bytes(whole)
    # As a writer leaves them whose last rows reached the disk and whose last entries did not.
    index, data = files_of(store, ".index")[0], files_of(store, ".rows")[0]
    index.write_bytes(index.read_bytes()[: 3 * 48 + 17])
    data.write_bytes(data.read_bytes() + b"\x07" * 13)
    assert get(store, keys)[1].tolist() == [True] * 3 + [False]
    put(store, keys[3:], rows[3:])
    values, found = get(store, keys)
    assert found.all()
    assert (values == rows).all()


def test_a_changed_byte_costs_its_row_and_gives_no_wrong_one(store, caplog):
    keys, rows = some_keys(3), some_rows(3)
    put(store, keys, rows)
    for ending, unit in ((".index", 48), (".rows", 4 * N_FEATURES)):
        (file,) = files_of(store, ending)
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            values, found = get(store, keys)
            assert found.tolist() == [i != place // unit for i in range(3)]
            assert (values[found] == rows[found]).all()
        file.write_bytes(whole)
    assert "1 damaged rows were passed over" in caplog.text
    # A block of zeros is what a power failure leaves of a file that had grown.
    (data,) = files_of(store, ".rows")
    data.write_bytes(bytes(len(data.read_bytes())))
    assert not get(store, keys)[1].any()
    put(store, keys, rows)
    assert get(store, keys)[1].all()
    assert store.prune() > 0
    assert (get(store, keys)[0] == rows).all()
    assert store.size_bytes == 3 * (48 + 4 * N_FEATURES)


def test_several_writers_do_not_meet(store):
    with store.shelf(IDENTITY, N_FEATURES) as one, store.shelf(IDENTITY, N_FEATURES) as other:
        for i in range(5):
            one.append(some_keys(2, 2 * i), some_rows(2, i))
            other.append(some_keys(2, 2 * i + 1), some_rows(2, i + 100))
        assert store.clear() == 0  # both are being written
    assert len(files_of(store, ".index")) == 2
    assert len(store) == 11
    assert get(store, some_keys(11))[1].all()


# -- order in it --------------------------------------------------------------------------------


def test_prune_joins_files_and_drops_what_is_there_twice(store):
    for i in range(4):
        put(store, some_keys(3, i), some_rows(6)[i : i + 3])
    assert len(files_of(store, ".rows")) == 4
    assert len(store) == 6
    freed = store.prune()
    assert freed == 6 * (48 + 4 * N_FEATURES)
    assert len(files_of(store, ".rows")) == 1
    assert (get(store, some_keys(6))[0] == some_rows(6)).all()
    assert store.prune() == 0


def test_prune_takes_what_was_not_used_for_long(store):
    for i in range(3):
        put(store, some_keys(2, 2 * i), some_rows(2, i))
        (new,) = (path for path in files_of(store, ".index") if path.stat().st_mtime > 1e9)
        os.utime(new, (1000 * (3 - i), 1000 * (3 - i)))
    get(store, some_keys(2))  # the oldest by its file, and the youngest by its use
    each = 2 * (48 + 4 * N_FEATURES)
    assert store.prune(max_bytes=2 * each) == each
    assert get(store, some_keys(6))[1].tolist() == [True, True, True, True, False, False]
    assert store.prune(unused_days=1) == 0  # one file now, used today
    assert store.prune(max_bytes=0) == 2 * each
    assert (len(store), store.size_bytes) == (0, 0)
    with pytest.raises(InvalidOption, match="max_bytes is -1"):
        store.prune(max_bytes=-1)
    with pytest.raises(InvalidOption, match="unused_days is 'x'"):
        store.prune(unused_days="x")


def test_clear_and_a_reader_that_goes_on(store):
    keys, rows = some_keys(3), some_rows(3)
    put(store, keys, rows)
    with store.shelf(IDENTITY, N_FEATURES) as shelf:
        assert store.clear() == 3 * (48 + 4 * N_FEATURES)
        values = np.zeros_like(rows)
        assert shelf.read(keys, values, np.arange(3)).all()
        assert (values == rows).all()
    assert len(store) == 0
    assert not get(store, keys)[1].any()


def test_rows_of_another_store_are_taken_over(store, tmp_path):
    put(store, some_keys(3), some_rows(3))
    other = FeatureStore(tmp_path / "other")
    other.add_from(store)
    other.add_from(store)
    store.clear()
    assert (get(other, some_keys(3))[0] == some_rows(3)).all()
    assert len(other) == 3


# -- what is refused ----------------------------------------------------------------------------


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file: is a file; a feature store is a folder"):
        FeatureStore(tmp_path / "file")
    with pytest.raises(StoreError, match=r"holds other files .* give a new or an empty folder"):
        FeatureStore(tmp_path)
    with pytest.raises(StoreError, match=r"the folder .*absent does not exist"):
        FeatureStore(tmp_path / "absent" / "store")
    with pytest.raises(InvalidOption, match="path is a int"):
        FeatureStore(3)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_store_of_a_later_version_is_refused(store):
    marker = store.path / "eyespot-store.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "version": 2}))
    with pytest.raises(
        StoreError, match=r"store of version 2, .* knows version 1; update"
    ) as error:
        FeatureStore(store.path)
    assert error.value.code == "unsupported_version"
    for text in ("", "{}", '{"format": "x", "version": 1}'):
        marker.write_text(text)
        with pytest.raises(StoreError, match="is damaged"):
            FeatureStore(store.path)


def test_a_damaged_label_of_a_shelf_names_the_folder_to_remove(store):
    put(store, some_keys(1), some_rows(1))
    (label,) = store.path.glob("*/shelf.json")
    label.write_text('{"n_features": "many"}')
    with pytest.raises(StoreError, match=r"shelf\.json: is damaged; remove the folder"):
        len(store)


class FullDisk:
    """A file on a disk that takes half of what is written, and then no more."""

    def __init__(self, file, error):
        self.file, self.error = file, error

    def write(self, data):
        if len(data) < 2 or self.error != errno.ENOSPC:
            raise OSError(self.error, os.strerror(self.error))
        return self.file.write(data[: len(data) // 2])

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "give yourself")]
)
def test_a_disk_that_refuses_is_told_with_the_remedy(
    store, photos, parameters, monkeypatch, number, remedy
):
    put(store, some_keys(2), some_rows(2))
    opened = SegmentWriter._open

    def open_full(self):
        opened(self)
        self._files = [FullDisk(file, number) for file in self._files]

    monkeypatch.setattr(SegmentWriter, "_open", open_full)
    with pytest.raises(StoreError, match=remedy) as error:
        put(store, some_keys(2, 2), some_rows(2))
    assert str(store.path) in str(error.value)
    with pytest.raises(StoreError, match=remedy):
        ImageClassifier.train(DataSource.labeled_directories(photos), parameters, store=store)
    monkeypatch.undo()
    assert get(store, some_keys(4))[1].tolist() == [True, True, False, False]
    model = ImageClassifier.train(DataSource.labeled_directories(photos), parameters, store=store)
    assert model.training_report.n_reused == 0


# -- extraction ---------------------------------------------------------------------------------


def paths_of(photos):
    return list(DataSource.labeled_directories(photos).paths)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_embeddings_are_the_same_cold_and_warm(extractor, photos, store, n_threads):
    paths = paths_of(photos)
    plain = extractor.extract(paths, n_threads=n_threads)
    for expected in (0, 60):
        told = []
        features = extractor.extract(paths, store=store, n_threads=n_threads, progress=told.append)
        assert features.n_reused == expected
        assert features.embeddings.tobytes() == plain.embeddings.tobytes()
        assert (features.indices == plain.indices).all()
        assert (told[-1].done, told[-1].total, told[-1].reused) == (60, 60, expected)
    assert len(store) == 60


def test_only_what_is_new_is_embedded(extractor, photos, store, tmp_path):
    paths = paths_of(photos)
    extractor.extract(paths[::2], store=store)
    assert extractor.extract(paths, store=store).n_reused == 30
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(paths[7].read_bytes())
    again = extractor.extract([moved, *paths], store=store)
    assert again.n_reused == 61
    assert (again.embeddings[0] == again.embeddings[8]).all()
    other = extractor.with_crop("fit")
    assert other.extract(paths[:5], store=store).n_reused == 0
    assert len(store) == 65


def test_another_engine_shares_no_rows(extractor, photos, store, monkeypatch):
    paths = paths_of(photos)[:3]
    extractor.extract(paths, store=store)
    monkeypatch.setattr("onnxruntime.__version__", "0.0")
    assert extractor.extract(paths, store=store).n_reused == 0
    monkeypatch.undo()
    monkeypatch.setattr(extraction, "_PIXELS_REVISION", 2)
    assert extractor.extract(paths, store=store).n_reused == 0
    monkeypatch.undo()
    assert extractor.extract(paths, store=store).n_reused == 3


def test_what_is_no_file_goes_past_the_store(extractor, photos, store, tmp_path):
    paths = paths_of(photos)[:3]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    images = [picture("red", 1), paths[0], paths[1].read_bytes(), bad, paths[2], b"", tmp_path]
    plain = extractor.extract(images)
    for n_reused in (0, 2):
        features = extractor.extract(images, store=store)
        assert features.n_reused == n_reused
        assert features.errors == plain.errors
        assert features.embeddings.tobytes() == plain.embeddings.tobytes()
        assert features.indices.tolist() == [0, 1, 2, 4]
    assert len(store) == 2
    with pytest.raises(DecodeError, match=r"bad\.png") as error:
        extractor.extract(images[:5], store=store, on_error="raise")
    assert error.value.source == str(bad)
    with pytest.raises(DecodeError, match=r"<bytes #1>"):
        extractor.extract([paths[0], b""], store=store, on_error="raise")
    with pytest.raises(InvalidOption, match="store is a str; allowed: a FeatureStore"):
        extractor.extract(images, store=str(store.path))


def test_a_file_that_changes_meanwhile_is_not_kept_by_its_old_content(
    extractor, photos, store, monkeypatch
):
    paths = paths_of(photos)[:4]
    contents = extraction.contents_of(paths, 1, None, None)
    paths[1].write_bytes(paths[0].read_bytes())
    os.utime(paths[1], ns=(1, 1))
    features = extractor.extract(paths, store=store, contents=contents)
    assert (features.embeddings[1] == features.embeddings[0]).all()
    assert len(store) == 3
    assert extractor.extract(paths, store=store).n_reused == 4  # now it is a copy of the first


def test_an_interrupted_extraction_keeps_what_is_done(extractor, photos, store):
    paths = paths_of(photos)
    cancel = CancelToken()

    def stop(progress):
        if progress.phase == Phase.EXTRACTING_FEATURES and progress.done >= 10:
            cancel.cancel()

    with pytest.raises(Cancelled):
        extractor.extract(paths, store=store, progress=stop, cancel=cancel, n_threads=1)
    kept = len(store)
    assert kept >= 10
    assert extractor.extract(paths, store=store).n_reused == kept


PLAN = Augmentation(crop=Crop(), noise=Noise(), flip=Flip(), copies_per_image=3)


def test_copies_are_kept_too(extractor, photos, store):
    paths = paths_of(photos)[:10]
    labels = ["a"] * 4 + ["b"] * 4 + [None] * 2

    def variants(plan, seed=1):
        return Variants(plan, seed, labels)

    for plan, seed, n_reused in (
        (PLAN, 1, 0),
        (PLAN, 1, 34),
        (PLAN, 2, 10),  # originals
        (Augmentation.resolve(PLAN, 20), 1, 34),  # more of the same
        (Augmentation(crop=Crop(area=(0.9, 1)), copies_per_image=1), 1, 2),
        (Augmentation(crop=Crop(), noise=Noise(), flip=Flip(), max_copies=6), 1, 10),
        (PLAN.balanced({"a": 10, "b": 2}), 1, 34 + 4 * 16),
    ):
        plain = extractor.extract(paths, variants=variants(plan, seed))
        features = extractor.extract(paths, variants=variants(plan, seed), store=store)
        assert features.n_reused == n_reused, plan
        assert features.embeddings.tobytes() == plain.embeddings.tobytes()
        assert (features.variants == plain.variants).all()
        assert (features.indices == plain.indices).all()


# -- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", [None, PLAN])
def test_a_model_has_the_same_bytes_with_a_store(photos, parameters, store, augmentation):
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (photos / "red" / "other.bmp").write_bytes(bmp_bytes(gradient(30, 20)))
    data = DataSource.labeled_directories(photos)
    parameters = parameters.replace(augmentation=augmentation)
    n_rows = 61 if augmentation is None else 61 + 3 * 55
    with pytest.warns(SkippedImagesWarning):
        plain = ImageClassifier.train(data, parameters)
    for n_threads, n_reused in ((1, 0), (4, n_rows)):
        with pytest.warns(SkippedImagesWarning):
            model = ImageClassifier.train(
                DataSource.labeled_directories(photos),
                parameters.replace(n_threads=n_threads),
                store=store,
            )
        assert model.training_report.n_reused == n_reused
        assert model.to_bytes() == plain.to_bytes()


def test_other_labels_and_more_photos_reuse_what_there_is(photos, parameters, store):
    data = DataSource.labeled_directories(photos)
    ImageClassifier.train(data, parameters.replace(validation=None), store=store)
    halves = {"even": data.paths[::2], "odd": data.paths[1::2]}
    other = ImageClassifier.train(DataSource.files_by_label(halves), parameters, store=store)
    assert other.training_report.n_reused == 60
    several = DataSource.files_by_label({**halves, "some": data.paths[::3]}, multi_label=True)
    multi = MultiLabelImageClassifier.train(several, parameters, store=store)
    assert multi.training_report.n_reused == 60
    photo_folder(photos, dict.fromkeys(LABELS, 2), first=20)
    more = DataSource.labeled_directories(photos)
    model = ImageClassifier.train(more, parameters, store=store)
    assert model.training_report.n_reused == 60
    assert model.to_bytes() == ImageClassifier.train(more, parameters).to_bytes()


CHILD = """
    import sys
    from eyespot import DataSource, FeatureExtractor, FeatureStore, Preprocessing
    spec = Preprocessing(width=24, height=24)
    extractor = FeatureExtractor.custom(sys.argv[1], preprocessing=spec)
    def tell(progress):
        if progress.phase == "extracting_features" and progress.done:
            print(progress.done, flush=True)
    paths = DataSource.labeled_directories(sys.argv[2]).paths
    extractor.extract(paths, store=FeatureStore(sys.argv[3]), progress=tell)
"""


def start_child(network, photos, store):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), network, photos, store.path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_killed_process_leaves_good_rows(tmp_path, store):
    network = Tiny(height=24, width=24, features=12).save(tmp_path / "tiny.onnx")
    extractor = FeatureExtractor.custom(network, preprocessing=Preprocessing(width=24, height=24))
    photos = photo_folder(tmp_path / "many", dict.fromkeys(LABELS, 150), side=200)
    paths = paths_of(photos)
    plain = extractor.extract(paths)
    kept = 0
    for wait_s in (0.0, 0.02, 0.05):
        child = start_child(network, photos, store)
        assert child.stdout.readline()  # some rows are there
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        before, kept = kept, len(store)
        assert kept >= before
    assert kept > 0
    features = extractor.extract(paths, store=store)
    assert features.n_reused == kept
    assert features.embeddings.tobytes() == plain.embeddings.tobytes()


def test_two_processes_at_once(tmp_path, store):
    network = Tiny(height=24, width=24, features=12).save(tmp_path / "tiny.onnx")
    photos = photo_folder(tmp_path / "many", dict.fromkeys(LABELS, 40))
    children = [start_child(network, photos, store) for _ in range(2)]
    for child in children:
        child.communicate()
        assert child.returncode == 0
    assert len(store) == 120
    store.prune()
    assert len(store) == 120
    assert len(files_of(store, ".index")) == 1


def test_a_store_pickles_as_its_path(store):
    assert pickle.loads(pickle.dumps(store)).path == store.path
    assert repr(store) == f"<FeatureStore {str(store.path)!r}>"
    assert isinstance(store.path, Path)
