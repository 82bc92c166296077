"""The steps of differentially private training (DP-SGD) at a store.

A step draws each of n images with probability q. Its gradient is

    1 / (q n) (sum over the drawn images of clip_C(g_i) + N(0, (sigma C)^2))

where g_i is the gradient of image i (Abadi et al. 2016, https://arxiv.org/abs/1607.00133, Algorithm
1), the mean over K augmented copies of it (De et al. 2022, https://arxiv.org/abs/2204.13650). The
divisor is a constant of the training: how many images were drawn would tell of each. All that
follows the noise (L1, a strategy's correction, momentum, compression) looks at no image, so it
costs no privacy.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import PrivacyConfig
from fedshelf.common.native import gaussian
from fedshelf.common.privacy.randomness import KeyStream
from fedshelf.common.training.clipping.clipped_gradient import ClippedGradient
from fedshelf.common.training.steps import LocalStep

# rows of a batch whose gradients are in memory at once
MAX_ROWS_CPU = 128
MAX_ROWS_GPU = 512
# numbers that are drawn at once: a call for the images of one step costs more than the numbers
_DRAWN_AT_ONCE = 2**16

Inputs = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Maps positions of images, [B], to inputs [B, ...] and targets int64 [B], on the device."""


class PrivateSteps:
    """The steps of one private training.

    Args:
        clipped: sums of clipped gradients at the weights as they are
        inputs: makes the inputs of images, augmented anew each time
        privacy: clip, noise, rate, steps and copies
        images: number of the store's training images, n
        key: of the training (`common.privacy.randomness`)
    """

    def __init__(
        self,
        clipped: ClippedGradient,
        inputs: Inputs,
        privacy: PrivacyConfig,
        images: int,
        key: bytes,
    ) -> None:
        self._clipped = clipped
        self._inputs = inputs
        self._privacy = privacy
        self._images = images
        self._sampling = KeyStream(key, "sampling")
        self._noise = KeyStream(key, "noise")
        self._drawn: list[NDArray[np.int64]] = []  # positions of later steps, the next one last

    def __iter__(self) -> Iterator[LocalStep]:
        """Yield the steps; each gradient is at the weights as they are when it is asked for."""
        for number in range(self._privacy.steps):
            positions = self.draw()
            total, loss_sum = self.clipped_sum(positions)
            gradient = self.add_noise(total).div_(self._privacy.rate * self._images)
            yield LocalStep(gradient, loss_sum, len(positions), begins_epoch=number == 0)

    def draw(self) -> NDArray[np.int64]:
        """Draw each image with probability `rate`; return the positions of those drawn."""
        if not self._drawn:
            steps = min(self._privacy.steps, max(1, _DRAWN_AT_ONCE // self._images))
            numbers = self._sampling.uniform(steps * self._images).reshape(steps, self._images)
            is_drawn = numbers < self._privacy.rate
            self._drawn = [np.flatnonzero(row) for row in reversed(is_drawn)]
        return self._drawn.pop()

    def clipped_sum(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the sum of the images' clipped gradients [T], and that of their losses."""
        copies = self._privacy.copies
        most = MAX_ROWS_CPU if self._clipped.device.type == "cpu" else MAX_ROWS_GPU
        count = math.ceil(len(positions) / max(1, most // copies))
        if not count:
            return self._clipped.nothing()
        parts = np.array_split(positions, count) if count > 1 else [positions]
        total, loss_sum = self._part_sum(parts[0])
        for part in parts[1:]:
            part_total, part_loss = self._part_sum(part)
            total += part_total
            loss_sum += part_loss
        return total, loss_sum

    def _part_sum(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the sums of `clipped_sum` for images whose gradients are in memory at once."""
        copies = self._privacy.copies
        inputs, targets = self._inputs(np.repeat(positions, copies) if copies > 1 else positions)
        return self._clipped(inputs, targets, self._privacy.clip, copies)

    def add_noise(self, total: Tensor) -> Tensor:
        """Return a sum of clipped gradients [T] with noise."""
        if not self._privacy.noise:
            return total  # a simulation that clips alone
        deviation = self._privacy.noise * self._privacy.clip
        return gaussian.add_noise(total, deviation, self._noise)
