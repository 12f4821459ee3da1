"""The loader as Python sees it: order, errors, ends, memory, other libraries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from eyespot import _core
from eyespot.errors import Cancelled, DecodeError, EyespotError, InvalidOption
from eyespot.loader import Batch, Loader
from eyespot.options import Preprocessing
from image_files import bmp_bytes, gradient, png_bytes

SMALL = Preprocessing(width=16, height=12)
PIXELS = Preprocessing(width=16, height=12, dtype="uint8", layout="nhwc", crop="stretch")


@pytest.fixture
def folder(tmp_path):
    """Forty images of many sizes and kinds of file."""
    paths = []
    for i in range(40):
        path = tmp_path / f"{i:02}.png"
        path.write_bytes(png_bytes(gradient(3 + 7 * i % 50, 5 + 11 * i % 60, seed=i)))
        paths.append(path)
    return paths


def all_pixels(loader):
    batches = list(loader)
    return np.concatenate([batch.pixels for batch in batches]), [
        int(index) for batch in batches for index in batch.indices
    ]


# Order and content


def test_batches_come_in_the_order_of_the_list(folder):
    loader = Loader(folder, PIXELS, batch_size=7)
    assert len(loader) == 6
    first = 0
    for batch in loader:
        assert batch.pixels.shape == (len(batch), 12, 16, 3)
        assert batch.pixels.dtype == np.uint8
        assert batch.indices.dtype == np.int64
        assert batch.indices.tolist() == list(range(first, first + len(batch)))
        assert batch.errors == ()
        for index, pixels in zip(batch.indices, batch.pixels, strict=True):
            assert abs(int(pixels[0, 0, 2]) - (37 * index) % 256) <= 1
        first += len(batch)
    assert first == 40


def test_the_list_may_be_a_generator_and_the_batch_size_a_numpy_integer(folder):
    inputs = [*folder[:3], folder[0].with_name("none.png"), bmp_bytes(gradient(9, 9)), folder[4]]
    loader = Loader((path for path in inputs), PIXELS, batch_size=np.int64(4))
    assert len(loader) == 2
    expected, indices = all_pixels(Loader(inputs, PIXELS))
    got = list(loader)
    np.testing.assert_array_equal(np.concatenate([batch.pixels for batch in got]), expected)
    assert [int(i) for batch in got for i in batch.indices] == indices
    assert [error.index for batch in got for error in batch.errors][:1] == [3]


@pytest.mark.parametrize("what", [None, "resnet", {"size": 16}])
def test_what_is_no_preprocessing_is_refused_by_name(folder, what):
    with pytest.raises(InvalidOption, match=r"preprocessing is a .*; allowed: a Preprocessing"):
        Loader(folder, what)


def test_the_layout_and_type_are_those_of_the_preprocessing(folder):
    for dtype, layout in (("float32", "nchw"), ("float32", "nhwc"), ("uint8", "nchw")):
        preprocessing = Preprocessing(width=16, height=12, dtype=dtype, layout=layout)
        batch = next(Loader(folder, preprocessing, batch_size=4))
        shape = (4, 3, 12, 16) if layout == "nchw" else (4, 12, 16, 3)
        assert batch.pixels.shape == shape
        assert batch.pixels.dtype == dtype
        assert batch.pixels.flags.c_contiguous
        assert batch.pixels.flags.writeable


def test_the_bytes_do_not_depend_on_threads_batches_or_how_an_image_is_given(folder):
    expected = np.stack(
        [_core.load_pixels(path.read_bytes(), SMALL.core_spec()) for path in folder]
    ).tobytes()
    data = [path.read_bytes() for path in folder]
    for n_threads in (1, 2, 5):
        for batch_size in (1, 16, 100):
            for inputs in (folder, data, [*folder[:20], *data[20:]]):
                loader = Loader(inputs, SMALL, batch_size=batch_size, n_threads=n_threads)
                pixels, indices = all_pixels(loader)
                assert pixels.tobytes() == expected
                assert indices == list(range(40))


def taken_by(loader, n_threads):
    """Return all batches of a loader, taken by several threads, by position in the list."""
    batches = []
    takers = [threading.Thread(target=lambda: batches.extend(loader)) for _ in range(n_threads)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    return sorted(batches, key=lambda batch: batch.indices[0])


@pytest.mark.parametrize("callers", [1, 2, 5])
def test_callers_that_decode_themselves_get_the_same_batches(folder, callers):
    expected, _ = all_pixels(Loader(folder, PIXELS, batch_size=3))
    with Loader(folder, PIXELS, batch_size=3, callers=callers) as loader:
        batches = taken_by(loader, callers)
    assert [int(i) for batch in batches for i in batch.indices] == list(range(len(folder)))
    assert np.concatenate([batch.pixels for batch in batches]).tobytes() == expected.tobytes()


def test_callers_may_share_one_pillow_image(tmp_path):
    from PIL import Image

    path = tmp_path / "a.bmp"
    path.write_bytes(bmp_bytes(gradient(300, 300)))
    images = [Image.open(path)] * 40  # not decoded yet; Pillow's own loading is for one thread
    with Loader(images, PIXELS, batch_size=1, callers=5) as loader:
        batches = taken_by(loader, 5)
    assert [batch.errors for batch in batches] == [()] * 40
    assert len({batch.pixels.tobytes() for batch in batches}) == 1


def test_a_caller_that_decodes_stops_at_a_cancel_token(folder):
    cancel = _core.CancelToken()
    loader = Loader(folder, PIXELS, batch_size=2, callers=1, cancel=cancel)
    next(loader)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(loader)


def test_pixels_in_memory_are_the_same_as_their_file():
    images = [gradient(40 + i, 50, seed=i) for i in range(6)]
    from_files, _ = all_pixels(Loader([png_bytes(image) for image in images], SMALL))
    from_pixels, _ = all_pixels(Loader(images, SMALL))
    assert np.abs(from_files - from_pixels).max() < 1e-6
    strided = [np.repeat(image, 2, axis=1)[:, ::2] for image in images]
    assert not strided[0].flags.c_contiguous
    from_strided, _ = all_pixels(Loader(strided, SMALL))
    assert np.array_equal(from_strided, from_pixels)
    rgba = [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in images]
    from_rgba, _ = all_pixels(Loader(rgba, SMALL))
    assert np.array_equal(from_rgba, from_pixels)


def test_images_of_one_pixel_fill_the_input():
    one = np.full((1, 1, 3), 77, np.uint8)
    pixels, _ = all_pixels(Loader([one, png_bytes(one)], PIXELS))
    assert (pixels == 77).all()


def test_an_empty_list_gives_no_batch():
    loader = Loader([], SMALL)
    assert len(loader) == 0
    assert list(loader) == []


def test_a_core_spec_is_taken_in_place_of_a_preprocessing(folder):
    batch = next(Loader(folder, SMALL.uint8_spec(), batch_size=2))
    assert batch.pixels.shape == (2, 12, 16, 3)
    assert batch.pixels.dtype == np.uint8


def test_pillow_images_are_loaded_between_files(folder):
    image_module = pytest.importorskip("PIL.Image")
    array = gradient(30, 40, seed=9)
    image = image_module.fromarray(array)
    pixels, indices = all_pixels(Loader([folder[0], image, array, folder[1]], SMALL, batch_size=3))
    assert indices == [0, 1, 2, 3]
    assert np.array_equal(pixels[1], pixels[2])


def test_other_formats_go_through_pillow(folder, tmp_path):
    pytest.importorskip("PIL.Image")
    array = gradient(30, 40, seed=9)
    bitmap = tmp_path / "bitmap.jpg"
    bitmap.write_bytes(bmp_bytes(array))
    inputs = [folder[0], bitmap, array, bitmap.read_bytes()]
    pixels, indices = all_pixels(Loader(inputs, SMALL, batch_size=2))
    assert indices == [0, 1, 2, 3]
    assert np.array_equal(pixels[1], pixels[2])
    assert np.array_equal(pixels[3], pixels[2])


# Errors


@pytest.fixture
def mixed(folder, tmp_path):
    """Good files with bad ones between them, and what is wrong by position."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(folder[5].read_bytes()[:60])
    words = tmp_path / "words.jpg"
    words.write_text("no image")
    inputs = list(folder[:12])
    inputs[0] = tmp_path / "gone.png"
    inputs[4] = broken
    inputs[5] = tmp_path
    inputs[9] = words
    codes = {0: "io", 4: "corrupt_image", 5: "io", 9: "unsupported_format"}
    return inputs, codes


