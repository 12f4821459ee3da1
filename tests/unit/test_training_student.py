"""The training recipe's network side: student, teachers, views, steps, restarts, exports."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from eyespot import backbones
from eyespot.network import read_network

if find_spec("torch") is None:
    pytest.skip("needs PyTorch, as the recipe's training step does", allow_module_level=True)
if find_spec("PIL") is None:
    pytest.skip("needs Pillow", allow_module_level=True)

import torch
from PIL import Image

from training import train as recipe
from training.augment import centre_view, draw_views, normalise, render, within
from training.export import (
    byte_weights,
    half_weights,
    quantise,
    share_kernels,
    share_weights,
    to_onnx,
)
from training.graph import OnnxNetwork
from training.plan import PRESETS, changed
from training.shards import ShardWriter, load_pictures
from training.student import (
    SHAPES,
    Student,
    fold,
    load_folded,
    measure_norms,
    read_snapshot,
)
from training.targets import Projection, StoredTargets, Teacher

TINY = SHAPES["tiny"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def outputs(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})


def trained_looking(shape=TINY):
    """Return a student whose norms are not the identity."""
    torch.manual_seed(0)
    student = Student(shape)
    for name, buffer in student.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)  # larger ones would leave features dead
        elif name.endswith("running_var"):
            buffer.uniform_(0.05, 0.2)
    return student.eval()


@torch.no_grad()
def test_a_folded_student_computes_the_same():
    student, images = trained_looking(), torch.rand(2, 3, 32, 32)
    assert torch.allclose(fold(student)(images), student(images), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny", "v0", "v1", "v2", "v3"])
def test_an_exported_student_computes_the_same_and_says_what_it_wants(name):
    student = trained_looking(SHAPES[name])
    model = to_onnx(student, name="net", revision=3, side=48)
    images = torch.rand(2, 3, 48, 48)
    (found,) = outputs(model, images)
    assert found.shape == (2, student.shape.n_features)
    assert np.allclose(found, student(images).numpy(), rtol=1e-3, atol=1e-4)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["eyespot.preprocessing"])["size"] == 48
    assert json.loads(metadata["eyespot.backbone"])["revision"] == 3
    for stored, size in ((half_weights(model), 0.6), (byte_weights(model), 0.4)):
        assert stored.ByteSize() < size * model.ByteSize()
        (rounded,) = outputs(stored, images)
        assert np.abs(rounded - found).mean() < 0.02 * np.abs(found).mean()


@torch.no_grad()
def test_halves_of_a_map_keep_what_lies_above_and_below_apart():
    student, images = trained_looking(SHAPES["v2"]), torch.rand(2, 3, 64, 64)
    whole = Student(SHAPES["v1"])
    whole.load_state_dict(student.state_dict())
    halves, means = student(images), whole.eval()(images)
    upper, lower = halves[:, 0:192:2], halves[:, 1:192:2]
    assert torch.allclose((upper**2 + lower**2) / 2, means[:, :96] ** 2, atol=1e-5)
    assert torch.equal(halves[:, 576:], means[:, 288:])
    images[:, :, 56:] = 0
    changed_below = student(images)
    assert torch.allclose(changed_below[:, 0:192:2], upper, atol=1e-5)
    assert not torch.allclose(changed_below[:, 1:192:2], lower, atol=1e-2)


@torch.no_grad()
def test_a_shipped_network_can_be_continued():
    path = backbones.embedded(0)[1]
    student = Student(SHAPES["v0"])
    load_folded(student, path)
    student.eval()
    images = torch.rand(4, 3, 144, 144)
    (wanted,) = outputs(onnx.load(path), images)
    assert np.allclose(student(images).numpy(), wanted, atol=1e-4)
    measure_norms(student, [images[:2], images[2:]])
    assert np.allclose(student(images).numpy(), wanted, atol=1e-3)
    student.train()
    # With the statistics of its inputs, training mode computes about what evaluation does.
    assert np.corrcoef(student(images).numpy().ravel(), wanted.ravel())[0, 1] > 0.99


@torch.no_grad()
@pytest.mark.parametrize("form", [lambda model: model, half_weights, byte_weights])
def test_an_export_is_read_back_however_its_weights_are_stored(tmp_path, form):
    model = form(to_onnx(trained_looking(), name="a", revision=1))
    onnx.save(model, tmp_path / "a.onnx")
    student, images = Student(TINY), torch.rand(2, 3, 32, 32)
    load_folded(student, tmp_path / "a.onnx")
    assert np.allclose(student.eval()(images).numpy(), outputs(model, images)[0], atol=1e-4)


@torch.no_grad()
def test_the_smaller_size_is_seen_with_the_same_weights():
    one = trained_looking()
    both = Student(dataclasses.replace(TINY, scales=2))
    both.load_state_dict(one.state_dict())
    images = torch.rand(2, 3, 32, 32)
    smaller = torch.nn.functional.avg_pool2d(images, 2)
    assert torch.equal(both.eval()(images), torch.cat([one(images), one(smaller)], dim=1))
    alone, twice = (to_onnx(student, name="a", revision=1) for student in (one, both))
    assert len(twice.graph.initializer) == len(alone.graph.initializer)


@torch.no_grad()
def test_a_network_of_eight_bits_is_read_back_to_half_a_level(tmp_path):
    both = trained_looking(dataclasses.replace(TINY, scales=2))
    model = to_onnx(both, name="a", revision=1)
    onnx.save(model, tmp_path / "a.onnx")
    batches = np.random.default_rng(0).normal(size=(8, 1, 3, 32, 32)).astype(np.float32)
    quantise(tmp_path / "a.onnx", tmp_path / "a8.onnx", iter(batches))
    found = Student(both.shape)
    load_folded(found, tmp_path / "a8.onnx")
    for pair, wanted in zip(found.convolutions(), fold(both).convolutions(), strict=True):
        level = wanted[0].weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 63  # weights of 7 bits
        assert ((pair[0].weight - wanted[0].weight).abs() <= 0.51 * level).all()
        assert torch.allclose(pair[1].bias, wanted[0].bias, atol=1e-2)


@torch.no_grad()
def test_an_int8_reading_takes_its_kernels_from_a_file_of_bytes_and_computes_the_same(tmp_path):
    other = tmp_path / "other.onnx"
    onnx.save(byte_weights(to_onnx(trained_looking(), name="other", revision=1)), other)
    both = Student(dataclasses.replace(TINY, scales=2))
    load_folded(both, other)
    onnx.save(to_onnx(both, name="a", revision=2), tmp_path / "a.onnx")
    batches = np.random.default_rng(0).normal(size=(8, 1, 3, 32, 32)).astype(np.float32)
    quantise(tmp_path / "a.onnx", tmp_path / "whole.onnx", iter(batches))
    whole = onnx.load(tmp_path / "whole.onnx")
    onnx.save(share_kernels(whole, other), tmp_path / "shared.onnx")
    assert (tmp_path / "shared.onnx").stat().st_size < whole.ByteSize()
    answers = [
        onnxruntime.InferenceSession(tmp_path / name).run(None, {"input": batches[0]})[0]
        for name in ("whole.onnx", "shared.onnx")
    ]
    assert np.array_equal(*answers)
    kernels = []
    for name in ("whole.onnx", "shared.onnx"):
        load_folded(again := Student(both.shape), tmp_path / name)
        kernels.append(torch.cat([pair[0].weight.flatten() for pair in again.convolutions()]))
    assert torch.equal(*kernels)
    with pytest.raises(ValueError, match=r"does not hold the weights stem\.weight"):
        share_kernels(whole, tmp_path / "a.onnx")


def test_a_second_reading_takes_its_weights_from_the_first_one_s_file(tmp_path):
    student, images = trained_looking(), torch.rand(2, 3, 32, 32)
    whole = half_weights(to_onnx(student, name="b", revision=1))
    onnx.save(half_weights(to_onnx(student, name="a", revision=0)), tmp_path / "a.onnx")
    path = tmp_path / "b.onnx"
    path.write_bytes(share_weights(whole, tmp_path / "a.onnx").SerializeToString())
    assert path.stat().st_size < 0.6 * whole.ByteSize()
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {"input": images.numpy()})
    assert np.array_equal(found, outputs(whole, images)[0])
    assert read_network(path).sha256 == hashlib.sha256(whole.SerializeToString()).hexdigest()
    other = half_weights(to_onnx(Student(TINY).eval(), name="c", revision=2))
    with pytest.raises(ValueError, match=r"does not hold the weights stem\.weight"):
        share_weights(other, tmp_path / "a.onnx")


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="other convolutions"):
        load_folded(Student(TINY), backbones.embedded(0)[1])


def small_teacher(path, n_features, *, logits, side=16):
    """Write a network of the operators that classifiers are made of."""
    random = np.random.default_rng(n_features)

    def weight(name, *shape):
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)

    weights = [
        weight("w0", 4, 3, 3, 3),
        weight("w1", 4, 1, 3, 3),
        weight("w2", n_features, 8, 1, 1),
        numpy_helper.from_array(np.float32(0), "low"),
        numpy_helper.from_array(np.float32(6), "high"),
        weight("w3", 1000, n_features),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Clip", ["a", "low", "high"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Concat", ["b", "d"], ["e"], axis=1),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["f", "w2"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Flatten", ["h"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "w3"], ["logits"], transB=1),
    ]
    outs = {"embedding": n_features} | ({"logits": 1000} if logits else {})
    graph = helper.make_graph(
        nodes if logits else nodes[:-1],
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n]) for k, n in outs.items()],
        weights if logits else weights[:-1],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


@torch.no_grad()
def test_a_teacher_computes_what_its_file_says(tmp_path):
    model = small_teacher(tmp_path / "t.onnx", 5, logits=True)
    images = torch.randn(3, 3, 16, 16)
    found = OnnxNetwork(tmp_path / "t.onnx", ["embedding", "logits"])(images)
    for got, wanted in zip(found, outputs(model, images), strict=True):
        assert np.allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_teacher_with_an_unknown_operator_or_tensor_is_refused(tmp_path):
    model = small_teacher(tmp_path / "t.onnx", 5, logits=True)
    with pytest.raises(ValueError, match="no tensor nothing"):
        OnnxNetwork(tmp_path / "t.onnx", ["nothing"])
    model.graph.node[3].op_type = "Tanh"
    onnx.save(model, tmp_path / "t.onnx")
    with pytest.raises(ValueError, match="cannot run the operators Tanh"):
        OnnxNetwork(tmp_path / "t.onnx", ["embedding"])


def test_the_centre_view_changes_nothing_and_views_stay_inside():
    pictures = torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8)
    seen = render(pictures, centre_view(4, pictures.device), 20)
    assert torch.allclose(seen, pictures.float() / 255, atol=1e-5)
    generator = torch.Generator().manual_seed(0)
    views = draw_views(500, least_area=0.3, jitter=0.2, generator=generator)
    corners = views.theta[:, :, :2].abs().sum(dim=2) + views.theta[:, :, 2].abs()
    assert corners.max() <= 1 + 1e-5
    assert (views.theta[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.1)
    seen = render(pictures.repeat(125, 1, 1, 1), views, 12)
    assert seen.shape == (500, 3, 12, 12)
    assert 0 <= seen.min() <= seen.max() <= 1
    assert abs(float(normalise(torch.full((1, 3, 2, 2), 0.45)).mean())) < 0.3


def test_a_view_of_a_box_is_that_part_of_the_picture():
    pictures = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    boxes = torch.tensor([[0.5, 0.0, 0.5, 0.5], [0.0, 0.25, 1.0, 0.5]])
    views = within(centre_view(2, pictures.device), boxes)
    seen = render(pictures, views, 10)
    assert torch.allclose(seen[0], pictures[0, :, :10, 10:].float() / 255, atol=1e-4)
    half = render(pictures[1:, :, 5:15], centre_view(1, pictures.device), 10)
    assert torch.allclose(seen[1:], half, atol=1e-4)


def test_blur_and_noise_are_as_strong_as_told_and_leave_the_others_alone():
    pictures = torch.full((3, 3, 40, 40), 128, dtype=torch.uint8)
    pictures[:, :, :, 20:] = 200
    views = centre_view(3, pictures.device)
    blur, noise = torch.tensor([0, 1.5, 0]), torch.tensor([0, 0, 0.05])
    seen = render(pictures, dataclasses.replace(views, blur=blur, noise=noise, seed=5), 40)
    plain = render(pictures, views, 40)
    assert torch.equal(seen[0], plain[0])
    # Across an edge, a Gaussian blur is the normal distribution's integral, half a pixel off.
    step = (seen[1, 0, 20, 20] - 128 / 255) / (72 / 255)
    assert float(step) == pytest.approx(0.5 * (1 + math.erf(0.5 / 1.5 / math.sqrt(2))), abs=0.02)
    assert torch.allclose(seen[1, :, :, :14], plain[1, :, :, :14], atol=1e-4)
    assert float((seen[2] - plain[2]).std()) == pytest.approx(0.05, rel=0.05)
    generator = torch.Generator().manual_seed(0)
    options = {"least_area": 1.0, "jitter": 0.0, "generator": generator}
    views = draw_views(2000, **options, blur=2, noise=0.1)
    for amounts, most in ((views.blur, 2), (views.noise, 0.1)):
        assert float((amounts > 0).float().mean()) == pytest.approx(0.25, abs=0.04)
        assert 0.9 * most < float(amounts.max()) <= most
    assert float(views.clear().blur.sum() + views.clear().noise.sum()) == 0


def jpeg(number, side):
    """Return a smooth random picture as a file."""
    small = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Return the command line of a tiny run: shards of 40 pictures, and two teachers."""
    shards, teachers = tmp_path / "shards", tmp_path / "teachers"
    shards.mkdir()
    teachers.mkdir()
    entries = []
    for name, side, labelled in (("small", 24, True), ("large", 40, False)):
        writer = ShardWriter(shards, name, 1 << 20)
        for i in range(20):
            writer.add(jpeg(i, side), i % 2 if labelled else -1, i)
        writer.flush()
        entries.append({"name": name, "side": side, "n_pictures": 20, "files": writer.files})
    manifest = {"labels": ["x/a", "x/b"], "sources": entries}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    small_teacher(teachers / "m.onnx", 12, logits=False)
    small_teacher(teachers / "s.onnx", 8, logits=True)
    team = (
        Teacher(file="m.onnx", side=16, n_axes=6, has_logits=False),
        Teacher(file="s.onnx", side=16, n_axes=4, has_logits=True),
    )
    for module in ("train", "teach"):
        monkeypatch.setattr(f"training.{module}.TEACHERS", team)
    monkeypatch.setattr(recipe, "_SAMPLE", 256)
    return ["--shards", str(shards), "--teachers", str(teachers), "--preset", "tiny"]


