"""Train the student: ``python -m training.train RUN --shards DIR --teachers DIR --preset gpu``.

RUN is a folder. What is there is continued: `checkpoint.pt` holds everything that a restart needs,
`log.csv` one line each few seconds, `snapshots/` averaged weights at growing distances, from which
`training.curve` makes the curve of accuracy against cost. The schedule follows the number of images
seen, so neither a pause nor a restart changes it.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.augment import Views, centre_view, draw_views, normalise, render, within
from training.plan import PRESETS, Plan, changed
from training.shards import load_pictures, read_manifest
from training.student import SHAPES, Student, fold, load_folded, measure_norms
from training.targets import TEACHERS, Projection, StoredTargets, whitening

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from training.graph import OnnxNetwork
    from training.shards import Pictures

__all__ = ["Trainer", "main"]

_SAMPLE: Final = 16  # pictures that the projections are measured on
_LOG_S: Final = 20.0
_SNAPSHOT_GROWTH: Final = 1.5  # images seen from one snapshot to the next
_HELD_OUT: Final = 50  # one picture of so many is not trained on, where targets are stored
_FIRST_FIT: Final = 8192  # views that the regressions of a continued student begin with


class _Heads(nn.Module):
    """What hangs on the embedding while it is trained: one regression a teacher, and classes."""

    def __init__(self, n_features: int, n_axes: Sequence[int], n_labels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features)
        self.embeddings = nn.ModuleList(nn.Linear(n_features, n) for n in n_axes)
        self.logits = nn.Linear(n_features, 1000)
        self.labels = nn.Linear(n_features, max(n_labels, 1))


@dataclass(frozen=True, slots=True)
class _Group:
    """Views of the pictures of one storage size, on the device.

    Without stored targets a view is a picture; with them a picture may have several.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    pictures: torch.Tensor  # of each view, which picture
    boxes: torch.Tensor  # of each view, as `StoredTargets.boxes`
    targets: tuple[torch.Tensor, ...]  # projected embeddings and logits, where they are stored

    def __len__(self) -> int:
        return len(self.pictures)

    def render(self, chosen: torch.Tensor, views: Views, side: int) -> torch.Tensor:
        """Return what is seen of some views, normalised for the networks."""
        seen = render(self.pixels[self.pictures[chosen]], within(views, self.boxes[chosen]), side)
        return normalise(seen).contiguous(memory_format=torch.channels_last)


class _Batch(NamedTuple):
    """Some views of one group, and what is seen of each."""

    group: _Group
    chosen: torch.Tensor
    views: Views


_Gradients = tuple["torch.Tensor | None", ...]


@dataclass(slots=True)
class _Progress:
    """How far a run is."""

    images: int = 0
    seconds: float = 0.0
    next_snapshot: int = 0  # the start itself is one


