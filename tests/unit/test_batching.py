"""Several images a call: the same bits as one by one, or not at all."""

from __future__ import annotations

import itertools
import math
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot import FeatureExtractor, FeatureStore, Preprocessing, _core, batching, inference
from eyespot.batching import GROUP, Batching
from eyespot.errors import Cancelled
from eyespot.inference import NetworkRunner
from image_files import png_bytes
from onnx_builder import Tiny

SIDE = 16
SPEC = Preprocessing(width=SIDE, height=SIDE)
N_IMAGES = 90


@pytest.fixture
def eager(monkeypatch):
    """Let every network be tried, on few images, and batches win by the clock."""
    monkeypatch.setattr(inference, "_HEAVY", 0)
    monkeypatch.setattr(batching, "_LEAST_IMAGES", 1)

    ticks = itertools.count()
    # Each look at the clock comes sooner after the one before: the batch, timed last, is faster.
    monkeypatch.setattr(batching.time, "thread_time", lambda: math.sqrt(next(ticks)))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).standard_normal((N_IMAGES, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    return [png_bytes(random.integers(0, 256, (20, 24, 3)).astype(np.uint8)) for _ in range(90)]


def by_image():
    """Return a network of convolutions, whose rows have the same bits in any batch."""
    return Tiny(features=12).model()


def with_last(*nodes, weights=()):
    """Return `by_image` with more nodes between its embedding and its output, ``last``."""
    model = by_image()
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    del model.graph.output[:]
    last = helper.make_tensor_value_info("last", TensorProto.FLOAT, ["N", None])
    model.graph.output.append(last)
    used = {"input", "conv", "map", "pooled", "embedding", *(o for n in nodes for o in n.output)}
    kept = [node for node in model.graph.node if set(node.output) <= used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def minus_mean():
    """Return a network that takes from each row the mean over the batch."""
    mean = helper.make_node("ReduceMean", ["embedding"], ["mean"], axes=[0], keepdims=1)
    return with_last(mean, helper.make_node("Sub", ["embedding", "mean"], ["last"]))


def seldom_coupled():
    """Return a network whose rows depend on the batch only if some number is very large."""
    top = helper.make_node("ReduceMax", ["embedding"], ["top"], keepdims=0)
    bound = numpy_helper.from_array(np.float32(30), "bound")
    nodes = [
        top,
        helper.make_node("Max", ["top", "bound"], ["scale"]),
        helper.make_node("Div", ["embedding", "scale"], ["last"]),
    ]
    return with_last(*nodes, weights=[bound])


def tilted():
    """Return a network that adds each image's number in the batch, by operators of the list."""
    flat = helper.make_node("Flatten", ["embedding"], ["column"], axis=2)  # (N * F, 1)
    ones = numpy_helper.from_array(np.ones((1, 12), np.float32), "ones")
    product = helper.make_node("MatMul", ["column", "ones"], ["wide"])  # (N * F, F)
    back = helper.make_node("Gemm", ["wide", "wide"], ["square"], transA=1)  # (F, F), of all images
    return with_last(
        flat, product, back, helper.make_node("MatMul", ["embedding", "square"], ["last"]),
        weights=[ones],
    )  # fmt: skip


def runner_of(model):
    return NetworkRunner(model.SerializeToString(), source="test")


def rows_of(runner, pixels, n_images=N_IMAGES):
    """Return the rows of `pixels` by one Batching, given to it by fours, and the Batching."""
    tried = Batching(runner, n_images)
    parts = [tried.rows(pixels[i : i + GROUP]) for i in range(0, len(pixels), GROUP)]
    return np.concatenate(parts), tried


def test_images_share_a_call_where_that_changes_no_bit(eager, pixels):
    runner = runner_of(with_last(helper.make_node("Identity", ["embedding"], ["last"])))
    sizes = []
    run = runner.run
    runner.run = lambda pixels, options=None: sizes.append(len(pixels)) or run(pixels, options)
    rows, tried = rows_of(runner, pixels)
    assert tried.together
    assert rows.tobytes() == runner.rows(pixels).tobytes()
    trial = [1] * GROUP + [GROUP]
    assert sizes[: 22 - 3 + 15] == trial * 3 + [GROUP] * (22 - 3)
    assert sizes[22 - 3 + 15 :][:2] == [1, 1]  # 90 is 22 fours and two


@pytest.mark.parametrize("make", [minus_mean, tilted])
def test_images_that_have_a_say_in_each_other_stay_alone(eager, pixels, make, monkeypatch):
    monkeypatch.setattr(inference, "_BY_IMAGE", inference._BY_IMAGE | {"ReduceMean"})
    runner = runner_of(make())
    assert runner.groupable  # so it is the trial that finds it out
    rows, tried = rows_of(runner, pixels)
    assert not tried.together
    assert rows.tobytes() == runner.rows(pixels).tobytes()


def test_a_network_in_which_a_trial_would_prove_nothing_is_not_tried(eager, pixels):
    runner = runner_of(seldom_coupled())
    assert not runner.groupable
    rows, tried = rows_of(runner, pixels)
    assert not tried.together
    assert rows.tobytes() == runner.rows(pixels).tobytes()


def test_a_kernel_that_rounds_otherwise_for_more_rows_is_found_out(eager, pixels):
    """A product of one row and one of four may be summed in another order."""
    random = np.random.default_rng(0)
    weight = numpy_helper.from_array(random.standard_normal((12, 700)).astype(np.float32), "dense")
    back = numpy_helper.from_array(random.standard_normal((700, 33)).astype(np.float32), "back")
    nodes = [
        helper.make_node("Gemm", ["embedding", "dense"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "back"], ["last"]),
    ]
    runner = runner_of(with_last(*nodes, weights=[weight, back]))
    rows, tried = rows_of(runner, pixels)
    assert rows.tobytes() == runner.rows(pixels).tobytes()
    together = np.concatenate([runner.run(pixels[i : i + 4]) for i in range(0, 88, 4)])
    assert tried.together == (together.tobytes() == rows[:88].tobytes())


def test_a_network_that_takes_single_images_only_stays_with_them(eager, pixels):
    model = by_image()
    (flatten,) = [node for node in model.graph.node if node.output == ["embedding"]]
    shape = numpy_helper.from_array(np.array([1, 12], np.int64), "one_row")
    model.graph.initializer.append(shape)
    model.graph.node.remove(flatten)
    model.graph.node.insert(3, helper.make_node("Reshape", ["pooled", "one_row"], ["embedding"]))
    runner = runner_of(model)
    runner.groupable = True  # by its operators it is not
    rows, tried = rows_of(runner, pixels)
    assert not tried.together
    assert rows.tobytes() == runner.rows(pixels).tobytes()


@pytest.mark.parametrize("n_images", [1, batching._LEAST_IMAGES - 1])
def test_few_images_are_not_worth_a_trial(n_images, pixels, monkeypatch):
    monkeypatch.setattr(inference, "_HEAVY", 0)
    runner = runner_of(by_image())
    calls = []
    run = runner.run
    runner.run = lambda pixels, options=None: calls.append(len(pixels)) or run(pixels, options)
    rows_of(runner, pixels, n_images)
    assert set(calls) == {1}


def test_a_light_network_or_one_of_a_fixed_batch_is_not_tried(monkeypatch):
    assert not runner_of(by_image()).groupable
    monkeypatch.setattr(inference, "_HEAVY", 0)
    assert runner_of(by_image()).groupable is False  # Tiny's other outputs use other operators
    alone = with_last(helper.make_node("Identity", ["embedding"], ["last"]))
    assert runner_of(alone).groupable
    alone.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert not runner_of(alone).groupable


def test_slower_batches_are_given_up(eager, pixels, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(batching.time, "thread_time", lambda: next(ticks) ** 2)
    runner = runner_of(with_last(helper.make_node("Identity", ["embedding"], ["last"])))
    rows, tried = rows_of(runner, pixels)
    assert not tried.together
    assert rows.tobytes() == runner.rows(pixels).tobytes()


# The whole way, from files


def extractor_of(path, model):
    onnx.save(model, path)
    return FeatureExtractor.custom(path, preprocessing=SPEC)


@pytest.fixture
def extractor(tmp_path):
    return extractor_of(
        tmp_path / "n.onnx", with_last(helper.make_node("Identity", ["embedding"], ["last"]))
    )


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_embeddings_have_the_same_bits_for_any_threads_order_and_number(
    tmp_path, photos, n_threads, monkeypatch, request
):
    model = with_last(helper.make_node("Identity", ["embedding"], ["last"]))
    expected = extractor_of(tmp_path / "n.onnx", model).extract(photos).embeddings
    request.getfixturevalue("eager")
    grouped = extractor_of(tmp_path / "n.onnx", model)
    assert grouped._runner.groupable
    order = np.random.default_rng(n_threads).permutation(len(photos))
    for part in (order, order[:61], order[:7], order[:3]):
        found = grouped.extract([photos[i] for i in part], n_threads=n_threads)
        assert found.embeddings.tobytes() == expected[part].tobytes()


def test_bad_images_in_the_middle_of_a_batch_leave_the_others_as_they_are(eager, extractor, photos):
    expected = extractor.extract(photos).embeddings
    bad = {2, 21, 22, 40, 41, 42, 43, 89}
    mixed = [b"nothing" if i in bad else photo for i, photo in enumerate(photos)]
    found = extractor.extract(mixed)
    assert [error.index for error in found.errors] == sorted(bad)
    good = [i for i in range(len(photos)) if i not in bad]
    assert found.indices.tolist() == good
    assert found.embeddings.tobytes() == expected[good].tobytes()


def test_an_image_whose_row_is_not_finite_does_not_touch_its_neighbours(eager, tmp_path, photos):
    """One over the mean grey: infinite for the black image."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["grey"]),
        helper.make_node("Flatten", ["grey"], ["flat"], axis=1),
        helper.make_node("Div", ["flat", "flat"], ["last"]),
    ]
    spec = SPEC.replace(mean=(0.0,) * 3, std=(1.0,) * 3)
    onnx.save(with_last(*nodes), tmp_path / "n.onnx")
    extractor = FeatureExtractor.custom(tmp_path / "n.onnx", preprocessing=spec)
    black = png_bytes(np.zeros((20, 24, 3), np.uint8))
    bad = [1, 34, 35, 70]
    mixed = [black if i in bad else photo for i, photo in enumerate(photos)]
    found = extractor.extract(mixed, n_threads=2)
    assert [(error.index, error.code) for error in found.errors] == [(i, "non_finite") for i in bad]
    assert np.isfinite(found.embeddings).all()


def test_the_first_bad_image_is_the_one_that_is_raised(extractor, photos):
    for first in (0, 5, 50):
        mixed = [*photos[:first], b"first", *photos[first:60], b"second", b"third", *photos]
        with pytest.raises(Exception, match=f"<bytes #{first}>"):
            extractor.extract(mixed, on_error="raise", n_threads=5)


def test_a_store_is_filled_and_read_with_the_same_bits(eager, extractor, photos, tmp_path):
    paths = []
    for i, photo in enumerate(photos):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(photo)
    expected = extractor.extract(paths).embeddings
    store = FeatureStore(tmp_path / "store")
    extractor.extract(paths[::3], store=store)
    again = extractor.extract(paths, store=store)
    assert again.n_reused == 30
    assert again.embeddings.tobytes() == expected.tobytes()


def test_cancel_stops_in_the_middle_of_batches(eager, extractor, photos):
    cancel = _core.CancelToken()
    before = threading.active_count()
    timer = threading.Timer(0.1, cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled, match="stopped on request after"):
        extractor.extract(photos * 1000, cancel=cancel)
    timer.join()
    deadline = time.monotonic() + 5  # a worker in the middle of an image ends after it
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_decode_does_not_hold_up_a_cancelled_call(extractor):
    """The worker ends by itself when its image is done."""
    large = png_bytes(np.zeros((6000, 6000, 3), np.uint8))
    cancel = _core.CancelToken()
    threading.Timer(0.05, cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        extractor.extract([large] * 50, cancel=cancel)
    assert time.monotonic() - started < 5