def run(folder, words, *more):
    assert recipe.main([str(folder), *words, "--device", "cpu", "--threads", "1", *more]) == 0
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_run_that_was_stopped_ends_like_one_that_was_not(bench, tmp_path):
    words = [*bench, "--set", "images=128"]
    whole = run(tmp_path / "whole", words)
    run(tmp_path / "parts", words, "--stop-after-s", "1e-9")
    first = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert 0 < first["progress"]["images"] < 128
    parts = run(tmp_path / "parts", words)
    assert parts["progress"]["images"] == whole["progress"]["images"] == 128
    for name, wanted in whole["average"].items():
        assert torch.allclose(parts["average"][name], wanted, rtol=1e-4, atol=1e-5), name
    log = (tmp_path / "parts" / "log.csv").read_text().splitlines()
    assert log[0].startswith("images,seconds,embedding,logits,labels")
    assert len(log) == 3
    student = read_snapshot(max((tmp_path / "whole" / "snapshots").glob("*.pt")))
    assert student(torch.rand(1, 3, 32, 32)).shape == (1, TINY.n_features)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_brings_the_loss_down(bench, tmp_path, n_threads):
    assert bench
    trainer = recipe.Trainer(
        tmp_path / "run",
        changed(PRESETS["tiny"], ["images=1000", "peak_rate=6e-3"]),
        shards=tmp_path / "shards",
        teachers=tmp_path / "teachers",
        targets=None,
        device=torch.device("cpu"),
        n_threads=n_threads,
    )
    losses = []
    for _ in range(60):
        parts = trainer.step()
        losses.append(sum(float(parts[name]) for name in ("embedding", "logits", "labels")))
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def teach_pictures(bench, out, monkeypatch, *more):
    from training import teach

    monkeypatch.setattr("sys.argv", ["teach", *bench[:4], "--out", str(out), *more])
    assert teach.main() == 0
    return StoredTargets.load(out)


