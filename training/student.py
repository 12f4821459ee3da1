"""The student network: dense convolutions and ReLU, in residual blocks.

Dense 3 x 3 and 1 x 1 convolutions gain most from int8 on processors, depthwise ones nothing; and
Conv, Relu, Add and a mean are all that an exporter has to know. README.md has the measurements.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx
import torch
from torch import nn
from torch.nn import functional

from training.graph import stored_weights
from training.halves import half_window

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "SHAPES",
    "Shape",
    "Student",
    "fold",
    "load_folded",
    "measure_norms",
    "mixed",
    "read_snapshot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a student.

    Attributes
    ----------
    side : int
        Pixels of the input it is made for.
    stem : int
        Channels of the first convolution, which halves the input.
    widths, depths : tuple of int
        Channels and number of residual blocks of each stage; each stage halves the map.
    levels : int
        Of how many stages, the last ones, the embedding joins the means.
    halves : int
        Of how many of these, the first ones, it takes the means of the upper and the lower half of
        the map (which share the middle row of an odd one) instead of the whole map's.
    root : bool
        Whether the embedding is the square root of the means, which tames the few large ones.
    scales : int
        At how many sizes, each half of the one before, it looks at the image with the same weights.
        The embedding joins what it sees, the largest size first.
    """

    side: int
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    levels: int = 1
    halves: int = 0
    root: bool = False
    scales: int = 1

    @property
    def n_features(self) -> int:
        """Length of the embedding."""
        joined = self.widths[-self.levels :]
        return self.scales * (sum(joined) + sum(joined[: self.halves]))


#: Students by name: `v0` to `v3` are those of the embedded revisions, `large` is for a GPU.
SHAPES: Final[dict[str, Shape]] = {
    "v0": Shape(side=144, stem=32, widths=(48, 96, 192, 384), depths=(1, 1, 1, 1)),
    "v1": Shape(
        side=144, stem=32, widths=(48, 96, 192, 384), depths=(1, 1, 1, 1), levels=3, root=True
    ),
    "v2": Shape(
        side=144,
        stem=32,
        widths=(48, 96, 192, 384),
        depths=(1, 1, 1, 1),
        levels=3,
        halves=2,
        root=True,
    ),
    "v3": Shape(
        side=192,
        stem=32,
        widths=(48, 96, 192, 384),
        depths=(1, 1, 1, 1),
        levels=3,
        halves=2,
        root=True,
        scales=2,
    ),
    "large": Shape(
        side=128, stem=32, widths=(64, 128, 256, 384), depths=(1, 1, 2, 2), levels=3, root=True
    ),
    "tiny": Shape(
        side=32, stem=8, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), levels=2, root=True
    ),
}


class _ConvNorm(nn.Sequential):
    """A convolution and its batch normalisation."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(n_out),
        )


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 one where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.a = _ConvNorm(n_in, n_out, 3, stride)
        self.b = _ConvNorm(n_out, n_out, 3, 1)
        changes = stride != 1 or n_in != n_out
        self.short = _ConvNorm(n_in, n_out, 1, stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the next feature map."""
        y = self.b(functional.relu(self.a(x)))
        return functional.relu(y + self.short(x))


class Student(nn.Module):
    """Images of shape (n, 3, side, side) to embeddings of shape (n, n_features)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.stem = _ConvNorm(3, shape.stem, 3, 2)
        blocks, n_in, ends = [], shape.stem, []
        for width, depth in zip(shape.widths, shape.depths, strict=True):
            for i in range(depth):
                blocks.append(Block(n_in, width, 2 if i == 0 else 1))
                n_in = width
            ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.joined = tuple(ends[-shape.levels :])  # the blocks that the embedding is made of
        self.halved = self.joined[: shape.halves]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""
        means = self._means(images)
        for _ in range(1, self.shape.scales):
            images = functional.avg_pool2d(images, 2)
            means += self._means(images)
        joined = torch.cat(means, dim=1)
        if not self.shape.root:
            return joined
        root = torch.sqrt(joined)
        if not self.training:
            return root
        # The root's slope has no bound at 0, where features that are nearly dead would drown the
        # others in rounding errors: the value is the root's, the slope that of a tamer function.
        tame = torch.sqrt(joined + 1e-3)
        return tame + (root - tame).detach()

    def _means(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the means of the maps that the embedding joins, at one size."""
        x = functional.relu(self.stem(images))
        means = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.halved:
                window = half_window(*x.shape[2:])
                means.append(functional.avg_pool2d(x.float(), *window).flatten(1))
            elif i in self.joined:
                means.append(x.float().mean(dim=(2, 3)))
        return means

    def convolutions(self) -> list[_ConvNorm]:
        """Return the convolutions with their norms, in the order in which a graph lists them."""
        found = [self.stem]
        for block in self.blocks:
            assert isinstance(block, Block)
            found += [block.a, block.b]
            if isinstance(block.short, _ConvNorm):
                found.append(block.short)
        return found


