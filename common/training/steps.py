"""The steps of a plain local training: batches of shuffled images."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.training.loss import BatchGradient, split_batches

BatchInputs = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor, Blend | None]]
"""Maps positions of images, [B], to their inputs, targets and blend (see `BatchGradient`)."""


@dataclass(frozen=True)
class LocalStep:
    """The data's part of an optimizer step.

    Attributes:
        gradient: float32 [T], at the weights before the step; the next step overwrites it
        loss_sum: sum of the images' losses, a detached scalar
        images: number of images of the step
        begins_epoch: True if it is the first step of an epoch
    """

    gradient: Tensor
    loss_sum: Tensor
    images: int
    begins_epoch: bool


def plain_steps(
    batch_gradient: BatchGradient,
    inputs: BatchInputs,
    images: int,
    config: TrainConfig,
    order: np.random.Generator,
    *,
    keep_pairs: bool,
) -> Iterator[LocalStep]:
    """Yield the steps of all epochs, or as many as fit into `seconds`.

    In that case the last step depends on the machine and its load.

    Args:
        batch_gradient: loss and gradient of a batch
        inputs: makes the inputs of images, augmented anew each time
        images: number of training images
        config: epochs, batch size and seconds
        order: source of the shuffles
        keep_pairs: whether a last single image joins the batch before it
    """
    start = time.monotonic()
    for _ in range(config.passes):
        for index, positions in enumerate(
            split_batches(order.permutation(images), config.batch, keep_pairs)
        ):
            loss, gradient = batch_gradient(*inputs(positions))
            yield LocalStep(gradient, loss * len(positions), len(positions), index == 0)
            if config.seconds and gradient.device.type == "cuda":
                torch.cuda.synchronize(gradient.device)  # the device may be far behind
            if 0 < config.seconds <= time.monotonic() - start:
                return
