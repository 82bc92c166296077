"""What every rival is told and tells: the work as JSON on its command line, one JSON line a round
on its output.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn


def work() -> SimpleNamespace:
    """The work: see `benchmarks.work.Work` for what the fields mean; `data` is the file of
    arrays.
    """
    return SimpleNamespace(**json.loads(sys.argv[1]))


def load(file: str, split: str) -> tuple[Tensor, Tensor]:
    """All images of a split, ready to train on: float32 [N, 3, 32, 32], and labels, int64 [N]."""
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
    """Share of the images that the model gets right."""
    model.eval()
    right = sum(
        int((model(a).argmax(1) == b).sum())
        for a, b in zip(x.split(1000), y.split(1000), strict=True)
    )
    return right / len(y)


def report(number: int, images: int, seconds: float, score: float | None) -> None:
    """Round `number` is done: images trained on, seconds from sending the model to having the new
    one.
    """
    line = {"round": number, "images": images, "seconds": seconds, "accuracy": score}
    print(json.dumps(line), flush=True)
