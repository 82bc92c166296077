"""Whether models are right about held-out images, image by image."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.images.types import Images
from common.metrics import Counts
from common.prediction import log_probabilities
from common.training import Network


@dataclass(frozen=True)
class Judged:
    """A model on one set of images. right: bool [n], in the order of the images."""

    right: NDArray[np.bool_]
    counts: Counts


@dataclass(frozen=True)
class Gain:
    """How much more often one model is right than another on the same images, in percentage points.

    margin: half the width of a 95% interval, by the adjusted Wald interval for paired proportions (Bonett and Price
            2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data")
    """

    points: float
    margin: float

    @property
    def is_clear(self) -> bool:
        """Whether chance alone would hardly make such a difference."""
        return abs(self.points) > self.margin


def judge(network: Network, sets: Mapping[str, Images], batch_size: int) -> dict[str, Judged]:
    """The network's present weights on each set."""
    return {
        name: judged(log_probabilities(network, images, batch_size), images.targets().cpu())
        for name, images in sets.items()
    }


def judged(log_probabilities: Tensor, targets: Tensor) -> Judged:
    """What a model said (float32 [N, C]) of images whose classes are `targets` (int64 [N])."""
    classes, guesses = log_probabilities.shape[1], log_probabilities.argmax(dim=1)
    cells = torch.bincount(targets * classes + guesses, minlength=classes**2)
    losses = -log_probabilities.gather(1, targets.view(-1, 1)).double().sum()
    counts = Counts(cells.view(classes, classes).numpy(), float(losses))
    return Judged((guesses == targets).numpy(), counts)


def gain(before: Judged, after: Judged) -> Gain | None:
    """What `after` gains over `before`; None without images.

    With b images of n that only `after` has right, and c that only `before` has: points = (b - c) / n, and
    margin = 1.96 sqrt((p + q - (p - q)^2) / (n + 2)) with p = (b + 1) / (n + 2), q = (c + 1) / (n + 2); in percent.
    """
    count = len(before.right)
    if not count:
        return None
    won, lost = int((after.right & ~before.right).sum()), int((before.right & ~after.right).sum())
    p, q = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    return Gain(100 * (won - lost) / count, 196 * sqrt((p + q - (p - q) ** 2) / (count + 2)))


def mean_gain(gains: list[Gain]) -> Gain:
    """The mean over stores, each counting once; its margin follows from theirs, as stores hold different images."""
    margin = sqrt(sum(each.margin**2 for each in gains)) / len(gains)
    return Gain(sum(each.points for each in gains) / len(gains), margin)