def test_bad_images_are_listed_and_the_good_ones_close_up(mixed):
    inputs, codes = mixed
    for batch_size in (1, 4, 5, 100):
        found = {}
        seen = []
        for batch in Loader(inputs, PIXELS, batch_size=batch_size):
            assert len(batch.pixels) == len(batch.indices) == len(batch)
            assert batch.pixels.flags.c_contiguous
            seen += batch.indices.tolist()
            for index, pixels in zip(batch.indices, batch.pixels, strict=True):
                assert abs(int(pixels[0, 0, 2]) - (37 * index) % 256) <= 1
            for error in batch.errors:
                assert error.source == str(inputs[error.index])
                assert error.source not in error.message
                found[error.index] = error.code
        assert found == codes
        assert seen == [i for i in range(12) if i not in codes]


def test_raise_ends_the_iteration_with_the_first_bad_image(mixed):
    inputs, _ = mixed
    loader = Loader(inputs[3:], PIXELS, batch_size=100, on_error="raise")
    with pytest.raises(DecodeError, match=r"broken\.png: ") as caught:
        next(loader)
    assert caught.value.code == "corrupt_image"
    assert list(loader) == []


def test_a_batch_without_any_good_image_is_empty(tmp_path):
    batch = next(Loader([tmp_path / "a", tmp_path / "b"], SMALL))
    assert batch.pixels.shape == (0, 3, 12, 16)
    assert batch.indices.shape == (0,)
    assert [error.index for error in batch.errors] == [0, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_io_error(folder):
    folder[1].chmod(0)
    batch = next(Loader(folder[:3], SMALL))
    assert batch.indices.tolist() == [0, 2]
    assert batch.errors[0].code == "io"
    assert "Permission denied" in batch.errors[0].message


def test_files_that_vanish_during_the_run_are_errors_of_their_own(folder):
    loader = Loader(folder, SMALL, batch_size=1, prefetch=1, n_threads=1)
    next(loader)
    for path in folder:
        path.unlink()
    rest = list(loader)
    assert sum(len(batch) for batch in rest) <= 2
    assert {error.code for batch in rest for error in batch.errors} == {"io"}


def test_names_that_are_not_text_come_back_whole(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    batch = next(Loader([name], SMALL))
    assert batch.errors[0].source == name
    Path(name).write_bytes(png_bytes(gradient(5, 5)))
    assert len(next(Loader([name], SMALL))) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"prefetch": -1}, "prefetch"),
        ({"on_error": "ignore"}, "on_error"),
        ({"n_threads": -1}, "n_threads"),
        ({"n_threads": 2000}, "n_threads"),
        ({"n_threads": 2, "pool": _core.ThreadPool(1)}, "pool"),
        ({"callers": -1}, "callers"),
        ({"callers": 2, "n_threads": 2}, "callers"),
        ({"callers": 2, "prefetch": 2}, "callers"),
    ],
)
def test_options_out_of_range_are_refused(change, words):
    with pytest.raises(InvalidOption, match=words):
        Loader([], SMALL, **change)