class Trainer:
    """One run, from its folder.

    Parameters
    ----------
    run : path
        The folder; what is there is continued.
    plan : Plan
        What to do. A run that is continued must have the same.
    shards, teachers : path
        Folders of the pictures and of the teachers' ONNX files.
    targets : path or None
        Stored targets; without them the teachers run beside the student.
    device : torch.device
    sources : sequence of str
        Which sources; all if empty.
    limit : int
        At most so many pictures of each source.
    n_threads : int
        Threads that decode the shards, and on a processor that compute a share of each batch each.
        They do not wait for each other inside a share: convolutions split over threads do, busily,
        and on a machine that has other work spend most of their time so.

    Raises
    ------
    ValueError
        If the folder holds a run of another plan.
    """

    def __init__(
        self,
        run: Path,
        plan: Plan,
        *,
        shards: Path,
        teachers: Path,
        targets: Path | None,
        device: torch.device,
        sources: Sequence[str] = (),
        limit: int = 0,
        n_threads: int = 2,
    ) -> None:
        self.run, self.plan, self.device = run, plan, device
        self.n_threads = n_threads if device.type == "cpu" and not plan.compiled else 1
        self._pool = None
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(
                n_threads, initializer=torch.set_num_threads, initargs=(1,)
            )
        run.mkdir(parents=True, exist_ok=True)
        self._check_plan()
        torch.manual_seed(plan.seed)
        self.precision = _precision(device)
        stored = StoredTargets.load(targets) if targets is not None else None
        groups = load_pictures(shards, sources=sources, n_threads=n_threads, limit=limit)
        self.groups = _groups(groups.values(), stored, device, held_out=False)
        self.held_out = (
            [] if stored is None else _groups(groups.values(), stored, device, held_out=True)
        )
        self.generator = torch.Generator(device=device).manual_seed(plan.seed)
        n_labels = len(read_manifest(shards)["labels"])
        self.student = Student(SHAPES[plan.shape]).to(device, memory_format=torch.channels_last)
        n_axes = [one.n_axes for one in TEACHERS]
        if stored is not None:
            n_axes = [one.shape[1] for one in stored.projected]
        self.heads = _Heads(self.student.shape.n_features, n_axes, n_labels).to(device)
        self.teachers: list[OnnxNetwork] = []
        self.projections: list[tuple[torch.Tensor, torch.Tensor]] = []
        if stored is None:
            self._open_teachers(teachers)
        checkpoint = run / "checkpoint.pt"
        if plan.start:
            load_folded(self.student, Path(plan.start))
        self.origin = fold(self.student).requires_grad_(False)
        if plan.still:
            self.student = fold(self.student)
        elif plan.start and not checkpoint.exists():
            measure_norms(self.student, self._plain_batches(8))
        self.parameters = [*self.student.parameters(), *self.heads.parameters()]
        self.optimiser = _optimiser([self.student, self.heads], plan)
        self.progress = _Progress()
        if checkpoint.exists():
            self.average = copy.deepcopy(self.student)
            self.average_heads = copy.deepcopy(self.heads)
            self._restore(checkpoint)
        else:
            if plan.start and stored is not None:
                self._fit_heads()
            self.average = copy.deepcopy(self.student)
            self.average_heads = copy.deepcopy(self.heads)
        self.average.eval().requires_grad_(False)
        self.average_heads.eval().requires_grad_(False)
        self._compute = (
            torch.compile(self.student, dynamic=False) if plan.compiled else self.student
        )

    def _check_plan(self) -> None:
        path = self.run / "plan.json"
        text = json.dumps(dataclasses.asdict(self.plan), indent=1) + "\n"
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            message = f"{self.run} holds a run of another plan; see its plan.json"
            raise ValueError(message)

    def _open_teachers(self, folder: Path) -> None:
        from training.graph import OnnxNetwork

        for teacher in TEACHERS:
            network = OnnxNetwork(folder / teacher.file, teacher.outputs)
            network.eval().requires_grad_(False)
            self.teachers.append(network.to(self.device, memory_format=torch.channels_last))
        for i, how in enumerate(self._projections()):
            mean = torch.from_numpy(how.mean).to(self.device)
            axes = torch.from_numpy(how.axes).to(self.device)
            self.projections.append((mean, axes))
            assert axes.shape[1] == TEACHERS[i].n_axes

    def _projections(self) -> list[Projection]:
        """Return how embeddings become targets: as the run has it, else measured now."""
        path = self.run / "projections.npz"
        if not path.exists():
            samples: list[list[np.ndarray]] = [[] for _ in TEACHERS]
            seen, generator = 0, torch.Generator(device=self.device).manual_seed(self.plan.seed)
            while seen < _SAMPLE:
                group, chosen = self._draw(256, generator)
                views = centre_view(len(chosen), self.device)
                for rows, outputs in zip(samples, self._teach(group, chosen, views), strict=True):
                    rows.append(outputs[0].float().cpu().numpy())
                seen += len(chosen)
            arrays = {}
            for i, (rows, teacher) in enumerate(zip(samples, TEACHERS, strict=True)):
                how = whitening(np.concatenate(rows), teacher.n_axes)
                arrays |= {f"mean_{i}": how.mean, f"axes_{i}": how.axes}
            np.savez(path, **arrays)
        with np.load(path) as arrays:
            return [
                Projection(mean=arrays[f"mean_{i}"], axes=arrays[f"axes_{i}"])
                for i in range(len(TEACHERS))
            ]

    def _plain_batches(self, count: int) -> Iterator[torch.Tensor]:
        for _ in range(count):
            group, chosen = self._draw(self.plan.batch, self.generator)
            views = centre_view(len(chosen), self.device)
            yield group.render(chosen, views, self.plan.sides[-1])

    @torch.no_grad()
    def _fit_heads(self) -> None:
        """Begin with the regressions that suit the student, lest bad ones spoil it at first."""
        rows: list[torch.Tensor] = []
        wanted: list[list[torch.Tensor]] = [[] for _ in self.heads.embeddings]
        self.student.eval()
        for _ in range(-(-_FIRST_FIT // self.plan.batch)):
            group, chosen = self._draw(self.plan.batch, self.generator)
            views = centre_view(len(chosen), self.device)
            with self._autocast():
                embedding = self.student(group.render(chosen, views, self.plan.sides[0]))
            rows.append(embedding.float())
            for targets, one in zip(wanted, group.targets, strict=False):
                targets.append(one[chosen].float())
        x = torch.cat(rows)
        norm = self.heads.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(x.mean(dim=0))
        norm.running_var.copy_(x.var(dim=0))
        x = (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
        ridge = 0.01 * len(x) * torch.eye(x.shape[1], device=self.device)
        for head, targets in zip(self.heads.embeddings, wanted, strict=True):
            assert isinstance(head, nn.Linear)
            y = torch.cat(targets)
            head.bias.copy_(y.mean(dim=0))
            head.weight.copy_(torch.linalg.solve(x.T @ x + ridge, x.T @ (y - head.bias)).T)

    def _draw(self, n: int, generator: torch.Generator) -> tuple[_Group, torch.Tensor]:
        """Draw a group, by its share of the views, and views of it."""
        shares = torch.tensor(
            [
                len(group) * (self.plan.small_share if group.pixels.shape[2] < 128 else 1)
                for group in self.groups
            ]
        )
        place = torch.rand((), generator=generator, device=self.device).cpu() * shares.sum()
        index = int((shares.cumsum(0) <= place).sum().clamp(max=len(shares) - 1))
        group = self.groups[index]
        chosen = torch.randint(len(group), (n,), generator=generator, device=self.device)
        return group, chosen

    @torch.no_grad()
    def _teach(
        self, group: _Group, chosen: torch.Tensor, views: Views
    ) -> list[tuple[torch.Tensor, ...]]:
        """Return the teachers' outputs for the same crops and colours, at their own size."""
        found = []
        for teacher, network in zip(TEACHERS, self.teachers, strict=True):
            with self._autocast():
                found.append(network(group.render(chosen, views.clear(), teacher.side)))
        return found

    def _autocast(self) -> torch.autocast:
        enabled = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _targets(
        self, group: _Group, chosen: torch.Tensor, views: Views
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the whitened embeddings of the teachers, and class scores."""
        if group.targets:
            rows = [one[chosen].float() for one in group.targets]
            return rows[:-1], rows[-1]
        outputs = self._teach(group, chosen, views)
        projected = [
            (one[0].float() - mean) @ axes
            for one, (mean, axes) in zip(outputs, self.projections, strict=True)
        ]
        return projected, next(one[1].float() for one in outputs if len(one) > 1)

    def _draw_batch(self, n: int) -> _Batch:
        group, chosen = self._draw(n, self.generator)
        views = draw_views(
            n,
            least_area=self.plan.least_area,
            jitter=self.plan.jitter,
            blur=self.plan.blur,
            noise=self.plan.noise / 255,
            generator=self.generator,
        )
        return _Batch(group, chosen, views)

    def loss(self, batch: _Batch, side: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch and the parts of it."""
        plan, (group, chosen, views) = self.plan, batch
        projected, scores = self._targets(group, chosen, views)
        images = group.render(chosen, views, side)
        with self._autocast():
            embedding = self._compute(images)
        embedding = embedding.float()
        drift = torch.zeros((), device=self.device)
        if plan.keep:
            with torch.no_grad(), self._autocast():
                before = self.origin(group.render(chosen, views.clear(), side))
            drift = self._drift(embedding, before.float())
        embedding = self.heads.norm(embedding)
        error = _regression_error(self.heads, embedding, projected)
        divergence = torch.zeros((), device=self.device)
        if scores.shape[1]:
            soft = functional.log_softmax(self.heads.logits(embedding) / plan.temperature, dim=1)
            wanted = functional.log_softmax(scores / plan.temperature, dim=1)
            divergence = functional.kl_div(soft, wanted, reduction="batchmean", log_target=True)
        labels = group.labels[group.pictures[chosen]]
        entropy = functional.cross_entropy(
            self.heads.labels(embedding),
            labels,
            ignore_index=-1,
            label_smoothing=plan.smoothing,
            reduction="sum",
        ) / (labels >= 0).sum().clamp(min=1)
        total = plan.embedding * error + plan.logits * divergence + plan.labels * entropy
        total = total + plan.keep * drift
        parts = {"embedding": error, "logits": divergence, "labels": entropy, "drift": drift}
        return total, {name: part.detach() for name, part in parts.items()}

    def _drift(self, embedding: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return the mean squared change of the features, each by its variance."""
        norm = self.heads.norm
        assert norm.running_var is not None
        # Not through the norm, whose trained scale could shrink what is measured.
        return ((embedding - before).square() / (norm.running_var + norm.eps)).mean()

    def _gradients(self, batch: _Batch, side: int) -> tuple[_Gradients, dict[str, torch.Tensor]]:
        total, parts = self.loss(batch, side)
        found = torch.autograd.grad(total, self.parameters, allow_unused=True)
        return found, parts

    def step(self) -> dict[str, torch.Tensor]:
        """Take one step; return the parts of the loss."""
        plan, progress = self.plan, self.progress
        done = progress.images / plan.images
        rate = plan.peak_rate * _schedule(done)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        side = plan.sides[min(int(done * len(plan.sides)), len(plan.sides) - 1)]
        self.student.train()
        self.heads.train()
        if plan.still:
            self.heads.norm.eval()
        sizes = [len(one) for one in torch.arange(plan.batch).chunk(self.n_threads)]
        batches = [self._draw_batch(n) for n in sizes]
        compute = map if self._pool is None else self._pool.map
        results = list(compute(self._gradients, batches, [side] * len(batches)))
        for i, parameter in enumerate(self.parameters):
            # Sums keep the layout of the weights in memory, which the fused optimiser relies on.
            total = None
            for n, (found, _) in zip(sizes, results, strict=True):
                if (one := found[i]) is not None:
                    share = one * (n / plan.batch)
                    total = share if total is None else total + share
            parameter.grad = total
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimiser.step()
        progress.images += plan.batch
        # Early on the average reaches no further back than a tenth of what was seen.
        reach = min(plan.average_images, 1 + progress.images / 10)
        for mean, now in ((self.average, self.student), (self.average_heads, self.heads)):
            _move(mean, now, min(1.0, plan.batch / reach))
        names = ("embedding", "logits", "labels", "drift")
        means = {name: torch.stack([parts[name] for _, parts in results]).mean() for name in names}
        return means | {"rate": torch.tensor(rate), "side": torch.tensor(float(side))}

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Return the averaged student's error of the embeddings on the pictures held out."""
        errors = {}
        for group in self.held_out:
            total = 0.0
            for chosen in torch.arange(len(group), device=self.device).split(self.plan.batch):
                views = centre_view(len(chosen), self.device)
                with self._autocast():
                    embedding = self.average(group.render(chosen, views, self.plan.sides[-1]))
                embedding = self.average_heads.norm(embedding.float())
                wanted = [one[chosen].float() for one in group.targets[:-1]]
                error = _regression_error(self.average_heads, embedding, wanted)
                total += float(error) * len(chosen)
            errors[f"held_out_{group.pixels.shape[2]}px"] = total / len(group)
        return errors

    def save(self) -> None:
        """Write the checkpoint, aside first."""
        part = self.run / "checkpoint.pt.part"
        torch.save(
            {
                "student": self.student.state_dict(),
                "average": self.average.state_dict(),
                "average_heads": self.average_heads.state_dict(),
                "heads": self.heads.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "progress": dataclasses.asdict(self.progress),
            },
            part,
        )
        part.replace(self.run / "checkpoint.pt")

    def _restore(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name in ("student", "average", "average_heads", "heads", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())
        self.progress = _Progress(**state["progress"])

    def snapshot(self) -> None:
        """Write the averaged weights as float16, named by the images seen."""
        folder = self.run / "snapshots"
        folder.mkdir(exist_ok=True)
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in self.average.state_dict().items()
        }
        facts = {"shape": self.plan.shape, "folded": self.plan.still, "state": state}
        facts |= dataclasses.asdict(self.progress)
        torch.save(facts, folder / f"{self.progress.images:010}.pt")
        if self.held_out:
            self._write("held_out.csv", self.judge())

    def train(self, *, stop_after_s: float, checkpoint_s: float) -> bool:
        """Train until the schedule ends, or the time is up; tell whether it ended."""
        began = time.monotonic()
        before = self.progress.seconds
        logged = saved = began
        sums: dict[str, list[torch.Tensor]] = {}
        while self.progress.images < self.plan.images:
            for name, value in self.step().items():
                sums.setdefault(name, []).append(value)
            now = time.monotonic()
            self.progress.seconds = before + now - began
            if self.progress.images >= self.progress.next_snapshot:
                self.snapshot()
                grown = int(max(10_000, self.progress.next_snapshot) * _SNAPSHOT_GROWTH)
                self.progress.next_snapshot = max(grown, self.progress.images)
            if now - logged >= _LOG_S:
                self._log(sums)
                sums, logged = {}, now
            if now - saved >= checkpoint_s:
                self.save()
                saved = now
            if stop_after_s and now - began >= stop_after_s:
                break
        if sums:
            self._log(sums)
        self.save()
        self.snapshot()
        return self.progress.images >= self.plan.images

    def _log(self, sums: dict[str, list[torch.Tensor]]) -> None:
        self._write(
            "log.csv", {name: float(torch.stack(values).mean()) for name, values in sums.items()}
        )

    def _write(self, name: str, values: dict[str, float]) -> None:
        """Append what was found at this place of the run to one of its tables."""
        row: dict[str, Any] = {
            "images": self.progress.images,
            "seconds": round(self.progress.seconds, 1),
        }
        row |= {key: f"{value:.5g}" for key, value in values.items()}
        path = self.run / name
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def _regression_error(
    heads: _Heads, embedding: torch.Tensor, wanted: list[torch.Tensor]
) -> torch.Tensor:
    """Return the error of the teachers' embeddings, predicted from the normed one."""
    errors = [
        functional.smooth_l1_loss(head(embedding), target)
        for head, target in zip(heads.embeddings, wanted, strict=True)
    ]
    return torch.stack(errors).mean()


def _precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device computes in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _groups(
    stored_pictures: Iterable[Pictures],
    stored: StoredTargets | None,
    device: torch.device,
    *,
    held_out: bool,
) -> list[_Group]:
    """Put pictures on the device; with stored targets only those that have some."""
    made = []
    for pictures in stored_pictures:
        numbers, keep = pictures.numbers, np.arange(len(pictures.numbers))
        rows = keep
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(keep), 1))
        targets: tuple[torch.Tensor, ...] = ()
        if stored is not None:
            wanted = (numbers % _HELD_OUT == 0) == held_out
            keep = np.flatnonzero(wanted & np.isin(numbers, stored.numbers))
            views = np.flatnonzero(np.isin(stored.numbers, numbers[keep]))
            rows = np.searchsorted(numbers[keep], stored.numbers[views])
            boxes = stored.boxes[views]
            arrays = (*stored.projected, stored.logits)
            targets = tuple(torch.from_numpy(one[views]).to(device) for one in arrays)
        if len(keep) == 0:
            continue
        pixels = pictures.pixels if len(keep) == len(numbers) else pictures.pixels[keep]
        made.append(
            _Group(
                pixels=torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2),
                labels=torch.from_numpy(pictures.labels[keep]).to(device),
                pictures=torch.from_numpy(rows).to(device),
                boxes=torch.from_numpy(boxes).to(device),
                targets=targets,
            )
        )
    return made


def _optimiser(modules: list[nn.Module], plan: Plan) -> torch.optim.Optimizer:
    decayed, free = [], []
    for module in modules:
        for parameter in module.parameters():
            (decayed if parameter.ndim > 1 else free).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": plan.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        lr=plan.peak_rate,
        fused=True,
    )


def _schedule(done: float) -> float:
    """Return the part of the peak rate at a part of the run."""
    if done < 0.03:
        return max(done / 0.03, 0.01)
    return float(0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(done, 1.0))))


