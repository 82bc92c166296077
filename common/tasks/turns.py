"""A task for photos without a class: to tell by how many quarter turns a photo was turned.

Gidaris, Singh and Komodakis 2018, "Unsupervised Representation Learning by Predicting Image
Rotations", Equations 2 and 3: with R(x, y) the photo x after y quarter turns, y uniform in {0, 1,
2, 3}, minimise -log p(y | R(x, y)). For this, a network must see the object on a photo and its
orientation. The task needs no pairs and no large batches (SimCLR's negatives), so a store with few
photos can do it. It is a classification like any other: all code that trains, sends, evaluates and
reports classes does the same with turns.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.images.folder.photo_folder import PhotoFolder
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import TURNS
from fedshelf.common.tasks.classes import Classes


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


class Turns(Classes):
    """A photo's number of quarter turns: a classification of photos that are turned at random."""

    name = "turns"
    classes = TURNS

    def vary(
        self, pixels: Tensor, targets: Tensor, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the photos turned at random, anew for each batch, and the numbers of turns."""
        turns = torch.from_numpy(generator.integers(len(TURNS), size=len(targets))).to(
            targets.device
        )
        return rotate(pixels, turns), turns

    def posed(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Return the photos for evaluation, turned by their labels (int64 [B])."""
        return rotate(pixels, targets)

    def refused(self, config: RunConfig) -> Mapping[str, bool]:
        """Return the settings that are about product classes."""
        data = config.data
        return {
            "data.classes": data.classes not in ((), TURNS),
            "data.mixup": bool(data.mixup),
            "data.cutmix": bool(data.cutmix),
            "strategy.absent_classes": config.strategy.absent != "full",
            "model.resume_from": bool(config.model.resume_from),
        }


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
