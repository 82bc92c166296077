"""A task for photos without a class: a network learns to tell by how many quarter turns a photo was
turned.

Gidaris, Singh and Komodakis 2018, "Unsupervised Representation Learning by Predicting Image
Rotations", Equations 2 and 3: with R(x, y) the photo x after y quarter turns, y uniform in {0, 1,
2, 3}, minimise -log p(y | R(x, y)). For this, a network must see the object on a photo and its
orientation. The task needs no pairs and no large batches (SimCLR's negatives), so a store with few
photos can do it. It is a classification like any other: all code that trains, sends, evaluates and
reports classes does the same with turns.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.images.folder.photo_folder import PhotoFolder
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import TURNS, ModelSpec

Pose = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A change of a batch before it is normalised: (pixels, targets) to (pixels, targets)."""


def turn(pixels: Tensor, turns: Tensor) -> Tensor:
    """Return photos [B, S, S, C], each after its number of quarter turns anticlockwise (int64 [B],
    0 to 3).
    """
    turned = pixels.clone()
    for number in range(1, len(TURNS)):
        places = (turns == number).nonzero().flatten()
        turned[places] = pixels[places].rot90(number, dims=(1, 2))
    return turned


def posing(spec: ModelSpec, generator: np.random.Generator) -> Pose:
    """Return the pose for training: it leaves photos as they are, or turns them if the network is
    to tell turns.

    The turns are drawn anew for each batch.
    """

    def pose(pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.from_numpy(generator.integers(len(TURNS), size=len(targets))).to(
            targets.device
        )
        return turn(pixels, drawn), drawn

    return pose if spec.tells_turns else lambda pixels, targets: (pixels, targets)


def as_labelled(spec: ModelSpec, pixels: Tensor, targets: Tensor) -> Tensor:
    """Return the pixels for evaluation: photos as they are, or turned by their labels if the
    network is to tell turns.

    pixels: [B, S, S, C]; targets: int64 [B]
    """
    return turn(pixels, targets) if spec.tells_turns else pixels


def assign(images: Images) -> Images:
    """Return the same photos with turns as labels; a photo's turn depends on nothing but its
    row.
    """
    return replace(
        images, labels=torch.arange(len(images.pixels), device=images.labels.device) % len(TURNS)
    )


def to_turns(folder: PhotoFolder) -> PhotoFolder:
    """Return all photos of a folder, with and without a class, labelled by turns."""
    merged = {}
    for split, images in folder.splits.items():
        rows = torch.cat([images.rows, folder.unlabelled[split].rows]).sort().values
        merged[split] = assign(replace(images, rows=rows))
    none = {
        split: images.select(torch.empty(0, dtype=torch.int64)) for split, images in merged.items()
    }
    return replace(folder, classes=TURNS, splits=merged, unlabelled=none)