@torch.no_grad()
def _move(average: nn.Module, student: nn.Module, share: float) -> None:
    """Move the averaged weights and statistics by a share towards the student's."""
    pairs = zip(average.state_dict().values(), student.state_dict().values(), strict=True)
    for mean, now in pairs:
        if mean.is_floating_point():
            mean.lerp_(now.to(mean.dtype), share)
        else:
            mean.copy_(now)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True, help="folder of the ONNX files")
    parser.add_argument("--targets", type=Path, help="what training.teach wrote")
    parser.add_argument("--preset", choices=sorted(PRESETS), required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: PyTorch's")
    parser.add_argument("--sources", nargs="*", default=[], help="all, if none is named")
    parser.add_argument("--limit", type=int, default=0, help="at most so many of each source")
    parser.add_argument("--stop-after-s", type=float, default=0, help="stop, to be continued")
    parser.add_argument("--checkpoint-s", type=float, default=120)
    parser.add_argument("--name", default="", help="what to call this process; not used")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    chosen = _arguments(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    try:
        trainer = Trainer(
            chosen.run,
            changed(PRESETS[chosen.preset], chosen.set),
            shards=chosen.shards,
            teachers=chosen.teachers,
            targets=chosen.targets,
            device=torch.device(chosen.device),
            sources=chosen.sources,
            limit=chosen.limit,
            n_threads=chosen.threads or torch.get_num_threads(),
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    sizes = ", ".join(f"{len(one)} of {one.pixels.shape[2]} px" for one in trainer.groups)
    print(f"{sizes}; {trainer.precision}; {trainer.progress.images} images seen", flush=True)
    ended = trainer.train(stop_after_s=chosen.stop_after_s, checkpoint_s=chosen.checkpoint_s)
    print("the schedule has ended" if ended else "stopped, to be continued", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
