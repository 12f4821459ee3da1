"""Export a student: ``python -m training.export SNAPSHOT --out DIR --name NAME --revision N``.

SNAPSHOT is one of `training.train`, or an exported network of the shape that --shape names. Writes
NAME.onnx (float32), NAME-f16.onnx and NAME-w8.onnx (weights stored as float16, or kernels in 8 bits
with a scale a channel; both computed in float32), and with --calibrate FOLDER NAME-int8.onnx (QDQ:
8-bit activations, 7-bit weights with a scale a channel, calibrated on the photos of the folder).
The operators are Conv, Relu, Add, ReduceMean, AveragePool, Flatten, Concat and Sqrt; the graph is
written node by node, so it depends on no exporter's version.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.student import Student

__all__ = [
    "byte_weights",
    "half_weights",
    "main",
    "quantise",
    "share_kernels",
    "share_weights",
    "to_onnx",
]

OPSET: Final = 17
QUANTISED_OPSET: Final = 19  # the first in which onnx's reference evaluator can dequantise
QUANTISED_IR: Final = 9  # of that opset
CALIBRATION: Final = 200  # photos


def to_onnx(student: Student, *, name: str, revision: int, side: int = 0) -> onnx.ModelProto:
    """Return a student, folded, as an ONNX network with float32 weights.

    Parameters
    ----------
    student : Student
    name, revision
        What the metadata entry `eyespot.backbone` says.
    side : int
        Pixels of the input; 0 is the shape's own.
    """
    from training.augment import MEAN, STD
    from training.halves import half_window
    from training.student import Block, fold

    folded = fold(student)
    side = side or student.shape.side
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, onnx.TensorProto] = {}  # one of a name, whatever the number of scales

    def convolution(pair: Any, x: str, prefix: str, name: str) -> str:
        layer, out = pair[0], prefix + name
        for part, values in (("weight", layer.weight), ("bias", layer.bias)):
            array = np.ascontiguousarray(values.detach().float().cpu().numpy())
            weights[f"{name}.{part}"] = numpy_helper.from_array(array, f"{name}.{part}")
        nodes.append(
            helper.make_node(
                "Conv",
                [x, f"{name}.weight", f"{name}.bias"],
                [out],
                out,
                kernel_shape=list(layer.kernel_size),
                strides=list(layer.stride),
                pads=list(layer.padding) * 2,
            )
        )
        return out

    def operator(kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [out], out, **attributes))
        return out

    def means_at(x: str, side: int, prefix: str) -> list[str]:
        rows = -(-side // 2)  # of the map so far
        x = operator("Relu", [convolution(folded.stem, x, prefix, "stem")], f"{prefix}stem.relu")
        means: list[str] = []
        for i, block in enumerate(folded.blocks):
            assert isinstance(block, Block)
            name = f"{prefix}block{i}"
            y = convolution(block.a, x, prefix, f"block{i}.a")
            y = convolution(block.b, operator("Relu", [y], f"{y}.relu"), prefix, f"block{i}.b")
            changes = isinstance(block.short, type(folded.stem))
            short = convolution(block.short, x, prefix, f"block{i}.short") if changes else x
            x = operator("Relu", [operator("Add", [y, short], f"{name}.sum")], name)
            rows = -(-rows // block.a[0].stride[0])
            if i in folded.halved:
                kernel, strides = half_window(rows, rows)
                pooled = operator(
                    "AveragePool", [x], f"{name}.halves", kernel_shape=kernel, strides=strides
                )
                means.append(operator("Flatten", [pooled], f"{name}.mean", axis=1))
            elif i in folded.joined:
                means.append(operator("ReduceMean", [x], f"{name}.mean", axes=[2, 3], keepdims=0))
        return means

    means, image, side_seen = means_at("input", side, ""), "input", side
    for scale in range(1, student.shape.scales):
        image = operator(
            "AveragePool", [image], f"smaller{scale}", kernel_shape=[2, 2], strides=[2, 2]
        )
        side_seen //= 2
        means += means_at(image, side_seen, f"smaller{scale}.")
    x = operator("Concat", means, "joined", axis=1) if len(means) > 1 else means[0]
    if student.shape.root:
        operator("Sqrt", [x], "embedding")
    else:
        nodes[-1].output[0] = "embedding"
    n_features = student.shape.n_features
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", n_features])],
        list(weights.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    preprocessing = {
        "size": side,
        "layout": "nchw",
        "dtype": "float32",
        "color": "rgb",
        "scale": 1 / 255,
        "mean": list(MEAN),
        "std": list(STD),
        "resample": "bilinear_antialias",
        "crop": "center_crop",
    }
    facts = {"name": name, "revision": revision, "dim": n_features}
    helper.set_model_props(
        model,
        {
            "eyespot.preprocessing": json.dumps(preprocessing),
            "eyespot.backbone": json.dumps(facts),
            "license": "Apache-2.0",
        },
    )
    onnx.checker.check_model(model)
    return model


def half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose weights are stored as float16 and cast to float32 when it is loaded."""
    return _stored(model, byte_kernels=False)


