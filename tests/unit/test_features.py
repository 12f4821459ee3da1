"""Feature extractors: what networks they take, what they assume, and the embeddings they give."""

from __future__ import annotations

import _thread
import copy
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest

from eyespot import _core, backbones, network
from eyespot.errors import AssumptionWarning, Cancelled, DecodeError, InvalidOption, ModelError
from eyespot.features import FeatureExtractor
from eyespot.options import CropPolicy, ModelParameters, Preprocessing
from eyespot.progress import Phase
from onnx_builder import Tiny, tiny

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SMALL = Preprocessing(width=16, height=16, **PLAIN)
WITH_METADATA = {"eyespot.preprocessing": SMALL.to_json()}


def images(count, size=16, seed=1):
    random = np.random.default_rng(seed)
    return list(random.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def as_input(photos, preprocessing):
    """The network's input by NumPy, from photos that already have its size."""
    pixels = np.stack(photos)
    if preprocessing.color == "bgr":
        pixels = pixels[..., ::-1]
    if preprocessing.dtype != "uint8":
        mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
        pixels = (pixels * np.float32(preprocessing.scale) - mean) / std
        pixels = pixels.astype(preprocessing.dtype)
    if preprocessing.layout == "nchw":
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels)


def plain_run(path, output, pixels):
    """The same network by plain ONNX Runtime."""
    model = onnx.load(path)
    if output not in {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.ValueInfoProto(name=output))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([output], {"input": pixels})[0]


# what networks it takes


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_embeddings_equal_plain_onnxruntime_on_the_same_pixels(tmp_path, layout, dtype, batch):
    path = tiny(tmp_path / "net.onnx", layout=layout, dtype=dtype, batch=batch)
    normal = {} if dtype == "uint8" else PLAIN
    wanted = Preprocessing(width=16, height=16, layout=layout, dtype=dtype, **normal)
    extractor = FeatureExtractor.custom(path, preprocessing=wanted)
    photos = images(7)
    got = extractor.extract(photos)
    open_batch = tiny(tmp_path / "open.onnx", layout=layout, dtype=dtype)
    expected = plain_run(open_batch, "embedding", as_input(photos, wanted))
    tolerance = 2e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(got.embeddings, expected, rtol=tolerance, atol=tolerance)
    assert got.embeddings.dtype == np.float32
    assert got.indices.tolist() == list(range(7))
    assert got.errors == ()
    assert extractor.assumptions == ()
    assert (extractor.n_features, extractor.output_name, extractor.name) == (6, "embedding", "net")


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_preprocessing_arguments_reach_the_network(tmp_path, color):
    path = tiny(tmp_path / "net.onnx")
    wanted = Preprocessing(
        width=16, height=16, color=color, mean=(0.1, 0.5, 0.9), std=(1, 2, 3), scale=1 / 127
    )
    got = FeatureExtractor.custom(path, preprocessing=wanted).extract(images(3))
    expected = plain_run(path, "embedding", as_input(images(3), wanted))
    np.testing.assert_allclose(got.embeddings, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "reduce", "words"),
    [
        ("embedding", lambda x: x, None),
        ("logits", lambda x: x, None),
        ("map", lambda x: x.mean((2, 3)), "4x4 feature map"),
        ("map_nhwc", lambda x: x.mean((1, 2)), "4x4 feature map"),
        ("pooled", lambda x: x.reshape(len(x), -1), None),
        ("tokens", lambda x: x.mean(1), "16 tokens"),
        ("five", lambda x: x.reshape(len(x), -1), "flattened"),
        ("half", lambda x: x.astype(np.float32), None),
    ],
)
def test_outputs_of_any_shape_become_rows(tmp_path, output, reduce, words):
    names = ("logits", output) if output != "logits" else ("logits", "map")
    path = tiny(tmp_path / "net.onnx", outputs=names, metadata=WITH_METADATA)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        extractor = FeatureExtractor.custom(path, output_name=output)
    got = extractor.extract(images(3)).embeddings
    expected = reduce(plain_run(path, output, as_input(images(3), SMALL)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert got.shape == (3, extractor.n_features)
    assert len(caught) == (words is not None)
    if words is not None:
        assert words in extractor.assumptions[0]
        assert caught[0].category is AssumptionWarning
        assert words in str(caught[0].message)


@pytest.mark.parametrize("inner", ["map", "conv", "embedding"])
def test_a_tensor_inside_the_graph_can_be_the_output(tmp_path, inner):
    path = tiny(tmp_path / "net.onnx", outputs=("logits",), metadata=WITH_METADATA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)
        extractor = FeatureExtractor.custom(path, output_name=inner)
    expected = plain_run(path, inner, as_input(images(2), SMALL))
    expected = expected.mean((2, 3)) if expected.ndim == 4 else expected
    got = extractor.extract(images(2)).embeddings
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_several_outputs_want_a_name_and_the_error_lists_them(tmp_path):
    path = tiny(tmp_path / "net.onnx", outputs=("logits", "map"))
    with pytest.raises(InvalidOption, match="choose output_name from 'logits', 'map'"):
        FeatureExtractor.custom(path, preprocessing=SMALL)
    with pytest.raises(
        InvalidOption, match=r"named 'embeding'; its outputs: 'logits', 'map'.*'emb"
    ):
        FeatureExtractor.custom(path, output_name="embeding", preprocessing=SMALL)


def test_a_model_of_our_convention_knows_its_embedding_among_several_outputs(tmp_path):
    path = tiny(tmp_path / "net.onnx", outputs=("logits", "embedding"), metadata=WITH_METADATA)
    assert FeatureExtractor.custom(path).output_name == "embedding"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float64"}, "(double) cannot hold a batch of images"),
        ({"channels": 1}, "no dimension of 3 colour channels"),
        ({"rank": 3}, "needed: 4 dimensions"),
        ({"extra_input": True}, "this one has 2: input [?, 3, 16, 16], mask [?, 1]"),
        ({"outputs": ("label",)}, "'label' is int64 of shape (2,) for a batch of 2"),
        ({"outputs": ("scalar",)}, "'scalar' is float32 of shape (12,) for a batch of 2"),
    ],
)
def test_a_network_that_cannot_serve_is_refused_with_the_reason(tmp_path, options, words):
    path = tiny(tmp_path / "net.onnx", **options)
    with pytest.raises(ModelError) as caught:
        FeatureExtractor.custom(path, preprocessing=SMALL)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" * 50])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a usable ONNX model") as caught:
        FeatureExtractor.custom(path)
    assert caught.value.source == str(path)


