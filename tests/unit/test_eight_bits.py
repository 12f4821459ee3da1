"""All that starts from a classifier whose backbone computes with eight bits already."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import QuantFormat
from typer.testing import CliRunner

from eight_bits import eight_bit, residual, small
from eyespot import (
    DataSource,
    FeatureExtractor,
    FeatureStore,
    ImageClassifier,
    ModelParameters,
    Preprocessing,
    TrainingSessionParameters,
    cli,
    verify,
)
from eyespot.export.parity import (
    RESIZED,
    RESIZED_LEVELS,
    TRANSLATED_LEVELS,
    StoredAnswers,
    tolerance_of,
)
from eyespot.export.quantize import computes_with_eight_bits
from onnx_builder import Tiny
from small_model import small_model

SPEC = Preprocessing(width=24, height=24)
LEFT = "the backbone computes with eight bits already; the network was left as it is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, _ = small_model(folder, network=small())
    model.save(folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return ImageClassifier.load(folder / "model.onnx")


@pytest.fixture(scope="module")
def data(folder):
    return DataSource.labeled_directories(folder / "photos")


def graph_of(path):
    """Return the nodes and weights of a file: what it computes, without what it says of it."""
    graph = onnx.load(path).graph
    return [n.SerializeToString() for n in graph.node], {
        tensor.name: tensor.SerializeToString() for tensor in graph.initializer
    }


def form_of(path):
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return json.loads(entries["eyespot.export"])


def run(*arguments):
    env = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


# -- training ---------------------------------------------------------------------------------


def test_it_trains_predicts_and_is_saved(model, data):
    assert model.evaluate(data).accuracy > 0.95
    again = ImageClassifier(model.to_bytes())
    assert np.array_equal(again.predict_proba(data.paths), model.predict_proba(data.paths))


def test_the_network_in_the_saved_model_is_the_backbones_own(folder):
    stored = {t.name: t for t in onnx.load(folder / "model.onnx").graph.initializer}
    for tensor in small().graph.initializer:
        kept = stored[f"backbone/{tensor.name}"]
        assert kept.data_type == tensor.data_type
        assert np.array_equal(onnx.numpy_helper.to_array(kept), onnx.numpy_helper.to_array(tensor))


def test_stores_sessions_threads_and_batches_change_no_bit(folder, data, tmp_path):
    extractor = FeatureExtractor.custom(folder / "network.onnx", preprocessing=SPEC)
    expected = extractor.extract(data.paths, n_threads=1).embeddings
    store = FeatureStore(tmp_path / "store")
    for n_reused in (0, len(data)):
        found = extractor.extract(data.paths, n_threads=2, store=store)
        assert found.n_reused == n_reused
        assert found.embeddings.tobytes() == expected.tobytes()
    parameters = ModelParameters(feature_extractor=extractor, tolerance=1e-3, l2=0.01)
    plain = ImageClassifier.train(data, parameters).to_bytes()
    kept = TrainingSessionParameters(session_directory=tmp_path / "session")
    assert (
        ImageClassifier.train_async(data, parameters, session_parameters=kept).result().to_bytes()
        == plain
    )


def test_onnx_runtime_computes_it_with_whole_numbers(tmp_path):
    """The session options leave on what turns the QDQ form into convolutions of 8-bit numbers."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(
        small().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == 4
    assert "Conv" not in kinds


def test_an_open_input_shape_is_read_off_behind_the_quantisation(tmp_path):
    network = small()
    for dimension in network.graph.input[0].type.tensor_type.shape.dim:
        dimension.ClearField("value")
    onnx.save(network, tmp_path / "net.onnx")
    assert FeatureExtractor.custom(tmp_path / "net.onnx", preprocessing=SPEC).assumptions == ()


def test_a_feature_map_behind_dequantisation_is_averaged_over_its_positions(tmp_path):
    network = small()
    last = [n for n in network.graph.node if n.op_type == "DequantizeLinear"][-1].output[0]
    onnx.save(network, tmp_path / "net.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = FeatureExtractor.custom(
            tmp_path / "net.onnx", preprocessing=SPEC, output_name=last
        )
    assert extractor.n_features == 12
    assert extractor.assumptions == (
        "the output is a 6x6 feature map: averaged over its positions",
    )


# -- exports ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["uint8_nhwc", "float_nchw"])
def test_the_forms_of_fixed_size_give_the_same(model, data, folder, form, tmp_path):
    export = model.export(tmp_path / "a.onnx", input=form, photos=data)
    assert export.proof.max_difference <= 1e-5
    assert export.proof.tolerance.max_difference == 1e-5
    found = verify(export.path, data)
    assert found.passed
    assert not found.file.rounds_floats
    assert verify(export.path, data, model=folder / "model.onnx").passed


def test_pixels_of_any_size_move_single_levels(model, data, folder, tmp_path):
    export = model.export(tmp_path / "a.onnx", input="resize", photos=data)
    assert export.proof.tolerance == RESIZED_LEVELS
    found = verify(export.path, data)
    assert found.passed
    assert found.file.rounds_floats
    assert verify(export.path, data, model=folder / "model.onnx").passed


