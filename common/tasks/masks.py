"""The task to tell for each pixel of a photo whether it is of a product, or of which."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedshelf.common.config import DataConfig, RunConfig, TrainConfig
from fedshelf.common.images.augment import BatchBounds, Blend
from fedshelf.common.images.augment.draws import basic_draws
from fedshelf.common.images.augment.geometry import flip_and_crop
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.mean_iou import HIDDEN, MeanIoU
from fedshelf.common.scenes.formats.masks import MAX_MASK_CLASSES
from fedshelf.common.tasks.task import SceneTask, no_classes

Mask = NDArray[np.uint8]
BACKGROUND = "background"
REGIONS = (BACKGROUND, "product")
RIGHT_MEAN_IOU = 0.75  # mean intersection over union from which a photo is called right


class PixelMasks(SceneTask):
    """A class for each pixel. A photo is right if its mean IoU is at least 0.75."""

    name = "masks"
    output = "masks"
    classes = REGIONS
    metric = "iou"

    def own_classes(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return the background and the classes that the settings name; without any, `REGIONS`."""
        products = tuple(name for name in named if name != BACKGROUND)
        return (BACKGROUND, *products) if products else REGIONS

    def products(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes of products; () if there are products alone."""
        return () if outputs == REGIONS else outputs[1:]

    def refused(self, config: RunConfig) -> Mapping[str, bool]:
        """Return also more classes than a mask can tell."""
        too_many = len(self.products(config.data.classes)) > MAX_MASK_CLASSES
        key = f"data.classes of more than {MAX_MASK_CLASSES}"
        return {**super().refused(config), key: too_many}

    def augment(
        self,
        pixels: Tensor,
        targets: Tensor,
        config: DataConfig,
        numbers: Tensor,
        batches: BatchBounds,
    ) -> tuple[Tensor, Tensor, Blend | None]:
        """Return augmented pixels and masks [B, S, S] that are moved in the same way."""
        pixels, targets, blend = super().augment(pixels, targets, config, numbers, batches)
        if config.flip or config.crop:
            targets = flip_and_crop(targets[..., None], config, basic_draws(numbers))[..., 0]
        return pixels, targets, blend

    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the mean cross-entropy over each photo's pixels that are not hidden: [B]."""
        assert blend is None
        assert offsets is None
        losses = functional.cross_entropy(
            outputs.float(), targets.long(), ignore_index=HIDDEN, reduction="none"
        )
        known = (targets != HIDDEN).sum((1, 2)).clamp_min(1)
        return losses.sum((1, 2)) / known

    def answers(self, outputs: Tensor, targets: Tensor) -> list[tuple[Mask, Mask]]:
        """Return the likeliest class of each pixel, and the true one or `HIDDEN`, of B photos.

        Args:
            outputs: float32 [B, C, S, S]
            targets: uint8 [B, S, S]
        """
        guesses = outputs.argmax(1).to(torch.uint8).cpu().numpy()
        return list(zip(guesses, targets.cpu().numpy(), strict=True))

    def count(self, outputs: Tensor, targets: Tensor, losses: Tensor) -> Counts:
        """Return the counts of B photos.

        Args:
            outputs: float32 [B, C, S, S]
            targets: uint8 [B, S, S]
            losses: float32 [B]
        """
        metric = MeanIoU(outputs.shape[1])
        each = [
            metric.sums(guess[None], mask[None]) for guess, mask in self.answers(outputs, targets)
        ]
        right = sum(mean_overlap(pixels) >= RIGHT_MEAN_IOU for pixels in each)
        return Counts(
            no_classes(outputs.shape[1]),
            float(losses.double().sum()),
            right,
            len(each) - right,
            metrics={"iou": np.sum(each, axis=0)},
        )


def mean_overlap(pixels: np.ndarray) -> float:
    """Return the mean IoU of the classes that a photo or its guess has, of counts [C, C]."""
    own = np.diag(pixels)
    union = pixels.sum(0) + pixels.sum(1) - own
    return float((own[union > 0] / union[union > 0]).mean()) if union.any() else 1.0
