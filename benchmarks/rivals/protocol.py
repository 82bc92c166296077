"""The protocol of all rivals: the work on the command line, one line a round as output.

Both are JSON.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn


def work() -> SimpleNamespace:
    """Return the work.

    `benchmarks.work.Work` explains the fields; `data` is the file of arrays.
    """
    return SimpleNamespace(**json.loads(sys.argv[1]))


def load(file: str, split: str) -> tuple[Tensor, Tensor]:
    """Load all images of a split, ready to train on.

    Returns:
        Images, float32 [N, 3, 32, 32], and labels, int64 [N].
    """
    with np.load(file, allow_pickle=False) as arrays:
        pixels = torch.from_numpy(arrays[f"{split}_pixels"])
        labels = torch.from_numpy(arrays[f"{split}_labels"])
    return pixels.float().div_(255).sub_(0.5).div_(0.25), labels


def assign_images(images: int, stores: int, seed: int) -> list[Tensor]:
    """Assign images to stores: shuffled, in parts of equal size.

    Returns:
        Of each store, the positions of its images, int64.
    """
    order = np.random.default_rng(seed).permutation(images)
    return [torch.from_numpy(part) for part in np.array_split(order, stores)]


def is_evaluated(number: int, task: SimpleNamespace) -> bool:
    """Return whether round `number` (from 1) ends with an evaluation."""
    return number % task.every == 0 or number == task.rounds


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of the images that the model classifies correctly."""
    model.eval()
    right = sum(
        int((model(a).argmax(1) == b).sum())
        for a, b in zip(x.split(1000), y.split(1000), strict=True)
    )
    return right / len(y)


def report(number: int, images: int, seconds: float, score: float | None) -> None:
    """Print the line of a finished round.

    Args:
        number: the round, from 1
        images: images trained on
        seconds: seconds from sending the model to having the new one
        score: accuracy on the test images (0..1), or None
    """
    line = {"round": number, "images": images, "seconds": seconds, "accuracy": score}
    print(json.dumps(line), flush=True)