def test_threads_that_share_a_batch_take_the_same_step(bench, tmp_path):
    """The same views fill each thread's half here: so even the norms see the same."""
    assert bench
    weights = {}
    for n_threads in (1, 2):
        trainer = recipe.Trainer(
            tmp_path / f"run{n_threads}",
            changed(PRESETS["tiny"], ["images=1000", "batch=64", "blur=0", "noise=0"]),
            shards=tmp_path / "shards",
            teachers=tmp_path / "teachers",
            targets=None,
            device=torch.device("cpu"),
            n_threads=n_threads,
        )
        trainer.precision = torch.float32
        before = torch.cat([one.detach().flatten() for one in trainer.student.parameters()])
        views = trainer._draw_batch(32)
        trainer._draw_batch = lambda n, same=views: recipe._Batch(
            same.group, same.chosen.repeat(n // 32), repeat_views(same.views, n // 32)
        )
        trainer.step()
        # PyTorch's fused optimiser takes the layout of the gradients for that of the weights.
        wide = [one for one in trainer.student.parameters() if one.ndim == 4 and one.shape[2] > 1]
        assert all(one.stride() == one.grad.stride() for one in wide)
        after = torch.cat([one.detach().flatten() for one in trainer.student.parameters()])
        weights[n_threads] = after - before
    assert torch.nn.functional.cosine_similarity(weights[1], weights[2], dim=0) > 0.98


def repeat_views(views, times):
    values = {field.name: getattr(views, field.name) for field in dataclasses.fields(views)}
    tensors = {name: one for name, one in values.items() if torch.is_tensor(one)}
    repeated = {name: torch.cat([one] * times) for name, one in tensors.items()}
    return dataclasses.replace(views, **repeated)


def test_stored_targets_take_the_teachers_place(bench, tmp_path, monkeypatch):
    out = tmp_path / "targets.npz"
    stored = teach_pictures(bench, out, monkeypatch, "--sources", "large")
    assert stored.numbers.tolist() == list(range(20, 40))
    # The first run's parts are taken as they are; those of the other source come to them.
    for part in out.with_suffix(".parts").glob("*.npz"):
        part.touch()
        before = part.stat().st_mtime_ns
    stored = teach_pictures(bench, out, monkeypatch, "--small-views", "3")
    assert part.stat().st_mtime_ns == before
    assert stored.numbers.tolist() == sorted([*range(40)] * 3)
    assert [one.shape[1] for one in stored.projected] == [6, 4]
    few = teach_pictures(bench, out, monkeypatch, "--small-views", "3", "--axes", "2")
    assert all(
        np.array_equal(one, all_axes[:, :2])
        for one, all_axes in zip(few.projected, stored.projected, strict=True)
    )
    plain = teach_pictures(bench, out, monkeypatch, "--small-views", "3", "--whiten", "0")
    spread = plain.projected[0].astype(np.float64).std(axis=0)
    assert spread[0] > 1.2 > 0.8 > spread[-1]
    monkeypatch.setattr(recipe, "_HELD_OUT", 10)
    state = run(tmp_path / "run", [*bench, "--set", "images=32"], "--targets", str(out))
    assert state["progress"]["images"] == 32
    assert not (tmp_path / "run" / "projections.npz").exists()
    held = (tmp_path / "run" / "held_out.csv").read_text().splitlines()
    assert held[0] == "images,seconds,held_out_24px,held_out_40px"
    assert all(float(one) > 0 for one in held[-1].split(",")[2:])


def test_a_stored_view_is_what_the_teacher_saw(bench, tmp_path, monkeypatch):
    """A teacher whose answer is the mean colour must agree with what the student is shown."""
    weights = [numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"]),
            helper.make_node("ReduceMean", ["a"], ["embedding"], axes=[2, 3], keepdims=0),
        ],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 48, 48])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "teachers" / "mean.onnx")
    team = (Teacher(file="mean.onnx", side=48, n_axes=3, has_logits=False),)
    monkeypatch.setattr("training.teach.TEACHERS", team)
    monkeypatch.setattr("training.teach.whitening", lambda _rows, n, power: identity(n))
    stored = teach_pictures(bench, tmp_path / "targets.npz", monkeypatch, "--small-views", "4")
    assert stored.logits.shape == (len(stored.numbers), 0)
    groups = recipe._groups(
        load_pictures(tmp_path / "shards", n_threads=1).values(),
        stored,
        torch.device("cpu"),
        held_out=False,
    )
    assert sum(map(len, groups)) == 4 * 39  # the picture 0 is held out
    for group in groups:
        chosen = torch.arange(len(group))
        seen = group.render(chosen, centre_view(len(chosen), chosen.device), 48).mean(dim=(2, 3))
        assert torch.allclose(seen, group.targets[0].float(), atol=0.05)


