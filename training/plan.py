"""What a training run does: presets, which `--set NAME=VALUE` changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PRESETS", "Plan", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run does; `--set NAME=VALUE` changes a field of a preset.

    Attributes
    ----------
    shape : str
        The student, by its name in `student.SHAPES`.
    start : str
        An exported network whose weights to begin with, or none.
    images : int
        Images that the schedule is made for.
    batch : int
        Images a step.
    sides : tuple of int
        Pixels of the student's input over the run, in equal shares.
    peak_rate, weight_decay : float
        Of AdamW. The rate rises over the first 3 % and falls as a cosine to a hundredth.
    least_area : float
        Smallest crop, as a part of the picture.
    jitter : float
        Largest change of brightness, contrast and saturation, as a factor.
    blur, noise : float
        Largest standard deviations of what disturbs one of four views each: pixels, and levels of
        256. Stored targets and teachers are those of the undisturbed view.
    average_images : int
        Images over which the weights are averaged, exponentially.
    embedding, logits, labels : float
        Shares of the losses: squared error of the embeddings, divergence of the class scores,
        cross-entropy of the labels.
    temperature : float
        Of the class scores.
    smoothing : float
        Of the labels.
    keep : float
        Share of another loss: squared error from what the start's embedding of the undisturbed view
        was, each feature by its deviation. It holds what the start knows while it learns the rest.
    still : bool
        Whether norms keep the start's statistics, folded into the convolutions; else each batch is
        normed by itself, though it holds pictures of one size and the network meets all of them.
    small_share : float
        Chance of a batch of pictures of less than 128 pixels, beside their share of all.
    compiled : bool
        Whether to compile the networks (a GPU gains, the first minute is lost).
    seed : int
    """

    shape: str = "v1"
    start: str = ""
    images: int = 1_000_000
    batch: int = 64
    sides: tuple[int, ...] = (112, 128)
    peak_rate: float = 1e-3
    weight_decay: float = 0.02
    least_area: float = 0.35
    jitter: float = 0.3
    blur: float = 1.5
    noise: float = 12.0
    average_images: int = 100_000
    embedding: float = 1.0
    logits: float = 0.5
    labels: float = 0.5
    temperature: float = 2.0
    smoothing: float = 0.1
    keep: float = 0.0
    still: bool = False
    small_share: float = 1.0
    compiled: bool = False
    seed: int = 0


PRESETS: Final[dict[str, Plan]] = {
    "gpu": Plan(
        shape="large",
        images=12_000_000,
        batch=1024,
        sides=(96, 112, 128),
        peak_rate=3e-3,
        weight_decay=0.05,
        least_area=0.25,
        average_images=1_000_000,
        small_share=0.5,
        compiled=True,
    ),
    "cpu": Plan(
        shape="v2",
        images=260_000,
        sides=(128, 128, 144),
        peak_rate=2e-4,
        weight_decay=0.0,
        least_area=0.7,
        jitter=0.05,
        average_images=20_000,
        embedding=5.0,
        labels=0.0,
        keep=2.0,
        still=True,
    ),
    "tiny": Plan(
        shape="tiny",
        images=2_000,
        batch=16,
        sides=(32,),
        least_area=0.6,
        average_images=200,
    ),
}


def changed(plan: Plan, settings: list[str]) -> Plan:
    """Return the plan with the settings of the command line."""
    kinds = {one.name: one.type for one in dataclasses.fields(Plan)}
    values: dict[str, Any] = {}
    for text in settings:
        name, _, value = text.partition("=")
        if name not in kinds:
            message = f"the plan has no {name!r}; it has {', '.join(kinds)}"
            raise ValueError(message)
        if name == "sides":
            values[name] = tuple(int(one) for one in value.split(","))
        elif kinds[name] == "bool":
            values[name] = value.lower() in {"1", "true", "yes"}
        else:
            values[name] = {"int": int, "float": float, "str": str}[str(kinds[name])](value)
    return dataclasses.replace(plan, **values)
