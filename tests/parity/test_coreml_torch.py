"""The interpreter of Core ML files against files that eyespot's translator had no part in.

coremltools' own converter makes them of PyTorch networks; what PyTorch computes is the measure. A
mistake that translator and interpreter shared would show here.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from saved_models import LABELS, pixels

if find_spec("coremltools") is None or find_spec("torch") is None:
    pytest.skip("needs coremltools and torch", allow_module_level=True)

import torch
from torch import nn

from eyespot.export.coreml import CoreMLRunner
from eyespot.export.coreml.tools import load_coremltools, quiet

SIDE = 32
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and of the converter


class Residual(nn.Module):
    def __init__(self, inner, skip=None):
        super().__init__()
        self.inner, self.skip = inner, skip or nn.Identity()

    def forward(self, x):
        return self.inner(x) + self.skip(x)


class Gate(nn.Module):
    def __init__(self, channels, act):
        super().__init__()
        self.inner = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), act(), nn.Conv2d(4, channels, 1)
        )
        self.last = nn.Hardsigmoid() if act is nn.ReLU else nn.Sigmoid()

    def forward(self, x):
        return x * self.last(self.inner(x))


class ChannelsLast(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    def forward(self, x):
        n, c, h, w = 1, 16, 8, 8
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        q, k, v = (
            part.reshape(1, 16, self.heads, self.width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        scores = (q @ k.transpose(-2, -1)) * (self.width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(1, 16, self.width)
        return x + self.out(mixed)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


def conv(c_in, c_out, kernel=3, stride=1, groups=1, act=nn.ReLU):
    layers = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    return nn.Sequential(*layers, act()) if act else nn.Sequential(*layers)


def ending(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(LABELS)))


NETWORKS = {
    "resnet": lambda: nn.Sequential(
        conv(3, 16, 7, 2),
        nn.MaxPool2d(3, 2, 1),
        Residual(nn.Sequential(conv(16, 16), conv(16, 16, act=None))),
        Residual(
            nn.Sequential(conv(16, 32, 3, 2), conv(32, 32, act=None)), conv(16, 32, 1, 2, act=None)
        ),
        ending(32),
    ),
    "mobilenet_v3": lambda: nn.Sequential(
        conv(3, 16, 3, 2, act=nn.Hardswish),
        conv(16, 16, 5, 2, 16),
        Gate(16, nn.ReLU),
        conv(16, 24, 1, act=nn.Hardswish),
        ending(24),
    ),
    "efficientnet": lambda: nn.Sequential(
        conv(3, 16, 3, 2, act=nn.SiLU),
        conv(16, 16, 3, 1, 16, act=nn.SiLU),
        Gate(16, nn.SiLU),
        Residual(conv(16, 16, 1, act=None)),
        ending(16),
    ),
    "alexnet": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 5, 2),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
        nn.PReLU(16),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.ELU(),
        ending(16),
    ),
    "shufflenet": lambda: nn.Sequential(conv(3, 16, 3, 4), Shuffle(), conv(16, 16, 1), ending(16)),
    "convnext": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        ChannelsLast(nn.LayerNorm(16)),
        Residual(
            nn.Sequential(
                nn.Conv2d(16, 16, 7, padding=3, groups=16),
                ChannelsLast(
                    nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
                ),
            )
        ),
        ending(16),
    ),
    "vit": lambda: nn.Sequential(
        nn.Conv2d(3, 24, 8, 8),
        Tokens(),
        Attention(24, 3),
        Attention(24, 3),
        nn.LayerNorm(24),
        nn.Flatten(),
        nn.Linear(24 * 16, len(LABELS)),
    ),
    "resizing": lambda: nn.Sequential(
        conv(3, 8, 3, 4),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        conv(8, 8, 3, 2),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.InstanceNorm2d(8, affine=True),
        conv(8, 8),
        ending(8),
    ),
}


@pytest.mark.parametrize("form", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_coremltools_own_converter_give_what_torch_computes(name, form, tmp_path):
    torch.manual_seed(1)
    network = nn.Sequential(NETWORKS[name](), nn.Softmax(dim=1))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
    network.eval()
    images = pixels(3)
    scaled = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 64 - 2)
    ct = load_coremltools()
    options = {"compute_precision": ct.precision.FLOAT32} if form == "mlprogram" else {}
    with torch.no_grad():
        expected = torch.cat([network(image[None]) for image in scaled]).numpy()
        traced = torch.jit.trace(network, scaled[:1])
    with quiet():
        image = ct.ImageType(name="image", shape=(1, 3, SIDE, SIDE), scale=1 / 64, bias=[-2.0] * 3)
        made = ct.convert(
            traced,
            inputs=[image],
            convert_to=form,
            classifier_config=ct.ClassifierConfig(list(LABELS)),
            skip_model_load=True,
            **options,
        )
        path = tmp_path / ("m.mlpackage" if form == "mlprogram" else "m.mlmodel")
        made.save(str(path))
        del made
    got = CoreMLRunner(path).predict_proba(images)
    error = np.abs(got - expected).max()
    print(f"{name} {form}: {error:.1e}")
    assert np.ptp(expected, axis=0).max() > 1e-3
    assert error < 2e-5  # the converter's default passes move normalisation by up to 5e-6