def identity(n):
    return Projection(mean=np.zeros(n, np.float32), axes=np.eye(n, dtype=np.float32))


def test_a_continued_student_begins_with_regressions_that_suit_it(bench, tmp_path, monkeypatch):
    out = tmp_path / "targets.npz"
    teach_pictures(bench, out, monkeypatch)
    start = tmp_path / "start.onnx"
    onnx.save(half_weights(to_onnx(trained_looking(), name="s", revision=0)), start)
    words = [*bench, "--targets", str(out), "--set", "images=16"]
    errors = {}
    for name, more in (("scratch", []), ("continued", ["--set", f"start={start}"])):
        run(tmp_path / name, [*words, *more])
        first = (tmp_path / name / "held_out.csv").read_text().splitlines()[1]
        errors[name] = float(first.split(",")[-1])
    assert errors["continued"] < errors["scratch"]


def test_still_norms_and_a_loss_against_drift_hold_what_the_start_knows(
    bench, tmp_path, monkeypatch
):
    out = tmp_path / "targets.npz"
    teach_pictures(bench, out, monkeypatch)
    start, student = tmp_path / "start.onnx", trained_looking()
    images = torch.rand(8, 3, 32, 32)
    onnx.save(to_onnx(student, name="s", revision=0), start)
    wanted = torch.from_numpy(outputs(onnx.load(start), images)[0])
    words = [*bench, "--targets", str(out), "--set", f"start={start}", "--set", "images=480"]
    drifts = []
    for keep in (0, 100):
        folder = tmp_path / f"keep-{keep}"
        run(folder, [*words, "--set", "still=true", "--set", f"keep={keep}"])
        first, *_, last = sorted((folder / "snapshots").glob("*.pt"))
        with torch.no_grad():
            assert torch.allclose(read_snapshot(first)(images), wanted, rtol=0.02, atol=0.02)
            drifts.append(float((read_snapshot(last)(images) - wanted).square().mean()))
    assert drifts[1] < 0.5 * drifts[0]


def test_a_run_of_another_plan_is_refused(bench, tmp_path, capsys):
    run(tmp_path / "run", [*bench, "--set", "images=16"])
    words = [str(tmp_path / "run"), *bench, "--device", "cpu", "--set", "images=32"]
    assert recipe.main(words) == 2
    assert "another plan" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no 'size'; it has shape, start"):
        changed(PRESETS["tiny"], ["size=3"])


def test_settings_take_their_field_s_kind():
    plan = changed(
        PRESETS["gpu"],
        ["sides=64,96", "peak_rate=1e-2", "compiled=false", "images=10", "start=x.onnx"],
    )
    assert (plan.sides, plan.peak_rate, plan.compiled) == ((64, 96), 0.01, False)
    assert (plan.images, plan.start) == (10, "x.onnx")
    assert recipe._schedule(0.0) == 0.01
    assert recipe._schedule(0.03) == pytest.approx(1, abs=0.01)
    assert recipe._schedule(1.0) == pytest.approx(0.01)
