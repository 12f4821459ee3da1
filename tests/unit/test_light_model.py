"""A model taken apart and put together is the same model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from eyespot.light_model import LightModel, operators, take_apart
from onnx_builder import Tiny


def network(n_features=400, **options):
    """Return a network whose kernel of 3 * 4 * 4 * n_features floats is large."""
    return Tiny(features=n_features, **options).model()


def test_the_bytes_come_back_as_protobuf_writes_them():
    data = network().SerializeToString(deterministic=True)
    light = take_apart(data)
    assert light.weights.keys() == {"kernel", "head"}
    assert light.proto.ByteSize() < len(data) / 10
    assert light.n_bytes == pytest.approx(len(data), abs=100)
    assert light.to_bytes() == data


def test_the_weights_are_views_of_the_file():
    data = network().SerializeToString()
    kernel = take_apart(data).weights["kernel"]
    assert kernel.obj is data
    (stored,) = [t for t in onnx.load_from_string(data).graph.initializer if t.name == "kernel"]
    assert kernel == stored.raw_data


def test_a_model_without_large_weights_stays_whole():
    data = Tiny().model().SerializeToString(deterministic=True)
    assert take_apart(data).weights == {}
    assert take_apart(data).to_bytes() == data


def test_edits_of_the_light_model_are_in_the_file():
    model = network()
    light = take_apart(model.SerializeToString())
    for proto in (model, light.proto):
        proto.graph.name = "renamed"
        del proto.graph.node[-1]
        del next(t for t in proto.graph.initializer if t.name == "head").dims[:]
    assert light.to_bytes() == model.SerializeToString(deterministic=True)


def test_weights_that_the_model_does_not_have_are_of_no_account():
    model = network()
    light = take_apart(model.SerializeToString())
    del light.proto.graph.initializer[:]
    del model.graph.initializer[:]
    assert light.to_bytes() == model.SerializeToString(deterministic=True)


def test_numbers_that_are_no_raw_data_stay_where_they_are():
    model = network()
    values = [float(i) for i in range(5000)]
    floats = helper.make_tensor("floats", TensorProto.FLOAT, [5000], values)
    model.graph.initializer.append(floats)
    light = take_apart(model.SerializeToString())
    assert "floats" not in light.weights
    assert light.to_bytes() == model.SerializeToString(deterministic=True)


def test_text_after_the_data_of_a_weight_is_kept():
    model = network()
    for tensor in model.graph.initializer:
        tensor.doc_string = f"what {tensor.name} is"
    again = onnx.load_from_string(take_apart(model.SerializeToString()).to_bytes())
    assert again == model


def test_a_graph_in_two_pieces_is_read_as_one():
    """Protobuf joins the pieces of a message that comes twice, so a file may hold it so."""
    model = network()
    rest, graph = onnx.ModelProto(), onnx.ModelProto()
    rest.CopyFrom(model)
    del rest.graph.initializer[:]
    graph.graph.initializer.extend(model.graph.initializer)
    light = take_apart(rest.SerializeToString() + graph.SerializeToString())
    assert light.weights.keys() == {"kernel", "head"}
    assert onnx.load_from_string(light.to_bytes()) == model


@pytest.mark.parametrize("count", [0, 1, 50, 3000, 12000])
def test_a_file_that_ends_early_is_refused(count):
    data = network().SerializeToString(deterministic=True)[:-1]
    with pytest.raises((ValueError, DecodeError)):
        take_apart(data[: len(data) - count])


@pytest.mark.parametrize("data", [b"\x07", b"\xff" * 12, b"\x08" + b"\x80" * 11])
def test_bytes_that_are_no_protobuf_are_refused(data):
    with pytest.raises(ValueError, match=r"wire type|64 bits"):
        take_apart(data)


def test_random_damage_is_an_error_or_a_model():
    """Never a crash, and never more memory than the file has bytes."""
    data = network(n_features=90).SerializeToString()
    random = np.random.default_rng(0)
    survivors = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[random.integers(len(data) - 18000)] = random.integers(256)
        try:
            survivors += isinstance(take_apart(bytes(damaged)), LightModel)
        except (ValueError, DecodeError):
            continue
    assert 0 < survivors < 300


def test_operators_inside_branches_and_functions_are_found():
    model = Tiny().model()
    branch = helper.make_graph(
        [helper.make_node("Cos", ["embedding"], ["branch"])],
        "branch",
        [],
        [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(
        helper.make_node("If", ["always"], ["chosen"], then_branch=branch, else_branch=branch)
    )
    model.functions.append(
        helper.make_function(
            "local", "Rounded", ["x"], ["y"], [helper.make_node("Round", ["x"], ["y"])], []
        )
    )
    found = operators(model.SerializeToString())
    assert found >= {"Conv", "Relu", "If", "Cos", "Round"}
    assert found == operators(take_apart(model.SerializeToString()).to_bytes())