def fold(student: Student) -> Student:
    """Return a copy for inference: each norm multiplied into its convolution.

    Its outputs are those of ``student.eval()`` up to rounding.
    """
    folded = copy.deepcopy(student).eval()
    for pair in folded.convolutions():
        convolution, norm = pair[0], pair[1]
        assert isinstance(convolution, nn.Conv2d)
        if isinstance(norm, nn.Identity):
            continue
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None
        assert norm.running_mean is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        convolution.weight = nn.Parameter(
            (convolution.weight * factor[:, None, None, None]).detach()
        )
        convolution.bias = nn.Parameter((norm.bias - norm.running_mean * factor).detach())
        pair[1] = nn.Identity()
    return folded


@torch.no_grad()
def mixed(student: Student, other: Student, share: float) -> Student:
    """Return a folded student between two, with `share` of the first one's weights."""
    between = fold(student)
    for weight, rest in zip(between.parameters(), fold(other).parameters(), strict=True):
        weight.lerp_(rest, 1 - share)
    return between


def _place(name: str) -> tuple[int, str]:
    """Return what sorts an export's convolutions, which quantising may list in another order."""
    block, _, part = name.removeprefix("block").partition(".")
    return (int(block), part) if block.isdecimal() else (-1, "")  # the stem; revision 0 has others


def load_folded(student: Student, path: Path) -> None:
    """Give a student the weights of an exported one, to train a shipped network further.

    Its norms then do nothing but add the bias; `measure_norms` makes them work.

    Raises
    ------
    ValueError
        If the network in the file has another shape.
    """
    graph = onnx.load(path).graph
    stored = stored_weights(graph)
    # The smaller sizes of the image are seen with the same weights.
    named = {node.name: node for node in graph.node if node.op_type == "Conv"}
    nodes = [named[name] for name in sorted(named, key=_place) if not name.startswith("smaller")]
    layers = [[torch.from_numpy(stored[name]) for name in node.input[1:3]] for node in nodes]
    pairs = student.convolutions()
    if [one[0].shape for one in layers] != [pair[0].weight.shape for pair in pairs]:
        message = f"{path} has other convolutions than the student"
        raise ValueError(message)
    with torch.no_grad():
        for (weight, bias), pair in zip(layers, pairs, strict=True):
            norm = pair[1]
            assert isinstance(norm, nn.BatchNorm2d)
            pair[0].weight.copy_(weight)
            norm.weight.fill_(1)
            norm.bias.copy_(bias)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)


@torch.no_grad()
def measure_norms(student: Student, batches: Iterable[torch.Tensor]) -> None:
    """Give the norms the statistics of real images without changing what the network computes.

    A norm that only adds a bias b becomes one with the mean m and the variance v of what reaches
    it, the scale sqrt(v) and the shift b + m.
    """
    norms = [pair[1] for pair in student.convolutions()]
    sums: dict[nn.Module, list[torch.Tensor]] = {norm: [] for norm in norms}

    def record(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].float()
        sums[norm].append(torch.stack([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))]))

    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    student.eval()
    for images in batches:
        student(images)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        assert isinstance(norm, nn.BatchNorm2d)
        mean, square = torch.stack(sums[norm]).mean(dim=0)
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias.add_((mean - norm.running_mean) * factor)
        variance = (square - mean.square()).clamp_min(1e-6)
        norm.weight.copy_(factor * torch.sqrt(variance + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def read_snapshot(path: Path) -> Student:
    """Return the student of a snapshot that `training.train` wrote."""
    facts = torch.load(path, map_location="cpu", weights_only=True)
    student = Student(SHAPES[facts["shape"]])
    if facts.get("folded"):
        student = fold(student)
    student.load_state_dict(
        {
            name: value.float() if value.is_floating_point() else value
            for name, value in facts["state"].items()
        }
    )
    return student.eval()