def test_a_truncated_model_is_refused(tmp_path):
    whole = tiny(tmp_path / "net.onnx", metadata=WITH_METADATA).read_bytes()
    for end in range(0, len(whole) - 1, len(whole) // 9):
        (tmp_path / "cut.onnx").write_bytes(whole[:end])
        with pytest.raises((ModelError, InvalidOption)):
            FeatureExtractor.custom(tmp_path / "cut.onnx")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file") as caught:
        FeatureExtractor.custom(tmp_path / "none.onnx")
    assert caught.value.code == "io"


def test_an_unknown_operator_is_refused_by_name(tmp_path):
    model = Tiny(metadata=WITH_METADATA).model()
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"ONNX Runtime refuses the network.*Convolve"):
        FeatureExtractor.custom(tmp_path / "net.onnx")


def test_weights_in_files_of_their_own_are_read_and_count_in_the_fingerprint(tmp_path):
    prints = []
    for seed in (0, 1):
        onnx.save(
            Tiny(metadata=WITH_METADATA, seed=seed).model(),
            tmp_path / "net.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=16,
        )
        extractor = FeatureExtractor.custom(tmp_path / "net.onnx")
        prints.append(extractor.fingerprint)
        whole = tiny(tmp_path / "whole.onnx", metadata=WITH_METADATA, seed=seed)
        np.testing.assert_array_equal(
            extractor.extract(images(2)).embeddings,
            FeatureExtractor.custom(whole).extract(images(2)).embeddings,
        )
        (tmp_path / "weights.bin").unlink()
    assert prints[0] != prints[1]
    with pytest.raises(ModelError, match=r"weights\.bin"):
        FeatureExtractor.custom(tmp_path / "net.onnx")