def byte_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose kernels are stored in 8 bits with a scale a channel, the rest as float16.

    Nothing but the weights is rounded: when it is loaded they become float32 and stay so.
    """
    return _stored(model, byte_kernels=True)


def _stored(model: onnx.ModelProto, *, byte_kernels: bool) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    first: list[onnx.NodeProto] = []
    scales: list[onnx.TensorProto] = []
    for one in made.graph.initializer:
        name, values = one.name, numpy_helper.to_array(one)
        if byte_kernels and values.ndim == 4:
            largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
            scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
            one.CopyFrom(
                numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.i8")
            )
            scales.append(numpy_helper.from_array(scale, f"{name}.scale"))
            first += [
                helper.make_node("Cast", [one.name], [f"{name}.whole"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
            ]
            continue
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            message = f"{name} holds values that float16 cannot"
            raise ValueError(message)
        one.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.f16"))
        first.append(helper.make_node("Cast", [one.name], [name], to=TensorProto.FLOAT))
    made.graph.initializer.extend(scales)
    nodes = [*first, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made)
    return made


def share_weights(model: onnx.ModelProto, other: Path) -> onnx.ModelProto:
    """Return a copy whose weights lie in another file beside it, where that has the same bytes.

    It is for two readings of the same convolutions: the second file then weighs some kilobytes.

    Raises
    ------
    ValueError
        If the other file does not hold a weight; the message names it.
    """
    data = other.read_bytes()
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for one in made.graph.initializer:
        _leave(one, other, data)
    return made


def share_kernels(model: onnx.ModelProto, other: Path) -> onnx.ModelProto:
    """Return a copy of an int8 network whose kernels are made of those in a file beside it.

    The other file has the same kernels with 8 bits, as `byte_weights` stores them. They become
    floats and are quantised again in the graph, which ONNX Runtime does once, when it reads the
    network; what it runs then is what `quantise` wrote.

    Raises
    ------
    ValueError
        If the other file does not hold a kernel; the message names it.
    """
    data = other.read_bytes()
    stored = {one.name: one for one in onnx.load(other).graph.initializer}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tensors, nodes = [], []
    for one in model.graph.initializer:
        name = one.name.removesuffix("_quantized")
        if one.name == name or not name.endswith(".weight"):
            tensors.append(one)
            continue
        if f"{name}.i8" not in stored:
            message = f"{other} does not hold the weights {name} in eight bits"
            raise ValueError(message)
        kernel, scale = (stored[f"{name}.{part}"] for part in ("i8", "scale"))
        _leave(kernel, other, data)
        tensors += [kernel, scale]
        levels = [name, f"{name}_scale", f"{name}_zero_point"]
        nodes += [
            helper.make_node("Cast", [kernel.name], [f"{name}.whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.whole", scale.name], [name]),
            helper.make_node("QuantizeLinear", levels, [one.name], axis=0),
        ]
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend([*nodes, *model.graph.node])
    made.graph.initializer.extend(tensors)
    return made


def _leave(tensor: onnx.TensorProto, other: Path, data: bytes) -> None:
    """Refer to a tensor's bytes in another file, whose bytes are `data`."""
    offset = data.find(tensor.raw_data)
    if offset < 0:
        message = f"{other} does not hold the weights {tensor.name}"
        raise ValueError(message)
    place = {"location": other.name, "offset": offset, "length": len(tensor.raw_data)}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))


