"""Feed PyTorch from eyespot's native loader, without copying a pixel.

    python examples/feed_pytorch.py FOLDER

Each batch is one block of memory that native threads decoded into; ``torch.from_dlpack`` wraps it
as a tensor. Without PyTorch the same is shown with NumPy, which speaks the same protocol.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from eyespot.loader import Loader
from eyespot.options import Preprocessing

try:
    import torch
except ImportError:
    torch = None

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main(folder: str) -> None:
    """Load every photo below `folder` and print the mean of each colour channel."""
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    preprocessing = Preprocessing(width=224, height=224)
    total = np.zeros(3)
    count = 0
    start = time.perf_counter()
    with Loader(paths, preprocessing, batch_size=32) as loader:
        for batch in loader:
            for error in batch.errors:
                print(f"skipped: {error}", file=sys.stderr)
            if torch is None:
                tensor = np.from_dlpack(batch)
                address = tensor.ctypes.data
            else:
                tensor = torch.from_dlpack(batch)  # on a GPU: .to("cuda", non_blocking=True)
                address = tensor.data_ptr()
            assert address == batch.pixels.ctypes.data, "the pixels were copied"
            total += np.asarray(tensor.mean((2, 3)).sum(0))
            count += len(batch)
    seconds = time.perf_counter() - start
    library = "NumPy" if torch is None else "PyTorch"
    print(f"{count} images in {seconds:.2f} s, handed to {library} without a copy")
    if count:
        print("mean of the normalised channels (R, G, B):", np.round(total / count, 3))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/feed_pytorch.py FOLDER")
    main(sys.argv[1])