@pytest.mark.parametrize("inputs", ["photo.jpg", b"bytes"])
def test_one_image_in_place_of_a_list_is_refused(inputs):
    with pytest.raises(InvalidOption, match="give a list"):
        Loader(inputs, SMALL)


def test_what_is_no_image_is_refused_at_once_with_its_position():
    with pytest.raises(InvalidOption, match=r"image 1 .*allowed"):
        Loader([b"", 3], SMALL)


# Ends


def test_leaving_early_closes_the_loader_and_keeps_its_batches(folder):
    with Loader(folder * 20, SMALL, batch_size=4) as loader:
        batch = next(loader)
        copy = batch.pixels.copy()
    assert list(loader) == []
    loader.close()
    for _ in range(3):
        for _batch in Loader(folder * 20, SMALL, batch_size=4):
            break
    assert np.array_equal(batch.pixels, copy)


def test_a_pool_may_serve_several_loaders_at_a_time(folder):
    pool = _core.ThreadPool(2)
    loaders = [Loader(folder, SMALL, batch_size=5, pool=pool) for _ in range(3)]
    for batches in zip(*loaders, strict=True):
        assert len({batch.pixels.tobytes() for batch in batches}) == 1


def test_a_cancel_token_ends_a_wait(folder):
    cancel = _core.CancelToken()
    loader = Loader(folder * 2000, SMALL, batch_size=80_000, cancel=cancel, n_threads=1)
    threading.Timer(0.05, cancel.cancel).start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        next(loader)
    assert time.perf_counter() - start < 2


