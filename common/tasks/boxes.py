"""The task to find the products on a photo of a scene: a box around each, whatever it is.

The network's map of centres and edges is read by `common.scenes`. Which product is in a box, a
classifier tells of the crop; so a new product needs no new boxes. If `data.classes` names classes,
the network tells them, too.
"""

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.config import DataConfig, TrainConfig
from fedshelf.common.images.augment import BatchBounds, Blend
from fedshelf.common.images.augment.draws import basic_draws
from fedshelf.common.images.augment.geometry import window_offsets
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.average_precision import AveragePrecision, pairs_by_class
from fedshelf.common.metrics.formulas.count_error import CountError
from fedshelf.common.models.networks.locator import EDGES, STRIDE
from fedshelf.common.native.centre_loss import box_losses
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.centre_map import boxes_of_map
from fedshelf.common.scenes.difficult import counted
from fedshelf.common.scenes.matching import match
from fedshelf.common.scenes.scene_classes import ANY_PRODUCT
from fedshelf.common.tasks.task import SceneTask, no_classes

RIGHT_SCORE = 0.3  # of boxes that count when a photo is called right
RIGHT_OVERLAP = 0.5  # of a box with a product that it has found
LEAST_LEFT = 0.25  # of a box's area on the photo, after a crop, below which it is none any more


class LocatedBoxes(SceneTask):
    """Boxes of products. A photo is right if all products are found and no box is wrong."""

    name = "boxes"
    output = "boxes"
    classes = ANY_PRODUCT
    metric = "ap"

    def own_classes(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes that the settings name; without any, every box is a product."""
        return named or ANY_PRODUCT

    def products(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes of boxes; () if they are products alone."""
        return () if outputs == ANY_PRODUCT else outputs

    def augment(
        self,
        pixels: Tensor,
        targets: Tensor,
        config: DataConfig,
        numbers: Tensor,
        batches: BatchBounds,
    ) -> tuple[Tensor, Tensor, Blend | None]:
        """Return augmented pixels and the boxes [B, K, 5] where their products are now."""
        side = pixels.shape[1]
        pixels, targets, blend = super().augment(pixels, targets, config, numbers, batches)
        if config.flip or config.crop:
            targets = moved_boxes(targets, side, config, numbers)
        return pixels, targets, blend

    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each photo [B] (see `common.scenes.centre_loss`)."""
        assert blend is None
        assert offsets is None
        return box_losses(outputs.float(), targets, STRIDE)

    def ignorant_loss(self, classes: int) -> float:
        """Return the loss of a locator's first map.

        About (1 - p)^2 log(1 / p) for each centre, with p = 0.01, and 5 for edges that have nothing
        in common with the true ones.
        """
        return 10.0

    def answers(self, outputs: Tensor, targets: Tensor) -> list[tuple[Boxes, Boxes]]:
        """Return the boxes and the products of each of B photos, by which it is judged.

        Args:
            outputs: float32 [B, 1 + 4, H, W]
            targets: float32 [B, K, 5]
        """
        return [
            counted(found, true_boxes(photo))
            for found, photo in zip(self.found(outputs), targets.cpu(), strict=True)
        ]

    def found(self, outputs: Tensor) -> list[Boxes]:
        """Return the boxes on each of B photos, the surest first.

        Args:
            outputs: float32 [B, C + 4, H, W]
        """
        return [boxes_of_map(centre_map, STRIDE) for centre_map in outputs.float().cpu().numpy()]

    def classes_told(self, outputs: Tensor) -> int:
        """Return the number of classes C, from a map [B, C + 4, H, W]."""
        return outputs.shape[1] - EDGES

    def count(self, outputs: Tensor, targets: Tensor, losses: Tensor) -> Counts:
        """Return the counts of B photos.

        Args:
            outputs: float32 [B, C + 4, H, W]
            targets: float32 [B, K, 5]
            losses: float32 [B]
        """
        classes = self.classes_told(outputs)
        pairs = self.answers(outputs, targets)
        right = sum(_is_right(found, true, classes) for found, true in pairs)
        found, true = [found for found, _ in pairs], [true for _, true in pairs]
        metrics = (AveragePrecision(classes), CountError(classes))
        return Counts(
            no_classes(classes),
            float(losses.double().sum()),
            right,
            len(found) - right,
            metrics={metric.name: metric.sums(found, true) for metric in metrics},
        )


def true_boxes(rows: Tensor) -> Boxes:
    """Return the boxes among rows of annotations [K, 5], without padding.

    The class of those that are hardly seen is `common.scenes.difficult.DIFFICULT`.
    """
    sides = rows[:, 2:4] - rows[:, :2]
    kept = rows[(sides > 0).all(1)].numpy()
    return Boxes.drawn(kept[:, :4], kept[:, 4].astype(np.int64))


def moved_boxes(boxes: Tensor, side: int, config: DataConfig, numbers: Tensor) -> Tensor:
    """Return boxes after the flip and crop of their photos (see `flip_and_crop`).

    A box of which less than a quarter is left is taken away: nobody could tell its product.

    Args:
        boxes: float32 [B, K, 5]
        side: pixels, of the photos
        config: its options `flip` and `crop`
        numbers: float64 [B, D], those of the photos
    """
    draws = basic_draws(numbers)
    left, top, right, bottom, classes = boxes.unbind(2)
    shift_x = window_offsets(config.crop, draws.crop_x)[:, None]
    shift_y = window_offsets(config.crop, draws.crop_y)[:, None]
    left, right, top, bottom = left - shift_x, right - shift_x, top - shift_y, bottom - shift_y
    if config.flip:
        is_flipped = draws.flip[:, None] < 0.5
        left, right = (
            torch.where(is_flipped, side - right, left),
            torch.where(is_flipped, side - left, right),
        )
    whole = torch.stack([left, top, right, bottom], 2)
    seen = whole.clamp(0, side)
    is_left = _areas(seen) >= LEAST_LEFT * _areas(whole)
    return torch.cat([seen * is_left[:, :, None], classes[:, :, None]], 2)


def _areas(corners: Tensor) -> Tensor:
    """Return the areas [...] of boxes [..., 4]."""
    return (corners[..., 2:] - corners[..., :2]).prod(-1)


def _is_right(found: Boxes, true: Boxes, classes: int) -> bool:
    sure = found.select(found.scores >= RIGHT_SCORE)
    return all(
        len(boxes) == len(products) and bool(match(boxes, products, RIGHT_OVERLAP).all())
        for boxes, products in pairs_by_class(sure, true, classes)
    )
