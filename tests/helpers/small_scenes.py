"""Stores with small photos of scenes: bright rectangles, their boxes and masks."""

import numpy as np
import torch

from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.tasks import TASKS
from fedshelf.simulations.federation.federation import Federation

SIDE = 16
BOXES = 3  # most on a scene


def scenes(count: int, objective: str, seed: int = 0, factor: int = 1) -> Images:
    """Return scenes of up to three rectangles with the annotations of a task.

    Args:
        count: number of scenes
        objective: of the task
        seed: of the rectangles
        factor: sides of a photo are so many times `SIDE`
    """
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (count, SIDE, SIDE, 3), dtype=np.uint8)
    boxes = np.zeros((count, BOXES, 5), np.float32)
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    for place in range(count):
        for number in range(int(random.integers(0, BOXES + 1))):
            left, top = random.integers(0, SIDE - 6, 2)
            width, height = random.integers(4, 7, 2)
            pixels[place, top : top + height, left : left + width] += np.uint8(150)
            boxes[place, number, :4] = left, top, left + width, top + height
            masks[place, top : top + height, left : left + width] = 1
    pixels, masks = (array.repeat(factor, 1).repeat(factor, 2) for array in (pixels, masks))
    boxes[..., :4] *= factor
    annotations = {"boxes": boxes, "masks": masks}.get(objective)
    return Images(
        torch.from_numpy(pixels),
        torch.zeros(count, dtype=torch.int64),
        torch.arange(count),
        None if annotations is None else torch.from_numpy(annotations),
    )


def stores_of_scenes(
    objective: str, sizes: tuple[int, ...] = (9, 5, 12), factor: int = 1
) -> Federation:
    """Return stores that lie in one array, each with two scenes to validate on and two to test."""
    everything = scenes(sum(sizes) + 4 * len(sizes), objective, factor=factor)
    opened, table, begin = {}, {}, 0
    classes = TASKS[objective].classes
    for number, size in enumerate(sizes):
        rows = torch.arange(begin, begin + size + 4)
        begin += size + 4
        parts = rows.split([size, 2, 2])
        opened[f"store-{number}"] = StoreData(*(everything.select(part) for part in parts))
        table[f"store-{number}"] = [size] + [0] * (len(classes) - 1)
    test = scenes(7, objective, seed=1, factor=factor)
    return Federation(classes, opened, test, table, "")