def test_a_network_that_only_works_with_one_image_at_a_time_is_used_that_way(tmp_path):
    path = tiny(tmp_path / "net.onnx", hard_batch_one=True, metadata=WITH_METADATA)
    with pytest.warns(AssumptionWarning, match="single images only"):
        extractor = FeatureExtractor.custom(path)
    assert extractor.extract(images(3)).embeddings.shape == (3, 6)
    assert extractor.onnx_model().graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


# what it assumes


def test_a_model_without_metadata_says_what_was_assumed(tmp_path):
    path = tiny(tmp_path / "net.onnx")
    with pytest.warns(AssumptionWarning, match="assumed RGB, ImageNet's mean and std") as caught:
        extractor = FeatureExtractor.custom(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert extractor.preprocessing == Preprocessing(width=16, height=16)
    assert "does not say how to prepare its input" in extractor.assumptions[0]
    with pytest.warns(AssumptionWarning, match="assumed RGB, uint8 levels"):
        FeatureExtractor.custom(tiny(tmp_path / "u8.onnx", dtype="uint8", layout="nhwc"))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_open_input_shape_is_read_off_the_first_operators(tmp_path, layout):
    path = tiny(
        tmp_path / "net.onnx", layout=layout, channels="C", height="H", width="W", batch=None
    )
    wanted = Preprocessing(width=16, height=16, layout=layout, **PLAIN)
    assert FeatureExtractor.custom(path, preprocessing=wanted).assumptions == ()
    other = {"nchw": "nhwc", "nhwc": "nchw"}[layout]
    with pytest.raises(InvalidOption, match=f"layout '{other}', but the model takes '{layout}'"):
        FeatureExtractor.custom(path, preprocessing=wanted.replace(layout=other))


def test_an_open_input_size_wants_an_argument(tmp_path):
    path = tiny(tmp_path / "net.onnx", height="H", width="W")
    with pytest.raises(InvalidOption, match="images of any size") as caught:
        FeatureExtractor.custom(path)
    assert caught.value.source == "preprocessing"
    wide = Preprocessing(width=24, height=12, **PLAIN)
    extractor = FeatureExtractor.custom(path, preprocessing=wide)
    shape = [d.dim_value for d in extractor.onnx_model().graph.input[0].type.tensor_type.shape.dim]
    assert shape[1:] == [3, 12, 24]
    assert extractor.extract(images(2, 30)).embeddings.shape == (2, 6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 20}, "width 20, but the model takes 16"),
        ({"layout": "nhwc"}, "layout 'nhwc', but the model takes 'nchw'"),
        ({"dtype": "float16"}, "dtype 'float16', but the model takes 'float32'"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(tmp_path, changes, words):
    wrong = SMALL.replace(**changes)
    with pytest.raises(InvalidOption, match=words):
        FeatureExtractor.custom(tiny(tmp_path / "net.onnx"), preprocessing=wrong)
    path = tiny(tmp_path / "own.onnx", metadata={"eyespot.preprocessing": wrong.to_json()})
    with pytest.raises(ModelError, match=words):
        FeatureExtractor.custom(path)
    assert FeatureExtractor.custom(path, preprocessing=SMALL).preprocessing == SMALL


def test_damaged_metadata_are_refused_unless_overridden(tmp_path):
    path = tiny(tmp_path / "net.onnx", metadata={"eyespot.preprocessing": "{size: 16}"})
    with pytest.raises(ModelError, match=r"not JSON.*pass preprocessing="):
        FeatureExtractor.custom(path)
    assert FeatureExtractor.custom(path, preprocessing=SMALL).assumptions == ()


# what it gives


def test_the_embedded_default_needs_nothing():
    extractor = FeatureExtractor.default()
    assert (extractor.name, extractor.n_features) == ("eyespot-v3", 1920)
    assert (extractor.preprocessing.width, extractor.preprocessing.height) == (192, 192)
    assert extractor.assumptions == ()
    assert extractor == FeatureExtractor.default(revision=3)
    assert repr(extractor) == "<FeatureExtractor eyespot-v3: 192x192 pixels to 1920 features>"
    photos = images(3, 192)
    expected = plain_run(
        backbones.embedded()[1], "embedding", as_input(photos, extractor.preprocessing)
    )
    np.testing.assert_allclose(extractor.extract(photos).embeddings, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(InvalidOption, match="known: 0, 1, 2, 3"):
        FeatureExtractor.default(revision=4)


@pytest.mark.parametrize(
    ("revision", "fingerprint"),
    [
        (0, "6fb6286c3b7c819a"),
        (1, "3749273ada08ff20"),
        (2, "9d69dd74058b8c94"),
        (3, "35eb406782eb48f6"),
    ],
)
def test_the_fingerprint_of_each_embedded_revision_is_stable(revision, fingerprint):
    # It names the features of a store: a change here is a new revision of the backbone.
    assert FeatureExtractor.default(revision).fingerprint.startswith(fingerprint)


FIRST_REVISION = [0.000000, 1.010960, 0.150952, 1.735791, 0.198639, 0.000000, 0.000000, 0.058762]


def test_the_first_revision_computes_what_it_always_did():
    # A picture of plain arithmetic, and some of its numbers as eyespot 0.1's first backbone gave
    # them; ONNX Runtime's kernels differ from processor to processor in the last bits.
    x, y = np.meshgrid(np.arange(144), np.arange(144))
    picture = np.stack([x * 255 // 143, y * 255 // 143, (x * y) % 256], axis=2).astype(np.uint8)
    found = FeatureExtractor.default(revision=0).extract([picture]).embeddings
    assert found.shape == (1, 384)
    np.testing.assert_allclose(found[0, ::48], FIRST_REVISION, rtol=1e-3, atol=1e-4)
    joined = FeatureExtractor.default(revision=1).extract([picture]).embeddings
    np.testing.assert_allclose(joined[:, 288:] ** 2, found, rtol=1e-3, atol=1e-4)


def test_the_fingerprint_follows_bytes_output_and_preprocessing(tmp_path):
    one = tiny(tmp_path / "one.onnx", outputs=("embedding", "logits"))
    two = tiny(tmp_path / "two.onnx", outputs=("embedding", "logits"), seed=2)
    other = SMALL.replace(scale=1.0)

    def fingerprint(path, output="embedding", preprocessing=SMALL):
        made = FeatureExtractor.custom(path, output_name=output, preprocessing=preprocessing)
        return made.fingerprint

    prints = [
        fingerprint(one),
        fingerprint(two),
        fingerprint(one, "logits"),
        fingerprint(one, preprocessing=other),
    ]
    assert len(set(prints)) == 4
    assert prints[0] == fingerprint(one)
    assert len(prints[0]) == 64


def test_another_crop_is_another_extractor_of_the_same_network():
    default = FeatureExtractor.default()
    stretched = default.with_crop("stretch")
    assert stretched.preprocessing.crop is CropPolicy.STRETCH
    assert stretched.preprocessing.replace(crop="center_crop") == default.preprocessing
    assert stretched != default
    assert stretched.with_crop("center_crop") == default
    with pytest.raises(InvalidOption, match="allowed: 'center_crop'"):
        default.with_crop("middle")


def test_the_onnx_model_has_one_float_output_and_nothing_dead(tmp_path):
    path = tiny(
        tmp_path / "net.onnx",
        outputs=("logits", "map"),
        dead_weights=3,
        metadata=WITH_METADATA | {"licence": "none"},
    )
    with pytest.warns(AssumptionWarning, match="feature map"):
        extractor = FeatureExtractor.custom(path, output_name="map")
    model = extractor.onnx_model()
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == [
        "Conv",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
    ]
    assert {tensor.name for tensor in model.graph.initializer} == {"kernel", "bias"}
    assert model.opset_import[0].version == 17
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim] == ["N", 6]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (rows,) = session.run(None, {"input": as_input(images(4), SMALL)})
    np.testing.assert_allclose(rows, extractor.extract(images(4)).embeddings, rtol=1e-6)


def test_branches_of_a_graph_keep_what_they_read_from_outside(tmp_path):
    helper = onnx.helper
    model = Tiny(metadata=WITH_METADATA).model()
    branch = [
        helper.make_graph(
            [helper.make_node(op, ["embedding", "outer"], [f"{op}_out"])],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_out", onnx.TensorProto.FLOAT, None)],
        )
        for op in ("Add", "Sub")
    ]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(6, 5, "f4"), "outer"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["chosen"], then_branch=branch[0], else_branch=branch[1])
    )
    onnx.save(model, tmp_path / "net.onnx")
    got = FeatureExtractor.custom(tmp_path / "net.onnx", output_name="chosen")
    plain = FeatureExtractor.custom(tmp_path / "net.onnx", output_name="embedding")
    np.testing.assert_allclose(
        got.extract(images(2)).embeddings, plain.extract(images(2)).embeddings + 5, rtol=1e-6
    )


def test_the_classifier_of_a_public_network_is_cut_off(tmp_path, monkeypatch):
    path = tiny(tmp_path / "net.onnx", outputs=("logits",))
    known = backbones.Backbone(
        name="toy", url="http://nowhere", n_bytes=1, sha256="0" * 64, preprocessing=SMALL
    )
    monkeypatch.setattr(backbones, "entry", lambda name: known)
    monkeypatch.setattr(backbones, "fetch", lambda backbone: path)
    extractor = FeatureExtractor.named("toy")
    assert (extractor.name, extractor.output_name) == ("toy", "embedding")
    assert "MatMul" not in {node.op_type for node in extractor.onnx_model().graph.node}
    expected = plain_run(path, "embedding", as_input(images(2), SMALL))
    np.testing.assert_allclose(extractor.extract(images(2)).embeddings, expected, rtol=1e-5)


def test_a_public_networks_feature_map_is_averaged_without_a_warning(tmp_path, monkeypatch):
    path = tiny(tmp_path / "net.onnx", outputs=("map",))
    known = backbones.Backbone(
        name="toy",
        url="http://nowhere",
        n_bytes=1,
        sha256="0" * 64,
        preprocessing=SMALL,
        output_name="map",
    )
    monkeypatch.setattr(backbones, "entry", lambda name: known)
    monkeypatch.setattr(backbones, "fetch", lambda backbone: path)
    extractor = FeatureExtractor.named("toy")
    assert "feature map" in extractor.assumptions[0]
    assert extractor.n_features == 6


def test_a_quantised_classifier_is_cut_off_and_its_input_made_real(tmp_path, monkeypatch):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter([{"input": as_input(images(4), SMALL)}])

        def get_next(self):
            return next(self.feeds, None)

    whole = tiny(tmp_path / "net.onnx", outputs=("logits",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(whole, tmp_path / "int8.onnx", Reader(), quant_format=QuantFormat.QOperator)
    known = backbones.Backbone(
        name="toy", url="http://nowhere", n_bytes=1, sha256="0" * 64, preprocessing=SMALL
    )
    monkeypatch.setattr(backbones, "entry", lambda name: known)
    monkeypatch.setattr(backbones, "fetch", lambda backbone: tmp_path / "int8.onnx")
    got = FeatureExtractor.named("toy").extract(images(4)).embeddings
    expected = plain_run(whole, "embedding", as_input(images(4), SMALL))
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


# how it works through a list


def test_results_have_the_same_bits_for_any_threads_and_order(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    photos = images(23, 40)
    expected = extractor.extract(photos, n_threads=1).embeddings
    for n_threads in (2, 5):
        got = extractor.extract(photos, n_threads=n_threads).embeddings
        assert got.tobytes() == expected.tobytes()
    order = np.random.default_rng(0).permutation(23)
    shuffled = extractor.extract([photos[i] for i in order]).embeddings
    assert shuffled.tobytes() == expected[order].tobytes()
    alone = np.concatenate([extractor.extract([photo]).embeddings for photo in photos])
    assert alone.tobytes() == expected.tobytes()


@pytest.mark.parametrize("batch", ["N", 4])
def test_dynamic_quantisation_does_not_let_images_see_each_other(tmp_path, batch):
    from onnxruntime.quantization import quantize_dynamic

    tiny(tmp_path / "net.onnx", outputs=("logits",), batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(tmp_path / "net.onnx", tmp_path / "int8.onnx")
    extractor = FeatureExtractor.custom(tmp_path / "int8.onnx", preprocessing=SMALL)
    photos = [photo // (1 + i) for i, photo in enumerate(images(9))]
    expected = extractor.extract(photos).embeddings
    order = np.random.default_rng(0).permutation(9)
    shuffled = extractor.extract([photos[i] for i in order]).embeddings
    assert shuffled.tobytes() == expected[order].tobytes()


def test_bad_images_are_listed_and_the_rest_keep_their_places(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    photos = images(11)
    mixed = [b"rubbish", *photos[:5], b"", b"\xff\xd8\xff", *photos[5:], b"junk"]
    got = extractor.extract(mixed)
    assert [error.index for error in got.errors] == [0, 6, 7, 14]
    assert got.indices.tolist() == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    assert got.embeddings.tobytes() == extractor.extract(photos).embeddings.tobytes()
    with pytest.raises(DecodeError) as caught:
        extractor.extract(mixed, on_error="raise")
    assert "#0" in caught.value.source


def test_a_list_of_bad_images_or_of_none_gives_no_rows(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    for inputs in ([], [b"junk"] * 9):
        got = extractor.extract(inputs)
        assert got.embeddings.shape == (0, 6)
        assert got.indices.dtype == np.int64
        assert len(got.errors) == len(inputs)


def test_embeddings_that_are_not_finite_are_refused_by_name(tmp_path):
    path = tiny(tmp_path / "net.onnx", weight_scale=1e37)
    extractor = FeatureExtractor.custom(path, preprocessing=SMALL.replace(scale=1.0))
    photos = [np.zeros((16, 16, 3), np.uint8), *images(2), np.zeros((16, 16, 3), np.uint8)]
    got = extractor.extract(photos)
    assert got.indices.tolist() == [0, 3]
    assert [(error.index, error.code) for error in got.errors] == [
        (1, "non_finite"),
        (2, "non_finite"),
    ]
    assert "#1" in got.errors[0].source
    with pytest.raises(DecodeError, match="NaN or infinity"):
        extractor.extract(photos, on_error="raise")


def test_progress_comes_on_the_calling_thread_and_ends_at_the_total(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    seen = []
    caller = threading.get_ident()

    def note(value):
        assert threading.get_ident() == caller
        seen.append(value)

    extractor.extract([*images(9), b"junk"], progress=note)
    assert [value.done for value in seen] == sorted(value.done for value in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 10, 10)
    assert {value.phase for value in seen} == {Phase.EXTRACTING_FEATURES}


def test_what_a_callback_raises_ends_the_call_and_leaves_no_thread(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))

    def stop(value):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        extractor.extract(images(50), progress=stop)
    assert threading.active_count() == before
    assert len(extractor.extract(images(5)).embeddings) == 5


def test_cancel_stops_soon(tmp_path):
    extractor = FeatureExtractor.default()
    token = _core.CancelToken()
    photos = images(2000, 144)
    timer = threading.Timer(0.3, token.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled, match=r"after \d+ of 2000 images"):
        extractor.extract(photos, cancel=token)
    assert time.monotonic() - started < 2
    timer.join()


@pytest.mark.parametrize(
    "wrong", [{"on_error": "stop"}, {"n_threads": -1}, {"n_threads": 1.5}, {"n_threads": 1025}]
)
def test_arguments_outside_their_range_are_refused(wrong):
    with pytest.raises(InvalidOption, match="allowed"):
        FeatureExtractor.default().extract(images(1), **wrong)


def test_a_failing_network_is_a_model_error(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    broken = extractor.with_crop("fit")
    object.__setattr__(broken, "_preprocessing", SMALL.replace(width=2, height=2))
    with pytest.raises(ModelError, match="the network failed"):
        broken.extract(images(30))


def test_ctrl_c_ends_the_call_soon():
    extractor = FeatureExtractor.default()
    photos = images(2000, 144)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    before = threading.active_count()
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        extractor.extract(photos)
    assert time.monotonic() - started < 2
    timer.join()
    while threading.active_count() > before:  # a worker in the middle of an image ends after it
        assert time.monotonic() - started < 5
        time.sleep(0.01)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_the_eight_orientations_of_a_photo_give_the_same_embedding(test_data, shape):
    # One file whose orientation tag is changed: the eight files of the corpus differ in content.
    photo = test_data(f"corpora/exif_orientation/{shape}_1.jpg").read_bytes()
    tag = re.compile(
        rb"(\x01\x12\x00\x03\x00\x00\x00\x01\x00)\x01|(\x12\x01\x03\x00\x01\x00\x00\x00)\x01"
    )
    extractor = FeatureExtractor.default()
    as_stored = _core.load_pixels(photo, extractor.preprocessing.uint8_spec(), "photo")
    for orientation, upright in UPRIGHT.items():
        value = bytes([orientation])
        turned, count = tag.subn(lambda m, v=value: (m[1] or m[2]) + v, photo, count=1)
        assert count == 1
        pixels = np.ascontiguousarray(upright(as_stored))
        got, expected = extractor.extract([turned, pixels]).embeddings
        cosine = got @ expected / np.linalg.norm(got) / np.linalg.norm(expected)
        assert cosine >= 0.999, orientation


def test_photos_give_the_same_bits_for_any_threads_and_order(test_data):
    extractor = FeatureExtractor.default()
    paths = sorted(test_data("decode/web").iterdir())[:24]
    expected = extractor.extract(paths, n_threads=1, on_error="raise").embeddings
    order = np.random.default_rng(0).permutation(len(paths))
    for n_threads in (2, 5):
        got = extractor.extract([paths[i] for i in order], n_threads=n_threads).embeddings
        assert got.tobytes() == expected[order].tobytes()
    from_bytes = extractor.extract([path.read_bytes() for path in paths]).embeddings
    assert from_bytes.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("file", "output", "n_features"),
    [
        ("squeezenet1.1_onnxzoo.onnx", "embedding", 512),
        ("mobilenet_v2_1.0_224_onnxzoo_features.onnx", None, 1280),
    ],
)
def test_public_networks_serve_as_custom_ones(test_data, file, output, n_features):
    path = test_data(f"backbones/{file}")
    with pytest.warns(AssumptionWarning, match="ImageNet"):
        extractor = FeatureExtractor.custom(path, output_name=output)
    assert extractor.n_features == n_features
    assert (extractor.preprocessing.width, extractor.preprocessing.layout) == (224, "nchw")
    photos = images(2, 224)
    expected = plain_run(path, "embedding", as_input(photos, extractor.preprocessing))
    got = extractor.extract(photos).embeddings
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    assert "logits" not in {n for node in extractor.onnx_model().graph.node for n in node.output}


def test_the_rule_for_classifiers_finds_squeezenets_own_embedding(test_data):
    path = test_data("backbones/squeezenet1.1_onnxzoo.onnx")
    model = network.read_network(path).model
    del model.graph.output[0]  # as the public file is: logits only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)
        whole = FeatureExtractor.custom(path, output_name="embedding")
        cut = FeatureExtractor.custom(path, output_name=network.cut_classifier(model, "squeezenet"))
    photos = images(2, 224)
    np.testing.assert_allclose(
        cut.extract(photos).embeddings, whole.extract(photos).embeddings, rtol=1e-4, atol=1e-5
    )


def test_importing_features_imports_nothing_heavy():
    heavy = "{'onnx', 'onnxruntime', 'urllib.request', 'PIL'}"
    code = f"import sys, eyespot.features; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_extractor_is_pickled_and_copied_with_the_parameters_that_hold_it(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    parameters = ModelParameters(feature_extractor=extractor)
    (tmp_path / "net.onnx").unlink()  # all of it travels along
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    expected = extractor.extract([pixels]).embeddings
    for copied in (pickle.loads(pickle.dumps(parameters)), copy.deepcopy(parameters)):
        assert copied == parameters
        assert copied.feature_extractor.name == "net"
        np.testing.assert_array_equal(
            copied.feature_extractor.extract([pixels]).embeddings, expected
        )


def test_images_may_come_from_a_generator(tmp_path):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    pixels = np.zeros((30, 30, 3), np.uint8)
    features = extractor.extract(pixels for _ in range(3))
    assert features.embeddings.shape == (3, extractor.n_features)


@pytest.mark.parametrize("what", ["a.png", b"bytes", np.zeros((3, 3, 3), np.uint8), 3, None])
def test_one_image_is_no_list_of_images(tmp_path, what):
    extractor = FeatureExtractor.custom(tiny(tmp_path / "net.onnx", metadata=WITH_METADATA))
    with pytest.raises(InvalidOption, match="give a list of images"):
        extractor.extract(what)
