"""Core ML files of well-known architectures compute what ONNX Runtime computes.

The interpreter of eyespot reads the saved bytes here; nothing runs on Apple's hardware.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest

from architectures import ARCHITECTURES
from saved_models import LABELS, pixels, saved

if find_spec("coremltools") is None:
    pytest.skip("needs eyespot[coreml]", allow_module_level=True)

from eyespot.export.coreml import export_coreml
from eyespot.export.coreml.package import WEIGHTS
from eyespot.export.coreml.tools import load_coremltools, quiet

# In log-probability; or a few times what ONNX Runtime differs from itself without optimisation.
TOLERANCE = 1e-3
NOISE_FACTOR = 4


@functools.cache
def case(name):
    """Return the model, images, log-probabilities and their noise within ONNX Runtime."""
    backbone = ARCHITECTURES[name]()
    features = backbone.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model, images = saved(backbone, features, scale=3.0), pixels(3)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    results = [
        np.log(np.concatenate([session.run(None, {"image": image[None]})[0] for image in images]))
        for session in (
            onnxruntime.InferenceSession(model),
            onnxruntime.InferenceSession(model, plain),
        )
    ]
    return model, images, results[0], np.abs(results[0] - results[1]).max()


@functools.cache
def exported(name, form):
    return export_coreml(case(name)[0], form=form, precision="float32")


@pytest.mark.parametrize("form", ["mlpackage", "mlmodel"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_core_ml_file_gives_the_log_probabilities_of_onnx_runtime(name, form):
    _, images, expected, noise = case(name)
    runner = exported(name, form).runner()
    got = np.log(runner.predict_proba(images))
    error = np.abs(got - expected).max()
    print(f"{name} {form}: {error:.1e}, within ONNX Runtime {noise:.1e}")
    assert runner.labels == LABELS
    assert np.ptp(expected, axis=0).max() > 0.05  # the images differ, or nothing would be shown
    assert error <= max(TOLERANCE, NOISE_FACTOR * noise)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_coremltools_lifts_the_program_with_the_declared_shapes(name, tmp_path):
    made = exported(name, "mlpackage")
    made.write(tmp_path / "m.mlpackage")
    load_coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    weights = tmp_path / "m.mlpackage" / WEIGHTS
    with quiet():
        program = load(made.spec, 6, file_weights_dir=str(weights.parent))
    lifted = [op for op in program.functions["main"].operations if op.op_type != "const"]
    block = made.spec.mlProgram.functions["main"].block_specializations["CoreML5"]
    declared = [op for op in block.operations if op.type != "const"]
    assert [op.op_type for op in lifted] == [op.type for op in declared]
    for ours, theirs in zip(declared[:-1], lifted[:-1], strict=True):
        sides = tuple(d.constant.size for d in ours.outputs[0].type.tensorType.dimensions)
        assert sides == tuple(theirs.outputs[0].shape)
        assert len(sides) <= 5