def quantise(source: Path, out: Path, inputs: Iterator[NDArray[np.float32]]) -> None:
    """Write the int8 form of an exported network.

    Weights have 7 bits, a scale for each channel: with 8, processors without VNNI would saturate
    sums of 16 bits and give other results. Activations are unsigned, by their range.

    Parameters
    ----------
    source, out : path
        The float32 file, and where to write.
    inputs : iterator of float32 ndarrays of shape (n, 3, side, side)
        Prepared photos to calibrate on.
    """
    from onnx import version_converter
    from onnxruntime import quantization

    model = onnx.load(source)
    modern = version_converter.convert_version(model, QUANTISED_OPSET)
    modern.ir_version = QUANTISED_IR
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(inputs, None)
            return None if batch is None else {name: batch}

    quantization.quantize_static(
        modern,
        str(out),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv", "Add", "Relu"],
    )
    made = onnx.load(out)
    helper.set_model_props(made, {one.key: one.value for one in model.metadata_props})
    onnx.save(made, out)


def _photos(folder: Path, side: int) -> Iterator[NDArray[np.float32]]:
    """Yield evenly chosen photos of a folder, one a batch, prepared by eyespot itself."""
    import eyespot

    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    step = max(1, len(files) // CALIBRATION)
    wanted = eyespot.Preprocessing(width=side, height=side)
    for batch in eyespot.Loader(files[::step][:CALIBRATION], wanted, batch_size=1, n_threads=1):
        yield np.asarray(batch.pixels)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    from training.student import SHAPES, Student, load_folded, mixed, read_snapshot

    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="of an exported network")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="student")
    parser.add_argument("--revision", type=int, default=0)
    parser.add_argument("--side", type=int, default=0, help="pixels of the input")
    parser.add_argument(
        "--weights-of",
        type=Path,
        metavar="FILE",
        help="leave the weights of the float16 or of the int8 form, whichever it has, in that file",
    )
    parser.add_argument(
        "--mix", metavar="FILE", type=Path, help="an exported network to take a part of"
    )
    parser.add_argument("--share", type=float, default=0.5, help="of the snapshot, with --mix")
    parser.add_argument("--calibrate", type=Path, metavar="FOLDER", help="photos, for int8")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.shape:
        student = Student(SHAPES[chosen.shape])
        load_folded(student, chosen.snapshot)
    else:
        student = read_snapshot(chosen.snapshot)
    if chosen.mix:
        other = Student(student.shape)
        load_folded(other, chosen.mix)
        student = mixed(student, other, chosen.share)
    model = to_onnx(student, name=chosen.name, revision=chosen.revision, side=chosen.side)
    path = chosen.out / f"{chosen.name}.onnx"
    onnx.save(model, path)
    halved = half_weights(model)
    in_bytes = chosen.weights_of and any(
        one.name.endswith(".i8") for one in onnx.load(chosen.weights_of).graph.initializer
    )
    if chosen.weights_of and not in_bytes:
        halved = share_weights(halved, chosen.weights_of)
    (chosen.out / f"{chosen.name}-f16.onnx").write_bytes(halved.SerializeToString())
    onnx.save(byte_weights(model), chosen.out / f"{chosen.name}-w8.onnx")
    if chosen.calibrate:
        side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        quantised = chosen.out / f"{chosen.name}-int8.onnx"
        quantise(path, quantised, _photos(chosen.calibrate, side))
        if in_bytes:
            onnx.save(share_kernels(onnx.load(quantised), chosen.weights_of), quantised)
    for file in sorted(chosen.out.glob(f"{chosen.name}*.onnx")):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
