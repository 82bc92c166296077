"""Photos without a class teach, too: a network learns to tell by how many quarter turns a photo was turned.

Gidaris, Singh and Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations", Equations 2
and 3: with R(x, y) the photo x after y quarter turns, y uniform in {0, 1, 2, 3}, minimise -log p(y | R(x, y)). To tell
that, a network must see what is on a photo and how it stands. It takes no pairs and no large batches (SimCLR's
negatives), so a store with few photos can do it, and it is a classification like any other: whatever trains, travels,
judges and reports classes does the same with turns.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.images.folder.photo_folder import Folder
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import TURNS, ModelSpec

Pose = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a batch becomes before it is normalised: (pixels, targets) to (pixels, targets)."""


def turn(pixels: Tensor, turns: Tensor) -> Tensor:
    """Photos [B, S, S, C], each after its number of quarter turns anticlockwise (int64 [B], 0 to 3)."""
    turned = pixels.clone()
    for number in range(1, len(TURNS)):
        places = (turns == number).nonzero().flatten()
        turned[places] = pixels[places].rot90(number, dims=(1, 2))
    return turned


def posing(spec: ModelSpec, generator: np.random.Generator) -> Pose:
    """How a network is trained: on photos as they are, or, if it is to tell turns, after turns drawn anew each time."""

    def pose(pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.from_numpy(generator.integers(len(TURNS), size=len(targets))).to(targets.device)
        return turn(pixels, drawn), drawn

    return pose if spec.tells_turns else lambda pixels, targets: (pixels, targets)


def as_labelled(spec: ModelSpec, pixels: Tensor, targets: Tensor) -> Tensor:
    """How a network is judged: on photos as they are, or, if it is to tell turns, turned as their labels say."""
    return turn(pixels, targets) if spec.tells_turns else pixels


def assign(images: Images) -> Images:
    """The same photos, whose label is a turn: which, depends on nothing but a photo's row."""
    return replace(images, labels=torch.arange(len(images.pixels), device=images.labels.device) % len(TURNS))


def to_turns(folder: Folder) -> Folder:
    """All photos of a folder, with and without a class, to be told by their turns."""
    merged = {}
    for split, images in folder.splits.items():
        rows = torch.cat([images.rows, folder.unlabelled[split].rows]).sort().values
        merged[split] = assign(replace(images, rows=rows))
    none = {split: images.select(torch.empty(0, dtype=torch.int64)) for split, images in merged.items()}
    return replace(folder, classes=TURNS, splits=merged, unlabelled=none)
