"""Views of stored pictures, a batch at a time, on the device where the pictures are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch.nn import functional

__all__ = ["MEAN", "STD", "Views", "centre_view", "draw_views", "normalise", "render", "within"]

MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
DISTURBED: Final = 0.25  # of the views, by each of blur and noise
BLUR_REACH: Final = 4  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What is seen of each picture of a batch.

    Attributes
    ----------
    theta : float tensor of shape (n, 2, 3)
        From the corners of the view to those of the picture, both -1 to 1.
    gain, contrast, saturation : float tensor of shape (n, 1, 1, 1)
        Factors of the colours; 1 changes nothing.
    blur, noise : float tensor of shape (n,)
        Standard deviations: of a blur in pixels of the view, and of the noise of each pixel and
        channel, of which the full range is 1. Only the student's view has them.
    seed : int
        Which noise.
    """

    theta: torch.Tensor
    gain: torch.Tensor
    contrast: torch.Tensor
    saturation: torch.Tensor
    blur: torch.Tensor
    noise: torch.Tensor
    seed: int = 0

    def clear(self) -> Views:
        """Return the same views without blur and noise."""
        return replace(self, blur=torch.zeros_like(self.blur), noise=torch.zeros_like(self.noise))


def draw_views(
    n: int,
    *,
    least_area: float,
    jitter: float,
    generator: torch.Generator,
    blur: float = 0,
    noise: float = 0,
) -> Views:
    """Draw random crops of at least `least_area` of the square, mirrored or not, and colours.

    One view of four is blurred, by up to `blur` pixels, and one of four has up to `noise`.
    """
    device = generator.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(n, device=device).uniform_(low, high, generator=generator)

    area = uniform(least_area, 1)
    aspect = torch.exp(uniform(-0.28, 0.28))  # 3/4 to 4/3
    width = torch.sqrt(area * aspect).clamp(max=1)
    height = torch.sqrt(area / aspect).clamp(max=1)
    left = uniform(-1, 1) * (1 - width)
    top = uniform(-1, 1) * (1 - height)
    sign = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 2] = width * sign, left
    theta[:, 1, 1], theta[:, 1, 2] = height, top
    factors = [uniform(1 - jitter, 1 + jitter).view(n, 1, 1, 1) for _ in range(3)]
    zero = torch.zeros(n, device=device)
    amounts = [zero, zero]
    seed = 0
    if blur or noise:
        amounts = [
            torch.where(uniform(0, 1) < DISTURBED, uniform(0, most), zero) for most in (blur, noise)
        ]
        seed = int(torch.randint(2**62, (), generator=generator, device=device))
    return Views(
        theta=theta,
        gain=factors[0],
        contrast=factors[1],
        saturation=factors[2],
        blur=amounts[0],
        noise=amounts[1],
        seed=seed,
    )


def centre_view(n: int, device: torch.device) -> Views:
    """Return the view that changes nothing."""
    theta = torch.tensor([[1.0, 0, 0], [0, 1, 0]], device=device).expand(n, 2, 3)
    one = torch.ones(n, 1, 1, 1, device=device)
    zero = torch.zeros(n, device=device)
    return Views(theta=theta, gain=one, contrast=one, saturation=one, blur=zero, noise=zero)


def within(views: Views, boxes: torch.Tensor) -> Views:
    """Return the views as they lie inside of boxes of the pictures.

    Parameters
    ----------
    views : Views
        Of the boxes.
    boxes : float tensor of shape (n, 4)
        Left, top, width and height, as parts of the picture.
    """
    theta = views.theta.clone()
    size = boxes[:, 2:, None]
    theta *= size
    theta[:, :, 2] += 2 * boxes[:, :2] + boxes[:, 2:] - 1
    return replace(views, theta=theta)


def render(pictures: torch.Tensor, views: Views, side: int) -> torch.Tensor:
    """Return what is seen, as floats of 0 to 1 of shape (n, 3, side, side).

    Parameters
    ----------
    pictures : uint8 tensor of shape (n, 3, height, width)
    views : Views
    side : int
        Pixels; a view that is shrunk to less than half of its pixels aliases.
    """
    pixels = pictures.float().div_(255)
    grid = functional.affine_grid(views.theta, [len(pixels), 3, side, side], align_corners=False)
    seen = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    grey = seen.mean(dim=1, keepdim=True)
    seen = grey + (seen - grey) * views.saturation
    level = seen.mean(dim=(1, 2, 3), keepdim=True)
    seen = ((level + (seen - level) * views.contrast) * views.gain).clamp_(0, 1)
    _disturb(seen, views)
    return seen


def _disturb(images: torch.Tensor, views: Views) -> None:
    """Blur and add noise, in place, where the views say so."""
    chosen = views.blur.nonzero()[:, 0]
    if len(chosen):
        images[chosen] = _blurred(images[chosen], views.blur[chosen])
    chosen = views.noise.nonzero()[:, 0]
    if len(chosen):
        generator = torch.Generator(device=images.device).manual_seed(views.seed)
        some = images[chosen]
        noise = torch.randn(some.shape, generator=generator, device=images.device)
        images[chosen] = (some + noise * views.noise[chosen].view(-1, 1, 1, 1)).clamp_(0, 1)


def _blurred(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Return each image with the Gaussian blur of its own standard deviation, in pixels."""
    place = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=images.device)
    kernels = torch.exp(-0.5 * (place / sigmas[:, None].clamp_min(0.05)) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    planes = images.reshape(1, -1, *images.shape[2:])
    across = functional.conv2d(
        functional.pad(planes, (BLUR_REACH, BLUR_REACH, 0, 0), mode="replicate"),
        kernels[:, None, None, :],
        groups=len(kernels),
    )
    down = functional.conv2d(
        functional.pad(across, (0, 0, BLUR_REACH, BLUR_REACH), mode="replicate"),
        kernels[:, None, :, None],
        groups=len(kernels),
    )
    return down.reshape(images.shape)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Return images of 0 to 1 as the networks want them, by ImageNet's mean and deviation."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std