def test_what_is_no_cancel_token_is_refused(folder):
    with pytest.raises(InvalidOption, match="cancel is a int; allowed: a CancelToken or None"):
        Loader(folder, SMALL, cancel=3)


def test_ctrl_c_ends_a_wait_within_100_ms(folder):
    code = f"""
        import os, signal, threading, time
        from eyespot.loader import Loader
        from eyespot.options import Preprocessing

        paths = {[str(path) for path in folder]!r} * 20_000
        loader = Loader(paths, Preprocessing(width=16, height=12), batch_size=len(paths))
        sent = []

        def interrupt():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        threading.Timer(0.2, interrupt).start()
        try:
            next(loader)
        except KeyboardInterrupt:
            print("after", time.perf_counter() - sent[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("after ")
    assert float(done.stdout.split()[1]) < 0.1


def test_a_forked_child_is_told_and_the_parent_goes_on(folder):
    loader = Loader(folder, SMALL, batch_size=4, n_threads=2)
    next(loader)
    child = os.fork()
    if child == 0:
        result = 1
        try:
            next(loader)
        except EyespotError as error:
            result = 0 if error.code == "forked" else 2
        finally:
            del loader
            os._exit(result)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(loader)) == 9


def test_other_python_threads_run_while_the_loader_waits(folder):
    ticks = 0
    stop = threading.Event()

    def tick():
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        next(Loader(folder * 100, SMALL, batch_size=4000, n_threads=1))
    finally:
        stop.set()
        thread.join()
    assert ticks > 10


# Memory


def test_memory_is_flat_over_thousands_of_images(folder):
    loader = Loader(folder * 100, SMALL, batch_size=8, prefetch=2, n_threads=2)
    count = sum(len(batch) for batch in loader)
    assert count == 4000
    assert loader._core.buffers_allocated <= 4  # the ring, the one in hand, the one before it


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_does_not_grow_with_the_number_of_images(folder):
    def resident_mb():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    large = Preprocessing(width=256, height=256)  # 768 kB an image
    for _ in Loader(folder, large, batch_size=8):
        pass
    before = resident_mb()
    for _ in Loader(folder * 25, large, batch_size=8):
        pass
    assert resident_mb() - before < 100  # all of them would be 768 MB


# Other libraries


def test_a_batch_speaks_dlpack_and_the_buffer_protocol_without_a_copy(folder):
    batch = next(Loader(folder, SMALL, batch_size=4))
    assert isinstance(batch, Batch)
    shared = np.from_dlpack(batch)
    assert np.shares_memory(shared, batch.pixels)
    assert np.shares_memory(np.asarray(batch), batch.pixels)
    assert not np.shares_memory(np.array(batch, copy=True), batch.pixels)
    view = memoryview(batch if sys.version_info >= (3, 12) else batch.pixels)
    assert view.shape == (4, 3, 12, 16)
    assert np.shares_memory(np.asarray(view), batch.pixels)
    assert batch.pixels.ctypes.data % 64 == 0


def test_the_memory_lives_as_long_as_the_last_view(folder):
    loader = Loader(folder, SMALL, batch_size=4)
    batch = next(loader)
    shared = np.from_dlpack(batch)
    expected = batch.pixels.copy()
    del batch
    list(loader)
    loader.close()
    del loader
    assert np.array_equal(shared, expected)


def test_torch_takes_a_batch_without_a_copy(folder):
    torch = pytest.importorskip("torch")
    batch = next(Loader(folder, SMALL, batch_size=4))
    tensor = torch.from_dlpack(batch)
    assert tensor.data_ptr() == batch.pixels.ctypes.data
    assert tuple(tensor.shape) == (4, 3, 12, 16)


def test_the_example_runs(folder):
    example = Path(__file__).parents[2] / "examples" / "feed_pytorch.py"
    done = subprocess.run(
        [sys.executable, example, str(folder[0].parent)], check=True, capture_output=True, text=True
    )
    assert "40 images" in done.stdout


def test_a_sigint_before_the_iteration_is_pythons_own(folder):
    loader = Loader(folder, SMALL, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert sum(len(batch) for batch in loader) == 40
