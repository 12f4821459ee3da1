"""Train with a new variant of every photo in each epoch, made by eyespot's native loader.

    python examples/augment_pytorch.py FOLDER [EPOCHS]

FOLDER holds one folder of photos per label. A linear layer on shrunken pixels stands in for the
network, in PyTorch if it is there and in NumPy if not. The same seed gives the same photos in the
same epoch, for any number of threads.
"""

from __future__ import annotations

import sys

import numpy as np

from eyespot import Augmentation, DataSource, Preprocessing
from eyespot.loader import Loader

try:
    import torch
except ImportError:
    torch = None

SEED = 0


def main(folder: str, n_epochs: int) -> None:
    """Train a linear layer on variants of the photos in `folder`, and print its loss."""
    data = DataSource.labeled_directories(folder)
    preprocessing = Preprocessing(width=32, height=32)
    plan = Augmentation.photos()
    n_classes, n_inputs = len(data.classes), 3 * 32 * 32
    weights = np.zeros((n_inputs, n_classes), np.float32)
    layer = optimiser = None
    if torch is not None:
        layer = torch.nn.Linear(n_inputs, n_classes)
        optimiser = torch.optim.SGD(layer.parameters(), lr=1e-3)
    for epoch in range(n_epochs):
        order = np.random.default_rng((SEED, epoch)).permutation(len(data))
        paths = [data.paths[i] for i in order]
        losses = []
        with Loader(
            paths, preprocessing, batch_size=32, augmentation=plan, seed=SEED, epoch=epoch
        ) as loader:
            for batch in loader:
                targets = data.targets[order[batch.indices]]
                if layer is None:
                    losses.append(step(weights, batch.pixels.reshape(len(batch), -1), targets))
                    continue
                pixels = torch.from_dlpack(batch).flatten(1)  # on a GPU: .to("cuda")
                loss = torch.nn.functional.cross_entropy(layer(pixels), torch.as_tensor(targets))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}")


def step(weights: np.ndarray, pixels: np.ndarray, targets: np.ndarray) -> float:
    """Do one step of gradient descent in place and return the loss before it."""
    scores = pixels @ weights
    scores -= scores.max(axis=1, keepdims=True)
    probabilities = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = np.arange(len(targets))
    loss = -np.log(np.maximum(probabilities[rows, targets], 1e-12)).mean()
    probabilities[rows, targets] -= 1
    weights -= 1e-3 * pixels.T @ probabilities / len(targets)
    return float(loss)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/augment_pytorch.py FOLDER [EPOCHS]")
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 3)