@pytest.mark.parametrize("ending", ["mlpackage", "mlmodel"])
def test_core_ml_files_are_proved(model, data, folder, ending, tmp_path):
    pytest.importorskip("coremltools", reason="needs: pip install 'eyespot[coreml]'")
    export = model.export(tmp_path / f"a.{ending}", precision="float32", photos=data)
    assert export.proof.tolerance == TRANSLATED_LEVELS
    assert export.proof.max_difference < 0.01
    half = model.export(tmp_path / f"b.{ending}", photos=data)
    assert half.proof.tolerance.max_difference == 0.1
    for path in (export.path, half.path):
        found = verify(path)
        assert found.passed
        assert found.file.rounds_floats
        assert "activations int8" in found.file.summary()
        assert verify(path, data, model=folder / "model.onnx").passed


@pytest.mark.parametrize("given", [False, True])
def test_int8_is_left_as_it_is_and_said(model, data, folder, given, tmp_path):
    plain = model.export(tmp_path / "plain.onnx")
    photos = {"photos": data} if given else {}
    export = model.export(tmp_path / "a.onnx", quantize="int8", sidecars=["huggingface"], **photos)
    assert export.notes == (f"int8: {LEFT}",)
    assert LEFT in str(export)
    assert plain.notes == ()
    assert export.proof.max_difference == 0
    assert export.proof.accuracy is None  # nothing has changed
    assert graph_of(export.path) == graph_of(plain.path)
    assert (form_of(plain.path)["quantize"], form_of(export.path)["quantize"]) == (None, "backbone")
    found = verify(export.path, data, model=folder / "model.onnx")
    assert found.passed
    assert "int8 as the backbone has it" in found.file.summary()


def test_a_changed_weight_of_it_is_found_out(model, folder, tmp_path):
    """What was left as it is has to answer exactly as the model does."""
    path = model.export(tmp_path / "a.onnx", quantize="int8").path
    made = onnx.load(path)
    (bias,) = [tensor for tensor in made.graph.initializer if tensor.name == "head/bias"]
    values = onnx.numpy_helper.to_array(bias) + np.float32([0.01, 0, 0])
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(made, path)
    checks = {c.name: c.passed for c in verify(path, model=folder / "model.onnx").checks}
    assert checks == {"file": False, "model": True, "synthetic": False}


def test_the_commands_say_it_too(folder, tmp_path):
    path = tmp_path / "a.onnx"
    result = run("export", folder / "model.onnx", path, "--quantize", "int8")
    assert result.exit_code == 0, result.output
    assert LEFT in result.stdout
    result = run("inspect", path)
    assert "int8 as the backbone has it" in result.stdout
    assert run("verify", path, "--model", folder / "model.onnx").exit_code == 0
    told = json.loads(run("export", folder / "model.onnx", path, "--json", "-q").stdout)
    assert told["notes"] == []


# -- what counts as eight bits ----------------------------------------------------------------


def test_eight_bits_are_those_of_activations(model, tmp_path):
    assert computes_with_eight_bits(model.to_bytes())
    operators = eight_bit(residual(), quant_format=QuantFormat.QOperator)
    assert computes_with_eight_bits(operators.SerializeToString())
    assert not computes_with_eight_bits(residual().SerializeToString())
    assert not computes_with_eight_bits(with_stored_weights().SerializeToString())


def with_stored_weights():
    """Return a network that computes in float32, with its kernel stored in eight bits."""
    network = Tiny(height=24, width=24, features=12).model()
    kernel = next(tensor for tensor in network.graph.initializer if tensor.name == "kernel")
    values = onnx.numpy_helper.to_array(kernel)
    scale = (np.abs(values).max((1, 2, 3)) / 127).astype(np.float32)
    levels = np.rint(values / scale[:, None, None, None]).astype(np.int8)
    network.graph.initializer.remove(kernel)
    for name, array in (("levels", levels), ("scale", scale)):
        network.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    node = onnx.helper.make_node("DequantizeLinear", ["levels", "scale"], ["kernel"], axis=0)
    network.graph.node.insert(0, node)
    return network


def test_weights_stored_in_eight_bits_are_quantised_as_others_are(tmp_path):
    model, data = small_model(tmp_path, network=with_stored_weights())
    export = model.export(tmp_path / "a.onnx", quantize="int8", photos=data)
    assert export.notes == ()
    assert form_of(export.path)["quantize"] == "int8"
    assert computes_with_eight_bits(export.path.read_bytes())


def test_only_what_levels_move_is_allowed_to_move():
    exact = tolerance_of(form="uint8_nhwc")
    assert tolerance_of(form="uint8_nhwc", eight_bits=True) == exact
    assert tolerance_of(form="uint8_nhwc", quantize="backbone", eight_bits=True) == exact
    assert tolerance_of(form="resize") == RESIZED
    assert tolerance_of(form="resize", eight_bits=True) == RESIZED_LEVELS
    stored = StoredAnswers(rows=np.zeros((1, 2), np.float32), keys=("",), max_difference=0.0)
    assert stored.tolerance(levels=False).max_difference == pytest.approx(1e-4)
    assert stored.tolerance(levels=True).max_difference == TRANSLATED_LEVELS.max_difference
    half = tolerance_of(form="uint8_nhwc", translated="float16")
    assert tolerance_of(form="uint8_nhwc", translated="float16", eight_bits=True) == half
    assert TRANSLATED_LEVELS.max_difference < half.max_difference
