"""A task for photos without a class: to tell by how many quarter turns a photo was turned.

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

BatchTransform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A change of a batch before it is normalised: from (pixels, targets) to (pixels, targets)."""


def rotate(pixels: Tensor, turns: Tensor) -> Tensor:
    """Return photos after quarter turns anticlockwise.

    Args:
        pixels: [B, S, S, C]
        turns: int64 [B], number of quarter turns of each photo, 0 to 3
    """
    rotated = pixels.clone()
    for turn in range(1, len(TURNS)):
        positions = (turns == turn).nonzero().flatten()
        rotated[positions] = pixels[positions].rot90(turn, dims=(1, 2))
    return rotated


def training_transform(spec: ModelSpec, generator: np.random.Generator) -> BatchTransform:
    """Return the transform of training batches.

    It leaves photos as they are, unless the network is to tell turns: then each photo is turned at
    random, anew for each batch, and its target is the number of turns.

    Args:
        spec: the network's specification
        generator: source of the turns
    """

    def rotate_at_random(pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        turns = torch.from_numpy(generator.integers(len(TURNS), size=len(targets))).to(
            targets.device
        )
        return rotate(pixels, turns), turns

    return rotate_at_random if spec.tells_turns else lambda pixels, targets: (pixels, targets)


def rotate_as_labelled(spec: ModelSpec, pixels: Tensor, targets: Tensor) -> Tensor:
    """Return the pixels for evaluation: turned by their labels if the network is to tell turns.

    Args:
        spec: the network's specification
        pixels: [B, S, S, C]
        targets: int64 [B]
    """
    return rotate(pixels, targets) if spec.tells_turns else pixels


def label_with_turns(images: Images) -> Images:
    """Return the same photos with turns as labels: a photo's turn depends only on its row."""
    return replace(
        images, labels=torch.arange(len(images.inputs), device=images.labels.device) % len(TURNS)
    )


def as_rotation_task(folder: PhotoFolder) -> PhotoFolder:
    """Return all photos of a folder, with and without a class, labelled by turns."""
    merged = {}
    for split, images in folder.splits.items():
        rows = torch.cat([images.rows, folder.unlabelled[split].rows]).sort().values
        merged[split] = label_with_turns(replace(images, rows=rows))
    unlabelled = {
        split: images.select(torch.empty(0, dtype=torch.int64)) for split, images in merged.items()
    }
    return replace(folder, classes=TURNS, splits=merged, unlabelled=unlabelled)
