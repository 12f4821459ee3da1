"""torchvision's transforms v2 on byte tensors, channels first, in one thread.

Exposure and noise, which it has for neither levels nor bytes, are written in PyTorch.
"""

from __future__ import annotations

REQUIREMENTS = ("torchvision==0.28.0", "torch==2.13.0", "numpy==2.4.6", "pillow==13.0.0")


def Peer(options):
    import torch
    from augment_common import Augmenter, exposure_table
    from augment_with_pil import read_upright

    torch.set_num_threads(1)
    try:
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as F
    except RuntimeError:
        # Beside a PyTorch without CUDA its own operators do not load, and the import stops at their
        # names. The transforms need none of them.
        import sys

        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        operators = torch.library.Library("torchvision", "DEF")
        operators.define(f"nms{boxes}")
        operators.define(f"qnms{boxes}")
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as F

    class Torchvision(Augmenter):
        def __init__(self, options):
            super().__init__(options)
            self.photos = [
                torch.from_numpy(photo).permute(2, 0, 1).contiguous() for photo in self.photos
            ]
            self.taps = 2 * round(3 * options["sigma_px"]) + 1

        def read(self, path):
            return read_upright(path)

        def flip(self, photo):
            return F.horizontal_flip(photo)

        def rotation(self, photo):
            return F.rotate(photo, self.options["degrees"], InterpolationMode.BILINEAR)

        def crop(self, photo):
            left, top, width, height = self.box()
            return F.resized_crop(photo, top, left, height, width, [self.side, self.side])

        def blur(self, photo):
            return F.gaussian_blur(photo, [self.taps] * 2, [self.options["sigma_px"]] * 2)

        def exposure(self, photo):
            table = torch.from_numpy(exposure_table(self.options["stops"]))
            return torch.take(table, photo.long())

        def noise(self, photo):
            noise = torch.randn(photo.shape).mul_(self.options["noise"])
            return noise.add_(photo).round_().clamp_(0, 255).to(torch.uint8)

        def chain(self, photo):
            photo = self.rotation(self.crop(photo))
            return self.flip(self.noise(self.exposure(self.blur(photo))))

        def all(self):
            return torch.stack([self.work(photo) for photo in self.photos])

        def outputs(self):
            made = self.all()
            photos = torch.stack(self.photos)
            return {
                "pixels": made.permute(0, 2, 3, 1).contiguous().numpy(),
                "photos": photos.permute(0, 2, 3, 1).contiguous().numpy(),
            }

    return Torchvision(options)
